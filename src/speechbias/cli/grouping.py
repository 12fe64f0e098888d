"""`speechbias groups`: more than two groups, two factors, a number, from vectors beside results."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from speechbias.cli.app import app
from speechbias.cli.options import Design, PerLayer, RecordsOut
from speechbias.level import alpha_of

File = Annotated[Path, typer.Argument(metavar="RESULTS.jsonl", show_default=False)]
Stimuli = Annotated[Path, typer.Option("--stimuli", metavar="FILE.csv", help="What was measured.", show_default=False)]
By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="COLUMN[:BOUND,...]",
        help="Groups: values of a column, or bands of numbers; twice: two factors.",
        show_default=False,
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(metavar="LEVEL", help="Compare with this one, not every two. One for each --by.", show_default=False),
]
Slope = Annotated[str | None, typer.Option(metavar="COLUMN", help="The slope of s on a number.", show_default=False)]
Per = Annotated[float, typer.Option(help="--slope: for so many units.")]
EachDesign = Annotated[
    Design | None, typer.Option(help="Of the comparisons; else each takes what its speakers call for.")
]


@app.command()
def groups(
    results: File,
    stimuli: Stimuli,
    by: By = None,
    reference: Reference = None,
    slope: Slope = None,
    per: Per = 1.0,
    design: EachDesign = None,
    out: RecordsOut = None,
    per_layer: PerLayer = False,
) -> None:
    """Compare several groups, two factors (sex by age), or the slope on a number, from the vectors beside results.

    X and Y together are the clips; columns of the CSV say who is of which group. No model is loaded. `report` shows
    the records that -o writes.

    For example: speechbias groups results.jsonl --stimuli accents.csv --by accent --reference usa
    """
    from speechbias.cli.said import collect
    from speechbias.contrasts import Question, contrast_groups, read_measured
    from speechbias.errors import InputError
    from speechbias.results import append_records, check_writable, read_results

    question = Question(
        by=tuple(by or ()),
        references=tuple(reference or ()),
        slope=slope,
        per=per,
        design=None if design is None else design.value,
    )
    if out is not None:
        check_writable(out)
    of_csv, measured = read_measured(stimuli, read_results(results))
    asked = [each for each in measured if per_layer or each.layer == "mean"]
    if not asked:
        raise InputError(f"{results.name} has single states of {of_csv.name} only; add --per-layer")
    found = collect(lambda each: contrast_groups(each, results.parent, of_csv, question), asked)
    records = [record for each in found for record in each]
    if out is not None:
        append_records(out, records)
    show_groups(records, Console())


def show_groups(records: list[dict[str, Any]], console: Console) -> None:
    """Tables of records of kind ``groups``, with their warnings."""
    for record in records:
        where = "" if record["layer"] == "mean" else f", state {record['layer']}"
        console.print(f"[bold]{escape(record['test'])}, {escape(record['model'])}{where}[/bold]", highlight=False)
        if record["question"] == "slope":
            console.print(escape(_say_slope(record)), highlight=False)
        else:
            _show_levels(record, console)
        for warning in record["warnings"]:
            console.print(f"warning: {escape(warning)}", highlight=False)
        console.print()


def _show_levels(record: dict[str, Any], console: Console) -> None:
    counts = ", ".join(f"{each['name']} {each['n']} ({each['n_speakers']})" for each in record["levels"])
    without = f"; no value: {record['no_value']}" if record["no_value"] else ""
    console.print(escape(f"{' by '.join(record['columns'])}, clips (speakers): {counts}{without}"), highlight=False)
    whole = record["omnibus"]
    console.print(
        f"between all: {100 * whole['eta_squared']:.1f} % of the variance of s, p {_p(whole['p_value'])}, "
        f"p attr. {_p(whole['p_attribute'])}",
        highlight=False,
    )
    if record["effects"]:
        rows = [(each["name"], each["size"], each) for each in record["effects"]]
        console.print(_table(rows, "effect", "SDs"))
    rows = [(f"{each['first']} - {each['second']}", each["d"], each) for each in record["contrasts"]]
    console.print(_table(rows, "groups", "d"))
    how = f"Holm's (of groups: {record['adjusted_by']})" if record["effects"] else record["adjusted_by"]
    alpha = alpha_of(record["confidence"])
    note = f"adj.: for all rows of a table, p by {how}, p attr. by min-P; associated: both are below {alpha:g}"
    console.print(note, highlight=False)


def _table(rows: list[tuple[str, float, dict[str, Any]]], what: str, size: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(what, overflow="fold")
    for name in (size, "interval", "p", "adj.", "p attr.", "adj."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, number, each in rows:
        p = [each[key] for key in ("p_value", "p_adjusted", "p_attribute", "p_attribute_adjusted")]
        verdict = "associated" if each["associated"] else ""
        table.add_row(escape(name), f"{number:+.2f}", _interval(each), *map(_p, p), verdict)
    return table


def _say_slope(record: dict[str, Any]) -> str:
    found = record["slope"]
    unit = found["column"] if found["per"] == 1 else f"{found['per']:g} of {found['column']}"
    low, high = found["range"]
    without = f"; no value: {record['no_value']}" if record["no_value"] else ""
    people = f"{found['n']} clips of {found['n_speakers']} speakers"
    lines = [
        f"slope on {found['column']} ({low:g} to {high:g}), {people}{without}",
        f"per {unit}: {found['slope']['value']:+.3f} SDs of s ({_interval(found['slope'], 3)})",
        f"r {found['correlation']['value']:+.2f} ({_interval(found['correlation'])})",
        f"p {_p(found['p_value'])}, p attr. {_p(found['p_attribute'])}"
        + (": associated" if found["associated"] else ""),
    ]
    return "\n".join(lines)


def _interval(each: dict[str, Any], digits: int = 2) -> str:
    if each["ci_low"] is None or each["ci_method"] == "none":
        return "-"
    return f"{each['ci_low']:+.{digits}f} to {each['ci_high']:+.{digits}f}"


def _p(p: float | None) -> str:
    return "-" if p is None else f"{p:.3g}"
