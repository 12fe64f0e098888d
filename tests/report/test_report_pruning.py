"""Bias against size: which records are one line, from where it starts, what is drawn, said and listed."""

import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.report import write_figure2, write_report
from speechbias.report.curves import find_curves, without_earlier_steps
from speechbias.report.error_rates import Rates, find_error_rates
from speechbias.report.pruning import draw_pruning, spread
from speechbias.report.sparsities import caption, find_lines, without_larger
from speechbias.report.style import drawing
from speechbias.results import append_results

BASE = "b" * 64
WHOLE = {"heads": 144, "rows": 3072, "weights": 85_017_600}
OF_ONE = {"heads": 196_800, "rows": 12 * 1537, "weights": 1}
HALF = {"heads": 72, "rows": 1536, "weights": 42_508_800}
LEAST = {"heads": 12, "rows": 512, "weights": 17_003_520}


@pytest.fixture
def base(record):
    """base(...): the unpruned model, d = 0.9, interval 0.6 to 1.2."""

    def make(**changes):
        values = {"model": "step-00001000", "family": "melhubert", "model_sha256": BASE, "d": 0.9, "ci_low": 0.6}
        return record(**(values | {"ci_high": 1.2, "run": {"name": "base"}, "parameters": 90_000_000} | changes))

    return make


@pytest.fixture
def pruned(base):
    """pruned(method, criterion, sizes, ...): one record per size; d sinks by 1 from the whole model to nothing."""

    def make(method, criterion="l1", sizes=None, *, seed=None, name="run", shift=0.0, step=100, **changes):
        made = []
        for number, left in enumerate(sizes or (HALF[method], LEAST[method])):
            removed = (WHOLE[method] - left) * OF_ONE[method]
            d = 0.9 + shift - (1 - left / WHOLE[method])
            values = {
                "model": f"step-{step * (number + 1):08d}", "step": step * (number + 1), "method": method,
                "criterion": criterion, "criterion_seed": seed, "remaining": left, "of": WHOLE[method],
                "parameters": 90_000_000 - removed, "parameters_removed": removed, "pruned_from": BASE,
                "run": {"name": name, "recipe": f"{method} {criterion}", "seed": 0},
                "model_sha256": f"{len(name)}{method[0]}{seed or 0}{left:08d}".ljust(64, "0"),
                "d": d, "ci_low": d - 0.3, "ci_high": d + 0.3, "p_value": 0.01 if abs(d) > 0.3 else 0.5,
            }  # fmt: skip
            made.append(base(**(values | changes)))
        return made

    return make


def points(line):
    return [(place, round(line.curve.ds(place)[0], 3)) for place in line.curve.steps]


def test_a_line_goes_from_the_unpruned_model_to_the_smallest(base, pruned):
    (line,) = find_lines([*pruned("heads"), base(), base(model="other", model_sha256="c" * 64, d=5.0)])
    assert (line.label, line.method, line.criterion) == ("MelHuBERT", "heads", "l1")
    assert points(line) == [(0, 0.9), (72 * 196_800, 0.4), (132 * 196_800, -0.017)]
    assert line.unpruned.d == 0.9
    assert line.curve.band(72 * 196_800) == pytest.approx((0.1, 0.7))


def test_the_unpruned_model_is_found_by_weights_then_by_name_then_in_the_run(base, pruned):
    named = [replace(r, pruned_from="base") for r in pruned("heads")]
    whole = [base(model="base", d=0.7), base(model="else", d=0.5)]
    (line,) = find_lines([*named, *whole])
    assert line.unpruned.d == 0.7
    (line,) = find_lines([*named, *whole, base(model="base", model_sha256="c" * 64, d=0.1)])
    assert line.unpruned is None  # two models of that name
    own = pruned("heads", sizes=[144, 72, 12])
    (line,) = find_lines([*own, replace(own[0], step=0, d=0.6)])
    assert (line.unpruned.d, points(line)[0]) == (0.6, (0, 0.9))  # step 0 is dashed, what was trained on is a point
    (line,) = find_lines(pruned("heads"))
    assert (line.unpruned, line.curve.steps) == (None, [72 * 196_800, 132 * 196_800])


def test_the_unpruned_model_of_another_test_or_of_other_options_does_not_count(base, pruned):
    others = [base(test="age", stimuli_sha256="9" * 64), base(ddof=0), base(design="independent")]
    (line,) = find_lines([*pruned("heads"), *others])
    assert line.unpruned is None


def test_of_one_size_the_last_step_stands(pruned):
    first, last = pruned("rows")
    (line,) = find_lines([last, first, replace(first, step=150, d=0.33), replace(first, step=120, d=0.22)])
    assert points(line)[0] == (1536 * 12 * 1537, 0.33)


def test_runs_that_differ_by_the_seed_are_one_line_and_cuts_at_random_are_the_control(base, pruned):
    seeds = [r for seed in range(3) for r in pruned("heads", run={"name": f"s{seed}", "recipe": "r", "seed": seed})]
    random = [
        r for seed in range(4) for r in pruned("heads", "random", seed=seed, name=f"r{seed}", shift=seed / 10,
                                               run={"name": f"r{seed}", "recipe": f"q{seed}", "seed": 0})
    ]  # fmt: skip
    chosen, control = find_lines([*seeds, *random, base()])
    assert (chosen.criterion, len(chosen.curve.runs)) == ("l1", 3)
    assert (control.criterion, len(control.curve.runs)) == ("random", 4)
    assert control.curve.band(72 * 196_800) == pytest.approx((0.4, 0.7))
    text = caption([chosen, control])
    assert "mean of n = 3 training runs that differ by the seed" in text
    assert "as much cut at random, range and median of n = 4 draws" in text
    assert "over stimuli" not in text


def test_models_that_were_only_cut_are_lines_of_their_own(pruned):
    def alone(records):
        return [replace(r, run=None, step=None, model=f"cut-{n:04d}") for n, r in enumerate(records)]

    trained, cut, control = (pruned("heads"), alone(pruned("heads")), alone(pruned("heads", "random", seed=1)))
    assert [line.label for line in find_lines([*trained, *cut])] == ["MelHuBERT (run)", "MelHuBERT (cut alone)"]
    lines = find_lines([*trained, *control])
    assert [(line.label, line.criterion) for line in lines] == [("MelHuBERT", "l1"), ("MelHuBERT", "random")]
    assert "cut at random, without training between cuts, range" in caption(lines)
    both = find_lines([*trained, *control, *pruned("heads", "random", seed=1)])
    assert [len(line.curve.runs) for line in both] == [1, 1, 1]
    assert "without training" not in caption(both)


def test_the_caption_says_what_the_band_is_over_and_never_that_less_than_zero_is_less(base, pruned):
    text = caption(find_lines([*pruned("heads"), base()]))
    assert "95 % interval over stimuli, not over training runs" in text
    assert "Below zero the association is reversed" in text
    assert "not adjusted for the number of sizes" in text
    assert "Dashed: the unpruned model" in text
    assert "random" not in text
    assert "Dashed" not in caption(find_lines(pruned("heads")))


def test_names_are_of_families_and_longer_only_where_they_must_be(base, pruned):
    other = pruned("heads", pruned_from="d" * 64)
    lines = find_lines([*pruned("heads"), *other, *pruned("heads", family="wav2vec2"), base()])
    assert [line.label for line in lines] == ["MelHuBERT base", "MelHuBERT dddddddd", "wav2vec 2.0"]
    twice = [r for n in "ab" for r in pruned("heads", run={"name": n, "recipe": n})]
    assert [line.label for line in find_lines(twice)] == ["MelHuBERT (a)", "MelHuBERT (b)"]
    asked = find_lines([*pruned("heads"), *pruned("heads", ddof=0)])
    assert [line.label for line in asked] == ["MelHuBERT", "MelHuBERT [2]"]


def test_order_is_by_method_then_test(pruned):
    lines = find_lines(
        [r for m in ("weights", "heads") for t in ("gender", "age") for r in pruned(m, test=t, stimuli_sha256=t)]
    )
    assert [(line.method, line.curve.column.label) for line in lines] == [
        ("heads", "age"), ("heads", "gender"), ("weights", "age"), ("weights", "gender"),
    ]  # fmt: skip


def test_models_of_other_people_that_say_neither_run_nor_origin_are_one_line_and_all_stand_in_tables(pruned):
    foreign = [replace(r, run=None, pruned_from=None, criterion=None, step=None) for r in pruned("heads")]
    (line,) = find_lines(foreign)
    assert len(points(line)) == 2
    assert without_larger(foreign) == foreign


def test_what_was_never_cut_is_no_line(pruned, record):
    assert find_lines([*pruned("heads", sizes=[144]), record()]) == []
    assert find_lines([replace(r, method="distillation") for r in pruned("heads")]) == []


def test_a_pruned_run_is_no_curve_over_training_and_tables_show_its_smallest(base, pruned, record):
    records = [*pruned("heads", sizes=[144, 72, 12]), base(), record(model="mfcc", family="features")]
    assert find_curves(records) == []
    assert without_earlier_steps(records) == records
    assert [r.remaining for r in without_larger(records)] == [12, None, None]
    layer = [replace(r, layer=1) for r in records[:3]]
    assert [r.remaining for r in without_larger([*layer, *records])] == [12, 12, None, None]


# Error rates


def per(record, rate, **changes):
    return {"schema": 1, "kind": "per", "model": record.model, "split": "test-clean", "per": rate} | changes


def test_an_error_rate_is_of_a_model_by_its_weights_or_by_a_name_that_it_has_alone(base, pruned):
    half, least = pruned("heads")
    rows = pruned("rows")  # its checkpoints are called alike
    lines = find_lines([half, least, *rows, base(model="base")])
    given = [
        per(half, 11.0, model_sha256=half.model_sha256, model="anything"),
        per(least, 22.0),
        per(base(model="base"), 5.0),
        per(base(model="base"), float("nan")),
        per(half, 99.0, model_sha256=half.model_sha256, split="dev"),
    ]
    (found,) = find_error_rates(lines, Rates(given, lines))
    assert (found.method, found.split, found.unpruned) == ("heads", "test-clean", 5.0)
    assert found.rates == {0: [5.0], 72 * 196_800: [11.0]}


def test_without_an_error_rate_of_a_pruned_model_there_is_no_panel(base, pruned):
    lines = find_lines([*pruned("heads"), base(model="base")])
    assert find_error_rates(lines, Rates([per(base(model="base"), 5.0)], lines)) == []
    assert find_error_rates(lines, Rates([], lines)) == []


# What is drawn


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def markers(axes, face):
    return sorted(
        (float(x), round(float(y), 3))
        for line in axes.lines
        if line.get_marker() not in {"None", ""} and line.get_markerfacecolor() == face
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )


def drawn(records, others=()):
    lines = find_lines(records)
    with drawing():
        figure = draw_pruning(lines, find_error_rates(lines, Rates(others, lines)), note=caption(lines))
        figure.draw_without_rendering()
    return figure


def test_points_band_and_dashed_line_are_where_the_records_are(base, pruned):
    (axes,) = panels(drawn([*pruned("heads"), base()])).values()
    (band,) = axes.collections
    furthest = 132 * 196_800
    assert band.get_paths()[0].get_extents().extents == pytest.approx([0, -0.317, furthest, 1.2], abs=1e-3)
    colour = axes.lines[-1].get_color()
    assert markers(axes, colour) == [(0, 0.9), (72 * 196_800, 0.4)]  # associated
    assert markers(axes, "#fffffe") == [(furthest, -0.017)]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [0.9]
    assert [text.get_text() for text in axes.texts] == ["0.90"]


def test_the_upper_axis_says_what_is_left(base, pruned):
    figure = drawn([r for method in WHOLE for r in pruned(method)])
    found = {}
    for title, axes in panels(figure).items():
        (upper,) = axes.child_axes
        found[title] = upper.get_xlabel()
        low, high = upper.get_xlim()
        left = {"heads": LEAST["heads"], "FFN rows": LEAST["rows"], "weights": 80}[title.split(": ")[1][:-7]]
        assert min(low, high) < left < max(low, high)
    assert found == {
        "gender: heads pruned": "heads left",
        "gender: FFN rows pruned": "rows left per layer",
        "gender: weights pruned": "weights at zero",
    }
    larger = [replace(r, family="wav2vec2", of=384, remaining=r.remaining + 240) for r in pruned("heads")]
    (axes,) = panels(drawn([*pruned("heads"), *larger])).values()
    assert not axes.child_axes


def test_a_panel_for_each_method_and_test_and_below_them_the_error_rates(base, pruned):
    records = [r for m in ("heads", "weights") for t in ("gender", "age") for r in pruned(m, test=t, stimuli_sha256=t)]
    rates = [per(r, 10.0, model_sha256=r.model_sha256) for r in records]
    titles = list(panels(drawn(records, rates)))
    assert titles == [
        "age: heads pruned", "gender: heads pruned", "age: weights pruned", "gender: weights pruned",
        "phone error rate: heads pruned", "phone error rate: weights pruned",
    ]  # fmt: skip
    assert len(panels(drawn(records))) == 4


def test_error_rates_are_shares_in_records_and_per_cent_on_axes(pruned):
    records = pruned("heads")
    rates = [per(r, 0.105, model_sha256=r.model_sha256) for r in records]
    lines = find_lines(records)
    with drawing():
        figure = draw_pruning(lines, find_error_rates(lines, Rates(rates, lines)))
        (axes,) = [each for each in figure.axes if "PER" in each.get_ylabel()]
        assert axes.get_ylabel() == "PER test-clean (%)"
        assert axes.yaxis.get_major_formatter()(0.105) == "10.5"


def test_of_one_test_the_methods_stand_beside_each_other_and_error_rates_below_their_own(pruned):
    records = [r for method in WHOLE for r in pruned(method)]
    rates = [per(r, 10.0, model_sha256=r.model_sha256) for r in records if r.method == "weights"]
    places = {title: axes.get_position() for title, axes in panels(drawn(records, rates)).items()}
    heads, rows, weights, below = places.values()
    assert heads.y0 == pytest.approx(rows.y0) == pytest.approx(weights.y0)
    assert heads.x1 < rows.x0 < rows.x1 < weights.x0
    assert below.x0 == pytest.approx(weights.x0)
    assert below.y1 < weights.y0


def test_the_scale_of_d_is_one_in_all_panels(pruned):
    low, high = pruned("heads", test="age", stimuli_sha256="a"), pruned("heads", shift=3.0)
    first, second = panels(drawn([*low, *high])).values()
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[1] > 3


def test_random_cuts_lie_behind_with_their_range_and_median(base, pruned):
    random = [r for seed in range(3) for r in pruned("heads", "random", seed=seed, shift=seed**2 / 10)]
    figure = drawn([*pruned("heads"), *random, base()])
    (axes,) = panels(figure).values()
    grey, band = sorted(axes.collections, key=lambda each: each.get_zorder())
    assert grey.get_zorder() < band.get_zorder()
    vertices = grey.get_paths()[0].vertices
    assert {round(y, 3) for x, y in vertices if x == 72 * 196_800} == {0.4, 0.8}
    (middle,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [round(y, 3) for y in middle.get_ydata()] == [0.9, 0.5, 0.083]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["MelHuBERT", "unpruned", "cut at random"]


def test_another_criterion_has_other_dashes_and_is_named(base, pruned):
    figure = drawn([*pruned("heads"), *pruned("heads", "bias", shift=-0.2), base()])
    (axes,) = panels(figure).values()
    styles = [line.get_linestyle() for line in axes.lines if line.get_linewidth() == 1.6]
    assert styles == ["-", "-."]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["MelHuBERT", "smallest L1", "effect on |d|, and L1", "unpruned"]


def test_close_values_are_moved_apart_about_their_middle():
    assert spread([0.0, 1.0], 0.5) == [0.0, 1.0]
    assert spread([0.4, 0.5], 0.3) == pytest.approx([0.3, 0.6])
    assert spread([0.0, 0.0, 0.05, 2.0], 0.1) == pytest.approx([-0.25 / 3, 0.05 / 3, 0.35 / 3, 2.0])
    assert spread([], 0.1) == []


# Files


def test_figure2_from_the_command_line(base, pruned, tmp_path):
    half, least = pruned("heads")
    records = [base(), half, least, *pruned("heads", "random", seed=3)]
    append_results(tmp_path / "r.jsonl", records)
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write(json.dumps(per(half, 12.5, model_sha256=half.model_sha256)) + "\n")
    done = CliRunner().invoke(app, ["reproduce", "figure2", str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"figure2.{kind}" for kind in ("svg", "pdf", "png", "csv", "md")
    }
    rows = list(csv.DictReader((tmp_path / "out" / "figure2.csv").read_text().splitlines()))
    assert [(r["method"], r["criterion"], r["remaining"], r["d"], r["per"]) for r in rows] == [
        ("", "", "", "0.9", ""),
        ("heads", "l1", "72", "0.4", "12.5"),
        ("heads", "l1", "12", repr(least.d), ""),
        ("heads", "random", "72", "0.4", ""),
        ("heads", "random", "12", repr(least.d), ""),
    ]
    table = (tmp_path / "out" / "figure2.md").read_text().splitlines()
    assert table[3].startswith(
        "| gender | MelHuBERT | heads | l1 | run | 72 of 144 | 14,169,600 | 0.40 [0.10, 0.70] |"
    )
    assert "| not associated |" in table[4]
    assert len({line.count("|") for line in table}) == 1
    assert "association is reversed" in (tmp_path / "out" / "figure2.svg").read_text()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_figure2(records, tmp_path / "out", others=[per(half, 12.5, model_sha256=half.model_sha256)])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_without_a_pruned_model_the_remedy_is_named(many, tmp_path):
    with pytest.raises(InputError, match=r"no pruned model was measured here.*speechbias prune.*speechbias measure"):
        write_figure2(many, tmp_path)
    done = CliRunner().invoke(app, ["reproduce", "figure2"])
    assert isinstance(done.exception, InputError)
    assert "figure2 is made from records" in str(done.exception)


def test_the_report_has_the_figure_where_there_are_pruned_models(base, pruned, record, tmp_path):
    records = [base(), *pruned("heads"), *pruned("rows"), record(model="mfcc", family="features")]
    report = write_report(records, tmp_path / "a")
    assert {"pruning.svg", "pruning.pdf"} <= {path.name for path in report.figures}
    page = report.page.read_text(encoding="utf-8")
    assert 'href="#pruning"' in page
    assert "Below zero the association is reversed" in page
    listed = list(csv.DictReader(report.every.read_text().splitlines()))
    assert [(r["method"], r["remaining"], r["criterion"]) for r in listed if r["method"]] == [
        ("heads", "72", "l1"), ("heads", "12", "l1"), ("rows", "1536", "l1"), ("rows", "512", "l1"),
    ]  # fmt: skip
    assert len(report.csv.read_text().splitlines()) == 1 + 4
    plain = write_report([base()], tmp_path / "b")
    assert "pruning.svg" not in {path.name for path in plain.figures}
    assert 'href="#pruning"' not in plain.page.read_text(encoding="utf-8")
