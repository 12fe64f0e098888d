"""Lengths from headers and parts of recordings, against decoding the whole file."""

import numpy as np
import pytest
import soundfile

from recordings import tone
from speechbias.audio import AudioError, inspect_audio, measure_length, read_audio, read_segment
from speechbias.audio.flac import ends_whole

FORMATS = [
    ("wav", "PCM_16"),
    ("wav", "FLOAT"),
    ("wav", "IMA_ADPCM"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("opus", "OPUS"),
    ("mp3", "MPEG_LAYER_III"),
    ("aiff", "PCM_16"),
]
RATE = 16_000


def write(path, subtype, *, rate=RATE, seconds=1.3, channels=1):
    wave = np.stack([tone(120 + 30 * c, seconds=seconds, seed=c) for c in range(channels)], axis=1)
    container = {"opus": "OGG"}.get(path.suffix[1:], path.suffix[1:].upper())
    soundfile.write(path, wave, rate, subtype=subtype, format=container)
    return path


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_length_is_that_of_the_wave(tmp_path, suffix, subtype, rate):
    path = write(tmp_path / f"a.{suffix}", subtype, rate=rate)
    assert measure_length(path, RATE) == len(read_audio(path, RATE))


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_segment_is_a_part_of_the_wave(tmp_path, suffix, subtype, rate, channels):
    path = write(tmp_path / f"a.{suffix}", subtype, rate=rate, channels=channels)
    whole = read_audio(path, RATE)
    for start, stop in [(0, len(whole)), (0, 500), (3201, 7000), (len(whole) - 1, len(whole)), (10, 10)]:
        found = read_segment(path, RATE, start, stop)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, whole[start:stop])


@pytest.mark.parametrize("seconds", [0.01, 0.256, 1.3, 9.0])
@pytest.mark.parametrize(("subtype", "rate"), [("PCM_16", 16_000), ("PCM_24", 44_100), ("PCM_S8", 7_350)])
def test_flac_is_told_whole_by_its_last_frame(tmp_path, seconds, subtype, rate, monkeypatch):
    path = write(tmp_path / "a.flac", subtype, rate=rate, seconds=seconds)
    assert ends_whole(path, inspect_audio(path).frames)
    data = path.read_bytes()
    for cut in (1, 2, len(data) // 3):
        path.write_bytes(data[:-cut])
        assert not ends_whole(path, soundfile.info(path).frames)
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    assert not ends_whole(path, soundfile.info(path).frames)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("flac", "PCM_16"), ("opus", "OPUS")])
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_a_file_that_was_cut_has_no_length_and_no_end(tmp_path, suffix, subtype, kept):
    path = write(tmp_path / f"a.{suffix}", subtype)
    length, data = measure_length(path, RATE), path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(AudioError, match=r"a.\w+ is truncated"):
        measure_length(path, RATE)
    with pytest.raises(AudioError, match=r"a.\w+ (is truncated|ends after)"):
        read_segment(path, RATE, 0, length)
    with pytest.raises(AudioError, match=r"a.\w+ (is truncated|ends after)"):
        read_segment(path, RATE, length - 10, length)


def test_what_cannot_be_read_is_named(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    (tmp_path / "text.wav").write_text("no audio at all")
    for name, why in [("empty", "has no samples"), ("text", "is not audio"), ("none", "does not exist")]:
        with pytest.raises(AudioError, match=why):
            measure_length(tmp_path / f"{name}.wav", RATE)
    for name, why in [("empty", "ends after 0 samples"), ("text", "is not audio"), ("none", "does not exist")]:
        with pytest.raises(AudioError, match=why):
            read_segment(tmp_path / f"{name}.wav", RATE, 0, 100)


def test_silence_is_a_part_as_any_other_and_nan_is_not(tmp_path):
    wave = np.zeros(1000, np.float32)
    wave[900] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    assert not read_segment(tmp_path / "a.wav", RATE, 0, 800).any()
    with pytest.raises(AudioError, match="NaN"):
        read_segment(tmp_path / "a.wav", RATE, 800, 1000)


def test_real_opus(shared):
    for path in sorted((shared / "data" / "pool" / "audio").iterdir())[::300]:
        whole = read_audio(path, RATE)
        assert measure_length(path, RATE) == len(whole)
        np.testing.assert_array_equal(read_segment(path, RATE, 5000, 9000), whole[5000:9000])
