"""One recipe's probes of many models, one after another, in one run folder. What is done is not done again."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import Any

from safetensors.torch import save

from speechbias.checkpoint import check_model, load_encoder
from speechbias.checkpoint.series import in_order
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.models.device import choose_device
from speechbias.probe.folder import (
    INFEASIBLE,
    MODELS,
    PRETRAINED,
    RECIPE,
    RESULTS,
    STATES,
    WEIGHTS,
    folder_name,
    record_of,
    refuse_another,
    refuse_another_corpus,
    write_lists,
    write_record,
)
from speechbias.probe.recipe import ProbeRecipe, with_models
from speechbias.probe.record import in_words, make_record
from speechbias.probe.splits import Splits, open_splits
from speechbias.probe.states import open_states
from speechbias.probe.sweep import SWEEP, Bench, sweep
from speechbias.results import append_records, write_whole
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.run import CHECKPOINTS, LAST, RunFolder, held
from speechbias.training.signals import end_when_asked
from speechbias.training.tables import tsv


@dataclass(frozen=True)
class Outcome:
    """Records of the models that are done, in order; ``asked`` names the signal that ended the others."""

    records: Sequence[dict[str, Any]]
    asked: str | None = None


@dataclass(frozen=True)
class _How:
    """What a run does beside its recipe."""

    resume: bool
    device: str
    workers: int
    progress: bool
    warn: Callable[[str], None]
    say: Callable[[str], None]


def probe(
    recipe: ProbeRecipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    warn: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Outcome:
    """Train, choose and test the probes of a recipe's models in the run folder ``out``; models done before stay.

    ``workers``: utterances read, and encoded, at a time. ``say`` is told of each model's size and end. InputError for
    what the user can mend, an interrupted sweep without ``resume`` too; OSError where the disk is full. SIGTERM,
    SIGUSR1 and Ctrl-C save a sweep and end the run; while states are computed they raise KeyboardInterrupt.
    """
    folder = Path(out)
    how = _How(resume, choose_device(device), workers, progress, warn, say)
    with end_when_asked(), held(folder):
        refuse_another(folder, recipe)
        models = in_order(recipe.model.models or [_pretrained(recipe, folder, how)])
        _check(models, recipe, how.device)
        write_whole(folder / RECIPE, with_models(recipe, recipe.model.models and models).to_toml().encode())
        splits = open_splits(recipe.probe, folder, seed=recipe.run.seed, workers=workers, progress=progress)
        write_lists(folder, splits)
        for warning in splits.warnings():
            warn(warning)
        records: list[dict[str, Any]] = []
        for model in models:
            made = _probe_one(model, recipe, splits, folder, how)
            if isinstance(made, Signals):
                return Outcome(records, made.name)
            records.append(made)
    return Outcome(records)


def _probe_one(model: str, recipe: ProbeRecipe, splits: Splits, folder: Path, how: _How) -> dict[str, Any] | Signals:
    """One model's record, made or found; or the signal that came in between."""
    named = recipe.model
    stats = None if named.mel_stats is None else Path(named.mel_stats)
    stats = stats if check_model(model, states=named.states, mel_stats=stats).takes_mel_stats else None
    encoder = load_encoder(model, device=how.device, dtype=named.dtype, states=named.states, mel_stats=stats)
    place = folder / MODELS / folder_name(encoder)
    done = record_of(place, splits)
    if done is None:
        if (place / SWEEP).exists() and not how.resume:
            raise InputError(f"{place} holds an interrupted sweep; go on with it by --resume, or choose another --out")
        made = _train(encoder, recipe, splits, place, how)
        if isinstance(made, Signals):
            return made
        done, table = made
        write_record(place, done, table)
    append_records(folder / RESULTS, [done])
    (place / SWEEP).unlink(missing_ok=True)  # only now: what was on the way is not needed any more
    if not recipe.probe.keep_cache:
        shutil.rmtree(place / STATES, ignore_errors=True)
    how.say(in_words(done))
    return done


def _train(
    encoder: Encoder, recipe: ProbeRecipe, splits: Splits, place: Path, how: _How
) -> tuple[dict[str, Any], str] | Signals:
    """States, sweep, test: the record and the table of utterances; or the signal that came in between."""
    place.mkdir(parents=True, exist_ok=True)
    section, utterances = recipe.probe, splits.all
    states = open_states(
        encoder,
        utterances,
        place / STATES,
        cache=section.cache,
        dtype=section.cache_dtype,
        workers=how.workers,
        say=how.say,
        progress=how.progress,
    )
    ends = len(splits.train), len(splits.train) + len(splits.dev), len(utterances)
    train, dev, test = (range(*span) for span in zip((0, *ends), ends, strict=False))
    shape = encoder.num_states, encoder.dim
    bench = Bench(recipe, utterances, states, train, dev, test, shape, how.device)
    bench = _feasible(bench, place, encoder.name, how.warn)
    refuse_another_corpus(place, splits)
    swept = sweep(bench, place, label=encoder.name, warn=how.warn, progress=how.progress)
    if swept.asked is not None:
        return swept.asked
    record, table = make_record(encoder, splits, bench, swept, infeasible=len(train) - len(bench.train))
    write_whole(place / WEIGHTS, save(dict(swept.chosen.best.weights)))
    return record, table


def _feasible(bench: Bench, place: Path, name: str, warn: Callable[[str], None]) -> Bench:
    """Without the training utterances that CTC cannot say, which are listed. InputError where all are such."""
    infeasible = bench.infeasible()
    if not infeasible:
        (place / INFEASIBLE).unlink(missing_ok=True)
        return bench
    write_whole(place / INFEASIBLE, tsv((bench.utterances[row].key,) for row in infeasible))
    if len(infeasible) == len(bench.train):
        raise InputError(
            f"{name}: CTC cannot say any of {len(infeasible)} training utterances, whose frames are fewer than their "
            f"phones (all in {place / INFEASIBLE}); do transcripts belong to their recordings?"
        )
    warn(
        f"{name}: {len(infeasible)} training utterances have fewer frames than CTC needs for their phones, and are "
        f"left out; all in {place / INFEASIBLE}"
    )
    left = set(infeasible)
    return replace(bench, train=[row for row in bench.train if row not in left])


def _pretrained(recipe: ProbeRecipe, folder: Path, how: _How) -> str:
    """The model that the recipe of [model] pretrain makes, in the run folder, made where it is not there."""
    assert recipe.model.pretrain is not None
    made, run = read_recipe(recipe.model.pretrain), RunFolder(folder / PRETRAINED)
    steps = run.steps()
    if not steps or steps[-1] < made.run.steps:
        options: Any = {"device": how.device, "workers": how.workers, "warn": how.warn, "progress": how.progress}
        if asked := pretrain(made, run.folder, resume=bool(steps), **options).asked:
            raise KeyboardInterrupt(asked)
    return str(run.folder.resolve() / CHECKPOINTS / LAST)


def _check(models: Sequence[str], recipe: ProbeRecipe, device: str) -> None:
    """Refuse models that cannot be loaded before anything is computed, all of them together."""
    stats = None if recipe.model.mel_stats is None else Path(recipe.model.mel_stats)
    problems: list[str] = []
    for model in models:
        try:
            check_model(model, device=device, states=recipe.model.states, mel_stats=stats)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
