"""`speechbias plan`: how many speakers and clips an interval of a wanted width takes."""

from pathlib import Path
from typing import Annotated

import typer

from speechbias.cli.app import app
from speechbias.cli.said import collect, note
from speechbias.errors import InputError


@app.command()
def plan(
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RESULTS.jsonl...]", help="A pilot, with its vectors beside it.", show_default=False),
    ] = None,
    width: Annotated[float, typer.Option(help="Of the interval of d: upper less lower limit.")] = 0.5,
    d: Annotated[float | None, typer.Option("--d", help="Expected d.", show_default="0, the widest")] = None,
    correlation: Annotated[
        float | None, typer.Option(help="Expected between the clips of a speaker.", show_default="0")
    ] = None,
    clips: Annotated[
        list[int] | None, typer.Option(help="Clips of a speaker in a group; may be repeated.", show_default="1 2 4 8")
    ] = None,
    crossed: Annotated[bool, typer.Option("--crossed", help="Every speaker in both groups.")] = False,
    confidence: Annotated[float | None, typer.Option(help="Of the interval.", show_default="0.95")] = None,
) -> None:
    """Say how many speakers and clips an interval of d takes, and how small p can get with them.

    From a pilot: speechbias plan results.jsonl --width 0.5. Without one: speechbias plan --d 0.5 --correlation 0.3
    """
    from speechbias.planning import CLIPS, plan_design

    counts = tuple(clips or ())
    if results:
        if d is not None or correlation is not None or crossed:
            raise InputError("--d, --correlation and --crossed are for a plan without a pilot. Leave them out.")
        _plan_from_pilots(results, width=width, clips=counts, confidence=confidence)
        return
    made = plan_design(
        width=width,
        d=d or 0.0,
        correlation=correlation or 0.0,
        crossed=crossed,
        clips=counts or CLIPS,
        confidence=0.95 if confidence is None else confidence,
    )
    typer.echo(str(made))


def _plan_from_pilots(results: list[Path], *, width: float, clips: tuple[int, ...], confidence: float | None) -> None:
    """A plan from each measurement; what allows none is said, and is no reason to go without the others."""
    from speechbias.planning import plan_from_pilot
    from speechbias.results import read_results

    measured = zip(results, collect(read_results, results), strict=True)
    records = [(record, path.parent) for path, found in measured for record in found if record.layer == "mean"]
    if not records:
        raise InputError("There is no measurement of the mean over states here. Name results that `measure` wrote.")
    problems: list[str] = []
    for record, folder in records:
        try:
            typer.echo(str(plan_from_pilot(record, folder, width=width, clips=clips, confidence=confidence)))
        except InputError as error:
            problems.append(error.problems[0])
    if len(problems) == len(records):
        raise InputError(*dict.fromkeys(problems))
    for problem in dict.fromkeys(problems):
        note(f"left out: {problem}")
