"""The statistics on one core: 13 states of dim 768, 60 stimuli in each set, against the usual loop.

CPU seconds and wall seconds are medians of ``ROUNDS`` calls after one that compiles. The usual loop shuffles once per
permutation and state with numpy, s being computed once (as SpEAT's ``weat/test.py`` does); it is timed on few
permutations in the same rounds and scaled up. Peak memory is the highest resident size
(VmHWM) of a fresh process over its size (VmRSS) just before the call.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from speechbias.inference import associate
from speechbias.inference.association import all_cosines
from speechbias.inference.attributes import attribute_test
from speechbias.inference.designs import relabel, relabel_attributes
from speechbias.inference.intervals import Strata, attribute_interval, target_interval
from speechbias.inference.permutation import permutation_test

ROUNDS = 5
STATES, N, DIM, TALKERS = 13, 60, 768, 12
MILLION = 1_000_000
LOOPED = 2000  # permutations of the usual loop that are timed
TARGETS = {"permutations": 1.0, "resamples": 1.0, "memory": 500.0, "ratio": 100.0}  # s, s, MB, x


def main() -> None:
    """Print the times of each part, of whole calls, the ratio to the usual loop, and the memory."""
    with threadpool_limits(1):
        sets = embeddings()
        cosines = all_cosines(sets)
        s = scores(cosines)
        times = measure(parts(sets, cosines, s))
    print(f"{STATES} states, dim {DIM}, {N} stimuli a set, {ROUNDS} rounds: median CPU s (wall s)")
    for name, seconds in times.items():
        print(f"  {name:62} {median(cpu for cpu, _ in seconds):8.3f} ({median(wall for _, wall in seconds):.3f})")
    loop, fast = (times[name] for name in (LOOP, PERMUTATIONS))
    ratio = median(a / b for (a, _), (b, _) in zip(loop, fast, strict=True)) * MILLION / LOOPED
    whole = median(cpu for cpu, _ in loop) * MILLION / LOOPED
    print(f"  usual loop, scaled to 1e6 permutations {whole:.0f} s: {ratio:.0f} times p_value and max-T")
    before, peak = memory_of_one_call()
    print(f"  memory of associate() with 1e6 relabellings: {peak - before:.0f} MB over the {before:.0f} MB before it")
    print(
        "  targets: 1e6 permutations <= {permutations} s, 1e4 resamples <= {resamples} s, ".format(**TARGETS), end=""
    )
    print("< {memory:.0f} MB, >= {ratio:.0f} x the usual loop".format(**TARGETS))


PERMUTATIONS = "p_value and max-T, 1e6 relabellings"
LOOP = f"usual loop (s once, a shuffle per permutation), {LOOPED}"


def parts(sets: dict[str, np.ndarray], cosines: np.ndarray, s: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    talkers = talkers_of()
    blank = [""] * N
    clips = Strata.of(*([f"{side}{i}" for i in range(N)] for side in "xy"))
    bootstrap = {"n_x": N, "ddof": 1, "resamples": 10_000, "confidence": 0.95}
    relabelling = {"n_x": N, "alternative": "two-sided", "permutations": MILLION}
    return {
        PERMUTATIONS: lambda: permutation_test(
            s, relabel("independent", (blank, blank)), rng=rng(), family=range(STATES), saddlepoint=True, **relabelling
        ),
        "p_attribute, 1e6 relabellings": lambda: attribute_test(
            cosines, relabel_attributes((talkers, talkers)), n_a=N, rng=rng(), **relabelling
        ),
        "interval, 1e4 resamples": lambda: target_interval(s, clips, rng=rng(), **bootstrap),
        "interval over attribute talkers too, 1e4 resamples": lambda: attribute_interval(
            cosines, clips, Strata.of(talkers, talkers), n_a=N, rng=rng(), **bootstrap
        ),
        "associate(), defaults (1e5 relabellings, 1e4 resamples)": lambda: whole_call(sets),
        "associate(), 1e6 relabellings": lambda: whole_call(sets, permutations=MILLION),
        LOOP: lambda: usual_loop(s, LOOPED),
    }


def measure(ways: dict[str, Callable[[], object]]) -> dict[str, list[tuple[float, float]]]:
    """(CPU, wall) seconds of every call, interleaved; the first call of each is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for _ in range(ROUNDS):
        for name, call in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return times


def usual_loop(s: np.ndarray, permutations: int) -> np.ndarray:
    """One-sided p of every state, one numpy shuffle per permutation and state."""
    generator = rng()
    p = np.empty(s.shape[1])
    for state, scores_of_state in enumerate(s.T):
        values, order = scores_of_state.copy(), np.arange(len(s))
        observed, hits = values[:N].sum(), 0
        for _ in range(permutations):
            generator.shuffle(order)
            hits += values[order[:N]].sum() >= observed
        p[state] = (1 + hits) / (1 + permutations)
    return p


def whole_call(sets: dict[str, np.ndarray], permutations: int = 100_000) -> object:
    talkers = talkers_of()
    speakers = {"A": talkers, "B": talkers}
    return associate(*sets.values(), permutations=permutations, speakers=speakers, simultaneous=range(STATES))


def memory_of_one_call() -> tuple[float, float]:
    """MB of a fresh process before one call with 1e6 relabellings, and at its peak (Linux)."""
    code = "from benchmarks.statistics import print_memory; print_memory()"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    before, peak = map(float, done.stdout.split())
    return before, peak


def print_memory() -> None:
    sets = embeddings()
    before = _megabytes("VmRSS")
    with threadpool_limits(1):
        whole_call(sets, permutations=MILLION)
    print(before, _megabytes("VmHWM"))


def _megabytes(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def embeddings() -> dict[str, np.ndarray]:
    """Sets (stimuli, states, dim) with a common mean, a falling spectrum, and some association."""
    generator = rng()
    spectrum = 1 / np.sqrt(np.arange(1, DIM + 1))
    mean, shift = generator.normal(size=(2, STATES, DIM)) * spectrum
    sets = {name: generator.normal(size=(N, STATES, DIM)) * spectrum + mean for name in "XYAB"}
    sets["X"] += 0.3 * shift
    sets["A"] += 0.3 * shift
    return sets


def scores(cosines: np.ndarray) -> np.ndarray:
    return cosines[:, :, :N].mean(axis=2).T - cosines[:, :, N:].mean(axis=2).T


def talkers_of() -> list[str]:
    return [f"t{i % TALKERS}" for i in range(N)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


if __name__ == "__main__":
    main()
