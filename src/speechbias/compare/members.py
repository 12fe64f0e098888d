"""What is compared: d's of models' states, on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference import resolve_design
from speechbias.inference.association import all_cosines
from speechbias.inference.intervals import Strata
from speechbias.inference.options import Options
from speechbias.inference.units import attribute_units, target_units
from speechbias.speat import check_sets, check_spread
from speechbias.vectors import number_labels, sets_of_layer

Array = NDArray[np.float64]
Layer = int | str


class OneSpeakerError(InputError):
    """A group of a test is of one speaker: no model can be compared there, which is no fault of other tests."""


@dataclass(frozen=True)
class Member:
    """One d: of a model's state, or of the mean over its states."""

    of: Embeddings
    layer: Layer

    @property
    def name(self) -> str:
        """Model, with the step where it has one."""
        return label(self.of.model.name, self.of.model.step)


def label(model: str, step: int | None) -> str:
    """How a model is told from others of its run."""
    return model if step is None else f"{model}, step {step}"


@dataclass(frozen=True)
class MembersTest:
    """What d's are compared on: similarities of the same clips, who is one unit, and what was asked for."""

    clips: Embeddings  # of the first member: n, speakers, pairs and groups are those of all
    cosines: Array  # (members, targets, attributes)
    s: Array  # (targets, members), X first
    design: str
    units: Strata  # of the targets
    talkers: Strata
    settings: Options

    @property
    def n_x(self) -> int:
        """Clips of X."""
        return int(self.clips.n["X"])

    @property
    def n_a(self) -> int:
        """Clips of A."""
        return int(self.clips.n["A"])

    def stream(self, number: int) -> np.random.Generator:
        """The draws of ``associate`` of that number."""
        return np.random.default_rng([self.settings["seed"], number])


def open_members(members: Sequence[Member], settings: Options) -> MembersTest:
    """What the d's of some members are compared on.

    InputError where their clips differ, a member has no such layer or no spread in s, or a group is of one speaker.
    """
    clips = check_same_clips([member.of for member in members])
    n_a = clips.n["A"]
    cosines = np.concatenate([_cosines(member) for member in members])
    s = cosines[:, :, :n_a].mean(axis=2).T - cosines[:, :, n_a:].mean(axis=2).T
    for member, column in zip(members, s.T, strict=True):
        check_spread(column, where=f"{clips.test}, {member.name}, layer {member.layer}")
    design = resolve_design(clips.speakers, pairs=clips.pairs, design=settings["design"])
    units = target_units(design, clips.speakers, clips.pairs)
    if units.one_sided(clips.n["X"]):
        raise OneSpeakerError(
            f"{clips.test}: a group is of one speaker, so nothing tells how speakers vary. Record more of them."
        )
    return MembersTest(clips, cosines, s, design, units, attribute_units(clips.speakers), settings)


def check_same_clips(embeddings: Sequence[Embeddings]) -> Embeddings:
    """The first; ``InputError`` where others are of other clips, crops of them, speakers or pairs."""
    first = embeddings[0]
    for other in embeddings[1:]:
        same = other.stimuli_sha256 == first.stimuli_sha256 and dict(other.n) == dict(first.n)
        for mine, theirs in ((first.speakers, other.speakers), (first.pairs, other.pairs)):
            same = same and _numbered(mine) == _numbered(theirs)
        if not same:
            raise InputError(
                f"{first.test}: {first.model.name} and {other.model.name} were measured on different clips. "
                "Measure both on the same stimuli."
            )
        if crop_of(other) != crop_of(first):
            raise InputError(
                f"{first.test}: {first.model.name} and {other.model.name} were measured on different crops of the "
                "clips. Measure both with the same --crop, or both without."
            )
    return first


def crop_of(embeddings: Embeddings) -> float | None:
    """The seconds in the middle of each clip that were heard; None: all of it."""
    return embeddings.model.recipe.get("crop_seconds")


def _numbered(labels: object) -> dict[str, list[int]]:
    """Who speaks which clip, whatever they are called: stored vectors have numbers for names."""
    return {name: numbers.tolist() for name, numbers in number_labels(labels).items()}  # type: ignore[arg-type]


def _cosines(member: Member) -> Array:
    """Cosines of one member, (1, targets, attributes)."""
    states = member.of.array.shape[1]
    if member.layer != "mean" and not 0 <= int(member.layer) < states:
        raise InputError(f"{member.name} has no layer {member.layer}. Its states are 0 to {states - 1}.")
    sets = {name: array[:, None] for name, array in sets_of_layer(member.of, member.layer).items()}
    try:
        return all_cosines(check_sets(sets, ndim=3))
    except InputError as error:
        raise InputError(*(f"{member.of.test}, {member.name}: {line}" for line in error.problems)) from None
