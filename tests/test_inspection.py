"""What `inspect` says of a model: shapes, counts and operations against formulas, states, provenance, JSON."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from transformers import WhisperConfig, WhisperModel
from typer.testing import CliRunner

from speechbias.checkpoint.content import Checkpoint, Meta, of_objective
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.inspection import Layer, describe_model
from speechbias.inspection.operations import PARTS, network_macs
from speechbias.inspection.table import terminal_table
from speechbias.inspection.timing import processor
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend, sized
from speechbias.models.fingerprint import network_sha256
from speechbias.models.network import Network
from speechbias.models.objectives import objective, published_settings

TINY = EncoderConfig(
    family="hubert",
    frontend=WaveFrontend(channels=(8,) * 7),
    dim=16,
    head_dim=4,
    heads=(4, 4, 3),
    ffn=(32, 32, 20),
    position_kernel=16,
    position_groups=2,
)


def random_network(config):
    """A network with every parameter drawn, so that none is zero."""
    network = Network(config)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return network


def saved(folder, config=TINY, *, meta=None, change=None):
    network = random_network(config)
    tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    if change:
        change(tensors)
    return save_checkpoint(folder, Checkpoint(folder.name, config, tensors, meta=meta or Meta()))


def shown(*models, width=80):
    screen = io.StringIO()
    Console(width=width, file=screen).print(terminal_table([describe_model(model) for model in models]))
    return screen.getvalue()


def macs_by_shapes(config):
    """MACs per second, by part, from the shapes of the tensors alone."""
    front, dim = config.frontend, config.dim
    counted = dict.fromkeys(PARTS, 0)
    if isinstance(front, MelFrontend):
        frames = -(-((160_000 - 400) // 160 + 1) // front.stack)
    else:
        frames, inputs = 160_000, 1
        for channels, kernel, stride in zip(front.channels, front.kernels, front.strides, strict=True):
            frames = (frames - kernel) // stride + 1
            counted["front_end"] += frames * channels * inputs * kernel
            inputs = channels
    positions = frames + 1 - config.position_kernel % 2  # an even kernel computes one frame that is thrown away
    counted["projection_positions"] = frames * front.dim * dim * config.projection
    counted["projection_positions"] += positions * dim * (dim // config.position_groups) * config.position_kernel
    for heads, ffn in zip(config.heads, config.ffn, strict=True):
        width = heads * config.head_dim
        counted["attention"] += frames * 4 * dim * width + 2 * frames * frames * width
        counted["feed_forward"] += frames * 2 * dim * ffn
    return {part: macs / 10 for part, macs in counted.items()}


@pytest.mark.parametrize(
    "config",
    [
        sized("wav2vec2", "base"),
        sized("hubert", "large"),
        sized("melhubert", "slim"),
        replace(sized("melhubert", "small"), frontend=MelFrontend(stack=1)),
        replace(sized("wav2vec2", "small"), heads=(8, 3, 1), ffn=(2048, 512, 64), position_kernel=95),
        replace(TINY, dim=8, head_dim=2, projection=False),
    ],
    ids=["base", "large", "mel", "mel-10ms", "pruned", "no-projection"],
)
def test_macs_are_those_of_the_shapes(config):
    macs, expected = network_macs(config), macs_by_shapes(config)
    assert macs.parts == pytest.approx(expected, abs=0.5)
    assert macs.total == pytest.approx(sum(expected.values()), abs=0.5)


def test_macs_of_wav2vec2_base_are_those_known():
    """Half of the operations that were measured independently: 4.91 and 14.9 G per second of audio."""
    macs = network_macs(sized("wav2vec2", "base"))
    assert macs.parts["front_end"] / 1e9 == pytest.approx(2.454, abs=0.002)
    assert macs.total / 1e9 == pytest.approx(7.407, abs=0.002)


def test_a_pruned_model_layer_by_layer(tmp_path):
    described = describe_model(saved(tmp_path / "pruned"))
    blocks = Network(TINY).transformer.layers
    counts = [sum(p.numel() for p in block.parameters()) for block in blocks]
    assert described.layers == (
        Layer(1, 4, 4, 32, counts[0]),
        Layer(2, 4, 4, 32, counts[0]),
        Layer(3, 3, 4, 20, counts[2]),
    )
    assert described.num_layers == 3
    assert described.parameters == described.nonzero == sum(p.numel() for p in Network(TINY).parameters())
    assert described.parameters_with_objective is None
    assert described.sparsity is None
    text = shown(tmp_path / "pruned")
    assert f"1-2        4 x 4    32  {counts[0]:,}" in text
    assert f"3          3 x 4    20  {counts[2]:,}" in text


def test_front_end_norms_positions_and_hash(tmp_path):
    config = replace(
        TINY, frontend=WaveFrontend(channels=(8,) * 7, norm="layer", bias=True, wave_norm_eps=1e-5), pre_norm=True
    )
    described = describe_model(saved(tmp_path / "pre"))
    assert (described.pre_norm, described.recipe["normalisation"]) == (False, "none")
    described = describe_model(saved(tmp_path / "pre", config))
    assert described.front_end == {
        "kind": "convolutions",
        "channels": (8,) * 7,
        "kernels": (10, 3, 3, 3, 3, 2, 2),
        "strides": (5, 2, 2, 2, 2, 2, 2),
        "norm": "layer",
        "bias": True,
        "feature_norm": True,
    }
    assert described.pre_norm
    assert described.recipe["normalisation"] == "zero mean, unit variance, eps 1e-05"
    assert (described.positions, described.frame_shift) == ({"kernel": 16, "groups": 2}, 0.02)
    assert described.sha256 == network_sha256(random_network(config))
    assert described.states == {"s3prl": 4, "hf": 4, "speat-2023": 4}
    assert described.recipe["last_state"] == "after the final norm"


def test_parameters_with_the_objective_are_those_of_table_2(tmp_path):
    config, settings = sized("melhubert", "small"), published_settings("melhubert", "small")
    model = objective(config, settings)
    meta = Meta(step=400, mel_stats=None, provenance={"format": "speechbias", "recipe": "tiny"})
    folder = save_checkpoint(tmp_path / "mel", of_objective("mel", model, settings, meta=meta))
    described = describe_model(str(folder))
    assert described.parameters_with_objective == 16_461_824
    assert described.parameters == 16_461_824 - (640 + 1) * 512
    assert described.step == 400
    assert described.provenance == {"format": "speechbias", "recipe": "tiny"}
    assert described.states == {"s3prl": 4}
    assert described.front_end == {"kind": "log-mel", "bins": 40, "stack": 2}
    assert described.recipe["mel_stats"] is None
    text = shown(folder)
    assert "needs --mel-stats" in text
    assert "log-mel, 40 bins x 2" in text
    assert describe_model("random:melhubert-small").recipe["mel_stats"]


def test_zeros_are_counted_where_no_mask_is_recorded(tmp_path):
    def halve(tensors):
        for name, tensor in tensors.items():
            if name.endswith("fc1.weight"):
                tensor[::2] = 0

    dense = describe_model(saved(tmp_path / "dense"))
    sparse = describe_model(saved(tmp_path / "sparse", change=halve))
    zeros = (16 + 16 + 10) * 16
    assert sparse.nonzero == dense.nonzero - zeros
    matrices = sum(p.numel() for p in Network(TINY).transformer.layers.parameters() if p.ndim == 2)
    assert sparse.sparsity == pytest.approx(zeros / matrices, abs=1e-6)
    recorded = describe_model(saved(tmp_path / "known", meta=Meta(provenance={"sparsity": 0.25}), change=halve))
    assert recorded.sparsity == 0.25
    assert "25 %" in shown(tmp_path / "known")


def test_an_untrained_model_is_not_sparse():
    described = describe_model("random:wav2vec2-small")
    assert described.nonzero < described.parameters  # its biases are zero
    assert described.sparsity is None
    assert described.parameters_with_objective == 21_252_352


def test_a_student_has_the_states_of_s3prl(tmp_path):
    described = describe_model(saved(tmp_path / "student", replace(TINY, student=True)))
    assert (described.student, described.states) == (True, {"s3prl": 4})
    assert "hubert, distilled student" in shown(tmp_path / "student")


def test_features_have_a_recipe_and_no_parameters():
    described = describe_model("mfcc:cmvn", latency=True)
    assert (described.family, described.dim, described.frame_shift) == ("features", 39, 0.01)
    assert described.recipe["window"] == "povey"
    assert described.parameters is described.macs is described.front_end.get("kind") is None
    assert described.states == {"s3prl": 1, "hf": 1, "speat-2023": 1}
    assert described.latency > 0
    assert "parameters" not in shown("mfcc:cmvn")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    config = WhisperConfig(
        d_model=16,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=20,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-whisper"
    model = WhisperModel(config)
    model.save_pretrained(folder)
    return folder, model.encoder


def test_another_encoder_of_transformers(whisper):
    folder, encoder = whisper
    described = describe_model(folder)
    assert described.parameters == sum(p.numel() for p in encoder.parameters())
    assert (described.family, described.dim, described.states) == ("whisper", 16, {"s3prl": 4, "hf": 4})
    convolutions = 3000 * 16 * 20 * 3 + 1500 * 16 * 16 * 3
    layer = 1500 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 1500 * 1500 * 16  # a clip of 10 s fills a window of 30 s
    assert described.macs.total == pytest.approx((convolutions + 3 * layer) / 10, abs=0.5)
    assert described.layers == ()
    assert "zeros to whole windows" in shown(folder, width=200)


def test_latency_leaves_threads_as_they_were_and_needs_no_statistics(tmp_path):
    config = replace(TINY, family="melhubert", frontend=MelFrontend())
    folder = saved(tmp_path / "mel", config)
    before = torch.get_num_threads()
    described = describe_model(folder, latency=True)
    timing = described.timing
    assert 0 < timing.lowest <= timing.median <= timing.highest
    assert (described.latency, timing.clip) == (timing.median, 10)
    assert timing.runs >= 5
    assert timing.machine
    assert torch.get_num_threads() == before
    assert describe_model(folder).latency is describe_model(folder).timing is None


def test_the_processor_is_named_where_the_system_names_it(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(
        "processor : 0\nmodel name\t: Fast One @ 3 GHz\nmodel name\t: Fast One @ 3 GHz\n"
    )
    monkeypatch.setattr("speechbias.inspection.timing.CPUS", tmp_path / "cpuinfo")
    assert processor() == "Fast One @ 3 GHz"
    monkeypatch.setattr("speechbias.inspection.timing.CPUS", tmp_path / "none")
    assert processor()


def test_bytes_on_disk_are_those_of_the_weights(tmp_path, whisper):
    folder = saved(tmp_path / "ours")
    (folder / "trainer.pt").write_bytes(b"x" * 100_000)
    size = (folder / "encoder.safetensors").stat().st_size
    assert describe_model(folder).bytes_on_disk == size
    assert f"{size / 1e6:.3f} MB" in shown(folder)
    assert describe_model(whisper[0]).bytes_on_disk == (whisper[0] / "model.safetensors").stat().st_size
    assert describe_model("mel").bytes_on_disk is describe_model("random:melhubert-small").bytes_on_disk is None


def test_onnx_files_stand_beside_their_checkpoint(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pruned = {"method": "weights", "criterion": "l1", "seed": None, "cuts": 1, "remaining": 60, "of": 100}
    folder = saved(tmp_path / "ours", meta=Meta(step=7, provenance={"pruning": pruned}))
    files = [
        export_checkpoint(folder, tmp_path / f"{form}.onnx", format=form, latency=False) for form in ("onnx", "int8")
    ]
    ours, exact, small = (describe_model(model, latency=True) for model in (folder, *files))
    for name in ("family", "dim", "layers", "macs", "parameters", "nonzero", "step", "front_end", "pre_norm"):
        assert getattr(exact, name) == getattr(small, name) == getattr(ours, name), name
    assert (exact.sparsity, small.sparsity, ours.sparsity) == (0.4, 0.4, 0.4)
    assert exact.states == small.states == {"s3prl": 4}
    assert [exact.bytes_on_disk, small.bytes_on_disk] == [file.stat().st_size for file in files]
    assert exact.sha256 != small.sha256 != ours.sha256
    assert exact.provenance["its sha256"] == ours.sha256
    assert min(exact.latency, small.latency) > 0
    text = shown(folder, *files, width=150)
    assert "quantised: linear layers: weights uint8" in text
    assert text.count("4 x 4") == 3  # layers in one row for all
    json.dumps([exact.to_json(), small.to_json()], allow_nan=False)


@pytest.mark.parametrize("config", [{"schema": 1}, {"schema": 1, "family": "hubert"}, {}, None])
def test_an_onnx_file_with_a_damaged_config_is_one_line(tmp_path, config):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = export_checkpoint(saved(tmp_path / "ours"), tmp_path / "x.onnx", format="onnx", latency=False)
    model = onnx.load(path)
    (entry,) = [each for each in model.metadata_props if each.key == "config"]
    other = json.loads(entry.value) | {"heads": [4, 4], "ffn": [32, 20]}
    entry.value = json.dumps(other if config is None else config)
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"x\.onnx") as error:
        describe_model(path)
    assert "\n" not in str(error.value)


def test_two_models_fit_80_columns(tmp_path):
    saved(tmp_path / "pruned-by-heads-and-rows")
    text = shown(tmp_path / "pruned-by-heads-and-rows", "random:wav2vec2-small")
    assert max(map(len, text.splitlines())) <= 80
    for row in ("7 convolutions, group norm", "10 3 3 3 3 2 2", "kernel 128, 16 groups", "20,611,584"):
        assert row in text


def test_hashes_are_short_in_the_table_and_whole_in_json(tmp_path):
    said = {"sources": {"weights": "ab" * 32}, "note": "ab" * 40}
    folder = saved(tmp_path / "model", meta=Meta(provenance=said))
    text = "".join(shown(folder).split())
    assert "weights" + "ab" * 8 + "note:" + "ab" * 40 in text
    assert describe_model(folder).provenance == said


def test_names_are_no_markup(tmp_path):
    assert "[bold]model" in shown(saved(tmp_path / "[bold]model"))


def test_json_is_one_object_per_model_and_the_same_every_time(tmp_path):
    folder = saved(tmp_path / "tiny", meta=Meta(step=3, provenance={"format": "fairseq", "left_out": ["a", "b"]}))
    command = ["inspect", str(folder), "mel", "--json"]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    tiny, mel = json.loads(first.stdout)
    assert tiny["layers"][2] == {
        "layer": 3,
        "heads": 3,
        "head_dim": 4,
        "ffn": 20,
        "parameters": tiny["layers"][2]["parameters"],
    }
    assert (tiny["step"], tiny["provenance"]["left_out"]) == (3, ["a", "b"])
    assert set(tiny["macs"]["parts"]) == set(PARTS)
    assert (mel["name"], mel["macs"], mel["parameters"]) == ("mel", None, None)


def test_all_unreadable_models_are_named_together():
    command = [sys.executable, "-m", "speechbias", "inspect", "mel", "mell", "random:wav2vec2-bse"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2
    assert "did you mean mel?" in done.stderr
    assert "did you mean random:wav2vec2-base?" in done.stderr


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="model_type"):
        describe_model(tmp_path)
