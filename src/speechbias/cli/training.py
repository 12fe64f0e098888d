"""Verbs that make models: `shards`, `units`, `pretrain`, `prune`, `distill`."""

import os
import shlex
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Device, JobsBy, JobSettings, Recipe, RecipeSeed, Resume, RunOut, job_settings
from speechbias.cli.said import mended, note, say_device, warn
from speechbias.errors import InputError


class Criterion(StrEnum):
    """What decides which heads, rows or weights are cut."""

    l1 = "l1"
    random = "random"
    bias = "bias"


Verb = Literal["pretrain", "prune", "distill"]

Workers = Annotated[int, typer.Option(min=1, help="Files read at a time while the corpus is prepared.")]
Corpora = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="CORPUS", help="Train on this instead of what the recipe names; repeat it for several."
    ),
]


@app.command()
def shards(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Folders, CSV, TSV, JSONL, fairseq's .tsv, shards.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Folder of the shards.")] = None,
    size: Annotated[float, typer.Option("--size", metavar="MB", help="Of a shard.")] = 256.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="Utterances of a shard, at most.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="UNITS", help="Units or .km of the corpus, to go along.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of utterances.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Shards written at a time.")] = 1,
) -> None:
    """Write a corpus as tar shards with an index (`shards check DIR` reads every byte); kill and repeat at will."""
    from speechbias.training.sharding import in_words, write_shards
    from speechbias.training.shards import check_shards

    if sources[0] == "check" and out is None:
        if not sources[1:]:
            raise InputError("Which shards? speechbias shards check DIR; or, for a corpus called check, name an -o")
        for folder in sources[1:]:
            typer.echo(f"{folder}: {in_words(check_shards(Path(folder), progress=True))}; all as the index says")
        return
    if out is None:
        raise InputError("Where shall the shards go? Name a folder with -o, for example -o shards.")
    written = write_shards(
        sources, out, megabytes=size, count=count, labels=labels, seed=seed, workers=workers, progress=True
    )
    warn((f"{one.name} is left out: {one.why}" for one in written.left_out), set())
    typer.echo(f'{out}: {written.sentence}. Next: [data] train = "{out}" in a recipe')


@app.command()
def units(
    recipe: Recipe,
    out: RunOut,
    data: Corpora = None,
    device: Device = "cpu",
    seed: RecipeSeed = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time.")] = 1,
) -> None:
    """Make the labels that HuBERT and MelHuBERT learn: features of every utterance, k-means, one label per frame."""
    from speechbias.training.corpus import make_run_units
    from speechbias.training.recipe import read_recipe

    read = read_recipe(recipe, seed=seed, data=data or ())
    say_device(device)
    made = make_run_units(read, out, device=device, workers=workers, progress=True)
    warn(made.warnings, set())
    typer.echo(f"{made.folder}: {made.sentence}. Next: speechbias pretrain {recipe} --out {shlex.quote(str(out))}")


@app.command()
def pretrain(
    recipe: Recipe,
    out: RunOut,
    resume: Resume = False,
    data: Corpora = None,
    device: Device = "cpu",
    seed: RecipeSeed = None,
    workers: Workers = 1,
    launcher: JobsBy = None,
    launch: JobSettings = None,
) -> None:
    """Pre-train wav2vec 2.0, HuBERT or MelHuBERT as a recipe says; kill it at any moment, --resume goes on.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m speechbias pretrain RECIPE.toml --out DIR --device cuda
    """
    jobs = job_settings(launcher, launch)
    from speechbias.training.pretrain import pretrain as run
    from speechbias.training.recipe import read_recipe

    read = partial(read_recipe, recipe, seed=seed, data=data or ())
    if ended := _train("pretrain", run, read, jobs, out, resume=resume, device=device, workers=workers):
        _say_next(ended, shlex.quote(str(ended.checkpoint)))


@app.command()
def prune(
    recipe: Recipe,
    out: RunOut,
    resume: Resume = False,
    data: Corpora = None,
    device: Device = "cpu",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Instead of the recipe's; of random cuts too.", show_default=False)
    ] = None,
    workers: Workers = 1,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint to prune, instead of the recipe's.", show_default=False)
    ] = None,
    criterion: Annotated[
        Criterion | None, typer.Option(help="What decides, instead of the recipe's.", show_default=False)
    ] = None,
    launcher: JobsBy = None,
    launch: JobSettings = None,
) -> None:
    """Cut heads, feed-forward rows or weights out of a model, training on between cuts, as a recipe's [prune] says.

    As with pretrain: kill it at any moment, --resume goes on; torchrun starts it on several GPUs or machines.
    """
    jobs = job_settings(launcher, launch)
    from speechbias.compress.prune import prune as run
    from speechbias.compress.start import read_prune_recipe

    chosen = None if criterion is None else criterion.value
    read = partial(read_prune_recipe, recipe, out, seed=seed, data=data or (), model=model, criterion=chosen)
    if ended := _train("prune", run, read, jobs, out, resume=resume, device=device, workers=workers):
        _say_next(ended, f"{shlex.quote(str(out))}/checkpoints/*")


@app.command()
def distill(
    recipe: Recipe,
    out: RunOut,
    resume: Resume = False,
    data: Corpora = None,
    device: Device = "cpu",
    seed: RecipeSeed = None,
    workers: Workers = 1,
    model: Annotated[
        str | None, typer.Option(help="The teacher, instead of the recipe's.", show_default=False)
    ] = None,
    launcher: JobsBy = None,
    launch: JobSettings = None,
) -> None:
    """Train a student of fewer layers to predict a model's hidden states (DistilHuBERT), as a recipe's [distill] says.

    As with pretrain: kill it at any moment, --resume goes on; torchrun starts it on several GPUs or machines.
    """
    jobs = job_settings(launcher, launch)
    from speechbias.compress.distill import distill as run
    from speechbias.compress.start import read_distill_recipe

    read = partial(read_distill_recipe, recipe, out, seed=seed, data=data or (), model=model)
    if ended := _train("distill", run, read, jobs, out, resume=resume, device=device, workers=workers):
        _say_next(ended, shlex.quote(str(ended.checkpoint)))


def _train(verb: Verb, run: Callable[..., Any], read: Callable[[], Any], jobs: Any, out: Path, **how: Any) -> Any:
    """Read a recipe and run it: the run that ended, or None where a job ran it, whose end is said."""
    from speechbias.training.allocator import keep_freed_memory
    from speechbias.training.ranks import one_voice

    keep_freed_memory()
    with one_voice():
        recipe = read()
    if jobs is None:
        return _ran(partial(run, recipe, out, **how), out, how["device"])
    _launch(verb, recipe, out, jobs, **how)
    return None


def _say_next(ended: Any, models: str) -> None:
    typer.echo(f"{ended.checkpoint}: {ended.update} updates. Next: speechbias measure {models} --stimuli FILE.csv")


def _ran(begin: Callable[..., Any], out: Path, device: str) -> Any:
    """A training run begun and ended; where it was asked to end, or could not go on, the command ends with 1."""
    from speechbias.training.ranks import LostRanksError, one_voice, started

    first = started()[0] == 0
    if first:
        say_device(device)
    try:
        with one_voice():
            ended = begin(warn=lambda text: warn([text], set()), progress=True)
    except LostRanksError as error:
        typer.echo(f"speechbias: {error}; they say why. Checkpoints are whole, go on with --resume.", err=True)
        os._exit(1)  # what is under way between ranks cannot be ended in good order
    except OSError as error:
        typer.echo(
            f"speechbias: {error.strerror or error}: {error.filename or out}. Checkpoints written so far are whole; "
            f"{mended(error)}, then go on with --resume.",
            err=True,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt as asked:  # while the corpus was prepared, or by a second Ctrl-C
        typer.echo(f"speechbias: {str(asked) or 'interrupted'}: ended without saving. Go on with --resume.", err=True)
        raise typer.Exit(1) from None
    if not first:
        raise typer.Exit(0 if ended.asked is None else 1)
    if ended.asked is not None:
        typer.echo(f"speechbias: {ended.asked}: saved after {ended.update} updates. Go on with --resume.", err=True)
        raise typer.Exit(1)
    if ended.tracking is not None and ended.tracking.times:
        typer.echo(f"{ended.tracking}; curve: speechbias report {shlex.quote(str(out / 'results.jsonl'))} -o report")
    return ended


def _launch(verb: Verb, recipe: Any, out: Path, jobs: Any, **how: Any) -> None:
    """A run as a job."""
    from speechbias.launch.verbs import launch_training

    ended = launch_training(verb, recipe, out, jobs, say=note, **how)
    if ended["asked"] is not None:
        done = "ended without saving" if ended["update"] is None else f"saved after {ended['update']} updates"
        typer.echo(f"speechbias: {ended['asked']}: {done}; the same goes on.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{ended['checkpoint']}: {ended['update']} updates")
