"""The quantiser against loops over frames, and on disk."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.training.quantiser import BLOCK, Quantiser, label_type, load_quantiser, nearest


def slow_nearest(frames, centres):
    labels, distances = [], []
    for frame in frames.astype(np.float64):
        squares = [sum((frame - centre) ** 2) for centre in centres.astype(np.float64)]
        labels.append(int(np.argmin(squares)))
        distances.append(min(squares))
    return np.array(labels), np.array(distances)


@pytest.mark.parametrize("offset", [0.0, -3_000.0])  # far from the origin, as C0 of an MFCC nearly is
def test_labels_are_those_of_a_loop(offset):
    rng = np.random.default_rng(0)
    centres = (offset + rng.normal(size=(37, 5))).astype(np.float32)
    frames = (offset + rng.normal(size=(400, 5))).astype(np.float32)
    labels, distances = nearest(frames, centres)
    expected, squares = slow_nearest(frames, centres)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(distances, squares, rtol=1e-4, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 30), st.integers(0, 2**16))
def test_the_nearest_centre_is_the_nearest(clusters, dim, count, seed):
    rng = np.random.default_rng(seed)
    centres = rng.integers(-3, 4, (clusters, dim)).astype(np.float32)  # ties and equal centres are common here
    frames = rng.integers(-3, 4, (count, dim)).astype(np.float32)
    labels, distances = nearest(frames, centres)
    _, squares = slow_nearest(frames, centres)
    np.testing.assert_allclose(((frames - centres[labels]) ** 2).sum(1), squares, atol=1e-4)
    np.testing.assert_allclose(distances, squares, atol=1e-4)


def test_blocks_leave_no_seams():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(9, 3)).astype(np.float32)
    frames = rng.normal(size=(2 * BLOCK + 5, 3)).astype(np.float32)
    labels, _ = nearest(frames, centres)
    for where in (0, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 4):
        assert labels[where] == slow_nearest(frames[where : where + 1], centres)[0][0]


@pytest.mark.parametrize(("clusters", "kind"), [(2, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")])
def test_labels_have_the_smallest_type(clusters, kind):
    assert np.dtype(label_type(clusters)) == np.dtype(kind)


def quantiser(clusters=300, **changes):
    centres = np.random.default_rng(1).normal(size=(clusters, 4)).astype(np.float32)
    return Quantiser(centres, {"kind": "mfcc", "hop": 160}, 100, **changes)


@pytest.mark.parametrize("stats", [None, np.stack([np.arange(40.0), 1 + np.arange(40.0)])])
def test_saved_and_loaded(tmp_path, stats):
    made = quantiser(mel_stats=stats)
    made.save(tmp_path)
    read = load_quantiser(tmp_path)
    np.testing.assert_array_equal(read.centres, made.centres)
    if stats is None:
        assert read.mel_stats is None
    else:
        np.testing.assert_array_equal(read.mel_stats, stats)
    assert read.describe() == made.describe() == json.loads(json.dumps(made.describe()))
    assert read.describe()["sha256"] == made.sha256
    frames = np.random.default_rng(2).normal(size=(50, 4))
    assert read.assign(frames).dtype == np.uint16
    np.testing.assert_array_equal(read.assign(frames), made.assign(frames))


def test_the_hash_is_of_every_number_and_of_the_shape():
    made = quantiser()
    moved = made.centres.copy()
    moved[-1, -1] += 1e-3
    assert Quantiser(moved, made.features, 100).sha256 != made.sha256
    assert Quantiser(made.centres.reshape(150, 8), made.features, 100).sha256 != made.sha256


def test_a_folder_that_does_not_belong_together_is_refused(tmp_path):
    for name, clusters in (("a", 300), ("b", 200)):
        (tmp_path / name).mkdir()
        quantiser(clusters).save(tmp_path / name)
    (tmp_path / "b" / "quantiser.json").replace(tmp_path / "a" / "quantiser.json")
    with pytest.raises(InputError, match="describes other centres"):
        load_quantiser(tmp_path / "a")
    whole = (tmp_path / "b" / "quantiser.safetensors").read_bytes()
    quantiser(200).save(tmp_path / "b")
    (tmp_path / "b" / "quantiser.safetensors").write_bytes(whole[:-10])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_quantiser(tmp_path / "b")
    (tmp_path / "b" / "quantiser.json").write_text("[]")
    with pytest.raises(InputError, match="not a JSON object"):
        load_quantiser(tmp_path / "b")


def test_frames_of_another_size_and_centres_that_are_none_are_refused():
    with pytest.raises(InputError, match="frames of 4 numbers, not 10 x 5"):
        quantiser().assign(np.zeros((10, 5)))
    with pytest.raises(InputError, match="at least two"):
        quantiser(1)
    with pytest.raises(InputError, match="finite"):
        Quantiser(np.full((3, 2), np.nan, np.float32), {}, 100)
