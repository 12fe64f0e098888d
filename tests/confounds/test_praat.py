"""F0 and syllable nuclei by Praat: synthetic voices whose pitch and syllables are known."""

import numpy as np
import pytest

from speechbias.confounds import praat

pytest.importorskip("parselmouth", reason="the extra audit is not installed")


@pytest.mark.parametrize("f0", [90.0, 150.0, 240.0])
def test_f0_is_that_of_the_voice(say, f0):
    found = praat.measure_voice(say(f0=f0, jitter=0.0), say.rate)
    assert 100 * 2 ** (found["f0_mean"] / 12) == pytest.approx(f0, rel=0.08)


def test_positive_habit_widens_the_range(say):
    narrow, wide = (praat.measure_voice(say(habit=habit), say.rate)["f0_range"] for habit in (-1.9, 1.9))
    assert wide > narrow + 3  # semitones


def test_rate_counts_syllables(say):
    waves = [say(take, syllables=8) for take in range(6)]
    counted = [praat.measure_voice(wave, say.rate)["rate"] * len(wave) / say.rate for wave in waves]
    assert np.mean(counted) == pytest.approx(8, abs=1.5)


def test_faster_speech_has_a_higher_rate(say):
    slow, fast = (
        np.mean([praat.measure_voice(say(take, rate=rate), say.rate)["rate"] for take in range(4)]) for rate in (3, 6)
    )
    assert fast / slow == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize("samples", [100, 16_000])
def test_what_is_not_voiced_has_no_value(samples):
    wave = 0.1 * np.random.default_rng(0).normal(size=samples)
    assert all(np.isnan(value) for value in praat.measure_voice(wave, 16_000).values())


def test_nuclei_need_a_dip_behind_them_and_must_be_loud():
    #             peak   1 dB dip  peak  deep dip  peak, too quiet  peak, followed by the end
    intensity = [50.0, 70, 69, 71, 60, 40, 41, 40, 60, 70, 65]
    assert praat.find_nuclei(np.array(intensity)) == [3, 9]
    assert praat.find_nuclei(np.arange(5.0)) == []
