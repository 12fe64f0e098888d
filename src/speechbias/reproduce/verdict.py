"""Whether a d of ours agrees with a published one: the rule, in one place.

On the same clips and weights two careful measurements differ by 0.06 at the most: so far apart are the paper and SpEAT
in the nine cells that both have. On other clips both numbers carry noise of sampling, and ours is judged by its own
interval, widened by the square root of 2 for the other's.
"""

from enum import StrEnum

SAME = 0.06  # |difference| up to which two measurements of one thing agree
WIDENED = 1.41
TOO_WIDE = 0.35  # half-width of an interval above which it tells nothing
ROUNDING = 1e-9  # what stands on a bound is within it


class Verdict(StrEnum):
    """What is said of a cell."""

    agrees = "agrees"
    differs = "differs"
    beyond = "differs beyond noise"
    unknown = "cannot tell"


def judge(d: float, low: float, high: float, published: float, *, same: bool) -> Verdict:
    """The verdict on d with its interval; ``same``: measured on the same clips and weights as the published value."""
    if same:
        return Verdict.agrees if abs(d - published) <= SAME + ROUNDING else Verdict.differs
    if (high - low) / 2 > TOO_WIDE + ROUNDING:
        return Verdict.unknown
    below, above = d - WIDENED * (d - low) - ROUNDING, d + WIDENED * (high - d) + ROUNDING
    outside = published < below or published > above
    return Verdict.beyond if outside else Verdict.agrees
