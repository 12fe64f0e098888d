"""The demo: synthetic voices with a planted association and a null control, measured offline, report and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbias.errors import InputError
from speechbias.report import write_report
from speechbias.results import BiasResult, check_writable, read_results
from speechbias.stimuli import read_stimuli
from speechbias.survey import Survey
from speechbias.synthetic import write_stimuli_sets

FEATURES = ("stft", "spectrogram", "mel", "mfcc")
UNTRAINED = ("random:wav2vec2-small", "random:melhubert-small")  # what training starts from
TESTS = {"planted", "null"}


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
    written = write_report(
        measured, out / "report", title="Synthetic voices: a planted association and a null control"
    )
    return Demo(measured, written.page)


def _remove_own(results: Path) -> None:
    """Remove an earlier demo's results: a report of this seed alone. InputError where they are somebody else's."""
    if results.exists():
        if not {result.test for result in read_results(results)} <= TESTS:
            raise InputError(f"{results} holds other results than the demo's. Choose another folder with -o.")
        results.unlink()
