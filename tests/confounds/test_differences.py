"""Standardised differences: definition, interval, flags; the published lists of the Speech Accent Archive."""

import csv

import numpy as np
import pytest

from speechbias.confounds.differences import standardised_difference, within_sd

OPTIONS = {"resamples": 1000, "confidence": 0.95, "seed": 0}


def difference(x, y, labels=None, **changes):
    x, y = np.asarray(x, float), np.asarray(y, float)
    labels = labels or ([f"x{i}" for i in range(len(x))], [f"y{i}" for i in range(len(y))])
    return standardised_difference(x, y, labels, **(OPTIONS | changes))


def slow_within_sd(x, y):
    squares = sum((a - sum(x) / len(x)) ** 2 for a in x) + sum((b - sum(y) / len(y)) ** 2 for b in y)
    return (squares / (len(x) + len(y) - 2)) ** 0.5


def test_it_is_the_difference_in_sds_within_groups():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, 15), rng.normal(2, 2, 9)
    assert within_sd(x, y) == pytest.approx(slow_within_sd(x, y))
    found = difference(x, y)
    assert found.value == pytest.approx((x.mean() - y.mean()) / slow_within_sd(x, y))
    assert found.low < found.value < found.high
    assert difference(y, x).value == pytest.approx(-found.value)
    assert difference(10 * x + 5, 10 * y + 5).low == pytest.approx(found.low)


def test_the_interval_covers_and_is_wider_for_fewer_speakers():
    rng = np.random.default_rng(1)
    covered, clips_alone = 0, 0
    for _ in range(60):
        voices = rng.normal(size=(2, 8)) + np.array([[0.4], [-0.4]])
        x, y = (np.repeat(each, 3) + 0.1 * rng.normal(size=24) for each in voices)
        speakers = [f"{name}{i // 3}" for name in "xy" for i in range(24)]
        found = difference(x, y, (speakers[:24], speakers[24:]), resamples=400)
        covered += found.low <= 0.8 / np.hypot(1, 0.1) <= found.high
        alone = difference(x, y, resamples=400)
        clips_alone += alone.high - alone.low < found.high - found.low
    assert covered >= 50  # 57 of 60 expected, 50 is four SDs below
    assert clips_alone == 60


def test_flags_begin_beyond_half_an_sd():
    base = np.array([-1.0, 1.0] * 10)
    spread = within_sd(base, base)
    assert not difference(base + 0.49 * spread, base).flagged
    assert difference(base + 0.51 * spread, base).flagged
    assert difference(base - 0.51 * spread, base).flagged
    assert not difference(base + 0.51 * spread, base, least=1.0).flagged  # too small to matter


def test_groups_without_spread():
    same = difference([1, 1, 1], [1, 1, 1])
    assert (same.value, same.low, same.flagged) == (0.0, None, False)
    apart = difference([8, 8, 8], [4, 4, 4])
    assert (apart.value, apart.low, apart.flagged) == (None, None, True)
    assert difference([1], [2, 3]).value is None
    assert difference([1, 2, 3], [2, 3, 5], (["a"] * 3, ["b", "c", "d"])).low is None  # one speaker


@pytest.mark.parametrize(
    ("folder", "column", "first", "expected"),
    [("us_korean", "native_language", "english", -1.54), ("usa_young_old", "age_rank", "low_age", -1.45),
     ("male_female", "sex", "female", 0.01)],
)  # fmt: skip
def test_published_lists_differ_in_duration(shared, folder, column, first, expected):
    """SpEAT's Native and Age sets: the lengths that its lists give."""
    with (shared / "data" / "accent_archive" / folder / "clip_info.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = {True: [], False: []}
    for row in rows:
        seconds[row[column] == first].append(float(row["sample_length"]) / 16_000)
    found = difference(seconds[True], seconds[False])
    assert found.value == pytest.approx(expected, abs=0.02)
    assert found.flagged == (abs(expected) > 0.5)
    assert (found.high < -1) if found.flagged else (found.low < 0 < found.high)
