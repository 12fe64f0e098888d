"""Predicted valence on the page: whose row is whose, and that the gap of a predictor that guesses is not shown."""

import numpy as np

from speechbias.report import write_report
from speechbias.report.grid import arrange
from speechbias.report.names import as_plain
from speechbias.report.valence import view_valences


def valence(record, **changes):
    values = {
        "kind": "valence", "layer": "mean", "test": record.test, "d": record.d, "gap": 0.1, "gap_sd": 0.61,
        "ci_low": 0.2, "ci_high": 1.0, "p_value": 0.01, "p_attribute": 0.2, "p_predictor": 0.001, "confidence": 0.95,
        "balanced_accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "trained_on": record.test, **record.about,
        "states": record.states, "dtype": record.dtype, "recipe": record.recipe,
    }  # fmt: skip
    return values | changes


def test_a_row_is_of_one_measurement_and_the_last_record_counts(record):
    first, other = record(), record(model="mel", model_sha256="m")
    pooled = record(recipe={"pooling": "max"})
    others = [
        valence(first, gap_sd=9.0), valence(first), valence(first, layer=2, gap_sd=3.0),
        valence(record(recipe={"crop_seconds": 2.0}), gap_sd=4.0), valence(pooled, gap_sd=0.2),
        valence(other, p_predictor=0.05), valence(record(stimuli_sha256="x")), {"kind": "per"},
    ]  # fmt: skip
    found = view_valences(arrange([first, other, pooled]), others)
    assert [(each.label, each.gap, each.usable) for each in found.rows] == [
        ("whisper-tiny.en (pooling mean)", "0.61", True),
        ("mel (pooling mean)", "0.61", False),
        ("whisper-tiny.en (pooling max)", "0.20", True),
    ]
    assert found.rows[0].accuracy == "0.80 (0.70 to 0.90)"
    assert not found.elsewhere
    assert found.sentences == ()


def test_how_d_and_the_gap_go_together_is_said_of_usable_predictors(record):
    rng = np.random.default_rng(0)
    models = [record(model=f"m{k}", model_sha256=f"{k}", d=float(d)) for k, d in enumerate(rng.normal(size=6))]
    gaps = rng.normal(size=6).tolist()
    others = [valence(each, gap_sd=gap) for each, gap in zip(models, gaps, strict=True)]
    others[5]["p_predictor"] = 0.5
    (sentence,) = view_valences(arrange(models), others).sentences
    d = [each.d for each in models[:5]]
    same = sum((a > 0) == (b > 0) for a, b in zip(d, gaps[:5], strict=True))
    r = np.corrcoef(d, gaps[:5])[0, 1]
    assert as_plain(sentence) == (
        "gender: over 5 models whose predictor is better than guessing, d and the gap have the same sign in "
        f"{same} and correlate at r = {r:.2f}."
    )
    assert view_valences(arrange(models[:3]), others[:3]).sentences == ()


def test_the_page_has_it(record, tmp_path):
    first, guessing = record(), record(model="mel", model_sha256="m")
    others = [
        valence(first, trained_on="mess"),
        valence(guessing, p_predictor=0.3, gap_sd=0.73, trained_on="mess"),
    ]
    text = write_report([first, guessing], tmp_path, others=others).page.read_text()
    assert '<a href="#valence">' in text
    assert text.count("<td>mess</td>") == 2
    assert "0.61</td>" in text
    assert "0.73</td>" not in text
    assert text.count("none: it guesses") == 1
    assert "a property of the predictor, not of people" in " ".join(text.split())
    assert "valence-title" not in write_report([first], tmp_path / "b").page.read_text()
