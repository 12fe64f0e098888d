"""A family of d's on the same clips, judged together: the steps of one run, its hidden states, sparsities.

p by max-T (Westfall and Young 1993): the same relabellings for all members. The band is that of BCa intervals at the
level at which a share ``confidence`` of the resamples lies within at every member: a bootstrap band by quantiles
(Montiel Olea and Plagborg-Moller 2019) with BCa's limits in the place of percentiles. Both take the random streams of
``associate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.designs import relabel, resolve_design
from speechbias.inference.intervals import joint_interval
from speechbias.inference.options import Options, check_options
from speechbias.inference.permutation import permutation_test
from speechbias.inference.units import check_speakers, target_units
from speechbias.speat import check_spread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Simultaneous:
    """All arrays (members,). ``low`` and ``high`` are NaN where a group is of one speaker, whose spread is unknown."""

    d: Array
    p_adjusted: Array
    low: Array
    high: Array


def simultaneous(
    s: Array,
    *,
    n_x: int,
    speakers: Mapping[str, Sequence[str]] | None = None,
    pairs: Mapping[str, Sequence[str]] | None = None,
    **options: Unpack[Options],
) -> Simultaneous:
    """The family whose members are the columns of ``s`` (targets, members): s of equation 1, the ``n_x`` of X first.

    ``speakers`` and ``pairs`` of X and Y as for ``association_test``. InputError for a column without spread, and
    where no design fits.
    """
    settings = check_options(options)
    n = {"X": n_x, "Y": len(s) - n_x, "A": 0, "B": 0}
    labels = check_speakers({name: (speakers or {}).get(name, ()) for name in "XY"}, n)
    design = resolve_design(labels, pairs=pairs, design=settings["design"])
    for member, column in enumerate(s.T):
        check_spread(column, where=f"member {member}")
    permuted = permutation_test(
        s,
        relabel(design, (labels["X"], labels["Y"]), pairs),
        n_x=n_x,
        alternative=settings["alternative"],
        permutations=settings["permutations"],
        rng=np.random.default_rng([settings["seed"], 0]),
        family=range(s.shape[1]),
    )
    d = (s[:n_x].mean(axis=0) - s[n_x:].mean(axis=0)) / s.std(axis=0, ddof=settings["ddof"])
    units = target_units(design, labels, pairs)
    if units.one_sided(n_x):
        return Simultaneous(d, permuted.p_adjusted, np.full(len(d), np.nan), np.full(len(d), np.nan))
    band = joint_interval(
        s,
        units,
        n_x=n_x,
        ddof=settings["ddof"],
        resamples=settings["resamples"],
        confidence=settings["confidence"],
        rng=np.random.default_rng([settings["seed"], 2]),
    )
    return Simultaneous(d, permuted.p_adjusted, band.low, band.high)
