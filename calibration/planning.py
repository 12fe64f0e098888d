"""Plans: width predicted from an expected d and correlation, and from a pilot, against the widths that come out."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, ratio
from calibration.groups import Groups, blocks
from speechbias.inference.intervals import target_interval
from speechbias.inference.planning import estimate_components, expect_components

DESIGNS = (
    Groups(60, 60),
    Groups(20, 20),
    Groups(10, 10),
    Groups(25, 25, 4, "speaker"),
    Groups(12, 12, 5, "speaker"),
    Groups(6, 6, 4, "speaker"),
    Groups(12, 12, 4, "within-speaker"),
)
DS = (0.0, 0.5, 1.0)
PILOTS = (Groups(6, 6, 4, "speaker"), Groups(12, 12, 4, "speaker"), Groups(25, 25, 4, "speaker"))
WANTED = (0.5, 0.8)
CORRELATION = 0.5
DRAWS, STUDIES = 400, 400


def cells() -> Iterator[Cell]:
    """The formula by design and d; the number of speakers that a pilot asks for, and what they give."""
    for groups in DESIGNS:
        for d in DS:
            yield Cell("planning", f"{groups}, d = {d:g}", DRAWS, {"groups": groups, "d": d})
    for pilot in PILOTS:
        yield Cell("planning", f"pilot of {pilot}", STUDIES, {"groups": pilot, "d": 0.5, "pilot": True})
    for wanted in WANTED:
        for d in DS:
            count = _speakers(d, wanted)
            settings: dict[str, Any] = {"groups": Groups(count, count, 4, "speaker"), "d": d}
            yield Cell("planning", f"wanted {wanted:g}, d = {d:g}", DRAWS, settings)


def _speakers(d: float, wanted: float) -> int:
    count = expect_components(d, CORRELATION).speakers_for(wanted, 4)
    assert count is not None
    return count


def run(draws: int, rng: np.random.Generator, *, groups: Groups, d: float, pilot: bool = False) -> dict[str, float]:
    """Planned width and the mean of those that came out; or of pilots, quantiles of planned over true width."""
    correlation = 0.0 if groups.design == "independent" else CORRELATION
    expected = expect_components(d, correlation, crossed=groups.design == "within-speaker")
    planned = expected.width(groups.x, groups.clips)
    if pilot:
        found = [
            estimate_components(groups.scores(rng, 1, d)[:, 0], groups.units, groups.n_x, 1) for _ in range(draws)
        ]
        ratios = np.array([each.width(groups.x, groups.clips) for each in found]) / planned
        low, middle, high = np.quantile(ratios, (0.05, 0.5, 0.95)).tolist()
        return {"low": low, "median": middle, "high": high}
    widths = []
    for count in blocks(draws):
        s = groups.scores(rng, count, d)
        each = target_interval(s, groups.units, n_x=groups.n_x, ddof=1, resamples=999, confidence=0.95, rng=rng)
        widths.append(each.high - each.low)
    return {"planned": planned, "mean": float(np.mean(np.concatenate(widths)))}


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "Planning",
        "the mean width of intervals is the planned one, within 10 %",
        f"Normal scores, correlation {CORRELATION} between clips of a speaker, 999 resamples. Numbers are widths "
        "achieved over planned.",
        [_formula(found), _wanted(found), _pilots(found)],
        "A pilot is as uncertain as its few speakers: plan with the wide end.",
        "`inference/planning.py`",
    )


def _formula(found: Found) -> Table:
    rows: list[tuple[str, list[Figure | str]]] = []
    for groups in DESIGNS:
        results = [found[f"{groups}, d = {d:g}"] for d in DS]
        rows.append((str(groups), [ratio(each["mean"] / each["planned"]) for each in results]))
    return Table("**Mean width over planned width,** from an expected d.", [f"d = {d:g}" for d in DS], rows, "design")


def _wanted(found: Found) -> Table:
    rows = []
    for wanted in WANTED:
        row: list[Figure | str] = []
        for d in DS:
            each = found[f"wanted {wanted:g}, d = {d:g}"]
            row.append(f"{_speakers(d, wanted)} + {_speakers(d, wanted)} speakers: {each['mean']:.2f}")
        rows.append((f"{wanted:g}", row))
    return Table(
        "**Speakers planned (4 clips of each) and the mean width that they give.**",
        [f"d = {d:g}" for d in DS],
        rows,
        "wanted",
    )


def _pilots(found: Found) -> Table:
    rows = []
    for pilot in PILOTS:
        each = found[f"pilot of {pilot}"]
        rows.append((str(pilot), [f"{each[name]:.2f}" for name in ("low", "median", "high")]))
    caption = "**Width planned from a pilot over the true one,** d = 0.5: quantiles over pilots; not judged."
    return Table(caption, ["5 %", "median", "95 %"], rows, "pilot")
