"""`speechbias demo`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import note
from speechbias.errors import InputError

TRADEOFF = "d against phone error rate"
FIGURES = {  # of the paper, in the report's folder
    "Table 3": "table.md",
    "Figure 1": "steps.svg",
    "Figure 2": "pruning.svg",
    "Figure 3": "students.svg",
    TRADEOFF: "tradeoff.svg",
}


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of report, page and clips.")] = Path(
        "speechbias-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the voices.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Clips embedded at a time; no number depends on it.", min=1)] = 2,
) -> None:
    """The paper in miniature, offline: voices made and measured, models trained, pruned, distilled, probed; a page."""
    from speechbias.demo import run_demo, write_page
    from speechbias.report import write_table4
    from speechbias.report.terminal import terminal_table

    finished = run_demo(out, seed=seed, workers=workers, progress=True)
    Console().print(terminal_table([result for result in finished.results if result.layer == "mean"]))
    _train(out, workers)
    rates = _probe(out, workers)
    page = write_page(out)
    figures = dict(FIGURES)
    if rates:
        figures["Table 4"] = write_table4(rates, page.parent)[0].name
    else:
        del figures[TRADEOFF]
    for name, file in figures.items():
        typer.echo(f"{name}: {page.parent / file}")
    typer.echo(f"The page: {page}")


def _train(out: Path, workers: int) -> None:
    """Pre-trained, pruned and distilled."""
    from speechbias.demo import SideBySide, run_distilling, run_pruning, run_training

    with SideBySide(progress=True) as beside:
        trained = run_training(out, beside)
        typer.echo(
            f"Pre-trained: three families in two shapes; {trained.checkpoint}, {trained.updates} updates, "
            f"loss {trained.first_loss:.2f} -> {trained.last_loss:.2f}"
        )
        pruned = run_pruning(out, beside)
        typer.echo(f"Pruned: {out / 'pruned'}, {len(pruned)} records of heads, rows and weights, by L1 and at random")
        students = run_distilling(out, beside, workers=workers, progress=True)
        typer.echo(f"Distilled: {out / 'distilled'}, {len({result.model_sha256 for result in students})} students")


def _probe(out: Path, workers: int) -> Sequence[Mapping[str, Any]]:
    """Phone error rates, as records; none where an extra is not installed, which the rest of the demo does without."""
    from speechbias.demo import run_probing
    from speechbias.probe.record import in_words

    try:
        rates = run_probing(out, workers=workers, progress=True)
    except InputError as error:
        note(f"Not probed: {error}")
        return []
    typer.echo(f"Probed: {', '.join(in_words(record) for record in rates)}")
    return rates
