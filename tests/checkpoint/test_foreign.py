"""Files of fairseq, S3PRL, MelHuBERT and Speech-SSL-Compression: read into our network, or refused in one line."""

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechbias.checkpoint import check_model, load_encoder, read_checkpoint
from speechbias.checkpoint.foreign import read_foreign
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.models.config import sized
from speechbias.models.convert.fairseq import conv_layers
from speechbias.models.convert.names import FAIRSEQ_NAMES, TRANSFORMERS_NAMES
from speechbias.models.convert.shapes import expected_shapes
from speechbias.models.mel import mel_features
from speechbias.models.pruning import Pruning

Namespace = argparse.Namespace
CONVENTIONS = ("s3prl", "hf", "speat-2023")
LARGE = {"norm": "layer", "bias": True, "pre_norm": True, "wave_norm_eps": 1e-5}
VARIANTS = {"base": {}, "large": LARGE}
STATS = np.random.default_rng(0).uniform(2, 5, (2, 40))


def fairseq_file(model, cfg, **more):
    """What fairseq's trainer saves."""
    return {
        "args": None,
        "cfg": cfg,
        "model": OrderedDict(model),
        "criterion": OrderedDict(),
        "optimizer_history": [{"num_updates": 100, "optimizer_name": "FairseqAdam"}, {"num_updates": 400_000}],
        "task_state": {"dictionaries": [("Dictionary", ["<s>", "<pad>", "</s>", "<unk>", "0", "1"])]},
        "extra_state": {"metrics": OrderedDict(), "val_loss": 2.5, "train_iterator": {"epoch": 7}},
        "last_optimizer_state": {"state": {0: {"step": 4, "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 5e-4}]},
    } | more


def namespaces(value):
    """Dicts as Namespaces, all the way down."""
    return Namespace(**{k: namespaces(v) for k, v in value.items()}) if isinstance(value, dict) else value


def flat(cfg):
    """Settings as they were before hydra: one Namespace for model and task."""
    model = dict(cfg["model"])
    return Namespace(arch=model.pop("_name"), **model, **cfg["task"])


SHELLS = {
    "dict": lambda cfg: {"cfg": cfg},
    "omegaconf": lambda cfg: {"cfg": ("DictConfig", cfg)},
    "namespaces": lambda cfg: {"cfg": namespaces(cfg)},
    "args": lambda cfg: {"cfg": None, "args": flat(cfg)},
}


def assert_same(encoder, reference, wave):
    """The same states to the bit, and the same identity."""
    assert isinstance(encoder, Encoder)
    states = encoder.hidden_states(wave)
    assert np.isfinite(states).all()
    np.testing.assert_array_equal(states, reference.hidden_states(wave))
    assert (encoder.sha256, encoder.recipe) == (reference.sha256, reference.recipe)


def test_the_classes_in_the_files_exist_nowhere_here():
    assert importlib.util.find_spec("fairseq") is None
    assert importlib.util.find_spec("omegaconf") is None


# Names, written down by hand from the specification (toolkits.md 5.3, compression.md 7)

BLOCK = [
    f"{part}.{kind}"
    for part in (
        *(f"self_attn.{name}_proj" for name in ("k", "v", "q", "out")),
        *("self_attn_layer_norm", "fc1", "fc2", "final_layer_norm"),
    )
    for kind in ("weight", "bias")
]
TRANSFORMER = [
    *("encoder.pos_conv.0.bias", "encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v"),
    *(f"encoder.layers.0.{name}" for name in BLOCK),
    *("encoder.layer_norm.weight", "encoder.layer_norm.bias"),
]
MELHUBERT = [
    *("pre_extract_proj.weight", "pre_extract_proj.bias"),
    *TRANSFORMER,
    *("final_proj.weight", "final_proj.bias"),
]
WAVEFORM = [
    "mask_emb",
    *(f"feature_extractor.conv_layers.{i}.0.weight" for i in range(7)),
    *("layer_norm.weight", "layer_norm.bias", "post_extract_proj.weight", "post_extract_proj.bias"),
    *TRANSFORMER,
    *("final_proj.weight", "final_proj.bias"),
]
GROUP = ["feature_extractor.conv_layers.0.2.weight", "feature_extractor.conv_layers.0.2.bias"]
LAYERS = [
    *(f"feature_extractor.conv_layers.{i}.2.1.{kind}" for i in range(7) for kind in ("weight", "bias")),
    *(f"feature_extractor.conv_layers.{i}.0.bias" for i in range(7)),
]
QUANTIZER = [
    *("quantizer.vars", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"),
    *("project_q.weight", "project_q.bias"),
]


@pytest.mark.parametrize(
    ("family", "changes", "names"),
    [
        ("wav2vec2", {}, WAVEFORM + GROUP + QUANTIZER),
        ("hubert", LARGE, [*WAVEFORM, *LAYERS, "label_embs_concat"]),
        ("melhubert", {}, MELHUBERT),
    ],
    ids=["wav2vec2", "hubert-large", "melhubert"],
)
def test_the_names_of_a_real_file(original, family, changes, names):
    one = original(family, layers=1, **changes)
    assert sorted(one.fairseq()) == sorted(names)
    renamed, left_out = FAIRSEQ_NAMES.rename(dict.fromkeys(names))
    assert not left_out
    assert renamed.keys() == one.tensors.keys() | one.rest.keys()


HF_BLOCK = [
    *(f"attention.{name}_proj" for name in ("k", "v", "q", "out")),
    *("layer_norm", "feed_forward.intermediate_dense", "feed_forward.output_dense", "final_layer_norm"),
]
HF_ENCODER = [
    "masked_spec_embed",
    *(f"feature_extractor.conv_layers.{i}.conv.weight" for i in range(7)),
    *(f"feature_extractor.conv_layers.0.layer_norm.{kind}" for kind in ("weight", "bias")),
    *(f"feature_projection.layer_norm.{kind}" for kind in ("weight", "bias")),
    *(f"feature_projection.projection.{kind}" for kind in ("weight", "bias")),
    "encoder.pos_conv_embed.conv.bias",
    *(f"encoder.pos_conv_embed.conv.parametrizations.weight.original{i}" for i in (0, 1)),
    *(f"encoder.layer_norm.{kind}" for kind in ("weight", "bias")),
    *(f"encoder.layers.0.{part}.{kind}" for part in HF_BLOCK for kind in ("weight", "bias")),
]


@pytest.mark.parametrize("old", [False, True])
def test_the_names_of_transformers(original, old):
    heads = [
        *("quantizer.codevectors", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"),
        *("project_q.weight", "project_q.bias", "project_hid.weight", "project_hid.bias"),
    ]
    names = [f"wav2vec2.{name}" for name in HF_ENCODER] + heads
    if old:
        names = [
            n.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            )
            for n in names
        ]
    one = original(layers=1)
    renamed, left_out = TRANSFORMERS_NAMES.rename(dict.fromkeys(names))
    assert not left_out
    assert renamed.keys() == one.tensors.keys() | one.rest.keys()


def test_names_that_only_begin_like_known_ones_are_left_out():
    names = ["layer_normal.weight", "encoder.layers.0.fc11.weight", "xencoder.layers.0.fc1.weight", "mask_embed"]
    assert FAIRSEQ_NAMES.rename(dict.fromkeys(names)) == ({}, names)


# fairseq


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_fairseq_files(original, write, wave, family, variant, shell, new):  # noqa: PLR0917
    one = original(family, **VARIANTS[variant])
    path = write("model.pt", fairseq_file(one.fairseq(), **SHELLS[shell](one.settings())), new=new)
    assert_same(load_encoder(path), one.encoder(), wave)
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == one.config
    assert checkpoint.meta.step == 400_000
    assert dict(checkpoint.meta.provenance) == {"format": "fairseq", "source": "model.pt"}
    assert checkpoint.objective_tensors.keys() == one.rest.keys()
    assert all(torch.equal(tensor, one.rest[name]) for name, tensor in checkpoint.objective_tensors.items())
    whole = checkpoint.objective()
    assert torch.equal(whole.final_proj.weight, one.rest["final_proj.weight"])


def fairseq_file_of(one, **more):
    return fairseq_file(one.fairseq(), one.settings(), **more)


@pytest.mark.parametrize("states", CONVENTIONS)
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_every_convention(original, write, wave, family, states):
    one = original(family, **LARGE)
    path = write("model.pt", fairseq_file_of(one))
    assert_same(load_encoder(path, states=states), one.encoder(states), wave)


def test_names_of_weight_norm_since_torch_2(original, write, wave):
    one = original("hubert")
    path = write("model.pt", fairseq_file(one.fairseq(old=False), one.settings()))
    assert_same(load_encoder(path), one.encoder(), wave)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_float32(original, rebuilt, write, wave, kind):
    one = original("hubert")
    rounded = rebuilt(one.config, {name: tensor.to(kind) for name, tensor in one.tensors.items()})
    path = write("half.pt", fairseq_file_of(rounded))
    checkpoint = read_checkpoint(path)
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float32}
    exact = rebuilt(one.config, {name: tensor.float() for name, tensor in rounded.tensors.items()})
    assert_same(load_encoder(path), exact.encoder(), wave)


@pytest.mark.parametrize("inner", ["dict", "namespaces", "args", "omegaconf"])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_fine_tuned_for_recognition(original, write, wave, family, variant, inner):  # noqa: PLR0917
    one = original(family, **VARIANTS[variant])
    model = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in one.fairseq(objective=False).items()}
    model |= {"w2v_encoder.proj.weight": torch.ones(32, 64), "w2v_encoder.proj.bias": torch.ones(32)}
    model["w2v_encoder.w2v_model.mask_emb"] = one.rest["mask_embedding"]
    pretrained = one.settings()
    inside = next(value for value in SHELLS[inner](pretrained).values() if value is not None)
    name = {"wav2vec2": "wav2vec_ctc", "hubert": "hubert_ctc"}[family]
    cfg = {
        "model": {"_name": name, "w2v_path": "/checkpoint/a.pt", "w2v_args": inside, "normalize": "${task.normalize}"},
        "task": {"_name": "audio_finetuning", "normalize": pretrained["task"]["normalize"], "labels": "ltr"},
    }
    path = write("ctc.pt", fairseq_file(model, cfg))
    assert_same(load_encoder(path), one.encoder(), wave)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.config.family, checkpoint.settings) == (family, None)
    assert checkpoint.meta.provenance["left_out"] == ["w2v_encoder"]


def test_fine_tuned_before_hydra(original, write, wave):
    one = original("wav2vec2", **LARGE)
    model = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in one.fairseq(objective=False).items()}
    args = Namespace(arch="wav2vec_ctc", normalize=True, w2v_args=flat(one.settings()), data="/data")
    path = write("ctc.pt", fairseq_file(model, None, args=args))
    assert_same(load_encoder(path), one.encoder(), wave)


def test_without_a_projection_where_the_dimensions_are_the_same(original, write, wave):
    one = original("wav2vec2", channels=(64,) * 7, projection=False)
    path = write("narrow.pt", fairseq_file_of(one))
    assert not any("post_extract_proj" in name for name in one.fairseq())
    assert_same(load_encoder(path), one.encoder(), wave)
    assert load_encoder(path, states="speat-2023").recipe["state_0"] == "input projection"


def test_data_parallel_puts_module_in_front(original, write, wave):
    one = original("wav2vec2")
    path = write("parallel.pt", fairseq_file({f"module.{n}": t for n, t in one.fairseq().items()}, one.settings()))
    assert_same(load_encoder(path), one.encoder(), wave)
    assert "left_out" not in read_checkpoint(path).meta.provenance
    assert read_checkpoint(path).settings is not None


@pytest.mark.parametrize(
    "text",
    [
        "[(16, 10, 4)] + [(16, 3, 2)] * 2 + [(16,4,3)]",
        "[(16, 10, 4), (16, 3, 2), (16, 3, 2), (16, 4, 3)]",
        [[16, 10, 4], [16, 3, 2], [16, 3, 2], [16, 4, 3]],
    ],
)
def test_other_convolutions(original, write, wave, text):
    one = original(channels=(16,) * 4, kernels=(10, 3, 3, 4), strides=(4, 2, 2, 3))
    path = write("model.pt", fairseq_file(one.fairseq(), one.settings(conv_feature_layers=text)))
    encoder = load_encoder(path)
    assert_same(encoder, one.encoder(), wave)
    assert (encoder.frame_shift, encoder.min_samples) == (48 / 16_000, one.config.frontend.receptive_field)


def test_convolutions_that_the_text_does_not_name_are_refused(original, write, refuses):
    one = original(channels=(16,) * 4, kernels=(10, 3, 3, 4), strides=(4, 2, 2, 3))
    settings = one.settings()
    del settings["model"]["conv_feature_layers"]
    refuses("4 convolutions and 7 strides", load_encoder, write("model.pt", fairseq_file(one.fairseq(), settings)))


def test_a_file_is_what_it_holds_and_not_what_it_is_called(original, write, wave):
    one = original("hubert")
    for name in ("model", "model.ckpt", "model.bin", "model.tar.gz", "model.png", "mel"):
        assert_same(load_encoder(write(name, fairseq_file_of(one))), one.encoder(), wave)


def test_nothing_tells_where_the_file_lay(original, write):
    path = write("model.pt", fairseq_file_of(original("hubert")))
    encoder, meta = load_encoder(path), read_checkpoint(path).meta
    said = repr([encoder.name, dict(encoder.recipe), meta])
    assert encoder.name == "model.pt"
    assert "/" not in said.replace("-/", "")
    assert str(path.parent) not in said


def test_weights_stay_in_the_file_until_they_are_used(original, write):
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc")
    path = write("model.pt", fairseq_file_of(original("hubert")))
    network = load_encoder(path).network
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps if line[-1].strip() == str(path)]
    addresses = [tensor.data_ptr() for tensor in network.state_dict().values()]
    assert all(any(start <= address < end for start, end in spans) for address in addresses)


def test_a_large_file_is_mapped_and_not_copied(tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    shapes = expected_shapes(sized("hubert", "base"))
    model = {FAIRSEQ_NAMES.theirs(name).replace("0.2.1.", "0.2."): torch.zeros(s) for name, s in shapes.items()}
    settings = {"_name": "hubert", "label_rate": 50.0, "encoder_attention_heads": 12}
    torch.save({"model": model, "cfg": {"model": settings}}, tmp_path / "base.pt")
    assert (tmp_path / "base.pt").stat().st_size > 360e6
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from speechbias.checkpoint import load_encoder, read_checkpoint\n"
        "def memory(kind):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(kind))\n"
        "read_checkpoint('random:melhubert-small').network()\n"  # so that all modules are there
        "peak, own = memory('VmHWM'), memory('RssAnon')\n"
        "network = read_checkpoint(sys.argv[1]).network()\n"
        "read = memory('VmHWM') - peak\n"
        "encoder = load_encoder(sys.argv[1])\n"
        "print(read, memory('RssAnon') - own, memory('VmHWM') - peak)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "base.pt")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    read, copied, most = map(int, output.split())
    assert read < 100_000  # kB; the weights are 370,000, and reading touches none of them
    assert copied < 480_000  # an encoder hashes them, in the pages of the file, and packs them once
    assert most < 550_000  # part by part: never the weights in the file and packed ones, twice 370,000, at a time


# S3PRL


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_converted_by_s3prl(original, write, wave, family, variant):
    one = original(family, **VARIANTS[variant])
    settings = one.settings()
    content = {"task_cfg": settings["task"], "model_cfg": settings["model"], "model_weight": one.fairseq()}
    if family == "hubert":
        content["dictionaries_symbols"] = [["<s>", "<pad>", "</s>", "<unk>", "0"]]
    path = write("converted.pt", content)
    assert_same(load_encoder(path), one.encoder(), wave)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.config, checkpoint.meta.step) == (one.config, None)
    assert checkpoint.meta.provenance["format"] == "S3PRL, converted from fairseq"


def distiller_file(one, teacher="hubert_base"):
    """What S3PRL's pretrain/distiller saves."""
    model = one.fairseq(objective=False)
    model |= {f"output_layer.{i}.{kind}": torch.ones(4, 4) for i in (0, 2) for kind in ("weight", "bias")}
    settings = {
        "extractor_conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "extractor_mode": "default",
        "encoder_layers": one.config.num_layers,
        "encoder_embed_dim": 64,
        "encoder_attention_heads": 4,
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "out_layer_type": "expand-last",
        "n_tasks": 3,
        "pred_layer_id": [4, 8, 12],
    }
    return {
        "Distiller": model,
        "Config": {
            "distiller": settings,
            "teacher": {"model": teacher, "n_layers": 12},
            "audio": {"target_level": -25},
        },
        "Args": Namespace(expdir="/home/somebody/result"),
        "Optimizer": {"state": {}, "param_groups": []},
        "Step": 200_000,
    }


@pytest.mark.parametrize(("teacher", "family"), [("hubert_base", "hubert"), ("wav2vec2_base_960", "wav2vec2")])
def test_distilled_by_s3prl(original, write, wave, refuses, teacher, family):  # noqa: PLR0917
    one = original(family, layers=2, feature_norm=False, student=True)
    path = write("distilled.ckpt", distiller_file(one, teacher))
    encoder = load_encoder(path)
    assert_same(encoder, one.encoder(), wave)
    assert encoder.num_states == 3
    network = encoder.network
    with torch.inference_mode():
        projected = network.projection(network.frontend(torch.from_numpy(wave)[None]))[0]
    np.testing.assert_allclose(encoder.hidden_states(wave)[0], projected.numpy(), rtol=1e-5, atol=1e-6)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.config, checkpoint.settings, checkpoint.meta.step) == (one.config, None, 200_000)
    assert checkpoint.meta.provenance["left_out"] == ["output_layer"]
    for states in ("hf", "speat-2023"):
        refuses("not defined for a distilled student", load_encoder, path, states=states)


# MelHuBERT and Speech-SSL-Compression


def compression_file(one, model=None, *, section="melhubert", **more):
    """What MelHuBERT and Speech-SSL-Compression save."""
    settings = one.settings()
    return {
        "Optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-5, "params": [0]}]},
        "Step": 125_000,
        "Args": Namespace(expdir="/home/somebody/exp", mode="melhubert", multi_gpu=False),
        "Runner": {"total_steps": 366_000, "gradient_clipping": 10.0},
        "model": one.fairseq() if model is None else model,
        "Upstream_Config": {section: settings["model"], "task": settings["task"]},
    } | more


def frames_of(one, seed=0):
    shape = (30, one.config.frontend.dim)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("section", ["melhubert", "hubert", "model"])
@pytest.mark.parametrize("stack", [2, 1], ids=["20ms", "10ms"])
def test_melhubert(original, write, stack, section):
    one = original("melhubert", stack=stack)
    path = write("states.ckpt", compression_file(one, section=section))
    checkpoint, encoder = read_checkpoint(path), load_encoder(path)
    assert (checkpoint.config, checkpoint.meta.step) == (one.config, 125_000)
    assert torch.equal(checkpoint.objective_tensors["final_proj.weight"], one.rest["final_proj.weight"])
    frames = frames_of(one)
    expected = one.encoder().encode_features(frames)
    assert np.array_equal(encoder.encode_features(frames), expected)
    assert expected.shape == (4, 30, 64)
    assert (encoder.family, encoder.frame_shift) == ("melhubert", 0.01 * stack)
    assert encoder.sha256 == one.encoder().sha256


def test_melhubert_takes_no_audio_without_statistics(original, write, wave, refuses, tmp_path):
    one = original("melhubert")
    path = write("states.ckpt", compression_file(one))
    encoder = load_encoder(path)
    for work in (encoder.hidden_states, encoder.pooled):
        refuses("--mel-stats", work, wave)
    np.save(tmp_path / "mean-std.npy", STATS)
    for stats in (STATS, tmp_path / "mean-std.npy", str(tmp_path / "mean-std.npy")):
        heard = load_encoder(path, mel_stats=stats)
        by_hand = encoder.encode_features(mel_features(wave, one.config.frontend, STATS))
        assert np.array_equal(heard.hidden_states(wave), by_hand)
        assert heard.recipe != encoder.recipe
        assert heard.sha256 == encoder.sha256
    refuses("holds 2 x 39", load_encoder, path, mel_stats=STATS[:, :39])


def test_a_waveform_model_takes_no_statistics(original, write, refuses):
    path = write("model.pt", fairseq_file_of(original("hubert")))
    assert not check_model(path, mel_stats=STATS).takes_mel_stats
    refuses("takes no mel statistics", load_encoder, path, mel_stats=STATS)


HEADS = {0: [1], 1: [0, 3], 2: []}
ROWS = {0: range(0, 96, 3), 1: [5], 2: range(48)}


def without_heads(model, heads, *, size=16):
    """Heads taken out of a fairseq-like state dict as Speech-SSL-Compression does it; the output's bias stays."""
    model = dict(model)
    for layer, gone in heads.items():
        attention = f"encoder.layers.{layer}.self_attn"
        rows = [i for i in range(len(model[f"{attention}.q_proj.bias"])) if i // size not in gone]
        for name in "qkv":
            for kind in ("weight", "bias"):
                model[f"{attention}.{name}_proj.{kind}"] = model[f"{attention}.{name}_proj.{kind}"][rows].clone()
        model[f"{attention}.out_proj.weight"] = model[f"{attention}.out_proj.weight"][:, rows].clone()
    return model


def without_rows(model, rows):
    """Rows of the feed-forward maps taken out."""
    model = dict(model)
    for layer, gone in rows.items():
        block = f"encoder.layers.{layer}"
        kept = [i for i in range(len(model[f"{block}.fc1.bias"])) if i not in set(gone)]
        for kind in ("weight", "bias"):
            model[f"{block}.fc1.{kind}"] = model[f"{block}.fc1.{kind}"][kept].clone()
        model[f"{block}.fc2.weight"] = model[f"{block}.fc2.weight"][:, kept].clone()
    return model


def silenced(rebuilt, one, heads, rows, *, size=16):
    """The oracle: the unpruned model, in which what was pruned contributes nothing."""
    tensors = {name: tensor.clone() for name, tensor in one.tensors.items()}
    for layer, gone in heads.items():
        for head in gone:
            tensors[f"transformer.layers.{layer}.attention.out_proj.weight"][:, head * size : (head + 1) * size] = 0
    for layer, gone in rows.items():
        tensors[f"transformer.layers.{layer}.fc2.weight"][:, list(gone)] = 0
    return rebuilt(one.config, tensors)


@pytest.mark.parametrize("stack", [2, 1], ids=["20ms", "10ms"])
@pytest.mark.parametrize("what", ["heads", "rows", "both"])
def test_pruned_heads_and_rows(original, rebuilt, write, what, stack):
    one = original("melhubert", stack=stack)
    heads, rows = ({} if what == "rows" else HEADS), ({} if what == "heads" else ROWS)
    model = without_rows(without_heads(one.fairseq(), heads), rows)
    more = {"Pruned_heads": [{0: [1], 1: [0], 2: []}, {0: [], 1: [2], 2: []}]} if heads else {}
    path = write("states_prune.ckpt", compression_file(one, model, **more))
    checkpoint, encoder = read_checkpoint(path), load_encoder(path)
    assert checkpoint.config.heads == ((3, 2, 4) if heads else (4, 4, 4))
    assert checkpoint.config.ffn == ((64, 95, 48) if rows else (96, 96, 96))
    if heads:
        assert checkpoint.meta.provenance["method"] == "head pruning"
        assert checkpoint.meta.provenance["prunings"] == 2
        assert checkpoint.meta.pruning == Pruning("heads", None, None, cuts=2, remaining=9, of=12)
    else:
        assert checkpoint.meta.pruning is None
    assert encoder.parameters == sum(tensor.numel() for tensor in checkpoint.tensors.values())
    frames = frames_of(one)
    expected = silenced(rebuilt, one, heads, rows).encoder().encode_features(frames)
    np.testing.assert_allclose(encoder.encode_features(frames), expected, atol=2e-5)
    assert not np.allclose(expected, one.encoder().encode_features(frames), atol=1e-2)


def masked(model, sparsity=0.4):
    """Weights pruned as torch.nn.utils.prune leaves them: what lies under the mask is not zero."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for name, tensor in model.items():
        if "encoder.layers" in name and "norm" not in name:
            made[f"{name}_orig"] = tensor
            made[f"{name}_mask"] = torch.rand(tensor.shape, generator=generator) >= sparsity
            assert (tensor[~made[f"{name}_mask"]] != 0).all()
        else:
            made[name] = tensor
    return made


def zeroed(one, model):
    """The oracle: the same weights set to zero."""
    named, _ = FAIRSEQ_NAMES.rename({n.removesuffix("_mask"): t for n, t in model.items() if n.endswith("_mask")})
    return {name: torch.where(named[name], t, 0) if name in named else t for name, t in one.tensors.items()}


def random_states():
    python = random.Random(0).getstate()
    return {"python": python, "numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()}


@pytest.mark.parametrize("stack", [2, 1], ids=["20ms", "10ms"])
def test_pruned_weights(original, rebuilt, write, stack):
    one = original("melhubert", stack=stack)
    model = masked(one.fairseq())
    more = {
        "Pruning": {"smooth_loss": 3.5, "tgt_smooth_loss": -float("inf"), "pruning_times": 3},
        "RandomState": random_states(),
        "TotalStep": 1_000_000,
    }
    path = write("mask-before-pruning.ckpt", compression_file(one, model, **more))
    checkpoint, frames = read_checkpoint(path), frames_of(one)
    expected = rebuilt(one.config, zeroed(one, model)).encoder()
    assert np.array_equal(load_encoder(path).encode_features(frames), expected.encode_features(frames))
    assert checkpoint.config == one.config
    assert checkpoint.meta.provenance["method"] == "weight pruning"
    masks = [tensor for name, tensor in model.items() if name.endswith("_mask")]
    share = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    assert checkpoint.meta.provenance["sparsity"] == pytest.approx(share, abs=1e-6)
    kept, total = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    assert checkpoint.meta.pruning == Pruning("weights", None, None, cuts=3, remaining=kept, of=total)
    whole = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    assert load_encoder(path).parameters == whole - (total - kept)


def test_what_lies_under_a_mask_may_be_anything(original, write):
    one = original("melhubert")
    model = masked(one.fairseq())
    under = "encoder.layers.1.fc1.weight"
    broken = model[f"{under}_orig"].clone()
    broken[~model[f"{under}_mask"]] = float("nan")
    path = write("mask.ckpt", compression_file(one, model | {f"{under}_orig": broken}))
    assert np.isfinite(load_encoder(path).encode_features(frames_of(one))).all()


def test_a_wav2vec2_with_pruned_weights(original, rebuilt, write, wave):
    one = original("wav2vec2")
    model = masked(one.fairseq())
    path = write("mask.ckpt", compression_file(one, model, section="model", RandomState=random_states()))
    encoder = load_encoder(path)
    expected = rebuilt(one.config, zeroed(one, model)).encoder()
    assert np.array_equal(encoder.hidden_states(wave), expected.hidden_states(wave))
    assert encoder.family == "wav2vec2"
    assert encoder.pruned["method"] == "weights"
    assert read_checkpoint(path).meta.pruning.cuts == 1  # it does not say how often, and some of it is gone


def test_a_wav2vec2_with_pruned_heads(original, rebuilt, write, wave):
    one = original("wav2vec2")
    path = write("states.ckpt", compression_file(one, without_heads(one.fairseq(), HEADS), section="model"))
    expected = silenced(rebuilt, one, HEADS, {}).encoder().hidden_states(wave)
    np.testing.assert_allclose(load_encoder(path).hidden_states(wave), expected, atol=2e-5)


# State dicts without anything around them


def test_bare_state_dicts_of_known_sizes(original, write, wave):
    one = original("wav2vec2", layers=1, dim=768, heads=12)
    assert_same(load_encoder(write("bare.pt", one.fairseq())), one.encoder(), wave)
    mel = original("melhubert", layers=1, dim=640, heads=8)
    encoder = load_encoder(write("bare.pt", OrderedDict(mel.fairseq())))
    assert np.array_equal(encoder.encode_features(frames_of(mel)), mel.encoder().encode_features(frames_of(mel)))
    hubert = original("hubert", layers=1, dim=768, heads=12, norm="layer", pre_norm=True, wave_norm_eps=1e-5)
    assert_same(load_encoder(write("bare.pt", hubert.fairseq())), hubert.encoder(), wave)


@pytest.mark.parametrize("old", [True, False])
def test_a_bare_state_dict_of_transformers(original, write, wave, old):
    one = original("wav2vec2", layers=1, dim=768, heads=12)
    model = {f"wav2vec2.{name}": tensor for name, tensor in one.transformers(old=old).items()}
    model |= {"quantizer.codevectors": one.rest["quantizer.codes"], "project_q.weight": torch.ones(3, 3)}
    assert_same(load_encoder(write("bare.bin", model)), one.encoder(), wave)


def test_a_bare_state_dict_that_does_not_say_what_it_is(original, write, refuses):
    unknown = original("wav2vec2", layers=1)
    refuses("does not say how many attention heads", load_encoder, write("bare.pt", unknown.fairseq()))
    known = original("wav2vec2", layers=1, dim=768, heads=12)
    bare = write("bare.pt", known.fairseq(objective=False))
    refuses(r"does not say whether it is wav2vec 2\.0 or HuBERT", load_encoder, bare)


# What is no checkpoint, or not a whole one


@pytest.mark.parametrize("content", [{"a": 1}, {}, {"model": {}}, {"model": {"a": 1}}, {1: torch.ones(2)}])
def test_unknown_contents(write, refuses, content):
    refuses("is no checkpoint that is known here", load_encoder, write("model.pt", content))


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), "text", None, 7])
def test_contents_that_are_no_dict(write, refuses, content):
    refuses("holds no checkpoint", load_encoder, write("model.pt", content))


def test_keys_of_a_stranger_stay_on_one_short_line(write, refuses):
    refuses("is no checkpoint", load_encoder, write("model.pt", {"a\nb\x1b[2J": 1, "c" * 10_000: 2, 5: 3}))


ENCODER_KEYS = [
    *("feature_extractor.conv_layers.0.0.weight", "feature_extractor.conv_layers.3.0.weight"),
    *("feature_extractor.conv_layers.6.0.weight", "feature_extractor.conv_layers.0.2.weight"),
    *("layer_norm.weight", "layer_norm.bias", "post_extract_proj.weight", "post_extract_proj.bias"),
    *("encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.bias"),
    *("encoder.layer_norm.weight", "encoder.layer_norm.bias"),
    *(f"encoder.layers.{layer}.{name}" for layer in range(3) for name in BLOCK),
]


def test_a_file_without_one_of_its_weights(original, write, refuses):
    one = original("hubert")
    for lost in ENCODER_KEYS:
        model = one.fairseq()
        del model[lost]
        refuses("base.pt", load_encoder, write("base.pt", fairseq_file(model, one.settings())))
    large = original("hubert", **LARGE)
    for i in range(7):
        for lost in (f"feature_extractor.conv_layers.{i}.{name}" for name in ("0.bias", "2.1.weight", "2.1.bias")):
            model = large.fairseq()
            del model[lost]
            refuses("large.pt", load_encoder, write("large.pt", fairseq_file(model, large.settings())))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_file_without_one_of_its_layers(original, write, refuses, layer):
    one = original("wav2vec2")
    model = {name: tensor for name, tensor in one.fairseq().items() if f"encoder.layers.{layer}." not in name}
    message = f"transformer.layers.{layer} of 3 layers"
    refuses(message, load_encoder, write("model.pt", fairseq_file(model, one.settings())))


def test_a_file_without_its_last_convolution(original, write, refuses):
    one = original("wav2vec2")
    model = {name: tensor for name, tensor in one.fairseq().items() if "conv_layers.6." not in name}
    refuses("6 convolutions and 7 strides", load_encoder, write("model.pt", fairseq_file(model, one.settings())))


def test_weights_inside_the_encoder_that_nobody_knows(original, write, refuses):
    one = original("hubert")  # WavLM: a HuBERT but for these, and its states are others
    strange = {"encoder.layers.0.self_attn.relative_attention_bias.weight": torch.ones(320, 4)}
    path = write("wavlm.pt", fairseq_file(one.fairseq() | strange, one.settings()))
    refuses("relative_attention_bias", load_encoder, path)


def test_activations_that_our_network_does_not_have(original, write, refuses):
    one = original("hubert")
    for name in ("relu", "gelu_accurate"):
        path = write("model.pt", fairseq_file(one.fairseq(), one.settings(activation_fn=name)))
        refuses(name, load_encoder, path)


@pytest.mark.parametrize("name", ["encoder.layers.1.fc2.weight", "encoder.layers.0.self_attn.k_proj.bias"])
@pytest.mark.parametrize("shape", [(7,), (64, 95), (), (0, 64), (2, 2, 2)])
def test_weights_of_another_shape(original, write, refuses, name, shape):
    one = original("hubert")
    path = write("model.pt", fairseq_file(one.fairseq() | {name: torch.ones(shape)}, one.settings()))
    assert "layers" in refuses("get the file again", load_encoder, path)


@pytest.mark.parametrize(
    "name",
    [
        *("encoder.layer_norm.weight", "encoder.pos_conv.0.weight_v", "post_extract_proj.weight"),
        *("encoder.layers.0.fc1.weight", "encoder.layers.0.self_attn.q_proj.weight"),
        *("feature_extractor.conv_layers.0.0.weight", "feature_extractor.conv_layers.3.0.weight"),
    ],
)
@pytest.mark.parametrize("shape", [(), (5,), (0, 64), (3, 0, 3), (16, 16, 0), (1, 1, 1, 1)])
def test_the_weights_that_the_config_is_read_off(original, write, refuses, name, shape):
    one = original("hubert")
    path = write("model.pt", fairseq_file(one.fairseq() | {name: torch.ones(shape)}, one.settings()))
    refuses("get the file again", load_encoder, path)


def test_rows_that_make_no_whole_heads(original, write, refuses):
    one = original("melhubert")
    model = one.fairseq()
    for name in "qkv":
        for kind in ("weight", "bias"):
            key = f"encoder.layers.1.self_attn.{name}_proj.{kind}"
            model[key] = model[key][:40].clone()
    path = write("states.ckpt", compression_file(one, model))
    refuses("40 rows, heads have 16", load_encoder, path)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool])
def test_weights_that_are_no_floating_point_numbers(original, write, refuses, kind):
    one = original("hubert")
    model = one.fairseq()
    model["encoder.layers.0.fc1.bias"] = model["encoder.layers.0.fc1.bias"].to(kind)
    refuses("not floating-point", load_encoder, write("model.pt", fairseq_file(model, one.settings())))


@pytest.mark.parametrize("shape", [(96, 63), (64, 96), (96 * 64,), ()])
def test_a_mask_of_another_shape(original, write, refuses, shape):
    one = original("melhubert")
    model = masked(one.fairseq()) | {"encoder.layers.0.fc1.weight_mask": torch.ones(shape, dtype=torch.bool)}
    refuses("no mask of its shape", load_encoder, write("mask.ckpt", compression_file(one, model)))


def test_a_pruned_weight_without_its_mask(original, write, refuses):
    one = original("melhubert")
    model = masked(one.fairseq())
    del model["encoder.layers.0.fc1.weight_mask"]
    refuses("no mask of its shape", load_encoder, write("mask.ckpt", compression_file(one, model)))


def test_a_mask_of_something_else_is_left_out(original, write, wave):
    one = original("hubert")
    model = one.fairseq() | {"some_mask": torch.ones(0, dtype=torch.bool)}
    path = write("model.pt", fairseq_file(model, one.settings()))
    assert_same(load_encoder(path), one.encoder(), wave)
    assert "method" not in read_checkpoint(path).meta.provenance


def test_files_cut_short(original, write, refuses):
    one = original("hubert")
    for new in (True, False):
        path = write("model.pt", fairseq_file_of(one), new=new)
        whole = path.read_bytes()
        for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
            path.write_bytes(whole[: int(len(whole) * share)])
            refuses("model.pt", load_encoder, path)


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"


@pytest.mark.parametrize("content", [PNG, b"x", b"", b"{}", b"RIFF" + bytes(40), b"PK\x03\x04", b"\x80\x02}."])
def test_other_files_renamed(tmp_path, refuses, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    refuses("model.pt", load_encoder, path)


def test_a_file_that_may_not_be_read(tmp_path, refuses):
    path = tmp_path / "model.pt"
    path.write_bytes(PNG)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    refuses("cannot be read", load_encoder, path)


def test_settings_that_ask_for_code_run_nothing(original, write, refuses, tmp_path):
    one, canary = original("hubert"), tmp_path / "canary"
    for text in (
        f"__import__('os').system('touch {canary}')",
        f"[(16,10,5)] + [__import__('os').system('touch {canary}')]",
        f"[(open({str(canary)!r}, 'w').write('x'), 1, 1)]",
    ):
        path = write("model.pt", fairseq_file(one.fairseq(), one.settings(conv_feature_layers=text)))
        refuses("conv_feature_layers", load_encoder, path)
    assert not canary.exists()


BOMBS = [
    "[(1,1,1)] * 10**9",
    "[(1,1,1)] * 1000000000",
    "[(1,1,1)]" + " * 64" * 12,
    "[" * 100_000,
    "[]+" * 100_000 + "[]",
    "-" * 100_000 + "1",
    f"[(1,1,{'9' * 5000})]",
    "[(1,1,-1)]",
    "[(1,1,0)]",
    "[(0,1,1)]",
    "[(1,1,1.5)]",
    "[(1,1,True)]",
    "[(1,1)]",
    "[1]",
    "1",
    "lambda: 1",
    "[x for x in [(1,1,1)]]",
    "\x00",
]


@pytest.mark.parametrize("text", BOMBS, ids=[text[:30] for text in BOMBS])
def test_convolutions_that_are_bombs_or_nonsense(text):
    with pytest.raises(ValueError, match="conv_feature_layers"):
        conv_layers(text)


def test_a_bomb_in_a_file_takes_no_memory(original, write, refuses):
    one = original("hubert")
    path = write("model.pt", fairseq_file(one.fairseq(), one.settings(conv_feature_layers=BOMBS[2])))
    refuses("conv_feature_layers", load_encoder, path)


@pytest.mark.parametrize(
    "more",
    [
        {"encoder_attention_heads": 5},
        {"encoder_attention_heads": 1000},
        {"encoder_attention_heads": 2**70},
        {"encoder_attention_heads": 3},
        {"encoder_attention_heads": "four"},
        {"encoder_attention_heads": "4x"},
        {"encoder_attention_heads": 4.5},
        {"encoder_attention_heads": "${model.heads}"},
        {"encoder_attention_heads": [4]},
        {"encoder_attention_heads": True},
        {"encoder_attention_heads": None},
        {"layer_norm_first": "perhaps"},
        {"layer_norm_first": 2},
        {"encoder_layers": "many"},
        {"conv_feature_layers": f"[(16,10,5)] + [(16,3,{'9' * 40})] * 4 + [(16,2,2)] * 2"},
        {"encoder_attention_heads": "???"},
    ],
    ids=str,
)
def test_settings_without_meaning(original, write, refuses, more):
    one = original("hubert")
    refuses("model.pt", load_encoder, write("model.pt", fairseq_file(one.fairseq(), one.settings(**more))))


SPELLINGS = [
    (str, str),
    (float, int),
    (np.int64, np.bool_),
    (np.float32, str),
    (np.int32, lambda flag: str(flag).lower()),
]


@pytest.mark.parametrize("spelling", range(len(SPELLINGS)))
def test_settings_that_mean_something_count_however_they_are_written(original, write, wave, spelling):
    number, flag = SPELLINGS[spelling]
    one = original("hubert", layers=2, dim=48, heads=6, pre_norm=True)  # no known size; norms first, unlike its kind
    said = one.settings()
    model = {**said["model"], "encoder_attention_heads": number(6), "layer_norm_first": flag(True)}
    path = write("model.pt", fairseq_file(one.fairseq(), {**said, "model": model}))
    assert_same(load_encoder(path), one.encoder(), wave)


@pytest.mark.parametrize(
    "cfg", [None, {}, {"common": {}}, {"model": None, "task": None}, {"model": {"_name": "hubert"}}]
)
def test_args_count_where_cfg_says_nothing_of_an_encoder(original, write, wave, cfg):
    one = original("hubert", layers=2, dim=48, heads=6)
    said = one.settings()
    args = Namespace(**said["model"], **said["task"], arch="hubert")
    assert_same(load_encoder(write("model.pt", fairseq_file(one.fairseq(), cfg, args=args))), one.encoder(), wave)


@pytest.mark.parametrize("section", ["melhubert", "hubert", "model", "wav2vec2", "student"])
def test_upstream_settings_count_under_any_name(original, write, section):
    one = original("melhubert", layers=2, dim=48, heads=6)
    content = compression_file(one, section=section)
    teacher = {**content["Upstream_Config"][section], "encoder_attention_heads": 12, "encoder_layers": 9}
    content["Upstream_Config"] = {"loss_param": {"T": 1}, "teacher": teacher, **content["Upstream_Config"]}
    encoder = load_encoder(write("states.ckpt", content))
    frames = frames_of(one)
    assert np.array_equal(encoder.encode_features(frames), one.encoder().encode_features(frames))


def test_a_head_size_that_is_assumed_is_said(original, write):
    one = original("wav2vec2", layers=1, dim=768, heads=12)
    assumed = read_checkpoint(write("model.pt", fairseq_file(one.fairseq(), None))).meta.provenance["assumed"]
    assert "heads of 64" in assumed
    assert "assumed" not in read_checkpoint(write("model.pt", fairseq_file_of(one))).meta.provenance


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_many_names_for_one_store_are_refused_before_any_is_read(original, write, refuses, dtype):
    one = original("melhubert", layers=40, dim=64)
    state = one.fairseq()
    shared = {}
    for name, tensor in state.items():
        key = name.split(".", 3)[-1] if name.startswith("encoder.layers.") else name
        state[name] = shared.setdefault(key, tensor.to(dtype))
    path = write("states.ckpt", compression_file(one, state))
    tracemalloc.start()
    refuses("many of them are one and the same", load_encoder, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_settings_of_no_known_kind_count_as_none(original, write, wave):
    one = original("wav2vec2", layers=1, dim=768, heads=12)
    for cfg in (None, 5, "text", [], {"model": None}, {"model": {"w2v_args": 3}}, torch.ones(2)):
        assert_same(load_encoder(write("model.pt", fairseq_file(one.fairseq(), cfg))), one.encoder(), wave)


def test_steps_that_are_none(original, write):
    one = original("hubert", layers=1)
    for history in (None, [], [{}], [None], [{"num_updates": -1}], [{"num_updates": "5"}], {"num_updates": 5}):
        path = write("model.pt", fairseq_file_of(one, optimizer_history=history))
        assert read_checkpoint(path).meta.step is None


def test_an_objective_that_is_not_whole_is_left_out(original, write, wave):
    one = original("wav2vec2")
    for lost in ("mask_emb", "project_q.weight", "quantizer.vars", "final_proj.bias"):
        model = one.fairseq()
        del model[lost]
        path = write("model.pt", fairseq_file(model, one.settings()))
        checkpoint = read_checkpoint(path)
        assert (checkpoint.settings, checkpoint.objective_tensors, checkpoint.objective()) == (None, {}, None)
        assert_same(load_encoder(path), one.encoder(), wave)


def test_shared_and_strided_tensors(original, rebuilt, write, wave):
    one = original("hubert")
    model = one.fairseq()
    big = torch.zeros(200, 300)
    big[100:196, 100:164] = model["encoder.layers.0.fc1.weight"]
    model["encoder.layers.0.fc1.weight"] = big[100:196, 100:164]
    model["encoder.layers.0.fc2.weight"] = model["encoder.layers.0.fc2.weight"].t().contiguous().t()
    model["encoder.layers.1.fc1.bias"] = model["encoder.layers.0.fc1.bias"]
    tied = rebuilt(
        one.config,
        one.tensors | {"transformer.layers.1.fc1.bias": one.tensors["transformer.layers.0.fc1.bias"]},
    )
    for new in (True, False):
        encoder = load_encoder(write("model.pt", fairseq_file(model, one.settings()), new=new))
        np.testing.assert_allclose(encoder.hidden_states(wave), tied.encoder().hidden_states(wave), atol=1e-5)
        assert encoder.sha256 == tied.encoder().sha256


def test_what_is_not_known_of_a_model_keeps_nothing_from_being_read(original, write, wave):
    """Keys and sections of other programs beside the model are no reason to refuse it."""
    one = original("hubert")
    extra = {"ema": {"decay": 0.999}, 5: "five", "amp": None, "more_tensors": [torch.ones(3)] * 2}
    assert_same(load_encoder(write("model.pt", fairseq_file_of(one) | extra)), one.encoder(), wave)


def test_read_foreign_keeps_the_name_it_is_given(original, write):
    one = original("hubert")
    checkpoint = read_foreign("some/name", write("model.pt", fairseq_file_of(one)))
    assert checkpoint.name == "some/name"
    assert replace(checkpoint.meta, provenance={}).step == 400_000
    with pytest.raises(InputError):
        read_foreign("some/name", Path("/no/such/file"))
