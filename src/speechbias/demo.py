"""The demo: synthetic voices with a planted association and a null control, measured offline, report and page.

Then a small MelHuBERT is pre-trained on the same voices, measured on the way, pruned in the paper's three ways, and
distilled; probes say which phones are still heard in it.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbias.audits import audit_survey
from speechbias.compress.distill import distill
from speechbias.compress.prune import prune
from speechbias.compress.start import distill_recipe, prune_recipe
from speechbias.controls import gather_controls
from speechbias.controls.planted import describe
from speechbias.controls.twin import compare_with
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
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import resolved

FEATURES = ("stft", "spectrogram", "mel", "mfcc")
UNTRAINED = ("random:wav2vec2-small", "random:melhubert-small")  # what training starts from
TESTS = {"planted", "null"}
TINY: Mapping[str, Any] = {  # recipes/tiny/pretrain-melhubert.toml
    "model": {"family": "melhubert", "layers": 2, "dim": 64, "ffn": 128, "heads": 4},
    "data": {"seconds": 16.0, "crop": 1.6, "min_seconds": 1.0},
    "units": {"clusters": 32, "share": 1.0},
    "optim": {"lr": 1e-3, "warmup": 10, "schedule": "linear"},
    "run": {"steps": 60, "log": 10, "save": 20, "keep": [0, 10, 20, 40]},
}
PRUNING: Mapping[str, Mapping[str, Any]] = {  # recipes/tiny/prune-*.toml
    "heads": {"stages": [[10, 2]]},
    "rows": {"amount": 32, "stages": [[10, 32]]},
    "weights": {"schedule": "listed", "at": [10, 20, 30, 40], "targets": [0.2, 0.4, 0.6, 0.8]},
}
PRUNED: Mapping[str, Any] = {  # what they share
    "data": TINY["data"],
    "optim": {"lr": 1e-3},
    "run": {"log": 10, "save": 20},
}
AT_RANDOM = (1, 2)  # seeds of the control
DISTILLED: Mapping[str, Any] = {  # recipes/tiny/distill.toml
    "data": TINY["data"],
    "optim": {"lr": 1e-3},
    "run": {"steps": 60, "log": 10, "save": 20, "keep": [0, 20, 40]},
}
STUDENTS = (2, 1)  # layers; the teacher has two
PROBED: Mapping[str, Any] = {  # recipes/tiny/probe.toml
    "probe": {"train": ["synthetic"], "seconds": 16.0, "resamples": 1000},
    "optim": {"rates": [1e-2, 1e-3], "accumulate": 1},
    "run": {"steps": 200, "evaluate": 50},
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
    found there is chance.
    """
    results = out / "results.jsonl"
    check_writable(results)
    _remove_own(results)
    tests = [read_stimuli(path) for path in write_stimuli_sets(out / "stimuli", seed=seed)]
    survey = Survey(
        models=[*FEATURES, *UNTRAINED],
        tests=tests,
        out=results,
        per_layer=True,
        workers=workers,
        cache=out / "cache",
        progress=progress,
    )
    measured = list(survey.measure())
    others = [*audit_survey(survey), *_controls({results: measured}, out)]
    written = write_report(measured, out / "report", title=TITLE, others=others)
    return Demo(measured, written.page)


@dataclass(frozen=True)
class Trained:
    """A model that the demo pre-trained: the loss at the start and at the end, and d on the way."""

    checkpoint: Path
    first_loss: float
    last_loss: float
    updates: int
    results: Sequence[BiasResult]


def run_training(out: Path, *, progress: bool = False) -> Trained:
    """Pre-train a tiny MelHuBERT on the demo's voices into ``out/pretrained``, d tracked wherever a checkpoint stays.

    The report of ``out`` is written anew with the curve.
    """
    folder = out / "pretrained"
    if (folder / "recipe.toml").exists():  # an earlier demo's
        shutil.rmtree(folder)
    for made in ("pruned", "distilled", "probed"):  # of a model that goes
        if (out / made).exists():
            shutil.rmtree(out / made)
    said = {
        **TINY,
        "data": {**TINY["data"], "train": str(out / "stimuli" / "clips")},
        "track": {"stimuli": _stimuli(out)},
    }
    ended = pretrain(resolved(said, "the demo's recipe"), folder, progress=progress)
    _report(out)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    tracked = read_results(folder / "results.jsonl")
    return Trained(ended.checkpoint, lines[0]["loss"], lines[-1]["loss"], ended.update, tracked)


def run_pruning(out: Path, *, progress: bool = False) -> Sequence[BiasResult]:
    """Prune the model of ``run_training`` into ``out/pruned``: heads, rows and weights, by L1 and at random.

    d is tracked before every cut; the report of ``out`` is written anew with the curves of Figure 2.
    """
    folder = out / "pruned"
    if folder.exists():  # an earlier demo's
        shutil.rmtree(folder)
    for method, schedule in PRUNING.items():
        for criterion, seed in (("l1", 0), *(("random", seed) for seed in AT_RANDOM)):
            place = folder / f"{method}-{criterion}-{seed}"
            said = {
                "model": {"checkpoint": str(out / "pretrained" / "checkpoints" / "last")},
                **PRUNED,
                "data": {**PRUNED["data"], "train": str(out / "stimuli" / "clips")},
                "run": {**PRUNED["run"], "seed": seed},
                "prune": {"method": method, "criterion": criterion, **schedule},
                "track": {"stimuli": _stimuli(out), "per_layer": False, **QUICK},
            }
            prune(prune_recipe(said, place, "the demo's recipe"), place, progress=progress)
    _report(out)
    return [result for path in _pruned(out) for result in read_results(path)]


def run_distilling(out: Path, *, workers: int = 1, progress: bool = False) -> Sequence[BiasResult]:
    """Distil the model of ``run_training`` into students of two layers and of one below ``out/distilled``.

    They are measured as their teacher was; the report of ``out`` is written anew with Figure 3.
    """
    folder = out / "distilled"
    if folder.exists():  # an earlier demo's
        shutil.rmtree(folder)
    students = []
    for layers in STUDENTS:
        place = folder / f"student-{layers}"
        said = {
            "model": {"checkpoint": str(out / "pretrained" / "checkpoints" / "last")},
            **DISTILLED,
            "data": {**DISTILLED["data"], "train": str(out / "stimuli" / "clips")},
            "distill": {"layers": layers},
        }
        ended = distill(distill_recipe(said, place, "the demo's recipe"), place, progress=progress)
        students.append(str(ended.checkpoint))
    survey = Survey(
        models=students,
        tests=[read_stimuli(path) for path in _stimuli(out)],
        out=folder / "results.jsonl",
        per_layer=True,
        workers=workers,
        cache=out / "cache",
        progress=progress,
    )
    measured = list(survey.measure())
    _report(out)
    return measured


def run_probing(out: Path, *, workers: int = 1, progress: bool = False) -> Sequence[Mapping[str, Any]]:
    """Probe mel, the model of ``run_training``, each of its smallest prunings by L1, and its smallest student.

    Into ``out/probed``; the report of ``out`` is written anew with their phone error rates and the trade-off.
    """
    folder = out / "probed"
    if folder.exists():  # an earlier demo's
        shutil.rmtree(folder)
    made = [out / "pretrained", *(out / "pruned" / f"{method}-l1-0" for method in PRUNING)]
    made += [out / "distilled" / f"student-{min(STUDENTS)}"]
    models = ["mel", *(str(each / "checkpoints" / "last") for each in made)]
    recipe = probe_recipe({**PROBED, "model": {"models": models}}, "the demo's recipe")
    records = probe(recipe, folder, workers=workers, progress=progress).records
    _report(out)
    return records


QUICK = {"permutations": 20_000, "resamples": 2_000}  # so many runs


def _stimuli(out: Path) -> list[str]:
    return [str((out / "stimuli" / f"{name}.csv").absolute()) for name in sorted(TESTS, reverse=True)]


def _pruned(out: Path) -> list[Path]:
    return sorted((out / "pruned").glob("*/results.jsonl"))


def _report(out: Path) -> None:
    """The page of everything that is there."""
    files = [out / "results.jsonl", out / "pretrained" / "results.jsonl", *_pruned(out)]
    students, rates = out / "distilled" / "results.jsonl", out / "probed" / "results.jsonl"
    measured = {path: read_results(path) for path in [*files, *([students] if students.exists() else [])]}
    results = [result for found in measured.values() for result in found]
    places = {result.identity: path.parent for path, found in measured.items() for result in found}
    differences = compare_students(student_pairs(results), places)
    others = [record for record in read_records(files[0]) if record["kind"] != "bias"]
    others += read_records(rates) if rates.exists() else []
    others += [explain(result, out) for result in measured[files[0]] if result.layer == "mean"]
    others += _controls(measured, out)
    write_report(results, out / "report", title=TITLE, differences=differences, others=others)


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
        if path.parent.name != "pretrained":
            continue
        means = [result for result in found if result.layer == "mean"]
        for test in sorted(TESTS):
            steps = {result.step or 0: result for result in means if result.test == test}
            last = steps[max(steps)]
            if last.measurement not in held:
                twin = {"name": steps[0].called, "sha256": steps[0].model_sha256}
                made.append(describe(last, "twin") | compare_with(last, steps[0], path.parent) | twin)
    return made


def _remove_own(results: Path) -> None:
    """Remove an earlier demo's results: a report of this seed alone. InputError where they are somebody else's."""
    if results.exists():
        if not {result.test for result in read_results(results)} <= TESTS:
            raise InputError(f"{results} holds other results than the demo's. Choose another folder with -o.")
        results.unlink()
    (results.parent / CONTROLS).unlink(missing_ok=True)
