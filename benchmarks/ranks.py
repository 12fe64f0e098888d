"""Two processes that share updates against one that makes them alone: seconds of audio per second, on a CPU.

Both train the same run (updates of two batches of 16 s, of noise) in fresh processes of one thread each, in turns.
``audio_seconds_per_second`` of the log counts, without its first line, which warms up. The two want a core each.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from speechbias.training.log import SPEED

ROUNDS = 3
CLIPS, SECONDS = 16, 8
RECIPE = """
[model]
family = "wav2vec2"
layers = 4
dim = 256
ffn = 1024
heads = 4
channels = 128

[data]
train = "clips"
seconds = 16.0

[optim]
accumulate = {accumulate}

[run]
steps = 9
log = 3
keep = []
keep_every = 0
"""
WAYS = (1, 2)  # processes


def main() -> None:
    """Print the speed of every way, and how it compares with one process of one thread."""
    with TemporaryDirectory() as folder:
        write_clips(Path(folder) / "clips")
        rounds = [{way: speed(Path(folder), number, way) for way in WAYS} for number in range(ROUNDS)]
    for way in WAYS:
        speeds = [taken[way] for taken in rounds]
        ratio = median(taken[way] / taken[WAYS[0]] for taken in rounds)
        name = f"{way} process{'es' * (way > 1)}"
        print(
            f"  {name:12} {median(speeds):5.1f} ({min(speeds):.1f} to {max(speeds):.1f}) audio s per s  {ratio:.2f} x"
        )


def write_clips(folder: Path) -> None:
    folder.mkdir()
    draws = np.random.default_rng(0)
    for number in range(CLIPS):
        soundfile.write(folder / f"{number}.wav", 0.1 * draws.standard_normal(SECONDS * 16_000), 16_000)


def speed(folder: Path, number: int, processes: int) -> float:
    """Median of the log's lines, but for the first."""
    recipe, run = folder / f"{processes}.toml", folder / f"run-{number}-{processes}"
    recipe.write_text(RECIPE.format(accumulate=2 // processes))
    command = [sys.executable, "-m", "speechbias", "pretrain", str(recipe), "--out", str(run)]
    port = free_port()
    started = [
        subprocess.Popen(
            command, env=environment(rank, processes, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for rank in range(processes)
    ]
    if sum(process.wait() != 0 for process in started):
        sys.exit(f"benchmarks.ranks: {processes} processes did not end well")
    lines = (run / "log.jsonl").read_text().splitlines()
    return median(json.loads(line)[SPEED] for line in lines[1:])


def environment(rank: int, size: int, port: int) -> Mapping[str, str]:
    """What torchrun tells its processes."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    numbers = {name: str(value) for name, value in {**told, "OMP_NUM_THREADS": 1}.items()}
    return {**os.environ, **numbers, "MASTER_ADDR": "127.0.0.1"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
