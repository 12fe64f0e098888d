"""``[distill]`` of a recipe: which student learns which layers of a teacher, and how; Section 2.3 of the paper.

The defaults are the clean reading: padding counts nothing, the teacher answers without dropout, and all that a student
can take from its teacher is copied. Every way in which the public code differs is a key; presets are sets of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from speechbias.errors import InputError
from speechbias.models.config import Family
from speechbias.models.distillation import MOST_LAYERS, DistillationSettings
from speechbias.paper import AUTHORS_DISTILLATION_UPDATES, DISTILLATION, DISTILLATION_PRESETS
from speechbias.training.sections import LARGEST

Part = Literal["frontend", "projection", "positions", "norm", "layers"]
PARTS: tuple[Part, ...] = ("frontend", "projection", "positions", "norm", "layers")
OPTIM = {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.0, "schedule": "linear", "clip": 5.0}
# S3PRL: the student of pretrain/distiller; no LayerDrop, and nothing at the input
REGULARISATION = {"dropout": 0.1, "attention": 0.1, "activation": 0.1, "input": 0.0, "features": 0.0, "layerdrop": 0.0}


@dataclass(frozen=True)
class DistillSection:
    """A student of so many ``layers``, which learns the ``targets``, layers of the teacher counted from 1."""

    layers: int = DISTILLATION.layers
    targets: tuple[int, ...] | None = None  # 4 and 12; of fewer than 12 layers the middle one and the last
    preset: Literal["s3prl", "authors-code"] | None = None
    cosine: float = 1.0  # weight of the cosine term (DistilHuBERT: lambda)
    copied: tuple[Part, ...] = PARTS  # of the teacher; the rest is drawn
    feature_norm: bool = True  # false: the student has no norm behind its convolutions, whatever the teacher has
    padding: bool = False  # frames of padding count in the loss
    teacher_dropout: bool = False  # the teacher answers with its own dropout
    masked: bool = False  # MelHuBERT: spans of the input are zeros, for teacher and student
    decay_biases: bool = True  # false: weight decay leaves biases alone

    def __post_init__(self) -> None:
        """Refuse what is no student."""
        if not 1 <= self.layers <= MOST_LAYERS:
            raise ValueError(f"layers is {self.layers}; give 1 or more, at most the teacher's")
        if self.targets is not None:
            DistillationSettings(self.targets)
        if self.cosine < 0:
            raise ValueError(f"cosine is {self.cosine}; give 0 or more")


def default_targets(layers: int) -> tuple[int, ...]:
    """The paper's layers 4 and 12; of a teacher of fewer than 12 the middle one (rounded up) and the last."""
    if layers >= max(DISTILLATION.targets):
        return DISTILLATION.targets
    return tuple(sorted({-(-layers // 2), layers}))


def distillation_defaults(family: Family, said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a recipe that distils, where it does not say otherwise. ``said`` has a ``[distill]``."""
    asked = said["distill"] if isinstance(said["distill"], Mapping) else {}
    if asked.get("masked") is True and family != "melhubert":
        raise InputError(f"[distill] masked hides mel frames; {family} takes waves, leave it out")
    authors = asked.get("preset") == "authors-code" and family == "melhubert"
    layers = asked.get("layers", DISTILLATION.layers)
    longer = AUTHORS_DISTILLATION_UPDATES.get(layers) if authors and isinstance(layers, int) else None
    steps = longer or DISTILLATION.updates
    made: dict[str, dict[str, Any]] = {
        "data": _batch(said.get("data")),
        "regularisation": dict(REGULARISATION),
        "optim": {**OPTIM, "lr": DISTILLATION.lr, "warmup": _warmup(said.get("run"), steps)},
        "run": {"steps": steps, "keep": (0,), "keep_every": 0},
        "distill": {},
    }
    for section, keys in _preset(family, asked.get("preset")).items():
        made[section] = {**made.get(section, {}), **keys}
    return made


def _batch(said: Any) -> dict[str, Any]:
    if isinstance(said, Mapping) and {"seconds", "utterances"} & said.keys():
        return {}
    return {"utterances": DISTILLATION.utterances, "seconds": None}


def _warmup(said: Any, steps: int) -> int:
    """A share of the updates that the recipe asks for."""
    asked = said.get("steps") if isinstance(said, Mapping) else None
    return round(DISTILLATION.warmup * (asked if type(asked) is int and 0 < asked < LARGEST else steps))


def _preset(family: Family, name: Any) -> Mapping[str, Mapping[str, Any]]:
    known = DISTILLATION_PRESETS.get(name) if isinstance(name, str) else None
    if known is None:
        return {}  # reading the section says so, where it is none
    if family not in known:
        raise InputError(f'[distill] preset {name!r} knows no {family}; "authors-code" does, or leave preset out')
    return known[family]
