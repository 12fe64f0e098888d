"""`speechbias explain`: what drives the d's of a results file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from speechbias.cli.app import app


@app.command()
def explain(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.jsonl", help="Write records here too.", show_default=False),
    ] = None,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Single states too, not the mean alone.")] = False,
) -> None:
    """Say what drives each d: mean cosines, dimensions, states, people, and what it is in other geometries.

    From the vectors beside the results; no model is loaded. `report` shows the records that -o writes.
    """
    from speechbias.cli.said import collect
    from speechbias.errors import InputError
    from speechbias.explain import explain as explained
    from speechbias.results import append_records, read_results

    found = collect(read_results, results)
    asked = [
        (result, path.parent)
        for path, measured in zip(results, found, strict=True)
        for result in measured
        if per_layer or result.layer == "mean"
    ]
    if not asked:
        raise InputError("explain: no measurement of the mean over states is here; add --per-layer, or measure first")
    records = collect(lambda each: explained(*each), asked)
    if out is not None:
        append_records(out, records)
    Console().print(_table(records))


def _table(records: list[dict[str, object]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("test", overflow="fold")
    table.add_column("model", overflow="fold")
    for name in ("d", "half by", "mean cosine", "centred", "stand- ardised", "without a speaker", "without a talker"):
        table.add_column(name, justify="right", overflow="fold")
    for each in records:
        others = each["alternatives"]
        assert isinstance(others, dict)
        table.add_row(
            str(each["test"]),
            str(each["model"]) if each["layer"] == "mean" else f"{each['model']}, state {each['layer']}",
            f"{each['d']:+.2f}",
            f"{each['half_by']}/{each['dim']}",
            f"{each['anisotropy']:.2f}",
            *(_d(others.get(name)) for name in ("centred", "standardised")),
            *(_range(each[f"leave_one_{who}_out"]) for who in ("speaker", "talker")),
        )
    return table


def _d(d: object) -> str:
    return f"{d:+.2f}" if isinstance(d, float) else "-"


def _range(bounds: object) -> str:
    return f"{_d(bounds[0])} {_d(bounds[1])}" if isinstance(bounds, list) else "-"
