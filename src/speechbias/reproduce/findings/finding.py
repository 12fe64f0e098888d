"""One statement of the paper put to a test: effect, interval, verdict, and what the interval is over."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Over = Literal["stimuli", "training runs"]
NEGLIGIBLE = 0.2  # |d| below which the paper calls a bias no small one


class Says(StrEnum):
    """What the data say of a statement."""

    supported = "supported"
    contradicted = "contradicted"
    unclear = "cannot tell"
    absent = "not measured"


@dataclass(frozen=True)
class Finding:
    """``effect`` with its interval, in d unless ``unit`` says otherwise; ``over``: what the interval is over.

    ``on``: which test, family or models. ``paper``: how far the paper's own numbers bear the statement out.
    """

    section: str
    statement: str
    on: str
    over: Over
    says: Says
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "d"
    paper: str = ""
    note: str = ""


def sign_verdict(low: float | None, high: float | None, *, sign: int) -> Says:
    """Whether an effect is above (``sign`` 1) or below (-1) zero: beyond its interval, or one cannot tell."""
    if low is None or high is None:
        return Says.unclear
    low, high = (low, high) if sign > 0 else (-high, -low)
    return Says.supported if low > 0 else Says.contradicted if high < 0 else Says.unclear


def none_verdict(low: float | None, high: float | None, *, bound: float = NEGLIGIBLE) -> Says:
    """Whether there is no effect: an interval within the bound shows it, one that is wholly outside the opposite.

    Not to find an effect is not to show that there is none.
    """
    if low is None or high is None:
        return Says.unclear
    if -bound < low and high < bound:
        return Says.supported
    return Says.contradicted if low > bound or high < -bound else Says.unclear
