"""The table that a terminal shows after measuring."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from speechbias.report.numerals import format_p
from speechbias.results import BiasResult

CAPTION = "* associated: p (do X and Y differ?) and p attr. (along A against B?) are both below alpha"


def terminal_table(results: Sequence[BiasResult]) -> Table:
    """One row per result: d with its interval and both p-values; a star where both are below alpha.

    The single state of a classical feature is not repeated below its mean.
    """
    shown = [result for result in results if result.layer == "mean" or result.num_states > 1]
    per_layer = any(result.layer != "mean" for result in shown)
    levels = " / ".join(dict.fromkeys(f"{100 * result.confidence:g} %" for result in shown))
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=CAPTION, caption_justify="left"
    )  # one space between columns: names keep as much of 80 columns as they can
    for name in ("test", "model"):
        table.add_column(name, overflow="fold", min_width=8)
    layer, adjusted = (["layer"], ["max-T p"]) if per_layer else ([], [])
    for name in (*layer, "d", f"{levels} interval", "p", *adjusted, "p attr."):
        table.add_column(name, justify="right", no_wrap=True)
    for result in shown:
        table.add_row(*_cells(result, per_layer=per_layer))
    return table


def _cells(result: BiasResult, *, per_layer: bool) -> list[str]:
    adjusted = "" if result.p_adjusted is None else format_p(result.p_adjusted)
    return [
        result.test,
        result.model,
        *([str(result.layer)] if per_layer else []),
        f"{result.d:+.2f}{'*' if result.associated else ' '}",
        f"{result.ci_low:+.2f} to {result.ci_high:+.2f}",
        format_p(result.p_value),
        *([adjusted] if per_layer else []),
        format_p(result.p_attribute),
    ]
