"""The synthesiser: pinned bytes, voices and valence that differ as intended, and two tests of known outcome."""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from speechbias.checkpoint import load_encoder
from speechbias.errors import InputError
from speechbias.inference import association_test
from speechbias.stimuli import read_stimuli
from speechbias.synthetic import SAMPLE_RATE, Voice, draw_room, draw_sentence, draw_voice, synthesise
from speechbias.synthetic import sets as synthetic_sets
from speechbias.synthetic.sound import coloured_noise, cosine, darken, follow, glottal_flow, reflect, resonate, rms
from speechbias.synthetic.speech import lay_out
from speechbias.synthetic.voice import CONSONANTS, VOWELS, manner

SHA256 = "83f16c4e5f658e8590f90847365888b7fa4165b1f0a709ef3e4c2e88cdecca28"
VOICE = Voice(f0=150.0, formant_scale=1.0, jitter=0.01, rate=4.5, breathiness=0.03)


def pcg(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


def fundamental(wave, around=150.0):
    """Hz of each clearly periodic 40 ms frame: highest peak of its autocorrelation within 40 % of ``around``."""
    found = []
    for start in range(0, len(wave) - 640, 160):
        frame = wave[start : start + 640] - wave[start : start + 640].mean()
        correlation = np.correlate(frame, frame, "full")[639:]
        lags = np.arange(round(SAMPLE_RATE / (1.4 * around)), round(SAMPLE_RATE / (0.6 * around)))
        best = lags[np.argmax(correlation[lags] / (640 - lags))]
        if rms(frame) > 0.02 and correlation[best] > 0.5 * correlation[0]:
            found.append(SAMPLE_RATE / best)
    return np.array(found)


def centroid(wave):
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float((np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE) * power).sum() / power.sum())


def takes(voice, count=4, **options):
    """Several sentences, the same ones for every voice, as floats in [-1, 1]."""
    return [
        synthesise(voice, sentence=draw_sentence(pcg(take, 1)), rng=pcg(take, 2), **options) / 32768.0
        for take in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic_sets.write_stimuli_sets(folder)
    return folder


# ---- bytes


def test_default_set_has_its_bytes(folder):
    digest = hashlib.sha256()
    files = [*sorted((folder / "clips").iterdir()), folder / "planted.csv", folder / "null.csv"]
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    assert len(files) == 144 + 2
    assert digest.hexdigest() == SHA256


def test_written_clip_reads_back_as_the_same_integers(folder, tmp_path):
    samples = synthesise(VOICE, rng=pcg(1))
    soundfile.write(tmp_path / "clip.wav", samples, SAMPLE_RATE, subtype="PCM_16")
    again, rate = soundfile.read(tmp_path / "clip.wav", dtype="int16")
    assert samples.dtype == again.dtype == np.int16
    assert rate == SAMPLE_RATE
    assert np.array_equal(samples, again)
    info = soundfile.info(next((folder / "clips").iterdir()))
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", SAMPLE_RATE, 1)


def test_seed_decides(tmp_path):
    def write(name, seed):
        synthetic_sets.write_stimuli_sets(tmp_path / name, seed=seed, voices=2)
        return {file.name: file.read_bytes() for file in (tmp_path / name / "clips").iterdir()}

    first, again, other = write("a", 3), write("b", 3), write("c", 4)
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)
    assert len(set(first.values())) == len(first)


def test_rounding_is_no_matter_of_the_last_bit():
    """A relative change of 1e-13 in every formant does not reach the 16 bits."""
    said, room = draw_sentence(pcg(7)), draw_room(pcg(8))
    exact = synthesise(VOICE, sentence=said, room=room, rng=pcg(9))
    nudged = dataclasses.replace(VOICE, formant_scale=1.0 + 1e-13)
    assert np.array_equal(exact, synthesise(nudged, sentence=said, room=room, rng=pcg(9)))


# ---- sound


def test_clips_are_neither_silent_nor_clipped_nor_long(folder):
    seconds = []
    for file in (folder / "clips").iterdir():
        wave = soundfile.read(file)[0]
        seconds.append(len(wave) / SAMPLE_RATE)
        assert np.abs(wave).max() < 0.95
        assert 0.05 < rms(wave) < 0.08
        quiet = wave[: SAMPLE_RATE // 50]
        assert 0 < rms(quiet) < 0.001  # a room, not digital silence
    assert 1.0 < min(seconds) <= max(seconds) < 1.8
    assert sum(seconds) < 240


def test_cosine_is_the_cosine():
    angles = np.linspace(0, math.pi, 1001)
    np.testing.assert_allclose(cosine(angles), np.cos(angles), atol=1e-12)


def test_follow_is_linear_interpolation():
    points = [(0.1, 1.0), (0.4, -2.0), (0.5, 3.0)]
    seconds = np.linspace(0, 1, 333)
    expected = np.interp(seconds, *np.array(points).T)
    np.testing.assert_allclose(follow(points, seconds), expected, atol=1e-14)


def test_resonators_against_a_loop_and_a_filter():
    source = pcg(1).random(400) - 0.5
    half = math.pi * 80 / (2 * SAMPLE_RATE)
    radius = (1 - half) / (1 + half)
    a, b = 2 * radius * math.cos(2 * math.pi * 700 / SAMPLE_RATE), -(radius**2)
    expected = lfilter([1 - a - b], [1, -a, -b], source)
    found = resonate(source, np.full((400, 1), 700.0), np.array([80.0]))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    twice = resonate(source, np.full((400, 2), 700.0), np.array([80.0, 80.0]))
    np.testing.assert_allclose(twice, lfilter([1 - a - b], [1, -a, -b], expected), atol=1e-10)


def test_darken_and_reflect_against_their_difference_equations():
    source = pcg(2).random(200) - 0.5
    dark, before = [], 0.0
    for x in source:
        before = 0.3 * x + 0.7 * before
        dark.append(before)
    np.testing.assert_allclose(darken(source, 0.7), dark, atol=1e-14)
    expected = [x + 0.5 * (source[n - 3] if n >= 3 else 0.0) for n, x in enumerate(source)]
    np.testing.assert_allclose(reflect(source, ((3, 0.5),)), expected, atol=1e-15)


def test_glottal_flow_repeats_at_the_fundamental():
    flow = glottal_flow(np.full(8000, 160.0), jitter=0.0, rng=pcg(3))
    np.testing.assert_allclose(flow[1000:1100], flow[1100:1200], atol=1e-9)  # 100 samples a period
    assert flow.min() >= 0
    assert 0.95 < flow.max() <= 1
    assert np.mean(flow == 0) == pytest.approx(0.4, abs=0.03)  # closed
    uneven = glottal_flow(np.full(8000, 160.0), jitter=0.1, rng=pcg(3))
    assert np.abs(uneven[1000:1100] - uneven[1100:1200]).max() > 0.05


def test_coloured_noise_lies_at_its_centre():
    low, high = (coloured_noise(pcg(4), 8000, centre=c, bandwidth=800.0) for c in (2000.0, 5500.0))
    assert rms(low) == pytest.approx(1)
    assert 1500 < centroid(low) < 4000 < centroid(high) < 6500


# ---- voices and valence


def test_fundamental_is_the_voices():
    for f0 in (110.0, 150.0, 200.0):
        waves = takes(dataclasses.replace(VOICE, f0=f0))
        measured = np.mean([np.median(fundamental(wave, f0)) for wave in waves])
        assert measured == pytest.approx(f0, rel=0.1)


def test_formants_follow_the_scale():
    """The same fundamental and sentences, a shorter tract: the spectrum's centre moves up."""
    small, large = (takes(dataclasses.replace(VOICE, formant_scale=scale)) for scale in (0.9, 1.15))
    assert all(centroid(a) < centroid(b) for a, b in zip(small, large, strict=True))


def test_jitter_and_breath_are_heard():
    regular = takes(dataclasses.replace(VOICE, jitter=0.0, breathiness=0.0))
    for other in ({"jitter": 0.1, "breathiness": 0.0}, {"jitter": 0.0, "breathiness": 0.3}):
        for smooth, rough in zip(regular, takes(dataclasses.replace(VOICE, **other)), strict=True):
            assert not np.array_equal(smooth, rough)


def test_valence_moves_tilt_range_and_rate():
    low, calm, high = (takes(VOICE, valence=valence) for valence in (-1.0, 0.0, 1.0))
    for a, b, c in zip(low, calm, high, strict=True):
        assert centroid(a) < centroid(b) < centroid(c)  # brighter
        assert len(a) > len(b) > len(c)  # faster

    def spread(waves):
        return np.mean([np.subtract(*np.percentile(fundamental(wave), [90, 10])) for wave in waves])

    assert spread(low) < spread(calm) < spread(high)


def test_habit_is_valence_that_stays():
    assert manner(dataclasses.replace(VOICE, habit=0.5), 0.25) == manner(VOICE, 0.75)


def test_score_keeps_the_silent_share():
    """Otherwise rate alone would move the mean of every feature."""
    shares = []
    for valence in (-1.0, 1.0):
        score = lay_out(draw_sentence(pcg(5)), manner(VOICE, valence), rng=pcg(6))
        loud = follow(score.loudness, np.linspace(0, score.seconds, 2000)) > 0
        shares.append(loud.mean())
    assert shares[0] == pytest.approx(shares[1], abs=0.04)


def test_drawn_voices_and_sentences_are_valid_and_differ():
    voices = [draw_voice(pcg(seed), habit=1.9) for seed in range(50)]
    assert len(set(voices)) == 50
    assert max(v.f0 for v in voices) - min(v.f0 for v in voices) > 50
    for sentence in (draw_sentence(pcg(seed)) for seed in range(20)):
        assert len(sentence.syllables) == 5
        assert 2 <= sentence.pause <= 3
        assert all(syllable[0] in CONSONANTS and syllable[1] in VOWELS for syllable in sentence.syllables)
        assert sentence.text.replace(", ", "") == "".join(sentence.syllables)


def test_impossible_voices_are_refused():
    with pytest.raises(InputError, match="f0 is 5000"):
        dataclasses.replace(VOICE, f0=5000)
    with pytest.raises(InputError, match="valence is 2"):
        synthesise(VOICE, valence=2, rng=pcg(0))
    with pytest.raises(InputError, match="at least 2"):
        synthetic_sets.write_stimuli_sets("nowhere", voices=1)


# ---- sets


def test_sets_are_what_they_say(folder):
    planted, null = (read_stimuli(folder / f"{name}.csv") for name in ("planted", "null"))
    assert (planted.name, null.name) == ("planted", "null")
    for stimuli in (planted, null):
        assert not stimuli.warnings
        assert [len(stimuli.X), len(stimuli.Y), len(stimuli.A), len(stimuli.B)] == [24] * 4
        assert {s.columns["valence"] for s in stimuli.A} == {"+1"}
        assert {s.columns["valence"] for s in stimuli.B} == {"-1"}
        talkers = {s.speaker for s in stimuli.A}
        assert talkers == {s.speaker for s in stimuli.B}
        assert len(talkers) == 12
        assert not talkers & {s.speaker for s in stimuli.X + stimuli.Y}
        for set_ in (stimuli.X, stimuli.Y, stimuli.A, stimuli.B):
            assert len({s.group for s in set_}) == 1
            assert [s.columns["text"] for s in set_] == [s.columns["text"] for s in stimuli.X]
    assert not {s.speaker for s in planted.X} & {s.speaker for s in planted.Y}
    assert [s.speaker for s in null.X] == [s.speaker for s in null.Y]


def embed(stimuli, encoder):
    def pooled(clip):
        return encoder.pooled(soundfile.read(clip.path, dtype="float32")[0])[0]

    return {name: np.array([pooled(clip) for clip in getattr(stimuli, name)]) for name in "XYAB"}


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))]


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_association_is_found_and_the_null_is_not(tmp_path, seed):
    tests = [read_stimuli(path) for path in synthetic_sets.write_stimuli_sets(tmp_path, seed=seed)]
    for feature in ("mel", "mfcc"):
        planted, null = (
            association_test(
                **embed(stimuli, load_encoder(feature)),
                speakers={name: [clip.speaker for clip in getattr(stimuli, name)] for name in "XYAB"},
                permutations=10_000,
                resamples=500,
                seed=seed,
            )
            for stimuli in tests
        )
        assert (planted.design, null.design) == ("speaker", "within-speaker")
        assert planted.d > 0.8
        assert planted.p_value < 0.01
        assert planted.p_attribute < 0.01
        assert null.p_value >= 0.01
        assert abs(null.d) < 0.3
