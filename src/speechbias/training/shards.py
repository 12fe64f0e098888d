"""A corpus in tars, for more audio than one disk holds or a file system wants as files: opened without a scan.

A folder of shards, as ``training.sharding`` writes it:

- ``shard-000000.tar`` and so on: plain POSIX tars in the layout of WebDataset, ``KEY.flac`` (the source file, byte by
  byte) and ``KEY.json`` (length, transcript, speaker, labels) one after the other, in an order drawn once;
- ``index.npz``: the manifest, a row per utterance in the order of the shards, with the place of its audio in the tar;
- ``index.jsonl``: a line per shard (utterances, samples, bytes, sha256), written last: the sign of a whole folder.

An utterance keeps the key that it had as a file, so its crops, masks and noise are the same. Where files of several
sources had one key, that of the n-th further one is ``~n/key`` (``Manifest.stream``).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechbias.errors import InputError, os_reason
from speechbias.progress import Progress
from speechbias.training.manifest import Manifest, Numbers

INDEX, SHARDS, PLAN = "index.npz", "index.jsonl", ".plan.json"
SCHEMA = 1
_BLOCK = 1 << 22  # bytes


@dataclass(frozen=True)
class Shard:
    """A line of ``index.jsonl``."""

    shard: str
    utterances: int
    samples: int  # at 16 kHz
    bytes: int
    sha256: str

    def to_json(self) -> str:
        """The line."""
        return json.dumps({"schema": SCHEMA, **vars(self)}) + "\n"


def is_shards(folder: Path) -> bool:
    """Whether a folder is one of shards, be it whole or not."""
    return (folder / SHARDS).is_file() or (folder / PLAN).is_file()


def read_shards(folder: Path) -> list[Shard]:
    """The lines of a folder's index. InputError where the folder is not whole, or none of shards."""
    if not is_shards(folder):
        what = "is no folder of shards (there is no index.jsonl)" if folder.is_dir() else "is no folder"
        raise InputError(f"{folder} {what}; give one that speechbias shards wrote")
    try:
        lines = (folder / SHARDS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{folder}: its shards are not all written; give the same speechbias shards again") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            said = json.loads(line)
            if said.pop("schema") != SCHEMA:
                raise InputError(f"{folder / SHARDS} is of another version; write the shards anew")
            found.append(Shard(**said))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{folder / SHARDS}, line {number} describes no shard; copy the folder again") from None
    return found


def open_shards(folder: Path) -> Manifest:
    """The utterances of a folder of shards. InputError, one line, for a shard that is missing or cut.

    What is damaged inside a shard is found where it is read (and by ``check_shards``).
    """
    folder = folder.absolute()
    shards, manifest = read_shards(folder), Manifest.load(folder / INDEX)
    counts = np.bincount(manifest.folder, minlength=len(shards)).tolist()
    if manifest.places is None or (list(manifest.folders), counts) != (
        [shard.shard for shard in shards],
        [shard.utterances for shard in shards],
    ):
        raise InputError(f"{folder}: {INDEX} and {SHARDS} are not of one making; copy the folder again")
    for shard in shards:
        _check_size(folder / shard.shard, shard.bytes)
    return replace(manifest, folders=tuple(str(folder / name) for name in manifest.folders))


def _check_size(path: Path, announced: int) -> None:
    try:
        there = path.stat().st_size
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({os_reason(error)})"
        raise InputError(f"{path} {reason}; copy the shard again") from None
    if there != announced:
        raise InputError(f"{path} has {there} bytes, the index says {announced}; copy the shard again")


def check_shards(folder: Path, *, progress: bool = False) -> list[Shard]:
    """Read every byte: InputError that names each shard whose hash is not that of the index."""
    open_shards(folder)
    shards, problems = read_shards(folder), []
    with Progress("Checking", sum(shard.bytes for shard in shards) / 1e6, shown=progress, unit="MB") as bar:
        for shard in shards:
            digest = hashlib.sha256()
            for block in _blocks(folder / shard.shard):
                digest.update(block)
                bar.advance(len(block) / 1e6)
            if digest.hexdigest() != shard.sha256:
                problems.append(f"{folder / shard.shard} is damaged (another sha256); copy the shard again")
    if problems:
        raise InputError(*problems)
    return shards


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def rows_by_shard(manifest: Manifest, rows: Numbers) -> list[Numbers]:
    """Rows of a sharded manifest, shard by shard; those of which none is used are left out."""
    order = rows[np.argsort(manifest.folder[rows], kind="stable")]
    ends = np.flatnonzero(np.diff(manifest.folder[order])) + 1
    return [part for part in np.split(order, ends) if len(part)]
