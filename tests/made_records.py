"""Records made up: no measurement behind them."""

from speechbias.results import BiasResult


def make_record(**changes):
    values = {
        "test": "gender",
        "model": "whisper-tiny.en",
        "family": "whisper",
        "layer": "mean",
        "states": "s3prl",
        "d": 0.62,
        "p_value": 2 / 252,
        "p_method": "exact",
        "p_min": 2 / 252,
        "p_attribute": 0.0123,
        "p_adjusted": None,
        "alternative": "two-sided",
        "ci_low": 0.2011,
        "ci_high": 1.0149,
        "confidence": 0.95,
        "ci_attributes": (-0.11, 1.2),
        "design": "speaker",
        "n": {"X": 20, "Y": 20, "A": 30, "B": 30},
        "n_speakers": {"X": 5, "Y": 5, "A": 24, "B": 24},
        "groups": {"X": "female", "Y": "male", "A": "positive", "B": "negative"},
        "ddof": 1,
        "permutations": 100_000,
        "resamples": 10_000,
        "seed": 0,
        "dtype": "float32",
        "model_sha256": "a1b2c3d4" * 8,
        "stimuli_sha256": "0f1e2d3c" * 8,
        "vectors": {"path": "results.vectors/x.npz", "sha256": "00"},
        "versions": {"speechbias": "0.1.0", "torch": "2.13.0"},
        "num_states": 5,
        "dim": 384,
        "attribute_talkers": 24,
        "p_attribute_min": 1e-5,
        "recipe": {"sample_rate": 16000, "window": "30 s"},
        "seconds": {"X": 131.2, "Y": 118.9, "A": 110.0, "B": 104.4},
    }
    return BiasResult(**(values | changes))
