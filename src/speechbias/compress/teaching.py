"""A training run that has a teacher: how a student begins, what it learns from, what its checkpoints say of both."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from speechbias.checkpoint.content import Checkpoint
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.distillation import (
    Distillation,
    DistillationSettings,
    DistillationTerms,
    Teacher,
    first_layers,
)
from speechbias.models.fingerprint import weights_sha256
from speechbias.models.objectives import Objective, Settings, fresh
from speechbias.models.regularisation import published_regularisation
from speechbias.training.beginning import prepared, starting_checkpoint
from speechbias.training.distillation import PARTS, DistillSection, Part
from speechbias.training.optim import make_optimiser
from speechbias.training.run import Left
from speechbias.training.session import Session

PREFIXES: Mapping[Part, tuple[str, ...]] = {  # of names of tensors
    "frontend": ("frontend.", "feature_norm."),
    "projection": ("projection.",),
    "positions": ("transformer.positions.",),
    "norm": ("transformer.norm.",),
    "layers": ("transformer.layers.",),
}


class TeachingSession(Session):
    """A ``Session`` whose objective is a student with its teacher beside it."""

    verb = "distill"
    distilled: dict[str, Any]  # what a checkpoint says of its teacher

    @property
    def section(self) -> DistillSection:
        """``[distill]`` of the recipe."""
        assert self.recipe.distill is not None
        return self.recipe.distill

    def provenance(self) -> dict[str, Any]:
        """How the weights came to be, and from whom."""
        return {**super().provenance(), "distillation": self.distilled}

    def _objective(self, left: Left | None) -> tuple[Objective, Settings]:
        section, start = self.section, starting_checkpoint(self.recipe)
        assert start is not None, "read_distill_recipe names one"
        assert section.targets is not None, "read_distill_recipe knows the teacher's layers"
        self.counted, self.masked = "all" if section.padding else "own", section.masked
        self.distilled = describe(section, start)
        if left is None:
            settings: Settings = DistillationSettings(section.targets)
            made: Objective = prepared(student(start, section, section.targets, self.recipe.run.seed), self.recipe)
        else:
            self._refuse_another_teacher(left[0])
            made, settings = super()._objective(left)
        assert isinstance(made, Distillation)
        made.terms = DistillationTerms(section.cosine, section.masked)
        published = published_regularisation(self.recipe.family, self.recipe.model.size or "base")
        made.teacher = Teacher(
            start.config,
            start.tensors,
            section.targets,
            dropout=replace(published, layerdrop=0.0) if section.teacher_dropout else None,
            device=self.ranks.device,
        )
        return made, settings

    def _track(self, update: int) -> None:
        assert self.tracker is not None
        self.tracker.track(update, self.objective, distillation=self.distilled)

    def _optimiser(self) -> torch.optim.Optimizer:
        return make_optimiser(self.objective, self.recipe.optim, decay_biases=self.section.decay_biases)

    def _refuse_another_teacher(self, left: Checkpoint) -> None:
        said = left.meta.provenance.get("distillation")
        before = said.get("teacher_sha256") if isinstance(said, Mapping) else None
        if before != self.distilled["teacher_sha256"]:
            raise InputError(
                f"{self.run.folder} learnt from another teacher than {self.recipe.model.checkpoint} is now; put that "
                "back as it was, or choose another --out"
            )


def describe(section: DistillSection, teacher: Checkpoint) -> dict[str, Any]:
    """``provenance["distillation"]`` of a student: whom it learnt from, and what of whom. No path."""
    run, step = teacher.meta.run, teacher.meta.step
    made = {
        "teacher_sha256": weights_sha256(teacher.config, teacher.tensors),
        "teacher_layers": teacher.config.num_layers,
        "teacher_run": None if run is None else run["name"],
        "teacher_step": step,
        "layers": section.layers,
        "targets": list(section.targets or ()),
        "copied": list(section.copied),
        "preset": section.preset,
    }
    return {key: value for key, value in made.items() if value is not None}


def student_config(teacher: EncoderConfig, section: DistillSection) -> EncoderConfig:
    """The shapes of a student: its teacher's up to a layer, perhaps without the norm behind its convolutions."""
    front = teacher.frontend
    if isinstance(front, WaveFrontend):
        front = replace(front, feature_norm=front.feature_norm and section.feature_norm)
    return replace(first_layers(teacher, section.layers), frontend=front, student=True)


def student(teacher: Checkpoint, section: DistillSection, targets: tuple[int, ...], seed: int) -> Distillation:
    """A student before training: what the recipe says is its teacher's, the rest drawn from the seed."""
    config = student_config(teacher.config, section)
    made = fresh(config, DistillationSettings(targets), seed=seed)
    assert isinstance(made, Distillation)
    prefixes = tuple(prefix for part in PARTS if part in section.copied for prefix in PREFIXES[part])
    copied: dict[str, Tensor] = {}
    for name in made.encoder.state_dict():
        if name.startswith(prefixes):
            copied[name] = teacher.tensors[name]
    made.encoder.load_state_dict(copied, strict=False)  # into memory of its own
    return made
