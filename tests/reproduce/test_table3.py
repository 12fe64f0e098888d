"""Table 3: which record is which row, verdicts by the rule, the files."""

import csv
from dataclasses import replace

import pytest

from made_records import make_record
from speechbias.errors import InputError
from speechbias.paper import SPEAT, TABLE_3
from speechbias.reproduce.rows import MODELS, ROWS, column_of, is_published, last_steps, row_of
from speechbias.reproduce.table3 import Anchor, summary, table3, table3_in_words, write_table3
from speechbias.reproduce.verdict import Verdict, judge

BASE = {"model": "wav2vec_small", "family": "wav2vec2", "num_states": 13, "dim": 768}


def record(**changes):
    return make_record(**(BASE | changes))


# ---- the rule ----


@pytest.mark.parametrize(
    ("d", "published", "verdict"),
    [
        (1.21, 1.21, "agrees"),
        (1.27, 1.21, "agrees"),
        (1.15, 1.21, "agrees"),
        (1.2701, 1.21, "differs"),
        (1.0, 1.21, "differs"),
    ],
)
def test_same_clips_and_weights(d, published, verdict):
    assert judge(d, -5, 5, published, same=True) == verdict  # whatever the interval


@pytest.mark.parametrize(
    ("low", "high", "published", "verdict"),
    [
        (0.2, 0.8, 0.5, Verdict.agrees),
        (0.15, 0.85, 0.5, Verdict.agrees),  # a half-width of 0.35
        (0.14, 0.85, 0.5, Verdict.unknown),
        (0.2, 0.9, 0.5, Verdict.agrees),  # the same, of which 0.9 - 0.2 is a little more
        (0.4, 0.8, 0.359, Verdict.agrees),  # on the bound
        (0.4, 0.8, 0.36, Verdict.agrees),  # 0.5 - 1.41 x 0.1 = 0.359
        (0.4, 0.8, 0.35, Verdict.beyond),
        (0.4, 0.8, 0.92, Verdict.agrees),  # 0.5 + 1.41 x 0.3 = 0.923
        (0.4, 0.8, 0.93, Verdict.beyond),
    ],
)
def test_other_clips(low, high, published, verdict):
    assert judge(0.5, low, high, published, same=False) == verdict


# ---- rows and columns ----


def test_shapes_of_the_papers_models_differ():
    assert len({row.shape for row in MODELS}) == len(MODELS) == 10
    assert {row.shape for row in MODELS if row.size == "large"} == {("wav2vec2", 25, 1024)}


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.key)
def test_a_model_is_found_by_its_shape(row):
    family, states, dim = row.shape
    assert row_of(make_record(model="whatever", family=family, num_states=states, dim=dim)) is row


def test_features_are_found_by_name():
    names = {row.name: row_of(make_record(model=row.key, family="features")) for row in ROWS if not row.family}
    assert {name: row.name for name, row in names.items()} == {name: name for name in names}
    assert row_of(make_record(model="mfcc:cmvn", family="features")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "rows", "parameters_removed": 0},
        {"distilled_from": "x"},
        {"step": 0},
        {"dim": 640},
        {"family": "wavlm"},
        {"states": "s3prl-heads"},
        {"recipe": {"crop_seconds": 3.0}},
        {"recipe": {"pooling": "max"}},
        {"recipe": {"removal": {"concept": "gender"}}},
    ],
    ids=str,
)
def test_what_is_no_row(changes):
    assert row_of(record(**changes)) is None


def test_columns_by_the_name_of_the_test():
    assert [column_of(record(test=name)) for name in ("gender", "Age", "NATIVE", "accent")] == [
        "Gender",
        "Age",
        "Native",
        None,
    ]


def test_only_the_last_step_of_a_run_counts():
    run = {"name": "a", "recipe": "r", "seed": 0}
    steps = [record(step=step, run=run, test=test) for step in (10, 30, 20) for test in ("age", "gender")]
    other = record(step=5, run=run | {"seed": 1})
    alone = record()
    assert [(each.step, each.test) for each in last_steps([*steps, other, alone])] == [
        (30, "age"), (30, "gender"), (5, "gender"), (None, "gender"),
    ]  # fmt: skip


def test_published_weights_go_by_their_name():
    row = row_of(record())
    assert is_published(row, record())
    assert is_published(row, record(model="facebook/wav2vec2-base"))
    assert is_published(row, record(model="wav2vec_small.pt"))  # a file is called with its suffix
    assert not is_published(row, record(model="mine"))
    assert not is_published(row, record(model="wav2vec_small.onnx"))
    assert not is_published(row, record(model="wav2vec2-base", run={"name": "wav2vec2-base"}))  # a run of one's own


# ---- the table ----


def cell_of(cells, row, column):
    (found,) = [cell for cell in cells if cell.row.name == row and cell.column == column]
    return found


def test_verdicts_need_the_same_clips_and_the_same_weights():
    ours = [
        record(test="gender", d=1.10, ci_low=0.9, ci_high=1.3, stimuli_sha256="full"),
        record(test="native", d=0.19, ci_low=0.0, ci_high=0.4, stimuli_sha256="full"),
        record(test="age", d=0.51, ci_low=0.4, ci_high=0.7, stimuli_sha256="other"),
    ]
    cells = table3(ours, published={"full"})
    gender, native, age = (cell_of(cells, "Wav2Vec2 base", name) for name in ("Gender", "Native", "Age"))
    assert gender.paper == Anchor(1.21, pytest.approx(-0.11), Verdict.differs)
    assert gender.speat.verdict is Verdict.differs
    assert native.paper.verdict is Verdict.agrees  # by its interval: the paper's 55 pairs are not SpEAT's 59
    assert native.speat == Anchor(SPEAT["wav2vec2_base"][1], pytest.approx(0.0136), Verdict.agrees)
    assert (age.same_clips, age.same_weights) == (False, True)
    others = table3([replace(ours[0], model="mine")], published={"full"})
    assert cell_of(others, "Wav2Vec2 base", "Gender").paper.verdict is Verdict.agrees


def test_cells_stand_in_the_papers_order_and_what_is_absent_says_so():
    cells = table3([record(test="gender")])
    assert [cell.row.name for cell in cells[::3]] == list(TABLE_3)
    assert sum(cell.record is not None for cell in cells) == 1
    assert cell_of(cells, "STFT", "Native").paper == -0.07
    assert summary(cells).startswith("1 of 42 cells measured: 1 ")
    assert "MelHuBERT base" in summary(cells)


def test_several_models_of_a_row_are_told_apart(tmp_path):
    two = [record(test="age"), record(test="age", model="mine", model_sha256="ff" * 32)]
    cells = table3(two)
    assert len(cells) == 43
    write_table3(cells, tmp_path)
    text = (tmp_path / "table3.md").read_text()
    assert r"Wav2Vec2 base (wav2vec\_small)" in text
    assert "Wav2Vec2 base (mine)" in text
    assert summary(cells).startswith("1 of 42 cells")
    assert table3_in_words(cells)


def test_a_model_that_was_trained_anew_under_its_name_is_told_from_the_old_one(tmp_path):
    old = record(test="age", model="mine")
    write_table3(table3([old, replace(old, model_sha256="ff" * 32, d=0.1)]), tmp_path)
    text = (tmp_path / "table3.md").read_text()
    assert r"| Wav2Vec2 base (mine \[a1b2c3d4\]) | Age | +0.62 |" in text
    assert r"| Wav2Vec2 base (mine \[ffffffff\]) | Age | +0.10 |" in text


def test_files_hold_what_was_measured(tmp_path):
    cells = table3([record(test="gender", d=1.2, ci_low=1.1, ci_high=1.35)])
    paths = write_table3(cells, tmp_path / "new")
    assert [path.name for path in paths] == ["table3.md", "table3.csv"]
    with paths[1].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 42
    (ours,) = [row for row in rows if row["d"]]
    assert (ours["row"], ours["test"], ours["d"], ours["paper"], ours["verdict"]) == (
        "Wav2Vec2 base", "Gender", "1.2", "1.21", "agrees",
    )  # fmt: skip
    assert ours["speat"] == "1.2302"
    assert (
        "| Wav2Vec2 base | Gender | +1.20 | +1.10 to +1.35 | +1.21 | -0.01 | agrees | +1.23 |" in paths[0].read_text()
    )


def test_no_record_of_the_table():
    with pytest.raises(InputError, match="no record is of a model or feature of Table 3"):
        table3([record(test="accent"), record(layer=3)])


def test_a_checkpoint_that_was_tracked_and_measured_stands_once():
    run = {"name": "mine", "recipe": "r", "seed": 0}
    tracked = record(test="age", step=30, run=run, seed=1)
    measured = record(test="age", step=30, run=run)
    cells = table3([measured, tracked, replace(measured, dtype="bfloat16", model_sha256="ff" * 32)])
    assert [cell.record for cell in cells if cell.record][:1] == [measured]
    assert sum(cell.record is not None for cell in cells) == 2


def test_what_need_not_be_the_papers_weights_is_called_by_its_name(tmp_path):
    write_table3(table3([record(test="age", model="wav2vec2-base-960h")]), tmp_path)
    assert "| Wav2Vec2 base (wav2vec2-base-960h) | Age |" in (tmp_path / "table3.md").read_text()
