"""`speechbias compare`: which models differ, from results and the vectors beside them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import collect, note, warn


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="With which the others are compared: a name, 'NAME, step N' or a hash.",
            show_default="the unpruned one, the earliest step, or the first",
        ),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every model with every other.")] = False,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Also the hidden states that all models of a test have.")
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="The states of each model with its state 0, instead of models.")
    ] = False,
    both_zero: Annotated[
        bool, typer.Option("--both-zero", help="Add the relabelling test that both d's are zero.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Add the records to this results file.")
    ] = None,
) -> None:
    """Compare models on the same clips: d1 - d2 with its interval, p, and p's for the whole table.

    Nothing is embedded: the vectors beside the results are enough.
    """
    from speechbias.compare import compare_results
    from speechbias.report.comparisons import terminal_comparisons
    from speechbias.results import append_records, check_writable, read_results

    if out is not None:
        check_writable(out)
    files = list(dict.fromkeys(results))
    measured = dict(zip(files, collect(read_results, files), strict=True))
    made = compare_results(
        measured,
        baseline=baseline,
        all_pairs=all_pairs,
        per_layer=per_layer,
        layers=layers,
        both_zero=both_zero,
        note=note,
    )
    warn((f"{each.test}: {text}" for each in made for text in each.warnings), set())
    records = [each.to_json() for each in made]
    Console().print(terminal_comparisons(records))
    if out is not None:
        added = append_records(out, records)
        typer.echo(f"\n{out}: {added} added. Next: speechbias report shows them beside the measurements.")
