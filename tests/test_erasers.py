"""LEACE and mean projection: against the reference implementation, and what the theorem promises."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage

from speechbias.erasers import METHODS, fit_eraser, ledoit_wolf_share, stacked
from speechbias.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of the compiler that it uses
    from concept_erasure import LeaceFitter


def drawn(n=200, dim=12, classes=("f", "m"), seed=0, shift=2.0):
    """Correlated embeddings whose classes lie apart in some directions."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim))
    of_each = rng.integers(len(classes), size=n)
    of_each[: 2 * len(classes)] = np.tile(np.arange(len(classes)), 2)
    points = rng.standard_normal((n, dim)) @ mixing + shift * rng.standard_normal((len(classes), dim))[of_each] + 3.0
    return points, [classes[each] for each in of_each]


def class_means(points, classes):
    return np.array([points[[c == name for c in classes]].mean(0) for name in sorted(set(classes))])


@pytest.mark.parametrize("classes", [("f", "m"), ("us", "uk", "in", "ie")])
def test_leace_is_the_reference_implementations(classes):
    points, labels = drawn(classes=classes)
    codes = np.array([[float(label == name) for name in sorted(classes)] for label in labels])
    fitter = LeaceFitter(12, len(classes), dtype=torch.float64, shrinkage=False, constrain_cov_trace=False)
    reference = fitter.update(torch.from_numpy(points), torch.from_numpy(codes)).eraser(torch.from_numpy(points))
    ours = fit_eraser(points, labels, shrink=False)
    np.testing.assert_allclose(ours(points), reference.numpy(), atol=1e-9)
    assert ours.rank == len(classes) - 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shrink", [True, False])
@pytest.mark.parametrize(("n", "dim"), [(200, 12), (30, 64)])
def test_the_classes_have_one_mean_afterwards(method, shrink, n, dim):
    points, labels = drawn(n, dim, classes=("a", "b", "c"))
    erased = fit_eraser(points, labels, method=method, shrink=shrink)(points)
    before, after = np.ptp(class_means(points, labels), axis=0), np.ptp(class_means(erased, labels), axis=0)
    assert after.max() < 1e-8 * before.max()
    np.testing.assert_allclose(erased.mean(0), points.mean(0), atol=1e-8)


def test_mean_projection_takes_the_direction_between_two_means_and_no_other():
    points, labels = drawn()
    eraser = fit_eraser(points, labels, method="mean-projection")
    first, second = class_means(points, labels)
    direction = (first - second) / np.linalg.norm(first - second)
    centred = points - points.mean(0)
    expected = points - np.outer(centred @ direction, direction)
    np.testing.assert_allclose(eraser(points), expected, atol=1e-10)


def test_leace_moves_embeddings_less_than_any_other_eraser_in_the_metric_of_the_covariance():
    points, labels = drawn(400)
    inverse = np.linalg.inv(np.cov(points.T, bias=True))

    def cost(method):
        moved = fit_eraser(points, labels, method=method, shrink=False)(points) - points
        return np.einsum("nd,de,ne->", moved, inverse, moved), (moved**2).sum()

    leace, projection = cost("leace"), cost("mean-projection")
    assert leace[0] < projection[0]
    assert leace[1] < projection[1]  # Theorem 4.3: in every metric, Euclid's too


def test_erasing_frames_and_averaging_is_averaging_and_erasing():
    points, labels = drawn()
    eraser = fit_eraser(points, labels)
    frames = np.random.default_rng(1).standard_normal((3, 50, 12))
    np.testing.assert_allclose(eraser(frames).mean(1), eraser(frames.mean(1)), atol=1e-12)


def test_twice_is_once():
    points, labels = drawn(classes=("a", "b", "c"))
    eraser = fit_eraser(points, labels)
    np.testing.assert_allclose(eraser(eraser(points)), eraser(points), atol=1e-9)


@pytest.mark.parametrize(("n", "dim"), [(200, 12), (30, 64), (8, 3)])
def test_the_share_of_shrinkage_is_scikit_learns(n, dim):
    points, _ = drawn(n, dim)
    centred = points - points.mean(0)
    assert ledoit_wolf_share(centred) == pytest.approx(ledoit_wolf_shrinkage(centred, assume_centered=True))


def test_several_of_different_rank_are_one_array_that_erases_alike():
    made = [fit_eraser(*drawn(classes=classes)) for classes in (("a", "b"), ("a", "b", "c"))]
    arrays = stacked(made)
    assert arrays["found"].shape == (2, 12, 2)
    points = drawn(seed=9)[0]
    for eraser, mean, found, taken in zip(made, *arrays.values(), strict=True):
        np.testing.assert_allclose(points - ((points - mean) @ found) @ taken, eraser(points), atol=1e-10)


def test_embeddings_without_any_difference_stay():
    points = np.ones((6, 4)) * np.arange(4)
    eraser = fit_eraser(points, list("aabbaa"), method="mean-projection")
    np.testing.assert_array_equal(eraser(points), points)


@pytest.mark.parametrize(
    ("points", "labels", "changes", "match"),
    [
        (np.ones((4, 2)), list("aaaa"), {}, "two classes or more with two clips each, got 4 of 'a'"),
        (np.ones((4, 2)), list("aaab"), {}, "3 of 'a', 1 of 'b'"),
        (np.ones((4, 2)), list("aab"), {}, r"a class for each, not \(4, 2\) and 3"),
        (np.ones(4), list("aabb"), {}, r"not \(4,\)"),
        (np.full((4, 2), np.nan), list("aabb"), {}, "NaN or Inf"),
        (np.ones((4, 2)), list("aabb"), {"method": "inlp"}, "'inlp'; take one of leace, mean-projection"),
    ],
)
def test_what_cannot_be_fitted(points, labels, changes, match):
    with pytest.raises(InputError, match=match):
        fit_eraser(points, labels, **changes)
