"""What the demo trains: the tiny recipes of this repository, three families in two shapes, and what is made of one."""

from collections.abc import Mapping
from typing import Any

FEATURES = ("stft", "spectrogram", "mel", "mfcc")
UNTRAINED = ("random:wav2vec2-small", "random:melhubert-small")  # in the size of the paper's smallest
DATA: Mapping[str, Any] = {"seconds": 16.0, "crop": 1.6, "min_seconds": 1.0}
TINY: Mapping[str, Any] = {  # recipes/tiny/pretrain-melhubert.toml
    "model": {"family": "melhubert", "layers": 2, "dim": 64, "ffn": 128, "heads": 4},
    "data": DATA,
    "units": {"clusters": 32, "share": 1.0},
    "optim": {"lr": 1e-3, "warmup": 10, "schedule": "linear"},
    "run": {"steps": 60, "log": 10, "save": 20, "keep": [0, 10, 20, 40]},
}
BASE = "melhubert-wide"  # what is pruned, distilled and probed
SHAPES: Mapping[str, Mapping[str, int]] = {  # as the paper's small and slim: alike in parameters
    "wide": {"layers": 2, "dim": 64, "ffn": 128, "heads": 4},
    "deep": {"layers": 4, "dim": 48, "ffn": 80, "heads": 4},
}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "melhubert": {},
    "hubert": {"channels": 32},
    "wav2vec2": {"channels": 32},
}
UNITS: Mapping[str, Mapping[str, Any]] = {"melhubert": TINY["units"], "hubert": {"clusters": 20, "share": 1.0}}
SHORT = {"steps": 20, "log": 10, "save": 20, "keep": [0, 10]}  # of the five that are there to be compared
PRUNING: Mapping[str, Mapping[str, Any]] = {  # recipes/tiny/prune-*.toml
    "heads": {"stages": [[10, 2]]},
    "rows": {"amount": 32, "stages": [[10, 32]]},
    "weights": {"schedule": "listed", "at": [10, 20, 30, 40], "targets": [0.2, 0.4, 0.6, 0.8]},
}
PRUNED: Mapping[str, Any] = {  # what they share
    "data": DATA,
    "optim": {"lr": 1e-3},
    "run": {"log": 10, "save": 20},
}
AT_RANDOM = (1, 2)  # seeds of the control
DISTILLED: Mapping[str, Any] = {  # recipes/tiny/distill.toml
    "data": DATA,
    "optim": {"lr": 1e-3},
    "run": {"steps": 60, "log": 10, "save": 20, "keep": [0, 20, 40]},
}
STUDENTS = (2, 1)  # layers; the teacher has two
PROBED: Mapping[str, Any] = {  # recipes/tiny/probe.toml
    "probe": {"train": ["synthetic"], "seconds": 16.0, "resamples": 1000},
    "optim": {"rates": [1e-2, 1e-3], "accumulate": 1},
    "run": {"steps": 200, "evaluate": 50},
}
QUICK = {"permutations": 20_000, "resamples": 2_000}  # of what is tracked: so many runs


def pretraining(family: str, shape: str) -> dict[str, Any]:
    """Keys of a recipe that pre-trains a family in a shape; the base has those of the tiny recipe."""
    said = {
        "model": {"family": family, **SHAPES[shape], **FAMILIES[family]},
        "data": DATA,
        "optim": TINY["optim"],
        "run": TINY["run"] if f"{family}-{shape}" == BASE else SHORT,
    }
    return {**said, "units": UNITS[family]} if family in UNITS else said
