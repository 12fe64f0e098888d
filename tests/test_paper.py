"""What is taken from the paper and from SpEAT, against the sources: counts, tables, ladders, reasons of choices."""

import csv
from dataclasses import fields

import pytest

from speechbias import paper


def test_tables_have_the_papers_rows():
    assert [row.name for row in paper.TABLE_1] == ["Gender", "Native", "Age"]
    assert [row.count for row in paper.TABLE_1] == [60, 55, 58]
    assert len(paper.TABLE_3) == 14
    assert {len(ds) for ds in paper.TABLE_3.values()} == {len(paper.TABLE_3_COLUMNS)}
    assert paper.TABLE_3["MelHuBERT slim"][paper.TABLE_3_COLUMNS.index("Gender")] == 1.33


def test_ladders_end_where_the_paper_says():
    assert paper.HEAD_PRUNING.stages[-1][1] == 12
    assert paper.ROW_PRUNING.stages[-1][1] == 512
    assert paper.WEIGHT_PRUNING.targets[-1] == 0.8
    assert len(paper.WEIGHT_PRUNING.targets) == len(paper.RECORDED_CUTS)


def test_speat_is_what_its_authors_published(shared):
    path = shared / "data" / "published" / "speat_mean_mean_results.csv"
    columns = {"Young": "Age", "American Accent": "Native", "Female": "Gender"}
    counts = {name: str(count) for name, count in paper.SPEAT_COUNTS.items()}
    with path.open(encoding="utf-8") as file:
        found = {
            (row["Speech Model"], columns[row["X"]]): float(row["SpEAT d"])
            for row in csv.DictReader(file)
            if row["X"] in columns and row["Number of Target Embeddings per Group"] == counts[columns[row["X"]]]
        }
    ours = {
        (model, column): d
        for model, ds in paper.SPEAT.items()
        for column, d in zip(paper.TABLE_3_COLUMNS, ds, strict=True)
    }
    assert found.keys() == ours.keys()
    assert {key: pytest.approx(d, abs=5e-5) for key, d in found.items()} == ours


def test_the_paper_and_speat_are_near_each_other():
    """The shared cells, from which the tolerance of a verdict comes."""
    apart = [
        abs(d - theirs)
        for row, weights in paper.WEIGHTS.items()
        if weights.speat
        for d, theirs in zip(paper.TABLE_3[row], paper.SPEAT[weights.speat], strict=True)
    ]
    assert len(apart) == 9
    assert max(apart) == pytest.approx(0.059, abs=1e-3)


def test_every_published_row_is_a_row_of_the_table():
    assert paper.WEIGHTS.keys() < paper.TABLE_3.keys()
    assert {weights.speat for weights in paper.WEIGHTS.values()} - {None} <= paper.SPEAT.keys()


@pytest.mark.parametrize("name", paper.SILENCES)
def test_a_silence_says_all_of_it(name):
    silence = paper.SILENCES[name]
    for field in fields(silence):
        text = getattr(silence, field.name)
        assert text == text.strip()
        assert len(text) > 10
        assert not text.endswith(".")


def test_silences_that_others_point_to_are_there():
    wanted = {"ddof", "layer-0", "final-norm", "cmvn", "student-states", "native-count", "convergence", "adam"}
    assert wanted | {"pretraining-gpus", "p-value"} <= paper.SILENCES.keys()
