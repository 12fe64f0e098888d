"""Records made up for the report: several models, tests and layers, no measurement behind them."""

from dataclasses import replace

import numpy as np
import pytest

from made_records import make_record

ODD = "odd_50%<b>&|$x$#{y}~^\\`*[z] 模型 é"


def make_layers(record, *, seed=0):
    """The record, and one per state around it."""
    rng = np.random.default_rng(seed)
    ds = record.d * np.linspace(0.3, 1.3, record.num_states) + rng.normal(0, 0.1, record.num_states)
    return [record] + [
        replace(record, layer=state, d=float(d), ci_low=float(d) - 0.4, ci_high=float(d) + 0.4, p_adjusted=0.02)
        for state, d in enumerate(ds)
    ]


@pytest.fixture(scope="session")
def record():
    return make_record


@pytest.fixture(scope="session")
def layers():
    return make_layers


@pytest.fixture(scope="session")
def odd():
    return ODD


@pytest.fixture(scope="session")
def many():
    """Four models and the features on three tests, with layers; some associated, one reversed, one name odd."""
    rng = np.random.default_rng(1)
    groups = {
        "gender": {"X": "female", "Y": "male", "A": "positive", "B": "negative"},
        "native": {"X": "US", "Y": "Korean", "A": "positive", "B": "negative"},
        "age": {"X": "young", "Y": "old", "A": "positive", "B": "negative"},
    }
    models = [
        ("mfcc", "features", 1),
        ("whisper-tiny.en", "whisper", 5),
        ("hubert-base", "hubert", 13),
        (ODD, "wavlm", 13),
    ]
    records = []
    for model, family, states in models:
        for number, (test, names) in enumerate(groups.items()):
            d = float(rng.normal(0.3, 0.5))
            associated = abs(d) > 0.4
            made = make_record(
                test=test,
                model=model,
                family=family,
                groups=names,
                d=d,
                ci_low=d - 0.38,
                ci_high=d + 0.41,
                num_states=states,
                dim=39 if states == 1 else 384,
                p_value=1e-5 if associated else 0.31,
                p_attribute=0.004 if number else 0.2,
                p_min=1e-5,
                p_method="monte-carlo",
                model_sha256=f"{len(family):x}" * 64,
                stimuli_sha256=f"{number}" * 64,
            )
            records += make_layers(made, seed=number) if states > 1 else [made]
    return records
