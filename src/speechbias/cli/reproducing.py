"""`speechbias reproduce`: the paper's tables and figures, from records or from corpora and checkpoints."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from speechbias.cli.app import app
from speechbias.cli.options import Asked, Launch, Launcher
from speechbias.cli.said import check_launch, note, say_device, warn
from speechbias.errors import InputError


class Item(StrEnum):
    """What is made anew."""

    table1 = "table1"
    table2 = "table2"
    table3 = "table3"
    table4 = "table4"
    figure1 = "figure1"
    figure2 = "figure2"
    figure3 = "figure3"
    tradeoff = "tradeoff"
    findings = "findings"
    everything = "all"


FROM_RECORDS = {*Item} - {Item.table1, Item.table2}


def _folder(option: str, text: str) -> Any:
    return typer.Option(option, metavar="DIR", help=text, show_default=False)


@app.command()
def reproduce(
    item: Annotated[Item, typer.Argument(help="What to make anew.", show_default=False)],
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RESULTS.jsonl...]", help="Records of yours.", show_default=False),
    ] = None,
    accent_archive: Annotated[Path | None, _folder("--accent-archive", "The Speech Accent Archive.")] = None,
    morgan: Annotated[Path | None, _folder("--morgan", "The Morgan Emotional Speech Set.")] = None,
    librispeech: Annotated[Path | None, _folder("--librispeech", "LibriSpeech, for what is trained.")] = None,
    checkpoints: Annotated[Path | None, _folder("--checkpoints", "Models that are there already.")] = None,
    stimuli: Annotated[
        list[Path] | None,
        typer.Option(
            "--stimuli", metavar="CSV...", help="age.csv, native.csv, gender.csv of yours, instead of the corpora."
        ),
    ] = None,
    hub: Annotated[bool, typer.Option("--hub/--no-hub", help="Take published models from the hub.")] = True,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of all that is made.")] = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List every run with what it costs; do nothing.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Clips or files at a time.")] = 1,
    launcher: Launch = None,
    launch: Asked = None,
) -> None:
    """Make a table or figure of the paper anew, or `all`, ours beside the paper's and SpEAT's, with a verdict on each.

    From RESULTS.jsonl, records that you have. Or from corpora and checkpoints: what is missing is measured, trained,
    pruned, distilled and probed into -o, what is there is used, and the same command goes on after a kill.

    table1: clips per group. table2: parameters, which needs nothing. table3: d of models and features. table4: phone
    error rates of compressed models. figure1: d against training steps. figure2: d against parameters removed.
    figure3: d of students and their teachers. From records alone, tradeoff: |d| against phone error rate;
    findings: the statements of Sections 3 and 4, each with a test and a verdict.
    """
    from speechbias.reproduce.places import Places
    from speechbias.reproduce.plan import ITEMS

    check_launch(launcher, launch)
    items: list[str] = [*ITEMS, "findings"] if item is Item.everything else [item.value]
    places = Places(
        out,
        accent_archive=accent_archive,
        morgan=morgan,
        librispeech=librispeech,
        checkpoints=checkpoints,
        stimuli=tuple(stimuli or ()),
        hub=hub,
    )
    corpora = bool(accent_archive or morgan or librispeech or checkpoints or stimuli)
    _check_places(places)
    if dry_run:
        _list_work(_planned(items), places, device)
        return
    problems: list[str] = []
    if corpora:
        say_device(device)
        problems += _carry_out(_planned(items), places, device, workers, _settings(launcher, launch))
    problems += _make(items, list(results or []), places)
    if problems:
        raise InputError(*dict.fromkeys(problems))


def _planned(items: list[str]) -> list[Any]:
    from speechbias.reproduce.plan import ITEMS

    planned = [item for item in items if item in ITEMS]
    if not planned:
        raise InputError(f"{items[0]} is made from records alone. Name results, and no corpora.")
    return planned


def _check_places(places: Any) -> None:
    problems = [
        f"--{name.replace('_', '-')} {folder} is no folder. Give the folder in which it lies."
        for name in ("accent_archive", "morgan", "librispeech", "checkpoints")
        if (folder := getattr(places, name)) is not None and not folder.is_dir()
    ]
    problems += [
        f"{path} does not exist. Name a stimulus CSV with --stimuli." for path in places.stimuli if not path.exists()
    ]
    if problems:
        raise InputError(*problems)


def _settings(launcher: Launcher | None, asked: list[str] | None) -> Any:
    if launcher is None:
        return None
    from speechbias.launch.settings import read_settings

    return read_settings(launcher.value, asked or ())


def _list_work(items: list[Any], places: Any, device: str) -> None:
    """The dry run: every piece of work, what it costs, and what is not here."""
    from speechbias.reproduce.cost import speed
    from speechbias.reproduce.plan import plan
    from speechbias.reproduce.work import lacks

    planned, fast = plan(items, places, device=device), speed(device)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("work", overflow="fold")
    table.add_column("state", overflow="fold")
    for name in ("audio", "time", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    absent: dict[str, list[str]] = {}
    for work in planned.works:
        missing = lacks(work)
        for line in missing:
            absent.setdefault(line, []).append(work.name)
        cost = work.cost
        numbers = (_hours(cost.audio), _time(cost.macs / fast), _size(cost.disk))
        table.add_row(work.name, "data missing" if missing else work.state, *numbers)
    console = Console()
    console.print(table)
    total = planned.cost
    typer.echo(
        f"{len(planned.works)} pieces of work. Left: {_hours(total.audio)} of audio, {_time(total.macs / fast)}, "
        f"{_size(total.disk)} of disk.\nTime is a rough guess from how fast {device} multiplies matrices here "
        f"(half of it: {2 * fast / 1e9:,.0f} GFLOP/s); one process, decoding not counted."
    )
    for line, names in absent.items():
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        typer.echo(f"missing: {line}\n         for: {', '.join(names[:3])}{rest}")


def _carry_out(items: list[Any], places: Any, device: str, workers: int, launcher: Any) -> list[str]:
    """Do the work; what could not be done, a line each."""
    from speechbias.reproduce.carry_out import carry_out
    from speechbias.reproduce.work import How, Stopped
    from speechbias.training.allocator import keep_freed_memory

    keep_freed_memory()
    how = How(device, workers, launcher, progress=True, say=note, warn=lambda text: warn([text], set()))
    try:
        undone = carry_out(items, places, how)
    except Stopped as stopped:
        typer.echo(f"speechbias: {stopped}", err=True)
        raise typer.Exit(1) from None
    lines: dict[str, list[str]] = {}
    for name, why in undone.items():
        for line in why:
            lines.setdefault(line, []).append(name)
    return [f"not done: {_few(names)}: {line}" for line, names in lines.items()]


def _make(items: list[str], results: list[Path], places: Any) -> list[str]:
    """The files of each item, as far as records allow; why not, of those that are not made."""
    from speechbias.reproduce.make import find_results, make, read_all
    from speechbias.reproduce.plan import CATEGORIES

    found = find_results(places.out) if {*items} & FROM_RECORDS else []  # whose business is no record otherwise
    files: dict[Path, Path] = {}
    for path in (*results, *found):  # each once, as the user calls it
        files.setdefault(path.resolve(), path)
    if results and (more := [str(path) for path in files.values() if path not in results]):
        note(f"read too, since they lie below {places.out}: {_few(more)}")
    records = read_all([*files.values()])
    stimuli = places.stimuli or [places.out / "stimuli" / f"{name}.csv" for name in CATEGORIES]
    if not records.measured and set(items) <= FROM_RECORDS:
        raise InputError(
            f"{items[0]} is made from records. Name results: speechbias reproduce {items[0]} RESULTS.jsonl; or "
            "corpora and models, with which it measures (--help)."
        )
    problems: list[str] = []
    agrees = True
    for item in items:
        try:
            made = make(item, records, places.out, stimuli=stimuli)
        except InputError as error:
            problems += error.problems
            continue
        if made.words is not None:
            Console().print(made.words)
        for path in made.paths:
            typer.echo(shlex.quote(str(path)))
        agrees = agrees and made.agrees
    if not agrees and not problems:
        raise typer.Exit(1)
    return problems


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _hours(hours: float) -> str:
    return "" if not hours else f"{60 * hours:.0f} min" if hours < 2 else f"{hours:,.0f} h"


def _time(seconds: float) -> str:
    for most, each, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return "" if not seconds else f"{max(seconds / each, 1):.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def _size(count: float) -> str:
    for most, each, unit in ((1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if count < most:
            return "" if not count else f"{max(count / each, 1):.0f} {unit}"
    return f"{count / 1e12:.1f} TB"
