"""What drives d: every number against a loop over clips and dimensions, and on vectors with a known answer."""

from itertools import combinations

import numpy as np
import pytest

from speechbias import geometry as g
from speechbias.speat import effect_size


def drawn(seed=0, dim=7, states=None, **counts):
    rng = np.random.default_rng(seed)
    sizes = {"X": 6, "Y": 5, "A": 4, "B": 8} | counts
    middle = () if states is None else (states,)
    return {name: rng.standard_normal((n, *middle, dim)) + 0.5 for name, n in sizes.items()}


def cosine(u, v):
    return sum(a * b for a, b in zip(u, v, strict=True)) / np.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def test_the_mean_cosines_are_means_of_cosines_and_give_the_numerator_of_d():
    sets = drawn()
    found = g.mean_cosines(sets)
    for pair in ("XA", "XB", "YA", "YB"):
        expected = np.mean([cosine(u, v) for u in sets[pair[0]] for v in sets[pair[1]]])
        assert found[pair] == pytest.approx(expected, rel=1e-12)
    s = [
        np.mean([cosine(w, a) for a in sets["A"]]) - np.mean([cosine(w, b) for b in sets["B"]])
        for k in "XY"
        for w in sets[k]
    ]
    numerator = found["XA"] - found["XB"] - found["YA"] + found["YB"]
    assert numerator == pytest.approx(np.mean(s[:6]) - np.mean(s[6:]))
    assert numerator / np.std(s, ddof=1) == pytest.approx(effect_size(**sets))


def test_the_share_of_a_dimension_is_what_is_lost_with_its_products():
    sets = drawn()
    shares = g.dimension_shares(sets)
    assert shares.sum() == pytest.approx(1)

    def difference(left_out=None):
        total = 0.0
        for name, sign in (("X", 1), ("Y", -1)):
            for attribute, other in (("A", 1), ("B", -1)):
                products = [
                    sum(a * b for k, (a, b) in enumerate(zip(u, v, strict=True)) if k != left_out)
                    / np.linalg.norm(u) / np.linalg.norm(v)
                    for u in sets[name] for v in sets[attribute]
                ]  # fmt: skip
                total += sign * other * np.mean(products)
        return total

    for dimension, share in enumerate(shares):
        assert share == pytest.approx(1 - difference(dimension) / difference(), rel=1e-9)


def test_a_dimension_that_alone_tells_the_sets_apart_has_all():
    rng = np.random.default_rng(1)
    sets = drawn(dim=50)
    base = rng.standard_normal(50)
    for name, sign in zip("XYAB", (1, -1, 1, -1), strict=True):
        sets[name] = base + 1e-6 * sets[name]
        sets[name][:, 11] = base[11] + 0.5 * sign
    shares = g.dimension_shares(sets)
    assert shares.argmax() == 11
    assert g.fewest_for_half(shares) == 1


def test_few_dimensions_for_half():
    assert g.fewest_for_half(np.array([0.3, 0.1, 0.4, 0.2])) == 2
    assert g.fewest_for_half(np.array([0.9, -0.4, 0.5])) == 1
    same = drawn()
    assert g.fewest_for_half(g.dimension_shares(same | {"Y": same["X"]})) == 0


def test_anisotropy_is_the_mean_cosine_of_two_clips_and_dimensions_sum_to_it():
    clips = drawn(X=9)["X"]
    found = g.geometry(clips)
    assert found.anisotropy == pytest.approx(np.mean([cosine(u, v) for u, v in combinations(clips, 2)]))
    assert found.rogue.sum() == pytest.approx(found.anisotropy)
    expected = np.mean([u[2] * v[2] / np.linalg.norm(u) / np.linalg.norm(v) for u, v in combinations(clips, 2)])
    assert found.rogue[2] == pytest.approx(expected)
    np.testing.assert_allclose(found.norms, [np.sqrt(sum(x * x for x in clip)) for clip in clips])


def test_a_state_of_long_vectors_rules_the_mean():
    states = drawn(states=3)["X"]
    shares = g.state_shares(states)
    assert shares.sum() == pytest.approx(1)
    for state in range(3):
        parts = [clip[state] @ clip.mean(0) / 3 / (clip.mean(0) @ clip.mean(0)) for clip in states]
        assert shares[state] == pytest.approx(np.mean(parts))
    states[:, 1] *= 1000
    assert g.state_shares(states)[1] == pytest.approx(1, abs=0.01)


def test_d_is_the_packages_d():
    sets = drawn()
    for ddof in (0, 1):
        assert g.effect(sets, ddof=ddof) == pytest.approx(effect_size(**sets, ddof=ddof), rel=1e-12)
    assert np.isnan(g.effect(sets | {"A": sets["B"]}))


def test_other_geometries():
    sets = drawn()
    everything = np.concatenate(list(sets.values()))
    mean, deviation = everything.mean(0), everything.std(0)
    np.testing.assert_allclose(g.centred(sets)["A"], sets["A"] - mean)
    np.testing.assert_allclose(g.standardised(sets)["B"], (sets["B"] - mean) / deviation)
    constant = {name: np.concatenate([array, np.ones((len(array), 1))], axis=1) for name, array in sets.items()}
    assert (g.standardised(constant)["X"][:, -1] == 0).all()
    by_state = drawn(states=3)
    expected = np.mean([[v / np.linalg.norm(v) for v in clip] for clip in by_state["X"]], axis=1)
    np.testing.assert_allclose(g.equal_states(by_state)["X"], expected)


def test_the_dimensions_that_rule_the_mean_cosine_can_be_left_out():
    sets = drawn(dim=9)
    for array in sets.values():
        array[:, 4] += 100
    left = g.without_largest(sets, 1)
    np.testing.assert_array_equal(left["X"], np.delete(sets["X"], 4, axis=1))


def test_leaving_people_out():
    sets = drawn()
    people = {"X": ["a", "a", "b", "b", "c", ""], "Y": ["d", "d", "d", "e", "b"]}
    found = g.leave_one_out(sets, people)
    for number, name in enumerate("abcde"):
        x = sets["X"][[p != name for p in people["X"]]]
        y = sets["Y"][[p != name for p in people["Y"]]]
        assert found[number] == pytest.approx(effect_size(x, y, sets["A"], sets["B"]))
    assert np.isnan(g.leave_one_out(sets, {"A": ["t", "t", "t", "u"]})[0])


def test_single_category_weat_is_that_of_a_loop():
    sets = drawn()
    found = []
    for w in sets["X"]:
        to_a, to_b = [cosine(w, a) for a in sets["A"]], [cosine(w, b) for b in sets["B"]]
        found.append((np.mean(to_a) - np.mean(to_b)) / np.std(to_a + to_b, ddof=1))
    assert g.single_category(sets["X"], sets["A"], sets["B"]) == pytest.approx(np.mean(found), rel=1e-12)
    assert g.single_category(sets["X"], sets["B"], sets["A"]) == pytest.approx(-np.mean(found))
    same = np.ones((2, 7))
    assert np.isnan(g.single_category(sets["X"], same, same))


def test_relative_norm_distance_is_that_of_a_loop_and_negative_near_x():
    sets = drawn()
    units = {name: [v / np.linalg.norm(v) for v in array] for name, array in sets.items()}
    x, y = (np.mean(units[name], axis=0) for name in "XY")
    expected = np.mean([np.linalg.norm(a - x) - np.linalg.norm(a - y) for a in units["A"]])
    assert g.relative_norm_distance(sets, "A") == pytest.approx(expected)
    assert g.relative_norm_distance(sets | {"A": sets["X"]}, "A") < 0


def test_the_projection_counts_lengths_and_the_cosine_does_not():
    sets = drawn()
    direction = np.mean(sets["A"], axis=0) - np.mean(sets["B"], axis=0)
    s = [float(np.dot(w, direction)) for name in "XY" for w in sets[name]]
    expected = (np.mean(s[:6]) - np.mean(s[6:])) / np.std(s, ddof=1)
    assert g.projection_gap(sets) == pytest.approx(expected)
    longer = sets | {"X": 3 * sets["X"]}
    assert g.effect(longer) == pytest.approx(g.effect(sets))
    assert g.projection_gap(longer) != pytest.approx(expected, rel=1e-3)
    assert g.projection_gap({name: 7 * array for name, array in sets.items()}) == pytest.approx(expected)
