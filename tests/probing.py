"""Speech for tests of probes: every phone is a tone of its own, so that a linear layer can tell them apart."""

import json

import numpy as np
import soundfile

from recordings import write_csv

RATE = 16_000
TONES = {"AA": 400, "IY": 900, "S": 1700, "M": 2800, "T": 4200}
PER_PHONE = 0.12  # seconds
PARTS = ("train", "train", "dev", "test")


def say(phones, *, seed=0):
    """A wave in which each phone is a tone in a little noise."""
    draws = np.random.default_rng(seed)
    time = np.arange(int(RATE * PER_PHONE)) / RATE
    waves = [0.3 * np.sin(2 * np.pi * TONES[phone] * time) for phone in phones]
    return np.concatenate(waves) + 0.01 * draws.standard_normal(len(time) * len(waves))


def draw_phones(count, *, seed=0, least=3, most=6):
    """Sequences without the same phone twice in a row."""
    draws = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        said = [str(draws.choice(list(TONES)))]
        for _ in range(int(draws.integers(least, most + 1)) - 1):
            said.append(str(draws.choice([tone for tone in TONES if tone != said[-1]])))
        if said not in found:
            found.append(said)
    return found


def write_speech(folder, *, count=12, seed=0, speakers=4, **columns):
    """Clips and ``phones.csv`` with a row for each; returns the table's path."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, phones in enumerate(draw_phones(count, seed=seed)):
        path = folder / "clips" / f"say-{number:02d}.wav"
        soundfile.write(path, say(phones, seed=100 * seed + number), RATE, subtype="PCM_16")
        speaker = number % speakers
        row = {"path": f"clips/{path.name}", "phones": " ".join(phones), "speaker": f"s{speaker}"}
        row |= {
            "gender": "female" if speaker % 2 else "male",
            "part": PARTS[number // 3 % 4],
        }
        rows.append(row | {name: value[number % len(value)] for name, value in columns.items()})
    return write_csv(folder / "phones.csv", rows)


def write_recipe(path, table, *, models=("mel",), **changes):
    """A recipe of a second; ``changes`` are keys by section."""
    table = str(table)
    said = {
        "model": {"models": list(models)},
        "probe": {"train": table, "dev": table, "test": table, "utterances": 3, "hidden": 16, "resamples": 200}
        | {f"{part}_rows": f"part={part}" for part in ("train", "dev", "test")},
        "optim": {"rates": [1e-2, 1e-3], "accumulate": 1},
        "run": {"steps": 6, "evaluate": 2},
    }
    for section, keys in changes.items():
        said[section] = said[section] | keys
    lines = []
    for section, values in said.items():
        lines += [f"[{section}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    path.write_text("\n".join(lines) + "\n")
    return path
