"""`speechbias compare`: which models differ, from results and the vectors beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from speechbias.cli.app import app
from speechbias.cli.options import Results
from speechbias.cli.said import collect, note, warn
from speechbias.errors import InputError

Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="With which the others are compared: a name, 'NAME, step N' or a hash.",
        show_default="the unpruned one, the earliest step, or the first",
    ),
]
AllPairs = Annotated[bool, typer.Option("--all-pairs", help="Every model with every other.")]
CommonStates = Annotated[
    bool, typer.Option("--per-layer", help="Also the hidden states that all models of a test have.")
]
Layers = Annotated[
    bool, typer.Option("--layers", help="The states of each model with its state 0, instead of models.")
]
Bands = Annotated[
    bool,
    typer.Option(
        "--bands", help="Instead of differences, d with bands over the states of a model, steps, sizes of a run."
    ),
]
BothZero = Annotated[bool, typer.Option("--both-zero", help="Add the relabelling test that both d's are zero.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Add the records to this results file.")]


@app.command()
def compare(
    results: Results,
    baseline: Baseline = None,
    all_pairs: AllPairs = False,
    per_layer: CommonStates = False,
    layers: Layers = False,
    bands: Bands = False,
    both_zero: BothZero = False,
    out: Out = None,
) -> None:
    """Compare models on the same clips: d1 - d2 with its interval, p, and p's for the whole table.

    Nothing is embedded: the vectors beside the results are enough.
    """
    from speechbias.compare import compare_results
    from speechbias.report.comparisons import terminal_comparisons
    from speechbias.results import append_records, check_writable, read_results

    if bands and (baseline or all_pairs or per_layer or layers or both_zero):
        raise InputError("--bands judges d's themselves; leave the options of differences out, or leave --bands out")
    if out is not None:
        check_writable(out)
    files = list(dict.fromkeys(results))
    measured = dict(zip(files, collect(read_results, files), strict=True))
    if bands:
        _say_bands(measured, out)
        return
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


def _say_bands(measured: Mapping[Path, Sequence[Any]], out: Path | None) -> None:
    """D of each member of a family, the band that holds all of them at once, and p by max-T."""
    from speechbias.families import find_bands
    from speechbias.report.curves import run_name
    from speechbias.results import append_records

    results = [result for found in measured.values() for result in found]
    places = {result.identity: path.parent for path, found in measured.items() for result in found}
    records = find_bands(results, places)
    if not records:
        raise InputError(
            "No two states of a model, steps of a run or sizes of a pruned one with vectors beside them are here. "
            "Measure with --per-layer, or several checkpoints."
        )
    names = {(result.model_sha256, result.step): run_name(result) for result in results}
    Console().print(_bands(records, names))
    if out is not None:
        typer.echo(f"\n{out}: {append_records(out, records)} added.")


def _bands(records: Sequence[Mapping[str, Any]], names: Mapping[tuple[str, int | None], str]) -> Table:
    """``names``: of the runs, by hash and step. A family says once what it is."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("test", "of"):
        table.add_column(name, overflow="fold")
    for name in ("at", "d", "band", "p, max-T"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for each in records:
        family = (each["test"], names[each["model_sha256"], each.get("step")], each["over"], each["members"])
        at = {"states": each["layer"], "steps": each.get("step"), "sizes": each.get("parameters_removed")}[
            each["over"]
        ]
        label = ("", "") if family == before else (each["test"], f"{family[1]}: {each['members']}")
        band = f"{each['band_low']:+.2f} to {each['band_high']:+.2f}"
        table.add_row(*label, f"{at:,}", f"{each['d']:+.2f}", band, f"{each['p_adjusted']:.2g}")
        before = family
    return table
