"""What is learnt, chosen and tested: rows, transcripts, groups, and no recording on two sides."""

import shutil

import pytest
import soundfile

from probing import RATE, draw_phones, say, write_recipe, write_speech
from recordings import read_rows, write_csv
from speechbias.errors import InputError
from speechbias.probe.recipe import read_probe_recipe
from speechbias.probe.splits import open_splits, share
from speechbias.probe.synthetic import write_voices
from speechbias.probe.utterances import Utterance
from speechbias.training.sharding import write_shards
from speechbias.training.sources import open_corpus

LEXICON = "A AH0\nWELL W EH1 L\nSAID S EH1 D\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    ages = ["34", "38", "70+", ""]
    return write_speech(tmp_path_factory.mktemp("speech"), count=12, age=ages)


def opened(tmp_path, table, seed=0, **probe):
    recipe = read_probe_recipe(write_recipe(tmp_path / "r.toml", table, probe=probe))
    return open_splits(recipe.probe, tmp_path, seed=seed, workers=1)


def keys(utterances):
    return [each.key.removeprefix("clips/say-")[:2] for each in utterances]


def test_rows_are_taken_by_columns_and_patterns(table, tmp_path):
    rows = {"train_rows": "part=tr*,gender=?emale", "test_rows": "path=clips/say-1*", "dev_rows": "part=dev"}
    splits = opened(tmp_path, table, **rows)
    assert keys(splits.train) == ["01", "03", "05"]
    assert keys(splits.dev) == ["06", "07", "08"]
    assert keys(splits.test) == ["10", "11"]
    assert splits.lexicon is None
    assert splits.warnings() == [
        "test: 1 of 2 utterances are by speakers that train has too; error rates of new speakers may be higher"
    ]
    first = splits.train[0]
    assert first.phones == tuple(read_rows(table)[1]["phones"].split())
    assert first.speaker == "s1"


def test_groups_are_columns_with_years_as_decades(table, tmp_path):
    groups = [each.groups for each in opened(tmp_path, table).train]
    assert [each.get("age") for each in groups] == ["30-39", "30-39", "70+", None, "30-39", "30-39"]
    assert groups[3] == {"gender": "female"}
    sexes = write_csv(table.parent / "sexes.csv", [{**row, "gender": "", "Sex": "M"} for row in read_rows(table)])
    assert {each.groups["gender"] for each in opened(tmp_path, sexes).train} == {"male"}
    assert {each.groups["Sex"] for each in opened(tmp_path, sexes, groups=["Sex"]).train} == {"male"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("parts=train", r"train_rows: .* has no column `parts`\. Did you mean part\?"),
        ("part=trainer", "no recording of .* has part=trainer"),
        ("part", "not COLUMN=VALUE"),
    ],
)
def test_a_filter_that_takes_nothing(table, tmp_path, rows, said):
    with pytest.raises(InputError, match=said):
        opened(tmp_path, table, train_rows=rows)


def test_a_recording_on_two_sides_is_refused(table, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(table.parent, copy)
    with pytest.raises(InputError, match=r"3 recordings of \[probe\] test stand in dev too, first clips/say-09"):
        opened(tmp_path, table, dev=[str(copy / "phones.csv")], dev_rows="part=test")
    with pytest.raises(InputError, match=r"3 recordings of \[probe\] test stand in train too"):
        opened(tmp_path, table, train=[str(copy / "phones.csv")], train_rows=None, dev=[], dev_rows=None)
    with pytest.raises(InputError, match=r"3 recordings of \[probe\] dev stand in train too"):
        opened(tmp_path, table, train_rows="part=dev")


def test_another_reading_of_a_learnt_sentence_is_told(table, tmp_path):
    rows = read_rows(table)
    soundfile.write(tmp_path / "again.wav", say(rows[0]["phones"].split(), seed=99), RATE)
    said = {"path": "again.wav", "phones": rows[0]["phones"], "speaker": "s9"}
    splits = opened(tmp_path, table, test=[str(write_csv(tmp_path / "t.csv", [said]))], test_rows=None)
    assert splits.warnings()[0].startswith("test: 1 of 1 utterances say a sentence that train or dev says too")


def test_dev_is_a_share_of_sentences_by_the_seed():
    said = ["a", "b", "c", "d", "a", "b", "e", "a", "f", "g"]
    utterances = [Utterance(f"{n}", None, 1, f"{n}", (), text, "") for n, text in enumerate(said)]
    sides = {}
    for seed in range(8):
        train, dev = share(utterances, 0.3, seed)
        assert not {each.sentence for each in train} & {each.sentence for each in dev}
        assert len(train) + len(dev) == 10
        assert 3 <= len(dev) <= 5
        assert share(utterances, 0.3, seed) == (train, dev)
        sides[tuple(each.key for each in dev)] = seed
    assert len(sides) > 2
    assert len(share(utterances, 0.01, 0)[1]) >= 1
    assert len(share(utterances, 0.99, 0)[0]) >= 1
    with pytest.raises(InputError, match="dev is empty"):
        share(utterances[:1], 0.5, 0)


def librispeech(root):
    """Two speakers of dev-clean, with transcripts, and SPEAKERS.TXT above."""
    for speaker, texts in {"84": ["A WELL", "WELL SAID"], "174": ["SAID A ZEBRA", ""]}.items():
        chapter = root / "dev-clean" / speaker / "1"
        chapter.mkdir(parents=True)
        lines = []
        for number, text in enumerate(texts):
            name = f"{speaker}-1-{number:04d}"
            wave = say(draw_phones(4, seed=int(speaker))[number], seed=number)
            soundfile.write(chapter / f"{name}.flac", wave, RATE)
            lines += [f"{name} {text}\n"]
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines))
    speakers = ";ID |SEX| SUBSET |MINUTES| NAME\n84 | F | dev-clean | 8 | X\n174 | M | dev-clean | 8 | Y\n"
    (root / "SPEAKERS.TXT").write_text(speakers)
    (root / "lexicon.txt").write_text(LEXICON)
    return root / "dev-clean"


def test_librispeech_as_it_lies_on_disk(tmp_path, table):
    folder = librispeech(tmp_path / "LibriSpeech")
    lexicon = [str(folder.parent / "lexicon.txt")]
    changes = {"test": [str(folder)], "test_rows": None, "lexicon": lexicon, "phones": 39}
    splits = opened(tmp_path, table, **changes)
    assert [each.phones for each in splits.test] == [("AH", "W", "EH", "L"), ("W", "EH", "L", "S", "EH", "D")]
    assert [(each.speaker, each.groups) for each in splits.test] == [("84", {"gender": "female"})] * 2
    assert [(each.key.rpartition("/")[2], each.why) for each in splits.left_out] == [
        ("174-1-0000.flac", "has words that are in no lexicon: ZEBRA"),
        ("174-1-0001.flac", "has no transcript"),
    ]
    assert any("1 words (1 times) are in no lexicon, first ZEBRA" in each for each in splits.warnings())
    skipped = opened(tmp_path, table, unknown="skip", **changes)
    assert skipped.test[0].groups == {"gender": "male"}
    assert skipped.test[0].phones == ("S", "EH", "D", "AH")
    assert skipped.lexicon.name == "lexicon.txt"
    assert skipped.sha256 != splits.sha256


def test_where_nobody_says_what_was_said(table, tmp_path):
    bare = write_csv(table.parent / "bare.csv", [{"path": "clips/say-00.wav", "text": ""}])
    with pytest.raises(InputError, match=r"\[probe\] test: none of the recordings .*\(has no transcript: 1\)"):
        opened(tmp_path, table, test=[str(bare)], test_rows=None)
    odd = write_csv(table.parent / "odd.csv", [{"path": "clips/say-09.wav", "phones": "AA QQ"}])
    with pytest.raises(InputError, match=r"odd.csv, clips/say-09.wav: unknown phone 'QQ'"):
        opened(tmp_path, table, test=[str(odd)], test_rows=None)
    with pytest.raises(InputError, match="has no stress mark"):
        opened(tmp_path, table, phones=71)


def test_broken_audio_and_long_utterances_are_left_out_and_said(table, tmp_path):
    rows = read_rows(table)
    (table.parent / "clips" / "broken.wav").write_bytes(b"RIFF")
    broken = write_csv(table.parent / "broken.csv", [rows[9], rows[9] | {"path": "clips/broken.wav"}])
    longest = min(len(row["phones"].split()) for row in rows[:6]) * 0.12 + 0.01
    splits = opened(tmp_path, table, test=[str(broken)], test_rows=None, max_seconds=longest)
    assert {each.split for each in splits.left_out} == {"train", "test"}
    assert len(splits.test) == 1
    assert all(each.samples <= longest * RATE for each in splits.train)
    with pytest.raises(InputError, match=r"max_seconds is 0\.01; all"):
        opened(tmp_path, table, max_seconds=0.01)


def test_shards_and_manifests_have_rows_too(table, tmp_path):
    write_shards([str(table)], tmp_path / "shards", megabytes=1)
    corpus = open_corpus(tmp_path / "shards", only=lambda key: key.endswith(("02.wav", "05.wav")))
    assert [corpus.key(row)[-6:] for row in range(len(corpus))] == ["02.wav", "05.wav"]
    corpus.save(tmp_path / "m.npz")
    assert len(open_corpus(tmp_path / "m.npz", only=lambda key: key.endswith("05.wav"))) == 1


def test_synthetic_voices_say_no_sentence_in_two_parts(tmp_path):
    rows = read_rows(write_voices(tmp_path, voices=3))
    parts = {part: {row["phones"] for row in rows if row["part"] == part} for part in ("train", "dev", "test")}
    assert all(parts.values())
    assert not parts["train"] & parts["dev"]
    assert not parts["test"] & parts["train"]
    assert (tmp_path / rows[0]["path"]).exists()
    assert write_voices(tmp_path) == tmp_path / "phones.csv"


def test_utterances_that_fit_in_no_batch_are_refused_before_states_are_computed(table, tmp_path):
    batches = {"utterances": None, "seconds": 0.5}
    with pytest.raises(InputError, match=r"seconds is 0.5; \d training utterances are longer .* by max_seconds"):
        opened(tmp_path, table, **batches)
    assert opened(tmp_path, table, **batches, max_seconds=0.5).train
