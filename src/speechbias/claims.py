"""A piece of work for one process among many, on one machine or on several that share a file system.

A claim is a file with a lock of the kernel on it and a record of its holder, touched every few seconds. The lock goes
with a process however it dies, so on one machine, and wherever locks are shared, a dead holder's work is taken over at
once. Where another machine's locks are not seen, a record that was touched lately says that its holder lives.
"""

import fcntl
import json
import os
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BEAT = 5.0  # seconds between two signs of life
PATIENCE = 60.0  # seconds without one after which a holder on another machine is dead
SETTLE = 1.0  # seconds in which two that take over from a dead holder find out who was last


@contextmanager
def claimed(path: Path, *, beat: float = BEAT, patience: float = PATIENCE, settle: float = SETTLE) -> Iterator[bool]:
    """Whether this process may do the work; if so, nobody else may for as long as the block lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        holder = _record(descriptor)
        if not _lock(descriptor) or _lives_elsewhere(path, descriptor, patience):
            yield False
            return
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        _write(descriptor, mine)
        ended = threading.Event()
        if holder and holder.get("host") != mine["host"]:
            ended.wait(settle)
            if _record(descriptor) != mine:
                yield False
                return
        heart = threading.Thread(target=_beat, args=(descriptor, ended, beat), daemon=True)
        heart.start()
        try:
            yield True
        finally:
            ended.set()
            heart.join()
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_claimed(path: Path, *, patience: float = PATIENCE) -> bool:
    """Whether somebody is at this work."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor) or _lives_elsewhere(path, descriptor, patience)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether no other process holds the lock; True too where the file system knows none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lives_elsewhere(path: Path, descriptor: int, patience: float) -> bool:
    """Whether the record is of another machine, and young by the clock of the file system."""
    holder = _record(descriptor)
    if holder is None or holder.get("host") == socket.gethostname():
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as probe:
        now = os.fstat(probe.fileno()).st_mtime
    return now - os.fstat(descriptor).st_mtime < patience


def _record(descriptor: int) -> dict[str, Any] | None:
    try:
        said = json.loads(os.pread(descriptor, 1 << 12, 0))
    except ValueError:
        return None  # free, or half written by one that died
    return said if isinstance(said, dict) else None


def _write(descriptor: int, record: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode(), 0)


def _beat(descriptor: int, ended: threading.Event, beat: float) -> None:
    while not ended.wait(beat):
        os.utime(descriptor)
