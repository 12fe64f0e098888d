"""Matched subsets: clips of X and Y paired so that no pair differs by more than a caliper in any covariate.

As many pairs as the caliper allows, and among those sets of pairs the one that lies closest together (optimal
matching without replacement, Rosenbaum 1989), in SDs within groups. A caliper of 0.25 takes about 98 % of the
difference of a normal covariate away (Cochran and Rubin 1973).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from speechbias.confounds.differences import within_sd

Array = NDArray[np.float64]

CALIPER = 0.25  # SD within groups, per covariate


def match(z: Array, *, n_x: int, caliper: float = CALIPER) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the matched clips of X and, in the same order, their partners in Y; ``z`` (clips, covariates), X first.

    A covariate without spread within the groups matches clips of equal value only.
    """
    spread = np.array([within_sd(column[:n_x], column[n_x:]) for column in z.T])
    apart = np.abs(z[:n_x, None] - z[None, n_x:]) / np.where(spread > 0, spread, 1)  # (X, Y, covariates)
    allowed = np.all(apart <= np.where(spread > 0, caliper, 0), axis=2)
    distance = np.sqrt((apart**2).sum(axis=2))
    forbidden = 1 + distance[allowed].sum()  # dearer than all allowed pairs together: their number goes first
    rows, columns = linear_sum_assignment(np.where(allowed, distance, forbidden))
    kept = allowed[rows, columns]
    return rows[kept], n_x + columns[kept]
