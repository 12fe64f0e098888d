"""Targets and their groups: which CSV fits a measurement, which columns are groups."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from grouped import people, write_measurement
from recordings import write_test
from speechbias.cli import app
from speechbias.contrasts.levels import cross, find_levels
from speechbias.contrasts.targets import read_measured, read_targets
from speechbias.errors import InputError
from speechbias.results import read_results
from speechbias.speat import association
from speechbias.stimuli import read_stimuli


@pytest.fixture
def measured(tmp_path):
    rng = np.random.default_rng(0)
    clips = [
        clip for level in ("usa", "greek") for clip in people(level, 3, 2, 0.0, rng=rng, age=lambda n: str(20 + n))
    ]
    return write_measurement(tmp_path, clips[:6], clips[6:])


def changed(table, change):
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_targets_are_x_and_then_y(measured, tmp_path):
    _, table, record = measured
    targets = read_targets(record, tmp_path, read_stimuli(table))
    assert targets.columns["level"] == ("usa",) * 6 + ("greek",) * 6
    assert targets.columns["set"] == ("X",) * 6 + ("Y",) * 6
    arrays = np.load(tmp_path / "test.npz")
    assert targets.s == pytest.approx(
        association(np.concatenate([arrays["X"], arrays["Y"]]), arrays["A"], arrays["B"])
    )


def test_columns_may_be_added(measured, tmp_path):
    _, table, record = measured
    changed(table, lambda rows: [row.update(region="north") for row in rows])
    assert set(read_targets(record, tmp_path, read_stimuli(table)).columns["region"]) == {"north"}


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.pop(0),
        lambda rows: rows[0].update(set="Y"),
        lambda rows: rows[0].update(speaker="somebody"),
        lambda rows: rows.insert(0, rows.pop(2)),
    ],
)
def test_rows_sets_and_speakers_may_not_change(measured, tmp_path, change):
    _, table, record = measured
    changed(table, change)
    with pytest.raises(InputError, match="these are not the clips on which test was measured"):
        read_targets(record, tmp_path, read_stimuli(table))


def test_other_audio_under_the_same_names_is_refused(tmp_path):
    table = write_test(tmp_path, clips=3, accent="usa")
    command = ["measure", "mfcc", "--stimuli", str(table), "-o", str(tmp_path / "r.jsonl"), "--no-audit"]
    done = CliRunner().invoke(app, [*command, "--permutations", "50", "--resamples", "100"])
    assert done.exit_code == 0, done.output
    (record,) = read_results(tmp_path / "r.jsonl")
    assert read_targets(record, tmp_path, read_stimuli(table)).columns["accent"] == ("usa",) * 6
    one, other = sorted((tmp_path / "clips").glob("*X*"))[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="these are not the clips"):
        read_targets(record, tmp_path, read_stimuli(table))


def test_rows_that_the_measurement_skipped_are_skipped(measured, tmp_path):
    _, table, record = measured
    changed(table, lambda rows: rows.insert(2, {**rows[1], "path": "bad.wav"}))
    found = read_targets(
        replace(record, skipped=[{"row": 4, "path": "bad.wav", "why": "x"}]), tmp_path, read_stimuli(table)
    )
    assert len(found.speakers) == 12


def test_a_csv_of_another_name_names_the_tests(measured, tmp_path):
    results, table, _ = measured
    other = table.rename(tmp_path / "accents.csv")
    with pytest.raises(InputError, match=r"no measurement of the test accents is in these results \(they hold test\)"):
        read_measured(other, read_results(results))


# ---- Levels ----

COLUMNS = {"accent": ["usa", "usa", "", "greek", "greek", "welsh"], "age": ["19", "30", "", "50", "50.5", "71"]}


def test_groups_are_values():
    found = find_levels(COLUMNS, "accent")
    assert found.names == ("usa", "greek")
    assert found.codes.tolist() == [0, 0, -1, 1, 1, -1]
    assert found.no_value == 2
    assert found.warnings == ("welsh is left out: 1 clip, a group needs 2",)


def test_the_reference_comes_first():
    found = find_levels(COLUMNS, "accent").with_reference("greek")
    assert (found.names, found.codes.tolist()) == (("greek", "usa"), [1, 1, -1, 0, 0, -1])


def test_bands_include_their_lower_bound():
    found = find_levels(COLUMNS, "age:30,50.5")
    assert found.names == ("30 to below 50.5", "50.5 and more")
    assert found.codes.tolist() == [-1, 0, -1, 0, 1, 1]
    assert found.warnings[0].startswith("below 30 is left out: 1 clip,")


@pytest.mark.parametrize(
    ("by", "match"),
    [
        ("acent", "no column 'acent'. Did you mean accent"),
        ("age:x", "bounds are rising numbers"),
        ("age:50,30", "bounds are rising numbers"),
        ("accent:30", "accent holds '(usa|greek)' in 2 clips"),
        ("age", "two groups of 2 clips or more are needed"),
    ],
)
def test_what_is_no_group(by, match):
    with pytest.raises(InputError, match=match):
        find_levels(COLUMNS, by)


def test_a_column_of_many_numbers_is_a_slope():
    ages = {"age": [str(20 + n // 2) for n in range(100)]}
    with pytest.raises(InputError, match=r"age has 50 groups, more than 40: give bands, .* or --slope age"):
        find_levels(ages, "age")


def test_a_reference_that_is_no_level():
    with pytest.raises(InputError, match=r"accent has no group 'us' for --reference. Did you mean usa"):
        find_levels(COLUMNS, "accent").with_reference("us")


def test_cells_that_are_empty_are_named():
    columns = {"sex": list("ffffmmmm"), "accent": ["usa", "usa", "greek", "greek", "usa", "usa", "usa", "greek"]}
    first, second = (find_levels(columns, name) for name in ("sex", "accent"))
    with pytest.raises(InputError, match=r"too few clips of m, greek \(1\)"):
        cross(first, second)
    with pytest.raises(InputError, match="--by sex is given twice"):
        cross(first, first)
