"""k-means files of scikit-learn: honest ones give their centres, hostile and broken ones one line."""

import bz2
import io
import os
import pickle
import zlib

import joblib
import numpy as np
import pytest
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyPickler
from sklearn.cluster import KMeans, MiniBatchKMeans

from speechbias.checkpoint.kmeans import read_kmeans
from speechbias.errors import InputError

FRAMES = np.random.default_rng(0).normal(size=(300, 7))


@pytest.fixture(scope="module")
def fitted():
    """As fairseq makes it, and with a random state as a field."""
    kmeans = MiniBatchKMeans(
        5,
        batch_size=100,
        n_init=2,
        tol=0.0,
        compute_labels=False,
        random_state=np.random.RandomState(3),
    )
    return kmeans.fit(FRAMES.astype(np.float32))


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 9)])
def test_joblib(tmp_path, fitted, protocol, compress):
    joblib.dump(fitted, tmp_path / "km.bin", compress=compress, protocol=protocol)
    centres = read_kmeans(tmp_path / "km.bin")
    assert centres.dtype == np.float32
    np.testing.assert_array_equal(centres, fitted.cluster_centers_)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_pickle(tmp_path, fitted, protocol):
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(fitted, protocol))
    np.testing.assert_array_equal(read_kmeans(tmp_path / "km.pkl"), fitted.cluster_centers_)


@pytest.mark.parametrize("dump", [joblib.dump, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_double_precision_fortran_order_and_arrays_for_parameters(tmp_path, dump):
    kmeans = KMeans(3, init=FRAMES[:3], n_init=1).fit(FRAMES)
    kmeans.cluster_centers_ = np.asfortranarray(kmeans.cluster_centers_)
    dump(kmeans, tmp_path / "km")
    np.testing.assert_array_equal(read_kmeans(tmp_path / "km"), kmeans.cluster_centers_.astype(np.float32))


def test_old_joblib_without_padding(tmp_path, fitted):
    """Before joblib 1.2 a wrapper had no alignment and arrays lay unaligned."""

    class Old(NumpyPickler):
        def _create_array_wrapper(self, array):
            wrapper = super()._create_array_wrapper(array)
            del wrapper.numpy_array_alignment_bytes
            return wrapper

    with (tmp_path / "km.bin").open("wb") as file:
        Old(file).dump(fitted)
    assert b"alignment" not in (tmp_path / "km.bin").read_bytes()
    np.testing.assert_array_equal(read_kmeans(tmp_path / "km.bin"), fitted.cluster_centers_)


def refused(path, *needles):
    with pytest.raises(InputError) as error:
        read_kmeans(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.isprintable()
    for needle in (str(path), *needles):
        assert needle in text


class Trap:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch CANARY",)


@pytest.mark.parametrize("dump", [joblib.dump, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
@pytest.mark.parametrize("place", ["alone", "field", "centres", "array"])
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, fitted, dump, place):
    monkeypatch.chdir(tmp_path)
    changed = pickle.loads(pickle.dumps(fitted))
    if place == "field":
        changed.verbose = Trap()
    elif place == "centres":
        changed.cluster_centers_ = Trap()
    elif place == "array":
        changed.cluster_centers_ = np.array([[Trap()]], dtype=object)
    dump(Trap() if place == "alone" else changed, tmp_path / "km")
    refused(tmp_path / "km", "array of O" if place == "array" and dump is joblib.dump else "posix.system")
    assert not (tmp_path / "CANARY").exists()
    joblib.load("km") if dump is joblib.dump else pickle.loads((tmp_path / "km").read_bytes())
    assert (tmp_path / "CANARY").exists()  # the trap works


@pytest.mark.parametrize("compress", [0, 3])
def test_a_file_cut_anywhere(tmp_path, fitted, compress):
    joblib.dump(fitted, tmp_path / "km", compress=compress)
    whole = (tmp_path / "km").read_bytes()
    for size in [*range(0, len(whole) - 1, 29), len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:size])
        refused(tmp_path / "cut")


def test_a_file_with_any_byte_changed_reads_or_is_refused(tmp_path, fitted):
    joblib.dump(fitted, tmp_path / "km")
    whole = (tmp_path / "km").read_bytes()
    random = np.random.default_rng(0)
    read = 0
    for position in random.integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[position] ^= int(random.integers(1, 256))
        (tmp_path / "changed").write_bytes(changed)
        try:
            assert read_kmeans(tmp_path / "changed").dtype == np.float32
            read += 1
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017
    assert read  # bytes of the random state, which are not looked at


def wrapped(shape, dtype="f4", order="C"):
    """A k-means whose centres claim to be this and are 400 bytes."""

    class Forger(NumpyPickler):
        def _create_array_wrapper(self, array):
            return NumpyArrayWrapper(np.ndarray, shape, order, np.dtype(dtype))

    kmeans = MiniBatchKMeans()
    kmeans.cluster_centers_ = np.zeros(100, np.float32)
    buffer = io.BytesIO()
    Forger(buffer).dump(kmeans)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "shape",
    [(10, 11), (-10, -10), (1 << 40, 1 << 40), (1 << 70, 0), (2.0, 3), [2, 2], "ab", (10,) * 9, (True, 4), None],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_shape_is_believed_only_where_its_bytes_are(tmp_path, shape, order):
    (tmp_path / "km").write_bytes(wrapped(shape, order=order))
    refused(tmp_path / "km")


@pytest.mark.parametrize(
    ("shape", "dtype", "needle"),
    [
        ((100,), "f4", "at least two centres"),
        ((1, 100), "f4", "at least two centres"),
        ((10, 10), "i4", "at least two centres"),
        ((2, 2), ">f4", "byte order"),
        ((2, 2), "O", "array of O"),
        ((2, 2), "c16", "array of c16"),
    ],
)
def test_centres_are_a_table_of_numbers(tmp_path, shape, dtype, needle):
    (tmp_path / "km").write_bytes(wrapped(shape, dtype))
    refused(tmp_path / "km", needle)


def test_the_forged_files_above_are_good_where_their_claim_is(tmp_path):
    (tmp_path / "km").write_bytes(wrapped((10, 10)))
    np.testing.assert_array_equal(read_kmeans(tmp_path / "km"), np.zeros((10, 10), np.float32))


def test_what_is_no_k_means_or_not_fitted(tmp_path, fitted):
    joblib.dump(MiniBatchKMeans(3), tmp_path / "km")
    refused(tmp_path / "km", "before it was fitted")
    joblib.dump({"cluster_centers_": fitted.cluster_centers_}, tmp_path / "km")
    refused(tmp_path / "km", "a dict", "no KMeans")
    changed = pickle.loads(pickle.dumps(fitted))
    changed.cluster_centers_ = np.full((2, 3), np.nan)
    joblib.dump(changed, tmp_path / "km")
    refused(tmp_path / "km", "finite")
    changed.cluster_centers_ = np.full((2, 3), 1e300)  # not in float32
    joblib.dump(changed, tmp_path / "km")
    refused(tmp_path / "km", "finite")


@pytest.mark.parametrize("method", ["bz2", "xz", "lzma"])
def test_other_compressions_say_how_to_save_again(tmp_path, fitted, method):
    joblib.dump(fitted, tmp_path / "km", compress=(method, 3))
    refused(tmp_path / "km", "neither zlib nor gzip", "joblib.dump(joblib.load(FILE), NEW_FILE)")


def test_a_bomb_is_not_inflated(tmp_path, monkeypatch, fitted):
    monkeypatch.setattr("speechbias.checkpoint.kmeans.MOST_INFLATED", 10_000)
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer)
    (tmp_path / "km").write_bytes(zlib.compress(buffer.getvalue() + b"\x00" * 20_000))
    refused(tmp_path / "km", "holds more than")
    (tmp_path / "km").write_bytes(zlib.compress(buffer.getvalue()))
    assert len(read_kmeans(tmp_path / "km")) == 5


def test_files_that_are_none(tmp_path):
    refused(tmp_path / "missing", "it does not exist")
    refused(tmp_path, "is a folder or no plain file")
    (tmp_path / "km").write_bytes(b"")
    refused(tmp_path / "km", "is empty")
    (tmp_path / "km").write_bytes(bz2.compress(b"x"))
    refused(tmp_path / "km", "neither")
