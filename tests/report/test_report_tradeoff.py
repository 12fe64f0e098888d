"""Bias against error rate: whose rate it is, who is dominated, what is drawn and listed."""

import csv
import json
import random

import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.report import write_report, write_tradeoff
from speechbias.report.style import FAINT, drawing
from speechbias.report.tradeoff import caption, find_points, write_points_csv
from speechbias.report.tradeoff_figure import area, draw_tradeoff
from speechbias.results import append_results


@pytest.fixture
def model(record):
    """model(name, d, rate): a record and its error rate."""

    def make(name, d, rate, **changes):
        sha, interval = name.rjust(64, "0"), {"ci_low": d - 0.2, "ci_high": d + 0.2}
        values = {"model": name, "family": "hubert", "model_sha256": sha, "d": d, **interval}
        made = record(**(values | {"parameters": 1_000_000} | changes))
        return made, {"schema": 1, "kind": "per", "model": "x", "model_sha256": sha, "split": "dev", "per": rate}

    return make


def points_of(*models):
    records, rates = zip(*models, strict=True)
    return find_points(records, rates)


def dominated(found):
    return {point.record.model: point.dominated for point in found}


def test_dominated_is_who_is_beaten_in_one_and_not_better_in_the_other(model):
    found = points_of(
        model("a", 0.5, 10), model("b", -0.3, 20), model("c", 0.5, 11), model("d", -0.5, 10), model("e", 0.3, 21),
        model("f", 0.1, 30),
    )  # fmt: skip
    assert dominated(found) == {"a": False, "b": False, "c": True, "d": False, "e": True, "f": False}


def test_it_is_as_a_loop_over_all_pairs_says(model):
    draw = random.Random(0)
    models = [model(f"m{n}", draw.choice([-3, -2, 1, 2, 3]) / 4, draw.choice([1, 2, 3, 4])) for n in range(30)]
    expected = {}
    for record, rate in models:
        expected[record.model] = False
        for other, its in models:
            no_larger = abs(other.d) <= abs(record.d) and its["per"] <= rate["per"]
            smaller = abs(other.d) < abs(record.d) or its["per"] < rate["per"]
            expected[record.model] |= no_larger and smaller
    assert dominated(points_of(*models)) == expected
    assert set(expected.values()) == {False, True}


def test_tests_are_apart_and_so_are_other_states(model):
    age = {"test": "age", "stimuli_sha256": "9" * 64}
    found = points_of(model("a", 0.5, 10), model("b", 0.1, 5, **age), model("c", 0.1, 5, states="hf"))
    assert dominated(found) == {"b": False, "a": False, "c": False}
    assert [point.column.label for point in found] == ["age", "gender", "gender"]
    quantised = points_of(model("a", 0.5, 10), model("b", 0.1, 5, dtype="int8"))
    assert dominated(quantised) == {"a": True, "b": False}  # a model like another


def test_who_has_no_rate_or_is_measured_twice_is_no_further_point(model):
    (first, rate), (second, _) = model("a", 0.5, 10), model("b", 0.1, 5)
    layer = model("a", 0.9, 10, layer=1)[0]
    assert [point.record.model for point in find_points([first, second, layer, first], [rate])] == ["a"]
    by_name = {"schema": 1, "kind": "per", "model": "b", "per": 7.0}
    assert [(p.record.model, p.rate) for p in find_points([second], [by_name])] == [("b", 7.0)]
    assert find_points([second, model("b", 0.2, 5, model_sha256="9" * 64)[0]], [by_name]) == []


def test_models_have_names_of_their_own(model):
    pruned = {"method": "heads", "remaining": 72, "of": 144, "parameters_removed": 5}
    found = points_of(
        model("base", 0.5, 1), model("last", 0.4, 2, run={"name": "mine"}), model("c", 0.3, 3, student_layers=2),
        model("d", 0.2, 4, student_layers=2), model("e", 0.1, 5, **pruned), model("mfcc", 0.0, 6, family="features"),
        model("f", 0.0, 7, student_layers=2, dtype="int8"),
    )  # fmt: skip
    assert [point.name for point in found] == [
        "HuBERT base", "HuBERT mine", "HuBERT 2-layer student", "HuBERT 2-layer student [2]", "HuBERT 50 % of heads",
        "mfcc", "HuBERT 2-layer student int8",
    ]  # fmt: skip


def drawn(found):
    with drawing():
        figure = draw_tradeoff(found, note=caption(found))
        figure.draw_without_rendering()
    return figure


def test_marks_show_place_size_sign_and_who_is_dominated(model):
    found = points_of(
        model("a", 0.5, 10, parameters=4_000_000), model("b", -0.3, 20, p_value=0.9), model("c", 0.6, 15),
        model("mfcc", 0.1, 45, family="features", parameters=None),
    )  # fmt: skip
    (axes,) = drawn(found).axes
    marks = {tuple(map(float, each.get_offsets()[0])): each for each in axes.collections}
    assert set(marks) == {(10, 0.5), (20, 0.3), (15, 0.6), (45, 0.1)}
    sizes = {place: float(each.get_sizes()[0]) for place, each in marks.items()}
    assert sizes[10, 0.5] == pytest.approx(4 * sizes[20, 0.3])
    assert sizes[45, 0.1] == min(sizes.values())
    edges = {place: to_hex(each.get_edgecolor()[0]) for place, each in marks.items()}
    assert [place for place, colour in edges.items() if colour == FAINT] == [(15, 0.6)]
    corners = {place: len(each.get_paths()[0].vertices) for place, each in marks.items()}
    assert corners[20, 0.3] < corners[10, 0.5]  # a triangle, as its association is reversed
    low, high = axes.get_ylim()
    assert low < 0
    assert high > 0.7
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3"]
    assert "reversed" in caption(found)
    assert "the smallest: none, or not known" in caption(found)
    assert "reversed" not in caption(found[:1])


def test_the_interval_of_a_size_ends_at_zero_where_that_of_d_holds_it(model):
    (axes,) = drawn(points_of(model("a", -0.5, 10), model("b", 0.1, 20))).axes
    spans = {float(line.get_xdata()[0]): sorted(map(float, line.get_ydata())) for line in axes.lines}
    assert spans[10] == pytest.approx([0.3, 0.7])
    assert spans[20] == pytest.approx([0, 0.3])


def test_areas_are_proportional_until_they_could_not_be_seen():
    assert area(50, 100) == pytest.approx(area(100, 100) / 2)
    assert area(1, 1_000_000) == area(None, 100) == area(None, 0)


def test_from_the_command_line_and_in_the_report(model, tmp_path):
    models = [model("a", 0.5, 10), model("b", -0.3, 20), model("c", 0.6, 30)]
    append_results(tmp_path / "r.jsonl", [record for record, _ in models])
    with (tmp_path / "r.jsonl").open("a") as file:
        file.writelines(json.dumps(rate) + "\n" for _, rate in models)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["reproduce", "tradeoff", str(tmp_path / "r.jsonl"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {f"tradeoff.{kind}" for kind in ("svg", "pdf", "png", "csv")}
    rows = list(csv.DictReader((out / "tradeoff.csv").read_text().splitlines()))
    assert [(r["model"], r["d"], r["per"], r["split"], r["dominated"]) for r in rows] == [
        ("HuBERT a", "0.5", "10.0", "dev", "False"),
        ("HuBERT b", "-0.3", "20.0", "dev", "False"),
        ("HuBERT c", "0.6", "30.0", "dev", "True"),
    ]
    records, rates = zip(*models, strict=True)
    assert write_points_csv(find_points(records, rates)) == (out / "tradeoff.csv").read_text()
    report = write_report(records, tmp_path / "report", others=rates)
    assert {"tradeoff.svg", "tradeoff.pdf"} <= {path.name for path in report.figures}
    assert [path.name for path in report.tables] == ["tradeoff.csv", "per.csv"]
    assert 'href="#tradeoff"' in report.page.read_text(encoding="utf-8")
    plain = write_report(records, tmp_path / "plain")
    assert 'href="#tradeoff"' not in plain.page.read_text(encoding="utf-8")


def test_without_rates_the_remedy_is_named(many, tmp_path):
    with pytest.raises(InputError, match=r"no model here has both.*model_sha256"):
        write_tradeoff(many, tmp_path)


def test_a_rate_is_of_the_same_states_where_there_is_one_and_of_the_first_protocol(model):
    (plain, rate), (heads, _) = (model("s", d, 0.2, states=states) for d, states in ((1, "s3prl"), (2, "s3prl-heads")))
    rates = [
        rate | {"states": "s3prl", "dtype": "float32"},
        rate | {"per": 0.1, "states": "s3prl-heads", "dtype": "float32"},
    ]
    found = find_points([plain, heads], [*rates, rate | {"per": 0.9, "corpus_sha256": "other"}])
    assert {point.record.states: point.rate for point in found} == {"s3prl": 0.2, "s3prl-heads": 0.1}
    assert {point.rate for point in find_points([plain, heads], rates[:1])} == {0.2}


def test_checkpoints_of_one_run_are_told_apart_by_their_steps(model):
    run = {"name": "mine", "seed": 0}
    found = points_of(*(model(f"m{step}", 0.5, 0.1, run=run, step=step) for step in (10, 20)))
    assert [point.name for point in found] == ["HuBERT mine", "HuBERT mine step 20"]


def leak_of(record, accuracy, **changes):
    said = {"kind": "leakage", "schema": 1, "probe": "linear", "layer": "mean", "balanced_accuracy": accuracy}
    return said | {"model_sha256": record.model_sha256, "stimuli_sha256": record.stimuli_sha256} | changes


def test_what_a_probe_tells_apart_stands_below(model, tmp_path):
    (one, its), (other, rate) = model("a", 0.5, 0.1), model("b", 0.3, 0.2)
    leaks = [leak_of(one, 0.9), leak_of(other, 0.4, probe="mlp"), leak_of(other, 0.3, stimuli_sha256="x")]
    found = find_points([one, other], [its, rate, *leaks])
    assert {point.record.model: point.leak for point in found} == {"a": 0.9, "b": None}
    assert "linear probe" in caption(found)
    assert "linear probe" not in caption(find_points([one, other], [its, rate]))
    with drawing():
        figure = draw_tradeoff(found)
        plain = draw_tradeoff(find_points([one, other], [its, rate]))
    assert len(figure.axes) == 2 * len(plain.axes) == 2
    above, below = figure.axes
    assert below.get_ylabel().startswith("told apart")
    assert [tuple(each.get_offsets()[0]) for each in below.collections] == [(0.1, 0.9)]
    assert len(above.collections) == 2
    rows = list(csv.DictReader(write_points_csv(found).splitlines()))
    assert [row["told_apart"] for row in rows] == ["0.9", ""]


def test_a_model_from_which_something_was_removed_is_called_so(model):
    whole, its = model("a", 0.5, 0.1)
    without, rate = model("b", 0.1, 0.2, recipe={"removal": {"method": "leace"}})
    names = [point.name for point in find_points([whole, without], [its, rate])]
    assert ["without what tells groups apart" in name for name in names] == [False, True]
