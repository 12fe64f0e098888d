"""What a run that prunes or distils starts from, and what follows from it: family, labels, length, targets.

``[model] checkpoint`` names a checkpoint; ``[model] pretrain`` the recipe that makes one, in the run folder's
``pretrained/``, where it is not there yet. A checkpoint in a run's folder brings that run's units with it: an
objective that has learnt other clusters would have to learn anew what its labels mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speechbias.checkpoint import read_checkpoint
from speechbias.compress.schedule import FixedSchedule, make_schedule
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, MelFrontend
from speechbias.models.distillation import DistillationSettings
from speechbias.training.corpus import UNITS
from speechbias.training.distillation import default_targets
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import Recipe, read_keys, read_recipe, resolved
from speechbias.training.recipe_sections import UnitsSection
from speechbias.training.run import CHECKPOINTS, LAST, RunFolder
from speechbias.training.sections import Values, merged, read_section, read_toml
from speechbias.training.written_recipe import RECIPE, written_recipe

PRETRAINED = "pretrained"
ENDLESS = 100_000_000  # updates at most, where the loss decides when a run ends


def read_prune_recipe(
    path: Path | str,
    out: Path | str,
    *,
    seed: int | None = None,
    data: Sequence[str] = (),
    model: str | None = None,
    criterion: str | None = None,
) -> Recipe:
    """The recipe of a file for the run folder ``out``, resolved as ``read_recipe`` does. InputError, one line.

    ``model``, a checkpoint, stands in the place of the one that it starts from, ``criterion`` of its own: the same
    cuts of another model, or at random.
    """
    said = _with_model(read_keys(path, seed=seed, data=data), model)
    if criterion is not None and isinstance(said.get("prune"), Mapping):
        of_bias = set() if criterion == "bias" else {"stimuli", "balance"}
        kept = {key: value for key, value in said["prune"].items() if key not in of_bias}
        said = {**said, "prune": {**kept, "criterion": criterion}}
    return prune_recipe(said, out, str(path))


def prune_recipe(said: Values, out: Path | str, where: str) -> Recipe:
    """The same of keys by section; ``where`` names them in errors."""
    run = RunFolder(Path(out))
    said, written = _with_start(said, out, where, verb="prune"), written_recipe(run.folder) if run.steps() else None
    if written is not None:  # what followed from the start then follows from it now, be it there or not
        return _as_written(said, written, where)
    began = _Start.of(said["model"])
    said = {"units": began.units, **said} if began.units is not None else said
    recipe = resolved(merged({"model": {"family": began.config.family}}, said), where)
    assert recipe.prune is not None
    if recipe.prune.train and not began.trainable:
        raise InputError(_why_untrainable(recipe.model.checkpoint, began.config))
    units = recipe.units
    if recipe.prune.train and units is not None and units.quantiser is None and units.labels is None:
        raise InputError(
            f"{where}: the objective of {recipe.model.checkpoint} has learnt labels, and nothing says of which "
            "clusters; name the centres by [units] quantiser, or the labels"
        )
    if "steps" in said.get("run", {}):
        return recipe
    schedule = make_schedule(recipe.prune, began.config)
    steps = schedule.end if isinstance(schedule, FixedSchedule) else ENDLESS
    return replace(recipe, run=replace(recipe.run, steps=steps))


def _why_untrainable(checkpoint: str | None, config: EncoderConfig) -> str:
    alone = "cut without training ([prune] train = false)"
    if config.student:
        return (
            f"{checkpoint} is a student, which learnt from a teacher, and pruning trains on with the family's own "
            f"objective; {alone}, or prune its teacher and distil that"
        )
    return (
        f"{checkpoint} holds an encoder alone, and training on needs what it was pre-trained with; name a checkpoint "
        f"with that, or {alone}"
    )


def _is_resolved(model: Mapping[str, Any]) -> bool:
    """Whether ``pretrain`` stands beside the checkpoint that it has made, as in the recipe of a run folder."""
    made, paths = (PRETRAINED, CHECKPOINTS, LAST), [model.get("pretrain"), model.get("checkpoint")]
    return all(isinstance(path, str) for path in paths) and Path(str(paths[1])).parts[-3:] == made


def read_distill_recipe(
    path: Path | str,
    out: Path | str,
    *,
    seed: int | None = None,
    data: Sequence[str] = (),
    model: str | None = None,
) -> Recipe:
    """The same of a recipe that distils; ``model``, the teacher, stands in the place of the one that it names."""
    return distill_recipe(_with_model(read_keys(path, seed=seed, data=data), model), out, str(path))


def distill_recipe(said: Values, out: Path | str, where: str) -> Recipe:
    """The same of keys by section. The teacher is asked for its layers, be it trained already or not."""
    said = _with_start(said, out, where, verb="distill")
    teacher, written = _Start.of(said["model"]).config, written_recipe(Path(out)) or {}
    begun = {key: value for key, value in written.get("optim", {}).items() if key == "warmup"}
    below = {"model": {"family": teacher.family}, "optim": begun}  # a run that is made longer has warmed up already
    recipe = resolved(merged(below, said), where)
    section, has = recipe.distill, teacher.num_layers
    assert section is not None
    targets = section.targets or default_targets(has)
    if max(targets) > has:
        raise InputError(f"{where} [distill] targets {max(targets)}; the teacher has {has} layers, name others")
    if section.layers > has:
        raise InputError(f"{where} [distill] layers is {section.layers}; the teacher has {has}, name as many or fewer")
    if not section.feature_norm and isinstance(teacher.frontend, MelFrontend):
        raise InputError(f"{where} [distill] feature_norm is of convolutions; a {teacher.family} has none")
    return replace(recipe, distill=replace(section, targets=targets))


def _with_model(said: dict[str, Any], model: str | None) -> dict[str, Any]:
    """The keys of a recipe with the checkpoint that the command line names in the place of its own."""
    start = said.get("model", {})
    if model is None or not isinstance(start, Mapping):
        return said
    kept = {key: value for key, value in start.items() if key != "pretrain"}
    return {**said, "model": {**kept, "checkpoint": str(Path(model).absolute()) if Path(model).exists() else model}}


def _with_start(said: Values, out: Path | str, where: str, *, verb: str) -> Values:
    """The keys with ``[model] checkpoint``, of which ``[model] pretrain`` is another way to speak. InputError else."""
    other = next((section for section in ("prune", "distill") if section in said and section != verb), None)
    if verb not in said:
        raise InputError(f"{where} has no [{verb}]; without one it is for speechbias {other or 'pretrain'}")
    if other is not None:
        raise InputError(f"{where} has a [{verb}] and a [{other}]; a run does one of the two")
    start = said.get("model")
    if isinstance(start, Mapping) and _is_resolved(start):
        start = {key: value for key, value in start.items() if key != "checkpoint"}
    if not isinstance(start, Mapping) or ("checkpoint" in start) == ("pretrain" in start):
        raise InputError(
            f"{where} [model]: name the checkpoint to {verb} (or give --model), or pretrain, a recipe to make one; "
            "one of the two"
        )
    if "pretrain" not in start:
        return said
    return merged(said, {"model": {"checkpoint": str(Path(out).resolve() / PRETRAINED / CHECKPOINTS / LAST)}})


def _as_written(said: Mapping[str, Any], written: Mapping[str, Any], where: str) -> Recipe:
    family, run = written.get("model", {}).get("family"), written.get("run", {})
    below: dict[str, Any] = {"model": {"family": family}, "run": {"steps": run.get("steps", ENDLESS)}}
    if "units" in written and "units" not in said:
        below["units"] = written["units"]
    return resolved(merged(below, said), where)


@dataclass(frozen=True)
class _Start:
    """Shapes and units of a checkpoint, be it made already or not, and whether it can be pre-trained on."""

    config: EncoderConfig
    units: dict[str, Any] | None
    trainable: bool = True

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "_Start":
        if isinstance(model.get("pretrain"), str):
            before = read_recipe(model["pretrain"])
            return cls(before.model.config(), _units(before.units, Path(model["checkpoint"]).parents[1]))
        checkpoint = str(model["checkpoint"])
        found = read_checkpoint(checkpoint)
        run = Path(checkpoint).parent.parent
        written = run / RECIPE
        is_of_run = Path(checkpoint).parent.name == CHECKPOINTS and written.is_file()
        units = _written_units(written) if is_of_run else None
        trainable = found.settings is not None and not isinstance(found.settings, DistillationSettings)
        return cls(found.config, units, trainable)


def _written_units(recipe: Path) -> dict[str, Any] | None:
    """The units of a run; what else its recipe says, perhaps in words of another version, is not asked."""
    said = read_toml(recipe).get("units")
    if said is None:
        return None
    return _units(read_section(UnitsSection, said, f"{recipe} [units]"), recipe.parent)


def _units(units: UnitsSection | None, run: Path) -> dict[str, Any] | None:
    """The ``[units]`` of the run that made a checkpoint, with the centres that lie in its folder.

    A run that only cut has labelled nothing: its recipe names the centres of the run before.
    """
    if units is None:
        return None
    has_own = (run / UNITS).is_dir() or units.quantiser is None
    if has_own and units.labels is None:
        units = replace(units, quantiser=str(run / UNITS))
    return {key: value for key, value in asdict(units).items() if value is not None}


def pretrain_start(recipe: Recipe, out: Path, **options: Any) -> None:
    """Make the checkpoint of ``[model] pretrain``, or go on making it, where its run has not ended yet."""
    if recipe.model.pretrain is None:
        return
    before = read_recipe(recipe.model.pretrain)
    folder = out / PRETRAINED
    if not _has_ended(folder, before.run.steps):
        asked = pretrain(before, folder, resume=(folder / RECIPE).exists(), **options).asked
        if asked is not None:
            raise KeyboardInterrupt(f"{asked} while {folder} was trained")


def _has_ended(folder: Path, steps: int) -> bool:
    last = folder / "checkpoints" / "last"
    return last.exists() and read_checkpoint(str(last)).meta.step == steps
