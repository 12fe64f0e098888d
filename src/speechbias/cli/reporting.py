"""`speechbias report`: what records show."""

from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Results


@app.command()
def report(
    results: Results,
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
    from speechbias.reproduce.make import read_all

    read = read_all(results)
    others = [*read.others, *(_controls(read) if controls else [])]
    differences = differences_of(read.measured)
    written = write_report(
        read.all, out, title=title, paper_layout=paper_layout, others=others, differences=differences
    )
    typer.echo(f"The page: {written.page}")


def _controls(read: Any) -> list[dict[str, Any]]:
    """The controls from stored vectors that nobody has made yet."""
    from speechbias.controls import gather_controls
    from speechbias.report import tabulated

    return gather_controls(tabulated(read.all), read.places, read.others)
