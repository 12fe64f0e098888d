"""Small runs for tests: a corpus of noise with some structure, recipes of seconds, ways to end them early.

And what identifies a run's end.
"""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import soundfile

from speechbias.checkpoint.folder import read_folder
from speechbias.training.examples import Examples
from speechbias.training.log import SPEED

SHAPE = {"layers": 1, "dim": 16, "ffn": 16, "heads": 2}


def write_corpus(folder, *, clips=8, seed=0):
    """Clips of 0.4 to 0.9 s: tones that wander, so that k-means finds classes."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    for number in range(clips):
        samples = int(16_000 * draws.uniform(0.4, 0.9))
        pitch = np.interp(np.arange(samples), np.linspace(0, samples, 6), draws.uniform(100, 3000, 6))
        wave = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / 16_000) + 0.01 * draws.standard_normal(samples)
        soundfile.write(folder / f"clip-{number}.wav", wave, 16_000, subtype="PCM_16")
    return folder


def write_recipe(path, family, corpus, *, steps=6, **run):
    """A recipe that trains in a second."""
    said = {
        "model": {"family": family, **SHAPE, **({} if family == "melhubert" else {"channels": 8})},
        "data": {"train": str(corpus), "utterances": 3, "crop": 0.6, "min_seconds": 0.0},
        "optim": {"lr": 1e-3, "warmup": 2, "schedule": "linear", "accumulate": 2},
        "run": {"steps": steps, "log": 4, "save": 2, "keep": [0, 2], "keep_every": 0, **run},
    }
    if family != "wav2vec2":
        said["units"] = {"clusters": 4, "share": 1.0, "passes": 1}
    lines = []
    for section, values in said.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def digest(run, step):
    """SHA-256 of every tensor of a checkpoint, encoder and objective."""
    folder = run / "checkpoints" / f"step-{step:08d}"
    checkpoint = read_folder("x", folder)
    tensors = {**checkpoint.tensors, **checkpoint.objective_tensors}
    return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}


def log_of(run):
    """The lines of a log but for how fast it went."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != SPEED} for line in lines]


def steps_of(run):
    """Updates of the checkpoints that are there."""
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def assert_same(one, other, last):
    """Two runs of ``last`` updates ended alike."""
    assert digest(one, last) == digest(other, last)
    assert log_of(one) == log_of(other)
    assert steps_of(one) == steps_of(other)


def dying_at(patch, number=None):
    """Reading that batch raises ZeroDivisionError; another one where ``.at`` of what is returned is changed."""
    original = Examples.__getitem__

    def dying(self, number):
        if number == dying.at:
            raise ZeroDivisionError
        return original(self, number)

    dying.at = number
    patch.setattr(Examples, "__getitem__", dying)
    return dying


def run_and_kill(verb, recipe, *, whole, killed, kills):
    """A run to its end, and one killed so often at random moments after a save before it goes on to the end.

    Both by the command, so on as many threads. The recipe has a checkpoint after every update.
    """
    begun = [sys.executable, "-m", "speechbias", verb, str(recipe), "--out"]
    subprocess.run([*begun, str(whole)], capture_output=True, check=True)
    command, draws, done, last = [*begun, str(killed), "--resume"], random.Random(0), 0, newest(whole)
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = newest(killed)
        while process.poll() is None and newest(killed) <= before:
            time.sleep(0.01)  # until this process has saved once more
        time.sleep(draws.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        done += process.wait() == -signal.SIGKILL
        assert newest(killed) < last, "the run ended before it could be killed often enough"
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def newest(run):
    """The update of its newest checkpoint, -1 where there is none."""
    return steps_of(run)[-1] if any((run / "checkpoints").glob("step-*")) else -1
