"""The table that a terminal shows after measuring."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from speechbias.report.numerals import format_p
from speechbias.results import BiasResult


def terminal_table(results: Sequence[BiasResult]) -> Table:
    """One row per result: d with its interval, both p-values, and whether both are below alpha."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    per_layer = any(result.layer != "mean" for result in results)
    level = f"{results[0].confidence:.0%} interval" if results else "interval"
    for name in ("test", "model"):
        table.add_column(name, overflow="fold", min_width=8)
    for name in (
        *(["layer"] if per_layer else []),
        "d",
        level,
        "p",
        *(["max-T p"] if per_layer else []),
        "p attr.",
        "assoc.",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result, per_layer=per_layer))
    return table


def _cells(result: BiasResult, *, per_layer: bool) -> list[str]:
    adjusted = "" if result.p_adjusted is None else format_p(result.p_adjusted)
    return [
        result.test,
        result.model,
        *([str(result.layer)] if per_layer else []),
        f"{result.d:+.2f}",
        f"{result.ci_low:+.2f} to {result.ci_high:+.2f}",
        format_p(result.p_value),
        *([adjusted] if per_layer else []),
        format_p(result.p_attribute),
        "yes" if result.associated else "no",
    ]
