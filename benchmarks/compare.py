"""Many curves judged together, on one core: 260 of them (13 states x 20 steps or models), 60 + 60 clips.

Relabelled 10,000 times with max-T over all, and by the naive way in numpy: one shuffle of the labels per relabelling,
and the means of every curve. Beside it the paired bootstrap-t of ``speechbias compare``, 20 models against one.
CPU seconds and wall seconds, medians of 5 calls after one that compiles.
"""

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.statistics import measure
from speechbias.inference.designs import relabel
from speechbias.inference.differences import differences
from speechbias.inference.intervals import Strata
from speechbias.inference.permutation import permutation_test

CURVES, N, RELABELLINGS, MODELS = 260, 60, 10_000, 21
TARGET = 1.0  # second


def main() -> None:
    generator = np.random.default_rng(0)
    s = generator.normal(size=(2 * N, 1)) + generator.normal(size=(2 * N, CURVES))
    s[:N] += np.linspace(0, 0.5, CURVES)
    with threadpool_limits(1):
        times = measure(ways(s))
    print(f"{CURVES} curves, {N} + {N} clips, {RELABELLINGS} relabellings or resamples: median CPU s (wall s)")
    for name, seconds in times.items():
        cpu, wall = np.median(seconds, axis=0)
        print(f"  {name:62} {cpu:8.3f} ({wall:.3f})")
    print(f"  target: {CURVES} curves x {RELABELLINGS} relabellings <= {TARGET} s")


def ways(s: np.ndarray) -> dict[str, Callable[[], object]]:
    blank = [""] * N, [""] * N
    clips = Strata.of(*([f"{side}{k}" for k in range(N)] for side in "xy"))
    between = np.arange(1, MODELS), np.zeros(MODELS - 1, dtype=np.intp)
    return {
        "p and max-T of all curves": lambda: permutation_test(
            s, relabel("independent", blank), n_x=N, alternative="two-sided", permutations=RELABELLINGS,
            rng=np.random.default_rng(0), family=range(CURVES),
        ),
        "the same, naively in numpy": lambda: naive(s),
        f"bootstrap-t of {MODELS - 1} models against one": lambda: differences(
            s[:, :MODELS], between, clips, n_x=N, ddof=1, resamples=RELABELLINGS, confidence=0.95,
            rng=np.random.default_rng(0),
        ),
    }  # fmt: skip


def naive(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P of every curve and max-T, label by label."""
    generator, sd = np.random.default_rng(0), s.std(axis=0)
    observed = np.abs(s[:N].mean(axis=0) - s[N:].mean(axis=0)) / sd
    hits, hits_max = np.ones(CURVES), np.ones(CURVES)
    for _ in range(RELABELLINGS):
        order = generator.permutation(len(s))
        d = np.abs(s[order[:N]].mean(axis=0) - s[order[N:]].mean(axis=0)) / sd
        hits += d >= observed
        hits_max += d.max() >= observed
    return hits / (1 + RELABELLINGS), hits_max / (1 + RELABELLINGS)


if __name__ == "__main__":
    main()
