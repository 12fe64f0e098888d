"""A corpus as columns: a row per utterance, small enough for a quarter of a million of them (960 h) and more.

Strings stand in one byte buffer with offsets, numbers in arrays: some 100 bytes per utterance, shared by workers,
where lists of Python objects take ten times as much. Lengths are samples at 16 kHz.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import Member
from speechbias.errors import InputError, os_reason
from speechbias.models.config import SAMPLE_RATE
from speechbias.results import write_whole

SCHEMA = 2
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Strings:
    """Many strings: string i is ``buffer[offsets[i] : offsets[i + 1]]``, UTF-8."""

    buffer: NDArray[np.uint8]
    offsets: Numbers

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Strings":
        """Put strings together."""
        encoded = [string.encode(errors="surrogateescape") for string in strings]  # names of files may be any bytes
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def concatenate(cls, parts: Sequence["Strings"]) -> "Strings":
        """Several columns, one after another."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(np.concatenate([part.buffer for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        start, stop = self.offsets[index], self.offsets[index + 1]
        return self.buffer[start:stop].tobytes().decode(errors="surrogateescape")

    def select(self, rows: Numbers) -> "Strings":
        """Some of them, in this order."""
        starts, lengths = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Strings(self.buffer[source], offsets)


@dataclass(frozen=True)
class Unreadable:
    """What was left out: ``row`` is a file's place in what the sources list, all of them counted.

    None for what is no recording: a folder or a file of transcripts that cannot be read.
    """

    name: str
    why: str  # a predicate: "is digital silence"
    row: int | None


@dataclass(frozen=True, eq=False)
class Places:
    """Where in a tar the audio of each row lies: offsets and sizes in bytes, CRC-32 of the bytes."""

    offsets: Numbers
    sizes: Numbers
    crc32: NDArray[np.uint32]

    def select(self, rows: Numbers) -> "Places":
        """Some rows, in this order."""
        return Places(self.offsets[rows], self.sizes[rows], self.crc32[rows])

    @classmethod
    def concatenate(cls, parts: Sequence["Places"]) -> "Places":
        """Several columns, one after another."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*map(np.concatenate, columns))


@dataclass(frozen=True, eq=False)
class Manifest:
    """Utterances in the order of their sources.

    ``keys`` are paths as the source writes them, ``folders[folder[i]]`` is where row i's path starts from;
    ``transcripts`` and ``speakers`` are blank where unknown. ``unreadable`` lists what a scan left out. Where there
    are ``places``, the "folders" are tars (``training.shards``).
    """

    keys: Strings
    folders: tuple[str, ...]
    folder: NDArray[np.int32]
    num_samples: Numbers
    transcripts: Strings
    speakers: Strings
    unreadable: tuple[Unreadable, ...] = ()
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.num_samples)

    def key(self, row: int) -> str:
        """Name of an utterance, which does not change when the corpus moves: its path as the source writes it."""
        return self.keys[row]

    def stream(self, row: int) -> str:
        """By what the random choices of an utterance are named: its key, and told apart where several have that.

        The n-th further utterance of one key (of another source, say) is ``~n/key``, counted in the order of the
        sources: it survives a move of the corpus, and a corpus without such doubles knows nothing of it.
        """
        key, further = self.keys[row], self.doubles.get(row, 0)
        return f"~{further}/{key}" if further else key

    @cached_property
    def doubles(self) -> Mapping[int, int]:
        """Rows whose key another row before them has, and how many have it before them."""
        if len(self.folders) == 1 and self.places is None:
            return {}
        hashes = np.fromiter((hash(self.keys[row]) for row in range(len(self))), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        equal = np.flatnonzero(np.diff(hashes[order]) == 0)
        found, seen = dict[int, int](), Counter[str]()
        for row in np.unique(order[[equal, equal + 1]]).tolist():  # in order; some may be equal in their hashes alone
            key = self.keys[row]
            found |= {row: seen[key]} if seen[key] else {}
            seen[key] += 1
        return found

    def path(self, row: int) -> Path | Member:
        """Where the audio lies."""
        folder, key = Path(self.folders[self.folder[row]]), self.keys[row]
        if self.places is None:
            return folder / key
        offset, size, crc32 = (int(column[row]) for column in vars(self.places).values())
        return Member(folder, key, offset, size, crc32)

    @property
    def listed(self) -> int:
        """How many rows the sources list, those that were left out included."""
        return len(self) + len(self.left_out)

    @property
    def left_out(self) -> Numbers:
        """Which of the listed rows are not here, in order."""
        return np.array([each.row for each in self.unreadable if each.row is not None], np.int64)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Length of every utterance."""
        return self.num_samples / SAMPLE_RATE

    @cached_property
    def sha256(self) -> str:
        """Identity of the rows: keys and lengths, in order."""
        digest = hashlib.sha256()
        for column in (self.keys.buffer, self.keys.offsets, self.num_samples):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def select(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> "Manifest":
        """Some rows, in this order."""
        chosen = np.asarray(rows, np.int64)
        columns = (self.keys, self.transcripts, self.speakers)
        keys, transcripts, speakers = (column.select(chosen) for column in columns)
        return Manifest(
            keys,
            self.folders,
            self.folder[chosen],
            self.num_samples[chosen],
            transcripts,
            speakers,
            unreadable=self.unreadable,
            places=None if self.places is None else self.places.select(chosen),
        )

    def save(self, path: str | Path) -> None:
        """Write one ``.npz``, whole or not at all."""
        meta = {
            "schema": SCHEMA,
            "folders": self.folders,
            "unreadable": [[u.name, u.why, u.row] for u in self.unreadable],
        }
        arrays: dict[str, NDArray[Any]] = {"folder": self.folder, "num_samples": self.num_samples}
        for name in ("keys", "transcripts", "speakers"):
            column: Strings = getattr(self, name)
            arrays |= {name: column.buffer, f"{name}_offsets": column.offsets}
        arrays |= {} if self.places is None else vars(self.places)
        buffer = io.BytesIO()
        meta_bytes = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        np.savez(buffer, allow_pickle=False, meta=meta_bytes, **arrays)
        write_whole(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "Manifest":
        """Read what ``save`` wrote; InputError for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                meta = json.loads(file["meta"].tobytes())
                names = ("keys", "transcripts", "speakers")
                strings = [Strings(file[name], file[f"{name}_offsets"]) for name in names]
                folder, num_samples = file["folder"], file["num_samples"]
                columns = [file[field.name] for field in fields(Places) if field.name in file]
                schema, folders = meta.get("schema"), tuple(meta.get("folders", ()))
                unreadable = tuple(Unreadable(*one) for one in meta.get("unreadable", ()))
        except Exception as error:  # noqa: BLE001 (zip and numpy let out whatever a damaged file raises)
            why = os_reason(error, otherwise="not a manifest of this package")
            raise InputError(f"{path} cannot be read ({why}). Scan the corpus again.") from None
        if schema != SCHEMA:
            raise InputError(f"{path} is a manifest of another version. Scan the corpus again.")
        keys, transcripts, speakers = strings
        places = Places(*columns) if columns else None
        return cls(keys, folders, folder, num_samples, transcripts, speakers, unreadable, places)


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of a manifest that are trained on, and how many are not."""

    rows: Numbers
    too_short: int
    too_long: int


def select_lengths(manifest: Manifest, *, min_seconds: float = 0.0, max_seconds: float = float("inf")) -> Selection:
    """Rows between two lengths, both allowed. The manifest keeps its rows, to which labels belong.

    fairseq's ``min_sample_size`` 32000 is 2 s; MelHuBERT's "more than 320 frames of 10 ms" is 3.225 s.
    """
    short, long = manifest.seconds < min_seconds, manifest.seconds > max_seconds
    if (short | long).all():
        raise InputError(
            f"none of {len(manifest)} utterances lasts {min_seconds:g} to {max_seconds:g} s. Relax the filter."
        )
    return Selection(np.flatnonzero(~(short | long)), int(short.sum()), int(long.sum()))
