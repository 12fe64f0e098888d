"""The controls: how often shuffled attributes fail where nothing is wrong, and whether what is planted is found."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, at_most, power
from calibration.groups import Groups
from calibration.worlds import World
from speechbias.controls import PLANTED, control
from speechbias.controls.planted import MARGIN
from speechbias.measure import measure_bias
from speechbias.results import write_vectors
from speechbias.vectors import read_vectors, to_arrays

TARGETS = (Groups(40, 40), Groups(30, 20), Groups(12, 8, 3, "speaker"))
ATTRIBUTES = Groups(12, 12, 2, "within-speaker")
APART = (0.0, 2.0)
DIM = 8
DRAWS = 20


def cells() -> Iterator[Cell]:
    """Groups alike, and 2 SD apart in another direction than A and B."""
    for targets in TARGETS:
        for apart in APART:
            yield Cell("controls", f"{targets}, {apart:g}", DRAWS, {"targets": targets, "apart": apart})


def run(draws: int, rng: np.random.Generator, *, targets: Groups, apart: float) -> dict[str, float]:
    """Mean shares of shuffled relabellings with a small p_value and with both; how often each control fails."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(draws):
            found = _control(Path(folder) / f"{number}.jsonl", targets, apart, rng)
            shuffled = found["shuffled"]
            alpha = found["alpha"]
            spread = alpha * (1 - alpha) * (1 / shuffled["draws"] + 1 / shuffled["reference"])
            bound = alpha + MARGIN * np.sqrt(spread)
            planted = found["planted"]["associated"]
            rows.append((shuffled["p_value"], shuffled["associated"], shuffled["associated"] > bound, planted))
    return dict(zip(("p_value", "associated", "failed", "planted"), np.mean(rows, axis=0).tolist(), strict=True))


def _control(path: Path, targets: Groups, apart: float, rng: np.random.Generator) -> dict[str, Any]:
    """``control`` of a measurement of vectors drawn here."""
    world = World.draw(rng, DIM, apart=apart, aligned=3.0)
    X, Y = world.clips(targets, rng, 1, world.apart)
    A, B = replace(world, along=np.roll(world.along, 1)).clips(ATTRIBUTES, rng, 1, world.aligned)
    speakers = {**dict(zip("XY", targets.people, strict=True)), **dict(zip("AB", ATTRIBUTES.people, strict=True))}
    codes = {f"speakers_{name}": np.array(ids) + 1_000 * (name in "AB") for name, ids in speakers.items()}
    file = path.with_suffix(".npz")
    np.savez(file, X=X, Y=Y, A=A, B=B, **codes)  # type: ignore[arg-type]
    embeddings = read_vectors(file)
    result = measure_bias(embeddings, permutations=99, resamples=9)
    result = replace(result, vectors=write_vectors(path, to_arrays(embeddings)))
    return control(result, path.parent, seed=int(rng.integers(1 << 31)))


def section(found: Found) -> Section:
    """The part of the page."""
    rows: list[tuple[str, list[Figure | str]]] = []
    for targets in TARGETS:
        for apart in APART:
            each = found[f"{targets}, {apart:g}"]
            failed = at_most(each["failed"], each.draws)
            shares = [f"{100 * each[name]:.1f} %" for name in ("p_value", "associated")]
            name = f"{targets}, {'alike' if not apart else f'{apart:g} SD apart elsewhere'}"
            rows.append((name, [*shares, failed, power(each["planted"], each.draws)]))
    caption = (
        "**Shuffled attributes:** mean share of relabellings with a small p_value and with both p's small, how "
        f"often that control fails; **planted** (d = {PLANTED}): how often it is found."
    )
    header = ["p_value small", "both small", "shuffled fails", "planted found"]
    return Section(
        "Controls",
        "nothing wrong: the control of shuffled attributes fails in at most 5 %",
        f"Vectors of {DIM} dimensions, {ATTRIBUTES.x} attribute talkers with {ATTRIBUTES.clips} clips in A and in B; "
        "X and Y alike, or apart in another direction than A and B.",
        [Table(caption, header, rows, "targets")],
        "p_attribute of a shuffled relabelling is its rank among others like it, so that it keeps its level whatever "
        "the data: this control fails where code is broken, and what it shows is the share of small p_values. A "
        "planted association that is not found says that this test could show little: that is what the control is "
        "for, no error.",
        "`controls/planted.py`",
    )
