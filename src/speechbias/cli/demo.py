"""`speechbias demo`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import note
from speechbias.extras import MissingExtraError

OF_MODELS = {"Figure 1": "steps.svg", "Figure 2": "pruning.svg", "Figure 3": "students.svg"}  # in the report's folder


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
    made = {"Table 3": "table.md"}
    if _train(out, workers):
        made |= OF_MODELS
        rates = _probe(out, workers)
        page = write_page(out)
        if rates:
            made |= {"Table 4": write_table4(rates, page.parent)[0].name, "d against phone error rate": "tradeoff.svg"}
    for name, file in made.items():
        typer.echo(f"{name}: {finished.page.parent / file}")
    typer.echo(f"The page: {finished.page}")


def _train(out: Path, workers: int) -> bool:
    """Pre-trained, pruned and distilled; False where an extra is not installed, without which all else is shown."""
    from speechbias.demo import SideBySide, run_distilling, run_pruning, run_training

    with SideBySide(progress=True) as beside:
        try:
            trained = run_training(out, beside)
        except MissingExtraError as error:
            note(f"Nothing trained: {error}")
            return False
        typer.echo(
            f"Pre-trained: three families in two shapes; {trained.checkpoint}, {trained.updates} updates, "
            f"loss {trained.first_loss:.2f} -> {trained.last_loss:.2f}"
        )
        pruned = run_pruning(out, beside)
        typer.echo(f"Pruned: {out / 'pruned'}, {len(pruned)} records of heads, rows and weights, by L1 and at random")
        students = run_distilling(out, beside, workers=workers, progress=True)
        typer.echo(f"Distilled: {out / 'distilled'}, {len({result.model_sha256 for result in students})} students")
    return True


def _probe(out: Path, workers: int) -> Sequence[Mapping[str, Any]]:
    """Phone error rates, as records; none where an extra is not installed, which the rest of the demo does without."""
    from speechbias.demo import run_probing
    from speechbias.probe.record import in_words

    try:
        rates = run_probing(out, workers=workers, progress=True)
    except MissingExtraError as error:
        note(f"Not probed: {error}")
        return []
    typer.echo(f"Probed: {', '.join(in_words(record) for record in rates)}")
    return rates
