"""`speechbias groups`: what it prints, writes and refuses, and what the report makes of it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from grouped import people, write_measurement
from speechbias.cli import app
from speechbias.cli.running import main
from speechbias.report import write_report
from speechbias.report.grid import arrange
from speechbias.report.groups import find_questions, find_slopes
from speechbias.report.groups_figure import draw_question
from speechbias.results import read_records, read_results


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Korean far from the others; age as in the speaker's number; one speaker's is unknown."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("command")
    said = {"sex": lambda n: "fm"[n % 2], "age": lambda n: str(20 + 7 * n) if n else ""}
    levels = (("usa", 0.0), ("greek", 0.1), ("korean", 1.6))
    clips = [clip for level, shift in levels for clip in people(level, 7, 2, shift, rng=rng, **said)]
    results, table, _ = write_measurement(folder, clips[:14], clips[14:])
    return results, table


def run(*command):
    done = CliRunner().invoke(app, ["groups", *map(str, command)], env={"COLUMNS": "120"})
    return done.exit_code, done.output, done.exception


def test_it_prints_and_writes(measured, tmp_path):
    results, table = measured
    out = tmp_path / "groups.jsonl"
    options = ["--by", "level", "--slope", "age", "--per", "10", "-o", out]
    for _ in range(2):  # the second time nothing is added
        code, output, error = run(results, "--stimuli", table, *options)
        assert code == 0, error
    first, second = read_records(out)
    assert (first["question"], second["question"]) == ("pairs", "slope")
    assert second["slope"]["per"] == 10
    assert "usa 14 (7), greek 14 (7), korean 14 (7)" in output
    assert "usa - korean" in output
    assert "associated" in output
    assert "slope on age (27 to 62), 36 clips of 18 speakers; no value: 6" in output
    written = out.read_text()
    assert json.loads(written.splitlines()[0])["levels"][0]["n_speakers"] == 7
    assert "usa3" not in written  # a speaker's name
    assert str(results.parent) not in written


def test_the_same_bytes_again(measured, tmp_path):
    results, table = measured
    for name in ("a", "b"):
        run(results, "--stimuli", table, "--by", "level", "--by", "sex", "-o", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != b""


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ([], "Which groups? Name a column with --by"),
        (["--by", "levl"], "no column 'levl'. Did you mean level?"),
        (["--by", "level", "--reference", "greece"], "no group 'greece' for --reference. Did you mean greek?"),
        (["--by", "level", "--by", "sex", "--reference", "usa"], "--reference is given 1 times, --by 2 times"),
        (["--by", "a", "--by", "b", "--by", "c"], "--by is given 3 times"),
        (["--slope", "sex"], "sex holds 'f' in 24 clips and 1 other text: no number"),
        (["--slope", "age", "--per", "0"], "--per is 0"),
    ],
)
def test_what_is_wrong_is_one_line(measured, options, match, capsys, monkeypatch):
    results, table = measured
    monkeypatch.setattr("sys.argv", ["speechbias", "groups", str(results), "--stimuli", str(table), *options])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert match in said
    assert len(said.splitlines()) == 1


# ---- The report ----


@pytest.fixture(scope="module")
def asked(measured, tmp_path_factory):
    results, table = measured
    out = tmp_path_factory.mktemp("asked") / "groups.jsonl"
    for options in (["--by", "level"], ["--by", "level", "--reference", "usa"], ["--by", "sex", "--by", "level"]):
        assert run(results, "--stimuli", table, *options, "-o", out)[0] == 0
    assert run(results, "--stimuli", table, "--slope", "age", "-o", out)[0] == 0
    return read_results(results), read_records(out)


def test_questions_of_a_measurement_in_the_table(asked):
    measured, records = asked
    pairs, reference, factors = find_questions(arrange(measured), records)
    assert [each.kind for each in (pairs, reference, factors)] == ["pairs", "reference", "factors"]
    assert pairs.heading == "test: level, every two groups"
    assert reference.heading == "test: level, against usa"
    assert pairs.levels == ("usa", "greek", "korean")
    assert pairs.groups.startswith("usa (14 clips, 7 speakers); greek")
    (one,) = pairs.asked
    assert {pair: row.associated for pair, row in one.matrix.items()} == {(0, 1): False, (0, 2): True, (1, 2): True}
    assert "2 of 3 comparisons hold after adjustment" in one.sentence
    assert factors.asked[0].effects[0].name == "m - f"


def test_records_of_other_clips_or_models_or_single_states_are_not_shown(asked):
    measured, records = asked
    strangers = [
        {**records[0], "stimuli_sha256": "x"},
        {**records[0], "model_sha256": "x"},
        {**records[0], "layer": 3},
    ]
    assert find_questions(arrange(measured), strangers) == []
    assert find_slopes(arrange(measured), [{**records[-1], "model_sha256": "x"}]) == []


def test_asked_again_the_last_record_counts(asked):
    measured, records = asked
    again = {**records[0], "contrasts": [{**each, "associated": False} for each in records[0]["contrasts"]]}
    found = find_questions(arrange(measured), [records[0], again])
    assert [len(each.asked) for each in found] == [1]
    assert not any(row.associated for row in found[0].asked[0].comparisons)


def test_the_page_and_its_figures(asked, tmp_path):
    measured, records = asked
    files = write_report(measured, tmp_path, others=records)
    assert sorted(path.name for path in files.figures if path.suffix == ".svg") == [
        "forest.svg", "groups-0.svg", "groups-1.svg", "groups-2.svg",
    ]  # fmt: skip
    page = files.page.read_text()
    assert '<a href="#groups">' in page
    assert page.count('aria-label="Groups compared') == 3
    assert "Slope of s on a number" in page
    assert "2 of 3 comparisons hold after adjustment" in page


def test_a_group_without_an_interval_has_none_in_the_table(asked):
    measured, records = asked
    none = {**records[1], "contrasts": [{**each, "ci_method": "none"} for each in records[1]["contrasts"]]}
    (found,) = find_questions(arrange(measured), [none])
    assert {row.texts[1] for row in found.asked[0].comparisons} == {"-"}
    assert len(draw_question(found).axes[0].lines) == 7 + 2  # references, markers, and no interval
