"""Bias against steps: which records are one curve, what its band is over, what is drawn and said."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.report import write_figure1, write_report
from speechbias.report.curves import caption, find_curves, without_earlier_steps, write_steps_csv
from speechbias.report.heatmap import draw_states
from speechbias.report.lines import size_text
from speechbias.report.steps import RING, draw_steps, log_ticks, root_ticks, scale_of
from speechbias.report.style import drawing
from speechbias.results import Together, append_results


@pytest.fixture
def run(record):
    """run(name, steps, ...): records of one run, d = step / 100 + shift, associated from 0.35 on."""

    def make(name, steps, *, recipe="r", seed=0, shift=0.0, states=2, test="gender", recipe_of=None, **changes):
        changes |= {} if recipe_of is None else {"recipe": recipe_of}
        records = []
        for step in steps:
            for layer in ("mean", *range(states)):
                d = step / 100 + shift + (0 if layer == "mean" else layer / 10)
                records.append(
                    record(
                        test=test, model=f"step-{step:08d}", step=step,
                        layer=layer, d=d, ci_low=d - 0.3, ci_high=d + 0.3,
                        p_value=0.01 if d > 0.35 else 0.5, p_adjusted=None if layer == "mean" else 0.01,
                        run={"name": name, "recipe": recipe, "seed": seed}, num_states=states,
                        model_sha256=f"{seed}{step:07d}" * 8, **changes,
                    )
                )  # fmt: skip
        return records

    return make


def test_one_run_is_one_curve_with_its_intervals(run):
    (curve,) = find_curves(run("first", [40, 0, 10]))
    assert (curve.label, curve.steps, curve.ds(40)) == ("first", [0, 10, 40], [0.4])
    assert curve.band(10) == pytest.approx((-0.2, 0.4))
    assert "95 % interval over stimuli, not over training runs" in caption([curve])
    assert "n =" not in caption([curve])


def test_seeds_of_one_recipe_are_one_curve_with_a_spread_over_runs(run):
    records = [r for seed in range(3) for r in run(f"hubert-seed{seed}", [0, 40], seed=seed, shift=seed / 10)]
    (curve,) = find_curves(records)
    assert curve.label == "hubert (3 runs)"
    assert curve.band(40) == pytest.approx((0.4, 0.6))
    assert "n = 3 training runs that differ by the seed" in caption([curve])
    assert "over stimuli" not in caption([curve])
    assert len(find_curves(records + run("other", [0, 40], recipe="q"))) == 2


def test_runs_without_a_recipe_are_told_apart_by_name_and_models_without_a_run_too(run):
    first, second = ([replace(r, run={"name": name}) for r in run("x", [0, 40])] for name in ("a", "b"))
    mine = [replace(r, run=None, model="mine") for r in run("x", [0, 40])]
    assert [curve.label for curve in find_curves([*first, *second, *mine])] == ["a", "b", "mine"]


def test_crops_are_a_curve_of_their_own(run):
    """The same steps of one run, of whole clips and of crops: no line joins them, and none hides the other."""
    short = run("first", [0, 40], shift=0.2, recipe_of={"crop_seconds": 1.0})
    whole, cropped = find_curves([*run("first", [0, 40]), *short])
    assert [(curve.label, curve.ds(0), curve.ds(40)) for curve in (whole, cropped)] == [
        ("first", [0.0], [0.4]),
        ("first [2]", [0.2], [pytest.approx(0.6)]),
    ]


def test_alike_names_of_other_recipes_are_numbered(run):
    records = run("run", [0, 40]) + run("run", [0, 40], recipe="q")
    curves = find_curves(records)
    assert [curve.label for curve in curves] == ["run", "run [2]"]
    assert "is not the same model" not in caption(curves)


def test_alike_names_that_meet_on_no_test_are_not_numbered_and_it_is_said(run):
    age = {"test": "age", "stimuli_sha256": "9" * 64}
    records = run("run", [0, 40]) + run("run", [0, 40], recipe="q", **age)
    curves = find_curves(records)
    assert [(curve.column.label, curve.label) for curve in curves] == [("age", "run"), ("gender", "run")]
    assert "run is not the same model in every panel." in caption(curves)
    native = {"test": "native", "stimuli_sha256": "8" * 64}  # where both are: now one has a number, and everywhere
    records += run("run", [0, 40], **native) + run("run", [0, 40], recipe="q", **native)
    found = {(curve.column.label, curve.runs[0].mean[0].run["recipe"]): curve.label for curve in find_curves(records)}
    labels = {recipe: {label for (_, of), label in found.items() if of == recipe} for recipe in "rq"}
    assert sorted(map(sorted, labels.values())) == [["run"], ["run [2]"]]


def two_tests_of_other_designs(run, **changes):
    return run("a", [0, 40], **changes) + run(
        "a", [0, 40], test="age", design="independent", stimuli_sha256="9" * 64, **changes
    )


def test_a_model_has_one_name_and_colour_on_tests_of_other_designs(run):
    records = two_tests_of_other_designs(run) + two_tests_of_other_designs(run, recipe="q")
    curves = find_curves(records)
    names = [(curve.column.label, curve.label) for curve in curves]
    assert names == [("age", "a"), ("age", "a [2]"), ("gender", "a"), ("gender", "a [2]")]
    with drawing():
        steps, states = draw_steps(curves), draw_states(curves)
    first, second = ([line.get_color() for line in axes.lines if line.get_linewidth() == 1.6] for axes in steps.axes)
    assert first == second
    assert len(first) == len(set(first)) == 2
    (legend,) = steps.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "a [2]"]
    maps = [axes for axes in states.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in maps] == ["a: age", "a: gender", "a [2]: age", "a [2]: gender"]
    assert all(axes.get_visible() for axes in maps)


def test_other_options_on_one_test_are_two_curves_and_those_of_most_tests_keep_the_name(run):
    other = run("a", [0, 40], shift=0.2, ddof=0)
    names = {
        (curve.column.label, curve.runs[0].mean[0].ddof): curve.label
        for curve in find_curves([*other, *two_tests_of_other_designs(run), *run("a", [0, 40], test="native")])
    }
    assert names == {("gender", 1): "a", ("gender", 0): "a [2]", ("age", 1): "a", ("native", 1): "a"}


@pytest.mark.parametrize("folder", ["", "runs/a/checkpoints/", "C:\\runs\\a\\"])
@pytest.mark.parametrize("first", [True, False])
def test_a_damaged_checkpoint_gives_way_to_the_one_that_was_made_again(run, folder, first, tmp_path):
    whole = run("a", [0, 40])
    aside = [replace(r, model=f"{folder}damaged-{r.model}", d=9.0) for r in whole if r.step == 40]
    records = aside + whole if first else whole + aside
    (curve,) = find_curves(records)
    assert curve.ds(40) == [0.4]
    assert curve.ds(40, 1) == [0.5]
    assert {r.d for r in without_earlier_steps(records)} == {0.4, 0.5}
    listing = write_report(records, tmp_path).every.read_text()
    assert {row["d"] for row in csv.DictReader(listing.splitlines())} == {"0.0", "0.1", "0.4", "0.5"}
    (alone,) = find_curves([*aside, *(r for r in whole if r.step == 0)])
    assert alone.ds(40) == [9.0]


def test_the_caption_lists_levels_that_differ(run):
    records = run("a", [0, 40], test="age", confidence=0.9, stimuli_sha256="9" * 64) + run("a", [0, 40])
    text = caption(find_curves(records))
    assert "90 % or 95 % (records differ) interval over stimuli" in text
    assert "both below 0.05 or 0.1 (records differ), not" in text
    assert "differ)" not in caption(find_curves(run("a", [0, 40])))


def test_the_caption_counts_the_runs_of_each_test(run):
    records = [r for seed in range(3) for r in run(f"s{seed}", [0, 40], seed=seed)]
    records += [r for seed in range(2) for r in run(f"s{seed}", [0, 40], seed=seed, test="age", design="paired")]
    curves = find_curves(records)
    assert {curve.label for curve in curves} == {"s (3 runs)"}
    assert "n = 2 or 3 training runs" in caption(curves)


def test_one_step_is_no_curve(run, record, many):
    assert find_curves([*run("a", [40]), record(step=0), *many]) == []
    with pytest.raises(InputError, match="no model here was measured at two training steps"):
        write_figure1(many, None)


def test_tables_are_about_the_last_step_and_the_listing_about_all(run, record, tmp_path):
    records = [*run("a", [0, 10, 40]), record(model="mfcc", family="features")]
    assert {r.step for r in without_earlier_steps(records)} == {40, None}
    report = write_report(records, tmp_path)
    table = report.csv.read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["model", "a step 40", "mfcc"]
    listed = {(row["step"], row["layer"]) for row in csv.DictReader(report.every.read_text().splitlines())}
    assert {step for step, _ in listed} == {"0", "10", "40", ""}
    assert {"steps.svg", "steps.pdf", "steps-layers.svg", "steps-layers.pdf"} <= {p.name for p in report.figures}
    page = report.page.read_text(encoding="utf-8")
    assert "95 % interval over stimuli, not over training runs" in page
    assert 'href="#steps"' in page


def drawn_points(axes, face):
    return sorted(
        (float(x), round(float(y), 6))
        for line in axes.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == face
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )


def test_the_points_are_where_the_records_are_and_filled_where_associated(run):
    with drawing():
        (axes,) = draw_steps(find_curves(run("a", [0, 10, 40]))).axes
    colour = next(line.get_color() for line in axes.lines if line.get_marker() == "o")
    assert drawn_points(axes, colour) == [(40, 0.4)]
    assert [x for x, _ in drawn_points(axes, "#fffffe")] == [0, 10]
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().extents == pytest.approx([0, -0.3, 40, 0.7])


def test_the_mean_of_close_runs_leaves_their_band_to_be_seen(run):
    """Runs that spread by about a hundredth of the panel: the line of their mean is thinner still."""
    records = [r for seed in range(3) for r in run(f"s{seed}", [0, 40], seed=seed, shift=seed / 130)]
    with drawing():
        figure = draw_steps(find_curves(records))
        figure.draw_without_rendering()
    (axes,) = figure.axes
    (band,) = axes.collections
    points = band.get_paths()[0].vertices
    ds = points[points[:, 0] == 40, 1]
    low, high = (axes.transData.transform((40, d))[1] for d in (min(ds), max(ds)))
    widths = [line.get_linewidth() * figure.dpi / 72 for line in axes.lines if line.get_marker() == "None"][-4:]
    assert widths[0] < high - low
    assert max(widths[1:]) < widths[0]


def test_the_map_has_a_cell_per_state_and_step_the_mean_over_runs(run):
    records = [r for seed in range(2) for r in run(f"s{seed}", [0, 40], seed=seed, shift=seed / 10)]
    with drawing():
        axes = draw_states(find_curves(records)).axes[0]
    (mesh,) = axes.collections
    assert np.asarray(mesh.get_array()) == pytest.approx(np.array([[0.05, 0.45], [0.15, 0.55]]))
    assert draw_states(find_curves([r for r in records if r.layer == "mean"])) is None


@pytest.mark.parametrize(
    ("steps", "scale"),
    [
        ([0, 20, 60], "linear"),
        ([0, 10, 20, 40, 60], "linear"),
        (range(0, 400_001, 20_000), "linear"),
        ([0, 50, 100, 200, 500, 1000], "log"),
        ([0, 100, 200, 500, 1000, *range(10_000, 140_001, 10_000)], "root"),
    ],
)
def test_the_scale_spreads_the_steps_and_shows_zero(run, steps, scale):
    assert scale_of(list(steps)) == scale
    with drawing():
        figure = draw_steps(find_curves(run("a", list(steps), states=0)))
        figure.draw_without_rendering()
        (axes,) = figure.axes
    assert "0" in [label.get_text() for label in axes.get_xticklabels()]
    low, high = axes.get_xlim()
    assert low < 0 < max(steps) < high
    assert ("scale" in axes.get_xlabel()) == (scale != "linear")


def test_ticks_are_round():
    assert log_ticks(50, 1000, zero=True) == [0, 50, 100, 200, 500, 1000]
    assert log_ticks(100, 400_000, zero=False) == [100, 1000, 10_000, 100_000]
    assert root_ticks(421_000) == [0, 4000, 40_000, 100_000, 400_000]
    assert [size_text(n) for n in (0, 500, 1500, 421_000, 2_000_000)] == ["0", "500", "1.5k", "421k", "2M"]


def test_points_that_hold_for_all_steps_together_are_ringed_and_listed(run):
    records = run("a", [0, 10, 40, 50])
    judged = {
        r.identity: Together(p, r.d - 1, r.d + 1, "4 steps of one run")
        for r in records
        for p in [0.02 if r.step in {0, 50} else 0.2]  # at step 0 p itself is above alpha
    }
    curves = find_curves(records)
    text = caption(curves, judged)
    assert "Ringed: p also when it is adjusted for the 4 steps of one run (max-T)." in text
    assert "Ringed" not in caption(curves)
    with drawing():
        (axes,) = draw_steps(curves, together=judged).axes
    (ring,) = [line for line in axes.lines if line.get_markersize() == RING]
    assert [*ring.get_xdata()] == [50]
    rows = list(csv.DictReader(write_steps_csv(curves, judged).splitlines()))
    assert {row["family_over_steps"] for row in rows} == {"4 steps of one run"}
    assert [row["p_adjusted_over_steps"] for row in rows if row["layer"] == "mean"] == ["0.02", "0.2", "0.2", "0.02"]
    assert float(rows[0]["low_over_steps"]) == float(rows[0]["d"]) - 1
    assert {row["p_adjusted_over_steps"] for row in csv.DictReader(write_steps_csv(curves).splitlines())} == {""}


def test_figure1_from_the_command_line(run, tmp_path):
    append_results(tmp_path / "r.jsonl", run("a", [0, 10, 40]))
    done = CliRunner().invoke(app, ["reproduce", "figure1", str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    kinds = ("svg", "pdf", "png")
    names = {f"figure1{part}.{kind}" for part in ("", "-layers") for kind in kinds} | {"figure1.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    rows = list(csv.DictReader((tmp_path / "out" / "figure1.csv").read_text().splitlines()))
    assert [(r["step"], r["d"]) for r in rows if r["layer"] == "mean"] == [
        ("0", "0.0"),
        ("10", "0.1"),
        ("40", "0.4"),
    ]
    assert "not over training runs" in (tmp_path / "out" / "figure1.svg").read_text()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_figure1(run("a", [0, 10, 40]), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    done = CliRunner().invoke(app, ["reproduce", "figure1"])
    assert isinstance(done.exception, InputError)
