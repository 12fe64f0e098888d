"""`speechbias probe`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Asked, Launch, Launcher
from speechbias.cli.said import check_launch, mended, note, say_device, warn
from speechbias.cli.training import Device, Recipe, Resume, RunOut, Seed


@app.command()
def probe(
    recipe: Recipe,
    out: RunOut,
    resume: Resume = False,
    device: Device = "cpu",
    seed: Seed = None,
    workers: Annotated[int, typer.Option(min=1, help="Utterances read and encoded at a time.")] = 1,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Instead of the recipe's; repeat it for several.", show_default=False),
    ] = None,
    launcher: Launch = None,
    launch: Asked = None,
) -> None:
    """Train phoneme recognisers on frozen models, a sweep of learning rates each, and measure phone error rates.

    Models that are done are not done again; kill it at any moment, --resume goes on.
    """
    check_launch(launcher, launch)
    from speechbias.probe.recipe import read_probe_recipe
    from speechbias.probe.record import in_words
    from speechbias.probe.run import probe as run
    from speechbias.training.allocator import keep_freed_memory

    keep_freed_memory()
    read = read_probe_recipe(recipe, seed=seed, models=model or ())
    if launcher is not None:
        _launch(read, out, launcher, launch, device=device, workers=workers)
        return
    say_device(device)
    said: set[str] = set()
    try:
        ended = run(
            read,
            out,
            resume=resume,
            device=device,
            workers=workers,
            warn=lambda text: warn([text], said),
            say=note,
            progress=True,
        )
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
    for record in ended.records:
        typer.echo(in_words(record))
    if ended.asked is not None:
        typer.echo(f"speechbias: {ended.asked}: saved. Go on with --resume.", err=True)
        raise typer.Exit(1)
    _ended(out, len(ended.records))


def _launch(read: Any, out: Path, launcher: Launcher, asked: list[str] | None, *, device: str, workers: int) -> None:
    """The probes as a job, whose log has a line per model."""
    from speechbias.launch.settings import read_settings
    from speechbias.launch.verbs import launch_probe
    from speechbias.results import read_records

    settings = read_settings(launcher.value, asked or ())
    ended_by = launch_probe(read, out, settings, device=device, workers=workers, say=note)
    if ended_by is not None:
        typer.echo(f"speechbias: {ended_by}: saved. The same goes on.", err=True)
        raise typer.Exit(1)
    _ended(out, sum(record["kind"] == "per" for record in read_records(out / "results.jsonl")))


def _ended(out: Path, count: int) -> None:
    results = out / "results.jsonl"
    models = "1 model" if count == 1 else f"{count} models"
    typer.echo(
        f"{results}: phone error rates of {models}. Next: speechbias report {shlex.quote(str(results))} -o report"
    )
