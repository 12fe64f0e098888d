"""Linear erasure of a concept from embeddings: LEACE and mean projection, in closed form.

Both subtract, from every embedding, what an oblique projection finds of the directions in which the classes' means
differ; afterwards all classes have one mean, so no linear classifier with a convex loss beats guessing (Belrose et al.
2023, "LEACE: Perfect linear concept erasure in closed form", Theorems 3.1 and 4.3). They differ in the metric in which
what is taken away is smallest: mean projection in Euclid's (which turns off the directions between the means, no
more), LEACE in that of the covariance, so that the embeddings move least on average.

An eraser is affine, so erasing every frame and averaging is averaging and erasing: what was fitted on means over time
holds for frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError

Floats = NDArray[np.float64]
Method = Literal["leace", "mean-projection"]
METHODS: tuple[Method, ...] = get_args(Method)
RELATIVE = 1e-9  # of the largest: singular values below are zeros that rounding left


@dataclass(frozen=True, eq=False)
class Eraser:
    """``x - ((x - mean) @ found) @ taken``: what is found of the concept, in the directions in which it is taken away.

    ``mean`` (dim,), ``found`` (dim, rank), ``taken`` (rank, dim); the rank is below the number of classes.
    """

    mean: Floats
    found: Floats
    taken: Floats

    @property
    def rank(self) -> int:
        """Dimensions that are lost."""
        return int(self.found.shape[1])

    def __call__(self, embeddings: Floats) -> Floats:
        """Erase: (..., dim) to (..., dim)."""
        return np.asarray(embeddings - ((embeddings - self.mean) @ self.found) @ self.taken)


def fit_eraser(
    embeddings: NDArray[np.floating], classes: Sequence[str], *, method: Method = "leace", shrink: bool = True
) -> Eraser:
    """The eraser of which of these classes an embedding belongs to. ``embeddings`` (n, dim), a class for each.

    ``shrink`` pulls LEACE's covariance towards a multiple of the identity by Ledoit and Wolf's share (2004), without
    which a covariance of fewer embeddings than dimensions knows nothing of most directions; either way the means of
    the classes are equal afterwards on what was fitted. InputError for fewer than two classes or two of one, for NaN
    or Inf, and for arrays of other shapes.
    """
    points, codes = _checked(embeddings, classes, method)
    mean = points.mean(0)
    centred = points - mean
    between = centred.T @ (codes - codes.mean(0)) / len(points)  # (dim, classes): cross-covariance with the one-hots
    if method == "mean-projection":
        directions = _range(between)
        return Eraser(mean, directions, directions.T)
    whiten, unwhiten = _whitening(centred, shrink=shrink)
    directions = _range(whiten @ between)
    return Eraser(mean, whiten @ directions, directions.T @ unwhiten)


def stacked(erasers: Sequence[Eraser]) -> dict[str, Floats]:
    """Several as arrays: ``mean`` (n, dim), ``found`` (n, dim, rank), ``taken`` (n, rank, dim).

    Up to the largest rank with columns and rows of zeros, which take nothing away.
    """
    rank = max(eraser.rank for eraser in erasers)

    def wide(eraser: Eraser) -> tuple[Floats, Floats]:
        lacking = rank - eraser.rank
        return np.pad(eraser.found, ((0, 0), (0, lacking))), np.pad(eraser.taken, ((0, lacking), (0, 0)))

    found, taken = zip(*map(wide, erasers), strict=True)
    return {"mean": np.stack([eraser.mean for eraser in erasers]), "found": np.stack(found), "taken": np.stack(taken)}


def ledoit_wolf_share(centred: Floats) -> float:
    """How far to pull the covariance of (n, dim) towards its mean variance, 0 to 1 (Ledoit and Wolf 2004, Lemma 3.1).

    Counterpart: scikit-learn's ``ledoit_wolf_shrinkage``.
    """
    n, dim = centred.shape
    squares = centred**2
    variance = squares.sum() / (n * dim)
    if dim < n:
        gram = centred.T @ centred
        of_products = (squares.T @ squares).sum()
    else:  # the same sums from the smaller matrix
        gram = centred @ centred.T
        of_products = (squares.sum(1) ** 2).sum()
    square_norm = (gram**2).sum() / n**2
    apart = square_norm - dim * variance**2
    noise = (of_products / n - square_norm) / n
    return float(min(noise, apart) / apart) if apart > 0 else 0.0


def _checked(embeddings: NDArray[np.floating], classes: Sequence[str], method: Method) -> tuple[Floats, Floats]:
    """As float64, and one-hot codes (n, classes)."""
    points = np.asarray(embeddings, np.float64)
    if method not in METHODS:
        raise InputError(f"removal: there is no method {method!r}; take one of {', '.join(METHODS)}")
    if points.ndim != 2 or len(points) != len(classes):
        raise InputError(
            f"removal: takes (n, dim) embeddings; give a class for each, not {points.shape} and {len(classes)} classes"
        )
    if not np.isfinite(points).all():
        raise InputError("removal: an embedding holds NaN or Inf; leave that clip out")
    names, of_each = np.unique(np.asarray(classes, str), return_inverse=True)
    counts = np.bincount(of_each)
    if len(names) < 2 or counts.min() < 2:
        found = ", ".join(f"{count} of {str(name)!r}" for name, count in zip(names, counts, strict=True))
        raise InputError(
            f"removal: needs two classes or more with two clips each, got {found or 'none'}; fit on more clips"
        )
    return points, np.eye(len(names))[of_each]


def _range(matrix: Floats) -> Floats:
    """Orthonormal directions that a matrix's columns span: (rows, rank)."""
    left, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(left[:, sizes > RELATIVE * max(sizes.max(), np.finfo(float).tiny)])


def _whitening(centred: Floats, *, shrink: bool) -> tuple[Floats, Floats]:
    """Square root of the inverse covariance, and of the covariance; pseudo-inverse where directions have none."""
    n, dim = centred.shape
    covariance = centred.T @ centred / n
    if shrink:
        share = ledoit_wolf_share(centred)
        covariance = (1 - share) * covariance + share * np.trace(covariance) / dim * np.eye(dim)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > RELATIVE * values[-1]
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T
