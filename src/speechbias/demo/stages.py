"""The demo, stage by stage, into one folder: voices, measurements, runs, what is made of one of them, the page."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbias.audits import audit_survey
from speechbias.controls import gather_controls
from speechbias.controls.planted import describe
from speechbias.controls.twin import compare_with
from speechbias.demo.recipes import (
    AT_RANDOM,
    BASE,
    DATA,
    DISTILLED,
    FAMILIES,
    FEATURES,
    PROBED,
    PRUNED,
    PRUNING,
    QUICK,
    SHAPES,
    STUDENTS,
    UNTRAINED,
    pretraining,
)
from speechbias.demo.side_by_side import Run, SideBySide
from speechbias.errors import InputError
from speechbias.explain import explain
from speechbias.probe.recipe import probe_recipe
from speechbias.probe.run import probe
from speechbias.report import student_pairs, tabulated, write_report
from speechbias.results import BiasResult, append_records, check_writable, read_records, read_results
from speechbias.stimuli import read_stimuli
from speechbias.students import compare_students
from speechbias.survey import Survey
from speechbias.synthetic import write_stimuli_sets
from speechbias.training.clustering import need_scikit_learn

TESTS = {"planted", "null"}
RUNS, PRUNED_IN, DISTILLED_IN, PROBED_IN = "runs", "pruned", "distilled", "probed"
CUTS = (("l1", 0), *(("random", seed) for seed in AT_RANDOM))  # criterion and seed of each pruning
OURS = {  # what an earlier demo left in these folders
    RUNS: {f"{family}-{shape}" for family in FAMILIES for shape in SHAPES},
    PRUNED_IN: {
        f"{method}-{cut}" for method in PRUNING for cut in ("l1-0", *(f"random-{seed}" for seed in AT_RANDOM))
    },
    DISTILLED_IN: {f"student-{layers}" for layers in STUDENTS},
}
CONTROLS = "controls.jsonl"
TITLE = "Synthetic voices: a planted association and a null control"


@dataclass(frozen=True)
class Demo:
    """What the demo measured, and where its page lies."""

    results: Sequence[BiasResult]
    page: Path


def run_demo(out: Path, *, seed: int = 0, workers: int = 1, progress: bool = False) -> Demo:
    """Measure four features and two untrained models on voices made from ``seed``; write a report to ``out``.

    The test "planted" holds an association by construction; "null" draws X and Y from the same voices, so what is
    found there is chance. What an earlier demo made here goes.
    """
    results = out / "results.jsonl"
    check_writable(results)
    _remove_own(results)
    write_stimuli_sets(out / "stimuli", seed=seed)
    survey = _survey([*FEATURES, *UNTRAINED], out, results, workers=workers, progress=progress)
    measured = list(survey.measure())
    audit_survey(survey)
    return Demo(measured, write_page(out))


@dataclass(frozen=True)
class Trained:
    """The models that the demo pre-trained; of the base the loss at the start and at the end, and d on the way."""

    checkpoint: Path
    first_loss: float
    last_loss: float
    updates: int
    results: Sequence[BiasResult]


def run_training(out: Path, beside: SideBySide, *, families: Collection[str] = tuple(FAMILIES)) -> Trained:
    """Pre-train ``families`` (the base's among them) in two shapes on the demo's voices, d tracked on the way.

    Raises ``MissingExtraError`` where the extra ``train`` is not installed, before anything is trained.
    """
    need_scikit_learn()
    _remove(out, RUNS, PRUNED_IN, DISTILLED_IN, PROBED_IN)
    track = {"stimuli": _stimuli(out), **QUICK}
    runs = [
        Run(
            "pretrain",
            _on_voices(pretraining(family, shape), out) | {"track": track},
            out / RUNS / f"{family}-{shape}",
        )
        for family in families
        for shape in SHAPES
    ]
    beside.make("pre-training", runs)
    base = out / RUNS / BASE
    lines = [json.loads(line) for line in (base / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    checkpoint, tracked = base / "checkpoints" / "last", read_results(base / "results.jsonl")
    return Trained(checkpoint, lines[0]["loss"], lines[-1]["loss"], lines[-1]["step"], tracked)


def run_pruning(out: Path, beside: SideBySide) -> Sequence[BiasResult]:
    """Prune the base into ``out/pruned``: heads, rows and weights, by L1 and at random; d tracked before every cut."""
    _remove(out, PRUNED_IN)
    runs = []
    for method, schedule in PRUNING.items():
        for criterion, seed in CUTS:
            said = {
                **_from_base(PRUNED, out),
                "run": {**PRUNED["run"], "seed": seed},
                "prune": {"method": method, "criterion": criterion, **schedule},
                "track": {"stimuli": _stimuli(out), "per_layer": False, **QUICK},
            }
            runs.append(Run("prune", said, out / PRUNED_IN / f"{method}-{criterion}-{seed}"))
    beside.make("pruning", runs)
    return [result for path in _tracked(out, PRUNED_IN) for result in read_results(path)]


def run_distilling(out: Path, beside: SideBySide, *, workers: int = 1, progress: bool = False) -> Sequence[BiasResult]:
    """Distil the base into students of two layers and of one, which are measured as their teacher was."""
    _remove(out, DISTILLED_IN)
    folder = out / DISTILLED_IN
    runs = [
        Run("distill", _from_base(DISTILLED, out) | {"distill": {"layers": layers}}, folder / f"student-{layers}")
        for layers in STUDENTS
    ]
    beside.make("distillation", runs)
    students = [str(run.folder / "checkpoints" / "last") for run in runs]
    return list(_survey(students, out, folder / "results.jsonl", workers=workers, progress=progress).measure())


def run_probing(out: Path, *, workers: int = 1, progress: bool = False) -> Sequence[Mapping[str, Any]]:
    """Probe mel, the base, each of its smallest prunings by L1, and its smallest student, into ``out/probed``."""
    _remove(out, PROBED_IN)
    made = [out / RUNS / BASE, *(out / PRUNED_IN / f"{method}-l1-0" for method in PRUNING)]
    made += [out / DISTILLED_IN / f"student-{min(STUDENTS)}"]
    models = ["mel", *(str(each / "checkpoints" / "last") for each in made)]
    recipe = probe_recipe({**PROBED, "model": {"models": models}}, "the demo's recipe")
    return probe(recipe, out / PROBED_IN, workers=workers, progress=progress).records


def write_page(out: Path) -> Path:
    """The page of everything that is there."""
    results, rates = out / "results.jsonl", out / PROBED_IN / "results.jsonl"
    files = [results, *_tracked(out, RUNS), *_tracked(out, PRUNED_IN), out / DISTILLED_IN / "results.jsonl"]
    measured = {path: read_results(path) for path in files if path.exists()}
    every = [result for found in measured.values() for result in found]
    places = {result.identity: path.parent for path, found in measured.items() for result in found}
    differences = compare_students(student_pairs(every), places)
    others = [record for record in read_records(results) if record["kind"] != "bias"]
    others += read_records(rates) if rates.exists() else []
    others += [explain(result, out) for result in measured[results] if result.layer == "mean"]
    others += _controls(measured, out)
    return write_report(every, out / "report", title=TITLE, differences=differences, others=others).page


def _survey(models: Sequence[str], out: Path, results: Path, *, workers: int, progress: bool) -> Survey:
    """Of both tests, in every state."""
    return Survey(
        models=models,
        tests=[read_stimuli(path) for path in _stimuli(out)],
        out=results,
        per_layer=True,
        workers=workers,
        cache=out / "cache",
        progress=progress,
    )


def _on_voices(said: Mapping[str, Any], out: Path) -> dict[str, Any]:
    return {**said, "data": {**DATA, "train": str(out / "stimuli" / "clips")}}


def _from_base(said: Mapping[str, Any], out: Path) -> dict[str, Any]:
    base = str(out / RUNS / BASE / "checkpoints" / "last")
    return {"model": {"checkpoint": base}, **_on_voices(said, out)}


def _stimuli(out: Path) -> list[str]:
    return [str((out / "stimuli" / f"{name}.csv").absolute()) for name in sorted(TESTS, reverse=True)]


def _tracked(out: Path, folder: str) -> list[Path]:
    return sorted((out / folder).glob("*/results.jsonl"))


def _remove(out: Path, *made: str) -> None:
    """What an earlier demo made."""
    for folder in made:
        if (out / folder).exists():
            shutil.rmtree(out / folder)


def _controls(measured: Mapping[Path, Sequence[BiasResult]], out: Path) -> list[dict[str, Any]]:
    """The controls of what the page shows: kept, since pages are written several times, and most of it stays."""
    file = out / CONTROLS
    held = read_records(file) if file.exists() else []
    shown = tabulated([result for found in measured.values() for result in found])
    places = {result.identity: path.parent for path, found in measured.items() for result in found}
    made = gather_controls(shown, places, held) + _twins(measured, {str(each["of"]) for each in held})
    append_records(file, [record for record in made if record["passed"] is not None])
    return [*held, *made]


def _twins(measured: Mapping[Path, Sequence[BiasResult]], held: Collection[str]) -> list[dict[str, Any]]:
    """The last step of the pre-trained model beside its step 0, which is its untrained twin."""
    made = []
    for path, found in measured.items():
        if path.parent.parent.name != RUNS:
            continue
        means = [result for result in found if result.layer == "mean"]
        for test in sorted(TESTS):
            steps = {result.step or 0: result for result in means if result.test == test}
            last = steps[max(steps)]
            if last.measurement not in held:
                twin = {"name": steps[0].called, "sha256": steps[0].model_sha256}
                made.append(describe(last, "twin") | compare_with(last, steps[0], path.parent) | twin)
    return made


def _refuse_others(out: Path) -> None:
    """InputError for folders that are called as the demo's and are not: they would be removed.

    An earlier demo left its voices beside them, and in them nothing by another name.
    """
    folders = [name for name in (RUNS, PRUNED_IN, DISTILLED_IN, PROBED_IN) if (out / name).exists()]
    if (out / "stimuli" / "planted.csv").exists():
        folders = [name for name in folders if name in OURS and not OURS[name] >= _folders(out / name)]
    if folders:
        raise InputError(f"{out / folders[0]} holds other runs than the demo's. Choose another folder with -o.")


def _folders(folder: Path) -> set[str]:
    """Those in it that somebody may have made: what lies beside results is called after them."""
    return {each.name for each in folder.glob("*/") if not each.name.startswith("results.jsonl")}


def _remove_own(results: Path) -> None:
    """Remove an earlier demo's results: a report of this seed alone. InputError where they are somebody else's."""
    _refuse_others(results.parent)
    if results.exists():
        if not {result.test for result in read_results(results)} <= TESTS:
            raise InputError(f"{results} holds other results than the demo's. Choose another folder with -o.")
        results.unlink()
    (results.parent / CONTROLS).unlink(missing_ok=True)
    _remove(results.parent, RUNS, PRUNED_IN, DISTILLED_IN, PROBED_IN)
