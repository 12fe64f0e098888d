"""`export --format onnx|int8` and reading it back: equal to the checkpoint, alone in onnxruntime, or one line."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from exportable import MEL_STATS, saved, tiny
from recordings import write_test
from speechbias.checkpoint import check_model, find_front, load_encoder, read_checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.cli import app
from speechbias.embeddings import single_threaded
from speechbias.encoder import BatchEncoder, Dated, Encoder, Sized, Staged
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.features.cepstra import kaldi_log_mel
from speechbias.models.config import MelFrontend
from speechbias.models.conventions import state_points
from speechbias.models.mel import mel_features
from speechbias.results import file_sha256

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'speechbias[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'speechbias[onnx]'")

DOCS = Path(__file__).parents[1] / "docs"
UNEQUAL = {"heads": (4, 3, 1), "ffn": (32, 20, 8)}
LENGTHS = (400, 719, 720, 5_003, 16_000)  # one frame, one and two, and lengths that nothing divides
PRUNING = {"method": "weights", "criterion": "l1", "seed": None, "cuts": 1, "remaining": 60, "of": 100}


def wave(samples, seed=0):
    return (0.02 + 0.05 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def normalised(config):
    return replace(config, frontend=replace(config.frontend, wave_norm_eps=1e-5))


def masked(checkpoint):
    """The folder of a copy in which half of every layer's first linear map is zero."""
    read = read_checkpoint(checkpoint)
    tensors = {name: tensor.clone() for name, tensor in read.tensors.items()}
    for name, tensor in tensors.items():
        if name.endswith("fc1.weight"):
            tensor[::2] = 0
    folder = checkpoint.with_name("masked")
    return save_checkpoint(folder, replace(read, name="masked", tensors=tensors))


def exported(folder, config, form="onnx", **meta):
    """A checkpoint, and the encoder of its export."""
    ours = saved(folder / "ours", config, whole=False, **meta)
    return ours, load_encoder(export_checkpoint(ours, folder / form, format=form, latency=False))


MODELS = {
    "group-post-unequal": tiny(**UNEQUAL),
    "group-pre": tiny("wav2vec2", blocks="pre"),
    "layer-pre-normalised-odd-kernel": normalised(tiny("wav2vec2", "layer", "pre", position_kernel=15)),
    "student": tiny(student=True, heads=(4, 4), ffn=(32, 32)),
    "no-projection": tiny(dim=8, head_dim=2, projection=False),
    "mel": tiny("melhubert", **UNEQUAL),
    "mel-10ms": tiny("melhubert", frontend=MelFrontend(stack=1)),
}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
def test_the_states_are_those_of_the_checkpoint_at_any_length(tmp_path, config):
    stats = {"mel_stats": MEL_STATS} if config.family == "melhubert" else {}
    ours, encoder = exported(tmp_path, config, **stats)
    checkpoint = load_encoder(ours)
    for samples in LENGTHS:
        expected, states = checkpoint.hidden_states(wave(samples)), encoder.hidden_states(wave(samples))
        assert states.shape == expected.shape
        assert states.dtype == np.float32
        assert np.abs(states - expected).max() <= 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(encoder.pooled(wave(samples)), states.mean(axis=1), rtol=1e-5, atol=1e-6)
    (last,) = encoder.session.run(["last"], {"wave": wave(5_003)[None]})
    np.testing.assert_array_equal(last, encoder.hidden_states(wave(5_003))[-1])


@pytest.mark.parametrize("eps", [None, 1e-5], ids=["plain", "normalised"])
def test_an_offset_costs_no_digits(tmp_path, eps):
    config = tiny(heads=(4,), ffn=(16,))
    ours = saved(tmp_path / "ours", replace(config, frontend=replace(config.frontend, wave_norm_eps=eps)), whole=False)
    encoder = load_encoder(export_checkpoint(ours, tmp_path / "out", format="onnx", latency=False))
    points = state_points("", config, "s3prl")
    for offset, noise in ((0.1, 1e-4), (0.9, 0.0)):
        clip = (offset + noise * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
        found = {}
        with torch.no_grad():  # the network in float64
            network = read_checkpoint(ours).network().double()
            network(torch.from_numpy(clip)[None].double(), read=found.__setitem__)
        expected = torch.cat([found[point] for point in points]).numpy()
        assert np.abs(encoder.hidden_states(clip) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_masked_weights_are_zeros_there_too(tmp_path):
    ours = masked(saved(tmp_path / "ours", tiny(), whole=False))
    encoder = load_encoder(export_checkpoint(ours, tmp_path / "out.onnx", format="onnx", latency=False))
    expected = load_encoder(ours).hidden_states(wave(5_000))
    assert np.abs(encoder.hidden_states(wave(5_000)) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert encoder.facts.nonzero == encoder.facts.parameters - 3 * 16 * 16


def test_half_precision_weights_compute_in_float32(tmp_path):
    ours = saved(tmp_path / "ours", tiny(), whole=False)
    read = read_checkpoint(ours)
    half = {name: tensor.to(torch.bfloat16) for name, tensor in read.tensors.items()}
    folder = save_checkpoint(tmp_path / "half", replace(read, tensors=half))
    encoder = load_encoder(export_checkpoint(folder, tmp_path / "out", format="onnx", latency=False))
    expected = load_encoder(folder).hidden_states(wave(5_000))
    assert np.abs(encoder.hidden_states(wave(5_000)) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("samples", [400, 560, 1_999])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0])
def test_log_mel_in_the_graph_is_kaldis_down_to_silence(samples, scale):
    from speechbias.models.onnx.graph import Graph  # noqa: PLC0415
    from speechbias.models.onnx.mel import add_log_mel  # noqa: PLC0415

    front, graph = MelFrontend(), Graph()
    made = add_log_mel(graph, "wave", front, MEL_STATS)
    model = graph.model({"wave": [1, "samples"]}, {"out": (made, [1, "frames", 80])}, {})
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    clip = np.float32(scale) * wave(samples)
    expected = mel_features(clip, front, MEL_STATS)
    (given,) = session.run(None, {"wave": clip[None]})
    np.testing.assert_allclose(given[0], expected, atol=2e-6)
    assert len(expected) == -(-len(kaldi_log_mel(clip)) // 2)


def test_without_statistics_it_takes_features(tmp_path):
    ours, encoder = exported(tmp_path, tiny("melhubert"))
    frames = np.random.default_rng(0).standard_normal((7, 80))
    expected = load_encoder(ours).encode_features(frames)
    assert np.abs(encoder.encode_features(frames) - expected).max() <= 1e-5 * np.abs(expected).max()
    with pytest.raises(InputError, match="takes features but no audio"):
        encoder.hidden_states(wave(800))
    with pytest.raises(InputError, match="takes features but no audio"):
        check_model(tmp_path / "onnx")
    with pytest.raises(InputError, match=r"shape \(frames, 80\), not 7 x 40"):
        encoder.encode_features(frames[:, :40])
    np.save(tmp_path / "stats.npy", MEL_STATS)
    with_stats = export_checkpoint(
        ours, tmp_path / "x.onnx", format="onnx", mel_stats=tmp_path / "stats.npy", latency=False
    )
    assert load_encoder(with_stats).facts.input == "wave"
    with pytest.raises(InputError, match="takes waves"):
        load_encoder(with_stats).encode_features(frames)


def python_of(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


ALONE = "import sys\n{}\nassert not set(sys.modules) & {{'torch', 'speechbias', 'onnx', 'transformers'}}\n"


def run_alone(code, folder):
    """Run Python that may not know this package: no source folder, no site hooks of the environment's."""
    code = f"import sys\nsys.path[:] = [p for p in sys.path if not p.endswith('src')]\n{ALONE.format(code)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_docs_runs_without_this_package(tmp_path):
    export_checkpoint(
        saved(tmp_path / "ours", tiny(**UNEQUAL)), tmp_path / "hubert-onnx", format="onnx", latency=False
    )
    (code,) = python_of(DOCS / "export.md")
    assert run_alone(code, tmp_path) == "hubert (4, 99, 16) 0.0\n"


@pytest.mark.parametrize(("family", "form"), [("hubert", "int8"), ("melhubert", "onnx")])
def test_the_example_of_a_card_runs_without_this_package(tmp_path, family, form):
    out = export_checkpoint(saved(tmp_path / "ours", tiny(family)), tmp_path / "out", format=form, latency=False)
    (code,) = python_of(out / "README.md")
    shape = "(4, 49, 16)" if family == "hubert" else "(4, 50, 16)"
    assert run_alone(f"{code}\nprint(states.shape, last.shape)", out).startswith(shape)


def test_the_file_says_what_it_is(tmp_path):
    said = {"format": "speechbias", "pruning": PRUNING, "run": {"name": "r", "recipe": "ab", "seed": 3}}
    ours, encoder = exported(tmp_path, tiny("melhubert"), step=400, provenance=said, mel_stats=MEL_STATS)
    before = load_encoder(ours)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Dated)
    assert isinstance(encoder, Sized)
    assert not isinstance(encoder, BatchEncoder | Staged)
    for name in ("family", "num_states", "dim", "sample_rate", "frame_shift", "min_samples", "states", "step", "run"):
        assert getattr(encoder, name) == getattr(before, name), name
    assert (encoder.parameters, encoder.pruned) == (before.parameters, before.pruned)
    assert encoder.sha256 == file_sha256(tmp_path / "onnx" / "model.onnx")
    assert encoder.facts.encoder_sha256 == before.sha256
    version = ".".join(onnxruntime.__version__.split(".")[:2])
    assert encoder.recipe == {**before.recipe, "engine": f"onnxruntime {version}"}
    props = encoder.session.get_modelmeta().custom_metadata_map
    assert json.loads(props["mel_stats"]) == MEL_STATS.tolist()
    assert str(tmp_path) not in json.dumps(props)
    assert find_front(tmp_path / "onnx") is None
    assert (check_model(tmp_path / "onnx").min_samples, check_model(tmp_path / "onnx").sample_rate) == (400, 16_000)


def test_one_valid_file_with_everything_in_it(tmp_path):
    ours = saved(tmp_path / "ours", tiny(), whole=False)
    for form in ("onnx", "int8"):
        first = export_checkpoint(ours, tmp_path / "first", format=form, latency=False)
        assert sorted(path.name for path in first.iterdir()) == ["README.md", "model.onnx"]
        model = onnx.load(first / "model.onnx", load_external_data=False)
        onnx.checker.check_model(model)
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        again = export_checkpoint(ours, tmp_path / f"{form}.onnx", format=form, latency=False)
        assert again.read_bytes() == (first / "model.onnx").read_bytes()


def test_int8_quantises_every_linear_layer_and_nothing_else(tmp_path):
    ours, encoder = exported(tmp_path, tiny("melhubert"), "int8", mel_stats=MEL_STATS)
    expected = load_encoder(ours).hidden_states(wave(8_000))
    apart = np.abs(encoder.hidden_states(wave(8_000)) - expected).max() / np.abs(expected).max()
    assert 1e-5 < apart < 0.05
    assert (encoder.dtype, encoder.facts.precision) == ("int8", "int8")
    assert "uint8" in encoder.recipe["quantised"]
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "int8" / "model.onnx").graph.initializer}
    matrices = {name for name, kind in kinds.items() if kind == onnx.TensorProto.UINT8 and name.endswith("quantized")}
    assert len(matrices) == 1 + 3 * 6  # the projection; q, k, v, out, fc1, fc2 of each layer
    assert kinds["mel.filters"] == onnx.TensorProto.DOUBLE
    assert not any(name.endswith("fc1.weight") for name in kinds)


def test_it_is_measured_as_shipped(tmp_path, monkeypatch):
    write_test(tmp_path)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "ours", tiny(**UNEQUAL))
    for form in ("onnx", "int8"):
        done = CliRunner().invoke(app, ["export", "ours", "--format", form, "-o", f"{form}.onnx", "--no-latency"])
        assert (done.exit_code, done.exception) == (0, None)
        assert f"speechbias measure {form}.onnx --stimuli" in done.stdout
    options = ["--stimuli", "gender.csv", "--permutations", "200", "--resamples", "200", "--no-audit", "-o", "r.jsonl"]
    done = CliRunner().invoke(app, ["measure", "ours", "onnx.onnx", "int8.onnx", *options, "--workers", "2"])
    assert (done.exit_code, done.exception) == (0, None)
    ours, exact, small = map(json.loads, Path("r.jsonl").read_text().splitlines())
    assert (exact["model"], exact["dtype"], small["dtype"]) == ("onnx.onnx", "float32", "int8")
    assert exact["model_sha256"] == file_sha256(Path("onnx.onnx")) != small["model_sha256"]
    assert exact["recipe"]["engine"].startswith("onnxruntime ")
    assert exact["parameters"] == small["parameters"] == ours["parameters"]
    assert exact["d"] == pytest.approx(ours["d"], abs=1e-4)
    assert ours["d"] != small["d"] == pytest.approx(ours["d"], abs=0.3)
    before = Path("r.jsonl").read_bytes()
    assert CliRunner().invoke(app, ["measure", "onnx.onnx", *options]).exit_code == 0
    assert Path("r.jsonl").read_bytes() == before  # nothing is measured twice


def test_two_threads_get_the_digits_of_one(tmp_path):
    _, encoder = exported(tmp_path, tiny())
    clips = [wave(4_000 + 321 * seed, seed) for seed in range(8)]
    expected = [encoder.pooled(clip) for clip in clips]
    with single_threaded(), ThreadPoolExecutor(4) as threads:
        for pooled, alone in zip(threads.map(encoder.pooled, clips), expected, strict=True):
            np.testing.assert_array_equal(pooled, alone)
    assert encoder.session.get_session_options().intra_op_num_threads == 1


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    ours = saved(folder / "ours", tiny(), whole=False)
    return export_checkpoint(ours, folder / "fine.onnx", format="onnx", latency=False)


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_a_missing_package_is_named_with_the_extra(tmp_path, model, monkeypatch, missing):
    ours = model.with_name("ours")
    monkeypatch.setitem(sys.modules, missing, None)
    line = rf"needs the package {missing}: pip install 'speechbias\[onnx\]'$"
    if missing == "onnxruntime":
        with pytest.raises(InputError, match=line):
            load_encoder(model)
    else:
        load_encoder(model)  # only who writes needs it
    for form in ("onnx", "int8"):
        with pytest.raises(InputError, match=line):
            export_checkpoint(ours, tmp_path / "out", format=form)
    assert not (tmp_path / "out").exists()


def changed(model, path, **props):
    """A copy whose metadata are others; None takes one out."""
    proto = onnx.load(model)
    said = {each.key: each.value for each in proto.metadata_props} | props
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {key: value for key, value in said.items() if value is not None})
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    ("props", "why"),
    [
        ({"speechbias_schema": None}, "not written by speechbias export"),
        ({"speechbias_schema": "2"}, "schema '2', not 1; update"),
        ({"dim": None}, "damaged .dim is missing"),
        ({"dim": "sixteen"}, "damaged .dim is 'sixteen'"),
        ({"dim": "true"}, "damaged .dim is 'true'"),
        ({"num_states": "0"}, "damaged .num_states is '0'"),
        ({"frame_shift": "NaN"}, "damaged .frame_shift is 'NaN'"),
        ({"states": "mine"}, "damaged .states is 'mine'"),
        ({"recipe": "[]"}, "damaged .recipe is"),
        ({"recipe": '{"a": NaN}'}, "damaged .recipe is"),
        ({"pruned": '{"__class__": 1}'}, "damaged .pruned is"),
        ({"step": "-1"}, "damaged .step is"),
        ({"run": "{}"}, "damaged .run is"),
        ({"num_states": "5"}, "its graph is not what it says"),
        ({"input": "features"}, "its graph is not what it says"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path, model, props, why):
    path = changed(model, tmp_path / "changed.onnx", **props)
    for ask in (load_encoder, check_model):
        with pytest.raises(InputError, match=f"^{path}.*{why}") as error:
            ask(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no model", None], ids=["empty", "text", "cut"])
def test_a_broken_file_is_one_line(tmp_path, model, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(model.read_bytes()[:-3_000] if content is None else content)
    with pytest.raises(InputError, match=r"broken.onnx is no ONNX file that onnxruntime can run \(.*copy or") as error:
        load_encoder(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="there is no such file"):
        load_encoder(tmp_path / "missing.onnx")


def test_tensors_in_other_files_are_refused(tmp_path, model):
    path = tmp_path / "outside.onnx"
    onnx.save(onnx.load(model), path, save_as_external_data=True, location="weights", size_threshold=0)
    for ask in (load_encoder, check_model):
        with pytest.raises(InputError, match="tensors in other files, which its hash does not cover; export the"):
            ask(path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"states": "hf"}, "holds the states 's3prl', not 'hf'"),
        ({"device": "cuda"}, "on the CPU; leave --device cuda out"),
        ({"dtype": "bfloat16"}, "computes in float32.*--dtype bfloat16"),
        ({"mel_stats": MEL_STATS}, "takes no mel statistics"),
    ],
)
def test_what_it_was_not_exported_with_is_refused(model, options, why):
    with pytest.raises(InputError, match=f"^fine.onnx .*{why}"):
        load_encoder(model, **options)
    assert load_encoder(model, device="auto").dtype == "float32"


def test_nothing_trains_prunes_or_exports_it_again(tmp_path, model):
    with pytest.raises(InputError, match=r"fine.onnx is an ONNX file.*neither trained on, pruned nor exported"):
        read_checkpoint(model)
    with pytest.raises(InputError, match="give the checkpoint that it was made of"):
        export_checkpoint(model, tmp_path / "again", format="int8")


def test_bad_waves_are_refused_as_elsewhere(model):
    encoder = load_encoder(model)
    for clip, why in ((wave(399), "one frame needs 400"), (np.full(800, np.nan), "NaN"), (np.zeros((2, 800)), "1-d")):
        with pytest.raises(InputError, match=why):
            encoder.pooled(clip)


def test_a_clip_that_onnxruntime_cannot_run_is_one_line(model, monkeypatch):
    class Full:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory\nfor requested buffer")

    encoder = replace(load_encoder(model), session=Full())
    with pytest.raises(InputError, match=r"fine.onnx: onnxruntime cannot run 1 x 800 \(Failed to allocate memory for"):
        encoder.pooled(wave(800))


def test_what_is_there_already_is_kept_unless_it_is_ours(tmp_path, model):
    ours = model.with_name("ours")
    out = tmp_path / "out.onnx"
    for _ in range(2):
        assert export_checkpoint(ours, out, format="onnx", latency=False) == out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.md", "out.onnx"]
    out.with_suffix(".md").write_text("mine")
    (tmp_path / "theirs.onnx").write_bytes(b"mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "model.onnx").write_bytes(b"mine")
    for name in ("out.onnx", "theirs.onnx", "notes"):
        with pytest.raises(InputError, match="choose another name with -o"):
            export_checkpoint(ours, tmp_path / name, format="onnx", latency=False)
    folder = export_checkpoint(ours, tmp_path / "folder", format="onnx", latency=False)
    export_checkpoint(ours, folder, format="int8", latency=False)
    assert load_encoder(folder).dtype == "int8"
    assert load_encoder(folder).name == load_encoder(folder / "model.onnx").name == "folder"
    with pytest.raises(InputError, match="cannot be written"):
        export_checkpoint(ours, tmp_path / "theirs.onnx" / "x.onnx", format="onnx", latency=False)


def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, model, monkeypatch):
    monkeypatch.setattr("speechbias.models.onnx.network._gelu", lambda graph, x: graph.add("Relu", x))
    with pytest.raises(RuntimeError, match="differ by"):
        export_checkpoint(model.with_name("ours"), tmp_path / "out.onnx", format="onnx", latency=False)
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_one_file_are_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr("speechbias.models.onnx.graph.LARGEST", (1 << 20) + 9_000)
    with pytest.raises(InputError, match=r"^ours: the weights"):
        export_checkpoint(model.with_name("ours"), tmp_path / "out", format="onnx", latency=False)
