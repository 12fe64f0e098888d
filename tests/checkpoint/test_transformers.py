"""Folders as transformers writes them, read into our own network; what our network is not goes to the adapter."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechbias.checkpoint import Demands, check_model, load_encoder, read_checkpoint
from speechbias.checkpoint.transformers import read_hints
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.huggingface.adapter import HuggingFaceEncoder, load_huggingface
from speechbias.models.objectives import count_parameters

TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
VARIANTS = {"base": {}, "large": LARGE}
CONVENTIONS = ("s3prl", "hf", "speat-2023")
CONFIGS = {"wav2vec2": transformers.Wav2Vec2Config, "hubert": transformers.HubertConfig}
OLD = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def tiny(name, **changes):
    """A random model of transformers with every parameter moved off its default."""
    kind = getattr(transformers, name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(kind.config_class(**TINY | changes))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """saved(name, **changes): the folder of a model, a copy that may be broken."""
    made = {}

    def save(name, **changes):
        key = (name, str(changes))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("saved") / name
            tiny(name, **changes).save_pretrained(made[key])
        copy = tmp_path_factory.mktemp("copy") / name
        shutil.copytree(made[key], copy)
        return copy

    return save


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def old_names(tensors):
    """As transformers named weight norm before torch 2.1."""
    for new, old in OLD.items():
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    return tensors


def assert_as_the_adapter(folder, wave, states="s3prl", atol=1e-5):
    """Our network, with the states that transformers' own code gives."""
    ours, theirs = load_encoder(folder, states=states), load_huggingface("x", folder, states=states)
    assert isinstance(ours, FrozenNetwork)
    expected = theirs.hidden_states(wave)
    np.testing.assert_allclose(ours.hidden_states(wave), expected, rtol=1e-5, atol=atol)
    about = ("family", "num_states", "dim", "sample_rate", "frame_shift", "min_samples", "states")
    assert [getattr(ours, name) for name in about] == [getattr(theirs, name) for name in about]
    assert check_model(str(folder), states=states) == Demands(theirs.sample_rate, theirs.min_samples)
    return ours


@pytest.mark.parametrize("states", CONVENTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["Wav2Vec2Model", "HubertModel"])
def test_an_encoder_alone(saved, wave, name, variant, states):
    folder = saved(name, **VARIANTS[variant])
    assert_as_the_adapter(folder, wave, states)
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.settings, checkpoint.objective(), checkpoint.meta.step) == (None, None, None)
    assert checkpoint.meta.provenance == {"format": "transformers", "source": name}
    assert (checkpoint.config.pre_norm, checkpoint.config.heads) == (variant == "large", (4, 4, 4))


@pytest.mark.parametrize("name", ["Wav2Vec2ForCTC", "HubertForCTC", "Wav2Vec2ForSequenceClassification"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_encoder_under_a_head(saved, wave, name, variant):
    folder = saved(name, **VARIANTS[variant], vocab_size=10)
    assert_as_the_adapter(folder, wave)
    assert read_checkpoint(folder).meta.provenance["left_out"] in (["lm_head"], ["classifier", "projector"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_for_pre_training_keeps_its_objective(saved, wave, variant):
    sizes = {"codevector_dim": 12, "num_codevectors_per_group": 5, "proj_codevector_dim": 24}
    folder = saved("Wav2Vec2ForPreTraining", **VARIANTS[variant], **sizes)
    assert_as_the_adapter(folder, wave)
    checkpoint = read_checkpoint(folder)
    settings = checkpoint.settings
    assert (settings.final_dim, settings.groups, settings.entries, settings.code_dim) == (24, 2, 5, 12)
    assert "left_out" not in checkpoint.meta.provenance
    theirs = load_file(folder / "model.safetensors")
    objective = checkpoint.objective()
    assert torch.equal(objective.quantizer.codes, theirs["quantizer.codevectors"])
    assert torch.equal(objective.final_proj.weight, theirs["project_hid.weight"])
    assert torch.equal(objective.mask_embedding, theirs["wav2vec2.masked_spec_embed"])
    assert count_parameters(objective) == sum(tensor.numel() for tensor in theirs.values())


@pytest.mark.parametrize("name", ["Wav2Vec2Model", "HubertForCTC"])
def test_shards(saved, wave, name):
    whole = saved(name)
    sharded = whole.parent / "sharded"
    getattr(transformers, name).from_pretrained(whole).save_pretrained(sharded, max_shard_size="200KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert not (sharded / "model.safetensors").exists()
    ours = assert_as_the_adapter(sharded, wave)
    assert ours.sha256 == load_encoder(whole).sha256


def test_every_shard_is_needed(saved, refuses):
    whole = saved("HubertModel")
    sharded = whole.parent / "sharded"
    transformers.HubertModel.from_pretrained(whole).save_pretrained(sharded, max_shard_size="50KB")
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 5
    for shard in shards:
        content = shard.read_bytes()
        shard.unlink()
        refuses("missing|make an encoder", load_encoder, sharded)
        shard.write_bytes(content)
    assert load_encoder(sharded).num_states == 4


@pytest.mark.parametrize("old", [False, True], ids=["parametrised", "weight_g"])
@pytest.mark.parametrize("kind", ["safetensors", "bin", "legacy-bin", "bin-shards"])
@pytest.mark.parametrize("name", ["Wav2Vec2ForPreTraining", "HubertModel"])
def test_every_kind_of_weight_file(saved, wave, name, kind, old):
    folder = saved(name, **LARGE)
    expected = load_encoder(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors = old_names(tensors) if old else tensors
    if kind == "safetensors":
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    elif kind == "bin-shards":
        for number in (0, 1):
            part = dict(list(tensors.items())[number::2])
            torch.save(part, folder / f"pytorch_model-0000{number + 1}-of-00002.bin")
        (folder / "pytorch_model.bin.index.json").write_text("{}")
    else:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=kind == "bin")
    encoder = load_encoder(folder)
    assert encoder.sha256 == expected.sha256
    assert np.array_equal(encoder.hidden_states(wave), expected.hidden_states(wave))
    assert (read_checkpoint(folder).settings is None) == (name == "HubertModel")


def test_half_precision(saved, wave):
    folder = saved("HubertModel")
    tensors = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert_as_the_adapter(folder, wave)
    assert {tensor.dtype for tensor in read_checkpoint(folder).tensors.values()} == {torch.float32}


@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_whether_waves_are_normalised_is_what_the_extractor_says(saved, wave, variant, normalise, file):
    folder = saved("Wav2Vec2Model", **VARIANTS[variant])
    settings = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).to_dict()
    content = settings if file.startswith("pre") else {"feature_extractor": settings}
    (folder / file).write_text(json.dumps(content))
    encoder = assert_as_the_adapter(folder, wave)
    assert encoder.config.frontend.wave_norm_eps == (1e-7 if normalise else None)
    other = load_encoder(saved("Wav2Vec2Model", **VARIANTS[variant])).hidden_states(wave)
    same = np.allclose(encoder.hidden_states(wave), other, atol=1e-4)
    assert same == (normalise == (variant == "large"))  # without a file the extractor's norm says it


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "transformers":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from speechbias.checkpoint import check_model, load_encoder

wave = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    print(load_encoder(folder).pooled(wave).sum(dtype=np.float64), check_model(folder).min_samples)
"""


def test_without_transformers(saved, wave, tmp_path):
    folders = [saved("Wav2Vec2ForPreTraining"), saved("HubertModel", **LARGE)]
    np.save(tmp_path / "wave.npy", wave)
    command = [sys.executable, "-c", BLOCKED, str(tmp_path / "wave.npy"), *map(str, folders)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for line, folder in zip(lines, folders, strict=True):
        total, checked = line.split()
        expected = load_encoder(folder).pooled(wave).sum(dtype=np.float64)
        assert float(total) == pytest.approx(expected, rel=1e-4)
        assert checked == "400"


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu_new"},
        {"feat_extract_activation": "relu"},
        {"add_adapter": True, "num_adapter_layers": 1},
        {"layer_norm_eps": 1e-6},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_our_network_is_not_goes_to_the_adapter(saved, wave, changes):
    folder = saved("Wav2Vec2Model", **changes)
    assert read_hints(folder) is None
    encoder = load_encoder(folder)
    assert isinstance(encoder, HuggingFaceEncoder)
    assert np.array_equal(encoder.hidden_states(wave), load_huggingface("x", folder).hidden_states(wave))
    assert check_model(str(folder)) == Demands(16_000, 400)


def test_another_sampling_rate_goes_to_the_adapter(saved):
    folder = saved("Wav2Vec2Model")
    settings = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000).to_dict()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = load_encoder(folder)
    assert (type(encoder), encoder.sample_rate) == (HuggingFaceEncoder, 8_000)
    assert check_model(str(folder)) == Demands(8_000, 400)


@pytest.mark.parametrize("rate", [0, -16_000, None, "16000", [16_000], {}])
def test_a_sampling_rate_that_is_none(saved, refuses, rate):
    folder = saved("HubertModel")
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": rate}))
    refuses("not a whole number", load_encoder, folder)


def test_positions_with_a_batch_norm_go_to_the_adapter(saved, wave):
    folder = saved("HubertModel", conv_pos_batch_norm=True)
    assert read_hints(folder) is None
    assert isinstance(load_encoder(folder), HuggingFaceEncoder)


def test_the_adapter_s_models_are_no_checkpoints_of_ours(saved, refuses):
    folder = saved("Wav2Vec2Model", hidden_act="gelu_new")
    refuses("an encoder that transformers runs", read_checkpoint, folder)
    refuses("takes no mel statistics", load_encoder, folder, mel_stats=np.ones((2, 40)))


def test_distilhubert(saved, wave, refuses):
    folder = saved("HubertModel", feat_proj_layer_norm=False, num_hidden_layers=2)
    encoder = load_encoder(folder)
    assert isinstance(encoder, FrozenNetwork)
    assert encoder.config.student
    states, theirs = encoder.hidden_states(wave), load_huggingface("x", folder, states="hf").hidden_states(wave)
    model = transformers.HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        projected = model.feature_projection(model.feature_extractor(torch.tensor(wave)[None]).transpose(1, 2))
    np.testing.assert_allclose(states[0], projected[0], atol=1e-5)
    np.testing.assert_allclose(states[1:], theirs[1:], rtol=1e-5, atol=1e-5)
    listed = load_encoder(folder, states="hf")
    assert np.array_equal(listed.hidden_states(wave), theirs)
    assert not np.allclose(states[0], theirs[0], atol=1e-2)
    refuses("not defined for a distilled student", load_encoder, folder, states="speat-2023")
    refuses("not defined for a distilled student", check_model, str(folder), states="speat-2023")


# Broken folders


@pytest.mark.parametrize("name", ["Wav2Vec2ForCTC", "HubertModel"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_without_one_of_its_weights(saved, refuses, name, variant):
    folder = saved(name, **VARIANTS[variant])
    whole = load_file(folder / "model.safetensors")
    for lost in whole:
        if "masked_spec_embed" in lost or "lm_head" in lost:
            continue
        rest = {key: tensor for key, tensor in whole.items() if key != lost}
        save_file(rest, folder / "model.safetensors", {"format": "pt"})
        refuses(name, load_encoder, folder)


def test_weights_of_another_shape(saved, refuses):
    folder = saved("HubertModel")
    whole = load_file(folder / "model.safetensors")
    save_file(whole | {"encoder.layers.1.attention.k_proj.weight": torch.ones(64, 32)}, folder / "model.safetensors")
    refuses("k_proj.weight is 64 x 32, not 64 x 64", load_encoder, folder)


def test_weights_inside_the_encoder_that_nobody_knows(saved, refuses):
    folder = saved("HubertModel")
    whole = load_file(folder / "model.safetensors")
    save_file(whole | {"encoder.layers.0.attention.gru_rel_pos_const": torch.ones(4)}, folder / "model.safetensors")
    refuses("gru_rel_pos_const", load_encoder, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 4}, "transformer.layers.3 of 4 layers"),
        ({"num_hidden_layers": 2}, "3 layers, where its settings say 2"),
        ({"num_hidden_layers": "3"}, "not a whole number"),
        ({"num_attention_heads": "four"}, "not a whole number"),
        ({"num_attention_heads": None}, "not a whole number"),
        ({"num_attention_heads": 0}, "not a whole number"),
        ({"num_attention_heads": -4}, "not a whole number"),
        ({"num_attention_heads": 3}, "rows"),
        ({"conv_stride": None}, "no such settings"),
        ({"conv_stride": [5, 2, 2]}, "7 convolutions and 3 strides"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 0]}, "not a whole number"),
        ({"conv_stride": ["5"] * 7}, "not a whole number"),
        ({"conv_stride": 320}, "no such settings"),
        ({"model_type": "tacotron"}, "this package reads"),
        ({"model_type": ["hubert"]}, "no such settings"),
        ({"schema": 1}, "no encoder.safetensors"),
    ],
    ids=str,
)
def test_a_config_that_is_wrong(saved, refuses, changes, message):
    folder = saved("HubertModel")
    change(folder / "config.json", **changes)
    refuses(message, load_encoder, folder)
    refuses(message, check_model, str(folder))


def test_files_that_are_broken(saved, refuses):
    for name, content in (
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("preprocessor_config.json", b"{"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x10" + bytes(7) + b"{"),
    ):
        folder = saved("HubertModel")
        (folder / name).write_bytes(content)
        refuses(name, load_encoder, folder)
    folder = saved("HubertModel")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refuses("cannot be read as safetensors", load_encoder, folder)


def test_a_folder_without_weights(saved, refuses):
    folder = saved("HubertModel")
    (folder / "model.safetensors").unlink()
    refuses(r"no model\.safetensors \(and no pytorch_model\.bin\)", load_encoder, folder)


@pytest.mark.parametrize("content", [[1], {"state_dict": {"a": torch.ones(2)}}, {5: torch.ones(2)}, torch.ones(3)])
def test_a_bin_that_holds_something_else(saved, refuses, content):
    folder = saved("HubertModel")
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    refuses("no weights by their names|missing|make an encoder", load_encoder, folder)


def test_a_bin_that_asks_for_code_runs_nothing(saved, refuses, tmp_path):
    class Payload:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'canary')!r}, 'w')",))

    folder = saved("HubertModel")
    (folder / "model.safetensors").unlink()
    torch.save({"x": Payload()}, folder / "pytorch_model.bin")
    refuses("nothing was run", load_encoder, folder)
    assert not (tmp_path / "canary").exists()


def test_a_single_file_of_a_folder_is_not_the_folder(saved, refuses):
    folder = saved("HubertModel")
    for name in ("model.safetensors", "config.json"):
        refuses("is one file of a folder; pass the folder", load_encoder, folder / name)
