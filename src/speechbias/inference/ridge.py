"""Ridge regression of two classes on vectors, cross-validated by talker, with everything linear in the labels.

Labels are 1 and 0. Through the kernel, (clips, clips), both the predictions for other clips and the errors on talkers
that were left out are matrices times the labels: so thousands of relabellings cost as many products, and each of them
chooses its own penalty. Leaving a talker out needs no second fit: the errors are (I - H_SS)^-1 (I - H)_S y, S its
clips and H the hat matrix (Golub, Heath and Wahba 1979 for single clips). Dimensions are not scaled one by one, so
nothing changes with a rotation of the vectors, nor with their scale; the intercept is not penalised. ``STRENGTHS`` are
penalties in units of the mean eigenvalue of the training clips' kernel, which depends on no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.designs import Relabelling
from speechbias.inference.permutation import share, smallest_p
from speechbias.inference.selections import is_exact, selections

Array = NDArray[np.float64]
Talkers = Sequence[str]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
TIE = 1e-9  # of the statistic: what lies closer is equal up to rounding


@dataclass(frozen=True, eq=False)
class Ridge:
    """Predictors of every strength, as matrices that take labels (clips,) of the training clips."""

    errors: Array  # (strengths, clips, clips): to the errors on each talker's clips when it was left out
    predictions: Array  # (strengths, others, clips): to the predictions for other clips

    def choose(self, labels: Array) -> tuple[NDArray[np.intp], Array]:
        """Of every row of ``labels`` (rows, clips): the strength of least squared error on unheard talkers, and that.

        The error is a mean over clips.
        """
        every = np.stack([np.square(labels @ errors.T).mean(axis=1) for errors in self.errors])
        return every.argmin(axis=0), every.min(axis=0)

    def predict(self, labels: Array) -> Array:
        """Predictions for the other clips of each row of ``labels``, (rows, others), each with its own strength."""
        chosen, _ = self.choose(labels)
        found = np.empty((len(labels), self.predictions.shape[1]))
        for strength, matrix in enumerate(self.predictions):
            rows = chosen == strength
            found[rows] = labels[rows] @ matrix.T
        return found


@dataclass(frozen=True)
class Shuffled:
    """The predictor trained anew on shuffled labels: how often it does as well, and how often the gap is as large."""

    p_gap: float
    p_gap_min: float
    p_predictor: float  # does it tell the classes apart on talkers that it has not heard?
    p_predictor_min: float


def fit(kernel: Array, cross: Array, talkers: Talkers, *, unit: float) -> Ridge:
    """Predictors from the inner products of training clips (clips, clips) and of others with them (others, clips).

    ``unit``: what a strength of 1 is, as ``mean_eigenvalue`` gives it.
    """
    n = len(kernel)
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    values, vectors = np.linalg.eigh(centred)
    values = np.maximum(values, 0)
    towards = cross - kernel.mean(axis=0)  # from the mean of the training clips
    names = np.array(talkers)
    folds = [np.flatnonzero(names == name) for name in dict.fromkeys(talkers)]
    errors, predictions = [], []
    for strength in STRENGTHS:
        inverse = (vectors / (values + strength * unit)) @ vectors.T
        left = np.eye(n) - 1 / n - centred @ inverse  # I - H
        out = np.empty_like(left)
        for clips in folds:
            out[clips] = np.linalg.solve(left[np.ix_(clips, clips)], left[clips])
        errors.append(out)
        weights = towards @ inverse
        predictions.append(weights - weights.mean(axis=1, keepdims=True) + 1 / n)
    return Ridge(np.array(errors), np.array(predictions))


def mean_eigenvalue(kernel: Array) -> float:
    """Of the kernel of centred clips: the total variance of the clips, over their number less one, times it."""
    return float((np.trace(kernel) - kernel.mean() * len(kernel)) / (len(kernel) - 1))


def unheard_answers(kernel: Array, labels: Array, talkers: Talkers, *, unit: float) -> NDArray[np.bool_]:
    """Whether each clip is called a 1 by a predictor that has not heard its talker, nor chose its strength by it.

    Called so where the prediction exceeds the share of 1 among the clips trained on: both classes count alike.
    """
    names = np.array(talkers)
    answers = np.empty(len(labels), bool)
    for name in dict.fromkeys(talkers):
        held, heard = np.flatnonzero(names == name), np.flatnonzero(names != name)
        ridge = fit(kernel[np.ix_(heard, heard)], kernel[np.ix_(held, heard)], names[heard].tolist(), unit=unit)
        answers[held] = ridge.predict(labels[None, heard])[0] > labels[heard].mean()
    return answers


def gap_in_sds(predictions: Array, n_x: int, ddof: int) -> Array:
    """Mean over the first ``n_x`` columns less that over the others, over the SD of all, (rows,); as d of s."""
    spread = predictions.std(axis=1, ddof=ddof)
    return np.asarray(_gaps(predictions, n_x) / np.where(spread > 0, spread, np.nan))


def shuffle_labels(
    ridge: Ridge,
    labels: Array,
    relabelling: Relabelling,
    *,
    n_x: int,
    alternative: str,
    permutations: int,
    rng: np.random.Generator,
) -> Shuffled:
    """Train anew, strength and all, on labels shuffled by ``relabelling``: of the training clips, 1 the first set."""
    units = np.zeros((len(relabelling.units), len(labels)))
    for row, clips in enumerate(relabelling.units):
        units[row, list(clips)] = 1
    observed, (_, least) = _statistic(ridge, labels[None], n_x, alternative), ridge.choose(labels[None])
    bounds = observed[0] - TIE * abs(observed[0]), least[0] * (1 + TIE)
    hits, draws = np.zeros(2, np.int64), 0
    for selected in selections(relabelling, permutations=permutations, rng=rng):
        chosen = np.zeros((len(selected), len(units)))
        np.put_along_axis(chosen, selected, 1, axis=1)
        drawn = chosen @ units
        # A spread of zero counts against the finding.
        hits[0] += np.count_nonzero(~(_statistic(ridge, drawn, n_x, alternative) < bounds[0]))
        hits[1] += np.count_nonzero(ridge.choose(drawn)[1] <= bounds[1])
        draws += len(selected)
    minima = [smallest_p(relabelling, side, permutations) for side in (alternative, "greater")]
    p = [max(float(each), least) for each, least in zip(_shares(hits, draws, relabelling), minima, strict=True)]
    return Shuffled(p[0], minima[0], p[1], minima[1])


def _shares(hits: NDArray[np.int64], draws: int, relabelling: Relabelling) -> Array:
    return share(hits, draws, exact=is_exact(relabelling))


def _statistic(ridge: Ridge, labels: Array, n_x: int, alternative: str) -> Array:
    gap = gap_in_sds(ridge.predict(labels), n_x, 1)
    return np.abs(gap) if alternative == "two-sided" else gap if alternative == "greater" else -gap


def _gaps(predictions: Array, n_x: int) -> Array:
    return np.asarray(predictions[:, :n_x].mean(axis=1) - predictions[:, n_x:].mean(axis=1))
