"""Audio: every kind of file that is read, and every kind that is refused."""

import dataclasses
import hashlib
import pickle
import struct

import numpy as np
import pytest
import soundfile

from speechbias.audio import AudioError, count_samples, inspect_audio, mpeg, read_audio
from speechbias.errors import InputError

RATE = 16_000
FORMATS = {
    "a.wav": {},
    "a.flac": {},
    "a.mp3": {},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
}
MP3_MODES = ("CONSTANT", "AVERAGE", "VARIABLE")
CUTS = (10, 25, 37, 50, 75, 90, 95, 99)


def speech(seconds=1.0, rate=RATE, level=0.3):
    """Something with a pitch, syllables and noise, so that frames of a variable bit rate differ in length."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    loud = (np.sin(2 * np.pi * 2 * t) > 0) + 0.02
    return (level * loud * (np.sin(2 * np.pi * 150 * t) + 0.1 * noise) / 1.5).astype(np.float32)


def write(path, samples=None, rate=RATE, **options):
    soundfile.write(path, speech(rate=rate) if samples is None else samples, rate, **options)
    return path


def write_mp3(path, mode="CONSTANT", seconds=3.0, level=0.5, **options):
    write(path, speech(seconds), format="MP3", bitrate_mode=mode, compression_level=level, **options)
    return path.read_bytes()


def first_frame(data):
    """Length of the first frame, found without the module's table: where the next frame's first two bytes stand."""
    return next(n for n in range(20, len(data)) if data[n : n + 2] == data[:2] and data[n + 2] >> 4 not in (0, 15))


def refusal(path, data=None):
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        inspect_audio(path)
    with pytest.raises(AudioError):
        read_audio(path, RATE)
    return str(caught.value)


# ---- What is read ----


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path, name):
    path = write(tmp_path / name, **FORMATS[name])
    wave, facts = read_audio(path, RATE), inspect_audio(path)
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert len(wave) == facts.frames == RATE
    assert (facts.seconds, facts.sample_rate, facts.channels, facts.clipped) == (1.0, RATE, 1, False)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.corrcoef(wave, speech())[0, 1] > 0.9
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.seconds = 2.0


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([speech(), 0.25 * speech()[::-1]], axis=1)
    wave = read_audio(write(tmp_path / "a.wav", stereo, subtype="FLOAT"), RATE)
    expected = [(float(left) + float(right)) / 2 for left, right in stereo]
    np.testing.assert_allclose(wave, expected, atol=1e-7)
    assert inspect_audio(tmp_path / "a.wav").channels == 2


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_pitch_and_length(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    path = write(tmp_path / "a.wav", tone, rate)
    wave = read_audio(path, RATE)
    assert len(wave) == count_samples(inspect_audio(path), RATE)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(wave[500:-500], expected[500 : len(wave) - 500], atol=1e-3)


def test_the_number_of_samples_is_known_before(tmp_path):
    for rate in (8_000, 11_025, 22_050, 32_000, 44_100, 48_000):
        for length in (2, 199, 200, 201, 400, 401, 1103, 4410):
            path = write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, length), rate)
            assert len(read_audio(path, RATE)) == count_samples(inspect_audio(path), RATE)


def test_resampling_removes_what_would_alias(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000)  # would fold to 4 kHz
    assert np.abs(read_audio(write(tmp_path / "a.wav", tone, 48_000), RATE)[500:-500]).max() < 1e-4


@pytest.mark.parametrize("mode", MP3_MODES)
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_whole_mp3_is_never_refused(tmp_path, mode, rate):
    for level in (0.0, 0.5, 0.9):
        for seconds in (0.02, 0.5, 2.2):
            samples = speech(seconds, rate)
            path = tmp_path / f"{level}-{seconds}.mp3"
            write(path, samples, rate, format="MP3", bitrate_mode=mode, compression_level=level)
            length = inspect_audio(path).frames
            assert len(samples) <= length <= len(samples) + 3 * 1152  # longer without a header


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus"])
def test_name_of_the_file_does_not_matter(tmp_path, name):
    data = write(tmp_path / name, **FORMATS[name]).read_bytes()
    (tmp_path / "clip").write_bytes(data)
    assert inspect_audio(tmp_path / "clip").frames == RATE


def test_streamed_wav_and_flac_with_unknown_length(tmp_path):
    wav = bytearray(write(tmp_path / "a.wav").read_bytes())
    at = wav.index(b"data") + 4
    wav[at : at + 4] = wav[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "pipe.wav").write_bytes(wav)
    assert inspect_audio(tmp_path / "pipe.wav").frames == RATE
    flac = bytearray(write(tmp_path / "a.flac").read_bytes())
    flac[21] &= 0xF0  # STREAMINFO: 36 bits of total samples
    flac[22:26] = bytes(4)
    (tmp_path / "pipe.flac").write_bytes(flac)
    assert inspect_audio(tmp_path / "pipe.flac").frames == RATE
    assert len(read_audio(tmp_path / "pipe.flac", RATE)) == RATE
    assert "truncated" in refusal(tmp_path / "cut.flac", bytes(flac[: len(flac) // 2]))


def test_rf64_and_extra_chunks(tmp_path):
    path = write(tmp_path / "a.wav", format="RF64")
    data = path.read_bytes()
    assert data[:4] == b"RF64" or data[:4] == b"RIFF"
    assert inspect_audio(path).frames == RATE
    assert "truncated" in refusal(tmp_path / "cut.wav", data[: len(data) // 2])
    wav = write(tmp_path / "b.wav").read_bytes()
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # odd size: padded to even
    (tmp_path / "b.wav").write_bytes(wav[:12] + extra + wav[12:] + extra)
    assert inspect_audio(tmp_path / "b.wav").frames == RATE


# ---- mp3 in detail ----


def test_frame_lengths():
    assert mpeg._frame_length(0xFFFB9064) == 417  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 144 * 128000 / 44100
    assert mpeg._frame_length(0xFFFB9264) == 418  # padded
    assert mpeg._frame_length(0xFFF388C4) == 288  # MPEG-2 layer III, 64 kbit/s, 16 kHz: 72 * 64000 / 16000
    assert mpeg._frame_length(0xFFE388C4) == 576  # MPEG-2.5, 8 kHz
    assert mpeg._frame_length(0xFFFDA404) == 576  # MPEG-1 layer II, 192 kbit/s, 48 kHz
    assert mpeg._frame_length(0xFFFFC400) == 384  # MPEG-1 layer I, 384 kbit/s, 48 kHz: 12 * 384000 / 48000 * 4
    for no_header in (0, 0xFFFB0064, 0xFFFBF064, 0xFFFB9C64, 0xFFEB9064, 0xFFF99064 & ~0x60000, 0x7FFB9064):
        assert mpeg._frame_length(no_header) is None


@pytest.mark.parametrize("mode", MP3_MODES)
def test_mp3_without_length_is_decoded_to_its_end(tmp_path, mode):
    """libsndfile alone guesses: with a variable bit rate it hands out a part."""
    with_header = write_mp3(tmp_path / "a.mp3", mode)
    bare = with_header[first_frame(with_header) :]
    (tmp_path / "bare.mp3").write_bytes(bare)
    frames = len(mpeg._walk_frames(bare).starts)
    assert 576 * (frames - 1) < inspect_audio(tmp_path / "bare.mp3").frames <= 576 * frames
    wave, expected = read_audio(tmp_path / "bare.mp3", RATE), read_audio(tmp_path / "a.mp3", RATE)
    delay = np.correlate(wave, expected[:-2000], "valid").argmax()
    np.testing.assert_allclose(wave[delay + 2000 : delay + 40_000], expected[2000:40_000], atol=1e-3)


@pytest.mark.parametrize("mode", MP3_MODES)
@pytest.mark.parametrize("header", [True, False])
def test_truncated_mp3(tmp_path, mode, header):
    data = write_mp3(tmp_path / "a.mp3", mode)
    if not header:
        data = data[first_frame(data) :]
    boundaries = mpeg._walk_frames(data).starts
    for percent in CUTS:
        cut = len(data) * percent // 100
        cut += 5 if cut in boundaries else 0  # without a header nothing shows that a frame more once followed
        message = refusal(tmp_path / "cut.mp3", data[:cut])
        assert "cut.mp3 is truncated: " in message
        assert message.endswith("Copy or download it again.")


def test_every_cut_between_frames_shows_against_the_header(tmp_path):
    data = write_mp3(tmp_path / "a.mp3", seconds=0.5)
    starts = mpeg._walk_frames(data).starts
    for cut in starts[2:]:
        assert "mp3 frames" in refusal(tmp_path / "cut.mp3", data[:cut])


def id3v2(payload):
    size = len(payload)
    return b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + payload


ID3V1 = b"TAG" + bytes(125)
ITEM = struct.pack("<II", 3, 0) + b"Title\0abc"
APE = b"".join(
    b"APETAGEX" + struct.pack("<IIII", 2000, len(ITEM) + 32, 1, flags) + bytes(8) + item
    for flags, item in ((0xA0000000, ITEM), (0x80000000, b""))
)
LYRICS = b"LYRICSBEGININD0000200" + b"000021LYRICS200"
TAGS = {
    "id3v1": (b"", ID3V1),
    "id3v2": (id3v2(b"TIT2" + b"\xff\xfb\x90\x64" * 50), b""),
    "two id3v2": (id3v2(bytes(300)) + id3v2(bytes(20)), b""),
    "ape": (b"", APE),
    "ape and id3v1": (b"", APE + ID3V1),
    "lyrics": (b"", LYRICS + ID3V1),
    "zeros": (bytes(100), bytes(3000)),
    "rubbish": (b"", b"\xff\xd8\xff\xe0 rubbish \xff" * 20),
}


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("header", [True, False])
def test_tags_around_an_mp3(tmp_path, tags, header, capfd):
    data = write_mp3(tmp_path / "plain.mp3", "VARIABLE")
    data = data if header else data[first_frame(data) :]
    (tmp_path / "plain.mp3").write_bytes(data)
    before, after = TAGS[tags]
    (tmp_path / "tagged.mp3").write_bytes(before + data + after)
    plain, tagged = read_audio(tmp_path / "plain.mp3", RATE), read_audio(tmp_path / "tagged.mp3", RATE)
    np.testing.assert_array_equal(plain, tagged)
    for percent in (20, 60, 97):
        assert "truncated" in refusal(tmp_path / "cut.mp3", before + data[: len(data) * percent // 100])
        if tags in ("id3v1", "ape", "ape and id3v1", "lyrics"):  # a tagger has worked on the stump
            assert "truncated" in refusal(tmp_path / "cut.mp3", before + data[: len(data) * percent // 100] + after)
    assert capfd.readouterr().err == ""  # libmpg123 writes its remarks there


def test_mp3_cut_within_its_tag(tmp_path):
    tag = id3v2(bytes(5000))
    assert "ID3" in refusal(tmp_path / "a.mp3", tag[:900])


def test_two_mp3_in_a_row_are_read_to_the_end(tmp_path):
    data = write_mp3(tmp_path / "a.mp3", seconds=1.0)
    (tmp_path / "two.mp3").write_bytes(data + data)
    assert inspect_audio(tmp_path / "two.mp3").seconds > 1.9


def vbri(frames, size):
    """An MPEG-2 layer III frame of 64 kbit/s at 16 kHz with a VBRI header."""
    body = bytes(32) + b"VBRI" + struct.pack(">HHHII", 1, 0, 75, size, frames)
    return (struct.pack(">I", 0xFFF388C4) + body).ljust(288, b"\0")


def test_vbri_header(tmp_path):
    data = write_mp3(tmp_path / "a.mp3", seconds=1.0)
    bare = data[first_frame(data) :]
    frames = len(mpeg._walk_frames(bare).starts)
    whole = vbri(frames, 288 + len(bare)) + bare
    (tmp_path / "v.mp3").write_bytes(whole)
    assert inspect_audio(tmp_path / "v.mp3").seconds > 0.9
    (tmp_path / "own.mp3").write_bytes(vbri(frames + 1, 288 + len(bare)) + bare)  # a writer that counts the header
    assert inspect_audio(tmp_path / "own.mp3").seconds > 0.9
    assert f"announces {frames} mp3 frames" in refusal(tmp_path / "cut.mp3", whole[: len(whole) // 2])


def test_header_without_bytes_allows_one_frame_of_doubt(tmp_path):
    """Some writers count the header's own frame: one frame less is then no proof, two are."""
    data = write_mp3(tmp_path / "a.mp3", seconds=1.0)
    starts = mpeg._walk_frames(data).starts[1:]
    announced = mpeg._announce(data, starts)
    ends = mpeg._walk_frames(announced).starts
    for cut in (len(announced), ends[-1]):
        (tmp_path / "b.mp3").write_bytes(announced[:cut])
        assert inspect_audio(tmp_path / "b.mp3").seconds > 0.9
    assert "truncated" in refusal(tmp_path / "b.mp3", announced[: ends[-2]])
    assert "truncated" in refusal(tmp_path / "b.mp3", announced[: ends[-1] + 9])


# ---- What is refused ----


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.ogg", "a.opus"])
def test_truncated(tmp_path, name):
    data = write(tmp_path / name, speech(3.0), **FORMATS[name]).read_bytes()
    for percent in CUTS:
        assert "is truncated: " in refusal(tmp_path / f"cut-{name}", data[: len(data) * percent // 100])


def test_ogg_without_its_last_page(tmp_path):
    data = write(tmp_path / "a.ogg", speech(5.0)).read_bytes()
    assert data.count(b"OggS") > 3
    assert "last ogg page is missing" in refusal(tmp_path / "a.ogg", data[: data.rindex(b"OggS")])


@pytest.mark.parametrize("size", [9, 12, 20, 40])
def test_wav_without_samples_chunk(tmp_path, size):
    assert inspect_audio(write(tmp_path / "a.wav")).frames
    refusal(tmp_path / "a.wav", (tmp_path / "a.wav").read_bytes()[:size])


def test_flac_that_announces_more(tmp_path):
    flac = bytearray(write(tmp_path / "a.flac").read_bytes())
    flac[22:26] = struct.pack(">I", RATE + 5000)
    assert "truncated" in refusal(tmp_path / "a.flac", bytes(flac))


def test_no_file(tmp_path):
    assert "does not exist. Correct the path." in refusal(tmp_path / "none.wav")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello, I am no audio", b"\xff\xfb", b"\xff\xd8\xff\xe0" * 50, bytes(1000)])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac"])
def test_not_audio(tmp_path, name, data, capfd):
    message = refusal(tmp_path / name, data)
    assert "is empty" in message if not data else "not audio" in message
    assert capfd.readouterr().err == ""


def test_no_samples(tmp_path):
    assert refusal(write(tmp_path / "a.wav", np.zeros(0))).endswith("a.wav has no samples.")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    samples = speech()
    samples[77] = value
    assert "NaN or infinite" in refusal(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


@pytest.mark.parametrize("name", FORMATS)
def test_digital_silence(tmp_path, name):
    assert "is digital silence" in refusal(write(tmp_path / name, np.zeros(RATE), **FORMATS[name]))


def test_constant_and_cancelling_channels(tmp_path):
    assert "is digital silence" in refusal(write(tmp_path / "a.wav", np.full(RATE, 0.25)))
    both = np.stack([speech(), -speech()], axis=1)
    assert "channels cancel" in refusal(write(tmp_path / "b.wav", both, subtype="FLOAT"))
    assert "channels cancel" in refusal(write(tmp_path / "c.mp3", both))
    assert inspect_audio(write(tmp_path / "quiet.wav", 1e-4 * speech())).frames == RATE


def test_errors_are_input_errors_with_their_parts(tmp_path):
    with pytest.raises(InputError) as caught:
        inspect_audio(str(tmp_path / "none.wav"))
    error = caught.value
    assert (error.path, error.why, error.remedy) == (tmp_path / "none.wav", "does not exist", "Correct the path")
    assert error.problems == (str(error),)
    assert isinstance(error, ValueError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.why) == (str(error), error.why)


# ---- Clipping ----


def longest_run(samples):
    """The definition, sample by sample."""
    longest = run = 0
    for value in samples:
        run = run + 1 if abs(value) >= 0.999 else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.02, 1.5, 4.0])
def test_clipping(tmp_path, gain):
    normalised = speech() / np.abs(speech()).max()
    samples = np.clip(gain * normalised, -1, 32767 / 32768)
    facts = inspect_audio(write(tmp_path / "a.wav", samples))
    assert facts.clipped == (longest_run(samples) >= 3)
    assert facts.clipped == (gain >= 1.5)


def test_clipping_in_one_channel_and_by_runs_of_three(tmp_path):
    for run, clipped in ((2, False), (3, True)):
        samples = np.stack([speech(), speech()], axis=1)
        samples[500 : 500 + run, 1] = -1
        samples[900 : 900 + run - 1, 0] = 1
        assert inspect_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT")).clipped == clipped
    assert not inspect_audio(write(tmp_path / "b.wav", np.array([1.0, -1.0]), subtype="FLOAT")).clipped


def test_real_recordings_are_not_refused(shared):
    for folder in ("speech", "pool"):
        files = sorted((shared / "data" / folder / "audio").iterdir())[::25]
        assert all(0 < inspect_audio(path).seconds < 60 for path in files)
