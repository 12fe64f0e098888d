"""What `speechbias reproduce --dry-run` shows: every piece of work, what each item takes, and what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from speechbias.reproduce.cost import Cost
    from speechbias.reproduce.work import Work

GPU = 100e12  # floating-point operations in a second


def list_work(items: Sequence[Any], places: Any, device: str) -> None:
    """The dry run: nothing is computed but how fast this machine is."""
    from speechbias.reproduce.cost import speed
    from speechbias.reproduce.plan import plan
    from speechbias.reproduce.work import lacks

    planned, fast = plan(items, places, device=device), speed(device)
    states = {work.name: work.state for work in planned.works}
    lacking = {work.name: lacks(work) for work in planned.works}
    missing = list(dict.fromkeys(line for lines in lacking.values() for line in lines))
    numbers = {name: sorted(1 + missing.index(line) for line in lines) for name, lines in lacking.items()}
    said = {name: f"lacks {', '.join(map(str, of))}" if of else states[name] for name, of in numbers.items()}
    console = Console()
    if planned.works:
        console.print(_works(planned.works, said, fast))
    if len(items) > 1:
        of_items = {item: plan([item], places, device=device).works for item in items}
        console.print(_items(of_items, states, lacking, fast))
    typer.echo(_total(planned.works, states, lacking))
    typer.echo(_time_in_words(planned.cost, fast, device))
    for line in planned.notes:
        typer.echo(f"note: {line}")
    for number, line in enumerate(missing, start=1):
        names = [name for name, lines in lacking.items() if line in lines]
        typer.echo(f"missing {number}: {line}\n           for: {few(names)}")
    typer.echo("Without --dry-run the same command does what can be done with what is here, and says what cannot.")


def _works(works: Iterable["Work"], said: Mapping[str, str], fast: float) -> Table:
    """Every piece, in the order in which they are done."""
    table = _table("work", "state")
    for work in works:
        table.add_row(work.name, said[work.name], *_numbers(work.cost, fast))
    return table


def _items(
    of_items: Mapping[str, Sequence["Work"]], states: Mapping[str, str], lacking: Mapping[str, Any], fast: float
) -> Table:
    """What each item takes; a piece that several take counts for each."""
    table = _table("for", "takes")
    for item, works in of_items.items():
        left = [work for work in works if states[work.name] != "done"]
        without = sum(bool(lacking[work.name]) for work in left)
        takes = f"{len(left)} of {len(works)} pieces" if left else "nothing more: it can be made"
        takes += f", {without} lack data" if without else ""
        table.add_row(item, takes, *_numbers(_sum(left), fast))
    return table


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    for name in ("audio", "time", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _numbers(cost: "Cost", fast: float) -> tuple[str, str, str]:
    return _hours(cost.audio), _time(cost.macs / fast), _size(cost.disk + cost.meanwhile)


def _sum(works: Iterable["Work"]) -> "Cost":
    from speechbias.reproduce.cost import Cost

    return sum((work.cost for work in works), Cost())


def _total(works: Sequence["Work"], states: Mapping[str, str], lacking: Mapping[str, Any]) -> str:
    done = sum(states[work.name] == "done" for work in works)
    without = sum(bool(lacking[work.name]) for work in works)
    now = len(works) - done - without
    return f"{len(works)} pieces of work: {done} done, {now} can be done with what is here, {without} lack data."


def _time_in_words(left: "Cost", fast: float, device: str) -> str:
    """What is left in all, and of what the time is a guess."""
    if not left.audio:
        return "Nothing is left to do."
    meanwhile = f", and {_size(left.meanwhile)} while a model is probed" if left.meanwhile else ""
    on_a_gpu = f" At {GPU / 1e12:.0f} TFLOP/s, as a GPU may reach: {_time(2 * left.macs / GPU)}."
    beside = on_a_gpu if device == "cpu" and left.macs else ""
    disk = f", {_size(left.disk)} of disk" if left.disk else ""
    return (
        f"Left: {_hours(left.audio)} of audio, {_time(left.macs / fast) or 'minutes'}{disk}{meanwhile}.\n"
        f"Time is a rough guess from how fast {device} multiplies matrices here (half of it: "
        f"{2 * fast / 1e9:,.0f} GFLOP/s); one process, decoding not counted.{beside}"
    )


def few(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _hours(hours: float) -> str:
    return "" if not hours else f"{60 * hours:.0f} min" if hours < 2 else f"{hours:,.0f} h"


def _time(seconds: float) -> str:
    units = ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h"), (730 * 86_400, 86_400, "days"))
    for most, each, unit in units:
        if seconds < most:
            return "" if not seconds else f"{max(seconds / each, 1):.0f} {unit}"
    return f"{seconds / (365 * 86_400):,.0f} years"


def _size(count: float) -> str:
    for most, each, unit in ((1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if count < most:
            return "" if not count else f"{max(count / each, 1):.0f} {unit}"
    return f"{count / 1e12:.1f} TB"
