"""Tables against the records they were made from; the paper's bold figures; LaTeX in balance."""

import csv
import io
import re
from dataclasses import replace

import pytest

from speechbias import paper
from speechbias.errors import InputError
from speechbias.report.grid import arrange
from speechbias.report.latex import write_latex
from speechbias.report.layout import below_classical
from speechbias.report.markdown import write_markdown
from speechbias.report.spreadsheet import write_csv, write_table_csv

CLASSICAL = ("STFT", "Spectrogram", "Mel Spectrogram", "MFCC")
BOLD = {("Wav2Vec2 small", "Gender"), ("MelHuBERT small", "Age"), ("MelHuBERT base", "Age")}  # Table 3


@pytest.fixture
def table_3(record):
    """Return the paper's Table 3 as records, in another order of columns."""
    return [
        record(model=model, test=test, d=d, family="features" if model in CLASSICAL else "ssl", stimuli_sha256=test)
        for model, ds in reversed(paper.TABLE_3.items())
        for test, d in reversed(list(zip(paper.TABLE_3_COLUMNS, ds, strict=True)))
    ]


def cells_of(markdown):
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def test_the_rule_for_bold_gives_the_papers_bold_figures():
    bold = set()
    for column, test in enumerate(paper.TABLE_3_COLUMNS):
        classical = [paper.TABLE_3[name][column] for name in CLASSICAL]
        models = [name for name in paper.TABLE_3 if name not in CLASSICAL]
        bold |= {(name, test) for name in models if below_classical(paper.TABLE_3[name][column], classical)}
    assert bold == BOLD


def test_the_papers_layout_is_the_papers_table(table_3):
    header, _, *rows = cells_of(write_markdown(arrange(table_3), paper_layout=True))
    assert header == ["Model", "Age", "Native", "Gender"]
    assert {row[0] for row in rows[-4:]} == set(CLASSICAL)
    for name, *ds in rows:
        expected = zip(paper.TABLE_3_COLUMNS, paper.TABLE_3[name], strict=True)
        assert ds == [f"**{d:.2f}**" if (name, test) in BOLD else f"{d:.2f}" for test, d in expected]
    latex = write_latex(arrange(table_3), paper_layout=True)
    assert latex.count("\\textbf{\\boldmath$") == len(BOLD)
    assert "$-0.32$ & $-0.12$ & $0.17$ \\\\" in latex


def test_without_classical_features_nothing_is_bold(record):
    assert "**" not in write_markdown(arrange([record(d=-1.0)]), paper_layout=True)
    assert not below_classical(-1.0, [])


def test_a_cell_has_d_interval_and_both_ps(record):
    rows = cells_of(write_markdown(arrange([record(), record(model="b", d=-0.5, p_value=0.2, p_attribute=1e-6)])))
    assert rows[2] == ["whisper-tiny.en", "0.62\\* [0.20, 1.01]<br>p = 0.008, p\\_attr = 0.012"]
    assert rows[3] == ["b", "-0.50 [0.20, 1.01]<br>p = 0.200, p\\_attr &lt; 0.001"]


def test_every_row_has_as_many_cells_as_there_are_tests(many, odd):
    lines = cells_of(write_markdown(arrange(many)))
    assert {len(line) for line in lines} == {4}
    assert [line[0] for line in lines[2:]][:2] == ["whisper-tiny.en", "hubert-base"]
    assert lines[-1][0] == "mfcc"  # features last, as in the paper
    assert lines[0][1:] == ["age", "native", "gender"]


@pytest.mark.parametrize("paper_layout", [False, True])
def test_latex_is_balanced_and_escaped(many, paper_layout):
    latex = write_latex(arrange(many), paper_layout=paper_layout)
    bare = latex.replace("\\{", "").replace("\\}", "")
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", bare)) % 2 == 0
    body = latex.split("\\midrule", 1)[1].split("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}
    assert not re.search(r"(?<!\\)[%#]", body)
    assert re.findall(r"\\(begin|end)\{(\w+)\}", latex) == [
        ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")
    ]  # fmt: skip


def test_the_table_csv_has_the_shape_of_table_3(many):
    grid = arrange(many)
    rows = list(csv.DictReader(io.StringIO(write_table_csv(grid))))
    assert [row["model"] for row in rows] == [row.label for row in grid.rows]
    for row, line in zip(grid.rows, rows, strict=True):
        for column in grid.columns:
            record = grid.cells.get((row, column))
            for name in ("d", "ci_low", "ci_high", "p_value", "p_attribute"):
                cell = line[f"{column.label} {name}"]
                assert cell == "" if record is None else float(cell) == getattr(record, name)
    bare = list(csv.reader(io.StringIO(write_table_csv(grid, paper_layout=True))))
    assert [len(line) for line in bare] == [1 + len(grid.columns)] * (1 + len(grid.rows))
    assert bare[0][1:] == [column.label for column in grid.columns]


def test_the_csv_holds_every_number_in_full(many):
    lines = list(csv.DictReader(io.StringIO(write_csv(arrange(many)))))
    assert len(lines) == len(many)
    by_key = {(line["test"], line["family"], line["layer"]): line for line in lines}
    for record in many:
        line = by_key[record.test, record.family, str(record.layer)]
        for name in ("d", "ci_low", "ci_high", "p_value", "p_attribute", "p_min", "confidence"):
            assert float(line[name]) == getattr(record, name)
        assert line["associated"] == str(record.associated)
        assert [line["group_X"], line["n_B"]] == [record.groups["X"], str(record.n["B"])]
        assert (line["p_adjusted"] == "") == (record.p_adjusted is None)


def test_a_test_that_a_model_lacks_is_a_dash(record):
    grid = arrange([record(), record(model="b", test="age", stimuli_sha256="1")])
    assert cells_of(write_markdown(grid))[3][2] == "-"
    assert " & -- " in write_latex(grid)


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"design": "independent"}, "design independent"),
        ({"states": "hf"}, "states hf"),
        ({"alternative": "greater"}, "alternative greater"),
        ({"dtype": "bfloat16"}, "dtype bfloat16"),
        ({"seed": 7}, "seed 7"),
        ({"ddof": 0}, "ddof 0"),
        ({"step": 500}, "step 500"),
        ({"method": "heads", "remaining": 0.5}, "method heads, remaining 0.5"),
        ({"model_sha256": "ffff0000" * 8}, "weights ffff0000"),
        ({"recipe": {"sample_rate": 16000, "window": "10 s"}}, "recipe window 10 s"),
        ({"versions": {"speechbias": "0.1.0", "torch": "2.14.0"}}, "version of torch 2.14.0"),
        ({"d": 0.5}, "measurement 2"),
    ],
)
def test_other_options_make_another_row_that_says_so(record, layers, changes, label):
    grid = arrange([*layers(record()), *layers(record(**changes)), record(test="age", stimuli_sha256="1")])
    labels = [row.label for row in grid.rows]
    assert f"whisper-tiny.en ({label})" in labels
    assert len(grid.cells) == 3
    assert all(len(states) == 5 for states in grid.states.values())


def test_equal_records_count_once(record, layers):
    grid = arrange([*layers(record()), *layers(record())])
    assert [row.label for row in grid.rows] == ["whisper-tiny.en"]
    assert [len(states) for states in grid.states.values()] == [5]


def test_other_stimuli_are_another_column(record):
    grid = arrange([record(), record(stimuli_sha256="99887766" * 8)])
    assert [column.label for column in grid.columns] == ["gender (stimuli 0f1e2d3c)", "gender (stimuli 99887766)"]


def test_two_models_in_folders_of_one_name_are_told_apart(record):
    one, two = record(model="/a/w", model_sha256="11112222"), record(model="/b/w", model_sha256="33334444")
    assert [row.label for row in arrange([one, two]).rows] == ["w [11112222]", "w [33334444]"]
    two = replace(two, model_sha256="11112222")
    assert [row.label for row in arrange([one, two]).rows] == ["w [1]", "w [2]"]


def test_states_without_their_mean_are_rows(record, layers):
    grid = arrange(layers(record())[1:])
    assert [row.label for row in grid.rows] == [f"whisper-tiny.en (state {k})" for k in range(5)]


def test_no_record_is_an_error():
    with pytest.raises(InputError, match="no bias record"):
        arrange([])
