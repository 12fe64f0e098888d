"""Labels: on disk and out of fairseq's text, aligned to frames, and checked against the audio."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.models.config import MelFrontend, WaveFrontend
from speechbias.training.label_files import LabelFacts
from speechbias.training.label_statistics import BLOCK, class_counts, entropy, inspect_labels
from speechbias.training.labels import Labels, read_labels
from speechbias.training.quantiser import Quantiser
from utterances import silent

LENGTHS = (32_640, 16_000, 50_001)


def frames_of(samples, rate):
    """Frames of 10 ms or, of convolutions, 20 ms."""
    return MelFrontend(stack=1).num_frames(samples) if rate == 100 else WaveFrontend().num_frames(samples)


def rows_of(rate=100, clusters=500, lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, clusters, frames_of(samples, rate)) for samples in lengths]


def made(rows, rate=100, clusters=500, **facts):
    flat = np.concatenate(rows).astype(np.uint16)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Labels(flat, offsets, LabelFacts(rate, clusters, **facts))


def write_km(folder, rows, *, symbols=range(500), name="train.km"):
    (folder / name).write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    if symbols is not None:
        (folder / "dict.km.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    return folder / name


# Alignment


@pytest.mark.parametrize(("rate", "hop"), [(100, 160), (100, 320), (50, 320), (25, 640), (50, 640)])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 30))
def test_a_frame_takes_the_label_that_is_current_at_its_first_sample(rate, hop, start, count):
    row = np.arange(400)
    found = made([row[::-1], row], rate=rate).frames(1, start * hop, count, hop)
    assert found.dtype == np.int64
    assert found.tolist() == [
        row[math.floor((start * hop / 16_000 + t * hop / 16_000) * rate + 1e-9)] for t in range(count)
    ]


def test_every_second_label_as_melhubert_and_fairseq():
    """``label[::2]``, of whole utterances; 202 frames of 10 ms are 101 of 20 ms, with 100 of convolutions."""
    rows = rows_of()
    labels = made(rows)
    mel, wave = MelFrontend().num_frames(LENGTHS[0]), WaveFrontend().num_frames(LENGTHS[0])
    assert (len(rows[0]), mel, wave) == (202, 101, 101)
    np.testing.assert_array_equal(labels.frames(0, 0, mel, 320), rows[0][::2])
    np.testing.assert_array_equal(labels.frames(0, 0, wave, 320), rows[0][::2])
    np.testing.assert_array_equal(labels.frames(0, 0, 202, 160), rows[0])


@pytest.mark.parametrize(("rate", "spare"), [(100, 10), (50, 5)])
def test_labels_may_end_a_tenth_of_a_second_early(rate, spare):
    row = np.arange(100)
    labels = made([row], rate=rate)
    count, hop = 100 + spare, 16_000 // rate
    np.testing.assert_array_equal(labels.frames(0, 0, count, hop), [*row, *[99] * spare])
    with pytest.raises(InputError, match=rf"row 0 has 100 labels and needs {count + 1}"):
        labels.frames(0, 0, count + 1, hop)


def test_an_utterance_without_labels_gives_none():
    labels = made([np.array([], int), np.arange(5)])
    assert labels.frames(0, 0, 0, 320).shape == (0,)
    with pytest.raises(InputError, match="has 0 labels"):
        labels.frames(0, 0, 1, 320)


def test_frames_of_10_ms_cannot_have_labels_of_20_ms():
    with pytest.raises(InputError, match="labels at 50 Hz are too few for a model with frames at 100 Hz"):
        made(rows_of(50), rate=50).frames(0, 0, 10, 160)
    with pytest.raises(ValueError, match="no multiple of the hop"):
        made(rows_of()).frames(0, 100, 10, 320)
    with pytest.raises(InputError, match="no whole number of samples"):
        made(rows_of(), rate=33)


# fairseq's text


@pytest.mark.parametrize("rate", [100, 50])
@pytest.mark.parametrize("ending", ["\n", " \r\n"])
def test_km_is_read_and_its_rate_inferred(tmp_path, rate, ending):
    rows = rows_of(rate)
    path = write_km(tmp_path, rows)
    path.write_bytes(path.read_bytes().replace(b"\n", ending.encode()))
    labels = read_labels(path, silent(*LENGTHS))
    assert (labels.rate, labels.clusters, labels.flat.dtype) == (rate, 500, np.uint16)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(labels.of(i), row)
    labels.check(silent(*LENGTHS))
    assert labels.describe() == {"clusters": 500, "rate": rate, "source": "train.km"}


def test_the_class_of_a_label_is_its_line_in_the_dictionary(tmp_path):
    path = write_km(tmp_path, [[7, 0, 3] * 34], symbols=[3, "madeupword0000", 7, 0])
    labels = read_labels(path, silent(16_640))
    assert labels.clusters == 4
    assert labels.of(0)[:3].tolist() == [2, 3, 0]


@pytest.mark.parametrize(
    ("lines", "symbols", "message"),
    [
        (["1 2"], [], "dict.km.txt: 0 labels, where 2 to 65534 can be"),  # the trap of fairseq PR 4521
        (["1 2"], ["a", "b"], "does not name each label"),
        (["1 2"], [1, 1, 2], "does not name each label"),
        (["1 2"], [1, 2, "9" * 5000], "does not name each label"),
        (["1 2"], [1, 2, 10**17], "does not name each label"),
        (["1 " + "9" * 5000], range(9), "line 1"),
        (["1 2"], range(2), "line 1: label 2 is not below 2"),
        (["1 2", "1 4"], [0, 1, 2, 5], "line 2: label 4 is not in the dictionary"),
        (["1 -2"], range(9), "line 1 holds more than whole numbers"),
        (["1 2.0"], range(9), "line 1 holds more than whole numbers"),
        (["1 99999999999999999999"], range(9), "line 1"),
        (["1 2", "3"], range(9), "has 2 lines for 1 utterances"),
        (["1 2"], None, "has no dict.km.txt beside it"),
        (["1 2 3"], range(9), "labels fit the audio at none of 100, 50, 25 Hz"),
    ],
)
def test_text_that_is_no_list_of_labels_is_refused(tmp_path, lines, symbols, message):
    path = write_km(tmp_path, [line.split() for line in lines], symbols=symbols)
    with pytest.raises(InputError, match=message) as error:
        read_labels(path, silent(16_000))
    assert "\n" not in str(error.value)


def test_without_a_dictionary_the_number_of_clusters_is_given(tmp_path):
    path = write_km(tmp_path, [[1, 2]], symbols=None)
    labels = read_labels(path, silent(16_000), clusters=100, rate=50)
    assert (labels.clusters, labels.rate, labels.flat.dtype) == (100, 50, np.uint8)
    write_km(tmp_path, [[1, 2]], symbols=range(50))
    with pytest.raises(InputError, match="has 50 labels, not 100"):
        read_labels(path, silent(16_000), clusters=100)


# Our folder


@pytest.mark.parametrize("clusters", [100, 500])
def test_saved_and_mapped(tmp_path, clusters):
    rows = [*rows_of(clusters=clusters), np.array([], int)]
    quantiser = Quantiser(np.random.default_rng(0).normal(size=(clusters, 3)).astype(np.float32), {"kind": "x"}, 100)
    corpus = silent(*LENGTHS, 300)
    labels = made(rows, clusters=clusters, manifest_sha256=corpus.sha256, quantiser=quantiser, about={"seed": 1})
    labels.save(tmp_path / "units")
    read = read_labels(tmp_path / "units", corpus)
    assert isinstance(read.flat, np.memmap)
    assert read.flat.dtype == (np.uint8 if clusters == 100 else np.uint16)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(read.of(i), row)
    assert (read.rate, read.clusters, len(read)) == (100, clusters, 4)
    assert read.describe() == quantiser.describe()
    assert read.facts.about == {"seed": 1}
    read.check(corpus)
    with pytest.raises(InputError, match="another list of utterances"):
        read.check(silent(*LENGTHS, 301))


def test_a_header_has_room_for_any_length(tmp_path):
    rows = [np.arange(100_003) % 500]
    made(rows).save(tmp_path / "units")
    np.testing.assert_array_equal(np.load(tmp_path / "units" / "labels.npy"), rows[0])


def test_writing_that_fails_leaves_nothing(tmp_path):
    class Failing(Labels):
        def of(self, i):
            if i == 2:
                raise OSError(28, "No space left on device")
            return super().of(i)

    labels = made(rows_of())
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'units'}'"):
        Failing(labels.flat, labels.offsets, labels.facts).save(tmp_path / "units")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no utterance is long enough"):
        made([np.array([], int)]).save(tmp_path / "units")
    assert list(tmp_path.iterdir()) == []


def test_broken_folders_are_refused(tmp_path):
    folder = tmp_path / "units"

    def broken(file, content, message):
        quantiser = Quantiser(np.eye(500, dtype=np.float32), {"kind": "x"}, 100)
        made(rows_of(), quantiser=quantiser).save(folder)
        said = json.loads((folder / "labels.json").read_text())
        assert said.pop("files")  # a folder of before there were hashes, which would find any change
        (folder / "labels.json").write_text(json.dumps(said, indent=1))
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(content((folder / file).read_bytes()))
        with pytest.raises(InputError, match=message) as error:
            read_labels(folder, silent(*LENGTHS))
        assert "\n" not in str(error.value)
        (folder / "labels.json").touch()
        (folder / "labels.npy").touch()

    broken("labels.npy", None, "is no folder of units")
    broken("labels.npy", lambda whole: whole[:-2], "cannot be read")
    broken("labels.npy", lambda whole: whole[:50], "cannot be read")
    broken("offsets.npy", None, "cannot be read")
    broken("offsets.npy", lambda whole: whole[:-8] + b"\x01" + b"\x00" * 7, "does not divide")
    broken("offsets.npy", lambda whole: whole.replace(b"<i8", b"<f8"), "are not those of units")
    broken("labels.json", lambda whole: whole.replace(b'"rate": 100', b'"rate": "x"'), "is not that of units")
    broken("labels.json", lambda whole: whole.replace(b'"schema": 1', b'"schema": 2'), "is not that of units")
    broken("quantiser.json", None, "not of one making")
    broken("quantiser.safetensors", lambda whole: whole[:-4] + b"\x00\x00\x80\x40", "describes other centres")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="no folder of labels of ours"):
        made(rows_of()).save(tmp_path)
    made(rows_of()).save(tmp_path / "units")
    made(rows_of(seed=1)).save(tmp_path / "units")
    np.testing.assert_array_equal(read_labels(tmp_path / "units", silent(*LENGTHS)).of(0), rows_of(seed=1)[0])


def test_missing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_labels(tmp_path / "x.km", silent(1))


# Checks


def test_labels_as_long_as_the_audio_pass_and_the_first_others_are_named():
    rows = rows_of()
    made(rows).check(silent(*LENGTHS))
    made(rows).check(silent(*[n + 1_200 for n in LENGTHS]))
    with pytest.raises(
        InputError, match=r"2 of 3 rows .*: clip1.wav \(0.98 s of labels, 1.50 s of audio\), clip2.wav"
    ):
        made(rows).check(silent(32_640, 24_000, 10_000))
    with pytest.raises(InputError, match="labels of 3 rows for a corpus of 2"):
        made(rows).check(silent(*LENGTHS[:2]))


def test_a_rate_that_is_not_the_labels_is_found():
    with pytest.raises(InputError, match="3 of 3 rows"):
        made(rows_of(50), rate=100).check(silent(*LENGTHS))


def test_labels_of_one_class_are_refused():
    rows = [np.full(len(row), 7) for row in rows_of()]
    with pytest.raises(InputError, match=r"all \d+ labels are class 7, so nothing can be learnt"):
        made(rows).check(silent(*LENGTHS))
    rows[2][100] = 8
    report = made(rows).check(silent(*LENGTHS))
    assert report.never_used == 498
    assert "% of all labels are class 7" in report.warnings[0]
    assert "498 of 500 classes stand nowhere" in report.warnings[1]


def test_labels_out_of_range_are_refused():
    rows = rows_of()
    rows[1][5] = 500
    with pytest.raises(InputError, match="a label is 500, of 500 clusters"):
        made(rows).check(silent(*LENGTHS))


def test_the_report_is_of_every_label():
    flat = np.random.default_rng(0).integers(0, 30, 5_000).astype(np.uint8) ** 2 % 37
    report = inspect_labels(flat, 40)
    counts = [int((flat == k).sum()) for k in range(40)]
    assert report.labels == 5_000
    assert report.most_frequent == int(np.argmax(counts))
    assert report.largest_share == max(counts) / 5_000
    assert report.never_used == counts.count(0)
    expected = -sum(n / 5_000 * math.log(n / 5_000) for n in counts if n)
    assert report.entropy == pytest.approx(expected, rel=1e-12)


def test_entropy_in_nats():
    assert entropy(np.full(500, 3)) == pytest.approx(math.log(500))
    assert entropy(np.array([0, 5, 0])) == 0
    with pytest.raises(InputError, match="not a single label"):
        inspect_labels(np.empty(0, np.uint16), 5)


def test_counting_leaves_no_seams():
    flat = np.zeros(2 * BLOCK + 1, np.uint8)
    flat[[0, BLOCK, -1]] = 1
    assert class_counts(flat, 2).tolist() == [len(flat) - 3, 3]


def test_json_is_plain(tmp_path):
    made(rows_of(), about={"inertia": [1.5]}).save(tmp_path / "units")
    said = json.loads((tmp_path / "units" / "labels.json").read_text())
    assert said["about"] == {"inertia": [1.5]}
    assert said["quantiser_sha256"] is None
