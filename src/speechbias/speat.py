"""SpEAT, the Speech Embedding Association Test (paper, Section 2.2, equations 1 and 2).

Symbols follow the paper: X, Y are the target concepts, A, B the attribute concepts, each an array (stimuli, dim) of
one embedding per row. Everything from the cosine on is float64. Counterpart: ``weat/test.py`` as SpEAT uses it
(there X and Y must be equally many).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechbias.errors import InputError

Array = NDArray[np.float64]

# What a mean over time keeps after per-utterance CMVN is float32 rounding: about 1e-7 per element.
ROUNDING_RMS = 1e-6
# Cosines carry rounding errors of about 1e-16; a spread of s at this level is nothing but these.
ROUNDING_SPREAD = 1e-13


def unit(w: Any) -> Any:
    """Rows scaled to length 1; arrays or tensors of shape (..., dim)."""
    return w / (w * w).sum(-1)[..., None] ** 0.5


def association(w: Any, A: Any, B: Any) -> Any:
    """s(w, A, B), equation 1, for every row of ``w``: mean cosine with A minus mean cosine with B.

    ``w`` (stimuli, dim), ``A`` and ``B`` (attributes, dim), arrays or tensors; returns (stimuli,). The mean of
    cosines is the product with the mean of unit vectors.
    """
    return unit(w) @ (unit(A).mean(0) - unit(B).mean(0))


def effect_size(X: ArrayLike, Y: ArrayLike, A: ArrayLike, B: ArrayLike, *, ddof: int = 1) -> float:
    """SpEAT's d, equation 2: difference of the mean s of X and Y over the SD of s in X and Y together.

    Arrays (stimuli, dim), at least 2 stimuli each. ``ddof`` is 1 in SpEAT's code and 0 in WEFE; the paper is silent.
    Raises ``InputError`` for degenerate input (see ``check_sets``) and where all s are equal.
    """
    sets = check_sets({"X": X, "Y": Y, "A": A, "B": B}, ndim=2)
    check_ddof(ddof)
    s_x, s_y = (association(sets[name], sets["A"], sets["B"]) for name in "XY")
    s = np.concatenate([s_x, s_y])
    check_spread(s)
    return float((s_x.mean() - s_y.mean()) / s.std(ddof=ddof))


def check_sets(sets: Mapping[str, ArrayLike], *, ndim: int) -> dict[str, Array]:
    """The sets as float64 arrays of ``ndim`` axes, stimuli first and dim last.

    Raises ``InputError`` for other shapes, fewer than 2 stimuli, unequal dimensions, and embeddings that are not
    finite, zero, or at rounding level, naming the set and the row.
    """
    arrays = {name: np.asarray(values) for name, values in sets.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or array.ndim != ndim:
            raise InputError(f"{name} has shape {array.shape} and type {array.dtype}. Give numbers, (stimuli, dim).")
        if len(array) < 2:
            raise InputError(f"{name} holds {len(array)} stimuli. A set needs at least 2.")
    if len({array.shape[1:] for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"The embeddings differ in their dimensions: {shapes}. Take all from one model.")
    checked = {name: array.astype(np.float64) for name, array in arrays.items()}
    for name, array in checked.items():
        _check_values(name, array)
    return checked


def _check_values(name: str, array: Array) -> None:
    rms = np.sqrt(np.mean(array**2, axis=-1))  # (stimuli,) or (stimuli, states)
    problems = (
        (~np.isfinite(rms), "is not finite", "Check the model's output for NaN and overflow."),
        (rms == 0, "is zero", "Check for silence, or leave the clip out."),
        (
            rms < ROUNDING_RMS,
            "is at rounding level",
            "Does per-utterance CMVN take the mean away? Measure without it.",
        ),
    )
    for wrong, what, remedy in problems:
        if wrong.any():
            row, *state = np.argwhere(wrong)[0]
            where = f"{name}[{row}]" + "".join(f", state {s}," for s in state)
            raise InputError(f"The embedding of {where} {what} ({int(wrong.sum())} in all). {remedy}")


def check_spread(s: Array, *, where: str = "") -> None:
    """Raise ``InputError`` where the s of all targets are equal up to rounding: d would be noise over noise."""
    if np.std(s) <= ROUNDING_SPREAD:
        what = f"All targets have the same s{f' in {where}' if where else ''}: d is not defined."
        raise InputError(f"{what} Are A and B, or all targets, the same clips?")


def check_ddof(ddof: int) -> None:
    """Raise ``InputError`` for another ddof than 0 or 1."""
    if ddof not in {0, 1}:
        raise InputError(f"ddof is {ddof}. Take 1 (SpEAT) or 0 (WEFE).")
