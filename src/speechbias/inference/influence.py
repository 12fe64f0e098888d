"""How much each clip moves d: the influence function of equation 2 for fixed attribute clips, in closed form.

With N = n_X + n_Y clips, v their variance about the common mean m and sd = sqrt(v N / (N - ddof)), a clip of X adds

    psi = (s - mean_X) / (n_X sd) - d ((s - m)^2 / v - 1) / (2 N)

to d, to first order; one of Y the same with -(s - mean_Y) / (n_Y sd). Sums of psi over the units of a design, about
their mean in each stratum, give the variance of d: the infinitesimal jackknife (Efron 1982, chapter 6).

For normal s, n_X = n_Y = n and independent clips: var d = 2 w^6 / n + d^2 w^4 / (4 n) with w^2 = 1 - d^2 / 4.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.compiled import compiled
from speechbias.inference.intervals import variance_scale

Array = NDArray[np.float64]

LARGEST_R = 1 - 1e-12  # where the groups do not overlap in a resample


def influence(s: Array, n_x: int, ddof: int) -> Array:
    """Psi of every clip and state, (clips, states), from ``s`` (clips, states), X first."""
    n = len(s)
    x, y = s[:n_x], s[n_x:]
    v = s.var(axis=0)
    sd = np.sqrt(v * variance_scale(n, ddof))
    d = (x.mean(axis=0) - y.mean(axis=0)) / sd
    linear = np.concatenate([(x - x.mean(axis=0)) / n_x, -(y - y.mean(axis=0)) / (n - n_x)]) / sd
    return np.asarray(linear - d * ((s - s.mean(axis=0)) ** 2 / v - 1) / (2 * n))


def fisher(d: Array, n_x: Array, n_y: Array, scale: float) -> Array:
    """Fisher's z of d's: d times sqrt(n_X n_Y) / N is a correlation of s with the group, r, and z = artanh r."""
    n = n_x + n_y
    r = d * np.sqrt(scale * n_x * n_y) / n
    return np.asarray(np.arctanh(np.clip(r, -LARGEST_R, LARGEST_R)))


@compiled
def standard_errors(sums, values, selected, bounds, first, second, scale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0917
    """Standard errors of differences of d's and of Fisher's z's, (draws, 2, differences), each from its own draw.

    ``values`` (units, 2 + 3 members): ``moments`` summed over units; ``sums`` (draws, the same): over the units
    ``selected`` in a draw, (draws, slots); stratum i has the slots ``bounds[i]`` to ``bounds[i + 1]``. Member
    ``first[k]`` minus member ``second[k]``. A stratum with one slot counts as one without variance.
    """
    slots, members = selected.shape[1], (values.shape[1] - 2) // 3
    found = np.empty((len(selected), 2, len(first)))
    psi, to_z = np.empty((members, slots)), np.empty(members)
    for draw in range(len(selected)):
        for k in range(members):
            to_z[k] = _psi_of_slots(sums[draw], values, selected[draw], k, members, scale, psi[k])
        for pair in range(len(first)):
            one, other = psi[first[pair]], psi[second[pair]]
            found[draw, 0, pair] = np.sqrt(_variance_of(one, other, 1.0, 1.0, bounds))
            z_one, z_other = to_z[first[pair]], to_z[second[pair]]
            found[draw, 1, pair] = np.sqrt(_variance_of(one, other, z_one, z_other, bounds))
    return found


@compiled
def _psi_of_slots(sums, values, selected, k, members, scale, psi):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917
    """Fill ``psi`` (slots,) with what each unit of a draw adds to the d of member ``k``; returns dz/dd there.

    ``influence`` summed over clips: linear in a unit's numbers of clips, sums of s and sum of squares.
    """
    n_x, n_y = sums[0], sums[1]
    n = n_x + n_y
    x, y = sums[2 + k], sums[2 + members + k]
    mean = (x + y) / n
    v = sums[2 + 2 * members + k] / n - mean * mean
    if not v > 0:
        psi[:] = np.nan
        return np.nan
    sd = np.sqrt(v * scale)
    d = (x / n_x - y / n_y) / sd
    of_square = -d / (2 * n * v)
    of_x, of_y, centre = 1 / (n_x * sd), -1 / (n_y * sd), of_square * (mean * mean - v)
    one_x, one_y = centre - of_x * x / n_x, centre - of_y * y / n_y
    of_x, of_y = of_x - 2 * mean * of_square, of_y - 2 * mean * of_square
    for slot in range(len(selected)):
        unit = values[selected[slot]]
        of_sums = of_x * unit[2 + k] + of_y * unit[2 + members + k] + of_square * unit[2 + 2 * members + k]
        psi[slot] = one_x * unit[0] + one_y * unit[1] + of_sums
    to_r = np.sqrt(scale * n_x * n_y) / n
    r = min(max(d * to_r, -LARGEST_R), LARGEST_R)
    return to_r / (1 - r * r)


@compiled
def _variance_of(one, other, weight, other_weight, bounds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Variance of a sum over slots of weighted differences, from their spread in each stratum."""
    total = 0.0
    for stratum in range(len(bounds) - 1):
        m = bounds[stratum + 1] - bounds[stratum]
        if m < 2:
            continue
        plain, squared = 0.0, 0.0
        for slot in range(bounds[stratum], bounds[stratum + 1]):
            each = weight * one[slot] - other_weight * other[slot]
            plain += each
            squared += each * each
        total += max(squared - plain * plain / m, 0.0) * m / (m - 1)
    return total
