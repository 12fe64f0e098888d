"""The table in LaTeX (booktabs), in the shape of the paper's Table 3: d with interval, below it both p's."""

from speechbias.report.grid import Grid
from speechbias.report.layout import bold_slots, confidence_text, p_texts, rows_with_rule
from speechbias.report.names import escape_latex
from speechbias.report.numerals import format_d
from speechbias.results import BiasResult

PAPER_CAPTION = (
    "SpEAT effect size $d$. Bold: below the largest $d$ of the classical features on that test "
    "(bare numbers, without regard to their intervals)."
)


def write_latex(grid: Grid, *, paper_layout: bool = False) -> str:
    """A table environment for a paper; needs the package booktabs only."""
    header = " & ".join(["Model", *(escape_latex(column.label) for column in grid.columns)])
    body = _latex_bare(grid) if paper_layout else _latex_full(grid)
    caption = PAPER_CAPTION if paper_layout else _latex_caption(grid)
    columns = "r" if paper_layout else "c"
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        "\\label{tab:speat}",
        f"\\begin{{tabular}}{{l{columns * len(grid.columns)}}}",
        "\\toprule",
        f"{header} \\\\",
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
        "",
    ]
    return "\n".join(lines)


def _latex_caption(grid: Grid) -> str:
    interval = confidence_text(grid).replace(" %", "\\,\\%")
    return (
        f"SpEAT effect size $d$ with {interval}; below it $p$ (are the groups exchangeable?) and $p_a$ (is their "
        "difference aligned with the attribute?). $^{*}$: both below $\\alpha$, the group is associated. "
        "A negative $d$ is a reverse association."
    )


def _latex_bare(grid: Grid) -> list[str]:
    bold = bold_slots(grid)
    lines = []
    for row in rows_with_rule(grid):
        if row is None:
            lines.append("\\midrule")
            continue
        texts = [escape_latex(row.label)]
        for column in grid.columns:
            record = grid.cells.get((row, column))
            number = "--" if record is None else f"${format_d(record.d)}$"
            texts.append(f"\\textbf{{\\boldmath{number}}}" if (row, column) in bold else number)
        lines.append(" & ".join(texts) + " \\\\")
    return lines


def _latex_full(grid: Grid) -> list[str]:
    lines = []
    for row in rows_with_rule(grid):
        if row is None:
            lines.append("\\midrule")
            continue
        records = [grid.cells.get((row, column)) for column in grid.columns]
        lines.append(" & ".join([escape_latex(row.label), *map(_latex_d, records)]) + " \\\\")
        lines.append(" & ".join(["", *map(_latex_p, records)]) + " \\\\")
    return lines


def _latex_d(record: BiasResult | None) -> str:
    if record is None:
        return "--"
    low, high = format_d(record.ci_low), format_d(record.ci_high)
    return f"${format_d(record.d)}{'^{*}' if record.associated else ''}$ $[{low}, {high}]$"


def _latex_p(record: BiasResult | None) -> str:
    if record is None:
        return ""
    groups, attribute = p_texts(record, "p_a")
    return f"\\footnotesize ${groups}$, ${attribute}$"
