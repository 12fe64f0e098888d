"""`speechbias report`: what records show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.said import collect


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the report.")] = Path("report"),
    title: Annotated[str | None, typer.Option(help="Title of the page.", show_default=False)] = None,
    paper_layout: Annotated[
        bool, typer.Option("--paper-layout", help="Bare d; bold: below the largest d of a classical feature.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Plant and shuffle associations in the stored vectors.")
    ] = True,
) -> None:
    """Write tables (Markdown, LaTeX, CSV), figures (SVG, PDF), one HTML page and a model-card block."""
    from speechbias.report import write_report
    from speechbias.reproduce.figures import differences_of

    measured, others = _read_all(results)
    records = [record for found in measured.values() for record in found]
    if controls:
        others += _controls(measured, records, others)
    written = write_report(
        records, out, title=title, paper_layout=paper_layout, others=others, differences=differences_of(measured)
    )
    typer.echo(f"The page: {written.page}")


def _controls(
    measured: Mapping[Path, list[Any]], records: list[Any], others: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The controls from stored vectors that nobody has made yet."""
    from speechbias.controls import gather_controls
    from speechbias.report import tabulated

    places = {record.identity: path.parent for path, found in measured.items() for record in found}
    return gather_controls(tabulated(records), places, others)


def _read_all(files: Sequence[Path]) -> tuple[dict[Path, list[Any]], list[dict[str, Any]]]:
    """The measurements of bias by results file, and the records of other kinds."""
    from speechbias.results import read_records, read_results

    measured = dict(zip(files, collect(read_results, files), strict=True))
    return measured, [record for file in files for record in read_records(file) if record["kind"] != "bias"]
