"""The demo: synthetic voices with a planted association and a null control, measured offline, report and page.

Then a small MelHuBERT is pre-trained on the same voices, and measured before and after.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbias.errors import InputError
from speechbias.report import write_report
from speechbias.results import BiasResult, check_writable, read_results
from speechbias.stimuli import read_stimuli
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
    written = write_report(measured, out / "report", title=TITLE)
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
    stimuli = [str(out / "stimuli" / f"{name}.csv") for name in sorted(TESTS, reverse=True)]
    said = {
        **TINY,
        "data": {**TINY["data"], "train": str(out / "stimuli" / "clips")},
        "track": {"stimuli": stimuli},
    }
    ended = pretrain(resolved(said, "the demo's recipe"), folder, progress=progress)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    tracked = read_results(folder / "results.jsonl")
    write_report([*read_results(out / "results.jsonl"), *tracked], out / "report", title=TITLE)
    return Trained(ended.checkpoint, lines[0]["loss"], lines[-1]["loss"], ended.update, tracked)


def _remove_own(results: Path) -> None:
    """Remove an earlier demo's results: a report of this seed alone. InputError where they are somebody else's."""
    if results.exists():
        if not {result.test for result in read_results(results)} <= TESTS:
            raise InputError(f"{results} holds other results than the demo's. Choose another folder with -o.")
        results.unlink()
