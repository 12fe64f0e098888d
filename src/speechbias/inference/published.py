"""What a d that somebody published says of its p."""

import math

from scipy.special import stdtr

from speechbias.errors import InputError
from speechbias.inference.options import Alternative, check_alternative

SMALLEST = 5e-324  # where a probability underflows; p is never 0


def p_from_effect_size(d: float, n_x: int, n_y: int, *, alternative: Alternative = "greater") -> float:
    """The p that a published d implies by Student's t; one-sided as SpEAT's by default.

    d is over the total SD (ddof 1), so t = d sqrt(n_x n_y / n) / sqrt((n - 1 - d^2 n_x n_y / n) / (n - 2)). Raises
    ``InputError`` for a |d| that no data can have.
    """
    check_alternative(alternative)
    n = n_x + n_y
    if min(n_x, n_y) < 2:
        raise InputError(f"The sets hold {n_x} and {n_y} stimuli. Each needs at least 2.")
    within = n - 1 - d**2 * n_x * n_y / n
    if not within > 0:
        bound = math.sqrt((n - 1) * n / (n_x * n_y))
        raise InputError(f"d = {d} cannot be: with {n_x} and {n_y} stimuli |d| stays below {bound:.4f}.")
    statistic = d * math.sqrt(n_x * n_y / n) / math.sqrt(within / (n - 2))
    if alternative == "two-sided":
        return max(2 * float(stdtr(n - 2, -abs(statistic))), SMALLEST)
    return max(float(stdtr(n - 2, -statistic if alternative == "greater" else statistic)), SMALLEST)
