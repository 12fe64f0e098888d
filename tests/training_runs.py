"""Small runs for tests: a corpus of noise with some structure, recipes of seconds, and what identifies a run's end."""

import hashlib
import json

import numpy as np
import soundfile

from speechbias.checkpoint.folder import read_folder
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
