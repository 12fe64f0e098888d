"""The targets of a measurement, X and Y together, with what the CSV says of each: from stored vectors, no model.

The CSV has to be the one that was measured, but for further columns: the hash of a measurement counts set, group,
speaker, pair and audio of every clip, and so do the vectors' numbers of speakers where the audio is not at hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference.designs import name_blanks
from speechbias.results import SETS, BiasResult, file_sha256
from speechbias.speat import unit
from speechbias.stimuli import Stimulus, StimulusSet, read_stimuli, stimuli_sha256
from speechbias.vectors import number_labels, sets_of_layer, stored_vectors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """Targets in the order of the vectors, X first; attributes beside them."""

    vectors: Array  # (targets, dim)
    attributes: Mapping[str, Array]  # A and B, (clips, dim)
    speakers: tuple[str, ...]  # of the targets; blank: unknown
    talkers: Mapping[str, tuple[str, ...]]  # of A and B
    columns: Mapping[str, tuple[str, ...]]  # each with a value per target, blank where there is none

    @property
    def people(self) -> tuple[str, ...]:
        """The speakers, each unknown one of its own."""
        return name_blanks(self.speakers, "target")

    @property
    def cosines(self) -> Array:
        """Of all targets with all attributes, A first, (targets, attributes)."""
        attributes = np.concatenate([self.attributes["A"], self.attributes["B"]])
        return np.asarray(unit(self.vectors) @ unit(attributes).T)

    @property
    def s(self) -> Array:
        """Equation 1, (targets,)."""
        cosines, n_a = self.cosines, len(self.attributes["A"])
        return np.asarray(cosines[:, :n_a].mean(axis=1) - cosines[:, n_a:].mean(axis=1))


def read_targets(result: BiasResult, folder: Path, stimuli: StimulusSet) -> Targets:
    """The targets behind a measurement whose results file lies in ``folder``.

    ``stimuli``: as ``measured_stimuli`` gives them. InputError as ``stored_vectors``, and for other stimuli.
    """
    clips = stored_vectors(result, folder)
    measured = stimuli.without(each["row"] for each in result.skipped)
    _check_measured(measured, result, clips)
    sets = sets_of_layer(clips, result.layer)
    targets = (*measured.X, *measured.Y)
    return Targets(
        vectors=np.concatenate([sets["X"], sets["Y"]]),
        attributes={name: sets[name] for name in "AB"},
        speakers=tuple(each.speaker for each in targets),
        talkers={name: clips.speakers[name] for name in "AB"},
        columns=_columns(targets),
    )


def read_measured(path: Path, results: Iterable[BiasResult]) -> tuple[StimulusSet, list[BiasResult]]:
    """The stimuli of a CSV, and the measurements of them by name. InputError where there is none."""
    stimuli = read_stimuli(path)
    every = list(results)
    found = [each for each in every if each.test == stimuli.name]
    if not found:
        tests = ", ".join(dict.fromkeys(each.test for each in every)) or "nothing"
        raise InputError(
            f"{path.name}: no measurement of the test {stimuli.name} is in these results (they hold {tests}). Give "
            "the CSV that was measured, under its name."
        )
    return stimuli, found


def _columns(targets: Iterable[Stimulus]) -> dict[str, tuple[str, ...]]:
    """Columns of the CSV in its order, and the sets and groups themselves."""
    clips = list(targets)
    names = dict.fromkeys(name for clip in clips for name in clip.columns)
    own = {"group": tuple(clip.group for clip in clips), "set": tuple(clip.set for clip in clips)}
    return {name: tuple(clip.columns.get(name, "") for clip in clips) for name in names} | own


def _check_measured(stimuli: StimulusSet, result: BiasResult, clips: Embeddings) -> None:
    """InputError where the vectors are of other clips than the CSV's, as far as that can be seen."""
    numbers = [{key: of.tolist() for key, of in number_labels(each).items()} for each in _labels(stimuli, clips)]
    same = {name: len(stimuli.sets[name]) for name in SETS} == result.n and numbers[0] == numbers[1]
    if same and result.family != "embeddings" and all(clip.path.is_file() for clip in stimuli.stimuli):
        hashes = {path: file_sha256(path) for path in {clip.path for clip in stimuli.stimuli}}
        same = stimuli_sha256(stimuli, hashes) == result.stimuli_sha256
    if not same:
        raise InputError(
            f"{stimuli.name}.csv: these are not the clips on which {result.model} was measured. Give the CSV that "
            "`measure` had; columns may be added to it, rows, sets, groups and speakers may not change."
        )


def _labels(stimuli: StimulusSet, clips: Embeddings) -> tuple[dict[str, tuple[str, ...]], ...]:
    return stimuli.speakers, {name: tuple(clips.speakers[name]) for name in SETS}
