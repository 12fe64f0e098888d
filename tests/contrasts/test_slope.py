"""A slope on a number: least squares, all relabellings of a small case, and what it refuses."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress

from grouped import Clip, targets_of, write_measurement
from speechbias.contrasts import Question, contrast_groups
from speechbias.contrasts.judging import Settings
from speechbias.contrasts.levels import find_numbers
from speechbias.contrasts.slope import slope_of
from speechbias.errors import InputError
from speechbias.stimuli import read_stimuli

SETTINGS = Settings(permutations=999, resamples=400, confidence=0.95, ddof=1, seed=0)


def aged(rng, slope, people=12, clips=2):
    ages = np.repeat(rng.integers(20, 80, people), clips).astype(float)
    s = slope * (ages - 50) / 10 + np.repeat(0.5 * rng.normal(size=people), clips) + 0.2 * rng.normal(size=len(ages))
    return targets_of(s, [f"s{n // clips}" for n in range(len(ages))]), ages


def test_it_is_least_squares():
    targets, ages = aged(np.random.default_rng(0), 0.3)
    ages[5] = np.nan
    found = slope_of(targets, ages, "age", SETTINGS, per=10)
    known = ~np.isnan(ages)
    line = linregress(ages[known] / 10, targets.s[known])
    assert found["slope_s"]["value"] == pytest.approx(line.slope)
    assert found["slope"]["value"] == pytest.approx(line.slope / targets.s[known].std(ddof=1))
    assert found["correlation"]["value"] == pytest.approx(line.rvalue)
    assert (found["n"], found["n_speakers"], found["design"]) == (23, 12, "speaker")
    for each in (found["slope"], found["slope_s"], found["correlation"]):
        assert each["ci_low"] < each["value"] < each["ci_high"]


def test_the_unit_changes_the_slope_and_nothing_else():
    targets, ages = aged(np.random.default_rng(1), 0.1)
    one, ten = (slope_of(targets, ages, "age", SETTINGS, per=per) for per in (1, 10))
    assert ten["slope"]["value"] == pytest.approx(10 * one["slope"]["value"])
    assert ten["slope"]["ci_low"] == pytest.approx(10 * one["slope"]["ci_low"])
    same = ("correlation", "p_value", "p_attribute")
    assert [ten[name] for name in same] == [pytest.approx(one[name]) for name in same]


def test_p_against_all_relabellings():
    s, ages = np.array([0.0, 0.5, 0.3, 1.2, 0.9]), np.array([20.0, 30, 45, 50, 70])
    targets = targets_of(s, list("abcde"))
    seen = abs(linregress(ages, targets.s).rvalue)
    reached = [abs(linregress(each, targets.s).rvalue) >= seen - 1e-12 for each in permutations(ages.tolist())]
    found = slope_of(targets, ages, "age", Settings(20_000, 50, 0.95, 1, 0), per=1)
    assert found["p_value"] == pytest.approx(np.mean(reached), abs=0.01)
    assert found["p_min"] == pytest.approx(1 / 120)


def test_planted_found_null_not():
    found = [slope_of(*aged(np.random.default_rng(2), slope), "age", SETTINGS, per=10) for slope in (1.0, -1.0, 0.0)]
    assert [each["associated"] for each in found] == [True, True, False]
    assert found[0]["slope"]["ci_low"] > 0 > found[1]["slope"]["ci_high"]


def test_p_without_a_slope_is_rarely_small():
    rng, settings = np.random.default_rng(3), Settings(199, 20, 0.95, 1, 0)
    p = np.array([slope_of(*aged(rng, 0.0, people=8), "age", settings, per=1)["p_value"] for _ in range(120)])
    assert 0.005 < (p <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)


def test_values_that_change_from_clip_to_clip_are_dealt_within_speakers():
    rng = np.random.default_rng(4)
    seconds = rng.uniform(1, 9, 24)
    targets = targets_of(0.3 * seconds + np.repeat(rng.normal(size=6), 4), np.repeat(list("abcdef"), 4).tolist())
    found = slope_of(targets, seconds, "seconds", SETTINGS, per=1)
    assert found["design"] == "within-speaker"
    assert found["p_value"] < 0.01


def test_what_has_no_slope_is_refused():
    targets = targets_of([0, 1, 2, 3], list("aabb"))
    with pytest.raises(InputError, match="age: 2 speakers with 2 different values"):
        slope_of(targets, np.array([20.0, 20, 30, 30]), "age", SETTINGS, per=1)
    targets = targets_of([0, 1, 2, 3, 4], list("aabbc"))
    with pytest.raises(InputError, match="some speakers have several values and others one"):
        slope_of(targets, np.array([20.0, 21, 30, 30, 40]), "age", SETTINGS, per=1)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["50-70", "50-70", "31"], r"age holds '50-70' in 2 clips: no number. .* --by age"),
        (["50-70", "twenties", "31"], "and 1 other text"),
        (["", "", ""], "age is blank for all targets"),
    ],
)
def test_numbers_that_are_none(values, match):
    with pytest.raises(InputError, match=match):
        find_numbers({"age": values}, "age")


def test_a_measurement_with_a_slope(tmp_path):
    rng = np.random.default_rng(5)
    clips = [
        Clip(age / 40 + 0.2 * rng.normal(), f"s{age}", {"age": "" if age == 33 else str(age)})
        for age in range(21, 61, 3)
    ]
    results, table, record = write_measurement(tmp_path, clips[:5], clips[5:])
    asked = Question(slope="age", per=10)
    (found,) = contrast_groups(record, Path(results).parent, read_stimuli(table), asked)
    assert (found["question"], found["no_value"], found["slope"]["range"]) == ("slope", 1, [21, 60])
    assert found["slope"]["associated"]
    assert found["slope"]["per"] == 10
