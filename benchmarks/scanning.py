"""How fast a corpus is scanned, decoding every file or believing headers, and how long a stored scan takes to load.

Throughput on one thread: FLAC of 16 kHz, 12 s each, in the file system's cache. Loading: a folder of 281,241 files
(empty: a stored scan looks at size and time only) whose scan is stored.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from speechbias.training.scan import scan
from speechbias.training.sources import open_corpus

CLIPS, SECONDS, ROUNDS, ROWS, RATE = 200, 12, 3, 281_241, 16_000


def main() -> None:
    """Print seconds of audio per second for both depths, and the seconds to open a stored scan."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(Path(folder) / f"{number}.flac", number) for number in range(CLIPS)]
        for depth in ("whole", "headers"):
            taken = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                scan(paths, depth=depth)
                taken.append(time.perf_counter() - started)
            print(f"{depth}: {CLIPS * SECONDS / sorted(taken)[ROUNDS // 2]:.0f} s of audio per second, one thread")
    with tempfile.TemporaryDirectory() as folder:
        cache = store(Path(folder))
        started = time.perf_counter()
        manifest = open_corpus(Path(folder) / "LibriSpeech", cache=cache)
        print(f"a stored scan of {len(manifest)} files: {time.perf_counter() - started:.1f} s (aim: 60 s)")


def write(path: Path, seed: int) -> Path:
    """A voice-like buzz in noise: about as many bytes per second as speech."""
    rng, t = np.random.default_rng(seed), np.arange(SECONDS * RATE) / RATE
    wave = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 12)) * (1 + np.sin(9 * t)) * 0.05
    soundfile.write(path, wave + 0.003 * rng.standard_normal(len(t)), RATE)
    return path


def store(folder: Path) -> Path:
    """LibriSpeech's folders and names, and the scan of them."""
    cache = folder / "scan.jsonl"
    with cache.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            place = folder / "LibriSpeech" / f"{number // 5000:03}" / f"{number // 50:06}"
            if number % 50 == 0:
                place.mkdir(parents=True)
            path = place / f"{number // 50:06}-{number % 50:04}.flac"
            path.touch()
            status = path.stat()
            line = [os.path.abspath(path), status.st_size, status.st_mtime_ns, 12 * RATE + number % 999, True]  # noqa: PTH100
            file.write(json.dumps(line) + "\n")
    return cache


if __name__ == "__main__":
    main()
