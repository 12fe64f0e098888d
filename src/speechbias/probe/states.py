"""Hidden states of every utterance, computed once and mapped from disk, since the encoder is frozen; or each time.

A cache is a folder for one encoder: ``states.bin``, utterance after utterance, each (states, frames, dim), and
``index.jsonl``, a line per utterance behind its states: SHA-256 of the audio, offset in bytes, frames, CRC-32. So a
killed run goes on behind the last whole line. Equal audio is stored once. Another encoder, convention of states or
precision has another folder.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.audio import read_audio
from speechbias.embeddings import Model, library_versions, single_threaded
from speechbias.encoder import Encoder
from speechbias.encoder import States as Array
from speechbias.errors import InputError, naming
from speechbias.models.config import SAMPLE_RATE
from speechbias.probe.utterances import Utterance
from speechbias.progress import Progress

DATA, INDEX = "states.bin", "index.jsonl"
AHEAD = 4  # utterances per worker that are computed before they are written


class States(Protocol):
    """The states of a list of utterances, by their number in it."""

    frames: NDArray[np.int64]  # of each utterance

    def batch(self, rows: Sequence[int]) -> Tensor:
        """Float32 states of some utterances, one behind another: (states, frames of all, dim)."""


@dataclass(frozen=True)
class Entry:
    """Where the states of one audio lie."""

    offset: int  # bytes
    frames: int
    crc32: int


def compute(encoder: Encoder, utterance: Utterance) -> Array:
    """All states of one utterance, (states, frames, dim); no frames where it is too short for one. InputError."""
    wave = read_audio(utterance.path, encoder.sample_rate)
    if len(wave) < encoder.min_samples:
        return np.zeros((encoder.num_states, 0, encoder.dim), np.float32)
    states = encoder.hidden_states(wave)
    if not np.isfinite(states).all():
        raise InputError(f"{encoder.name} gives non-finite states for {utterance.key}; check the checkpoint")
    return states


class Recomputed:
    """States computed when they are asked for: no disk, one batch in memory, an encoder's time in every epoch."""

    def __init__(self, encoder: Encoder, utterances: Sequence[Utterance], frames: NDArray[np.int64]) -> None:
        self.encoder, self.utterances, self.frames = encoder, utterances, frames

    def batch(self, rows: Sequence[int]) -> Tensor:
        """One utterance after another, on one core each, as a cache has them."""
        with single_threaded():
            parts = [compute(self.encoder, self.utterances[row]) for row in rows]
        return torch.from_numpy(np.concatenate(parts, axis=1))


class Cached:
    """States mapped from a cache; each utterance is compared with its CRC when it is first read."""

    def __init__(self, folder: Path, entries: Sequence[Entry], shape: tuple[int, int], dtype: str) -> None:
        self.path, self.entries, self.shape = folder / DATA, entries, shape
        self.frames = np.array([each.frames for each in entries], np.int64)
        self.dtype = np.dtype(dtype)
        self.data = np.memmap(self.path, self.dtype, "r") if self.path.stat().st_size else np.zeros(0, self.dtype)
        self.checked: set[int] = set()  # offsets

    def batch(self, rows: Sequence[int]) -> Tensor:
        """Copied from the mapped file as float32."""
        parts = [self._read(self.entries[row]) for row in rows]
        return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32))

    def _read(self, entry: Entry) -> NDArray[np.floating]:
        states, dim = self.shape
        start = entry.offset // self.dtype.itemsize
        values = self.data[start : start + states * entry.frames * dim]
        if entry.offset not in self.checked:
            if zlib.crc32(values.data) != entry.crc32:
                raise InputError(f"{self.path} is damaged; remove its folder, and go on with --resume")
            self.checked.add(entry.offset)
        return values.reshape(states, entry.frames, dim)


def open_states(
    encoder: Encoder,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    cache: bool,
    dtype: str = "float32",
    workers: int = 1,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> States:
    """The states of utterances, those that ``folder`` does not hold computed first, ``workers`` at a time.

    Without ``cache`` it holds how many frames each has, for which all are computed once. ``say`` is told how large
    the cache becomes; InputError where the disk has no room for it, OSError where it is full all the same.
    """
    place = folder / _key(encoder, dtype if cache else "frames")
    place.mkdir(parents=True, exist_ok=True)
    todo = {each.sha256: each for each in utterances}
    with (place / DATA).open("ab"):
        pass
    itemsize = np.dtype(dtype).itemsize if cache else 0
    known = _read_index(place, encoder.num_states * encoder.dim * itemsize)
    todo = {sha256: each for sha256, each in todo.items() if sha256 not in known}
    if todo:
        if cache:
            _check_room(encoder, list(todo.values()), place, itemsize, say)
        kept = dtype if cache else None
        known |= _fill(encoder, todo, place, dtype=kept, workers=workers, progress=progress)
    entries = [known[each.sha256] for each in utterances]
    if not cache:
        return Recomputed(encoder, utterances, np.array([each.frames for each in entries], np.int64))
    return Cached(place, entries, (encoder.num_states, encoder.dim), dtype)


def _key(encoder: Encoder, kept: str) -> str:
    """Of everything that fixes a digit of the states, and how they are kept."""
    model = Model.of(encoder)
    said = [model.sha256, model.family, model.states, model.dtype, dict(model.recipe), library_versions(), kept]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _read_index(place: Path, frame_bytes: int) -> dict[str, Entry]:
    """What lies there whole, in order; what a killed run left behind it, and what does not follow, is cut off."""
    known: dict[str, Entry] = {}
    size, end, kept = (place / DATA).stat().st_size, 0, 0
    path = place / INDEX
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            sha256, offset, frames, crc32 = json.loads(line)
            whole = line.endswith(b"\n") and offset == end and frames >= 0 and offset + frames * frame_bytes <= size
        except (ValueError, TypeError, RecursionError):
            break
        if not whole or not isinstance(sha256, str):
            break
        known[sha256] = Entry(offset, frames, crc32)
        end, kept = offset + frames * frame_bytes, kept + len(line)
    os.truncate(place / DATA, end)
    if path.exists():
        os.truncate(path, kept)
    return known


def _check_room(
    encoder: Encoder, todo: Sequence[Utterance], place: Path, itemsize: int, say: Callable[[str], None]
) -> None:
    seconds = sum(each.samples for each in todo) / SAMPLE_RATE
    needed = int(seconds / encoder.frame_shift) * encoder.num_states * encoder.dim * itemsize
    free = shutil.disk_usage(place).free
    size = f"{encoder.name}: states of {len(todo)} utterances ({seconds / 60:.0f} min) take {in_bytes(needed)} of disk"
    if needed > free:
        raise InputError(
            f'{size}, and {place} has {in_bytes(free)}; make room, or set cache_dtype = "float16" or cache = false'
        )
    say(f"{size}, in {place}")


def in_bytes(count: int) -> str:
    """In the unit that leaves a number from 1 to 1000."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007
        if size < 1000:
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _fill(
    encoder: Encoder,
    todo: Mapping[str, Utterance],
    place: Path,
    *,
    dtype: str | None,
    workers: int,
    progress: bool,
) -> Iterator[tuple[str, Entry]]:
    """Compute and append, utterance by utterance; ``dtype`` None: only how many frames there are."""
    total = sum(each.samples for each in todo.values()) / SAMPLE_RATE
    bar = Progress(encoder.name, total, shown=progress)
    with (
        naming(place / DATA),
        (place / DATA).open("ab") as data,
        (place / INDEX).open("ab") as index,
        bar,
        single_threaded(),
    ):
        for utterance, states in _computed(encoder, list(todo.values()), workers):
            entry = _append(data, states, dtype, f"{encoder.name}: {utterance.key}")
            line = json.dumps([utterance.sha256, entry.offset, entry.frames, entry.crc32]) + "\n"
            index.write(line.encode())
            index.flush()
            yield utterance.sha256, entry
            bar.advance(utterance.samples / SAMPLE_RATE)


def _computed(encoder: Encoder, items: Sequence[Utterance], workers: int) -> Iterator[tuple[Utterance, Array]]:
    """In order. Threads: torch and numpy release the interpreter lock in their kernels."""
    with ThreadPoolExecutor(workers) as threads:
        try:
            for start in range(0, len(items), AHEAD * workers):
                chunk = items[start : start + AHEAD * workers]
                yield from zip(chunk, threads.map(lambda each: compute(encoder, each), chunk), strict=True)
        finally:
            threads.shutdown(cancel_futures=True)


def _append(data: BinaryIO, states: Array, dtype: str | None, where: str) -> Entry:
    if dtype is None:
        return Entry(0, states.shape[1], 0)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(states, dtype)
    if not np.isfinite(values).all():
        raise InputError(f'{where}: a state is too large for {dtype}; set [probe] cache_dtype = "float32"')
    offset = data.tell()
    content = values.tobytes()
    data.write(content)
    data.flush()
    return Entry(offset, states.shape[1], zlib.crc32(content))
