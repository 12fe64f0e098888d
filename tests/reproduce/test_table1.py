"""Table 1: clips per group of SpEAT's lists, of the paper, of what was built."""

from dataclasses import replace

import pytest

from laid_corpora import lay_archive, lay_morgan
from speechbias.corpora import build
from speechbias.reproduce.table1 import is_speats, table1, table1_in_words, write_table1
from speechbias.stimuli import make_stimulus_set


@pytest.fixture(scope="module")
def tests_of_speat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    archive, mess = lay_archive(folder / "saa"), lay_morgan(folder / "mess")
    sources = [f"accent-archive:{{}}={archive}", f"morgan={mess}"]
    return {
        name: build([source.format(name) for source in sources], name=name).stimuli
        for name in ("age", "native", "gender")
    }


def test_a_full_archive_gives_speats_counts(tests_of_speat):
    rows = {row.category.name: row for row in table1(list(tests_of_speat.values()))}
    assert {name: (row.ours["X"], row.ours["Y"], row.ours["A"]) for name, row in rows.items()} == {
        "Gender": (60, 60, 60),
        "Native": (59, 59, 60),
        "Age": (58, 58, 60),
    }
    assert rows["Gender"].verdict == rows["Age"].verdict == "as the paper"
    assert rows["Native"].verdict == "as SpEAT; the paper has 55"


def test_nothing_built():
    assert {row.verdict for row in table1()} == {"not built"}
    assert [row.speat for row in table1()] == [60, 59, 58]


def test_speats_clips_are_told_from_others(tests_of_speat):
    whole = tests_of_speat["gender"]
    assert is_speats(whole)
    assert not is_speats(replace(whole, name="other"))
    without = [clip for clip in whole.stimuli if clip is not whole.X[0]]
    assert not is_speats(make_stimulus_set("gender", without))
    swapped = [
        replace(clip, group={"Female": "Male", "Male": "Female"}.get(clip.group, clip.group)) for clip in whole.stimuli
    ]
    assert not is_speats(make_stimulus_set("gender", swapped))
    turned = [replace(clip, set={"X": "Y", "Y": "X"}.get(clip.set, clip.set)) for clip in whole.stimuli]
    assert not is_speats(make_stimulus_set("gender", turned))  # d has the other sign
    twice = [*whole.stimuli, replace(whole.X[0], path=whole.X[0].path.with_name("again.wav"))]
    assert not is_speats(make_stimulus_set("gender", twice))
    other = next(clip for clip in whole.A if clip.speaker != whole.A[0].speaker)
    uneven = [replace(clip, speaker=other.speaker) if clip is whole.A[0] else clip for clip in whole.stimuli]
    assert not is_speats(make_stimulus_set("gender", uneven))
    fewer = [clip for clip in whole.stimuli if clip is not whole.A[0]]
    assert not is_speats(make_stimulus_set("gender", fewer))


def test_its_file(tests_of_speat, tmp_path):
    one = [clip for clip in tests_of_speat["age"].stimuli if clip is not tests_of_speat["age"].X[0]]
    rows = table1([make_stimulus_set("age", one)])
    (path,) = write_table1(rows, tmp_path / "new")
    text = path.read_text()
    assert "| Age | Young | Old | 58 | 58 | 57 and 58 | other clips than SpEAT's 58 |" in text
    assert "| Gender | Female | Male | 60 | 60 |  | not built |" in text
    assert "55" in text
    assert table1_in_words(rows)
