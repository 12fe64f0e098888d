"""`speechbias probe`."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Device, Recipe, RecipeSeed, Resume, RunOut
from speechbias.cli.said import mended, note, say_device, warn


@app.command()
def probe(
    recipe: Recipe,
    out: RunOut,
    resume: Resume = False,
    device: Device = "cpu",
    seed: RecipeSeed = None,
    workers: Annotated[int, typer.Option(min=1, help="Utterances read and encoded at a time.")] = 1,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Instead of the recipe's; repeat it for several.", show_default=False),
    ] = None,
) -> None:
    """Train phoneme recognisers on frozen models, a sweep of learning rates each, and measure phone error rates.

    Models that are done are not done again; kill it at any moment, --resume goes on.
    """
    from speechbias.probe.recipe import read_probe_recipe
    from speechbias.probe.record import in_words
    from speechbias.probe.run import probe as run
    from speechbias.training.allocator import keep_freed_memory

    keep_freed_memory()
    read = read_probe_recipe(recipe, seed=seed, models=model or ())
    say_device(device)
    ended = _ran(partial(run, read, out, resume=resume, device=device, workers=workers), out)
    for record in ended.records:
        typer.echo(in_words(record))
    if ended.asked is not None:
        typer.echo(f"speechbias: {ended.asked}: saved. Go on with --resume.", err=True)
        raise typer.Exit(1)
    results = out / "results.jsonl"
    count = "1 model" if len(ended.records) == 1 else f"{len(ended.records)} models"
    typer.echo(
        f"{results}: phone error rates of {count}. Next: speechbias report {shlex.quote(str(results))} -o report"
    )


def _ran(run: Callable[..., Any], out: Path) -> Any:
    """A probing run begun and ended; where it could not go on, the command ends with 1."""
    said: set[str] = set()
    try:
        return run(warn=lambda text: warn([text], said), say=note, progress=True)
    except OSError as error:
        typer.echo(
            f"speechbias: {error.strerror or error}: {error.filename or out}. What was written so far is whole; "
            f"{mended(error)}, then go on with --resume.",
            err=True,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt as asked:
        typer.echo(
            f"speechbias: {str(asked) or 'interrupted'}: states so far are kept. Go on with --resume.", err=True
        )
        raise typer.Exit(1) from None
