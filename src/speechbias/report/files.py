"""Writing a report: each file is made in memory, then written into one folder. The same records, the same bytes."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbias.errors import InputError
from speechbias.report.card import write_card
from speechbias.report.forest import draw_forest
from speechbias.report.grid import Grid, arrange
from speechbias.report.latex import write_latex
from speechbias.report.layers import draw_profiles
from speechbias.report.markdown import write_markdown
from speechbias.report.page import default_title, render_page
from speechbias.report.spreadsheet import write_csv, write_table_csv
from speechbias.report.style import drawing, save
from speechbias.results import BiasResult, write_whole


@dataclass(frozen=True)
class ReportFiles:
    """Where each file of a report lies; ``figures`` holds SVG and PDF of ``forest`` and perhaps ``layers``."""

    page: Path
    markdown: Path
    latex: Path
    csv: Path  # in the shape of the paper's Table 3
    every: Path  # every measurement, also of single states
    card: Path
    figures: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, the page first."""
        return (self.page, self.markdown, self.latex, self.csv, self.every, self.card, *self.figures)


def write_report(
    records: Sequence[BiasResult], out: Path, *, title: str | None = None, paper_layout: bool = False
) -> ReportFiles:
    """Write tables, figures, page and model card into the folder ``out``, which is made if need be.

    ``paper_layout`` changes table.md, table.tex and table.csv only: bare d's as in the paper's Table 3. Raises
    ``InputError`` where there is no record, or where ``out`` cannot be written; ``OSError`` where the disk is full.
    """
    grid = arrange(records)
    drawn = _draw(grid, title or default_title(grid))
    texts = {
        "index.html": render_page(grid, {name: files["svg"] for name, files in drawn.items()}, title=title),
        "table.md": write_markdown(grid, paper_layout=paper_layout),
        "table.tex": write_latex(grid, paper_layout=paper_layout),
        "table.csv": write_table_csv(grid, paper_layout=paper_layout),
        "results.csv": write_csv(grid),
        "model-card.md": write_card(grid),
    }
    figures = {f"{name}.{kind}": data for name, files in drawn.items() for kind, data in files.items()}
    _write(out, {name: text.encode("utf-8") for name, text in texts.items()} | figures)
    page, markdown, latex, csv, every, card = (out / name for name in texts)
    return ReportFiles(page, markdown, latex, csv, every, card, tuple(out / name for name in figures))


def _draw(grid: Grid, title: str) -> dict[str, dict[str, bytes]]:
    with drawing():
        drawn = {"forest": save(draw_forest(grid), title=title)}
        layers = draw_profiles(grid)
        return drawn | {"layers": save(layers, title=title)} if layers else drawn


def _write(out: Path, contents: Mapping[str, bytes]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            write_whole(out / name, data, durable=False)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # nobody's wrong input
            raise
        reason = error.strerror or type(error).__name__
        raise InputError(f"report: cannot write to {out}: {reason}. Choose another folder.") from error
