"""The audit of a test: planted differences are found, voices drawn alike are not; cache, missing values, record."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from recordings import RATE, tone, write_csv
from speechbias.confounds import clips as clips_module
from speechbias.confounds import praat
from speechbias.confounds.audit import audit_test
from speechbias.confounds.clips import describe_clip, describe_clips
from speechbias.stimuli import check_audio, read_stimuli

FAST = {"resamples": 300}
VOICES = 10
needs_praat = pytest.mark.skipif(not praat.is_installed(), reason="the extra audit is not installed")


def write_clips(folder, waves, *, voices=None):
    """A test of clips by set; speakers are the clips', or those of ``voices``."""
    rows = []
    for key, members in waves.items():
        for number, wave in enumerate(members):
            path = folder / f"{key}{number}.wav"
            soundfile.write(path, wave, RATE, subtype="FLOAT")
            speaker = f"{key}{number}" if voices is None else voices[key][number]
            rows.append({"path": path.name, "set": key, "group": f"group {key}", "speaker": speaker})
    return read_stimuli(write_csv(folder / "test.csv", rows))


def audit(stimuli, **options):
    check = check_audio([stimuli], sample_rate=RATE, min_samples=400)
    values = describe_clips(list(check.facts.values()))
    return audit_test(check.sets[0], check.facts, values, **(FAST | options))


def by_name(record):
    return {covariate["name"]: covariate for covariate in record["covariates"]}


@pytest.fixture(scope="module")
def planted(tmp_path_factory, say):
    """X is louder, longer and higher than Y by a known amount; A and B are drawn alike."""
    rng = np.random.default_rng(0)

    def voice(take, *, f0, slower=1.0, gain=1.0):
        wave = say(take, f0=f0 + rng.normal(0, 8), rate=(4.5 + rng.normal(0, 0.2)) / slower)
        return gain * 10 ** (rng.normal(0, 1.0) / 20) * wave

    waves = {
        "X": [voice(i, f0=190, slower=1.15, gain=1.5) for i in range(VOICES)],
        "Y": [voice(100 + i, f0=150) for i in range(VOICES)],
        "A": [voice(200 + i, f0=150) for i in range(VOICES)],
        "B": [voice(300 + i, f0=150) for i in range(VOICES)],
    }
    return write_clips(tmp_path_factory.mktemp("planted"), waves)


@pytest.fixture(scope="module")
def audited(planted):
    return audit(planted)


@needs_praat
def test_planted_differences_are_found(audited):
    found = by_name(audited.record)
    for name, sign in (("duration", 1), ("f0_mean", 1), ("level", 1), ("active_level", 1), ("rate", -1)):
        targets = found[name]["targets"]
        assert targets["flagged"], name
        assert sign * targets["difference"] > 1, name
        assert min(sign * targets["low"], sign * targets["high"]) > 0, name
    assert found["level"]["mean"]["X"] - found["level"]["mean"]["Y"] == pytest.approx(3.5, abs=1.2)  # dB: 1.5 times
    assert found["clipping"]["targets"] == {
        "difference": 0.0, "low": None, "high": None, "flagged": False, "sd": 0.0
    }  # fmt: skip


def test_groups_drawn_alike_are_not_flagged_beyond_chance():
    """By chance |difference| > 0.5 comes up in 27 % of tests with 10 voices a side; its interval excludes 0 in 5 %."""
    from speechbias.confounds.differences import standardised_difference  # noqa: PLC0415

    rng = np.random.default_rng(1)
    labels = [f"x{i}" for i in range(10)], [f"y{i}" for i in range(10)]
    found = [
        standardised_difference(*rng.normal(size=(2, 10)), labels, resamples=300, confidence=0.95, seed=0)
        for _ in range(400)
    ]
    assert np.mean([each.flagged for each in found]) == pytest.approx(0.277, abs=0.07)  # P(|t18| > 0.5 sqrt(5))
    assert np.mean([not each.low <= 0 <= each.high for each in found]) < 0.09


@needs_praat
def test_voices_drawn_alike_lie_together(audited):
    record = by_name(audited.record)
    certain = [
        name
        for name, each in record.items()
        if each["attributes"]["low"] is not None and each["attributes"]["low"] * each["attributes"]["high"] > 0
    ]
    assert len(certain) <= 2  # of ten, at 95 %, some of them alike


def test_intervals_of_speakers_are_wider_than_of_clips(tmp_path):
    rng = np.random.default_rng(0)
    waves = {key: [tone(120, seconds=0.3, seed=i) for i in range(12)] for key in "XYAB"}
    for key in "XY":
        loud = np.repeat(rng.normal(0, 0.5, 4), 3)
        waves[key] = [np.exp(gain) * wave for gain, wave in zip(loud, waves[key], strict=True)]
    voices = {key: [f"{key}{i // 3}" for i in range(12)] for key in "XYAB"}
    made = write_clips(tmp_path, waves, voices=voices)
    speakers, clips = (
        by_name(audit(made, design=design).record)["level"]["targets"] for design in (None, "independent")
    )
    assert speakers["difference"] == clips["difference"]
    assert speakers["high"] - speakers["low"] > 1.3 * (clips["high"] - clips["low"])


@needs_praat
def test_clips_without_a_value_are_counted_and_left_out(tmp_path):
    noise = 0.1 * np.random.default_rng(0).normal(size=RATE // 2)
    waves = {key: [tone(120 + 5 * i, seconds=0.5, seed=i) for i in range(4)] for key in "XYAB"}
    waves["X"][2] = noise.astype(np.float32)
    made = audit(write_clips(tmp_path, waves))
    found = by_name(made.record)
    assert found["f0_mean"]["missing"] == {"X": 1, "Y": 0, "A": 0, "B": 0}
    assert found["duration"]["missing"]["X"] == 0
    names = [covariate["name"] for covariate in made.record["covariates"]]
    assert np.isnan(made.arrays["X"][:, names.index("f0_mean")]).tolist() == [False, False, True, False]
    voiced = [120 + 5 * i for i in (0, 1, 3)]
    assert found["f0_mean"]["mean"]["X"] == pytest.approx(np.mean(12 * np.log2(np.array(voiced) / 100)), abs=0.3)


def test_a_record_is_json_and_says_what_it_is_of(planted, audited):
    record = audited.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["kind"], record["test"], record["n"]["X"]) == ("confounds", "test", VOICES)
    assert len(record["stimuli_sha256"]) == 64
    assert audit(planted).record == record  # the same bytes


def test_without_praat_the_rest_is_measured(planted, monkeypatch):
    monkeypatch.setattr(praat, "find_spec", lambda name: None)
    record = audit(planted).record
    assert record["left_out"] == ["rate", "f0_mean", "f0_range"]
    assert [c["name"] for c in record["covariates"]][:3] == ["duration", "pauses", "level"]
    assert record["praat"] is False


def test_clips_are_measured_once_and_damaged_files_again(planted, tmp_path, monkeypatch):
    check = check_audio([planted], sample_rate=RATE, min_samples=400)
    files = list(check.facts.values())[:4]
    heard = []

    def spy(path, *, crop=None):
        heard.append(path)
        return describe_clip(path, crop=crop)

    monkeypatch.setattr(clips_module, "describe_clip", spy)
    first = describe_clips([*files, replace(files[0], path=files[0].path)], cache=tmp_path)
    assert len(heard) == 4
    again = describe_clips(files, cache=tmp_path)
    assert (len(heard), again) == (4, first)
    kept = sorted(tmp_path.rglob("*.json"))
    kept[0].write_bytes(b"{")
    assert describe_clips(files, cache=tmp_path) == first
    assert len(heard) == 5
    assert describe_clips(files, cache=tmp_path, crop=0.5) != first  # another thing altogether
    assert not any(b"wav" in path.read_bytes() for path in kept)


def test_several_processes_give_the_same(planted):
    check = check_audio([planted], sample_rate=RATE, min_samples=400)
    files = list(check.facts.values())[:16]
    assert describe_clips(files, workers=2) == describe_clips(files)


def test_a_crop_is_of_the_middle(tmp_path):
    wave = np.concatenate([tone(120, seconds=0.5), 0.01 * tone(120, seconds=0.5), tone(120, seconds=0.5)])
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    whole, middle = describe_clip(tmp_path / "a.wav"), describe_clip(tmp_path / "a.wav", crop=0.4)
    assert (whole["duration"], middle["duration"]) == (1.5, 0.4)
    assert middle["level"] < whole["level"] - 30


def test_other_sample_rates_are_judged_at_the_models(tmp_path):
    high = 0.1 * np.random.default_rng(0).normal(size=44_100)
    soundfile.write(tmp_path / "a.wav", np.column_stack([high, high]), 44_100, subtype="FLOAT")
    found = describe_clip(tmp_path / "a.wav")
    assert found["duration"] == 1.0
    assert 7.5 < found["bandwidth"] < 8.0
