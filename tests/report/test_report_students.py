"""Students beside their teacher: whose they are, which stand, what is drawn, said and listed."""

import csv
from dataclasses import replace

import pytest

from speechbias.errors import InputError
from speechbias.report import student_pairs, write_figure3, write_report
from speechbias.report.students import caption, find_students
from speechbias.report.students_figure import draw_students
from speechbias.report.students_table import write_students_csv, write_students_markdown
from speechbias.report.style import drawing
from speechbias.results import PairedDifference

BASE, OTHER = "b" * 64, "c" * 64


@pytest.fixture
def teacher(record):
    def make(**changes):
        values = {"model": "base", "family": "hubert", "model_sha256": BASE, "d": 0.8, "parameters": 94_000_000}
        return record(**(values | changes))

    return make


@pytest.fixture
def student(record):
    """student(layers, ...): d = 0.1 a layer, its interval 0.2 to both sides."""

    def make(layers, **changes):
        values = {
            "model": "last", "family": "hubert", "model_sha256": f"{layers}" * 64, "distilled_from": BASE,
            "student_layers": layers, "teacher_layers": 12, "step": 100, "parameters": layers * 1_000_000,
            "run": {"name": f"student-{layers}", "seed": 0}, "d": layers / 10, "ci_low": layers / 10 - 0.2,
            "ci_high": layers / 10 + 0.2, "p_value": 0.01,
        }  # fmt: skip
        return record(**(values | changes))

    return make


def labels(found):
    return [(taught.label, taught.column.label, [each.label for each in taught.students]) for taught in found]


def test_students_of_a_teacher_stand_together_test_by_test(teacher, student):
    tests = [{"test": name, "stimuli_sha256": name} for name in ("gender", "age")]
    records = [make for of in tests for make in (student(2, **of), student(6, **of), teacher(**of))]
    found = find_students([*records, teacher(model_sha256=OTHER, d=5.0)])
    assert labels(found) == [
        ("HuBERT", "age", ["6 layers", "2 layers"]),
        ("HuBERT", "gender", ["6 layers", "2 layers"]),
    ]
    assert [taught.teacher.test for taught in found] == ["age", "gender"]
    assert [(s.student_layers, t.d) for s, t in student_pairs(records)] == [(6, 0.8), (2, 0.8)] * 2


def test_a_teacher_is_found_by_weights_then_by_a_name_of_one_model(teacher, student):
    named = student(2, distilled_from="base")
    assert student_pairs([named, teacher()])[0][1].model_sha256 == BASE
    assert student_pairs([named, teacher(), teacher(model_sha256=OTHER)]) == []
    for wrong in ({"test": "age"}, {"stimuli_sha256": "9" * 64}, {"ddof": 0}, {"design": "independent"}):
        assert student_pairs([student(2), teacher(**wrong)]) == []
    (taught,) = find_students([student(2)])
    assert (taught.teacher, taught.students[0].teacher) == (None, None)


def test_of_a_run_the_last_step_stands_and_single_states_do_not_count(teacher, student):
    records = [student(2, step=step, d=step / 100, model_sha256=f"{step}") for step in (0, 100, 50)]
    (taught,) = find_students([*records, teacher(), student(2, layer=1, d=3.0)])
    assert [each.record.d for each in taught.students] == [1.0]


def test_one_model_under_two_names_counts_once_and_two_runs_are_told_apart(student):
    copy = student(2, run=None, step=None, model="exported")
    (taught,) = find_students([student(2), copy])
    assert [each.label for each in taught.students] == ["2 layers"]
    (taught,) = find_students([student(2), student(2, model_sha256="d" * 64, run={"name": "other"})])
    assert [each.label for each in taught.students] == ["2 layers (student-2)", "2 layers (other)"]
    same = [student(1, model_sha256=f"{n}" * 64, run=None, model="m") for n in range(2)]
    (taught,) = find_students(same)
    assert [each.label for each in taught.students] == ["1 layer (m)", "1 layer (m) [2]"]


def test_what_was_cut_is_another_figure(student):
    cut = student(2, method="heads", remaining=6, of=12, parameters_removed=1000)
    assert find_students([cut]) == []
    uncut = student(2, method="heads", remaining=12, of=12, parameters_removed=0)
    assert len(find_students([uncut])) == 1


def test_heads_are_compared_with_a_teacher_that_has_none(teacher, student):
    headed = student(2, states="s3prl-heads", d=0.5)
    found = find_students([student(2), headed, teacher()])
    assert labels(found) == [("HuBERT", "gender", ["2 layers", "2 layers with heads"])]
    assert [pair[1].states for pair in student_pairs([headed, teacher()])] == ["s3prl"]
    assert "what a student's heads predict counts" in caption(found)
    assert student_pairs([replace(headed, states="hf"), teacher()]) == []


def test_teachers_of_one_family_are_named(teacher, student):
    others = [
        student(2, distilled_from=OTHER, model_sha256="e" * 64),
        student(2, distilled_from="f" * 64, model_sha256="d" * 64),
    ]
    found = find_students([student(2), *others, teacher(), teacher(model="second", model_sha256=OTHER)])
    assert [taught.label for taught in found] == ["HuBERT base", "HuBERT second", "HuBERT ffffffff"]


def test_the_caption_says_what_is_below_and_what_is_missing(teacher, student):
    whole = find_students([student(2), teacher()])
    text = caption(whole, {"id": PairedDifference(0.1, 0, 0.2, 0.04)})
    assert "not over training runs" in text
    assert "both share" in text
    assert "not adjusted for the number of students and tests" in text
    assert "the association is reversed, and further below is more of one" in text
    assert "missing" not in text
    assert "both share" not in caption(whole)
    assert "are missing" in caption(find_students([student(2)]))


# What is drawn


def drawn(records, differences=None):
    found = find_students(records)
    with drawing():
        figure = draw_students(found, differences=differences or {}, note=caption(found, differences or {}))
        figure.draw_without_rendering()
    return figure


def marks(axes):
    """(x, y, marker, filled) of every point."""
    return [
        (round(float(line.get_xdata()[0]), 3), round(float(line.get_ydata()[0]), 3), line.get_marker(),
         line.get_markerfacecolor() == line.get_color())
        for line in axes.lines if line.get_marker() not in {"None", ""}
    ]  # fmt: skip


def test_marks_are_where_the_records_are_and_differences_below(teacher, student):
    records = [teacher(), student(6), student(2, p_value=0.5)]
    six, two = records[1:]
    differences = {
        six.identity: PairedDifference(-0.2, -0.3, -0.1, 0.01),
        two.identity: PairedDifference(-0.6, None, None, None),
    }
    above, below = drawn(records, differences).axes
    assert [(y, marker, filled) for _, y, marker, filled in marks(above)] == [
        (0.8, "o", True), (0.6, "s", True), (0.2, "D", False),
    ]  # fmt: skip
    assert [(y, marker, filled) for _, y, marker, filled in marks(below)] == [(-0.2, "s", True), (-0.6, "D", False)]
    assert [x for x, *_ in marks(above)][1:] == [x for x, *_ in marks(below)]
    (interval,) = [line for line in below.lines if list(line.get_ydata()) == [-0.3, -0.1]]
    assert interval.get_xdata()[0] == pytest.approx(marks(below)[0][0], abs=1e-3)
    dashed = [line for line in above.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [0.8]


def test_a_panel_for_each_teacher_of_one_scale(teacher, student):
    wide = student(4, family="melhubert", distilled_from=OTHER, model_sha256="e" * 64, d=1.6, ci_high=1.9)
    records = [teacher(), student(6), wide, teacher(family="melhubert", model_sha256=OTHER)]
    figure = drawn(records)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["students of HuBERT", "students of MelHuBERT"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["teacher", "6 layers", "4 layers"]
    assert len(drawn(records, {records[1].identity: PairedDifference(0, -1, 1, 1)}).axes) == 4


# Files


def test_numbers_are_listed_with_the_difference(teacher, student):
    records = [teacher(ci_low=0.5, ci_high=1.1), student(2)]
    found = find_students(records)
    differences = {records[1].identity: PairedDifference(-0.6, -0.75, -0.45, 0.0004)}
    rows = list(csv.DictReader(write_students_csv(found, differences).splitlines()))
    assert [(r["model"], r["student_layers"], r["d"], r["difference"], r["difference_p"]) for r in rows] == [
        ("teacher", "", "0.8", "", ""), ("2 layers", "2", "0.2", "-0.6", "0.0004"),
    ]  # fmt: skip
    table = write_students_markdown(found, differences).splitlines()
    assert table[2].startswith("| gender | HuBERT | teacher | 94,000,000 | 0.80 [0.50, 1.10] |")
    assert table[2].endswith("| - | - |")
    assert table[3].endswith("| associated | -0.60 [-0.75, -0.45] | &lt; 0.001 |")
    assert len({line.count("|") for line in table}) == 1


def test_the_same_records_give_the_same_bytes_and_none_is_refused(teacher, student, many, tmp_path):
    paths = write_figure3([teacher(), student(2)], tmp_path / "a")
    again = write_figure3([teacher(), student(2)], tmp_path / "b")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    with pytest.raises(InputError, match=r"no record here names a teacher.*speechbias distill.*speechbias measure"):
        write_figure3(many, tmp_path)


def test_the_page_has_students_where_there_are_some(teacher, student, tmp_path):
    records = [teacher(), student(2)]
    differences = {records[1].identity: PairedDifference(-0.6, -0.75, -0.45, 0.001)}
    report = write_report(records, tmp_path / "a", differences=differences)
    assert {"students.svg", "students.pdf"} <= {path.name for path in report.figures}
    assert [path.name for path in report.tables] == ["students.csv"]
    assert all(path.is_file() for path in report.paths)
    page = report.page.read_text(encoding="utf-8")
    assert 'href="#students"' in page
    assert "from resamples that both share" in page
    plain = write_report([teacher()], tmp_path / "b")
    assert plain.tables == ()
    assert 'href="#students"' not in plain.page.read_text(encoding="utf-8")
