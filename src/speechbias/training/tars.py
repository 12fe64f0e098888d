"""Tars as WebDataset has them, written from start to end: the same members give the same bytes."""

import hashlib
import tarfile
from pathlib import PurePosixPath
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE  # bytes, to which members are padded


def member_name(key: str, row: int, taken: set[str]) -> tuple[str, str]:
    """Name and suffix of a member, of a path of any kind; added to those ``taken`` in the shard.

    What comes before the first dot of a file's name is the key to WebDataset, so there is none before the suffix.
    """
    place = PurePosixPath(key)
    folders = [part for part in place.parent.parts if part not in {"/", "..", "."}]
    stem = place.stem.replace(".", "_") or "_"
    name = "/".join((*folders, stem))
    name = f"{name}~{row}" if name in taken else name
    taken.add(name)
    return name, place.suffix.lower() or ".audio"


class Tar:
    """A tar written from start to end, the same bytes for the same members, its ``sha256`` taken on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position, self.sha256 = file, 0, hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """One member; returns the offset of its bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))  # extended only for long names
        offset = self._position
        self._write(data + bytes(-len(data) % BLOCK))
        return offset

    def end(self) -> None:
        """Two blocks of zeros, and up to a whole record."""
        self._write(bytes(2 * BLOCK))
        self._write(bytes(-self._position % tarfile.RECORDSIZE))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self._position += len(data)
