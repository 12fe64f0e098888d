"""The data side at the size of LibriSpeech's 960 h: a manifest of 281,241 rows opened, an epoch's batches built.

In a process of its own: wall-clock seconds after imports, and the highest resident size (VmHWM), imports included.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from speechbias.training.manifest import Manifest, Strings, select_lengths
from speechbias.training.sampler import Sampler

ROWS, HOURS, ROUNDS = 281_241, 960, 3
AIM = {"seconds": 60.0, "memory": 2000.0}  # s, MB
RATE = 16_000


def main() -> None:
    """Print seconds of each part, the padding of the batches, and the memory of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.npz"
        generated().save(path)
        size = path.stat().st_size / 1e6
        runs = [json.loads(run(path)) for _ in range(ROUNDS)]
    print(f"{ROWS} rows, {HOURS} h, a manifest of {size:.0f} MB, {ROUNDS} processes (aim: {AIM['seconds']:g} s)")
    for name in ("load", "first epoch", "next epoch"):
        seconds = sorted(each[name] for each in runs)
        print(f"  {name:14} {seconds[len(seconds) // 2]:6.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})")
    last = runs[-1]
    print(f"  {last['batches']} batches of 87.5 s, {last['filled']:.1%} full, {last['padding']:.1%} padding")
    print(f"  highest resident size {max(each['memory'] for each in runs):.0f} MB (aim: {AIM['memory']:g} MB)")


def generated() -> Manifest:
    """LibriSpeech's names and a like distribution of lengths: most at 12 to 16 s."""
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(ROWS) < 0.7, rng.normal(14.3, 1.2, ROWS), rng.uniform(1.5, 14, ROWS))
    lengths = np.clip(lengths * HOURS * 3600 / lengths.sum(), 1.3, 24.5)
    speakers = [str(number % 2338 + 14) for number in range(ROWS)]
    keys = [f"train-clean-360/{s}/{n // 50:06}/{s}-{n // 50:06}-{n % 50:04}.flac" for n, s in enumerate(speakers)]
    folder, blank = np.zeros(ROWS, np.int32), Strings.of([""] * ROWS)
    samples = np.asarray(lengths * RATE, np.int64)
    return Manifest(Strings.of(keys), ("/LibriSpeech",), folder, samples, blank, Strings.of(speakers))


def run(path: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.sampling", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout


def timed(path: Path) -> dict[str, float]:
    """What one process finds."""
    started = time.perf_counter()
    manifest = Manifest.load(path)
    loaded = time.perf_counter()
    rows = select_lengths(manifest, min_seconds=2).rows
    sampler = Sampler(manifest.num_samples, seconds=87.5, crop_seconds=250_000 / RATE, rows=rows)
    batches = sampler.batches(0)
    first = time.perf_counter()
    sampler.batches(1)
    second = time.perf_counter()
    seconds = np.minimum(manifest.num_samples, 250_000) / RATE
    padded = sum(seconds[batch].max() * len(batch) for batch in batches)
    return {
        "load": loaded - started,
        "first epoch": first - loaded,
        "next epoch": second - first,
        "batches": len(batches),
        "padding": 1 - seconds[rows].sum() / padded,
        "filled": padded / (87.5 * len(batches)),
        "memory": int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(timed(Path(sys.argv[1]))))
    else:
        main()
