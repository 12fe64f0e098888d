"""Cuts without training between them: what damage alone does, and all that an encoder without objective allows."""

import shutil
from dataclasses import replace
from pathlib import Path

from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.compress.events import EVENTS, Event, write_events
from speechbias.compress.masks import apply_masks
from speechbias.compress.pruned import Pruned
from speechbias.compress.schedule import Amount, amounts_of
from speechbias.compress.scoring import bias_criterion
from speechbias.compress.surgery import perform
from speechbias.errors import InputError
from speechbias.progress import Progress
from speechbias.results import write_whole
from speechbias.training.beginning import beginning, starting_checkpoint
from speechbias.training.ranks import started
from speechbias.training.recipe import Recipe
from speechbias.training.recipe_sections import OF_CORPUS
from speechbias.training.run import CHECKPOINTS, RunFolder, held
from speechbias.training.session import Outcome
from speechbias.training.written_recipe import RECIPE

NAME = "cut-{:04d}"  # after so many cuts


def cut_alone(recipe: Recipe, out: Path, *, resume: bool, progress: bool) -> Outcome:
    """Write a checkpoint after every cut of the recipe, and the uncut one, into the run folder ``out``.

    It takes seconds: a killed one begins anew, and so does ``resume``. InputError for a folder that holds a run,
    unless ``resume`` says so, and for one that trains, always.
    """
    assert recipe.prune is not None
    if started()[0] > 0:  # of several processes the first cuts
        return Outcome(out, 0, None)
    start = starting_checkpoint(recipe)
    assert start is not None, "read_prune_recipe names one"
    if recipe.model.mel_stats not in {None, OF_CORPUS}:
        start = replace(start, meta=replace(start.meta, mel_stats=beginning(recipe).mel_stats))
    pruned = Pruned.begin(recipe.prune, recipe.run.seed, start)
    pruned.bias = bias_criterion(recipe, start.config, start.meta.mel_stats)
    amounts = amounts_of(recipe.prune, start.config, sparsity=pruned.sparsity)
    with held(out):
        if (out / RECIPE).exists() and not resume:
            raise InputError(f"{out} holds a run; cut into it anew by --resume, or choose another --out")
        if RunFolder(out).steps():
            raise InputError(f"{out} holds a run that trains; choose another --out for cuts without training")
        for rest in (out / CHECKPOINTS).glob("cut-*"):  # of a recipe of more cuts, perhaps
            shutil.rmtree(rest)
        write_whole(out / RECIPE, recipe.to_toml().encode())
        model, events = start, list[Event]()
        _save(out, model, pruned, start)
        with Progress(recipe.prune.method, len(amounts), shown=progress, unit="cuts") as bar:
            for number, amount in enumerate(amounts, start=1):
                model, event = _cut(model, pruned, amount, number)
                events.append(event)
                bar.say(event.sentence)
                _save(out, model, pruned, start)
                bar.advance(1)
        write_events(out / EVENTS, events)
    return Outcome(out / CHECKPOINTS / NAME.format(len(events)), 0, None)


def _cut(model: Checkpoint, pruned: Pruned, amount: Amount, number: int) -> tuple[Checkpoint, Event]:
    if pruned.section.method == "weights":
        event = pruned.next_masks(model, amount, number)
        return apply_masks(model, pruned.masks), event
    cut, event = pruned.next_cut(model, amount, number)
    return perform(model, cut), event


def _save(out: Path, model: Checkpoint, pruned: Pruned, start: Checkpoint) -> None:
    folder = out / CHECKPOINTS / NAME.format(pruned.cuts)
    provenance = {**start.meta.provenance, "pruning": pruned.describe()}
    provenance.pop("run", None)
    save_checkpoint(
        folder, replace(model, name=folder.name, meta=replace(start.meta, step=None, provenance=provenance))
    )
