"""Omnibus and factors: closed forms, all relabellings of small cases, levels under the null, planted effects found."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import f_oneway

from grouped import Clip, targets_of, write_measurement
from speechbias.contrasts import Question, contrast_groups
from speechbias.contrasts.effects import factor_effects, omnibus
from speechbias.contrasts.judging import Settings
from speechbias.contrasts.levels import find_levels
from speechbias.contrasts.targets import Targets, read_targets
from speechbias.stimuli import read_stimuli

SETTINGS = Settings(permutations=999, resamples=300, confidence=0.95, ddof=1, seed=0)


def crossed(rng, per_cell=6, *, a=0.0, b=0.0, both=0.0):
    """Clips of two factors, one each speaker."""
    cells = [(i, j) for i in range(2) for j in range(2) for _ in range(per_cell)]
    s = [a * i + b * j + both * i * j + rng.normal() for i, j in cells]
    return targets_of(s, sex=[("m", "f")[i] for i, _ in cells], age=[("young", "old")[j] for _, j in cells])


def effects_of(targets, settings=SETTINGS):
    levels = [find_levels(targets.columns, name) for name in ("sex", "age")]
    return factor_effects(targets, *levels, settings)


def test_sizes_are_contrasts_of_cell_means():
    targets = crossed(np.random.default_rng(0), a=1.0, both=0.7)
    s, sd = targets.s, targets.s.std(ddof=1)
    cell = {
        (x, y): np.mean(
            [v for v, i, j in zip(s, targets.columns["sex"], targets.columns["age"], strict=True) if (i, j) == (x, y)]
        )
        for x in "mf"
        for y in ("young", "old")
    }
    sex, age, both = effects_of(targets)
    assert sex["size"] == pytest.approx(
        (cell["f", "young"] + cell["f", "old"] - cell["m", "young"] - cell["m", "old"]) / 2 / sd
    )
    assert age["size"] == pytest.approx(
        (cell["m", "old"] + cell["f", "old"] - cell["m", "young"] - cell["f", "young"]) / 2 / sd
    )
    assert both["size"] == pytest.approx(
        (cell["f", "old"] - cell["m", "old"] - cell["f", "young"] + cell["m", "young"]) / sd
    )
    assert [each["name"] for each in (sex, both)] == ["f - m", "f - m, at old less at young"]
    for each in (sex, age, both):
        assert each["ci_low"] < each["size"] < each["ci_high"]


def test_what_is_planted_is_found_and_nothing_else():
    sex, age, both = effects_of(crossed(np.random.default_rng(1), per_cell=12, a=3.0))
    assert sex["associated"]
    assert sex["ci_low"] > 0
    assert not age["associated"]
    assert not both["associated"]
    *_, both = effects_of(crossed(np.random.default_rng(1), per_cell=12, both=4.0))
    assert both["p_adjusted"] < 0.01
    assert both["ci_low"] > 0


def test_a_main_effect_against_all_relabellings_within_the_other_factor():
    s = np.array([0.0, 0.3, 0.9, 1.0, -2.0, -1.2, -1.1, -0.4])
    sex, age = list("mmffmmff"), ["young"] * 4 + ["old"] * 4
    targets = targets_of(s, sex=sex, age=age)
    t, old = targets.s, np.array(age) == "old"

    def size(female):
        return abs(
            np.mean([t[female & (old == level)].mean() - t[~female & (old == level)].mean() for level in (0, 1)])
        )

    seen = size(np.array(sex) == "f")
    halves = set(permutations([True, True, False, False]))
    reached = [size(np.array([*one, *other])) >= seen - 1e-12 for one in halves for other in halves]
    found = effects_of(targets, Settings(20_000, 50, 0.95, 1, 0))[0]
    assert found["p_value"] == pytest.approx(np.mean(reached), abs=0.01)
    assert found["p_min"] == pytest.approx(1 / 36)
    assert found["design"] == "independent"


def test_levels_that_a_contrast_is_not_about_do_not_move():
    """p of the second level against the first is that without the third."""
    rng = np.random.default_rng(2)
    accents, age = [name for name in "abc" for _ in range(6)], ["young", "old"] * 9
    s = rng.normal(size=18) + np.where(np.array(accents) == "c", 9.0, 0.0)
    whole = targets_of(s, sex=accents, age=age)
    two = targets_of(s[:12], sex=accents[:12], age=age[:12])
    p = [effects_of(each, Settings(5000, 50, 0.95, 1, 0))[0]["p_value"] for each in (whole, two)]
    assert p[0] == pytest.approx(p[1], abs=0.03)
    assert 0.05 < p[1] < 0.95


@pytest.mark.parametrize("member", [0, 2])
def test_p_of_an_effect_that_is_not_there_is_rarely_small(member):
    """Beside a large effect of the other factor, with 4 speakers a cell."""
    rng = np.random.default_rng(20 + member)
    settings = Settings(199, 20, 0.95, 1, 0)
    p = np.array([effects_of(crossed(rng, 4, b=2.0), settings)[member]["p_value"] for _ in range(150)])
    assert 0.005 < (p <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert 0.35 < p.mean() < 0.65


def test_speakers_in_some_cells_but_not_in_others_have_no_p():
    """Two speak in both, one in one: neither whole speakers nor clips within speakers can be dealt anew."""
    speakers = ["a", "b", "a", "b", "c", "c", "d", "d"]
    targets = targets_of(
        np.arange(8) % 5 / 3, sex=list("mmffmmff"), age=["young"] * 4 + ["old"] * 4, speakers=speakers
    )
    interaction = effects_of(targets)[2]
    assert (interaction["p_value"], interaction["p_adjusted"], interaction["associated"]) == (None, None, False)


def test_the_omnibus_share_is_that_of_the_analysis_of_variance():
    rng = np.random.default_rng(3)
    accents = ["a"] * 5 + ["b"] * 7 + ["c"] * 6
    targets = targets_of(rng.normal(size=18), accent=accents)
    found = omnibus(targets, find_levels(targets.columns, "accent"), SETTINGS)
    f = f_oneway(*(targets.s[np.array(accents) == name] for name in "abc")).statistic
    assert found["eta_squared"] == pytest.approx(2 * f / (2 * f + 15))
    assert found["p_value"] == pytest.approx(
        float(f_oneway(*(targets.s[np.array(accents) == n] for n in "abc")).pvalue), abs=0.06
    )


def test_the_omnibus_keeps_the_clips_of_a_speaker_together():
    """With 8 clips a speaker, groups that are alike seem to differ where clips are dealt one by one."""
    rng, whole, single = np.random.default_rng(4), [], []
    settings = Settings(199, 20, 0.95, 1, 0)
    for _ in range(60):
        own = np.repeat(rng.normal(size=9), 8)
        names = np.repeat([f"s{n}" for n in range(9)], 8).tolist()
        for speakers, found in ((names, whole), (None, single)):
            targets = targets_of(
                own + 0.2 * rng.normal(size=72), accent=np.repeat(list("abc"), 24).tolist(), speakers=speakers
            )
            found.append(omnibus(targets, find_levels(targets.columns, "accent"), settings)["p_value"])
    assert np.mean(np.array(whole) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert np.mean(np.array(single) <= 0.05) > 0.5


def test_attributes_that_the_groups_are_not_aligned_with_give_no_small_attribute_p():
    rng = np.random.default_rng(5)
    accents = np.repeat(list("abc"), 8).tolist()
    targets = targets_of(rng.normal(size=24) + np.repeat([0, 3, 6], 8), accent=accents)
    levels = find_levels(targets.columns, "accent")
    assert omnibus(targets, levels, SETTINGS)["p_attribute"] < 0.02
    both = np.concatenate([targets.attributes["A"], targets.attributes["B"]])
    order = rng.permutation(32)
    mixed = Targets(
        targets.vectors,
        {"A": both[order[:16]], "B": both[order[16:]]},
        targets.speakers,
        targets.talkers,
        targets.columns,
    )
    assert omnibus(mixed, levels, SETTINGS)["p_attribute"] > 0.05


def test_factors_of_a_measurement(tmp_path):
    rng = np.random.default_rng(6)
    clips = [
        Clip(shift + 0.3 * rng.normal(), f"{sex}{age}", {"sex": sex, "age": str(age)})
        for sex, shift in (("female", 1.2), ("male", 0.0))
        for age in (22, 25, 28, 29, 51, 60, 64, 70)
    ]
    results, table, record = write_measurement(tmp_path, clips[:8], clips[8:])
    asked = Question(by=("sex", "age:50"), references=("male", "below 50"))
    (found,) = contrast_groups(record, Path(results).parent, read_stimuli(table), asked)
    assert found["columns"] == ["sex", "age"]
    assert found["reference"] == "male, below 50"
    assert [each["name"] for each in found["levels"]][:2] == ["male, below 50", "male, 50 and more"]
    assert [each["name"] for each in found["effects"]][:2] == ["female - male", "50 and more - below 50"]
    assert [each["second"] for each in found["contrasts"]] == 3 * ["male, below 50"]
    assert found["effects"][0]["associated"]
    assert read_targets(record, tmp_path, read_stimuli(table)).columns["age"][0] == "22"
