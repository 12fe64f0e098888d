"""`speechbias report` and `speechbias reproduce`: what records show."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import collect
from speechbias.errors import InputError


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the report.")] = Path("report"),
    title: Annotated[str | None, typer.Option(help="Title of the page.", show_default=False)] = None,
    paper_layout: Annotated[
        bool, typer.Option("--paper-layout", help="Bare d; bold: below the largest d of a classical feature.")
    ] = False,
) -> None:
    """Write tables (Markdown, LaTeX, CSV), figures (SVG, PDF), one HTML page and a model-card block."""
    from speechbias.report import write_report
    from speechbias.reproduce import differences_of

    measured, others = _read_all(results)
    records = [record for found in measured.values() for record in found]
    written = write_report(
        records, out, title=title, paper_layout=paper_layout, others=others, differences=differences_of(measured)
    )
    typer.echo(f"The page: {written.page}")


class Item(StrEnum):
    """What `reproduce` makes anew."""

    table2 = "table2"
    table4 = "table4"
    figure1 = "figure1"
    figure2 = "figure2"
    figure3 = "figure3"
    tradeoff = "tradeoff"


@app.command()
def reproduce(
    item: Annotated[Item, typer.Argument(help="What to make anew.", show_default=False)],
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RESULTS.jsonl...", help="Records; table2 needs none.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the files.")] = Path(),
) -> None:
    """Make a table of the paper anew, beside what the paper prints, or a figure from your records.

    table2: exit code 1 where the counts do not agree. table4: phone error rates of compressed models. figure1: bias
    against training steps. figure2: bias of pruned models against parameters removed. figure3: bias of students, and
    how far it is from their teacher's. tradeoff: |d| against phone error rate against parameters.
    """
    if item is not Item.table2:
        _from_records(item, results or [], out)
        return
    from speechbias.reproduce import all_agree, table2, table2_in_words

    rows = table2()
    Console().print(table2_in_words(rows))
    if not all_agree(rows):
        raise typer.Exit(1)


def _from_records(item: Item, files: list[Path], out: Path) -> None:
    """A figure or table: from records and stored vectors only, no model."""
    from speechbias.report import write_figure2, write_table4, write_tradeoff
    from speechbias.reproduce import figure1, figure3

    if not files:
        raise InputError(f"{item} is made from records. Name results: speechbias reproduce {item} RESULTS.jsonl.")
    measured, others = _read_all(files)
    records = [record for found in measured.values() for record in found]
    if item in {Item.figure1, Item.figure3}:
        paths = (figure1 if item is Item.figure1 else figure3)(measured, out)
    elif item is Item.table4:
        paths = write_table4(others, out)
    else:
        paths = (write_figure2 if item is Item.figure2 else write_tradeoff)(records, out, others=others)
    for path in paths:
        typer.echo(path)


def _read_all(files: Sequence[Path]) -> tuple[dict[Path, list[Any]], list[dict[str, Any]]]:
    """The measurements of bias by results file, and the records of other kinds."""
    from speechbias.results import read_records, read_results

    measured = dict(zip(files, collect(read_results, files), strict=True))
    return measured, [record for file in files for record in read_records(file) if record["kind"] != "bias"]
