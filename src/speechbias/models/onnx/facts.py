"""What an ONNX file of ours says of itself: its metadata, text by name, most of it JSON. No torch, no onnx here.

Who loads the file without this package reads ``sample_rate``, ``input``, ``states`` and so on from the same place.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import NoneType
from typing import Any

from speechbias.encoder import CONVENTIONS

SCHEMA, MARK = 1, "speechbias_schema"
INPUTS = ("wave", "features")
PRECISIONS = ("float32", "int8")
# The fields of a record that say how a model was pruned, and the types of their values.
PRUNED: Mapping[str, tuple[type, ...]] = {
    "method": (str,),
    "criterion": (str, NoneType),
    "criterion_seed": (int, NoneType),
    "remaining": (int, float),
    "of": (int, float),
    "parameters_removed": (int,),
    "pruned_from": (str, NoneType),
}


DISTILLED: Mapping[str, tuple[type, ...]] = {  # the same of whose student it is
    "distilled_from": (str,),
    "student_layers": (int,),
    "teacher_layers": (int, NoneType),
}


@dataclass(frozen=True)
class Facts:
    """``encoder_sha256`` is that of the encoder before export, whatever the format; the rest as an ``Encoder`` has it.

    ``input`` is ``wave`` (1, samples) or ``features`` (1, frames, 80): normalised, stacked log-mel frames, of a
    MelHuBERT without statistics. ``config`` is what ``config.json`` of a checkpoint holds. ``parameters`` counts as
    before quantisation; weights that pruning set to zero do not count.
    """

    name: str
    family: str
    input: str
    states: str
    num_states: int
    dim: int
    sample_rate: int
    frame_shift: float
    min_samples: int
    precision: str
    parameters: int
    nonzero: int
    encoder_sha256: str
    speechbias_version: str
    config: Mapping[str, Any]
    recipe: Mapping[str, Any]
    mel_stats: list[list[float]] | None = None
    pruned: Mapping[str, Any] = field(default_factory=dict)
    distilled: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    run: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: list[str] = field(default_factory=list)  # marks of speakers and files, where something was removed

    def to_props(self) -> dict[str, str]:
        """As ``metadata_props``: texts as they are, all else as JSON; what is not known is left out."""
        said = {key: value for key, value in asdict(self).items() if value is not None}
        texts = {key: value if isinstance(value, str) else _dump(value) for key, value in said.items()}
        return {MARK: str(SCHEMA), **texts}

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> "Facts":
        """Read them back. ValueError, naming the key, where one lacks or holds what it cannot."""
        made: dict[str, Any] = {}
        for each in fields(cls):
            if each.name in props:
                made[each.name] = props[each.name] if each.type is str else _parse(each.name, props[each.name])
            elif each.default is MISSING and each.default_factory is MISSING:
                raise ValueError(f"{each.name} is missing")
        facts = cls(**made)
        for name, sound in facts._sound().items():
            if not sound:
                raise ValueError(f"{name} is {props[name][:60]!r}")
        return facts

    def _sound(self) -> dict[str, bool]:
        """Whether each field holds what it can."""
        counts = ("num_states", "dim", "sample_rate", "min_samples", "parameters")
        objects = ("config", "recipe", "pruned", "distilled", "provenance")
        return {
            **{name: type(value := getattr(self, name)) is int and value >= 1 for name in counts},
            "nonzero": type(self.nonzero) is int and self.nonzero >= 0,
            **{name: isinstance(getattr(self, name), dict) for name in objects},
            "frame_shift": isinstance(self.frame_shift, int | float) and self.frame_shift > 0,
            "states": self.states in CONVENTIONS,
            "input": self.input in INPUTS,
            "precision": self.precision in PRECISIONS,
            "step": self.step is None or (type(self.step) is int and self.step >= 0),
            "run": self.run is None or (isinstance(self.run, dict) and isinstance(self.run.get("name"), str)),
            "fitted_on": isinstance(self.fitted_on, list) and all(isinstance(each, str) for each in self.fitted_on),
            "pruned": _has_types(self.pruned, PRUNED),
            "distilled": _has_types(self.distilled, DISTILLED),
        }


def _has_types(said: object, types: Mapping[str, tuple[type, ...]]) -> bool:
    return isinstance(said, dict) and all(type(value) in types.get(key, ()) for key, value in said.items())


def is_ours(props: Mapping[str, str]) -> bool:
    """Whether metadata are those of a file that was written here."""
    return MARK in props


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _no_number(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity, which no record can hold


def _parse(name: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is {text[:60]!r}") from None
