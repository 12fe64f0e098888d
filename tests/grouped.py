"""Measurements made up for tests of several groups: vectors, a CSV with columns, a results file beside them."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechbias.contrasts.targets import Targets
from speechbias.measure import measure_bias
from speechbias.results import append_results, write_vectors
from speechbias.stimuli import read_stimuli
from speechbias.vectors import read_vectors, to_arrays

QUICK = {"permutations": 2000, "resamples": 400}
DIM, WIDE = 8, 32


@dataclass(frozen=True)
class Clip:
    """A target: how far along A against B it lies, who speaks, and what the CSV says."""

    shift: float
    speaker: str
    columns: dict


def people(level, number, clips, shift, *, rng, spread=0.3, **columns):
    """``clips`` clips each of ``number`` speakers of a level, about ``shift``; speakers differ by ``spread``."""
    made = []
    for person in range(number):
        own = shift + spread * rng.normal()
        said = {name: value(person) if callable(value) else value for name, value in columns.items()}
        columns_of = {"level": level, **said}
        made += [Clip(own + 0.1 * rng.normal(), f"{level}{person}", columns_of) for _ in range(clips)]
    return made


def vectors_of(targets, rng, attributes=24):
    """Arrays of X and Y together, A and B: the first dimension is what A and B differ in."""
    noise = rng.normal(size=(len(targets), DIM))
    w = np.column_stack([[clip.shift for clip in targets], noise[:, 1:]])
    sides = {name: rng.normal(size=(attributes, DIM)) for name in "AB"}
    sides["A"][:, 0] += 2
    sides["B"][:, 0] -= 2
    return w.astype(np.float64), sides


def write_measurement(folder, x, y, *, seed=0, name="test", options=QUICK):
    """Write CSV, vectors and results of a measurement whose sets X and Y are these clips; (results, CSV, record)."""
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    w, sides = vectors_of([*x, *y], rng)
    return write_arrays(folder, x, y, {"X": w[: len(x)], "Y": w[len(x) :], **sides}, name=name, options=options)


def write_arrays(folder, x, y, sets, *, name="test", options=QUICK):
    """The same for given arrays (clips, dim)."""
    columns = list(dict.fromkeys(column for clip in (*x, *y) for column in clip.columns))
    rows = [
        {"path": f"{key}{n}.wav", "set": key, "group": key, "speaker": clip.speaker, **clip.columns}
        for key, clips in (("X", x), ("Y", y))
        for n, clip in enumerate(clips)
    ]
    rows += [
        {"path": f"{key}{n}.wav", "set": key, "group": key, "speaker": f"t{n % 8}"}
        for key in "AB"
        for n in range(len(sets[key]))
    ]
    table = folder / f"{name}.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "set", "group", "speaker", *columns], restval="")
        writer.writeheader()
        writer.writerows(rows)
    np.savez(folder / f"{name}.npz", **sets)
    embeddings = read_vectors(folder / f"{name}.npz", read_stimuli(table))
    results = folder / "results.jsonl"
    record = replace(measure_bias(embeddings, **options), vectors=write_vectors(results, to_arrays(embeddings)))
    append_results(results, [record])
    return results, table, record


def targets_of(s, speakers=None, **columns):
    """Targets whose s rises with ``s`` (small numbers), without a measurement behind them."""
    rng = np.random.default_rng(7)
    sides = {name: rng.normal(size=(16, WIDE)) for name in "AB"}
    sides["A"][:, 0] += 2
    sides["B"][:, 0] -= 2
    vectors = np.column_stack([np.asarray(s, dtype=float), 0.7 * rng.normal(size=(len(s), WIDE - 1))])
    names = speakers or [f"s{n}" for n in range(len(vectors))]
    labels = {name: tuple(f"t{n % 8}" for n in range(16)) for name in "AB"}
    return Targets(vectors, sides, tuple(names), labels, {name: tuple(of) for name, of in columns.items()})
