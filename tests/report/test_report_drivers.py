"""What drives d, on the page: which records are whose, and what stands where nothing is known."""

from speechbias.report import write_report
from speechbias.report.drivers import find_drivers
from speechbias.report.grid import arrange


def measured(record):
    return {name: getattr(record, name) for name in ("model_sha256", "stimuli_sha256", "states", "dtype", "recipe")}


def explanation(record, **changes):
    values = {
        "kind": "explanation", "layer": "mean", **measured(record), "half_by": 12, "dim": 3840, "anisotropy": 0.987,
        "alternatives": {"centred": 0.31, "standardised": -0.2, "without the 3 largest dimensions": None},
        "mean_cosines": {"XA": 0.9, "XB": 0.81, "YA": 0.8, "YB": -0.00001}, "state_shares": [0.1, 0.62, 0.28],
        "other_measures": {"sc_weat_X": 0.4, "sc_weat_Y": -0.001, "rnd_A": 0.05, "rnd_B": None, "projection": 1.2},
        "leave_one_speaker_out": [0.4, 0.8], "leave_one_talker_out": None,
    }  # fmt: skip
    return values | changes


def leakage(record, probe, accuracy, **changes):
    values = {
        "kind": "leakage", "layer": "mean", "probe": probe, **measured(record), "balanced_accuracy": accuracy,
        "ci_low": 0.5, "ci_high": 0.9,
    }  # fmt: skip
    return values | changes


def test_a_row_is_of_one_measurement(record):
    first, other = record(), record(model="mel", model_sha256="m")
    others = [
        explanation(first, half_by=99), explanation(first), explanation(first, layer=3, half_by=1),
        leakage(first, "mlp", 0.8), leakage(first, "linear", 0.7), leakage(other, "linear", 0.6), {"kind": "per"},
    ]  # fmt: skip
    found = find_drivers(arrange([first, other]), others)
    assert [(each.label, each.half_by, each.leaks) for each in found] == [
        ("whisper-tiny.en", "12 of 3,840", ("0.70 (0.50 to 0.90)", "0.80 (0.50 to 0.90)")),
        ("mel", "-", ("0.60 (0.50 to 0.90)", "-")),
    ]
    assert found[0].geometries == ("0.31", "-0.20", "-", "-")
    measures = ("0.40", "0.00", "0.05", "-", "1.20")
    assert found[0].behind == ("0.900", "0.810", "0.800", "0.000", "1 (62 %)", *measures)
    assert found[1].behind == ("-",) * 10
    assert (found[0].without_speaker, found[0].without_talker) == ("0.40 to 0.80", "-")


def test_records_of_other_clips_or_weights_are_not_shown(record):
    first = record()
    strangers = [explanation(record(stimuli_sha256="x")), leakage(record(model_sha256="y"), "linear", 0.5)]
    assert find_drivers(arrange([first]), strangers) == []


def test_crops_and_other_states_have_numbers_of_their_own(record):
    first = record()
    short = record(recipe={**first.recipe, "crop_seconds": 1.0})
    others = [explanation(short, half_by=3), explanation(record(states="hf"), half_by=4), explanation(first)]
    found = find_drivers(arrange([first, short]), others)
    assert [each.half_by for each in found] == ["12 of 3,840", "3 of 3,840"]
    assert [each.half_by for each in find_drivers(arrange([record(alternative="less")]), others)] == ["12 of 3,840"]


def test_damaged_records_are_passed_over(record):
    first = record()
    broken = [{"kind": "explanation"}, {"kind": "leakage", "layer": "mean", **measured(first)}]
    assert find_drivers(arrange([first]), broken) == []


def test_the_page_has_them(record, tmp_path):
    page = write_report([record()], tmp_path, others=[explanation(record())]).page.read_text()
    assert "What drives d" in page
    assert '<a href="#drivers">' in page
    assert '<td class="n">1 (62 %)</td><td class="n">0.40</td>' in page
    assert "What drives d" not in write_report([record()], tmp_path / "b").page.read_text()
