"""The whole test: what it returns, that states do not touch each other, published p's, refusals."""

import csv
import inspect
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

import speechbias
from speechbias.errors import InputError
from speechbias.inference import DEFAULTS, AssociationTest, associate, association_test, p_from_effect_size
from speechbias.inference import selections as selecting
from speechbias.inference.association import all_cosines
from speechbias.inference.attributes import attribute_test
from speechbias.inference.designs import relabel, relabel_attributes
from speechbias.inference.intervals import Strata, attribute_interval, target_interval
from speechbias.inference.permutation import permutation_test, smallest_p
from speechbias.speat import association, effect_size
from statistics_reference import attribute_labellings, labellings, p_attribute_by_enumeration, p_by_enumeration

FAST = {"permutations": 3000, "resamples": 300}
SIZES = (7, 6, 5, 6)


def embeddings(sizes=SIZES, dim=6, seed=0, states=None):
    rng = np.random.default_rng(seed)
    shape = (dim,) if states is None else (states, dim)
    sets = [rng.normal(size=(n, *shape)) + 0.5 for n in sizes]
    shift = rng.normal(size=dim)
    return sets[0] + 0.5 * shift, sets[1], sets[2] + shift, sets[3]


def speakers_of(sizes, clips=4):
    return {name: [f"{name}{i // clips}" for i in range(n)] for name, n in zip("XY", sizes, strict=False)}


def test_it_holds_d_and_both_ps():
    X, Y, A, B = embeddings()
    found = association_test(X, Y, A, B, **FAST)
    assert found.d == pytest.approx(effect_size(X, Y, A, B), abs=1e-13)
    s = association(np.concatenate([X, Y]), A, B)
    every = labellings("independent", [""] * 7, [""] * 6)
    assert found.p_value == pytest.approx(p_by_enumeration(s, every, 7, "two-sided"))
    w, v = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (np.r_[X, Y], np.r_[A, B]))
    every = attribute_labellings([""] * 5, [""] * 6)
    assert found.p_attribute == pytest.approx(p_attribute_by_enumeration(w @ v.T, 7, 5, every, "two-sided"))
    assert found.n == {"X": 7, "Y": 6, "A": 5, "B": 6}
    assert found.n_speakers == found.n
    assert found.ci_low < found.d < found.ci_high
    assert found.ci_attributes[0] < found.d < found.ci_attributes[1]
    assert (found.design, found.alternative, found.ddof, found.seed) == ("independent", "two-sided", 1, 0)
    assert (found.p_method, found.p_adjusted, found.redrawn, found.confidence) == ("exact", None, 0, 0.95)
    assert (found.permutations, found.resamples, found.ci_method) == (3000, 300, "bca")
    assert found.leave_one_talker_out is None
    assert found.attribute_talkers == 11


def test_each_part_draws_from_its_own_stream():
    """The same relabellings and resamples whatever else is asked for: contract of ``seed``."""
    n_x, n_a, seed = 16, 13, 7
    sets = embeddings((n_x, 15, n_a, 12), states=2)
    options = {"alternative": "greater", "permutations": 500}
    bootstrap = {"n_x": n_x, "ddof": 0, "resamples": 200, "confidence": 0.8}
    found = associate(*sets, seed=seed, simultaneous=[1], ddof=0, resamples=200, confidence=0.8, **options)
    cosines = all_cosines(dict(zip("XYAB", sets, strict=True)))
    s = (cosines[:, :, :n_a].mean(axis=2) - cosines[:, :, n_a:].mean(axis=2)).T
    streams = [np.random.default_rng([seed, stream]) for stream in range(4)]
    targets, talkers = (
        Strata.of([f"{i}" for i in range(n)], [f"b{i}" for i in range(m)]) for n, m in ((16, 15), (13, 12))
    )
    clips, attributes = (([""] * n, [""] * m) for n, m in ((16, 15), (13, 12)))
    permuted = permutation_test(
        s, relabel("independent", clips), n_x=n_x, rng=streams[0], family=[1], saddlepoint=True, **options
    )
    of_attributes, _ = attribute_test(
        cosines, relabel_attributes(attributes), n_x=n_x, n_a=n_a, rng=streams[1], **options
    )
    interval = target_interval(s, targets, rng=streams[2], **bootstrap)
    wider, _ = attribute_interval(cosines, targets, talkers, n_a=n_a, rng=streams[3], **bootstrap)
    for k, test in enumerate(found):
        assert (test.p_value, test.p_method, test.p_min) == (permuted.p_value[k], permuted.method[k], permuted.p_min)
        assert test.p_attribute == of_attributes[k]
        assert (test.ci_low, test.ci_high, test.ci_method) == (interval.low[k], interval.high[k], interval.method[k])
        assert test.ci_attributes == (wider.low[k], wider.high[k])
    assert [test.p_adjusted for test in found] == [None, permuted.p_adjusted[1]]


def test_it_is_what_the_package_offers():
    assert speechbias.association_test is association_test
    assert speechbias.effect_size is effect_size
    assert speechbias.p_from_effect_size is p_from_effect_size


def test_ddof_reaches_d_and_intervals():
    sets = embeddings()
    one, none = association_test(*sets, **FAST), association_test(*sets, ddof=0, **FAST)
    ratio = np.sqrt(13 / 12)
    assert none.d == pytest.approx(one.d * ratio, rel=1e-12)
    assert none.ci_low != one.ci_low
    assert none.p_value == one.p_value
    assert none.p_attribute == one.p_attribute


def test_alternatives_are_those_of_the_sign():
    sets = embeddings()
    tests = {a: association_test(*sets, alternative=a, **FAST) for a in ("two-sided", "greater", "less")}
    assert tests["greater"].p_value < 0.5 < tests["less"].p_value
    assert tests["greater"].p_value <= tests["two-sided"].p_value
    assert tests["greater"].p_attribute < 0.5 < tests["less"].p_attribute


sizes = st.tuples(*[st.integers(3, 6)] * 4)


@given(st.integers(0, 2**20), sizes)
@settings(max_examples=15, deadline=None)
def test_swapping_targets_or_attributes_changes_signs_only(seed, sizes):
    X, Y, A, B = embeddings(sizes, seed=seed)
    options = {"permutations": 100, "resamples": 40}
    found = association_test(X, Y, A, B, **options)
    for swapped in (association_test(Y, X, A, B, **options), association_test(X, Y, B, A, **options)):
        assert swapped.d == pytest.approx(-found.d, abs=1e-11)
        assert swapped.p_value == pytest.approx(found.p_value)
        assert swapped.p_attribute == pytest.approx(found.p_attribute)
        assert swapped.p_min == pytest.approx(found.p_min)


CLIPS = (40, 36, 24, 22)
TALKERS = {"A": [f"t{i % 12}" for i in range(24)], "B": [f"t{i % 11}" for i in range(22)]}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"speakers": TALKERS},
        {"speakers": {**speakers_of(CLIPS), **TALKERS}},
        {"speakers": {name: [f"s{i % 8}" for i in range(n)] for name, n in zip("XYAB", CLIPS, strict=True)}},
        {"alternative": "less", "ddof": 0},
    ],
    ids=["clips", "talkers", "speakers", "within", "options"],
)
def test_a_state_does_not_depend_on_its_neighbours(options):
    sets = embeddings(CLIPS, states=5, dim=24)
    all_five = associate(*sets, **options, **FAST)
    for chosen in ([3], [4, 3, 0], [1, 3]):
        some = associate(*(array[:, chosen] for array in sets), **options, **FAST)
        for place, state in enumerate(chosen):
            assert some[place] == all_five[state]
    assert association_test(*(array[:, 3] for array in sets), **options, **FAST) == all_five[3]
    with_family = associate(*sets, **options, **FAST, simultaneous=[0, 1, 2])
    assert [replace(test, p_adjusted=None) for test in with_family] == list(all_five)
    assert [test.p_adjusted is None for test in with_family] == [False, False, False, True, True]


def test_the_seed_decides_all_that_is_random():
    sets = embeddings(CLIPS, dim=24)
    one, again = association_test(*sets, seed=5, **FAST), association_test(*sets, seed=5, **FAST)
    assert one == again
    other = association_test(*sets, seed=6, **FAST)
    assert other.p_attribute != one.p_attribute
    assert other.ci_low != one.ci_low
    assert other.ci_attributes != one.ci_attributes
    assert other.d == one.d
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (that nobody touches it)
    association_test(*sets, **FAST)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_the_input_stays_as_it_was():
    sets = [array.astype(np.float32) for array in embeddings()]
    copies = [array.copy() for array in sets]
    association_test(*sets, **FAST)
    for array, copy in zip(sets, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_default_design_comes_from_the_speakers():
    sets = embeddings((20, 20, 6, 6))
    speakers = speakers_of((20, 20))
    found = association_test(*sets, speakers=speakers, **FAST)
    assert (found.design, found.p_method, found.p_min) == ("speaker", "exact", 2 / 252)
    assert found.n_speakers == {"X": 5, "Y": 5, "A": 6, "B": 6}
    assert association_test(*sets, speakers=speakers, design="independent", **FAST).design == "independent"
    both = {"X": [f"s{i % 10}" for i in range(20)], "Y": [f"s{i % 10}" for i in range(20)]}
    assert association_test(*sets, speakers=both, **FAST).design == "within-speaker"
    pairs = {"X": list(range(20)), "Y": list(range(19, -1, -1))}
    paired = association_test(*sets, design="pair", pairs=pairs, **FAST)
    assert (paired.design, paired.p_min) == ("pair", 1 / 3001)


def test_unknown_speakers_may_be_blank_none_or_nan():
    sets = embeddings()
    named = {"X": ["a", "", "  ", None, float("nan"), "a ", "b"], "A": np.array(["t"] * 5)}
    found = association_test(*sets, speakers=named, **FAST)
    assert found.n_speakers == {"X": 6, "Y": 6, "A": 1, "B": 6}
    assert found.design == "speaker"
    assert any("4 in X, 6 in Y, 6 in B" in warning for warning in found.warnings)


def test_few_attribute_talkers_are_flagged():
    sets = embeddings()
    few = {"A": ["t", "t", "u", "u", "v"], "B": ["t", "t", "u", "u", "v", "v"]}
    found = association_test(*sets, speakers=few, **FAST)
    assert found.attribute_talkers == 3
    without = []
    for talker in "tuv":
        A, B = ([row for row, who in zip(array, few[name], strict=True) if who != talker]
                for name, array in zip("AB", sets[2:], strict=True))  # fmt: skip
        without.append(effect_size(sets[0], sets[1], A, B))
    assert found.leave_one_talker_out == pytest.approx((min(without), max(without)), abs=1e-12)
    assert any("only 3 attribute talkers" in warning for warning in found.warnings)


def test_ten_attribute_talkers_are_not_few():
    found = association_test(*embeddings((8, 8, 5, 5)), **FAST)
    assert found.attribute_talkers == 10
    assert found.leave_one_talker_out is None
    assert not any("attribute talkers" in warning for warning in found.warnings)


def test_named_independent_the_design_draws_clips_whoever_speaks():
    sets = embeddings((8, 8, 5, 6))
    named = association_test(*sets, speakers=speakers_of((8, 8), clips=2), design="independent", **FAST)
    unknown = association_test(*sets, **FAST)
    assert (named.p_value, named.ci_low, named.ci_high) == (unknown.p_value, unknown.ci_low, unknown.ci_high)
    assert named.ci_attributes == unknown.ci_attributes


def test_another_design_is_named_than_that_of_the_pairs():
    sets, pairs = embeddings((8, 8, 5, 6)), {name: [f"p{i}" for i in range(8)] for name in "XY"}
    options = {"speakers": speakers_of((8, 8), clips=2), "design": "speaker", **FAST}
    named, without = association_test(*sets, pairs=pairs, **options), association_test(*sets, **options)
    assert (named.p_value, named.ci_low, named.ci_high) == (without.p_value, without.ci_low, without.ci_high)
    paired = association_test(*sets, pairs=pairs, **options | {"design": "pair"})
    assert (paired.ci_low, paired.ci_high) != (named.ci_low, named.ci_high)


def test_few_units_of_a_group_are_flagged():
    for sizes, flagged in (((8, 9), False), ((7, 9), True), ((9, 7), True)):
        found = association_test(*embeddings((*sizes, 5, 6)), **FAST)
        warned = [warning for warning in found.warnings if "independent units" in warning]
        assert [warning.split()[1] for warning in warned] == (["7"] if flagged else [])


def test_what_cannot_become_significant_says_so():
    found = association_test(*embeddings((4, 4, 3, 3)), speakers=speakers_of((4, 4), clips=2), **FAST)
    assert found.p_min == 2 / 6
    assert any(re.search(r"p_value cannot go below 0\.33", warning) for warning in found.warnings)
    assert any(re.search(r"p_attribute cannot go below 0\.1", warning) for warning in found.warnings)
    assert not found.associated


def test_a_smallest_p_of_exactly_alpha_shows_nothing():
    found = association_test(
        *embeddings((6, 6, 3, 3)), speakers=speakers_of((6, 6), clips=2), alternative="greater", **FAST
    )
    assert found.p_min == 1 / 20
    assert any("p_value cannot go below 0.05" in warning for warning in found.warnings)


def test_one_speaker_in_a_group_is_flagged():
    speakers = {"X": ["a"] * 7, "Y": list("bcdefg")}
    found = association_test(*embeddings(), speakers=speakers, **FAST)
    assert any("only one speaker in a group" in warning for warning in found.warnings)
    assert found.ci_method == "none"
    assert found.ci_low == -found.ci_high == pytest.approx(-np.sqrt(13 * 12 / (7 * 6)))
    assert found.ci_attributes == (found.ci_low, found.ci_high)
    assert not any("only one" in warning for warning in association_test(*embeddings(), **FAST).warnings)


def test_p_is_never_below_its_floor_nor_nan(monkeypatch):
    monkeypatch.setattr(selecting, "EXACT_UP_TO", 100)
    for seed in range(6):
        for speakers in (None, speakers_of((12, 12), clips=2), speakers_of((12, 12), clips=3)):
            X, Y, A, B = embeddings((12, 12, 6, 6), seed=seed)
            for alternative in ("two-sided", "greater", "less"):
                found = association_test(
                    X + seed,
                    Y - seed,
                    A,
                    B,
                    speakers=speakers,
                    alternative=alternative,
                    permutations=500,
                    resamples=20,
                )
                assert 0 < found.p_min <= found.p_value <= 1
                assert 0 < found.p_attribute_min <= found.p_attribute <= 1


def test_it_prints_as_a_short_block():
    found = association_test(*embeddings(CLIPS, dim=24), speakers=TALKERS, confidence=0.975, **FAST)
    text = str(found)
    assert text.startswith(f"d = {found.d:+.3f}   97.5 % interval {found.ci_low:+.3f} to {found.ci_high:+.3f}\n")
    assert f"p_value     = {found.p_value:.3g}  do X and Y differ?" in text
    assert f"p_attribute = {found.p_attribute:.3g}  is the difference aligned with A against B?" in text
    assert "X 40, Y 36, A 24, B 22 stimuli" in text
    assert all(f"  warning: {warning}" in text for warning in found.warnings)
    assert max(map(len, text.splitlines())) < 120
    yes = replace(found, p_value=0.01, p_attribute=0.024)
    assert "\n  associated: both are below 0.025" in str(yes)
    for no in (replace(yes, p_value=0.03), replace(yes, p_attribute=0.025)):
        assert isinstance(no, AssociationTest)
        assert not no.associated
        assert "\n  not associated: not both are below 0.025" in str(no)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alternative": "both"}, "alternative 'both'"),
        ({"permutations": 0}, "permutations is 0"),
        ({"resamples": 0}, "resamples is 0"),
        ({"confidence": 1.0}, r"confidence is 1\. Take a share"),
        ({"confidence": 95}, "confidence is 95"),
        ({"seed": -1}, "seed is -1"),
        ({"ddof": 2}, "ddof is 2"),
        ({"design": "paired"}, "no design 'paired'"),
        ({"design": "pair"}, "pair id"),
        ({"speakers": {"X": ["a"]}}, "1 speakers for X, which holds 7"),
        ({"speakers": {"Z": ["a"]}}, "sets Z"),
        ({"speakers": {"X": list("aabcdef"), "Y": list("abbghi")}, "design": "speaker"}, "within-speaker"),
        ({"speakers": {"X": list("aabccef"), "Y": list("aabghi")}}, "No design fits"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        association_test(*embeddings(), **options)


def test_the_least_confidence_is_a_half():
    assert association_test(*embeddings(), **FAST | {"confidence": 0.5}).confidence == 0.5
    with pytest.raises(InputError, match=r"confidence is 0\.49"):
        association_test(*embeddings(), confidence=0.49)


def test_degenerate_states_are_named():
    sets = list(embeddings(states=2))
    sets[1] = sets[1].copy()
    sets[1][2, 1] = 0
    with pytest.raises(InputError, match=r"Y\[2\], state 1, is zero"):
        associate(*sets)
    sets = [array.copy() for array in embeddings(sizes=(7, 6, 5, 5), states=2)]
    sets[3][:, 1] = sets[2][:, 1]
    with pytest.raises(InputError, match="same s in state 1: "):
        associate(*sets)
    with pytest.raises(InputError, match="same s: "):
        association_test(*(embeddings()[i] for i in (0, 1, 2, 2)))
    with pytest.raises(InputError, match="X has shape"):
        association_test(*embeddings(states=2))


def test_published_one_sided_ps(shared):
    rows = []
    for path in sorted((shared / "data" / "published").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows += [(float(r["SpEAT d"]), float(r["SpEAT p"]), int(r["Number of Target Embeddings per Group"]))
                     for r in csv.DictReader(file) if r["SpEAT d"] and r["SpEAT p"]]  # fmt: skip
    large = [row for row in rows if row[2] >= 50]
    assert len(large) >= 96
    for d, p, n in large:
        assert p_from_effect_size(d, n, n) == pytest.approx(p, abs=0.0015)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_the_t_approximation_is_students_test(n_x, n_y, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n_x) + 0.5, rng.normal(size=n_y)
    d = (x.mean() - y.mean()) / np.concatenate([x, y]).std(ddof=1)
    for alternative in ("two-sided", "greater", "less"):
        expected = ttest_ind(x, y, alternative=alternative).pvalue
        assert p_from_effect_size(d, n_x, n_y, alternative=alternative) == pytest.approx(expected, rel=1e-6)


def test_published_effects_have_bounds():
    bound = np.sqrt(119 * 120 / 3600)
    assert bound == pytest.approx(1.9916, abs=1e-4)
    assert 0 < p_from_effect_size(bound - 1e-12, 60, 60) < 1e-100
    assert p_from_effect_size(bound - 1e-12, 60, 60, alternative="two-sided") > 0
    for d in (bound + 1e-6, -bound - 1e-6, float("nan")):
        with pytest.raises(InputError, match=r"stays below 1\.9916"):
            p_from_effect_size(d, 60, 60)
    with pytest.raises(InputError, match="1 and 60"):
        p_from_effect_size(0.1, 1, 60)
    with pytest.raises(InputError, match="alternative"):
        p_from_effect_size(0.1, 60, 60, alternative="up")
    assert p_from_effect_size(0, 60, 60) == 0.5
    assert p_from_effect_size(0.31, 60, 60) < 0.05 < p_from_effect_size(0.3, 60, 60)
    assert p_from_effect_size(0.5, 40, 60) == pytest.approx(1 - p_from_effect_size(0.5, 40, 60, alternative="less"))


def test_the_floor_of_the_independent_design_is_that_of_all_relabellings():
    found = association_test(*embeddings((30, 30, 5, 5)), **FAST)
    relabelling = relabel("independent", ([""] * 30, [""] * 30))
    assert found.p_min == smallest_p(relabelling, "two-sided", None)
    assert found.p_min < 1e-16


def test_the_defaults_are_those_of_the_signature():
    parameters = inspect.signature(association_test).parameters
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unknown options: permutation"):
        associate(*np.random.default_rng(0).normal(size=(4, 5, 1, 3)), permutation=10)


@pytest.mark.parametrize("option", [{"permutations": 1e4}, {"seed": 1.5}, {"resamples": True}])
def test_counts_are_whole_numbers(option):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="whole number"):
        association_test(*rng.normal(size=(4, 5, 3)), **option)
