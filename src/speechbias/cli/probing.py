"""`speechbias probe`."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Device, JobsBy, JobSettings, Recipe, RecipeSeed, Resume, RunOut, job_settings
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
    launcher: JobsBy = None,
    launch: JobSettings = None,
) -> None:
    """Train phoneme recognisers on frozen models, a sweep of learning rates each, and measure phone error rates.

    Models that are done are not done again; kill it at any moment, --resume goes on.
    """
    jobs = job_settings(launcher, launch)
    from speechbias.probe.recipe import read_probe_recipe
    from speechbias.probe.record import in_words
    from speechbias.probe.run import probe as run
    from speechbias.training.allocator import keep_freed_memory

    keep_freed_memory()
    read = read_probe_recipe(recipe, seed=seed, models=model or ())
    if jobs is not None:
        _launch(read, out, jobs, device=device, workers=workers)
        return
    say_device(device)
    ended = _ran(partial(run, read, out, resume=resume, device=device, workers=workers), out)
    for record in ended.records:
        typer.echo(in_words(record))
    if ended.asked is not None:
        typer.echo(f"speechbias: {ended.asked}: saved. Go on with --resume.", err=True)
        raise typer.Exit(1)
    _say_next(out, len(ended.records))


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


def _launch(recipe: Any, out: Path, jobs: Any, *, device: str, workers: int) -> None:
    """The probes as a job, whose log has a line per model."""
    from speechbias.launch.verbs import launch_probe
    from speechbias.results import read_records

    ended_by = launch_probe(recipe, out, jobs, device=device, workers=workers, say=note)
    if ended_by is not None:
        typer.echo(f"speechbias: {ended_by}: saved. The same goes on.", err=True)
        raise typer.Exit(1)
    _say_next(out, sum(record["kind"] == "per" for record in read_records(out / "results.jsonl")))


def _say_next(out: Path, count: int) -> None:
    results = out / "results.jsonl"
    models = "1 model" if count == 1 else f"{count} models"
    typer.echo(
        f"{results}: phone error rates of {models}. Next: speechbias report {shlex.quote(str(results))} -o report"
    )
