"""The work of a plan, done piece by piece: what can be done is done, what cannot is said; killed, it goes on."""

from collections.abc import Callable, Sequence

from speechbias.errors import InputError
from speechbias.reproduce.places import Places
from speechbias.reproduce.plan import Item, Plan, plan
from speechbias.reproduce.work import How, Work, lacks


def carry_out(
    items: Sequence[Item], places: Places, how: How, *, planned: Callable[..., Plan] = plan
) -> dict[str, tuple[str, ...]]:
    """Do what the items take; gives, by the name of a piece that could not be done, why.

    The plan is made anew after each piece, because what a run has made decides what is measured of it. ``Stopped``
    where a signal ended a training; OSError where the disk is full.
    """
    undone: dict[str, tuple[str, ...]] = {}
    while True:
        works = planned(items, places, device=how.device).works
        for work in works:
            if work.name not in undone and work.state != "done" and (why := _why_not(work, undone)):
                undone[work.name] = why
        left = [each for each in works if each.name not in undone and each.state != "done"]
        if not left:
            return undone
        work = left[0]
        how.say(f"{work.name}: {work.command}")
        try:
            work.do(how)
        except InputError as error:
            undone[work.name] = tuple(error.problems)
            continue
        if _still(work, items, places, how, planned) != "done":
            undone[work.name] = (f"{work.name} ended and is not done; what it made is not what was asked for",)


def _why_not(work: Work, undone: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if missing := lacks(work):
        return missing
    return tuple(f"it needs: {need.name}" for need in work.needs if need.name in undone)


def _still(work: Work, items: Sequence[Item], places: Places, how: How, planned: Callable[..., Plan]) -> str:
    """The state of a piece as the plan now has it."""
    return next(
        (each.state for each in planned(items, places, device=how.device).works if each.name == work.name), "done"
    )
