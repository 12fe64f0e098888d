"""`speechbias reproduce`: the paper's tables and figures, from records or from corpora and checkpoints."""

import shlex
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.dry_run import few, list_work
from speechbias.cli.options import Device, JobsBy, JobSettings, job_settings
from speechbias.cli.said import note, say_device, warn
from speechbias.errors import InputError

if TYPE_CHECKING:
    from speechbias.reproduce.work import How


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
    device: Device = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Clips or files at a time.")] = 1,
    launcher: JobsBy = None,
    launch: JobSettings = None,
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
    from speechbias.reproduce.work import How

    jobs = job_settings(launcher, launch)
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
        list_work(_planned(items), places, device)
        return
    problems: list[str] = []
    said: set[str] = set()
    if corpora:
        say_device(device)
        how = How(device, workers, jobs, progress=True, say=note, warn=lambda text: warn([text], said))
        problems += _carry_out(_planned(items), places, how, said)
    problems += _make(items, list(results or []), places, said)
    if problems:
        if item is Item.everything and not corpora:
            note("What all of it takes, and where to get it: speechbias reproduce all --dry-run")
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


def _note_once(lines: Iterable[str], said: set[str]) -> None:
    """Notes that were not made before: what is left aside of the work is left aside of the tables too."""
    for line in lines:
        if line not in said:
            said.add(line)
            note(line)


def _carry_out(items: list[Any], places: Any, how: "How", said: set[str]) -> list[str]:
    """Do the work; what could not be done, a line each."""
    from speechbias.reproduce.carry_out import carry_out
    from speechbias.reproduce.plan import plan
    from speechbias.reproduce.work import Stopped
    from speechbias.training.allocator import keep_freed_memory

    keep_freed_memory()
    _note_once(plan(items, places, device=how.device).notes, said)
    try:
        undone = carry_out(items, places, how)
    except Stopped as stopped:
        typer.echo(f"speechbias: {stopped}", err=True)
        raise typer.Exit(1) from None
    lines: dict[str, list[str]] = {}
    for name, why in undone.items():
        for line in why:
            lines.setdefault(line, []).append(name)
    return [f"not done: {few(names)}: {line}" for line, names in lines.items()]


def _make(items: list[str], results: list[Path], places: Any, said: set[str]) -> list[str]:
    """The files of each item, as far as records allow; why not, of those that are not made."""
    from speechbias.reproduce.make import find_results, make, read_all
    from speechbias.reproduce.plan import CATEGORIES
    from speechbias.reproduce.rows import MODELS

    found = find_results(places.out) if {*items} & FROM_RECORDS else []  # whose business is no record otherwise
    files: dict[Path, Path] = {}
    for path in (*results, *found):  # each once, as the user calls it
        files.setdefault(path.resolve(), path)
    if results and (more := [str(path) for path in files.values() if path not in results]):
        note(f"read too, since they lie below {places.out}: {few(more)}")
    records = read_all([*files.values()])
    stimuli = places.stimuli or [places.out / "stimuli" / f"{name}.csv" for name in CATEGORIES]
    if not records.measured and set(items) <= FROM_RECORDS:
        raise InputError(
            f"{items[0]} is made from records. Name results: speechbias reproduce {items[0]} RESULTS.jsonl; or "
            "corpora and models, with which it measures (--help)."
        )
    runs = places.runs(row.key for row in MODELS)
    _note_once(_left_aside(items, records.all, stimuli=stimuli, runs=runs), said)
    problems: list[str] = []
    agrees = True
    for item in items:
        try:
            made = make(item, records, places.out, stimuli=stimuli, runs=runs)
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


def _left_aside(items: list[str], records: Any, **of: Any) -> Iterator[str]:
    """A line for each kind of measurement that Table 3 or the findings do not show."""
    from speechbias.reproduce.make import OF_ONE_SET, choose
    from speechbias.reproduce.rows import in_no_row

    if {*items} & {*OF_ONE_SET}:
        yield from choose(records, **of).notes
    if "table3" in items and (others := in_no_row(records)):
        yield f"in no row of Table 3, having another family, number of states or width: {few(others)}"
