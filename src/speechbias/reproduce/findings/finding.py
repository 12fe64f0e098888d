"""A statement of the paper put to a test: effect, interval, verdict, and what the interval is over."""

from collections.abc import Sequence
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
class Effect:
    """A contrast of d's; no interval where vectors are not kept, or a group is of one speaker."""

    value: float
    low: float | None = None
    high: float | None = None


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


@dataclass(frozen=True)
class Statement:
    """What is put to a test, before anything is known of it; the fields are those of a ``Finding``."""

    section: str
    text: str
    on: str
    over: Over = "stimuli"
    unit: str = "d"
    paper: str = ""

    def absent(self, note: str = "") -> Finding:
        """Nothing was measured that could tell."""
        return self._found(Says.absent, None, note)

    def judged(self, effect: Effect, says: Says, note: str) -> Finding:
        """An effect was measured; ``note``: of what."""
        return self._found(says, effect, note)

    def _found(self, says: Says, effect: Effect | None, note: str) -> Finding:
        value, low, high = (effect.value, effect.low, effect.high) if effect else (None, None, None)
        said = self.section, self.text, self.on, self.over
        return Finding(*said, says, value, low, high, unit=self.unit, paper=self.paper, note=note)


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


def all_verdict(effects: Sequence[Effect], *, sign: int, whole: bool = True) -> tuple[Effect, Says]:
    """Whether all of some effects are above (``sign`` 1) or below (-1) zero; with the one that stands against it most.

    Their intervals hold for all of them at once. ``whole``: whether there are all that the statement is about; one
    that is against it contradicts it in any case, while some of them do not support it.
    """
    says = [sign_verdict(each.low, each.high, sign=sign) for each in effects]
    against = [each for each, said in zip(effects, says, strict=True) if said is Says.contradicted]
    most = min(against or effects, key=lambda each: sign * each.value)
    if against:
        return most, Says.contradicted
    return most, Says.supported if whole and all(said is Says.supported for said in says) else Says.unclear


def opposite(says: Says) -> Says:
    """The verdict on the contrary of a statement."""
    turned = {Says.supported: Says.contradicted, Says.contradicted: Says.supported}
    return turned.get(says, says)
