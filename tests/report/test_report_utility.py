"""Phone error rates in a report: which model they are of, who pays, and what cannot be said."""

import csv

import pytest

from speechbias.report import write_report
from speechbias.report.grid import arrange
from speechbias.report.numerals import format_rates
from speechbias.report.utility import describe_speakers, find_utilities, shown_gaps, write_per_csv


def per(model="whisper-tiny.en", rate=0.123, **changes):
    groups = {
        "sex": {
            "F": {"per": 0.1, "n_utterances": 9, "n_speakers": 3, "ci_low": 0.08, "ci_high": 0.12},
            "M": {"per": 0.15, "n_utterances": 9, "n_speakers": 3, "ci_low": 0.1, "ci_high": 0.2},
        }
    }
    gaps = {"sex": [{"groups": ["F", "M"], "gap": -0.05, "ci_low": -0.1, "ci_high": 0.01}]}
    values = {
        "kind": "per", "model": model, "split": "test", "per": rate, "n_utterances": 18, "n_speakers": 6,
        "learning_rate": 0.01, "ci_low": 0.1, "ci_high": 0.14, "groups": groups, "gaps": gaps,
    }  # fmt: skip
    return values | changes


@pytest.fixture
def grid(record):
    return arrange(
        [record(), record(test="age", d=-0.3, stimuli_sha256="ab" * 32), record(model="mel", model_sha256="m")]
    )


def test_a_rate_stands_beside_d_of_the_same_weights_under_the_name_of_the_table(grid):
    (found,) = find_utilities([per("another name", model_sha256="a1b2c3d4" * 8)], grid)
    assert (found.label, found.rate, found.interval, found.speakers) == ("whisper-tiny.en", 0.123, (0.1, 0.14), 6)
    assert {column.label: cell.d for column, cell in found.ds.items()} == {"gender": 0.62, "age": -0.3}


def test_a_name_does_where_there_is_no_hash_and_no_other_model_of_that_name(grid, record):
    assert {column.label for column in find_utilities([per("mel")], grid)[0].ds} == {"gender"}
    both = arrange([record(model="step-1"), record(model="step-1", model_sha256="other")])
    assert find_utilities([per("step-1")], both)[0].ds == {}
    assert find_utilities([per(model_sha256="unknown")], grid)[0].ds == {}


def test_of_several_rates_of_one_model_the_last_stands(grid):
    found = find_utilities([per(rate=0.5), per("mel", 0.4), per(rate=0.2), per(split="dev"), {"kind": "bias"}], grid)
    assert [(each.label, each.split, each.rate) for each in found] == [
        ("mel", "test", 0.4), ("whisper-tiny.en", "test", 0.2), ("whisper-tiny.en", "dev", 0.123)
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [float("nan"), -1, True, "0.1", None, float("inf")])
def test_what_is_no_rate_is_left_out(grid, bad):
    assert find_utilities([per(rate=bad)], grid) == []


def test_gaps_have_their_rates_and_intervals(grid):
    (gap,) = find_utilities([per()], grid)[0].gaps
    assert (gap.column, gap.groups, gap.rates, gap.gap) == ("sex", ("F", "M"), (0.1, 0.15), -0.05)
    assert (format_rates(gap.interval), gap.why) == ("-10.0 to 1.0", "")
    gaps = {"sex": [{"groups": ["F", "M"], "gap": -0.05, "ci_low": None, "ci_high": None, "why": "one speaker"}]}
    (gap,) = find_utilities([per(gaps=gaps)], grid)[0].gaps
    assert (format_rates(gap.interval), gap.why) == ("-", "one speaker")


@pytest.mark.parametrize(
    ("speakers", "said"),
    [(1, "are one speaker's"), (None, "is not known"), (4, "no groups are known")],
)
def test_without_groups_it_says_what_cannot_be_said(grid, speakers, said):
    found = find_utilities([per(gaps={}, groups={}, n_speakers=speakers)], grid)
    assert said in describe_speakers(found)
    assert describe_speakers(find_utilities([per()], grid)) == ""


def test_the_spreadsheet(grid):
    rows = list(csv.DictReader(write_per_csv(find_utilities([per()], grid)).splitlines()))
    assert [(r["column"], r["group"], r["per"], r["gap"], r["ci_low"]) for r in rows] == [
        ("", "", "0.123", "", "0.1"),
        ("sex", "F", "0.1", "-0.05", "-0.1"),
    ]


def test_the_page_has_rates_gaps_and_d_side_by_side(record, tmp_path):
    gaps = {"sex": [{"groups": ["F", "M"], "gap": -0.05, "ci_low": None, "ci_high": None, "why": "one speaker"}]}
    others = [per(model_sha256="a1b2c3d4" * 8), per("mel", 0.8, gaps=gaps, model_sha256="mel")]
    written = write_report([record(), record(model="mel", model_sha256="mel")], tmp_path, others=others)
    page = written.page.read_text()
    assert "Phone error rates, and who pays" in page
    assert '<td class="n d" data-value="0.123">12.3</td>' in page
    assert "-10.0 to 1.0" in page
    assert 'title="one speaker">-</td>' in page
    assert "nothing can be said" not in page
    assert "per.csv" in {path.name for path in written.paths}
    alone = write_report([record()], tmp_path / "b", others=[per(groups={}, gaps={}, n_speakers=1)])
    assert "one speaker&#39;s: nothing can be said of groups" in alone.page.read_text()
    none = write_report([record()], tmp_path / "c")
    assert "who pays" not in none.page.read_text()
    assert "per.csv" not in {path.name for path in none.paths}


def test_checkpoints_of_runs_are_told_apart_by_run_and_by_weights(grid):
    rates = [
        per("step-9", model_sha256=sha, run={"name": name}, step=step)
        for sha, name, step in (
            ("a" * 64, "one", 9),
            ("b" * 64, "two", 9),
            ("c" * 64, "two", 9),
            ("d" * 64, "x", None),
        )
    ]
    assert [each.label for each in find_utilities(rates, grid)] == [
        "one step 9", "two step 9 [bbbbbbbb]", "two step 9 [cccccccc]", "x step-9"
    ]  # fmt: skip


def test_other_test_sets_and_recipes_of_one_split_are_numbered(grid):
    rates = [
        per(rate=0.1, corpus_sha256="c"),
        per(rate=0.2, corpus_sha256="d"),
        per("mel", rate=0.3, corpus_sha256="d"),
    ]
    found = find_utilities(rates, grid)
    assert [(each.split, each.rate) for each in found] == [("test", 0.1), ("test [2]", 0.2), ("test [2]", 0.3)]
    assert "Numbered splits are other test sets" in describe_speakers(found)
    assert describe_speakers(found[:1]) == ""


def test_a_student_with_and_without_its_heads_is_two_rows_each_beside_its_own_d(record):
    sha, heads = "a" * 64, "s3prl-heads"
    both = arrange(
        [record(model="s", model_sha256=sha, states=states, d=d) for states, d in (("s3prl", 1), (heads, 2))]
    )
    rates = [per("s", model_sha256=sha, states=states, dtype="float32") for states in (heads, "s3prl")]
    found = find_utilities(rates, both)
    assert [(each.label, *(cell.d for cell in each.ds.values())) for each in found] == [("s with heads", 2), ("s", 1)]


@pytest.mark.parametrize(
    "gap", [3, {}, {"groups": ["F", "X"], "gap": 0.1}, {"groups": ["F", "M"]}, {"groups": 1, "gap": 0}]
)
def test_a_gap_that_is_not_whole_is_left_out(grid, gap):
    assert find_utilities([per(gaps={"sex": [gap], "age": 1})], grid)[0].gaps == ()


def test_steps_that_the_tables_leave_to_the_curves_have_their_d_beside_the_rate(record, tmp_path):
    run, steps = {"name": "mine", "seed": 0}, (10, 20)
    measured = [record(model=f"step-{n}", model_sha256=f"{n}", run=run, step=n, d=n / 100) for n in steps]
    rates = [per(f"step-{n}", n / 100, model_sha256=f"{n}", run=run, step=n) for n in steps]
    page = write_report(measured, tmp_path, others=rates).page.read_text()
    utility = page[page.index('id="utility"') :]
    for n in steps:
        row = utility[utility.index(f"mine step {n}</th>") :].partition("</tr>")[0]
        assert f'<td class="n" data-value="{n / 100}">{n / 100:.2f}</td>' in row


def test_of_many_gaps_a_page_has_the_largest_with_an_interval(record, tmp_path):
    names = [f"accent{n}" for n in range(7)]
    groups = {"accent": {name: {"per": n / 10} for n, name in enumerate(names)}}
    gaps = [
        {"groups": [one, two], "gap": (n - m) / 10, "ci_low": -1 if n else None, "ci_high": 1}
        for n, one in enumerate(names)
        for m, two in enumerate(names[n + 1 :], n + 1)
    ]
    made = per(groups=groups, gaps={"accent": gaps}, model_sha256="a1b2c3d4" * 8)
    (found,) = find_utilities([made], arrange([record()]))
    shown = shown_gaps(found)
    assert len(shown) == 12
    assert (shown[0].groups, shown[0].gap) == (("accent1", "accent6"), -0.5)
    assert min(abs(gap.gap) for gap in shown) == pytest.approx(0.1)
    page = write_report([record()], tmp_path, others=[made]).page.read_text()
    assert page.count("<td>accent: accent") == 12
    assert "9 more gaps are in per.csv" in page
    assert len((tmp_path / "per.csv").read_text().splitlines()) == 2 + 21
