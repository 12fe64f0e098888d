"""Recordings and covariates for the tests of confounds."""

import numpy as np
import pytest

from speechbias.synthetic import SAMPLE_RATE, Voice, draw_sentence, synthesise


@pytest.fixture(scope="session")
def say():
    """A sentence of five syllables, float64 at 16 kHz: ``say(take, **changes of the voice)``."""

    def said(take=0, *, syllables=5, **changes):
        plain = {"f0": 150.0, "formant_scale": 1.0, "jitter": 0.01, "rate": 4.5, "breathiness": 0.03, "habit": 0.0}
        rng = np.random.Generator(np.random.PCG64(take))
        sentence = draw_sentence(rng, syllables=syllables)
        samples = synthesise(Voice(**(plain | changes)), sentence=sentence, rng=rng)
        return samples / 32768.0

    said.rate = SAMPLE_RATE
    return said
