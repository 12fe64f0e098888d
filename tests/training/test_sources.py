import errno
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from full_disk import small_files
from recordings import tone
from speechbias.errors import InputError
from speechbias.training.manifest import Manifest, Strings, Unreadable, select_lengths
from speechbias.training.sources import open_corpus

RATE = 16_000


def write(path, samples=4000, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(120, seconds=(samples + 1) / RATE)[:samples], rate)
    return path


def rows(manifest):
    return [(manifest.key(row), int(manifest.num_samples[row])) for row in range(len(manifest))]


def test_a_folder_gives_its_audio_sorted_with_lengths_at_16_khz(tmp_path):
    write(tmp_path / "b" / "two.wav", 4800)
    write(tmp_path / "a.flac", 4001)
    write(tmp_path / "b" / "one.ogg", 4410, rate=44_100)
    (tmp_path / "b" / "._two.wav").write_bytes(b"left by a file manager")
    (tmp_path / "notes.txt").write_text("no audio")
    manifest = open_corpus(tmp_path, workers=2)
    assert rows(manifest) == [("a.flac", 4001), ("b/one.ogg", 1600), ("b/two.wav", 4800)]
    assert manifest.path(2) == tmp_path / "b" / "two.wav"
    assert manifest.seconds[0] == 4001 / RATE


def test_librispeech_has_transcripts_and_speakers(tmp_path):
    write(tmp_path / "dev-clean" / "84" / "121123" / "84-121123-0001.flac")
    write(tmp_path / "dev-clean" / "84" / "121123" / "84-121123-0000.flac")
    (tmp_path / "dev-clean" / "84" / "121123" / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n"
    )
    manifest = open_corpus(tmp_path)
    assert manifest.key(0) == "dev-clean/84/121123/84-121123-0000.flac"
    assert [manifest.transcripts[0], manifest.transcripts[1]] == ["GO DO YOU HEAR", "BUT IN LESS"]
    assert manifest.speakers[1] == "84"


@pytest.mark.parametrize("broken", ["dangling", "folder", "pipe"])
def test_transcripts_that_cannot_be_read_are_listed_and_the_audio_is_there(broken, tmp_path):
    write(tmp_path / "84" / "84-1-0000.wav")
    path = tmp_path / "84" / "84-1.trans.txt"
    if broken == "dangling":
        path.symlink_to("nowhere")
    elif broken == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)  # in a circle
    manifest = open_corpus(tmp_path)
    assert rows(manifest) == [("84/84-1-0000.wav", 4000)]
    ((name, why, row),) = ((one.name, one.why, one.row) for one in manifest.unreadable)
    assert (name, row) == ("84/84-1.trans.txt", None)
    assert why.startswith("cannot be read (")
    assert (manifest.listed, manifest.left_out.tolist()) == (1, [])


def closing(monkeypatch, *closed):
    """Folders that may not be looked into (as root one may look into all)."""
    look = os.scandir

    def refusing(path):
        if Path(path) in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_folders_that_cannot_be_looked_into_are_listed(tmp_path, monkeypatch):
    for name in ("a/one.wav", "b/two.wav", "c/broken.wav"):
        write(tmp_path / name)
    (tmp_path / "c" / "broken.wav").write_bytes(b"RIFF")
    closing(monkeypatch, tmp_path / "b")
    manifest = open_corpus([tmp_path, write(tmp_path.parent / f"{tmp_path.name}-other" / "x.wav").parent])
    assert [name for name, _ in rows(manifest)] == ["a/one.wav", "x.wav"]
    listed = [(one.name, one.why, one.row) for one in manifest.unreadable]
    assert listed[1] == ("b", "cannot be read (permission denied)", None)
    assert (listed[0][0], listed[0][2]) == ("c/broken.wav", 1)
    assert (manifest.listed, manifest.left_out.tolist()) == (3, [1])
    manifest.save(tmp_path / "m.npz")
    assert Manifest.load(tmp_path / "m.npz").unreadable == manifest.unreadable


def test_a_corpus_that_cannot_be_looked_into_at_all_is_refused_in_a_line(tmp_path, monkeypatch):
    write(tmp_path / "c" / "a.wav")
    closing(monkeypatch, tmp_path / "c")
    with pytest.raises(InputError, match=r"c holds no audio .*; \. cannot be read \(permission denied\)") as error:
        open_corpus(tmp_path / "c")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"cannot be read \(file name too long\)"):
        open_corpus(tmp_path / ("x" * 5000))


def test_a_folder_whose_status_cannot_be_had_is_listed(tmp_path, monkeypatch):
    """A folder may be listed and not entered: names are there, and nothing can be known of what they name."""
    write(tmp_path / "a.wav")
    write(tmp_path / "closed" / "b.wav")
    status = Path.stat

    def refusing(path, **options):
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return status(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    assert [(one.name, one.row) for one in open_corpus(tmp_path).unreadable] == [("closed", None)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.wav\tmany", "not `path<TAB>frames` but 'a.wav<TAB>many'. Write"),
        ("a.wav\t", "but 'a.wav<TAB>'."),
        ("a.wav\t1.5", "not `path<TAB>frames`"),
        ("a.wav\t4000\tx", "but 'a.wav<TAB>4000<TAB>x'."),
        ("a.wav\t-4000", "not `path<TAB>frames`"),
        ("a.wav\t" + "9" * 5000, "not `path<TAB>frames`"),
    ],
    ids=["word", "blank", "fraction", "columns", "sign", "digits"],
)
@pytest.mark.parametrize("number", [2, 3])
def test_a_count_of_fairseqs_that_is_none_is_named_with_its_line(line, said, number, tmp_path):
    write(tmp_path / "a.wav")
    before = "a.wav\t4000\n" * (number - 2)
    (tmp_path / "t.tsv").write_text(f"{tmp_path}\n{before}{line}\n")
    with pytest.raises(InputError) as error:
        open_corpus(tmp_path / "t.tsv")
    assert f"t.tsv, line {number}: " in str(error.value)
    assert said in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", ["path\na.wav\n", "path,note\na.wav,one\ttwo\n", "note;audio\none\ttwo;a.wav\n"])
def test_a_table_called_tsv_is_no_manifest_of_fairseqs(text, tmp_path):
    write(tmp_path / "a.wav")
    (tmp_path / "t.tsv").write_text(text)
    assert rows(open_corpus(tmp_path / "t.tsv")) == [("a.wav", 4000)]


TABLES = {
    "t.csv": 'file,duration,speaker,text\nx/a.wav,99,s1,"Well, yes"\nx/b.wav,99,s2,\n',
    "t.tsv": "client_id\tpath\tsentence\ns1\tx/a.wav\tWell, yes\ns2\tx/b.wav\t\n",
    "t.jsonl": '{"audio_filepath": "x/a.wav", "duration": 99, "text": "Well, yes", "speaker": "s1"}\n\n'
    '{"audio_filepath": "x/b.wav", "speaker": "s2", "text": null}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_files_and_the_files_say_how_long_they_are(tmp_path, name):
    write(tmp_path / "x" / "a.wav", 4000)
    write(tmp_path / "x" / "b.wav", 5000)
    (tmp_path / name).write_text(TABLES[name])
    manifest = open_corpus(tmp_path / name)
    assert rows(manifest) == [("x/a.wav", 4000), ("x/b.wav", 5000)]
    assert [manifest.transcripts[0], manifest.transcripts[1]] == ["Well, yes", ""]
    assert [manifest.speakers[0], manifest.speakers[1]] == ["s1", "s2"]


def test_fairseqs_manifest_lists_files_and_the_files_say_how_long_they_are(tmp_path):
    write(tmp_path / "dev" / "a.flac", 4000)
    write(tmp_path / "dev" / "b.flac", 5000)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\ndev/b.flac\t32000\ndev/c.flac\t1\ndev/a.flac\t48000\n")
    manifest = open_corpus(tmp_path / "train.tsv")
    assert rows(manifest) == [("dev/b.flac", 5000), ("dev/a.flac", 4000)]
    assert manifest.path(1) == tmp_path / "dev" / "a.flac"
    assert manifest.unreadable == (Unreadable("dev/c.flac", "does not exist", 1),)
    believed = open_corpus(tmp_path / "train.tsv", depth="headers")  # the counts, and nothing is opened
    assert rows(believed) == [("dev/b.flac", 32_000), ("dev/a.flac", 48_000)]
    assert believed.unreadable == manifest.unreadable


def test_several_sources_one_after_another(tmp_path):
    write(tmp_path / "one" / "a.wav", 4000)
    write(tmp_path / "two" / "a.wav", 5000)
    (tmp_path / "two.csv").write_text("path,speaker\ntwo/a.wav,s1\n")
    manifest = open_corpus([tmp_path / "one", tmp_path / "two.csv"])
    assert rows(manifest) == [("a.wav", 4000), ("two/a.wav", 5000)]
    assert [manifest.speakers[0], manifest.speakers[1]] == ["", "s1"]
    assert manifest.path(1) == tmp_path / "two" / "a.wav"
    with pytest.raises(InputError, match=r"two/a.wav stands in the corpus twice"):
        open_corpus([tmp_path / "two", tmp_path / "two.csv"])


def test_doubles_are_counted_in_the_order_of_the_sources(tmp_path, monkeypatch):
    names = [["a", "b", "c"], ["b", "d"], ["a", "b"]]
    for number, part in enumerate(names):
        for name in part:
            write(tmp_path / str(number) / f"{name}.wav")
    manifest = open_corpus([tmp_path / str(number) for number in range(3)])
    streams, seen = [], Counter()  # the slow way
    for name in (name for part in names for name in part):
        streams.append(f"~{seen[name]}/{name}.wav" if seen[name] else f"{name}.wav")
        seen[name] += 1
    assert [manifest.stream(row) for row in range(len(manifest))] == streams
    assert streams[3:] == ["~1/b.wav", "d.wav", "~1/a.wav", "~2/b.wav"]
    again = replace(manifest)
    monkeypatch.setattr("builtins.hash", lambda _: 1)  # all alike: hashes only say where to look
    assert again.doubles == manifest.doubles


def test_unreadable_files_are_left_out_and_listed(tmp_path):
    write(tmp_path / "c" / "good.wav")
    (tmp_path / "c" / "bad.wav").write_bytes(b"RIFF")
    whole = write(tmp_path / "c" / "cut.flac", 40_000).read_bytes()
    (tmp_path / "c" / "cut.flac").write_bytes(whole[:-20])
    (tmp_path / "t.csv").write_text("path\nc/bad.wav\nc/missing.wav\nc/cut.flac\nc/good.wav\n")
    manifest = open_corpus(tmp_path / "t.csv", workers=2)
    assert rows(manifest) == [("c/good.wav", 4000)]
    assert [(each.name, each.why.split(":")[0]) for each in manifest.unreadable] == [
        ("c/bad.wav", "is not audio that can be decoded"),
        ("c/missing.wav", "does not exist"),
        ("c/cut.flac", "is truncated"),
    ]
    manifest.save(tmp_path / "m.npz")
    assert Manifest.load(tmp_path / "m.npz").unreadable == manifest.unreadable


def spoilt(folder):
    """Good recordings, and one for each way in which a file can pass a look at its header and be of no use."""
    for name in ("good.wav", "nice.wav"):
        write(folder / name)
    soundfile.write(folder / "nan.wav", np.r_[tone(120)[:4000], np.nan].astype(np.float32), RATE, subtype="FLOAT")
    soundfile.write(folder / "silent.flac", np.zeros(4000), RATE)
    whole = bytearray(write(folder / "broken.flac", 40_000).read_bytes())
    whole[len(whole) // 2] ^= 0x5A
    (folder / "broken.flac").write_bytes(whole)
    return {"nan.wav": "holds NaN or infinite samples", "silent.flac": "is digital silence", "broken.flac": "is trunc"}


def test_what_only_decoding_finds_is_left_out_and_what_only_headers_say_is_not_known_by_it(tmp_path):
    reasons = spoilt(tmp_path / "c")
    cache = tmp_path / "scan.jsonl"
    believed = open_corpus(tmp_path / "c", depth="headers", cache=cache)
    assert [len(believed), believed.unreadable] == [5, ()]
    for _ in range(2):  # scanned, then from the cache
        manifest = open_corpus(tmp_path / "c", workers=2, cache=cache)
        assert [name for name, _ in rows(manifest)] == ["good.wav", "nice.wav"]
        assert len(manifest.unreadable) == 3
        assert all(each.why.startswith(reasons[each.name]) for each in manifest.unreadable)


def test_rows_that_are_left_out_are_counted_over_all_sources(tmp_path):
    spoilt(tmp_path / "a")
    spoilt(tmp_path / "b")
    manifest = open_corpus([tmp_path / "a", tmp_path / "b"])
    names = sorted(path.name for path in (tmp_path / "a").iterdir()) * 2
    assert [names[row] for row in manifest.left_out] == [each.name for each in manifest.unreadable]
    assert [names[row] for row in np.delete(np.arange(10), manifest.left_out)] == [name for name, _ in rows(manifest)]
    assert manifest.listed == 10


def test_a_manifest_saved_is_the_same(tmp_path):
    names = ["ä b.wav", "", "c\udcff.wav", "d.wav"]
    blank = Strings.of(["", "x", "", "yz"])
    manifest = Manifest(Strings.of(names), ("/a", "/b"), np.array([0, 1, 1, 0], np.int32), np.arange(4), blank, blank)
    manifest.save(tmp_path / "m.npz")
    again = open_corpus(tmp_path / "m.npz")
    assert [again.key(row) for row in range(4)] == names
    assert again.path(3) == Path("/a/d.wav")
    assert again.sha256 == manifest.sha256
    some = again.select([3, 0])
    assert [some.key(0), some.key(1), some.speakers[0], some.num_samples[0]] == ["d.wav", "ä b.wav", "yz", 3]
    assert some.path(1) == Path("/a/ä b.wav")
    assert len({each.sha256 for each in (again, some, again.select([0, 3]))}) == 3


def test_a_selection_by_length_counts_what_it_leaves_out(tmp_path):
    blank, zero = Strings.of([""] * 5), np.zeros(5, np.int32)
    manifest = Manifest(Strings.of(map(str, range(5))), ("/c",), zero, np.array([1, 2, 3, 4, 9]) * RATE, blank, blank)
    selection = select_lengths(manifest, min_seconds=2, max_seconds=4)
    assert selection.rows.tolist() == [1, 2, 3]
    assert (selection.too_short, selection.too_long) == (1, 1)
    with pytest.raises(InputError, match="none of 5 utterances lasts 10 to inf s"):
        select_lengths(manifest, min_seconds=10)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "name,text\na.wav,hello\n", "has no column file or path"),
        ("t.csv", "path\n", "has no rows"),
        ("t.csv", "path,text\n,hello\n", "is blank in recording 1"),
        ("t.csv", "path\nmissing.wav\n", r"none of its 1 files can be used; .*missing.wav does not exist"),
        ("t.jsonl", '{"path": "a.wav"}\n[1]\n', "line 2: not one JSON object"),
        ("t.tsv", "/corpus\na.wav\t100\nb.wav\n", "line 3: not `path<TAB>frames`"),
        ("t.tsv", "/corpus\n", "names no recordings"),
        ("t.npz", "not a zip", "not a manifest of this package"),
        ("t.txt", "a.wav", "is no corpus"),
    ],
)
def test_what_is_no_corpus_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_corpus(tmp_path / name)


def test_no_folder_or_an_empty_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no audio"):
        open_corpus(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_corpus(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no corpus is named"):
        open_corpus([])


def test_the_pool_as_it_is(shared):
    manifest = open_corpus(shared / "data" / "pool" / "manifest.csv", workers=2)
    lines = (shared / "data" / "pool" / "manifest.csv").read_text().splitlines()
    assert len(manifest) == len(lines) - 1
    assert manifest.key(0) == "audio/cathy_arctic_a0001_1592748585.opus"
    assert manifest.seconds[0] == pytest.approx(3.329, abs=0.001)
    assert manifest.speakers[0] == "cathy"
    assert manifest.unreadable == ()


@pytest.fixture
def corpus(tmp_path):
    for number in range(5):
        write(tmp_path / "c" / f"{number}.wav", 4000 + number)
    return tmp_path / "c"


def counting(monkeypatch):
    import speechbias.training.scan as module  # noqa: PLC0415

    read, measure = [], module.measure_length
    monkeypatch.setattr(
        module, "measure_length", lambda path, *a, **o: read.append(path.name) or measure(path, *a, **o)
    )
    return read


def test_what_was_scanned_is_not_read_again(corpus, tmp_path, monkeypatch):
    first = open_corpus(corpus, cache=tmp_path / "scan.jsonl")
    read = counting(monkeypatch)
    assert rows(open_corpus(corpus, cache=tmp_path / "scan.jsonl")) == rows(first)
    assert read == []
    write(corpus / "2.wav", 6000)
    assert open_corpus(corpus, cache=tmp_path / "scan.jsonl").num_samples.tolist() == [4000, 4001, 6000, 4003, 4004]
    assert read == ["2.wav"]


def test_a_killed_scan_goes_on(corpus, tmp_path, monkeypatch):
    cache = tmp_path / "scan.jsonl"
    expected = rows(open_corpus(corpus, cache=cache))
    lines = cache.read_text().splitlines(keepends=True)
    assert all(len(json.loads(line)) == 5 for line in lines)
    cache.write_text("".join(lines[:3]) + lines[3][:20])  # the kill came in the middle of a line
    read = counting(monkeypatch)
    assert rows(open_corpus(corpus, cache=cache)) == expected
    assert read == ["3.wav", "4.wav"]
    read.clear()
    assert rows(open_corpus(corpus, cache=cache)) == expected
    assert read == []


def test_a_full_disk_names_the_cache(corpus, tmp_path):
    with small_files(10), pytest.raises(OSError, match=r"scan\.jsonl"):
        open_corpus(corpus, cache=tmp_path / "scan.jsonl")


def test_what_cannot_be_a_cache_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match=r"scan.jsonl cannot be (read|written)"):
        (tmp_path / "scan.jsonl").mkdir()
        open_corpus(corpus, cache=tmp_path / "scan.jsonl")


def test_links_that_lead_in_a_circle_are_followed_once(tmp_path):
    write(tmp_path / "c" / "a.wav")
    whole = len(open_corpus(tmp_path / "c"))
    (tmp_path / "c" / "self").symlink_to(tmp_path / "c")
    assert len(open_corpus(tmp_path / "c")) == whole


def test_what_is_no_file_is_left_out(tmp_path):
    write(tmp_path / "c" / "a.wav")
    whole = len(open_corpus(tmp_path / "c"))
    os.mkfifo(tmp_path / "c" / "pipe.wav")
    found = open_corpus(tmp_path / "c")
    assert len(found) == whole
    assert [(one.name, one.why) for one in found.unreadable] == [("pipe.wav", "is no regular file")]


def test_a_name_that_no_file_can_have_is_left_out(tmp_path):
    write(tmp_path / "c" / "a.wav")
    name = next((tmp_path / "c").glob("*.wav")).name
    (tmp_path / "c.csv").write_text(f"path\nc/{name}\nc/a\0b.wav\n")
    found = open_corpus(tmp_path / "c.csv")
    assert len(found) == 1
    assert [one.why for one in found.unreadable] == ["does not exist"]


def test_a_damaged_cache_of_a_scan_is_passed_over_line_by_line(tmp_path):
    write(tmp_path / "c" / "a.wav")
    cache = tmp_path / "scan.jsonl"
    whole = open_corpus(tmp_path / "c", cache=cache).num_samples.tolist()
    cache.write_bytes(b'\xff\n[["a"], 1, 2, 3, true]\n["a", 1, 2, "abc", true]\n' + cache.read_bytes())
    assert open_corpus(tmp_path / "c", cache=cache).num_samples.tolist() == whole
