"""`speechbias demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechbias.cli.app import app


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of report, page and clips.")] = Path(
        "speechbias-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the voices.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Clips embedded at a time.", min=1)] = 1,
) -> None:
    """Measure synthetic voices with a planted association and a null; pre-train, prune, distil, probe; offline."""
    from speechbias.demo import run_demo, run_distilling, run_probing, run_pruning, run_training
    from speechbias.probe.record import in_words
    from speechbias.report.terminal import terminal_table

    finished = run_demo(out, seed=seed, workers=workers, progress=True)
    Console().print(terminal_table([result for result in finished.results if result.layer == "mean"]))
    trained = run_training(out, progress=True)
    Console().print(terminal_table([result for result in trained.results if result.layer == "mean"]))
    typer.echo(
        f"\nPre-trained: {trained.checkpoint}, {trained.updates} updates, "
        f"loss {trained.first_loss:.2f} -> {trained.last_loss:.2f}"
    )
    pruned = run_pruning(out, progress=True)
    typer.echo(f"Pruned: {out / 'pruned'}, {len(pruned)} records of heads, rows and weights, by L1 and at random")
    students = run_distilling(out, workers=workers, progress=True)
    typer.echo(f"Distilled: {out / 'distilled'}, {len({result.model_sha256 for result in students})} students")
    rates = run_probing(out, workers=workers, progress=True)
    typer.echo(f"Probed: {', '.join(in_words(record) for record in rates)}")
    typer.echo(f"The page: {finished.page}")
