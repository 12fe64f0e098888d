"""Corpora as tar shards: what comes back is what went in; killed at any moment; damage named; memory flat."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from recordings import RATE, tone, write_csv
from speechbias import cli
from speechbias.audio import AudioError, read_audio, read_segment
from speechbias.errors import InputError
from speechbias.training import sharding
from speechbias.training.examples import Examples
from speechbias.training.label_files import LabelFacts
from speechbias.training.labels import Labels, read_labels
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.sharding import in_words, write_shards
from speechbias.training.shards import Shard, check_shards, is_shards, open_shards
from speechbias.training.sources import open_corpus
from speechbias.training.windows import sampler_of
from training_runs import digest, dying_at, log_of, write_corpus, write_recipe

SUFFIXES = ("wav", "flac", "ogg", "mp3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A LibriSpeech-like folder of several formats, one file with dots and one with a long name."""
    folder = tmp_path_factory.mktemp("corpus") / "LibriSpeech"
    for number in range(12):
        name = {3: "12-3-00.03.x", 4: "long-" + "n" * 200}.get(number, f"12-3-{number:04d}")
        path = folder / "train" / "12" / "3" / f"{name}.{SUFFIXES[number % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(100 + 20 * number, seconds=0.4 + 0.05 * number, seed=number), RATE)
    (path.parent / "12-3.trans.txt").write_text("12-3-0000 HALLO ÄRZTE\n12-3-0001 ZWEI\n", encoding="utf-8")
    return folder


def by_key(manifest):
    return {manifest.key(row): row for row in range(len(manifest))}


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_what_comes_back_is_what_went_in(corpus, tmp_path):
    files = open_corpus(corpus)
    written = write_shards([corpus], tmp_path / "s", count=5, workers=2)
    assert [shard.utterances for shard in written.shards] == [5, 5, 2]
    assert written.sentence == "12 utterances, 8.1 seconds, in 3 shards"
    assert is_shards(tmp_path / "s")
    shards = open_corpus(tmp_path / "s")
    rows, before = by_key(shards), by_key(files)
    assert rows.keys() == before.keys()
    assert [shards.key(row) for row in range(12)] != [
        files.key(row) for row in range(12)
    ]  # an order drawn by the seed
    for key, row in rows.items():
        source = before[key]
        assert shards.num_samples[row] == files.num_samples[source]
        assert shards.transcripts[row] == files.transcripts[source]
        assert shards.speakers[row] == files.speakers[source]
        assert shards.path(row).read() == files.path(source).read_bytes()
        whole = read_audio(files.path(source), RATE)
        np.testing.assert_array_equal(read_audio(shards.path(row), RATE), whole)
        np.testing.assert_array_equal(read_segment(shards.path(row), RATE, 1000, 4000), whole[1000:4000])
    assert check_shards(tmp_path / "s") == list(written.shards)
    again = open_corpus(open_corpus_of_shards_again(tmp_path))
    assert {key: again.path(row).read() for key, row in by_key(again).items()} == {
        key: shards.path(row).read() for key, row in rows.items()
    }


def open_corpus_of_shards_again(tmp_path):
    """Shards of shards."""
    write_shards([tmp_path / "s"], tmp_path / "t", megabytes=0.05, seed=1)
    return tmp_path / "t"


def grouped(path):
    """A tar as WebDataset reads one, from start to end: what stands before a name's first dot is the key."""
    samples = {}
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            key, _, suffix = name.partition(".")
            samples.setdefault(f"{folder}/{key}", {})[suffix] = tar.extractfile(member).read()
    return samples


def test_tars_are_those_of_webdataset(corpus, tmp_path):
    write_shards([corpus], tmp_path, count=7)
    files, seen = open_corpus(corpus), set()
    for path in sorted(tmp_path.glob("*.tar")):
        for name, sample in grouped(path).items():
            about = json.loads(sample.pop("json"))
            row = by_key(files)[about["key"]]
            seen.add(row)
            ((suffix, audio),) = sample.items()
            assert suffix == files.key(row).rpartition(".")[2]
            assert audio == files.path(row).read_bytes()
            assert about["length"] == files.num_samples[row]
            assert about.get("transcript", "") == files.transcripts[row]
            assert name.startswith("train/12/3/")
    assert seen == set(range(12))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its files
def test_the_library_itself_reads_them(corpus, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the library webdataset is not installed")
    write_shards([corpus], tmp_path, count=5)
    paths = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    shards = open_shards(tmp_path)
    assert [json.loads(sample["json"])["key"] for sample in samples] == [shards.key(row) for row in range(12)]
    for row, sample in enumerate(samples):
        assert sample[shards.key(row).rpartition(".")[2]] == shards.path(row).read()


@pytest.mark.parametrize(
    ("seconds", "said"), [(59.9, "59.9 seconds"), (90, "1.5 minutes"), (3600, "1.0 hours"), (3.6e8, "100000.0 hours")]
)
def test_how_much_it_is_in_a_unit_that_tells(seconds, said):
    assert in_words([Shard("a", 3, int(seconds * 16_000), 1, "")]) == f"3 utterances, {said}, in 1 shard"


def run(*arguments):
    return CliRunner().invoke(cli.app, ["shards", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["audio", "shards"])
def test_the_folder_that_is_read_is_not_written_into(kind, tmp_path):
    place = write_corpus(tmp_path / "clips", clips=3)
    if kind == "shards":
        write_shards([place], tmp_path / "s")
        place = tmp_path / "s"
    before = hashes(place)
    (tmp_path / "link").symlink_to(place)
    for out in (place, tmp_path / "link", place / ".." / place.name):
        with pytest.raises(InputError, match="is the corpus itself; choose another -o"):
            write_shards([place], out)
    assert hashes(place) == before
    assert kind == "shards" or not (place / ".lock").exists()


def test_a_refused_source_leaves_nothing_behind(tmp_path):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(InputError, match="nowhere"):
            write_shards([tmp_path / "nowhere"], out)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "there").iterdir()) == []


def test_shards_that_cannot_be_checked(corpus, tmp_path):
    for arguments, said in (
        (["check"], "Which shards? speechbias shards check DIR"),
        (["check", tmp_path / "nowhere"], "nowhere is no folder; give one that speechbias shards wrote"),
        (["check", corpus], "LibriSpeech is no folder of shards (there is no index.jsonl)"),
    ):
        (problem,) = run(*arguments).exception.problems
        assert said in problem
    write_shards([corpus], tmp_path / "s", count=5)
    assert "12 utterances, 8.1 seconds, in 3 shards; all as the index says" in run("check", tmp_path / "s").output


def test_a_corpus_that_is_called_check(tmp_path, monkeypatch):
    write_corpus(tmp_path / "check", clips=3)
    monkeypatch.chdir(tmp_path)
    done = run("check", "-o", "s")
    assert done.exit_code == 0, done.output
    assert len(open_corpus("s")) == 3
    (tmp_path / "check" / "clip-0.wav").unlink()
    assert "3 utterances" in run("check", "s").output


def test_names_that_no_tar_should_have(tmp_path):
    taken = set()
    assert sharding.member_name("/data/a.b.FLAC", 0, taken) == ("data/a_b", ".flac")
    assert sharding.member_name("../x/.wav", 1, taken) == ("x/_wav", ".audio")
    assert sharding.member_name("data/a_b.wav", 2, taken) == ("data/a_b~2", ".wav")
    for part in "ab":
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / part / "same.wav", tone(100 + ord(part)), RATE)
    write_shards([tmp_path / "a", tmp_path / "b"], tmp_path / "s")
    shards = open_corpus(tmp_path / "s")
    assert {shards.path(row).read() for row in range(2)} == {
        (tmp_path / part / "same.wav").read_bytes() for part in "ab"
    }


def test_other_sources(corpus, tmp_path):
    """A table, fairseq's manifest, and one with a file that cannot be read."""
    names = sorted(path.name for path in (corpus / "train/12/3").glob("*.wav"))
    write_csv(corpus / "train/12/3/table.csv", [{"path": name, "text": name.upper()} for name in names])
    write_shards([corpus / "train/12/3/table.csv"], tmp_path / "csv")
    found = open_corpus(tmp_path / "csv")
    assert sorted(found.transcripts[row] for row in range(len(found))) == sorted(name.upper() for name in names)
    lines = [f"{name}\t{soundfile.info(corpus / 'train/12/3' / name).frames}" for name in names]
    (tmp_path / "fairseq.tsv").write_text("\n".join([str(corpus / "train/12/3"), *lines]) + "\n")
    write_shards([tmp_path / "fairseq.tsv"], tmp_path / "tsv")
    assert sorted(open_corpus(tmp_path / "tsv").num_samples) == sorted(found.num_samples)
    (tmp_path / "bad").mkdir()
    soundfile.write(tmp_path / "bad" / "a.wav", tone(120), RATE)
    (tmp_path / "bad" / "b.wav").write_bytes(b"nothing")
    done = CliRunner().invoke(cli.app, ["shards", str(tmp_path / "bad"), "-o", str(tmp_path / "of-bad")])
    assert done.exit_code == 0
    assert "b.wav is left out" in done.output
    assert "1 utterances" in done.output


def test_a_killed_writer_leaves_whole_shards_and_goes_on(corpus, tmp_path, monkeypatch):
    whole = write_shards([corpus], tmp_path / "whole", count=3)
    original, reads = sharding.read_bytes, []

    def dying(path):
        reads.append(path)
        if len(reads) == dying.at:
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(sharding, "read_bytes", dying)
    for dying.at in (5, 2):
        reads.clear()
        with pytest.raises(KeyboardInterrupt):
            write_shards([corpus], tmp_path / "cut", count=3)
        with pytest.raises(InputError, match="not all written"):
            open_corpus(tmp_path / "cut")
    there = list((tmp_path / "cut").glob("*.tar"))  # the thread may have begun another one before it was told
    assert 1 <= len(there) <= 3
    reads.clear()
    dying.at = None
    again = write_shards([corpus], tmp_path / "cut", count=3)
    assert len(reads) == 12 - 3 * len(there)
    assert again.shards == whole.shards
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")
    reads.clear()
    assert write_shards([corpus], tmp_path / "cut", count=3).shards == whole.shards
    assert reads == []


@pytest.mark.slow
def test_a_writer_killed_at_random_moments(tmp_path):
    corpus = write_corpus(tmp_path / "clips", clips=400)
    command = [sys.executable, "-m", "speechbias", "shards", str(corpus), "--count", "1", "-o"]
    subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, check=True)
    whole = hashes(tmp_path / "whole")
    cut, draws, kills = tmp_path / "cut", random.Random(0), 0
    while kills < 4:
        process = subprocess.Popen([*command, str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(list(cut.glob("*.tar")))
        while process.poll() is None and len(list(cut.glob("*.tar"))) <= before:
            time.sleep(0.002)
        time.sleep(draws.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed often enough"
        kills += 1
        there = {name: sha256 for name, sha256 in hashes(cut).items() if name.startswith("shard-")}
        assert there.items() <= whole.items()  # nothing half under its own name
        assert not (cut / "index.jsonl").exists()
    subprocess.run([*command, str(cut)], capture_output=True, check=True)
    assert hashes(cut) == whole


def test_folders_of_other_things_are_refused(corpus, tmp_path):
    write_shards([corpus], tmp_path / "s", count=5)
    for other in ({"count": 4}, {"count": 5, "seed": 1}, {"count": 5, "megabytes": 1}):
        with pytest.raises(InputError, match="shards of another corpus, size or seed"):
            write_shards([corpus], tmp_path / "s", **other)
    with pytest.raises(InputError, match="another corpus"):
        write_shards([corpus / "train/12/3"], tmp_path / "s", count=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "shard-000000.tar").touch()
    with pytest.raises(InputError, match="not of this command"):
        write_shards([corpus], tmp_path / "mine")
    with (
        sharding._held(tmp_path / "busy"),
        pytest.raises(InputError, match="another process writes shards"),
    ):
        write_shards([corpus], tmp_path / "busy")
    with pytest.raises(InputError, match="shards and files in one corpus"):
        open_corpus([tmp_path / "s", corpus])
    with pytest.raises(InputError, match="stands in the corpus twice"):
        open_corpus([tmp_path / "s", tmp_path / "s"])
    with pytest.raises(InputError, match="shards of nan MB; give a number above 0"):
        write_shards([tmp_path], tmp_path / "nan", megabytes=float("nan"))
    with pytest.raises(InputError, match="give a number above 0"):
        write_shards([corpus], tmp_path / "none", megabytes=0)


def spoil(path, how):
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":  # as long as before
        path.write_bytes(data.replace(b"fLaC", b"fLaX"))
    elif how == "missing":
        path.unlink()


def test_a_broken_shard_is_named(corpus, tmp_path):
    write_shards([corpus], tmp_path / "s", count=6)
    shard = tmp_path / "s" / "shard-000001.tar"
    kept = shard.read_bytes()
    for how, message in (("cut", r"shard-000001.tar has \d+ bytes, the index says"), ("missing", "tar is missing")):
        spoil(shard, how)
        with pytest.raises(InputError, match=message) as caught:
            open_corpus(tmp_path / "s")
        assert "\n" not in str(caught.value)
        shard.write_bytes(kept)
    spoil(shard, "flipped")
    shards = open_corpus(tmp_path / "s")
    broken = []
    for row in range(len(shards)):
        try:
            read_audio(shards.path(row), RATE)
        except AudioError as error:
            broken.append((shards.key(row), str(error)))
    assert broken
    assert all(key.endswith(".flac") for key, _ in broken)
    assert [said for _, said in broken] == [
        f"{shard}, member {key}, is damaged: its bytes are not those of the index. Copy the shard again, or write it "
        "anew."
        for key, _ in broken
    ]
    with pytest.raises(InputError, match=r"shard-000001.tar is damaged \(another sha256\)"):
        check_shards(tmp_path / "s")
    place = shards.path(0)
    place.archive.write_bytes(place.archive.read_bytes()[: place.offset + 10])  # while the corpus is open
    with pytest.raises(AudioError, match=r"shard-000000.tar, member .*, cannot be read: the shard ends before it"):
        read_segment(place, RATE, 0, 100)
    lines = (tmp_path / "s" / "index.jsonl").read_text().splitlines()
    (tmp_path / "s" / "index.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(InputError, match="not of one making"):
        open_corpus(tmp_path / "s")
    (tmp_path / "s" / "index.jsonl").write_text(lines[0] + "\nnothing\n")
    with pytest.raises(InputError, match=r"index.jsonl, line 2 describes no shard"):
        open_corpus(tmp_path / "s")


def test_a_broken_member_ends_training_with_a_line(corpus, tmp_path):
    write_shards([corpus], tmp_path / "s", count=6)
    spoil(tmp_path / "s" / "shard-000000.tar", "flipped")
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path / "s")
    recipe.write_text(recipe.read_text().replace("[optim]", "workers = 1\n[optim]"))
    with pytest.raises(InputError, match=r"shard-000000.tar, member .*flac, is damaged") as caught:
        pretrain(read_recipe(recipe), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_labels_go_along(corpus, tmp_path):
    files = open_corpus(corpus)
    facts = LabelFacts(50, 12, files.sha256)
    lengths = files.num_samples // 320
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    Labels(np.repeat(np.arange(12, dtype=np.uint8), lengths), offsets, facts).save(tmp_path / "units")
    write_shards([corpus], tmp_path / "s", count=5, labels=tmp_path / "units")
    shards, rows = open_corpus(tmp_path / "s"), by_key(files)
    labels = read_labels(tmp_path / "s" / "units", shards)
    labels.check(shards)
    for row in range(12):
        assert set(labels.of(row)) == {rows[shards.key(row)]}
    samples = [sample for path in (tmp_path / "s").glob("*.tar") for sample in grouped(path).values()]
    about = [json.loads(sample["json"]) for sample in samples]
    assert {one["key"]: set(one["labels"]) for one in about} == {key: {row} for key, row in rows.items()}
    with pytest.raises(InputError, match="another list of utterances"):
        write_shards([corpus / "train/12/3"], tmp_path / "t", labels=tmp_path / "units")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The corpus of the other training tests, as files and as shards."""
    folder = tmp_path_factory.mktemp("small")
    write_corpus(folder / "clips", clips=16)
    write_shards([folder / "clips"], folder / "shards", count=3)
    return folder


@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
def test_a_run_on_shards_stops_anywhere_and_goes_on_as_if_it_had_not(family, small, tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path / "r.toml", family, small / "shards", steps=7, log=3)
    recipe.write_text(recipe.read_text().replace("[optim]", "window = 2\n[optim]"))
    pretrain(read_recipe(recipe), tmp_path / "whole")
    with monkeypatch.context() as patched:
        dying = dying_at(patched)
        for dying.at in (3, 6, 11):
            with pytest.raises(ZeroDivisionError):
                pretrain(read_recipe(recipe), tmp_path / "cut", resume=dying.at != 3)
    recipe.write_text(recipe.read_text().replace("window", "workers = 2\nwindow"))
    pretrain(read_recipe(recipe), tmp_path / "cut", resume=True)
    assert digest(tmp_path / "cut", 7) == digest(tmp_path / "whole", 7)
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


@pytest.mark.slow
def test_sigkill_on_shards_loses_nothing(small, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", small / "shards", steps=40, save=1, keep=[0, 10])
    recipe.write_text(recipe.read_text().replace("[optim]", "window = 2\nworkers = 1\n[optim]"))
    begun = [sys.executable, "-m", "speechbias", "pretrain", str(recipe), "--out"]
    subprocess.run([*begun, str(tmp_path / "whole")], capture_output=True, check=True)
    killed = tmp_path / "killed"
    for at in (7, 19, 31):
        process = subprocess.Popen(
            [*begun, str(killed), "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (killed / "checkpoints" / f"step-{at:08d}").exists():
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    last = subprocess.run([*begun, str(killed), "--resume"], capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert digest(killed, 40) == digest(tmp_path / "whole", 40)
    assert log_of(killed) == log_of(tmp_path / "whole")


def test_an_utterance_is_cropped_and_masked_as_it_was_as_a_file(small, tmp_path):
    """Whatever its row and its batch are."""
    config = read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", small / "shards"))
    made = {}
    for kind in ("clips", "shards"):
        manifest = open_corpus(small / kind)
        sampler = sampler_of(manifest, np.arange(16), utterances=3, crop_seconds=0.45)
        examples = Examples(manifest, sampler, config.model.config(), config.masking, seed=5)
        made[kind] = {manifest.key(row): examples.example(3, row) for row in range(16)}
    for key, one in made["clips"].items():
        np.testing.assert_array_equal(one.inputs, made["shards"][key].inputs)
        np.testing.assert_array_equal(one.mask, made["shards"][key].mask)


def test_utterances_of_one_name_have_draws_of_their_own_and_keep_them_in_shards(tmp_path):
    """Of two sources that hold a file of one name and length; in shards their order is another."""
    for part in "abc":
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / part / "same.wav", tone(100 + ord(part), seconds=0.9), RATE)
    sources = [tmp_path / part for part in "abc"]
    recipe = read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path))
    for seed in range(4):  # each an order of the shards
        write_shards(sources, tmp_path / f"s{seed}", seed=seed)
    made = []
    for source in (sources, *(tmp_path / f"s{seed}" for seed in range(4))):
        manifest = open_corpus(source)
        sampler = sampler_of(manifest, np.arange(3), utterances=3, crop_seconds=0.45)
        examples = Examples(manifest, sampler, recipe.model.config(), recipe.masking, seed=5)
        found = [examples.example(3, row) for row in range(3)]
        made.append({one.stream: (one.inputs.tobytes(), one.mask.tobytes()) for one in found})
    assert made[0].keys() == {"same.wav", "~1/same.wav", "~2/same.wav"}
    assert all(each == made[0] for each in made[1:])
    assert len({mask for _, mask in made[0].values()}) == 3


def test_memory_is_flat_over_an_epoch(tmp_path):
    """Twenty shards of 0.6 MB, two of which make a window: after the first ones nothing is added."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    (tmp_path / "clips").mkdir()
    for number in range(400):
        soundfile.write(tmp_path / "clips" / f"{number:03d}.wav", np.roll(wave, number), RATE, subtype="PCM_16")
    write_shards([tmp_path / "clips"], tmp_path / "s", count=20)
    manifest = open_corpus(tmp_path / "s")
    sampler = sampler_of(manifest, np.arange(400), utterances=5, window=2)
    recipe = read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path / "s"))
    examples = Examples(manifest, sampler, recipe.model.config(), recipe.masking)
    assert len(examples) == 80
    for number in range(10):
        examples[number]
    tracemalloc.start()
    try:
        examples[10]
        before = tracemalloc.get_traced_memory()[0]
        for number in range(11, 160):
            examples[number]
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    shard = (tmp_path / "s" / "shard-000000.tar").stat().st_size
    assert after - before < shard / 10
    assert peak - before < 3 * shard  # a batch, what is drawn for it, and its padded copy


EPOCHS = """
import resource, sys
import numpy as np
from speechbias.training.examples import Examples, load
from speechbias.training.recipe import read_recipe
from speechbias.training.sources import open_corpus
from speechbias.training.windows import sampler_of
recipe, manifest = read_recipe(sys.argv[1]), open_corpus(sys.argv[2])
sampler = sampler_of(manifest, np.arange(len(manifest)), utterances=5, window=2)
examples = Examples(manifest, sampler, recipe.model.config(), recipe.masking)
for number, _ in enumerate(load(examples, range(4 * 80), workers=0, pin_memory=False)):
    if number == 40 or number == 4 * 80 - 1:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_process_takes_no_more_memory_after_four_epochs(tmp_path):
    """Tensors too, and pages of files: 13 MB of shards, four times."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    (tmp_path / "clips").mkdir()
    for number in range(400):
        soundfile.write(tmp_path / "clips" / f"{number:03d}.wav", np.roll(noise, number), RATE, subtype="PCM_16")
    write_shards([tmp_path / "clips"], tmp_path / "s", count=20)
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path / "s")
    command = [sys.executable, "-c", EPOCHS, str(recipe), str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after - before < 8  # MB


def test_the_checksum_is_that_of_tar_members(corpus, tmp_path):
    write_shards([corpus], tmp_path)
    shards = open_corpus(tmp_path)
    members = {about: zlib.crc32(data) for about, data in audio_of(tmp_path / "shard-000000.tar")}
    assert {shards.key(row): int(shards.places.crc32[row]) for row in range(12)} == members


def audio_of(path):
    for sample in grouped(path).values():
        key = json.loads(sample.pop("json"))["key"]
        yield key, next(iter(sample.values()))
