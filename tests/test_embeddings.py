"""Embedding: order, once per file, workers, cache, degenerate vectors."""

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import soundfile

from recordings import RATE, read_rows, tone, write_csv, write_test
from speechbias.audio import inspect_audio, read_audio
from speechbias.embeddings import Cache, embed, pool
from speechbias.errors import InputError
from speechbias.stimuli import read_stimuli


@dataclasses.dataclass
class Bands:
    """An encoder of three states made from band energies; counts its calls."""

    name: str = "bands"
    family: str = "test"
    num_states: int = 3
    dim: int = 8
    sample_rate: int = RATE
    frame_shift: float = 0.02
    min_samples: int = 400
    states: str = "s3prl"
    dtype: str = "float32"
    recipe: dict = dataclasses.field(default_factory=lambda: {"bands": 8})
    sha256: str = "bands-1"
    value: float = 1.0
    pause: float = 0.0
    calls: Counter = dataclasses.field(default_factory=Counter)

    def pooled(self, wave):
        self.calls[len(wave)] += 1
        time.sleep(self.pause)
        energies = np.array([np.abs(np.fft.rfft(wave))[k::8].mean() for k in range(8)])
        return (self.value * np.stack([energies, energies**2, np.sqrt(energies)])).astype(np.float32)


def test_array_is_in_the_order_of_the_sets(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    encoder = Bands()
    embeddings = embed(encoder, stimuli)
    assert embeddings.array.shape == (24, 3, 8)
    for vector, clip in zip(embeddings.array, stimuli.X + stimuli.Y + stimuli.A + stimuli.B, strict=True):
        np.testing.assert_array_equal(vector, encoder.pooled(read_audio(clip.path, RATE)))
    assert [a.shape[0] for a in embeddings.sets().values()] == [6, 6, 6, 6]
    np.testing.assert_array_equal(embeddings.sets()["A"][2], embeddings.array[14])


def test_each_file_is_embedded_once(tmp_path):
    csv_path = write_test(tmp_path)
    rows = read_rows(csv_path)
    write_csv(csv_path, [*rows, rows[0]])  # the first clip of X twice
    encoder = Bands()
    embeddings = embed(encoder, read_stimuli(csv_path))
    assert sum(encoder.calls.values()) == 24
    np.testing.assert_array_equal(embeddings.array[0], embeddings.array[6])
    assert any("more than once" in warning for warning in embeddings.warnings)


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_change_nothing(tmp_path, workers):
    stimuli = read_stimuli(write_test(tmp_path))
    np.testing.assert_array_equal(embed(Bands(), stimuli, workers=workers).array, embed(Bands(), stimuli).array)


def test_workers_work_at_the_same_time(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    seen = []

    class Meeting(Bands):
        def pooled(self, wave):
            both.wait(timeout=30)  # breaks unless a second worker comes here too
            seen.append(threading.get_ident())
            return super().pooled(wave)

    both = threading.Barrier(2)
    embed(Meeting(), stimuli, workers=2)
    assert len(set(seen)) == 2


def test_cache_computes_nothing_twice(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    first, second = Bands(), Bands()
    a = embed(first, stimuli, cache=tmp_path / "cache")
    b = embed(second, stimuli, cache=tmp_path / "cache")
    assert sum(first.calls.values()) == 24
    assert not second.calls
    np.testing.assert_array_equal(a.array, b.array)


@pytest.mark.parametrize(
    "change", [{"sha256": "other"}, {"recipe": {"bands": 9}}, {"dtype": "bfloat16"}, {"states": "hf"}, {"family": "x"}]
)
def test_cache_distinguishes_what_changes_a_digit(tmp_path, change):
    stimuli = read_stimuli(write_test(tmp_path))
    embed(Bands(), stimuli, cache=tmp_path / "cache")
    changed = Bands(**change)
    embed(changed, stimuli, cache=tmp_path / "cache")
    assert sum(changed.calls.values()) == 24


def test_cache_knows_other_audio_under_the_same_name(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    before = embed(Bands(), stimuli, cache=tmp_path / "cache").array
    soundfile.write(stimuli.X[0].path, tone(400, seed=9), RATE)
    after = embed(Bands(), stimuli, cache=tmp_path / "cache").array
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1:], after[1:])


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_damaged_cache_is_computed_anew(tmp_path, damage):
    stimuli = read_stimuli(write_test(tmp_path))
    expected = embed(Bands(), stimuli, cache=tmp_path / "cache").array
    for stored in (tmp_path / "cache").rglob("*.npz"):
        content = stored.read_bytes()
        flipped = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        stored.write_bytes(flipped if damage is None else damage)
    again = Bands()
    np.testing.assert_array_equal(embed(again, stimuli, cache=tmp_path / "cache").array, expected)
    assert sum(again.calls.values()) == 24


def test_cache_holds_no_names(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    embed(Bands(), stimuli, cache=tmp_path / "cache")
    stored = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(stored) == 24
    assert not any(word in path.name for path in stored for word in ("gender", "X0", "clips"))


def _embed_slowly(csv_path, cache):
    embed(Bands(pause=0.05), read_stimuli(csv_path), cache=cache, workers=2)


def test_killed_work_goes_on(tmp_path):
    csv_path = write_test(tmp_path)
    cache = tmp_path / "cache"
    child = multiprocessing.get_context("fork").Process(target=_embed_slowly, args=(csv_path, cache))
    child.start()
    deadline = time.monotonic() + 30
    while len(list(cache.rglob("*.npz"))) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    done = len([path for path in cache.rglob("*.npz") if not path.name.startswith(".")])
    assert 5 <= done < 24
    encoder = Bands()
    resumed = embed(encoder, read_stimuli(csv_path), cache=cache)
    assert sum(encoder.calls.values()) == 24 - done
    np.testing.assert_array_equal(resumed.array, embed(Bands(), read_stimuli(csv_path)).array)


def test_two_processes_share_a_cache(tmp_path):
    csv_path = write_test(tmp_path)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_embed_slowly, args=(csv_path, tmp_path / "cache")) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    again = Bands()
    embed(again, read_stimuli(csv_path), cache=tmp_path / "cache")
    assert not again.calls


def test_non_finite_vectors_are_refused_by_name(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    with pytest.raises(InputError, match=r"bands gives non-finite values for .*gender-\w\d\.wav"):
        embed(Bands(value=float("nan")), stimuli)


def test_cache_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--cache"):
        Cache(tmp_path / "file", Bands())


def test_threads_of_torch_are_as_before(tmp_path):
    torch = pytest.importorskip("torch")
    files = [inspect_audio(clip.path) for clip in read_stimuli(write_test(tmp_path)).stimuli]
    before = torch.get_num_threads()

    class Threads(Bands):
        def pooled(self, wave):
            assert torch.get_num_threads() == 1
            return super().pooled(wave)

    pool(Threads(), files, workers=2)
    assert torch.get_num_threads() == before
