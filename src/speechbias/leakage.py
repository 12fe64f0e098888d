"""Can it still be told who speaks? Probes for the groups X and Y on stored vectors, cross-validated by speaker.

A probe is trained on some speakers and asked of others, so what it has learnt of a voice does not count. Balanced
accuracy: the mean of the shares told right in X and in Y, 0.5 by guessing. Two probes: logistic regression, and a
multilayer perceptron of one layer of 64, since what no linear probe tells may still be there.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.results import NAMED, SCHEMA, BiasResult
from speechbias.vectors import sets_of_layer, stored_vectors

Kind = Literal["linear", "mlp"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HIDDEN = 64
FOLDS = 5
CHANCE = 0.5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Leakage:
    """Balanced accuracy on speakers that the probe has not heard, with an interval over speakers."""

    accuracy: float
    low: float
    high: float
    folds: int


def probe_groups(
    vectors: Floats,
    is_x: Sequence[bool],
    speakers: Sequence[str],
    *,
    kind: Kind = "linear",
    folds: int = FOLDS,
    seed: int = 0,
    resamples: int = 2_000,
    confidence: float = 0.95,
) -> Leakage:
    """Probe for which of two groups each of (clips, dim) vectors is of; a blank speaker is one of its own.

    Vectors are standardised on the training part. InputError where a group has fewer than two speakers, or somebody
    speaks in both: then nobody is left who was not heard.
    """
    vectors, wanted = np.asarray(vectors, np.float64), np.asarray(is_x, bool)
    people = np.array([name or f"\0{place}" for place, name in enumerate(speakers)])
    sides = [set(people[wanted]), set(people[~wanted])]
    if min(map(len, sides)) < 2 or sides[0] & sides[1]:
        raise InputError(
            f"leakage: X has {len(sides[0])} speakers, Y {len(sides[1])}, {len(sides[0] & sides[1])} speak in both; a "
            "probe is asked of speakers that it has not heard, so each group needs two or more of its own"
        )
    folds = min(folds, *map(len, sides))
    answers = _held_out(vectors, wanted, people, kind=kind, folds=folds, seed=seed)
    right = answers == wanted
    low, high = _interval(right, wanted, people, seed=seed, resamples=resamples, confidence=confidence)
    return Leakage(_balanced(right, wanted), low, high, folds)


def measure_leakage(result: BiasResult, folder: Path, *, kind: Kind = "linear", seed: int = 0) -> dict[str, Any]:
    """The probe on the vectors of a measurement: a record of kind ``leakage``. InputError as ``stored_vectors``."""
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, result.layer)
    vectors = np.concatenate([sets["X"], sets["Y"]])
    is_x = (np.arange(len(vectors)) < clips.n["X"]).tolist()
    try:
        found = probe_groups(vectors, is_x, clips.speakers["X"] + clips.speakers["Y"], kind=kind, seed=seed)
    except InputError as error:
        raise InputError(*(f"{result.test}, {result.model}: {line}" for line in error.problems)) from None
    return {
        "kind": "leakage",
        "schema": SCHEMA,
        **{name: getattr(result, name) for name in NAMED},
        "probe": kind,
        "balanced_accuracy": found.accuracy,
        "ci_low": found.low,
        "ci_high": found.high,
        "folds": found.folds,
        "n": {name: result.n[name] for name in "XY"},
        "n_speakers": {name: result.n_speakers[name] for name in "XY"},
        "seed": seed,
        **result.about,
    }


def _held_out(
    vectors: Floats, wanted: NDArray[np.bool_], people: NDArray[Any], *, kind: Kind, folds: int, seed: int
) -> NDArray[np.bool_]:
    """What a probe that has not heard the speaker says of each clip."""
    answers = np.zeros(len(vectors), bool)
    probe, did_not_converge = _probe(kind, seed)
    for fold in _divide(wanted, people, folds, seed):
        held = np.isin(people, list(fold))
        model = probe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", did_not_converge)  # what is told is what counts
            rows = np.flatnonzero(~held)
            rows = _evenly(wanted, rows) if kind == "mlp" else rows  # which knows no weights of classes
            model.fit(vectors[rows], wanted[rows])
        answers[held] = model.predict(vectors[held])
    return answers


def _evenly(wanted: NDArray[np.bool_], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows to train on, those of the rarer group several times over, so that guessing the other one never pays."""
    groups = [rows[wanted[rows] == is_x] for is_x in (True, False)]
    most = max(map(len, groups))
    return np.sort(np.concatenate([np.resize(group, most) for group in groups]))


def _divide(wanted: NDArray[np.bool_], people: NDArray[Any], folds: int, seed: int) -> list[set[str]]:
    """Speakers dealt to folds, group by group, so that every fold and every rest has both groups."""
    rng = np.random.default_rng([seed, folds])
    parts: list[set[str]] = [set() for _ in range(folds)]
    for group in (wanted, ~wanted):
        for place, name in enumerate(rng.permutation(sorted(set(people[group])))):
            parts[place % folds].add(str(name))
    return parts


def _probe(kind: Kind, seed: int) -> tuple[Callable[[], Any], type[Warning]]:
    """What makes an untrained probe, and the warning of one whose iterations ended first."""
    try:
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 (an extra)
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.neural_network import MLPClassifier  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    except ImportError:
        raise InputError("a leakage probe needs scikit-learn: pip install 'speechbias[train]'") from None

    def make() -> Any:
        if kind == "linear":
            return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2_000))
        perceptron = MLPClassifier((HIDDEN,), alpha=1e-2, max_iter=300, random_state=seed)
        return make_pipeline(StandardScaler(), perceptron)

    return make, ConvergenceWarning


def _balanced(right: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float((right[wanted].mean() + right[~wanted].mean()) / 2)


def _interval(
    right: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    people: NDArray[Any],
    *,
    seed: int,
    resamples: int,
    confidence: float,
) -> tuple[float, float]:
    """Percentiles with the speakers of each group drawn anew; the probes stay as they are."""
    rng = np.random.default_rng([seed, 3])
    shares = []
    for group in (wanted, ~wanted):
        names, of_each = np.unique(people[group], return_inverse=True)
        hits, clips = np.bincount(of_each, right[group]), np.bincount(of_each)
        drawn = rng.integers(len(names), size=(resamples, len(names)))
        shares.append(hits[drawn].sum(1) / clips[drawn].sum(1))
    tail = (1 - confidence) / 2
    low, high = np.quantile((shares[0] + shares[1]) / 2, (tail, 1 - tail)).tolist()
    return low, high
