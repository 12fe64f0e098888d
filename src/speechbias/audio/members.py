"""A recording that is no file of its own: a member of a tar, read where an index says it lies.

Its bytes are believed only if they have the checksum of the index, so that a shard that was cut, mixed up or damaged
is told at the member where training meets it, and never heard.
"""

import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from speechbias.errors import os_reason

_OPEN = 64  # archives that stay open in a process: those of two windows of training


class MemberError(Exception):
    """Why a member cannot be had: a predicate, and the remedy."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why, self.remedy = why, remedy


@dataclass(frozen=True)
class Member:
    """``size`` bytes of an ``archive`` from ``offset`` on, called ``name`` in it."""

    archive: Path
    name: str
    offset: int
    size: int
    crc32: int

    def __str__(self) -> str:
        return f"{self.archive}, member {self.name},"

    def read(self) -> bytes:
        """All bytes. MemberError where they are not those of the index."""
        copy = "Copy the shard again, or write it anew"
        try:
            data = os.pread(_open(self.archive).descriptor, self.size, self.offset)
        except FileNotFoundError:
            raise MemberError("cannot be read: the shard is missing", copy) from None
        except OSError as error:
            raise MemberError(f"cannot be read ({os_reason(error)})", "Check permissions and the disk") from None
        if len(data) < self.size:
            raise MemberError("cannot be read: the shard ends before it or within it", copy)
        if zlib.crc32(data) != self.crc32:
            raise MemberError("is damaged: its bytes are not those of the index", copy)
        return data


Recording = str | Path | Member


def located(recording: Recording) -> Path | Member:
    """A path where there was a string."""
    return recording if isinstance(recording, Member) else Path(recording)


class _Archive:
    """An open file, read by position alone, so that threads and forks share it; closed with its last user."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(_OPEN)
def _open(path: Path) -> _Archive:
    return _Archive(path)
