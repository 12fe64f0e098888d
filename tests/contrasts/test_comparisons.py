"""Groups two by two: the same numbers as ``measure``, and p's adjusted by closed testing, against slow oracles."""

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from grouped import Clip, people, vectors_of, write_arrays, write_measurement
from speechbias.contrasts import Question, contrast_groups
from speechbias.contrasts.closed import closed_p_values
from speechbias.inference.multiplicity import holm
from speechbias.stimuli import read_stimuli

LEVELS = {"usa": 0.0, "greek": 0.1, "korean": 1.5}
SAME = (
    "d",
    "ci_low",
    "ci_high",
    "ci_method",
    "p_value",
    "p_method",
    "p_min",
    "p_attribute",
    "p_attribute_min",
    "design",
)


def asked(results, table, record, **question):
    return contrast_groups(record, Path(results).parent, read_stimuli(table), Question(**question))


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(1)
    return {level: people(level, 6, 2, shift, rng=rng) for level, shift in LEVELS.items()}


@pytest.fixture(scope="module")
def measured(clips, tmp_path_factory):
    """X is the reference, Y the two others mixed."""
    others = [clip for pair in zip(clips["greek"], clips["korean"], strict=True) for clip in pair]
    return write_measurement(tmp_path_factory.mktemp("several"), clips["usa"], others)


def by_pair(record):
    return {(each["first"], each["second"]): each for each in record["contrasts"]}


def test_a_contrast_is_what_measure_gives_of_two_sets(clips, measured, tmp_path):
    results, _, _ = measured
    arrays = dict(np.load(results.parent / "test.npz"))
    order = [*clips["usa"], *(c for pair in zip(clips["greek"], clips["korean"], strict=True) for c in pair)]
    w = np.concatenate([arrays["X"], arrays["Y"]])
    rows = {level: [n for n, clip in enumerate(order) if clip.columns["level"] == level] for level in LEVELS}
    (found,) = asked(*measured, by=("level",), references=("usa",))
    for level in ("greek", "korean"):
        sets = {"X": w[rows[level]], "Y": w[rows["usa"]], "A": arrays["A"], "B": arrays["B"]}
        _, _, alone = write_arrays(tmp_path, clips[level], clips["usa"], sets, name=level)
        each = by_pair(found)[level, "usa"]
        assert alone.n == {"X": 12, "Y": 12, "A": 24, "B": 24}
        assert {name: each[name] for name in SAME} == pytest.approx({name: getattr(alone, name) for name in SAME})


def test_a_planted_order_is_found_and_the_alike_are_not(measured):
    (found,) = asked(*measured, by=("level",))
    assert (found["kind"], found["question"], found["adjusted_by"]) == ("groups", "pairs", "closed testing")
    means = {each["name"]: each["mean"] for each in found["levels"]}
    assert means["korean"] > max(means["usa"], means["greek"])
    verdicts = {pair: each["associated"] for pair, each in by_pair(found).items()}
    assert verdicts == {("usa", "greek"): False, ("usa", "korean"): True, ("greek", "korean"): True}
    assert found["omnibus"]["p_value"] < 0.01 > found["omnibus"]["p_attribute"]


def test_the_other_way_round_d_has_the_other_sign(measured):
    (first,) = asked(*measured, by=("level",), references=("usa",))
    (second,) = asked(*measured, by=("level",), references=("korean",))
    one, other = by_pair(first)["korean", "usa"], by_pair(second)["usa", "korean"]
    assert one["d"] == pytest.approx(-other["d"])
    assert one["p_value"] == other["p_value"]


def test_values_that_are_missing_and_groups_of_one_clip_are_left_out(clips, tmp_path):
    blank = [Clip(clip.shift, clip.speaker, {"level": ""}) for clip in clips["greek"][:3]]
    lone = [Clip(0.4, "french0", {"level": "french"})]
    measured = write_measurement(tmp_path, clips["usa"], [*clips["korean"], *blank, *lone])
    (found,) = asked(*measured, by=("level",))
    assert [each["name"] for each in found["levels"]] == ["usa", "korean"]
    assert found["no_value"] == 4
    assert found["warnings"] == ["french is left out: 1 clip, a group needs 2"]


def test_one_speaker_is_a_voice_and_not_a_group(clips, tmp_path):
    alone = [Clip(clip.shift, "k", clip.columns) for clip in clips["korean"]]
    (found,) = asked(*write_measurement(tmp_path, clips["usa"], alone), by=("level",))
    assert found["contrasts"][0]["ci_method"] == "none"
    assert "one speaker only, a voice and not a group, so no interval: korean" in found["warnings"]
    assert any("nothing can be shown" in warning for warning in found["warnings"])


def test_speakers_in_several_groups_are_compared_with_themselves(tmp_path):
    rng = np.random.default_rng(3)
    clips = [
        Clip(shift + 0.1 * rng.normal(), f"s{n}", {"style": style})
        for style, shift in (("read", 0.0), ("free", 0.0), ("sung", 2.0))
        for n in range(6)
        for _ in range(3)
    ]
    (found,) = asked(*write_measurement(tmp_path, clips[:18], clips[18:]), by=("style",))
    assert {each["design"] for each in found["contrasts"]} == {"within-speaker"}
    assert found["adjusted_by"] == "Holm"
    assert found["omnibus"]["design"] == "within-speaker"
    p = [each["p_value"] for each in found["contrasts"]]
    assert [each["p_adjusted"] for each in found["contrasts"]] == pytest.approx(holm(p).tolist())


# ---- Closed testing ----


def units_of(s):
    return np.column_stack([np.ones_like(s), s, s**2])


def d_of(x, y):
    return abs(x.mean() - y.mean()) / np.std([*x, *y], ddof=1)


def test_three_groups_against_all_relabellings():
    """p of "all three are alike" by counting, the rest by its definition."""
    s, groups = np.array([0.0, 0.4, 0.1, 0.5, 0.9, 0.7, 1.1, 0.8]), np.array([0, 0, 0, 1, 1, 2, 2, 2])
    own = {(0, 1): 0.2, (0, 2): 0.1, (1, 2): 0.8}

    def largest(labels):
        x = [s[labels == group] for group in range(3)]
        sizes = [len(each) for each in x]
        return max(d_of(x[i], x[j]) * np.sqrt(sizes[i] * sizes[j] / (sizes[i] + sizes[j])) for i, j in own)

    labellings = {tuple(each) for each in permutations(groups.tolist())}
    reached = [largest(np.array(each)) >= largest(groups) - 1e-12 for each in labellings]
    rng = np.random.default_rng(0)
    found = closed_p_values(units_of(s), groups, own, ddof=1, permutations=20_000, rng=rng)
    whole = np.mean(reached)
    assert 0.01 < whole < 0.5
    assert found == pytest.approx({pair: max(p, whole) for pair, p in own.items()}, abs=0.01)


def test_of_four_groups_two_pairs_are_a_hypothesis_of_their_own():
    """Where {0, 1} and {2, 3} are each alike, the larger of the two differences is what has to be exceeded."""
    rng = np.random.default_rng(5)
    s = np.concatenate([rng.normal(mean, 0.1, 6) for mean in (0, 0.1, 9, 9.2)])
    groups = np.repeat(np.arange(4), 6)
    every = {(i, j): [s[groups == i], s[groups == j]] for i in range(4) for j in range(i + 1, 4)}
    dealt = {pair: np.array(dealt_ds(np.concatenate(every[pair]))) for pair in ((0, 1), (2, 3))}
    own = {
        pair: float((dealt[pair] >= d_of(*every[pair]) - 1e-12).mean()) if pair in dealt else 1e-4 for pair in every
    }
    seen = max(d_of(*every[0, 1]), d_of(*every[2, 3])) - 1e-12
    both = 1 - np.prod([(each < seen).mean() for each in dealt.values()])
    found = closed_p_values(units_of(s), groups, own, ddof=1, permutations=20_000, rng=np.random.default_rng(0))
    assert own[2, 3] < both < own[0, 1]
    assert found[0, 1] == own[0, 1]
    assert found[2, 3] == pytest.approx(both, rel=0.2)
    assert found[2, 3] > 1.3 * own[2, 3]
    assert found[0, 2] < 0.005


def dealt_ds(s):
    """|d| of every way to deal the values to two halves."""
    halves = combinations(range(len(s)), len(s) // 2)
    return [d_of(s[list(half)], np.delete(s, list(half))) for half in halves]


def test_closed_testing_shows_what_holm_cannot_with_few_speakers(tmp_path):
    rng = np.random.default_rng(2)
    clips = {level: people(level, 4, 1, shift, rng=rng) for level, shift in (("a", 0.0), ("b", 2.0), ("c", 5.0))}
    measured = write_measurement(tmp_path, clips["a"], [*clips["b"], *clips["c"]])
    (found,) = asked(*measured, by=("level",))
    p = [each["p_value"] for each in found["contrasts"]]
    assert p == [pytest.approx(2 / 70)] * 3  # the least that four and four allow
    assert holm(p).min() > 0.05
    assert [each["p_adjusted"] for each in found["contrasts"]] == [pytest.approx(2 / 70)] * 3


def test_two_alike_groups_are_rarely_called_different_whatever_the_third():
    """Strong control: relabelling over all three would say more of the two than it may."""
    rng, false = np.random.default_rng(11), 0
    for _ in range(200):
        s = np.concatenate([rng.normal(0, 1, 8), rng.normal(0, 1, 8), rng.normal(30, 0.2, 8)])
        groups = np.repeat(np.arange(3), 8)
        own = {pair: float(ttest_ind(*(s[groups == i] for i in pair)).pvalue) for pair in ((0, 1), (0, 2), (1, 2))}
        found = closed_p_values(units_of(s), groups, own, ddof=1, permutations=99, rng=rng)
        assert max(found[0, 2], found[1, 2]) <= 0.02
        false += found[0, 1] < 0.05
    assert 2 < false < 0.05 * 200 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_all_alike_are_rarely_called_different():
    rng, false = np.random.default_rng(12), 0
    for _ in range(200):
        s, groups = rng.normal(size=20), np.repeat(np.arange(4), [3, 5, 5, 7])
        own = {(i, 0): float(ttest_ind(s[groups == i], s[groups == 0]).pvalue) for i in range(1, 4)}
        found = closed_p_values(units_of(s), groups, own, ddof=1, permutations=99, rng=rng)
        false += min(found.values()) < 0.05
    assert 2 < false < 0.05 * 200 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_of_more_than_seven_groups_p_is_holms(tmp_path):
    rng = np.random.default_rng(4)
    clips = [clip for n in range(8) for clip in people(f"l{n}", 3, 1, 0.0, rng=rng)]
    (found,) = asked(*write_measurement(tmp_path, clips[:3], clips[3:]), by=("level",), references=("l0",))
    assert (len(found["contrasts"]), found["adjusted_by"]) == (7, "Holm")


def test_vectors_of_the_fixture_lie_along_their_shift():
    """The made-up vectors do what they say: s rises with the shift."""
    rng = np.random.default_rng(0)
    w, sides = vectors_of([Clip(-3.0, "a", {}), Clip(3.0, "b", {})], rng)
    assert w[1] @ (sides["A"].mean(0) - sides["B"].mean(0)) > w[0] @ (sides["A"].mean(0) - sides["B"].mean(0))
