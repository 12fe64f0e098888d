"""How long is every file of a corpus, and can it be used: each decoded once, in parallel, and the answer kept.

Decoding finds what headers hide: NaN, digital silence, a frame broken in the middle. Silence is left out for every
family: the group norm of wav2vec 2.0 and HuBERT, and the normalisation of waves in their large sizes, would divide by
a deviation of zero, and the mel statistics and clusters of MelHuBERT would move towards the log of nothing.

The cache is a journal: a JSON line per usable file, ``[path, bytes, mtime in ns, samples at 16 kHz, decoded whole]``,
appended as the scan goes, so that a killed scan loses at most what it was about to write. A line counts as long as the
file has that size and time. Unusable files are looked at again each time.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import AudioError, ChangedError, measure_length
from speechbias.audio.members import Member
from speechbias.errors import InputError, naming, not_utf8, os_reason
from speechbias.models.config import SAMPLE_RATE
from speechbias.progress import Progress

Depth = Literal["whole", "headers"]  # decode every file; or believe headers where they settle the length
_CHUNK = 256  # files per worker between two writes


class _Stamp(NamedTuple):
    """What a changed file does not keep."""

    size: int
    mtime: int


def scan(
    paths: Sequence[Path],
    *,
    depth: Depth = "whole",
    workers: int = 1,
    cache: str | Path | None = None,
    progress: bool = False,
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Samples at 16 kHz of every file, and by number of file why it cannot be used (its length is 0 then)."""
    whole = depth == "whole"
    known = _read_journal(Path(cache), whole=whole) if cache is not None else {}
    measure = partial(_measure, whole=whole)
    lengths, reasons, new = np.zeros(len(paths), np.int64), {}, []
    stamps = [_stamp(path) for path in paths]
    for number, (path, stamp) in enumerate(zip(paths, stamps, strict=True)):
        before = known.get(os.path.abspath(path))  # noqa: PTH100 (several times as fast as Path.absolute)
        if before is not None and before[0] == stamp:
            lengths[number] = before[1]
        else:
            new.append(number)
    with (
        _journal(cache) as journal,
        _threads(workers) as pool,
        Progress("Scanning", len(new), shown=progress, unit="files") as bar,
    ):
        for start in range(0, len(new), _CHUNK * workers):
            chunk = new[start : start + _CHUNK * workers]
            for number, answer in zip(chunk, pool.map(measure, (paths[number] for number in chunk)), strict=True):
                stamp = stamps[number]
                if isinstance(answer, AudioError):
                    reasons[number] = answer.why
                else:
                    lengths[number] = answer
                    if stamp is not None and journal is not None:
                        _write_line(journal, paths[number], stamp, answer, whole=whole)
                bar.advance(1)
            if journal is not None:
                journal.flush()
    return lengths, reasons


@contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the file each is reading, whatever else they were given: for whoever asks to stop."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def unusable_after_all(error: AudioError) -> InputError:
    """What is to be said of a file that a scan took, and that cannot be used when it is its turn."""
    if isinstance(error, ChangedError) or isinstance(error.path, Member):  # a shard is not scanned
        return error  # which says what to do
    remedy = 'was it changed since the scan? With [data] scan = "whole" a new run leaves such files out'
    return InputError(f"{error.path} {error.why}; {remedy}.")


def _measure(path: Path, *, whole: bool) -> int | AudioError:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return AudioError(path, "is no regular file")  # a pipe would never end
        return measure_length(path, SAMPLE_RATE, whole=whole)
    except AudioError as error:
        return error
    except ValueError:  # a null byte, which no name of a file has
        return AudioError(path, "does not exist")


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (a quarter of a million of them)
    except (OSError, ValueError):
        return None
    return _Stamp(status.st_size, status.st_mtime_ns)


def _read_journal(cache: Path, *, whole: bool) -> dict[str, tuple[_Stamp, int]]:
    """What is known, the last line of a file counting; a line that was cut off by a kill is passed over.

    ``whole``: lengths that were taken from headers are not known.
    """
    known = {}
    for line in _lines(cache):
        try:
            path, size, mtime, samples, decoded = json.loads(line)
            stamp, length = _Stamp(size, mtime), int(samples)
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue
        if isinstance(path, str) and (decoded or not whole):
            known[path] = (stamp, length)
    return known


def _lines(cache: Path) -> Iterator[str]:
    try:
        with cache.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{cache} cannot be read as a scan's cache ({not_utf8(error)}). Name another file.") from None


@contextmanager
def _journal(cache: str | Path | None) -> Iterator[TextIO | None]:
    """The cache, open for appending, on a line of its own."""
    if cache is None:
        yield None
        return
    try:
        Path(cache).parent.mkdir(parents=True, exist_ok=True)
        file = Path(cache).open("a", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"{cache} cannot be written ({os_reason(error)}). Name another file for the scan.") from None
    with naming(Path(cache)), file:
        file.write("\n" if file.tell() else "")  # a killed scan may have left half a line
        yield file


def _write_line(journal: TextIO, path: Path, stamp: _Stamp, samples: int, *, whole: bool) -> None:
    journal.write(json.dumps([os.path.abspath(path), *stamp, samples, whole]) + "\n")  # noqa: PTH100
