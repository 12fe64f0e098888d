"""The files of a report: all there, the same bytes each time, figures and model card as they should be."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest

from speechbias.errors import InputError
from speechbias.report import write_report
from speechbias.report.card import write_card
from speechbias.report.forest import draw_forest
from speechbias.report.grid import arrange
from speechbias.report.layers import draw_profiles, state_associated
from speechbias.report.style import ACCENT, FAINT, PAPER, drawing

EVERY = {
    "index.html",
    "table.md",
    "table.tex",
    "table.csv",
    "results.csv",
    "model-card.md",
    "forest.svg",
    "forest.pdf",
}


@pytest.fixture(scope="module")
def report(many, tmp_path_factory):
    return write_report(many, tmp_path_factory.mktemp("report") / "a" / "b")


def test_every_file_is_there_and_nothing_else(report, record, tmp_path):
    assert {path.name for path in report.paths} == EVERY | {"layers.svg", "layers.pdf"}
    assert set(report.paths) == set(report.page.parent.iterdir())
    assert {path.name for path in write_report([record()], tmp_path / "c").paths} == EVERY


def test_the_same_records_give_the_same_bytes(report, many, tmp_path):
    again = write_report(many, tmp_path)
    for first, second in zip(report.paths, again.paths, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name
    for path in again.paths:
        assert not re.search(rb"20[2-9]\d-[01]\d-[0-3]\d|CreationDate", path.read_bytes()), path.name


def test_a_folder_that_cannot_be_written_is_the_users_error(record, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"^\S+file cannot be written .*Choose another folder"):
        write_report([record()], tmp_path / "file")


def test_figures_hold_the_names_as_they_are(report, odd):
    drawn = [path for path in report.figures if path.suffix == ".svg"]
    assert len(drawn) == 2
    for path in drawn:
        texts = [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        assert odd in texts


def draw(drawer, records):
    with drawing():
        return drawer(arrange(records))


def test_a_marker_is_filled_only_where_associated(record):
    made = [
        record(model="a"),
        record(model="b", p_attribute=0.2),
        record(model="c", p_value=0.2),
        record(model="d", d=-0.6),
    ]
    axes = draw(draw_forest, made).axes[0]
    markers = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in markers] == [ACCENT, PAPER, PAPER, ACCENT]
    assert [line.get_color() for line in markers] == [ACCENT, FAINT, FAINT, ACCENT]
    assert [float(line.get_xdata()[0]) for line in markers] == [0.62, 0.62, 0.62, -0.6]


@pytest.mark.parametrize("ends", [(-0.1, 0.1), (-2.4, 0.3), (0.2, 5.0)])
def test_the_forest_holds_every_interval(record, ends):
    axes = draw(draw_forest, [record(d=sum(ends) / 2, ci_low=ends[0], ci_high=ends[1])]).axes[0]
    low, high = axes.get_xlim()
    assert low < min(-0.8, *ends)
    assert high > max(0.8, *ends)


@pytest.mark.parametrize("rows", [1, 7, 30])
def test_labels_of_the_forest_do_not_overlap(record, rows):
    made = [record(model=f"some-family/model-of-number-{row}", d=row / 20) for row in range(rows)]
    with drawing():
        figure = draw_forest(arrange(made))
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0


def test_the_profile_has_a_panel_per_test_and_a_colour_per_model(many):
    figure = draw(draw_profiles, many)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["age", "native", "gender"]
    colours = [[line.get_color() for line in axes.lines if len(line.get_xdata()) in (5, 13)] for axes in panels]
    assert len({tuple(dict.fromkeys(line)) for line in colours}) == 1
    assert all(len(axes.collections) == 3 for axes in panels)  # bands; mfcc has one state and no line
    assert panels[0].get_xlabel() == "hidden state"
    assert panels[0].get_ylabel().startswith("SpEAT d")


def test_without_states_there_is_no_profile(record):
    assert draw(draw_profiles, [record()]) is None


def test_one_state_among_many_needs_the_adjusted_p(record):
    state = record(layer=3, p_adjusted=0.2)
    assert state.associated
    assert not state_associated(state)
    assert state_associated(replace(state, p_adjusted=None))


def test_thirty_models_with_states_can_be_drawn(record, layers):
    made = [each for row in range(30) for each in layers(record(model=f"_model {row}"), seed=row)]
    figure = draw(draw_profiles, made)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["_model 0", "_model 1"]


def test_the_cards_yaml_can_be_read(many, odd, record):
    yaml = pytest.importorskip("yaml")
    tiny = record(model="tiny-p", p_attribute=1e-05, d=-0.5)
    card = write_card(arrange([*many, tiny]))
    blocks = re.findall(r"```yaml\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 5 == card.count("## Bias, Risks and Limitations")
    entries = [yaml.safe_load(block)["model-index"][0] for block in blocks]
    assert odd in [entry["name"] for entry in entries]
    for entry in entries:
        for result in entry["results"]:
            values = {metric["type"]: metric["value"] for metric in result["metrics"]}
            assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
            assert values["speat_d_ci_low"] < values["speat_d_ci_high"]
    (last,) = [entry for entry in entries if entry["name"] == "tiny-p"]
    assert {"type": "speat_p_attribute", "name": "attribute p", "value": 1e-05} in last["results"][0]["metrics"]


def test_the_card_says_what_was_found_and_what_it_does_not_mean(record):
    skipped = [{"row": 3, "path": "jane.wav", "why": "no samples"}]
    card = write_card(arrange([record(d=-0.62, ci_low=-1.0, ci_high=-0.3, skipped=skipped)]))
    assert "clips of *male* lie nearer to *positive* than clips of *female*" in card
    assert "| reverse association, medium |" in card
    assert "1 row of the stimulus table left out" in card
    assert "jane" not in card
    assert "nothing of intent" in card
    assert "less bias" not in card
