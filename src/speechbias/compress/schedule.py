"""When to cut (Section 2.3): at updates that are known before, or when the loss has converged.

Both kinds of schedule answer ``due(step, loss)``, which is asked once after every update: how much is to be cut now,
None for nothing. An amount is a number of heads or rows of each layer, or the share of zeros to be reached. Where a
schedule stands goes into a checkpoint by ``state`` and ``load``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from speechbias.compress.events import read_events
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig
from speechbias.training.pruning import PruneSection

Amount = int | float


class Schedule(Protocol):
    """What the loop asks."""

    def due(self, step: int, loss: float | None) -> Amount | None:
        """What is to be cut after this update; ``loss`` is None where there was no finite one."""

    def ended(self, step: int) -> bool:
        """Whether the run is over before its updates are done."""

    def state(self) -> dict[str, Any]:
        """Plain containers."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""


class FixedSchedule:
    """Cuts at given updates: a ladder, a list, or the events of another run."""

    def __init__(self, cuts: Mapping[int, Amount], *, last: int) -> None:
        self.cuts = dict(cuts)
        self.end = max(cuts) + last  # updates of a run in which the last cut is trained on

    def due(self, step: int, loss: float | None = None) -> Amount | None:  # noqa: ARG002 (a loss decides nothing here)
        """The amount of the cut at this update."""
        return self.cuts.get(step)

    def ended(self, step: int) -> bool:  # noqa: ARG002 (how long a run is was known when it began)
        """Never: the recipe's updates decide, which are ``end`` unless it says otherwise."""
        return False

    def state(self) -> dict[str, Any]:
        """Its cuts: the file that it replays may change, or be gone."""
        return {"cuts": dict(self.cuts), "end": self.end}

    def load(self, state: Mapping[str, Any]) -> None:
        """The cuts with which the run began."""
        vars(self).update(state)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """What ``state`` was taken of, whatever the recipe names now."""
        return cls(state["cuts"], last=state["end"] - max(state["cuts"]))


class ConvergenceSchedule:
    """The next target when the loss's moving average stands where it stood ``look_back`` updates before.

    The average begins anew at each cut. It is compared every ``check`` updates after a cut; with ``sides`` "fall" a
    loss that rose counts as converged (the authors' code: train on only while it fell by more than ``tolerance``).
    ``average`` "corrected" divides by the weight that decay has given out so far, as Adam does; "three" begins with
    the mean of three losses, leaves out the fourth, and decays from there, as the authors' code. Updates without a
    finite loss count as time, and move nothing.
    """

    def __init__(self, section: PruneSection, *, targets: Sequence[float], last: int) -> None:
        self.section, self.targets, self.last = section, tuple(targets), last
        self.cuts, self.since, self.cut_at = 0, 0, 0
        self.sum, self.losses = 0.0, 0  # decayed; how many
        self.remembered: dict[int, float] = {}  # averages that a later check wants, by updates since the cut

    def due(self, step: int, loss: float | None) -> Amount | None:
        """The next target, where the loss has converged."""
        if self.cuts == len(self.targets):
            return None
        self.since += step > 0
        if loss is not None and step > 0:
            self._take(loss)
        if not self._has_converged():
            return None
        target = self.targets[self.cuts]
        self.cuts, self.cut_at = self.cuts + 1, step
        self.since, self.sum, self.losses, self.remembered = 0, 0.0, 0, {}
        return target

    def ended(self, step: int) -> bool:
        """Whether the last target was trained on."""
        return self.cuts == len(self.targets) and step >= self.cut_at + self.last

    @property
    def average(self) -> float:
        """The moving average of the loss since the last cut; NaN before there is one."""
        if not self.losses:
            return math.nan
        if self.section.average == "three":
            return self.sum / min(self.losses, 3) if self.losses <= 3 else self.sum
        return self.sum / (1 - self.section.ema**self.losses)

    def state(self) -> dict[str, Any]:
        """All of it that moves."""
        names = ("cuts", "since", "cut_at", "sum", "losses")
        return {name: getattr(self, name) for name in names} | {"remembered": dict(self.remembered)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state, remembered=dict(state["remembered"]))

    def _take(self, loss: float) -> None:
        self.losses += 1
        decay = self.section.ema
        if self.section.average == "corrected":
            self.sum = decay * self.sum + (1 - decay) * loss
        elif self.losses <= 3:
            self.sum += loss
        elif self.losses == 4:
            self.sum /= 3
        else:
            self.sum = decay * self.sum + (1 - decay) * loss

    def _has_converged(self) -> bool:
        section, since = self.section, self.since
        if (since + section.look_back) % section.check == 0:
            self.remembered[since] = self.average
        if since == 0 or since % section.check:
            return False
        before = self.remembered.pop(since - section.look_back, math.nan)
        if section.unconditional and self.cuts == 0:
            return True
        fell = before - self.average
        return (fell if section.sides == "fall" else abs(fell)) <= section.tolerance  # false for NaN


def make_schedule(section: PruneSection, config: EncoderConfig, *, sparsity: float = 0.0) -> Schedule:
    """The schedule of a recipe for a model as it is when pruning begins, ``sparsity`` of its weights zero already.

    InputError where more is to be cut than there is.
    """
    if section.schedule == "converged":
        assert section.targets is not None
        _refuse_lower(section.targets, sparsity)
        return ConvergenceSchedule(section, targets=section.targets, last=section.last or section.look_back)
    if section.schedule == "ladder":
        assert section.stages is not None
        steps: dict[int, Amount] = dict.fromkeys(_ladder(section, config), section.amount or 1)
        return FixedSchedule(steps, last=section.last or section.stages[-1][0])
    cuts = _replayed(section) if section.schedule == "replayed" else _listed(section)
    if section.method == "weights":
        _refuse_lower(list(cuts.values()), sparsity)
    else:
        _refuse_more(section, config, sum(map(int, cuts.values())))
    times = list(cuts)
    return FixedSchedule(cuts, last=section.last or times[-1] - (times[-2] if len(times) > 1 else 0) or 1)


def amounts_of(section: PruneSection, config: EncoderConfig, *, sparsity: float = 0.0) -> list[Amount]:
    """The cuts of a recipe in order, whenever they come. InputError as from ``make_schedule``."""
    schedule = make_schedule(section, config, sparsity=sparsity)
    return list(schedule.cuts.values()) if isinstance(schedule, FixedSchedule) else list(section.targets or ())


def _listed(section: PruneSection) -> dict[int, Amount]:
    assert section.at is not None
    amounts = section.targets or (section.amount or 1,) * len(section.at)
    return dict(zip(section.at, amounts, strict=True))


def _replayed(section: PruneSection) -> dict[int, Amount]:
    """The cuts of another run: its updates and amounts, whatever family its model was of."""
    assert section.replay is not None
    events = read_events(section.replay)
    if not events:
        raise InputError(f"{section.replay} holds no cuts; name the events.jsonl of a run that has cut")
    other = {event.kind for event in events} - {section.method}
    if other:
        raise InputError(
            f"{section.replay} holds cuts of {other.pop()}, and [prune] method is {section.method!r}; name others"
        )
    return {event.step: event.amount for event in events}


def _ladder(section: PruneSection, config: EncoderConfig) -> Iterator[int]:
    """Updates of the cuts: of heads until so many are left in all, of rows until so many are left in a layer."""
    heads = section.method == "heads"
    left = sum(config.heads) if heads else min(config.ffn)
    each = (section.amount or 1) * (config.num_layers if heads else 1)
    what = f"{section.method} {'in all' if heads else 'of a layer'}"
    assert section.stages is not None
    lowest = section.stages[-1][1]
    if left <= lowest:
        raise InputError(f"[prune] stages end at {lowest} {what}, and the model has {left}; end lower")
    for until in (until for _, until in section.stages if until < left):
        if (left - until) % each:
            nearest = left - (left - until) // each * each
            remedy = f"end it at {nearest}" if nearest < left else "cut less at a time ([prune] amount)"
            raise InputError(
                f"[prune] a stage ends at {until} {what}, which cuts of {each} do not reach from {left}; {remedy}"
            )
    _refuse_more(section, config, (left - lowest) // each * (section.amount or 1))
    update = None
    for every, until in section.stages:
        while left > until:
            first = every if section.first is None else section.first
            update = first if update is None else update + every
            left -= each
            yield update


def _refuse_more(section: PruneSection, config: EncoderConfig, of_layer: int) -> None:
    """InputError where a layer would have nothing left."""
    has = min(config.heads if section.method == "heads" else config.ffn)
    if of_layer >= has:
        raise InputError(
            f"[prune] cuts {of_layer} {section.method} of each layer, and the smallest has {has}, of which one "
            "stays; cut fewer"
        )


def _refuse_lower(targets: Sequence[float], sparsity: float) -> None:
    if targets[0] <= sparsity:
        raise InputError(
            f"[prune] targets begin at {targets[0]:g}, and {sparsity:.4g} of the model's weights are zero already; "
            "begin higher"
        )
