"""Whose student an encoder is: what its checkpoint says of it, and what a record says. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speechbias.models.config import EncoderConfig


@dataclass(frozen=True)
class Distilled:
    """``provenance["distillation"]`` of a checkpoint, as far as a record takes it."""

    teacher: str  # its encoder's sha256; in files of other people its name
    teacher_layers: int | None = None

    @classmethod
    def read(cls, said: object) -> "Distilled | None":
        """What a checkpoint says; None where it names no teacher. Further keys do not matter."""
        if not isinstance(said, Mapping):
            return None
        teacher, layers = said.get("teacher_sha256") or said.get("teacher"), said.get("teacher_layers")
        if not isinstance(teacher, str) or not teacher:
            return None
        return cls(teacher, layers if type(layers) is int and layers > 0 else None)

    def in_record(self, config: EncoderConfig) -> dict[str, Any]:
        """The fields of a ``BiasResult`` that say so, by name; of its layers the config's word counts."""
        return {
            "distilled_from": self.teacher,
            "student_layers": config.num_layers,
            "teacher_layers": self.teacher_layers,
        }
