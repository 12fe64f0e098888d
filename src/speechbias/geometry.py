"""What drives a d: the mean cosines behind it, dimensions, states and people, from the vectors of one test.

With unit vectors, the difference of mean s of X and Y is a plain sum over dimensions: (mean of X - mean of Y) . (mean
of A - mean of B). So the share of a dimension is exact, and few dimensions that rule it are found at once (Timkey and
van Schijndel 2021 for cosines of language models). d divides this by the SD of s, which belongs to no dimension.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.speat import association, unit

Array = NDArray[np.float64]
Sets = Mapping[str, Array]  # X, Y, A, B: (stimuli, dim), or (stimuli, states, dim) where it says so
PAIRS = ("XA", "XB", "YA", "YB")


@dataclass(frozen=True, eq=False)
class Geometry:
    """How embeddings lie. ``anisotropy``: mean cosine of two different clips, 0 where directions are all alike."""

    anisotropy: float
    rogue: Array  # (dim,) share of each dimension in that mean cosine, which they sum to
    norms: Array  # (stimuli,)


def mean_cosines(sets: Sets) -> dict[str, float]:
    """Mean cosine of each target set with each attribute set: the numerator of d is XA - XB - YA + YB."""
    means = {name: unit(array).mean(0) for name, array in sets.items()}
    return {pair: float(means[pair[0]] @ means[pair[1]]) for pair in PAIRS}


def dimension_shares(sets: Sets) -> Array:
    """What every dimension gives to mean s of X minus mean s of Y, as shares that sum to 1, (dim,); some negative.

    Where X and Y have the same mean s shares are of nothing, and NaN.
    """
    means = {name: unit(array).mean(0) for name, array in sets.items()}
    parts = (means["X"] - means["Y"]) * (means["A"] - means["B"])
    total = parts.sum()
    if abs(total) <= 1e-12 * np.abs(parts).sum():
        return np.full_like(parts, np.nan)
    return np.asarray(parts / total)


def fewest_for_half(shares: Array) -> int:
    """How few dimensions make up half of the difference, largest first; 0 where shares are NaN."""
    if np.isnan(shares).any():
        return 0
    return int(np.searchsorted(np.cumsum(np.sort(shares)[::-1]), 0.5) + 1)


def geometry(embeddings: Array) -> Geometry:
    """How the clips of a test lie: ``embeddings`` (stimuli, dim), two or more."""
    directions = unit(embeddings)
    n = len(directions)
    products = (directions.sum(0) ** 2 - (directions**2).sum(0)) / (n * (n - 1))  # mean over pairs, by dimension
    return Geometry(float(products.sum()), products, np.sqrt((embeddings**2).sum(-1)))


def state_shares(states: Array) -> Array:
    """How much of the layer mean is of each state: (stimuli, states, dim) to (states,), which sum to 1.

    The part of a state along the mean of all, over the length of that mean, averaged over clips: a state whose vectors
    are long rules the mean and with it its d.
    """
    mean = states.mean(1)
    along = np.einsum("nsd,nd->ns", states, mean) / states.shape[1]
    return np.asarray((along / (mean**2).sum(-1)[:, None]).mean(0))


def effect(sets: Sets, *, ddof: int = 1) -> float:
    """D as ``speat.effect_size``, without its checks; NaN where s has no spread."""
    s = association(np.concatenate([sets["X"], sets["Y"]]), sets["A"], sets["B"])
    spread = s.std(ddof=ddof)
    n_x = len(sets["X"])
    return float((s[:n_x].mean() - s[n_x:].mean()) / spread) if spread > 0 else float("nan")


def centred(sets: Sets) -> dict[str, Array]:
    """The mean of all clips taken away, every set alike, so that cosines are of what clips differ in."""
    mean = np.concatenate(list(sets.values())).mean(0)
    return {name: array - mean for name, array in sets.items()}


def standardised(sets: Sets) -> dict[str, Array]:
    """Every dimension with mean 0 and SD 1 over all clips; one that never changes stays 0."""
    deviation = np.concatenate(list(sets.values())).std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return {name: array / scale for name, array in centred(sets).items()}


def equal_states(sets: Sets) -> dict[str, Array]:
    """The layer mean with every state of length 1 first: (stimuli, states, dim) to (stimuli, dim)."""
    return {name: unit(array).mean(1) for name, array in sets.items()}


def without_largest(sets: Sets, count: int) -> dict[str, Array]:
    """Without the dimensions that have the largest shares of the mean cosine."""
    rogue = geometry(np.concatenate(list(sets.values()))).rogue
    kept = np.sort(np.argsort(-rogue, kind="stable")[count:])
    return {name: array[:, kept] for name, array in sets.items()}


ALTERNATIVES: Mapping[str, Callable[[Sets], dict[str, Array]]] = {  # of (stimuli, dim)
    "centred": centred,
    "standardised": standardised,
    "without the 3 largest dimensions": lambda sets: without_largest(sets, 3),
}


def single_category(targets: Array, A: Array, B: Array) -> float:
    """Single-category WEAT of one target set, from -2 to 2 where A and B are equally many (Caliskan et al. 2017).

    Of each target the mean cosine with A less that with B, over the SD (ddof 1) of its cosines with A and B together;
    the mean of these over the targets. ``targets`` (stimuli, dim).
    """
    cosines = unit(targets) @ unit(np.concatenate([A, B])).T
    found = cosines[:, : len(A)].mean(1) - cosines[:, len(A) :].mean(1)
    spread = cosines.std(1, ddof=1)
    return float((found / spread).mean()) if (spread > 0).all() else float("nan")


def relative_norm_distance(sets: Sets, attribute: str) -> float:
    """How much farther a set of attribute clips lies from X than from Y: mean |a - mean X| - |a - mean Y|.

    Of unit vectors (Garg et al. 2018, where it is a sum over words); above 0: nearer to Y.
    """
    clips = unit(sets[attribute])
    distances = [np.linalg.norm(clips - unit(sets[name]).mean(0), axis=1) for name in "XY"]
    return float((distances[0] - distances[1]).mean())


def projection_gap(sets: Sets, *, ddof: int = 1) -> float:
    """D of the projections on the line through the means of A and B, without cosines: lengths of vectors count.

    As s the projection of a clip on (mean A - mean B) of length 1 (the bias direction of Bolukbasi et al. 2016).
    """
    direction = sets["A"].mean(0) - sets["B"].mean(0)
    s = np.concatenate([sets["X"], sets["Y"]]) @ direction
    n_x, spread = len(sets["X"]), s.std(ddof=ddof)
    return float((s[:n_x].mean() - s[n_x:].mean()) / spread) if spread > 0 else float("nan")


def leave_one_out(sets: Sets, people: Mapping[str, Sequence[str]], *, ddof: int = 1) -> Array:
    """D without each person of the sets that ``people`` names, in the order in which they first appear.

    ``people``: for X and Y, or for A and B, who speaks each clip; "" is nobody's, and stays. NaN where a set would
    be left with fewer than 2 clips.
    """
    names = list(dict.fromkeys(name for labels in people.values() for name in labels if name))
    found = []
    for name in names:
        kept = dict(sets) | {key: sets[key][[each != name for each in labels]] for key, labels in people.items()}
        found.append(effect(kept, ddof=ddof) if min(map(len, kept.values())) > 1 else float("nan"))
    return np.array(found)
