"""Checkpoints as foreign programs write them, made from small random networks of ours.

The classes that stand in real files (fairseq's, omegaconf's) exist only in a second process, as stubs: what is read in
the process of the tests is a file full of names that nobody here can import.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch

from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.convert.names import FAIRSEQ_NAMES, TRANSFORMERS_NAMES
from speechbias.models.convert.shapes import expected_shapes
from speechbias.models.freeze import freeze
from speechbias.models.hubert import HubertSettings
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.network import build
from speechbias.models.wav2vec2 import Wav2Vec2Settings

CONVOLUTIONS = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
SETTINGS = {
    "wav2vec2": Wav2Vec2Settings(final_dim=24, groups=2, entries=5, code_dim=12),
    "hubert": HubertSettings(final_dim=24, labels=11),
    "melhubert": MelHubertSettings(clusters=9),
}
STUBS = {
    "fairseq/__init__.py": "",
    "fairseq/data/__init__.py": "",
    "fairseq/data/dictionary.py": """
        class Dictionary:
            def __init__(self, symbols):
                self.bos_word, self.unk_word, self.pad_word, self.eos_word = "<s>", "<unk>", "<pad>", "</s>"
                self.symbols, self.count = list(symbols), [1] * len(symbols)
                self.indices = {symbol: i for i, symbol in enumerate(symbols)}
                self.bos_index, self.pad_index, self.eos_index, self.unk_index, self.nspecial = 0, 1, 2, 3, 4
    """,
    "omegaconf/__init__.py": "",
    "omegaconf/base.py": """
        import typing

        class ContainerMetadata:
            def __init__(self, key):
                self.ref_type, self.object_type, self.optional, self.key = typing.Any, dict, True, key
                self.flags, self.flags_root, self.key_type, self.element_type = {}, False, typing.Any, typing.Any
    """,
    "omegaconf/nodes.py": """
        from omegaconf.base import ContainerMetadata

        class AnyNode:
            def __init__(self, value, key, parent):
                self._metadata, self._parent, self._flags_cache = ContainerMetadata(key), parent, None
                self._val = value
    """,
    "omegaconf/dictconfig.py": """
        from omegaconf.base import ContainerMetadata
        from omegaconf.nodes import AnyNode

        class DictConfig:
            def __init__(self, values, key=None, parent=None):
                self._metadata, self._parent, self._flags_cache = ContainerMetadata(key), parent, None
                self._content = {
                    name: DictConfig(value, name, self) if isinstance(value, dict) else AnyNode(value, name, self)
                    for name, value in values.items()
                }
    """,
}
WRITER = """
import collections, json, sys
sys.path.insert(0, sys.argv[1])
import torch
from fairseq.data.dictionary import Dictionary
from omegaconf.dictconfig import DictConfig

KINDS = {"DictConfig": DictConfig, "Dictionary": Dictionary}

def real(value):
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and value[0] in KINDS:
        return KINDS[value[0]](value[1])
    if isinstance(value, dict):
        return type(value)((name, real(item)) for name, item in value.items())
    return [real(item) for item in value] if type(value) is list else value

for line in sys.stdin:
    source, target, new = json.loads(line)
    content = real(torch.load(source, weights_only=False))
    torch.save(content, target, _use_new_zipfile_serialization=new)
    print("written", flush=True)
"""


@pytest.fixture(scope="session")
def wave():
    """Half a second of noise with an offset, so that normalisation shows."""
    return (0.02 + 0.05 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)


def tiny(family="wav2vec2", *, layers=3, dim=64, heads=4, ffn=96, **changes):
    """A small encoder; ``changes`` of the front end go by its own names."""
    front = {"stack": 2} if family == "melhubert" else {"channels": (16,) * 7}
    front |= {name: changes.pop(name) for name in list(changes) if hasattr(WaveFrontend, name) or name == "stack"}
    made = MelFrontend(**front) if family == "melhubert" else WaveFrontend(**front)
    return EncoderConfig(family, made, dim, dim // heads, (heads,) * layers, (ffn,) * layers, **changes)


def drawn(shapes, seed=0):
    """Random tensors of these shapes, none at its default, of scales at which states neither explode nor vanish."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.1 if "original0" in name else 0.0
        fan_in = np.prod(shape[1:]) if len(shape) > 1 and not centre else 100
        tensors[name] = centre + torch.randn(shape, generator=generator) * float(fan_in) ** -0.5 * (centre or 1)
    return tensors


@dataclass(frozen=True, eq=False)
class Original:
    """A random model of ours, which a foreign file will hold under foreign names."""

    config: EncoderConfig
    tensors: dict[str, torch.Tensor]

    @cached_property
    def rest(self):
        """The tensors of its objective."""
        return drawn(expected_shapes(self.config, SETTINGS[self.config.family]), seed=1)

    def encoder(self, states="s3prl", **options):
        """What has to come out of the file."""
        return freeze("original", build(self.config, self.tensors), states=states, **options)

    def fairseq(self, *, old=True, objective=True):
        """Its state dict under fairseq's (S3PRL's, MelHuBERT's) names; ``old``: weight norm as before torch 2.1."""
        renamed = {}
        for name, tensor in (self.tensors | (self.rest if objective else {})).items():
            theirs = FAIRSEQ_NAMES.theirs(name)
            if getattr(self.config.frontend, "norm", None) == "group":
                theirs = theirs.replace(".2.1.", ".2.")
            if self.config.family == "melhubert":
                theirs = theirs.replace("post_extract_proj", "pre_extract_proj")
            renamed[old_weight_norm(theirs) if old else theirs] = tensor
        return renamed

    def transformers(self, *, old=False):
        """Its encoder under transformers' names."""
        names = {name: TRANSFORMERS_NAMES.theirs(name) for name in self.tensors}
        return {old_weight_norm(theirs) if old else theirs: self.tensors[name] for name, theirs in names.items()}

    def settings(self, **more):
        """What fairseq keeps under ``cfg``: sections ``model`` and ``task`` among others."""
        front, family = self.config.frontend, self.config.family
        model = {
            "_name": family,
            "encoder_layers": self.config.num_layers,
            "encoder_embed_dim": self.config.dim,
            "encoder_ffn_embed_dim": self.config.ffn[0],
            "encoder_attention_heads": self.config.dim // self.config.head_dim,
            "activation_fn": "gelu",
            "layer_norm_first": self.config.pre_norm,
            "dropout": 0.1,
            "final_dim": 24,
        }
        if family != "melhubert":
            model |= {
                "conv_feature_layers": CONVOLUTIONS,
                "extractor_mode": "layer_norm" if front.norm == "layer" else "default",
                "conv_bias": front.bias,
            }
        model |= {"quantize_targets": True, "latent_vars": 5} if family == "wav2vec2" else {"label_rate": 50.0}
        task = {"data": "/checkpoint/somebody/librispeech", "sample_rate": 16000, "labels": None}
        if family != "melhubert":
            task["normalize"] = front.wave_norm_eps is not None
        return {"common": {"seed": 1337, "user_dir": "/home/somebody"}, "model": model | more, "task": task}


def old_weight_norm(name):
    """A name as it was before weight norm became a parametrisation."""
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


@pytest.fixture(scope="session")
def original():
    """original(family, **changes): a random model."""

    def make(family="wav2vec2", *, seed=0, **changes):
        config = tiny(family, **changes)
        return Original(config, drawn(expected_shapes(config), seed))

    return make


@pytest.fixture(scope="session")
def rebuilt():
    """rebuilt(config, tensors): a model with these weights."""
    return Original


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """write(name, content, new=True): a file of torch.save, in the format since torch 1.6 or in the old one.

    ("DictConfig", dict) and ("Dictionary", symbols) in the content become instances of those classes.
    """
    home = tmp_path_factory.mktemp("writer")
    for file, source in STUBS.items():
        path = home / "stubs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
    (home / "writer.py").write_text(WRITER)
    command = [sys.executable, "-W", "ignore", str(home / "writer.py"), str(home / "stubs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def make(name, content, *, new=True) -> Path:
            target = tmp_path_factory.mktemp("foreign") / name
            torch.save(content, home / "content")
            process.stdin.write(json.dumps([str(home / "content"), str(target), new]) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "written\n"
            return target

        yield make
        process.stdin.close()


@pytest.fixture(scope="session")
def refuses():
    """refuses(match, work, *arguments): work ends in one line that says what is wrong."""

    def check(match, work, *arguments, **options):
        with pytest.raises(InputError, match=match) as error:
            work(*arguments, **options)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 800
        return str(error.value)

    return check
