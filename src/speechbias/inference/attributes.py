"""The second p, p_attribute: whether what X and Y differ in is aligned with A against B at all.

X and Y stay as they are; A and B are relabelled within their talkers. Here the SD changes with the labels. With C the
cosines (targets, attributes), g the weights 1/n_A on A and -1/n_B on B, u = mean_X C - mean_Y C and K the covariance
of C's columns over X and Y: d* = u.g / sqrt(g' K g). A relabelling counts where |u.g| >= |d| sqrt(g' K g), without a
division, so that a spread of zero counts against the finding.

g' K g is a sum over K's eigenvectors. The leading ones bound it from below and, with the next eigenvalue for all that
is left of g, from above. A few of them settle most comparisons of all states in one pass; where the bounds leave one
open, more of them are taken, and at last the full form. The result is exact.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.compiled import compiled
from speechbias.inference.designs import Relabelling
from speechbias.inference.permutation import share, smallest_p
from speechbias.inference.selections import is_exact, selections

Array = NDArray[np.float64]

LEADING = 4  # eigenvectors for all comparisons
FURTHER = 24  # for those still open
TIE = 1e-12  # of max|cosine|
ROUNDING = 1e-9  # of the bounds: what lies closer is computed in full


def attribute_test(
    cosines: Array,
    relabelling: Relabelling,
    *,
    n_x: int,
    n_a: int,
    alternative: str,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[Array, float]:
    """p_attribute per state and the smallest that these talkers allow, from cosines (states, targets, attributes)."""
    forms = [_Form(state, n_x, n_a, alternative) for state in cosines]
    leading = np.concatenate([form.leading for form in forms], axis=1)
    bounds = np.array([(form.d, form.after_leading, form.tie) for form in forms])
    members, first = _flatten(relabelling)
    hits, draws = np.zeros(len(forms), np.int64), 0
    for selected in selections(relabelling, permutations=permutations, rng=rng):
        g, squared = _weights(selected, members, first, cosines.shape[2])
        still_open = _settle(g @ leading, squared, bounds, alternative == "two-sided", hits)
        for state, form in enumerate(forms):
            hits[state] += form.count(g, squared, np.flatnonzero(still_open[:, state]))
        draws += len(selected)
    least = smallest_p(relabelling, alternative, permutations)
    return np.maximum(share(hits, draws, exact=is_exact(relabelling)), least), least


def _flatten(relabelling: Relabelling) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The clips of all units one after the other, and where each unit begins."""
    sizes = [len(unit) for unit in relabelling.units]
    return np.concatenate([np.array(unit) for unit in relabelling.units]), np.concatenate([[0], np.cumsum(sizes)])


@compiled
def _weights(selected, members, first, clips):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Weights g (draws, clips), 1/n_A on clips of chosen units and -1/n_B on the others; and |g|^2."""
    g = np.empty((len(selected), clips))
    squared = np.empty(len(selected))
    for draw in range(len(selected)):
        n_a = 0
        for unit in selected[draw]:
            n_a += first[unit + 1] - first[unit]
        g[draw, :] = -1.0 / (clips - n_a)
        for unit in selected[draw]:
            for clip in members[first[unit] : first[unit + 1]]:
                g[draw, clip] = 1.0 / n_a
        squared[draw] = 1.0 / n_a + 1.0 / (clips - n_a)
    return g, squared


@compiled
def _settle(projections, squared, bounds, two_sided, hits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add to ``hits`` what the leading eigenvectors settle; True where they do not, (draws, states).

    ``projections`` (draws, states x (1 + leading)): u.g, then the terms of the form before they are squared.
    """
    states = len(bounds)
    width = projections.shape[1] // states
    still_open = np.empty((len(projections), states), np.bool_)
    for draw in range(len(projections)):
        for state in range(states):
            d, after, tie = bounds[state]
            difference, low = projections[draw, state * width], 0.0
            for term in projections[draw, state * width + 1 : (state + 1) * width]:
                low += term * term
            high = np.sqrt((low + after * squared[draw]) * (1 + ROUNDING))
            low = np.sqrt(low * (1 - ROUNDING))
            if two_sided:
                difference, d = abs(difference), abs(d)
            least, most = difference >= d * high - tie, difference >= d * low - tie
            hits[state] += least and most
            still_open[draw, state] = least != most
    return still_open


class _Form:
    """The comparison |d*| >= |d| of one state, as a quadratic form in g."""

    def __init__(self, cosines: Array, n_x: int, n_a: int, alternative: str) -> None:
        self.two_sided = alternative == "two-sided"
        sign = -1 if alternative == "less" else 1
        self.u = sign * (cosines[:n_x].mean(axis=0) - cosines[n_x:].mean(axis=0))
        self.spread = (cosines - cosines.mean(axis=0)).T / np.sqrt(len(cosines))  # K = spread spread'
        values, vectors = np.linalg.eigh(self.spread @ self.spread.T)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        roots = vectors * np.sqrt(values)
        self.leading = np.column_stack([self.u, roots[:, :LEADING]])  # the same width for all states
        self.further = np.column_stack([self.u, roots[:, : LEADING + FURTHER]])
        rest = np.append(values, np.zeros(LEADING + FURTHER + 1))
        self.after_leading, self.after_further = rest[LEADING], rest[LEADING + FURTHER]
        g = np.where(np.arange(len(self.u)) < n_a, 1 / n_a, -1 / (len(self.u) - n_a))
        self.d = (self.u @ g) / np.linalg.norm(g @ self.spread)
        self.tie = TIE * np.abs(cosines).max()

    def count(self, g: Array, squared: Array, rows: NDArray[np.intp]) -> int:
        """How many of the relabellings in these rows of g (draws, attributes) have a d* at least as far out as d."""
        projections = g[rows] @ self.further
        difference = projections[:, 0]
        low = np.einsum("ij,ij->i", projections[:, 1:], projections[:, 1:])
        reached = self._reached(difference, (low + self.after_further * squared[rows]) * (1 + ROUNDING))
        still_open = np.flatnonzero(self._reached(difference, low * (1 - ROUNDING)) != reached)
        full = g[rows[still_open]] @ self.spread
        reached[still_open] = self._reached(difference[still_open], np.einsum("ij,ij->i", full, full))
        return int(np.count_nonzero(reached))

    def _reached(self, difference: Array, variance: Array) -> NDArray[np.bool_]:
        spread = np.sqrt(variance)
        if self.two_sided:
            return np.asarray(np.abs(difference) >= abs(self.d) * spread - self.tie)
        return np.asarray(difference >= self.d * spread - self.tie)
