"""Does a valence predictor, trained on emotional speech, rate one group higher? Its gap between X and Y beside d.

SpEAT trains such predictors on its models' embeddings of one emotional corpus and asks whether the sign of d is that
of the difference in predicted valence (Slaughter et al. 2023, arXiv 2310.18877: in 66 of 96 tests). There it is a
weighted sum of layers and a dense layer, with clips divided at random (``train_emotion_model.py``). Here it is ridge
regression on one layer's stored vectors (``inference.ridge``), with the clips of A (pleasant, 1) and B (unpleasant, 0)
as the corpus, cross-validated by talker. No model, no audio.

What is predicted is a property of this predictor, not of the people who speak. Where it cannot tell A from B on
talkers that it has not heard, its gap means nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference.association import FEW_TALKERS, target_units
from speechbias.inference.designs import name_blanks, relabel, relabel_attributes
from speechbias.inference.intervals import target_interval, whole_range
from speechbias.inference.permutation import permutation_test
from speechbias.inference.ridge import STRENGTHS, fit, gap_in_sds, mean_eigenvalue, shuffle_labels, unheard_answers
from speechbias.results import SCHEMA, BiasResult
from speechbias.speat import check_spread
from speechbias.vectors import sets_of_layer, stored_vectors

Array = NDArray[np.float64]
Measured = tuple[BiasResult, Path]  # a measurement, and the folder of its results file

PERMUTATIONS = 10_000  # of the attribute's labels, each with a predictor of its own
FEWEST_TALKERS = 3  # one to be asked, one to choose the penalty by, one to train on
AT_CHANCE = "the predictor does not tell A from B on talkers that it has not heard, so its gap means nothing"


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


def predict_gap(
    X: Array,
    Y: Array,
    corpus: Corpus,
    *,
    speakers: Mapping[str, Sequence[str]],
    pairs: Mapping[str, Sequence[str]] | None = None,
    design: str = "independent",
    alternative: str = "two-sided",
    permutations: int = 100_000,
    shuffles: int = PERMUTATIONS,
    resamples: int = 10_000,
    confidence: float = 0.95,
    ddof: int = 1,
    seed: int = 0,
) -> tuple[Gap, Predictor]:
    """Train on ``corpus``, predict for X and Y (clips, dim), whose ``speakers`` and ``design`` are those of the test.

    Options as for ``association_test``; ``shuffles`` relabellings of A and B, each with a predictor trained anew.
    InputError where A or B has fewer than three talkers, or all predictions are equal.
    """
    kernel, cross = _kernels(np.concatenate([corpus.A, corpus.B]), np.concatenate([X, Y]))
    labels = (np.arange(len(kernel)) < len(corpus.A)).astype(np.float64)
    _check_talkers(corpus)
    unit, n_x = mean_eigenvalue(kernel), len(X)
    if not unit > 0:
        raise InputError(
            f"{corpus.name}: all clips of A and B have the same vector, so nothing can be learnt of them; check it"
        )
    ridge = fit(kernel, cross, corpus.talkers, unit=unit)
    s = ridge.predict(labels[None])[0]
    check_spread(s, where="the predicted valence")
    rngs = [np.random.default_rng([seed, stream]) for stream in range(4)]
    shuffled = shuffle_labels(
        ridge,
        labels,
        relabel_attributes((corpus.speakers["A"], corpus.speakers["B"])),
        n_x=n_x,
        alternative=alternative,
        permutations=shuffles,
        rng=rngs[1],
    )
    permuted = permutation_test(
        s[:, None],
        relabel(design, (speakers["X"], speakers["Y"]), pairs),
        n_x=n_x,
        alternative=alternative,
        permutations=permutations,
        rng=rngs[0],
        saddlepoint=design == "independent",
    )
    units = target_units(design, speakers, pairs)
    interval = target_interval(
        s[:, None], units, n_x=n_x, ddof=ddof, resamples=resamples, confidence=confidence, rng=rngs[2]
    )
    if units.one_sided(n_x):
        interval = whole_range(interval, n_x, len(Y), ddof)
    right = unheard_answers(kernel, labels, corpus.talkers, unit=unit) == (labels > 0)
    low, high = _accuracy_interval(
        right, labels > 0, corpus.talkers, rng=rngs[3], resamples=resamples, confidence=confidence
    )
    gap = Gap(
        gap=float(s[:n_x].mean() - s[n_x:].mean()),
        gap_sd=float(gap_in_sds(s[None], n_x, ddof)[0]),
        ci_low=float(interval.low[0]),
        ci_high=float(interval.high[0]),
        ci_method=interval.method[0],
        p_value=float(permuted.p_value[0]),
        p_method=permuted.method[0],
        p_min=permuted.p_min,
        p_attribute=shuffled.p_gap,
        p_attribute_min=shuffled.p_gap_min,
    )
    accuracy = float((right[labels > 0].mean() + right[labels == 0].mean()) / 2)
    strength = STRENGTHS[int(ridge.choose(labels[None])[0][0])]
    return gap, Predictor(accuracy, low, high, shuffled.p_predictor, shuffled.p_predictor_min, strength)


def measure_valence(
    result: BiasResult,
    folder: Path,
    *,
    trained_on: Sequence[Measured] | None = None,
    shuffles: int = PERMUTATIONS,
) -> dict[str, Any]:
    """The gap of a measurement whose results file lies in ``folder``: a record of kind ``valence``.

    The predictor is trained on the measurement's own A and B, or on those of the one of ``trained_on`` that is of the
    same model. InputError as ``stored_vectors`` and ``predict_gap``, and where none or several of those fit.
    """
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, result.layer)
    source, name = (clips, result.test) if trained_on is None else _find_corpus(result, trained_on)
    of = sets_of_layer(source, result.layer)
    corpus = Corpus(of["A"], of["B"], source.speakers, name)
    options = ("design", "alternative", "permutations", "resamples", "confidence", "ddof", "seed")
    settings = {option: getattr(result, option) for option in options}
    try:
        gap, predictor = predict_gap(
            sets["X"],
            sets["Y"],
            corpus,
            speakers=clips.speakers,
            pairs=clips.pairs,
            shuffles=shuffles,
            **settings,
        )
    except InputError as error:
        raise InputError(*(f"{result.test}, {result.model}: {problem}" for problem in error.problems)) from None
    return {
        "kind": "valence",
        "schema": SCHEMA,
        **{
            name: getattr(result, name)
            for name in (*("test", "model", "family", "layer", "states"), *("dtype", "recipe", "d", "groups"))
        },
        **asdict(gap),
        **asdict(predictor),
        **settings,
        "shuffles": shuffles,
        "trained_on": name,
        "talkers": len(set(corpus.talkers)),
        "n": {**{each: result.n[each] for each in "XY"}, "A": len(corpus.A), "B": len(corpus.B)},
        "warnings": _warn(predictor, corpus, clips if trained_on is None else None, settings["confidence"]),
        **result.about,
    }


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


def _find_corpus(result: BiasResult, measured: Sequence[Measured]) -> tuple[Embeddings, str]:
    """The emotional clips of the same model elsewhere. InputError where there are none, or several that differ."""
    where = f"{result.test}, {result.model}"
    fitting = {each.stimuli_sha256: (each, folder) for each, folder in measured if _same_model(each, result)}
    if not fitting:
        raise InputError(
            f"{where}: the file of --trained-on holds no measurement of this model with the same states, precision "
            "and pooling; measure it there"
        )
    found = [(stored_vectors(each, folder), each.test) for each, folder in fitting.values()]
    first = found[0][0].sets()
    for clips, _ in found[1:]:
        sets = clips.sets()
        if any(sets[name].shape != first[name].shape or not (sets[name] == first[name]).all() for name in "AB"):
            names = ", ".join(test for _, test in found)
            raise InputError(
                f"{where}: --trained-on holds {names} with different clips of A and B; name a file of one"
            )
    return found[0]


def _same_model(one: BiasResult, other: BiasResult) -> bool:
    names = ("model_sha256", "states", "dtype", "recipe", "num_states", "dim")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _warn(predictor: Predictor, corpus: Corpus, own: Embeddings | None, confidence: float) -> list[str]:
    """``own``: the test's clips where the predictor was trained on them; elsewhere nobody knows who is who."""
    warnings = []
    if predictor.p_predictor >= round(1 - confidence, 12):
        warnings.append(AT_CHANCE)
    if (talkers := len(set(corpus.talkers))) < FEW_TALKERS:
        warnings.append(f"only {talkers} attribute talkers: the accuracy on talkers not heard is a rough guide")
    if own is not None:
        targets = {*own.speakers["X"], *own.speakers["Y"]} - {""}
        heard = len(targets & {*own.speakers["A"], *own.speakers["B"]})
        if heard:
            warnings.append(f"{heard} speakers of X and Y speak in A or B too: the predictor has heard them")
    return warnings
