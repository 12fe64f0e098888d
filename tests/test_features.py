"""Classical features against kaldi-native-fbank, torch.stft and explicit loops over frames."""

import math
import subprocess
import sys
import threading
import time
import tracemalloc

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile as sf
import torch

from speechbias.encoder import Encoder, check_pooled
from speechbias.errors import InputError
from speechbias.features import FEATURES, NAMES, FeatureEncoder
from speechbias.features.cepstra import deltas, kaldi_filters

EPSILON = 2.0**-23


def voice(samples=24_000, seed=0, level=0.05):
    """A buzz with harmonics, an offset and noise: every bin has something, and no frame is like the next."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / 16_000
    tone = sum(np.cos(k * phase) / k for k in range(1, 20))
    wave = level * tone * (1 + 0.5 * np.sin(2 * np.pi * 3 * t)) + 0.01 * rng.standard_normal(samples) + 0.02
    return wave.astype(np.float32)


def frames_of(name, wave):
    return FeatureEncoder(name).hidden_states(wave)[0]


def kaldi_options(options):
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.snip_edges = True
    return options


def online(extractor, wave):
    extractor.accept_waveform(16_000, wave.tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])


def slow_spectrogram(wave, energy_floor=1.0):
    """Kaldi's compute-spectrogram-feats with torchaudio's defaults, one frame and one sample at a time."""
    rows = []
    for start in range(0, len(wave) - 400 + 1, 160):
        frame = wave[start : start + 400].astype(np.float64)
        frame = frame - sum(frame) / 400
        energy = math.log(max(sum(x * x for x in frame), EPSILON, energy_floor))
        emphasised = [x - 0.97 * frame[max(i - 1, 0)] for i, x in enumerate(frame)]
        windowed = [x * (0.5 - 0.5 * math.cos(2 * math.pi * i / 399)) ** 0.85 for i, x in enumerate(emphasised)]
        power = np.abs(np.fft.fft(windowed + [0.0] * 112)[:257]) ** 2
        rows.append(np.log(np.maximum(power, EPSILON)))
        rows[-1][0] = energy
    return np.array(rows)


def slow_deltas(features):
    last = len(features) - 1
    rows = []
    for t in range(len(features)):
        at = [features[min(max(t + n, 0), last)] for n in (-2, -1, 0, 1, 2)]
        rows.append((-2 * at[0] - at[1] + at[3] + 2 * at[4]) / 10)
    return np.array(rows)


def slow_htk_filters():
    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    corners = [700 * (10 ** (mel(8000) * i / 81 / 2595) - 1) for i in range(82)]
    filters = np.zeros((201, 80))
    for k in range(201):
        hertz = 40.0 * k
        for m in range(80):
            left, centre, right = corners[m : m + 3]
            filters[k, m] = max(0.0, min((hertz - left) / (centre - left), (right - hertz) / (right - centre)))
    return filters


@pytest.mark.parametrize("samples", [24_000, 16_001, 257])
def test_stft_is_torch_stft(samples):
    wave = voice(samples)
    window = torch.hann_window(512, dtype=torch.float64)
    expected = torch.stft(
        torch.tensor(wave, dtype=torch.float64), 512, 320, 512, window, center=True, return_complex=True
    )
    np.testing.assert_allclose(frames_of("stft", wave), expected.abs().T.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [24_000, 16_159, 201])
def test_mel_is_torch_stft_power_through_htk_triangles(samples):
    wave = voice(samples)
    window = torch.hann_window(400, dtype=torch.float64)
    spectrum = torch.stft(
        torch.tensor(wave, dtype=torch.float64), 400, 160, 400, window, center=True, return_complex=True
    )
    expected = np.log((spectrum.abs() ** 2).T.numpy() @ slow_htk_filters() + 1e-10)
    np.testing.assert_allclose(frames_of("mel", wave), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [0.05, 1e-5])  # the quiet one lies on the floors
def test_spectrogram_is_kaldis_frame_by_frame(level):
    wave = voice(4_000, level=level)
    if level < 1e-3:
        wave -= 0.02
        wave *= 1e-4
    np.testing.assert_allclose(frames_of("spectrogram", wave), slow_spectrogram(wave), rtol=1e-5, atol=2e-5)


def test_the_energy_floor_of_s3prl_is_in_bin_0():
    wave = voice(4_000, level=0.01)
    assert frames_of("spectrogram", wave)[:, 0].min() == 0.0
    assert slow_spectrogram(wave, energy_floor=0.0)[:, 0].min() < 0.0


@pytest.mark.parametrize("scale", [1.0, 1e-4])  # at 1e-4 the floor 2^-23 of the mel energies is what counts
def test_mfcc_is_kaldis(scale):
    wave = voice() * np.float32(scale)
    options = kaldi_options(knf.MfccOptions())
    options.use_energy = False
    expected = online(knf.OnlineMfcc(options), wave)
    statics = frames_of("mfcc", wave)[:, :13]
    assert statics.shape == expected.shape
    np.testing.assert_allclose(statics, expected, rtol=1e-4, atol=2e-3)


def test_kaldi_filters_are_those_of_fbank():
    wave = voice()
    options = kaldi_options(knf.FbankOptions())
    options.mel_opts.num_bins = 23
    expected = online(knf.OnlineFbank(options), wave)
    rows = []
    for start in range(0, len(wave) - 399, 160):
        frame = wave[start : start + 400].astype(np.float64)
        frame -= frame.mean()
        frame[1:] -= 0.97 * frame[:-1].copy()
        frame[0] *= 0.03
        window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
        rows.append(
            np.log(np.maximum(np.abs(np.fft.rfft(frame * window, 512)) ** 2 @ kaldi_filters(23, 512), EPSILON))
        )
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-3)


def test_deltas_against_a_loop():
    features = np.random.default_rng(1).standard_normal((17, 3))
    np.testing.assert_allclose(deltas(features), slow_deltas(features), atol=1e-14)
    one_frame = features[:1]
    np.testing.assert_array_equal(deltas(one_frame), np.zeros((1, 3)))


def test_mfcc_ends_with_deltas_of_deltas():
    frames = frames_of("mfcc", voice())
    assert frames.shape[1] == 39
    np.testing.assert_allclose(frames[:, 13:26], slow_deltas(frames[:, :13]), atol=1e-4)
    np.testing.assert_allclose(frames[:, 26:], slow_deltas(frames[:, 13:26]), atol=1e-4)


@pytest.mark.parametrize("name", FEATURES)
def test_cmvn_has_mean_zero_and_unbiased_variance_one(name):
    wave = voice()
    plain, normalised = frames_of(name, wave).astype(np.float64), frames_of(f"{name}:cmvn", wave)
    expected = (plain - plain.mean(0)) / (plain.std(0, ddof=1) + 1e-10)
    np.testing.assert_allclose(normalised, expected, atol=1e-5)


@pytest.mark.parametrize("name", FEATURES)
def test_the_mean_of_cmvn_frames_is_refused_with_its_remedy(name):
    encoder = FeatureEncoder(f"{name}:cmvn")
    with pytest.raises(InputError, match=rf"{name}:cmvn: the mean over time is zero.*CMVN removes it; use {name}$"):
        encoder.pooled(voice())
    assert np.isfinite(encoder.hidden_states(voice(encoder.min_samples))).all()


@pytest.mark.parametrize("name", FEATURES)
def test_pooled_is_the_mean_over_frames(name):
    wave = voice()
    encoder = FeatureEncoder(name)
    states = encoder.hidden_states(wave)
    assert states.dtype == encoder.pooled(wave).dtype == np.float32
    assert states.shape == (1, states.shape[1], encoder.dim)
    np.testing.assert_allclose(encoder.pooled(wave), states.mean(1, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_min_samples_is_the_shortest_wave_that_works(name):
    encoder = FeatureEncoder(name)
    frames = 2 if name.endswith(":cmvn") else 1
    assert encoder.hidden_states(voice(encoder.min_samples)).shape[1] >= frames
    with pytest.raises(InputError, match=f"one frame needs {encoder.min_samples}"):
        encoder.hidden_states(voice(encoder.min_samples - 1))


def test_waves_that_are_none_are_refused():
    encoder = FeatureEncoder("mel")
    with pytest.raises(InputError, match="1-d, not an array of 2 x 800"):
        encoder.pooled(np.zeros((2, 800), np.float32))
    with pytest.raises(InputError, match="NaN or Inf"):
        encoder.pooled(np.full(800, np.nan, np.float32))


def test_blocks_leave_no_seams():
    """More frames than one block, equal to each frame computed alone."""
    wave = voice(160 * 700)
    whole = frames_of("spectrogram", wave)
    for frame in (0, 127, 128, 129, 255, 256, 690):
        np.testing.assert_array_equal(whole[frame], frames_of("spectrogram", wave[160 * frame : 160 * frame + 400])[0])


def test_ten_minutes_need_little_memory():
    wave = np.tile(voice(160_000), 60)
    tracemalloc.start()
    FeatureEncoder("spectrogram").pooled(wave)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    result = 4 * 257 * (len(wave) // 160)
    assert peak < 2.5 * result + 20e6  # frames, their squares; nothing else grows


def test_fast_enough_and_the_same_in_threads():
    wave = voice(160_000)
    encoder = FeatureEncoder("mfcc")
    expected = encoder.pooled(wave)
    seconds = min(_timed(lambda: encoder.pooled(wave)) for _ in range(5))
    assert seconds < 0.1  # 100 x real time on a busy machine; 1,000 x and more on an idle one
    results = []
    threads = [threading.Thread(target=lambda: results.append(encoder.pooled(wave))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for result in results)


def _timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_recipes_and_digests_tell_features_apart():
    encoders = [FeatureEncoder(name) for name in NAMES]
    assert len({encoder.sha256 for encoder in encoders}) == len(NAMES)
    assert all(isinstance(encoder, Encoder) for encoder in encoders)
    assert FeatureEncoder("mfcc").recipe["cmvn"] == "none"
    assert FeatureEncoder("mfcc").recipe["lifter"] == 22
    assert [round(FeatureEncoder(name).frame_shift, 3) for name in FEATURES] == [0.02, 0.01, 0.01, 0.01]


def test_check_pooled_names_the_lost_states():
    pooled = np.array([[1.0, 1.0], [1e-7, -1e-7], [0.0, 0.0]])
    with pytest.raises(InputError, match=r"x: the mean over time is zero up to rounding \(state 1\): its frames"):
        check_pooled("x", pooled, np.array([1.0, 1.0, 0.0]))


def test_features_do_not_import_torch():
    code = "import sys, speechbias.features; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_on_real_speech_the_mean_is_stable_and_cmvn_refused(shared):
    clip = min((shared / "data" / "speech").rglob("*.flac"))
    wave, rate = sf.read(clip, dtype="float32")
    assert rate == 16_000
    options = kaldi_options(knf.MfccOptions())
    options.use_energy = False
    expected = online(knf.OnlineMfcc(options), wave).mean(0)
    np.testing.assert_allclose(FeatureEncoder("mfcc").pooled(wave)[0, :13], expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="rounding"):
        FeatureEncoder("mel:cmvn").pooled(wave)
