"""Levels, pauses, noise, bandwidth and clipping against signals whose answers are known."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from speechbias.confounds import levels

RATE = 16_000


def white(seconds, rms=0.1, seed=0):
    return rms * np.random.default_rng(seed).normal(size=round(seconds * RATE))


def slow_levels(wave, rate):
    """Frame by frame."""
    length, hop = min(round(0.025 * rate), len(wave)), round(0.010 * rate)
    starts = range(0, len(wave) - length + 1, hop)
    means = [sum(float(x) ** 2 for x in wave[a : a + length]) / length for a in starts]
    return [10 * np.log10(max(mean, 1e-10)) for mean in means]


@pytest.mark.parametrize("samples", [399, 400, 401, 1000, 4321])
def test_frame_levels_equal_a_loop(samples):
    wave = white(1)[:samples]
    np.testing.assert_allclose(levels.frame_levels(wave, RATE), slow_levels(wave, RATE), atol=1e-6)


def test_a_sine_at_full_scale_has_minus_three_decibels():
    wave = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert levels.decibels(np.mean(wave**2)) == pytest.approx(-3.0103, abs=1e-3)


def test_digital_silence_has_the_floor():
    assert levels.frame_levels(np.zeros(800), RATE).tolist() == [levels.FLOOR] * 3


def paused(silence, noise=1e-4):
    """A second of noise, a silence in the middle of it; its own noise 60 dB lower."""
    speech = white(1)
    quiet = white(silence, rms=noise, seed=1)
    return np.concatenate([speech[:8000], quiet, speech[8000:]])


@pytest.mark.parametrize(("silence", "share"), [(0.2, 0.0), (0.5, 100 * 0.5 / 1.5), (1.0, 50.0)])
def test_pauses_count_from_three_tenths_of_a_second(silence, share):
    frames = levels.frame_levels(paused(silence), RATE)
    assert levels.pause_share(levels.is_silent(frames)) == pytest.approx(share, abs=2.5)


def test_pauses_at_both_ends_count():
    wave = np.concatenate([white(0.5, 1e-4), white(1.0), white(0.5, 1e-4)])
    assert levels.pause_share(levels.is_silent(levels.frame_levels(wave, RATE))) == pytest.approx(50, abs=3)


def test_pauses_do_not_lower_the_active_level():
    frames = levels.frame_levels(paused(1.0), RATE)
    assert levels.active_level(frames, levels.is_silent(frames)) == pytest.approx(-20, abs=0.5)
    assert levels.decibels(np.mean(paused(1.0) ** 2)) == pytest.approx(-23, abs=0.2)


@pytest.mark.parametrize("snr", [10, 20, 40])
def test_signal_to_noise_of_speech_with_pauses(snr):
    wave = paused(1.0, noise=0.1 * 10 ** (-snr / 20))
    assert levels.signal_to_noise(levels.frame_levels(wave, RATE)) == pytest.approx(snr, abs=1.5)


@pytest.mark.parametrize("cutoff", [1000, 3400, 6000])
def test_bandwidth_finds_a_low_pass(cutoff):
    wave = sosfiltfilt(butter(12, cutoff, fs=RATE, output="sos"), white(1))
    assert levels.bandwidth(wave, RATE) == pytest.approx(cutoff / 1000, rel=0.05)


def test_a_single_sample_has_no_bandwidth():
    assert levels.bandwidth(np.array([0.5]), RATE) == 0.0


def test_bandwidth_of_a_tone_is_its_frequency():
    wave = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert levels.bandwidth(wave, RATE) == pytest.approx(1.0, abs=0.01)


def test_clipping_counts_runs_of_three_in_every_channel():
    one = np.zeros(100)
    one[[3, 4, 5]] = 1.0  # counts
    one[[10, 11]] = -1.0  # too short
    one[-4:] = -1.0  # counts, at the end
    other = np.zeros(100)
    other[:2] = 1.0  # does not join with the end of the other channel
    assert levels.clipping_share(np.column_stack([one, other])) == pytest.approx(100 * 7 / 200)
    assert levels.clipping_share(other[:, None]) == 0.0
