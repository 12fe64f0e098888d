"""Writing a report: each file is made in memory, then written into one folder. The same records, the same bytes."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbias.errors import InputError
from speechbias.report.card import write_card
from speechbias.report.curves import Curve, caption, find_curves, without_earlier_steps, write_steps_csv
from speechbias.report.forest import draw_forest
from speechbias.report.grid import Grid, arrange
from speechbias.report.heatmap import NOTE, draw_states
from speechbias.report.latex import write_latex
from speechbias.report.layers import draw_profiles
from speechbias.report.markdown import write_markdown
from speechbias.report.page import default_title, render_page
from speechbias.report.spreadsheet import write_csv, write_table_csv
from speechbias.report.steps import draw_steps
from speechbias.report.style import drawing, save
from speechbias.results import BiasResult, write_whole


@dataclass(frozen=True)
class ReportFiles:
    """Where each file of a report lies; ``figures`` are SVG and PDF of ``forest`` and what else there is to draw.

    ``layers``: single states; ``steps``, ``steps-layers``: a model at several training steps.
    """

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

    Of a run that was measured at several steps, tables and answers are of the last one; the curve has its own figures.
    ``paper_layout`` changes table.md, table.tex and table.csv only: bare d's as in the paper's Table 3. Raises
    ``InputError`` where there is no record, or where ``out`` cannot be written; ``OSError`` where the disk is full.
    """
    grid, every, curves = arrange(without_earlier_steps(records)), arrange(records), find_curves(records)
    drawn = _draw(grid, curves, title or default_title(grid))
    svgs = {name: files["svg"] for name, files in drawn.items()}
    texts = {
        "index.html": render_page(grid, svgs, title=title, steps=caption(curves) if curves else ""),
        "table.md": write_markdown(grid, paper_layout=paper_layout),
        "table.tex": write_latex(grid, paper_layout=paper_layout),
        "table.csv": write_table_csv(grid, paper_layout=paper_layout),
        "results.csv": write_csv(every),
        "model-card.md": write_card(grid),
    }
    figures = {f"{name}.{kind}": data for name, files in drawn.items() for kind, data in files.items()}
    _write(out, {name: text.encode("utf-8") for name, text in texts.items()} | figures)
    page, markdown, latex, csv, listing, card = (out / name for name in texts)
    return ReportFiles(page, markdown, latex, csv, listing, card, tuple(out / name for name in figures))


def write_figure1(records: Sequence[BiasResult], out: Path) -> tuple[Path, ...]:
    """The paper's Figure 1 from records of several training steps: d against steps, and by hidden state, with a CSV.

    ``figure1.{svg,pdf,png,csv}``, and ``figure1-layers.*`` where single states were measured. InputError where no
    model was measured at two steps.
    """
    curves = find_curves(records)
    if not curves:
        raise InputError(
            "figure1: no model here was measured at two training steps. Measure several checkpoints of a run "
            "(speechbias measure RUN/checkpoints/*), or give results.jsonl of a run whose recipe has [track]."
        )
    with drawing():
        steps, states = draw_steps(curves, note=caption(curves)), draw_states(curves, note=NOTE)
        figures = {"figure1": steps} | ({"figure1-layers": states} if states else {})
        kinds = ("svg", "pdf", "png")
        saved = {
            name: save(figure, title="Bias against training steps", kinds=kinds) for name, figure in figures.items()
        }
    contents = {f"{name}.{kind}": data for name, files in saved.items() for kind, data in files.items()}
    contents["figure1.csv"] = write_steps_csv(curves).encode("utf-8")
    _write(out, contents)
    return tuple(out / name for name in contents)


def _draw(grid: Grid, curves: Sequence[Curve], title: str) -> dict[str, dict[str, bytes]]:
    with drawing():
        figures = {
            "forest": draw_forest(grid),
            "layers": draw_profiles(grid),
            "steps": draw_steps(curves) if curves else None,
            "steps-layers": draw_states(curves),
        }
        return {name: save(figure, title=title) for name, figure in figures.items() if figure}


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
