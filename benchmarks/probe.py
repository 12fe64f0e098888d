"""Probing on one core: an epoch from cached states against one that computes them, and the memory of the latter.

An epoch is all of it: states of every batch, weighted sum, two layers, CTC, gradients and Adam, for one learning rate
and for a sweep of five. The model is an untrained wav2vec 2.0 of base shape on clips of 15 s; wall-clock seconds in
interleaved rounds, ratios are medians over rounds. The peak is that of the process while it recomputes batches of the
size of the paper's preset, above what it held before.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from speechbias.checkpoint import load_encoder
from speechbias.embeddings import single_threaded
from speechbias.probe.phones import PhoneSet
from speechbias.probe.recipe import ProbeRecipe, probe_recipe
from speechbias.probe.states import States, open_states
from speechbias.probe.sweep import Bench, Rate
from speechbias.probe.utterances import Utterance
from speechbias.training.allocator import keep_freed_memory

MODEL = "random:wav2vec2-base"
ROUNDS, CLIPS, SECONDS, BATCH = 3, 6, 15.0, 2
PHONES_PER_SECOND = 11
AIM, MEMORY = 20.0, 4.0  # times as fast; GB


def main(model: str = MODEL, *, rounds: int = ROUNDS, clips: int = CLIPS, seconds: float = SECONDS) -> None:
    keep_freed_memory()
    encoder = load_encoder(model)
    with tempfile.TemporaryDirectory() as folder, single_threaded():
        spoken = utterances(Path(folder), clips, seconds)
        for dtype in ("float32", "float16"):
            cached = open_states(encoder, spoken, Path(folder) / dtype, cache=True, dtype=dtype)
            again = open_states(encoder, spoken, Path(folder) / "frames", cache=False)
            for rates in ([1e-3], [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]):
                name = f"{model}, {dtype}, {len(rates)} rates"
                report(name, timed(recipe(rates), spoken, {"cached": cached, "recomputed": again}, rounds))
        before = peak()
        again.batch(range(min(clips, 200 // int(seconds) + 1)))
        print(f"  a batch recomputed: peak {peak() - before:.2f} GB above {before:.2f} GB (aim below {MEMORY:g} GB)")


def timed(
    plan: ProbeRecipe, spoken: Sequence[Utterance], ways: Mapping[str, States], rounds: int
) -> dict[str, list[float]]:
    """Seconds of one epoch each way by round, rounds interleaved."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, states in ways.items():
            shape = states.batch([0]).shape
            bench = Bench(plan, spoken, states, range(len(spoken)), [], [], (shape[0], shape[2]))
            rates = [Rate(lr, bench) for lr in plan.optim.rates]
            started = time.perf_counter()
            epoch(bench, rates)
            times[way].append(time.perf_counter() - started)
    return times


def report(name: str, times: Mapping[str, list[float]]) -> None:
    """Medians, and the ratio by round."""
    ratio = median(slow / fast for slow, fast in zip(times["recomputed"], times["cached"], strict=True))
    each = ", ".join(f"{way} {median(seconds):.3f} s" for way, seconds in times.items())
    print(f"  {name}: an epoch {each}; {ratio:.1f} times (aim {AIM:g})")


def epoch(bench: Bench, rates: Sequence[Rate]) -> None:
    """Every utterance once, an update per batch."""
    for start in range(0, len(bench.train), BATCH):
        rows = list(bench.train[start : start + BATCH])
        states, frames = bench.read(rows)
        for rate in rates:
            rate.learn(states, frames, bench.targets(rows))
            rate.step()


def utterances(folder: Path, clips: int, seconds: float) -> list[Utterance]:
    """Noise, said to be as many phones as speech has."""
    rng = np.random.default_rng(0)
    phones = PhoneSet(39).phones
    made = []
    for number in range(clips):
        path = folder / f"{number}.flac"
        soundfile.write(path, rng.normal(scale=0.1, size=int(16_000 * seconds)), 16_000)
        said = tuple(map(str, rng.choice(phones, int(PHONES_PER_SECOND * seconds))))
        made.append(Utterance(path.name, path, int(16_000 * seconds), f"{number}", said, f"{number}", ""))
    return made


def recipe(rates: list[float]) -> ProbeRecipe:
    """The paper's probe with these rates."""
    section = {"train": ["-"], "test": ["-"]}
    said = {"model": {"models": [MODEL]}, "probe": section, "optim": {"rates": rates, "accumulate": 1}}
    return probe_recipe(said, "benchmark")


def peak() -> float:
    """Peak memory of this process so far, GB (Linux' VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


if __name__ == "__main__":
    main(*sys.argv[1:2])
