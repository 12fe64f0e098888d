"""Shards written: a corpus as the training reads one -> tars with an index (``training.shards``), atomically.

Which utterance goes into which shard is a function of the corpus, the sizes and the seed, decided before anything is
written. A shard is written under a hidden name and renamed, so it is there whole or not at all; the same command,
killed at whatever moment, goes on with the shards that are missing, and ends with the same bytes.
"""

import fcntl
import hashlib
import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechbias.audio.files import read_bytes
from speechbias.errors import InputError, os_reason
from speechbias.progress import Progress
from speechbias.results import write_whole
from speechbias.training.draws import generator
from speechbias.training.label_files import written_labels
from speechbias.training.labels import Labels, read_labels
from speechbias.training.manifest import Manifest, Numbers, Places, Strings, Unreadable
from speechbias.training.shards import INDEX, PLAN, SHARDS, Shard, is_shards, read_shards
from speechbias.training.sources import open_corpus
from speechbias.training.tars import BLOCK, Tar, member_name

SCAN, LOCK, UNITS = ".scan.jsonl", ".lock", "units"
_JSON = 4 * BLOCK  # bytes that are counted for what stands in a tar beside the audio of an utterance


@dataclass(frozen=True, eq=False)
class Plan:
    """Rows of the corpus, shard by shard."""

    manifest: Manifest
    labels: Labels | None
    shards: tuple[Numbers, ...]
    sha256: str

    @property
    def order(self) -> Numbers:
        """All rows, as they stand in the shards."""
        return np.concatenate(self.shards)


@dataclass(frozen=True)
class Written:
    """A folder of shards, and the files of the corpus that could not be read and are not in it."""

    folder: Path
    shards: tuple[Shard, ...]
    left_out: tuple[Unreadable, ...]

    @property
    def sentence(self) -> str:
        """How much it is."""
        return in_words(self.shards)


def in_words(shards: Sequence[Shard]) -> str:
    """How much audio, and in how many shards."""
    utterances, seconds = sum(each.utterances for each in shards), sum(each.samples for each in shards) / 16_000
    return f"{utterances} utterances, {_time(seconds)}, in {len(shards)} shard{'s' * (len(shards) != 1)}"


def _time(seconds: float) -> str:
    """In the unit of which there is more than one."""
    unit, size = next(
        ((unit, size) for unit, size in (("hours", 3600), ("minutes", 60)) if seconds >= size), ("seconds", 1)
    )
    return f"{seconds / size:.1f} {unit}"


def write_shards(
    sources: Sequence[str | Path],
    out: Path | str,
    *,
    megabytes: float = 256.0,
    count: int | None = None,
    labels: Path | str | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
) -> Written:
    """Write a corpus as shards of about so many ``megabytes``, or of at most ``count`` utterances.

    ``labels`` (units, or a ``.km``) go along, into the members and as ``out/units``. InputError for a corpus that
    cannot be read, a folder with other things in it, or another process at work there; OSError for a full disk.
    """
    if not 0 < megabytes < math.inf:
        raise InputError(f"shards of {megabytes:g} MB; give a number above 0")
    if count is not None and count < 1:
        raise InputError(f"shards of {count} utterances; give 1 or more")
    out = Path(out)
    if any(out.resolve() == Path(source).resolve() for source in sources):
        raise InputError(f"{out} is the corpus itself; choose another -o for its shards")
    with _held(out):
        manifest = open_corpus(list(sources), workers=workers, cache=out / SCAN, progress=progress)
        plan = _plan(manifest, labels, size=int(megabytes * 1e6), count=count, seed=seed)
        if not _begun(out, plan):
            _write_all(plan, out, workers=workers, progress=progress)
        return Written(out, tuple(read_shards(out)), manifest.unreadable)


def _plan(manifest: Manifest, labels: Path | str | None, *, size: int, count: int | None, seed: int) -> Plan:
    """Utterances in an order drawn by ``seed``, cut where a shard is full."""
    order = generator(seed, "shards", 0, "").permutation(len(manifest))
    sizes = manifest.places.sizes if manifest.places is not None else _file_sizes(manifest)
    ends, shards, start = np.cumsum(sizes[order] + _JSON), [], 0
    while start < len(order):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + size, "right")), start + 1)
        stop = stop if count is None else min(stop, start + count)
        shards.append(order[start:stop])
        start = stop
    read = None if labels is None else read_labels(labels, manifest)
    if read is not None:
        read.check(manifest)
    digest = hashlib.sha256(f"{manifest.sha256} {size} {count} {seed}".encode())
    digest.update(np.ascontiguousarray(sizes).tobytes())
    if read is not None:
        digest.update(np.ascontiguousarray(read.flat).tobytes() + read.offsets.tobytes())
    return Plan(manifest, read, tuple(shards), digest.hexdigest())


def _file_sizes(manifest: Manifest) -> Numbers:
    sizes = np.zeros(len(manifest), np.int64)
    for row in range(len(manifest)):
        place = manifest.path(row)
        try:
            sizes[row] = os.stat(place).st_size  # type: ignore[arg-type]  # noqa: PTH116 (many of them)
        except OSError as error:
            raise InputError(f"{place} cannot be read ({os_reason(error)}); correct the list of files") from None
    return sizes


def _begun(out: Path, plan: Plan) -> bool:
    """Whether all is written already. InputError for a folder of other shards."""
    if is_shards(out):
        with suppress(OSError, ValueError, KeyError):
            if json.loads((out / PLAN).read_text(encoding="utf-8"))["sha256"] == plan.sha256:
                return (out / SHARDS).exists()
        raise InputError(f"{out} holds shards of another corpus, size or seed; choose another -o")
    if left := sorted(path.name for path in out.glob("shard-*.tar")):
        raise InputError(f"{out} holds {left[0]}, which is not of this command; choose another -o")
    write_whole(out / PLAN, json.dumps({"sha256": plan.sha256, "shards": len(plan.shards)}).encode())
    return False


def _write_all(plan: Plan, out: Path, *, workers: int, progress: bool) -> None:
    seconds = [float(plan.manifest.seconds[rows].sum()) for rows in plan.shards]
    names = [f"shard-{number:06d}.tar" for number in range(len(plan.shards))]
    with ThreadPoolExecutor(workers) as threads, Progress("Writing", sum(seconds), shown=progress) as bar:
        try:
            made = [
                threads.submit(_write_shard, plan, rows, out / name)
                for name, rows in zip(names, plan.shards, strict=True)
            ]
            for future, done in zip(made, seconds, strict=True):
                future.result()
                bar.advance(done)
        finally:
            threads.shutdown(cancel_futures=True)
    columns = [_read_columns(_columns(out / name)) for name in names]
    moved = replace(
        plan.manifest.select(plan.order),
        keys=Strings.of(map(plan.manifest.stream, plan.order.tolist())),
        folders=tuple(names),
        folder=np.repeat(np.arange(len(names), dtype=np.int32), list(map(len, plan.shards))),
        places=Places.concatenate([places for places, _ in columns]),
        unreadable=(),
    )
    moved.save(out / INDEX)
    if plan.labels is not None:
        facts = replace(plan.labels.facts, manifest_sha256=moved.sha256)
        with written_labels(out / UNITS, facts) as writer:
            for row in plan.order.tolist():
                writer.append(plan.labels.of(row))
    lines = [
        Shard(name, len(rows), int(plan.manifest.num_samples[rows].sum()), (out / name).stat().st_size, sha256)
        for name, rows, (_, sha256) in zip(names, plan.shards, columns, strict=True)
    ]
    write_whole(out / SHARDS, "".join(line.to_json() for line in lines).encode())
    for rest in (*out.glob(".*shard-*"), out / SCAN):  # what is half written, and paths of this machine
        rest.unlink(missing_ok=True)


def _columns(shard: Path) -> Path:
    """Beside a shard, until all are there: where its members lie."""
    return shard.with_name(f".{shard.stem}.npz")


def _read_columns(path: Path) -> tuple[Places, str]:
    with np.load(path, allow_pickle=False) as file:
        return Places(file["offsets"], file["sizes"], file["crc32"]), str(file["sha256"])


def _write_shard(plan: Plan, rows: Numbers, path: Path) -> None:
    """One tar: where its members lie is written first, so that a renamed tar needs nothing more."""
    if path.exists():
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            tar, places, taken = Tar(file), [], set[str]()
            for row in rows.tolist():
                name, suffix = member_name(plan.manifest.stream(row), row, taken)
                data = read_bytes(plan.manifest.path(row))
                places.append((tar.add(name + suffix, data), len(data), zlib.crc32(data)))
                tar.add(f"{name}.json", json.dumps(_about(plan, row)).encode())
            tar.end()
            file.flush()
            os.fsync(file.fileno())
        offsets, sizes, crc32 = zip(*places, strict=True)
        columns = Places(np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(crc32, np.uint32))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, sha256=np.array(tar.sha256.hexdigest()), **vars(columns))
        write_whole(_columns(path), buffer.getvalue())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise


def _about(plan: Plan, row: int) -> dict[str, Any]:
    """What ``KEY.json`` says; ``length`` in samples at 16 kHz."""
    manifest = plan.manifest
    said: dict[str, Any] = {
        "key": manifest.stream(row),
        "length": int(manifest.num_samples[row]),
        "sample_rate": 16_000,
    }
    said |= {
        name: text
        for name, text in (("transcript", manifest.transcripts[row]), ("speaker", manifest.speakers[row]))
        if text
    }
    if plan.labels is not None:
        said |= {"labels": plan.labels.of(row).tolist(), "label_rate": plan.labels.rate}
    return said


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """The folder, made where it is missing, for this process alone; a refused command leaves no trace of it."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{out} cannot be written ({os_reason(error)}); choose another -o") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another process writes shards there; let it end") from None
        try:
            yield
        except InputError:
            _leave_no_trace(out, made=made)
            raise


def _leave_no_trace(out: Path, *, made: bool) -> None:
    """Remove the lock where nothing else is in the folder (a scan is worth keeping), and the folder if we made it."""
    if [path.name for path in out.iterdir()] == [LOCK]:
        (out / LOCK).unlink()
        if made:
            out.rmdir()
