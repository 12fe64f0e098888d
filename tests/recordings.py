"""Recordings for tests: short tones of made-up speakers, whose pitch and timbre the test chooses."""

import csv

import numpy as np
import soundfile

RATE = 16_000


def tone(pitch, *, seconds=0.3, seed=0, tilt=1.0):
    """A harmonic tone in noise, float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(RATE * seconds)) / RATE
    harmonics = sum(np.sin(2 * np.pi * pitch * k * t) / k**tilt for k in range(1, 12))
    return (0.1 * harmonics + 0.005 * rng.normal(size=len(t))).astype(np.float32)


def write_test(folder, *, name="gender", clips=6, seed=0, suffix=".wav", **columns):
    """Write clips and a CSV of four sets; X is higher and brighter than Y, A than B. Returns the CSV's path."""
    rng = np.random.default_rng(seed)
    groups = {"X": "female", "Y": "male", "A": "positive", "B": "negative"}
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (set_, group) in enumerate(groups.items()):
        high = set_ in "XA"
        for clip in range(clips):
            pitch = rng.uniform(110, 150) * {"X": 1.15, "A": 1.4}.get(set_, 1)
            tilt = rng.uniform(0.7, 1.2) if set_ in "XY" else 1.0
            path = folder / "clips" / f"{name}-{set_}{clip}{suffix}"
            tilt += -0.1 if high else 0.1
            wave = tone(pitch, seconds=rng.uniform(0.2, 0.4), seed=100 * number + clip, tilt=tilt)
            soundfile.write(path, wave, RATE)
            talker = f"t{clip}" if set_ in "AB" else f"{set_}{clip}"
            row = {"path": f"clips/{path.name}", "set": set_, "group": group, "speaker": talker}
            rows.append(row | columns)
    return write_csv(folder / f"{name}.csv", rows)


def write_csv(path, rows):
    """Write rows (dicts) as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path):
    """The rows of a CSV as dicts."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
