"""The paper's Table 4 from records: phone error rates of models before and after compression, ours beside the paper's.

Rates are shares in records, per cent in the tables.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from speechbias.report.error_rates import of_one_protocol
from speechbias.report.files import write_files
from speechbias.report.names import clean, escape_latex, escape_markdown
from speechbias.report.numerals import format_rate
from speechbias.report.table4_rows import Record, Row, find_rows, rates_of

COLUMNS = (
    *("family", "model", "method", "criterion", "split", "left"),
    *("per_base", "per", "paper_base", "paper_compressed"),
)


def write_table4(records: Sequence[Record], out: Path) -> tuple[Path, ...]:
    """``table4.{md,tex,csv}`` in the folder ``out``. InputError as ``find_rows``; where ``out`` cannot be written."""
    rows, split = find_rows(records)
    rates = rates_of(records)
    others = len(rates) - len(of_one_protocol(rates))
    contents = {
        "table4.md": write_markdown(rows, split, others=others),
        "table4.tex": write_latex(rows, split, others=others),
        "table4.csv": write_csv(rows, split),
    }
    return write_files(out, contents)


def write_markdown(rows: Sequence[Row], split: str, *, others: int = 0) -> str:
    """GitHub's Markdown; ``others`` counts the rates that do not compare with these."""
    lines = [
        "| Model | Method | Left | PER, base | PER, compressed | paper, base | paper, compressed |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    lines += [f"| {' | '.join(escape_markdown(cell) for cell in _cells(row))} |" for row in rows]
    return "\n".join([*lines, "", *_note(escape_markdown(split), others), ""])


def write_latex(rows: Sequence[Row], split: str, *, others: int = 0) -> str:
    """A table environment; needs the package booktabs only."""
    body = [" & ".join(escape_latex(cell) for cell in _cells(row)) + r" \\" for row in rows]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            *(r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(' '.join(_note(clean(split), others)))}}}"),
            *(r"\label{tab:per}", r"\begin{tabular}{llrrrrr}", r"\toprule"),
            r" & & & \multicolumn{2}{c}{PER} & \multicolumn{2}{c}{paper} \\",
            r"Model & Method & Left & base & compressed & base & compressed \\",
            *(r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""),
        ]
    )


def write_csv(rows: Sequence[Row], split: str) -> str:
    """A line per size; rates are shares, numbers in full, the paper's in per cent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        printed = row.paper.compressed if row.paper else ()
        for place, size in enumerate(row.sizes):
            paper = (row.paper.base, printed[place]) if row.paper and place < len(printed) else ("", "")
            for rate in size.rates:
                base = "" if row.base is None else row.base
                writer.writerow(
                    [row.family, row.model, row.method, row.criterion, clean(split), size.left, base, rate, *paper]
                )
    return text.getvalue()


def _cells(row: Row) -> list[str]:
    paper = row.paper
    return [
        row.name,
        row.method_text,
        " / ".join(size.left for size in row.sizes),
        "-" if row.base is None else format_rate(row.base),
        " / ".join(size.text for size in row.sizes),
        "-" if paper is None else f"{paper.base:g}",
        "-" if paper is None else " / ".join(f"{rate:g}" for rate in paper.compressed),
    ]


def _note(split: str, others: int) -> list[str]:
    of = f", {split}" if split else ""
    text = f"""\
Phone error rates in per cent{of}. Pruned models: the size nearest to the paper's middle one (half of the
heads or rows, a sparsity of 0.4) / the smallest. Paper: LibriSpeech test-clean, models of 12 layers; other
data, lexicons or sizes compare in trend only."""
    left = f"Left out, being of another test set, phone set or recipe: {others} of the records."
    return [*text.splitlines(), *([left] if others else [])]
