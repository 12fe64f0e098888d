"""States on disk are those that the encoder gives, whatever happened on the way."""

import numpy as np
import pytest

from probing import write_speech
from speechbias.checkpoint import load_encoder
from speechbias.errors import InputError
from speechbias.probe import states as station
from speechbias.probe.phones import PhoneSet
from speechbias.probe.splits import _Reader
from speechbias.probe.states import DATA, INDEX, in_bytes, open_states
from speechbias.probe.utterances import Opening, open_split


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    table = write_speech(tmp_path_factory.mktemp("speech"), count=7)
    return open_split("train", [str(table)], None, _Reader(PhoneSet(39), [], "drop"), Opening()).utterances


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("mel")


def filled(folder):
    (place,) = folder.iterdir()
    return place


@pytest.mark.parametrize("workers", [1, 3])
def test_cached_states_are_the_recomputed_ones(utterances, encoder, tmp_path, workers):
    cached = open_states(encoder, utterances, tmp_path / "a", cache=True, workers=workers)
    again = open_states(encoder, utterances, tmp_path / "b", cache=False, workers=workers)
    assert cached.frames.tolist() == again.frames.tolist()
    batch = cached.batch([4, 0, 6])
    assert batch.shape == (1, cached.frames[[4, 0, 6]].sum(), 80)
    assert np.array_equal(batch, again.batch([4, 0, 6]))
    assert not (filled(tmp_path / "b") / DATA).stat().st_size


def test_half_the_bytes_are_the_same_up_to_rounding(utterances, encoder, tmp_path):
    whole = open_states(encoder, utterances, tmp_path / "a", cache=True).batch(range(7))
    half = open_states(encoder, utterances, tmp_path / "b", cache=True, dtype="float16").batch(range(7))
    assert half.dtype == whole.dtype
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, rtol=2**-11)
    assert 2 * (filled(tmp_path / "b") / DATA).stat().st_size == (filled(tmp_path / "a") / DATA).stat().st_size


def test_what_float16_cannot_hold_is_refused(utterances, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(station, "compute", lambda *_: np.full((1, 2, 80), 1e6, np.float32))
    with pytest.raises(InputError, match=r'say-00.wav: a state is too large for float16; .*"float32"'):
        open_states(encoder, utterances, tmp_path, cache=True, dtype="float16")


def test_a_killed_cache_goes_on_behind_its_last_whole_utterance(utterances, encoder, tmp_path, monkeypatch):
    whole = open_states(encoder, utterances, tmp_path / "whole", cache=True).batch(range(7))
    real, made = station.compute, []

    def dying(encoder, utterance):
        made.append(utterance.key)
        if len(made) == 4:
            raise KeyboardInterrupt
        return real(encoder, utterance)

    monkeypatch.setattr(station, "compute", dying)
    monkeypatch.setattr(station, "AHEAD", 1)
    with pytest.raises(KeyboardInterrupt):
        open_states(encoder, utterances, tmp_path / "killed", cache=True)
    place = filled(tmp_path / "killed")
    with (place / DATA).open("ab") as data, (place / INDEX).open("ab") as index:
        data.write(b"half an utterance")
        index.write(b'["half a li')
    cached = open_states(encoder, utterances, tmp_path / "killed", cache=True)
    assert made[4:] == [each.key for each in utterances[3:]]
    assert np.array_equal(cached.batch(range(7)), whole)
    assert (place / DATA).read_bytes() == (filled(tmp_path / "whole") / DATA).read_bytes()
    monkeypatch.setattr(station, "compute", None)  # nothing is left to compute
    open_states(encoder, utterances, tmp_path / "killed", cache=True)


def test_damage_is_found(utterances, encoder, tmp_path):
    open_states(encoder, utterances, tmp_path, cache=True)
    place = filled(tmp_path)
    content = bytearray((place / DATA).read_bytes())
    content[-5] ^= 1
    (place / DATA).write_bytes(content)
    cached = open_states(encoder, utterances, tmp_path, cache=True)
    cached.batch([0])
    with pytest.raises(InputError, match="damaged"):
        cached.batch([6])
    (place / DATA).write_bytes(content[:-9])  # cut off: the last utterance is computed anew
    cached = open_states(encoder, utterances, tmp_path, cache=True)
    assert cached.batch([6]).isfinite().all()
    lines = (place / INDEX).read_bytes().splitlines(keepends=True)
    (place / INDEX).write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    assert np.array_equal(open_states(encoder, utterances, tmp_path, cache=True).batch([3]), cached.batch([3]))


def test_the_size_is_said_before_and_refused_where_there_is_no_room(utterances, encoder, tmp_path, monkeypatch):
    said = []
    states = open_states(encoder, utterances, tmp_path / "a", cache=True, say=said.append)
    assert len(said) == 1
    assert "states of 7 utterances" in said[0]
    size = (filled(tmp_path / "a") / DATA).stat().st_size
    assert size == states.frames.sum() * 80 * 4
    monkeypatch.setattr(station.shutil, "disk_usage", lambda _: type("", (), {"free": size // 2}))
    with pytest.raises(InputError, match=r"make room, or set .*float16.* or cache = false"):
        open_states(encoder, utterances, tmp_path / "b", cache=True)
    assert [in_bytes(n) for n in (5, 2_500, 3_000_000_000)] == ["5 B", "2.5 kB", "3 GB"]


def test_each_audio_is_computed_once_and_each_encoder_has_its_own_place(utterances, encoder, tmp_path):
    twice = (*utterances[:2], *utterances[:2])
    cached = open_states(encoder, twice, tmp_path, cache=True)
    assert len((filled(tmp_path) / INDEX).read_text().splitlines()) == 2
    assert np.array_equal(cached.batch([0, 1]), cached.batch([2, 3]))
    open_states(load_encoder("mfcc"), utterances[:2], tmp_path, cache=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_clip_too_short_for_a_frame_has_none(utterances, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(station, "read_audio", lambda *_: np.zeros(10, np.float32))
    states = open_states(encoder, utterances[:1], tmp_path, cache=True)
    assert states.frames.tolist() == [0]
    assert states.batch([0]).shape == (1, 0, 80)


def test_states_that_are_no_numbers_are_refused(utterances, tmp_path):
    encoder = load_encoder("mel")

    class Broken:
        def __getattr__(self, name):
            return getattr(encoder, name)

        def hidden_states(self, wave):
            return np.full((1, 3, 80), np.nan, np.float32)

    with pytest.raises(InputError, match=r"mel gives non-finite states for clips/say-00.wav"):
        open_states(Broken(), utterances, tmp_path, cache=True)
