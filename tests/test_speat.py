"""Equations 1 and 2 against a triple loop, their symmetries, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.speat import (
    ROUNDING_RMS,
    ROUNDING_SPREAD,
    association,
    check_ddof,
    check_sets,
    check_spread,
    effect_size,
    unit,
)
from statistics_reference import association_loop, effect_size_loop

SETS = "XYAB"


def embeddings(seed=0, sizes=(5, 7, 4, 6), dim=8):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, dim)) + 0.3 for n in sizes]


def sets_of(**changed):
    """Four good sets but for those given."""
    return [changed.get(name, good) for name, good in zip(SETS, embeddings(), strict=True)]


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("sizes", "dim"), [((5, 7, 4, 6), 8), ((2, 2, 2, 2), 2), ((12, 3, 9, 2), 40)])
def test_effect_size_is_that_of_the_triple_loop(sizes, dim, ddof):
    for seed in range(5):
        sets = embeddings(seed, sizes, dim)
        assert effect_size(*sets, ddof=ddof) == pytest.approx(effect_size_loop(*sets, ddof), abs=1e-12)


def test_association_is_equation_1():
    X, _, A, B = embeddings()
    np.testing.assert_allclose(association(X, A, B), [association_loop(w, A, B) for w in X], atol=1e-14)


def test_association_takes_tensors():
    torch = pytest.importorskip("torch")
    X, _, A, B = (torch.from_numpy(array) for array in embeddings())
    np.testing.assert_allclose(association(X, A, B).numpy(), association(X.numpy(), A.numpy(), B.numpy()), atol=1e-14)


def test_unit_rows_have_length_1_whatever_axes_come_before():
    states = np.stack(embeddings(sizes=(3, 3, 3, 3)), axis=1)  # (stimuli, states, dim)
    np.testing.assert_allclose(np.linalg.norm(unit(states), axis=2), 1, atol=1e-15)
    np.testing.assert_array_equal(unit(states)[:, 1], unit(states[:, 1]))


def test_ddof_is_1_by_default():
    sets = embeddings()
    n = len(sets[0]) + len(sets[1])
    assert effect_size(*sets) == effect_size(*sets, ddof=1)
    assert effect_size(*sets, ddof=0) == pytest.approx(effect_size(*sets) * np.sqrt(n / (n - 1)), rel=1e-13)


def test_positive_d_means_x_is_nearer_to_a():
    A, B = np.eye(4)[:2] + 0.01, np.eye(4)[2:] + 0.01
    assert effect_size(A + 0.1, B + 0.2, A, B) > 1.5


seeds, shapes = st.integers(0, 2**20), st.tuples(*[st.integers(2, 9)] * 4)


@given(seeds, shapes)
@settings(max_examples=40, deadline=None)
def test_d_changes_sign_when_targets_or_attributes_are_swapped(seed, sizes):
    X, Y, A, B = embeddings(seed, sizes)
    d = effect_size(X, Y, A, B)
    assert effect_size(Y, X, A, B) == pytest.approx(-d, abs=1e-11)
    assert effect_size(X, Y, B, A) == pytest.approx(-d, abs=1e-11)
    assert abs(d) <= np.sqrt((sizes[0] + sizes[1] - 1) * (1 / sizes[0] + 1 / sizes[1])) + 1e-9


@given(seeds, shapes, st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_d_knows_neither_length_nor_rotation_nor_order(seed, sizes, scale):
    sets = embeddings(seed, sizes)
    rng = np.random.default_rng(seed)
    d = pytest.approx(effect_size(*sets), abs=1e-9)
    assert effect_size(*(array * scale for array in sets)) == d
    assert effect_size(*(array * rng.uniform(0.5, 2, size=(len(array), 1)) for array in sets)) == d
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert effect_size(*(array @ rotation for array in sets)) == d
    assert effect_size(*(rng.permutation(array) for array in sets)) == d


def test_float32_and_whole_numbers_are_computed_in_float64():
    sets = [array.astype(np.float32) for array in embeddings()]
    assert effect_size(*sets) == effect_size(*(array.astype(np.float64) for array in sets))
    whole = [np.round(array * 50).astype(int) for array in embeddings()]
    assert effect_size(*whole) == effect_size(*(array.astype(float) for array in whole))
    assert effect_size(*(array.tolist() for array in whole)) == effect_size(*whole)


def spoiled(value, row=3):
    X = embeddings()[0]
    X[row] = value
    return X


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (sets_of(X=spoiled(0.0)), r"X\[3\] is zero"),
        (sets_of(X=spoiled(np.nan)), r"X\[3\] is not finite"),
        (sets_of(A=spoiled(np.inf, 1)), r"A\[1\] is not finite"),
        (sets_of(B=spoiled(0.0) * 1e-7 + 1e-7), r"B\[0\] is at rounding level \(5 in all\).*CMVN"),
        (sets_of(Y=np.ones((1, 8))), "Y holds 1 stimuli"),
        (sets_of(B=np.empty((0, 8))), "B holds 0 stimuli"),
        (sets_of(A=np.ones((4, 9))), r"differ in their dimensions.*A \(4, 9\)"),
        (sets_of(X=np.ones(8)), r"X has shape \(8,\)"),
        (sets_of(X=np.ones((3, 2, 8))), r"X has shape \(3, 2, 8\)"),
        (sets_of(X=np.full((3, 8), "a")), "X has shape"),
        (sets_of(X=np.ones((3, 8), complex)), "complex"),
        (sets_of(A=embeddings()[2], B=embeddings()[2]), "same s"),
        (sets_of(X=np.ones((5, 8)), Y=2 * np.ones((7, 8))), "same s"),
    ],
)
def test_degenerate_input_is_refused_with_the_reason(sets, message):
    with pytest.raises(InputError, match=message):
        effect_size(*sets)


def test_just_above_rounding_level_is_measured():
    check_sets({"X": np.full((2, 8), ROUNDING_RMS)}, ndim=2)
    with pytest.raises(InputError, match="rounding level"):  # of an element, whatever the number of dimensions
        check_sets({"X": np.full((2, 8), 0.9 * ROUNDING_RMS)}, ndim=2)
    sets = embeddings()
    assert effect_size(*(array * 1e-4 for array in sets)) == pytest.approx(effect_size(*sets), abs=1e-12)


@pytest.mark.parametrize("ddof", [2, -1, 0.5])
def test_other_ddofs_are_refused(ddof):
    with pytest.raises(InputError, match="ddof"):
        check_ddof(ddof)
    with pytest.raises(InputError, match="ddof"):
        effect_size(*embeddings(), ddof=ddof)


def test_the_state_of_a_bad_embedding_is_named():
    X = np.ones((3, 2, 4))
    X[1, 1] = 0
    with pytest.raises(InputError, match=r"X\[1\], state 1, is zero"):
        check_sets({"X": X, "Y": np.ones((2, 2, 4))}, ndim=3)


def test_spread_at_rounding_level_is_no_spread():
    with pytest.raises(InputError, match=r"^All targets have the same s: d"):
        check_spread(0.5 + 1e-15 * np.arange(6.0))
    with pytest.raises(InputError, match=r"^All targets have the same s in state 3: d"):
        check_spread(np.array([0, 2 * ROUNDING_SPREAD]), where="state 3")
    check_spread(0.5 + 1e-11 * np.arange(6.0))
