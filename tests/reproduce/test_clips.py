"""Stimuli that were changed: which measurements a table is of, and what is said of the others."""

from dataclasses import replace

import pytest

from made_records import make_record
from recordings import read_rows, write_csv, write_test
from speechbias.reproduce.clips import clips_sha256, of_one_set
from speechbias.reproduce.findings import Evidence
from speechbias.reproduce.make import Records, choose, make


def on(sha256, test="gender", **changes):
    return make_record(model="mfcc", family="features", test=test, stimuli_sha256=sha256, **changes)


def test_one_set_of_clips_needs_no_word():
    records = [on("a"), on("b", test="age"), on("c", test="accent"), on("d", test="accent")]
    assert of_one_set(records) == (records, [])


def test_without_stimuli_the_last_measured_count():
    old, new = [on("old"), on("old", model_sha256="m2")], on("new")
    other = on("x", test="accent")
    kept, (line,) = of_one_set([*old, other, new])
    assert kept == [other, new]
    assert line == (
        "Gender: shown is 1 measurement on the stimuli that were measured last; left aside: 2 on other clips, "
        "which stay in their files"
    )
    back = on("old", model_sha256="m3")  # as of clips that were put back
    assert of_one_set([*old, new, back])[0] == [*old, back]
    assert Evidence([*old, new], {}).of("Gender") == [new]


def test_stimuli_as_they_are_now_count_whatever_was_measured_last(tmp_path):
    path = write_test(tmp_path, clips=2)
    now = on(clips_sha256(path))
    kept, (line,) = of_one_set([now, on("later")], [path])
    assert kept == [now]
    assert "1 measurement on the stimuli as they are now; left aside: 1" in line
    write_csv(path, read_rows(path)[1:])  # changed, and not measured yet
    assert of_one_set([now, on("later")], [path])[0] == [on("later")]
    path.unlink()
    assert of_one_set([now, on("later")], [path])[0] == [on("later")]


@pytest.mark.parametrize("item", ["table3", "findings"])
def test_tables_are_of_one_set_and_say_so(item, tmp_path):
    results = tmp_path / "results.jsonl"
    records = [on("old", d=0.5), on("new", d=0.7), replace(on("new"), model="mel", d=0.1)]
    (line,) = choose(records).notes
    made = make(item, Records({results: records}, []), tmp_path)
    assert line.startswith("Gender: shown are 2 measurements")
    if item == "table3":
        assert "| MFCC | Gender | +0.70 |" in made.paths[0].read_text()
        assert "| MFCC | Gender | +0.50 |" not in made.paths[0].read_text()
    assert choose(records[1:]).notes == ()
