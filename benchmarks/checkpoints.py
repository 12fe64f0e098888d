"""Many checkpoints of one run: what a survey spends on each beside extracting embeddings, and what shared fronts save.

Five wav2vec 2.0 of the base shape, with a front end each or one for all, three tests over the same minute of audio,
one worker. Everything but extraction (loading, hashing and packing of weights, looking for shared front ends, checking
audio, statistics, writing) is set against the extraction of ``WHOLE`` seconds, what the paper's tests have.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import soundfile
import torch

from speechbias import survey
from speechbias.checkpoint import read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.stimuli import StimulusSet, read_stimuli

CHECKPOINTS, TESTS = 5, 3
CLIPS, SECONDS = 20, 0.75  # clips per set, and their length
WHOLE = 9_000  # s of audio in all tests of the paper
AIM = 0.01


@dataclass
class Timed:
    """A function, and how long each of its calls took."""

    function: Callable[..., object]
    seconds: list[float]

    def __call__(self, *arguments: object, **options: object) -> object:
        """Call and time it."""
        started = time.perf_counter()
        try:
            return self.function(*arguments, **options)
        finally:
            self.seconds.append(time.perf_counter() - started)


def main() -> None:
    """Print seconds per checkpoint, and the share of what is not extraction."""
    with TemporaryDirectory() as folder:
        tests = write_tests(Path(folder))
        audio = 4 * CLIPS * SECONDS
        print(f"  {CHECKPOINTS} checkpoints of base shape, {TESTS} tests, {audio:.0f} s of audio, per checkpoint")
        for kind in ("a front end each", "one front end for all"):
            models = write_models(Path(folder) / kind, shared=kind == "one front end for all")
            total, load, extract = measure(models, tests, Path(folder) / kind)
            rest = total / CHECKPOINTS - sum(extract) / CHECKPOINTS
            share = rest / (median(extract) * WHOLE / audio)
            print(
                f"  {kind:22} load, hash, pack {median(load):.2f} s; tests and all the rest "
                f"{rest - median(load):.2f} s; extraction {extract[0]:.2f} s, then {median(extract[1:]):.2f} s\n"
                f"  {'':22} beside {WHOLE:,} s of audio: {100 * share:.2f} % of extraction (aim: {100 * AIM:g} %)"
            )


def measure(models: list[str], tests: list[StimulusSet], folder: Path) -> tuple[float, list[float], list[float]]:
    """Seconds of a whole survey, and of each model's loading and extraction in it."""
    load, extract = Timed(survey.load_encoder, []), Timed(survey.pool, [])
    plan = survey.Survey(models, tests, folder / "r.jsonl", per_layer=True, cache=folder / "cache")
    with patch.object(survey, "load_encoder", load), patch.object(survey, "pool", extract):
        started = time.perf_counter()
        list(plan.measure())
        return time.perf_counter() - started, load.seconds, extract.seconds


def write_models(folder: Path, *, shared: bool) -> list[str]:
    """Checkpoints whose weights lie a little apart, those of the front end only where none is shared."""
    origin, generator = read_checkpoint("random:wav2vec2-base"), torch.Generator().manual_seed(0)
    made = []
    for step in range(CHECKPOINTS):
        tensors = {
            name: tensor
            if shared and name.startswith("frontend.")
            else tensor * (1 + 0.01 * torch.randn(tensor.shape, generator=generator))
            for name, tensor in origin.tensors.items()
        }
        path = save_checkpoint(folder / f"step-{step}", Checkpoint(str(step), origin.config, tensors))
        made.append(str(path))
    return made


def write_tests(folder: Path) -> list[StimulusSet]:
    """Noise, and stimulus files that name it in several orders."""
    rng = np.random.default_rng(0)
    for number in range(4 * CLIPS):
        wave = rng.normal(scale=0.1, size=int(16_000 * SECONDS)) * np.linspace(
            0.2, 1 + number % 5, int(16_000 * SECONDS)
        )
        soundfile.write(folder / f"{number}.flac", np.clip(0.2 * wave, -1, 1), 16_000)
    sets = np.repeat(list("XYAB"), CLIPS)
    tests = []
    for test in range(TESTS):
        rows = [
            f"{clip}.flac,{name},{name},t{clip}" for clip, name in zip(rng.permutation(len(sets)), sets, strict=True)
        ]
        path = folder / f"test{test}.csv"
        path.write_text("\n".join(["path,set,group,speaker", *rows]) + "\n")
        tests.append(read_stimuli(path))
    return tests


if __name__ == "__main__":
    main()
