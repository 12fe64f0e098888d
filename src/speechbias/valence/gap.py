"""A ridge predictor of valence trained on clips of A and B, and the gap between X and Y in what it predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.inference import Options, check_options
from speechbias.inference.designs import name_blanks, relabel, relabel_attributes
from speechbias.inference.intervals import Interval, target_interval, whole_range
from speechbias.inference.permutation import permutation_test
from speechbias.inference.ridge import (
    STRENGTHS,
    Shuffled,
    fit,
    gap_in_sds,
    mean_eigenvalue,
    shuffle_labels,
    unheard_answers,
)
from speechbias.inference.units import target_units
from speechbias.speat import check_spread

Array = NDArray[np.float64]

PERMUTATIONS = 10_000  # of the attribute's labels, each with a predictor of its own
FEWEST_TALKERS = 3  # one to be asked, one to choose the penalty by, one to train on


@dataclass(frozen=True)
class Predictor:
    """How well A is told from B on talkers that were not heard: 0.5 by guessing."""

    balanced_accuracy: float
    accuracy_low: float  # talkers resampled
    accuracy_high: float
    p_predictor: float
    p_predictor_min: float
    strength: float  # of the penalty, in mean eigenvalues of the kernel


@dataclass(frozen=True)
class Gap:
    """Mean predicted valence of X less that of Y: in labels' distance (A 1, B 0), and in SDs over X and Y, as d."""

    gap: float
    gap_sd: float
    ci_low: float  # of gap_sd; units of the targets resampled, predictor fixed
    ci_high: float
    ci_method: str
    p_value: float  # X and Y relabelled
    p_method: str
    p_min: float
    p_attribute: float  # A and B relabelled within talkers, the predictor trained anew
    p_attribute_min: float


@dataclass(frozen=True)
class Corpus:
    """Emotional clips: vectors of A and B (clips, dim), and who speaks each ("" unknown)."""

    A: Array
    B: Array
    speakers: Mapping[str, Sequence[str]]
    name: str

    @property
    def talkers(self) -> tuple[str, ...]:
        """Of A's clips, then of B's; an unknown one is its own."""
        return (*name_blanks(self.speakers["A"], "A"), *name_blanks(self.speakers["B"], "B"))


@dataclass(frozen=True)
class _Targets:
    """Predicted valence of the targets, X first, and who they are."""

    s: Array  # (targets,)
    n_x: int
    speakers: Mapping[str, Sequence[str]]
    pairs: Mapping[str, Sequence[str]] | None


def predict_gap(
    X: Array,
    Y: Array,
    corpus: Corpus,
    *,
    speakers: Mapping[str, Sequence[str]],
    pairs: Mapping[str, Sequence[str]] | None = None,
    shuffles: int = PERMUTATIONS,
    **options: Unpack[Options],
) -> tuple[Gap, Predictor]:
    """Train on ``corpus``, predict for X and Y (clips, dim), whose ``speakers`` and ``pairs`` are those of the test.

    Options as for ``association_test``, but that the design is independent unless it is named; ``shuffles``
    relabellings of A and B, each with a predictor trained anew. InputError where A or B has fewer than three talkers,
    or all predictions are equal.
    """
    settings = check_options(Options(design="independent") | options)
    kernel, cross = _kernels(np.concatenate([corpus.A, corpus.B]), np.concatenate([X, Y]))
    labels = (np.arange(len(kernel)) < len(corpus.A)).astype(np.float64)
    _check_talkers(corpus)
    unit = mean_eigenvalue(kernel)
    if not unit > 0:
        raise InputError(
            f"{corpus.name}: all clips of A and B have the same vector, so nothing can be learnt of them; check it"
        )
    ridge = fit(kernel, cross, corpus.talkers, unit=unit)
    targets = _Targets(ridge.predict(labels[None])[0], len(X), speakers, pairs)
    check_spread(targets.s, where="the predicted valence")
    shuffled = shuffle_labels(
        ridge,
        labels,
        relabel_attributes((corpus.speakers["A"], corpus.speakers["B"])),
        n_x=len(X),
        alternative=settings["alternative"],
        permutations=shuffles,
        rng=_stream(settings, 1),
    )
    right = unheard_answers(kernel, labels, corpus.talkers, unit=unit) == (labels > 0)
    strength = STRENGTHS[int(ridge.choose(labels[None])[0][0])]
    predictor = _predictor(right, labels > 0, corpus, strength=strength, shuffled=shuffled, settings=settings)
    return _gap(targets, shuffled, settings), predictor


def _gap(targets: _Targets, shuffled: Shuffled, settings: Options) -> Gap:
    s, n_x, design = targets.s, targets.n_x, str(settings["design"])
    permuted = permutation_test(
        s[:, None],
        relabel(design, (targets.speakers["X"], targets.speakers["Y"]), targets.pairs),
        n_x=n_x,
        alternative=settings["alternative"],
        permutations=settings["permutations"],
        rng=_stream(settings, 0),
        saddlepoint=design == "independent",
    )
    interval = _interval(targets, settings)
    return Gap(
        gap=float(s[:n_x].mean() - s[n_x:].mean()),
        gap_sd=float(gap_in_sds(s[None], n_x, settings["ddof"])[0]),
        ci_low=float(interval.low[0]),
        ci_high=float(interval.high[0]),
        ci_method=interval.method[0],
        p_value=float(permuted.p_value[0]),
        p_method=permuted.method[0],
        p_min=permuted.p_min,
        p_attribute=shuffled.p_gap,
        p_attribute_min=shuffled.p_gap_min,
    )


def _interval(targets: _Targets, settings: Options) -> Interval:
    """Of the gap in SDs; a group of one speaker says nothing of how speakers vary, so there it is all that can be."""
    n_x, ddof = targets.n_x, settings["ddof"]
    units = target_units(str(settings["design"]), targets.speakers, targets.pairs)
    interval = target_interval(
        targets.s[:, None],
        units,
        n_x=n_x,
        ddof=ddof,
        resamples=settings["resamples"],
        confidence=settings["confidence"],
        rng=_stream(settings, 2),
    )
    return whole_range(interval, n_x, len(targets.s) - n_x, ddof) if units.one_sided(n_x) else interval


def _predictor(
    right: NDArray[np.bool_],
    is_a: NDArray[np.bool_],
    corpus: Corpus,
    *,
    strength: float,
    shuffled: Shuffled,
    settings: Options,
) -> Predictor:
    low, high = _accuracy_interval(
        right,
        is_a,
        corpus.talkers,
        rng=_stream(settings, 3),
        resamples=settings["resamples"],
        confidence=settings["confidence"],
    )
    accuracy = float((right[is_a].mean() + right[~is_a].mean()) / 2)
    return Predictor(accuracy, low, high, shuffled.p_predictor, shuffled.p_predictor_min, strength)


def _stream(settings: Options, number: int) -> np.random.Generator:
    return np.random.default_rng([settings["seed"], number])


def _kernels(training: Array, others: Array) -> tuple[Array, Array]:
    """Inner products of the training clips, and of others with them, about the training clips' mean."""
    mean = training.mean(axis=0)
    return (training - mean) @ (training - mean).T, (others - mean) @ (training - mean).T


def _check_talkers(corpus: Corpus) -> None:
    n_a = len(corpus.A)
    counts = [len(set(corpus.talkers[:n_a])), len(set(corpus.talkers[n_a:]))]
    if min(counts) < FEWEST_TALKERS:
        raise InputError(
            f"valence: A of {corpus.name} has {counts[0]} talkers, B {counts[1]}; a predictor is asked of talkers "
            f"that it has not heard, so each needs {FEWEST_TALKERS} or more; name another corpus with --trained-on"
        )


def _accuracy_interval(
    right: NDArray[np.bool_],
    is_a: NDArray[np.bool_],
    talkers: Sequence[str],
    *,
    rng: np.random.Generator,
    resamples: int,
    confidence: float,
) -> tuple[float, float]:
    """Percentiles of the balanced accuracy with talkers drawn anew, with all their clips; predictors stay."""
    _, of_each = np.unique(talkers, return_inverse=True)
    counts = np.stack([np.bincount(of_each, weights) for weights in (right & is_a, is_a, right & ~is_a, ~is_a)])
    drawn = rng.multinomial(counts.shape[1], np.full(counts.shape[1], 1 / counts.shape[1]), size=resamples)
    sums = drawn @ counts.T
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]  # a resample without one of the classes has no accuracy
    accuracies = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
    low, high = np.quantile(accuracies, ((1 - confidence) / 2, (1 + confidence) / 2)).tolist()
    return low, high
