"""The two containers of ``torch.save``, and the tensors in them as claims that are checked before a byte is read.

New format: an uncompressed zip with the pickle ``PREFIX/data.pkl`` and one record ``PREFIX/data/KEY`` per storage. Old
format (before torch 1.6): five pickles in a row, then per storage its number of elements (int64) and its bytes.

The file is mapped copy-on-write: a tensor lies in the file's own pages and is read when it is used, and what is
written to it never reaches the file. (The file must not be cut while its tensors are in use.) Offsets, sizes and
strides come from a stranger, so a tensor has to lie in its storage, and the storage in the file, as soon as it is
named. Errors are InputError without the file's name, which ``pickles`` puts in front.
"""

import math
import mmap
import re
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NoReturn

import torch

from speechbias.checkpoint.mapping import Fresh, Mapped, as_it_is
from speechbias.errors import InputError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
AGAIN = "Get the file from its authors again."
LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # signature, flags, method; lengths of name and extra field
WORD = 1 << 63  # torch counts in int64


def refuse(problem: str) -> NoReturn:
    """The file is not what it should be; the remedy is always a good copy."""
    raise InputError(f"{problem}. {AGAIN}")


def shown(thing: object) -> str:
    """A stranger's text or number on one line, short, without control characters; of anything else only the type."""
    if isinstance(thing, str):
        text = thing[:200].encode("unicode_escape").decode("ascii")
    elif isinstance(thing, float) or (isinstance(thing, int) and thing.bit_length() <= 64):
        text = str(thing)
    else:  # the text of nested lists or of long numbers could fill the memory
        text = f"a {type(thing).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


@dataclass(slots=True, eq=False)
class Record:
    """One storage: ``nbytes`` of the mapped file from byte ``start`` (in the old format known last)."""

    memory: mmap.mmap
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True, eq=False)
class LazyTensor:
    """A tensor in a file, not read yet. Strides and offset count elements, from the start of the storage."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    record: Record

    def load(self, fresh: Fresh = as_it_is) -> torch.Tensor:
        """The tensor in the file's pages (no copy); a copy if its bytes are not aligned (common in the old format).

        ``fresh`` says in which mapping of the file.
        """
        if 0 in self.shape:
            return torch.empty_strided(self.shape, self.strides, dtype=self.dtype)
        count = _extent(self.shape, self.strides)
        start = self.record.start + self.offset * self.dtype.itemsize
        memory = fresh(self.record.memory)
        if start % self.dtype.itemsize == 0:
            flat = torch.frombuffer(memory, dtype=self.dtype, count=count, offset=start)
        else:
            size = count * self.dtype.itemsize
            flat = torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=start).clone().view(self.dtype)
        return flat.as_strided(self.shape, self.strides)


def _extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Number of elements from the first one of a tensor to its last one, which may lie apart."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def storage_view(storage: LazyTensor, offset: object, shape: object, strides: object) -> LazyTensor:
    """The tensor with this offset, shape and strides in a storage. InputError unless all of it is there."""
    sizes, steps, first = _counts(shape), _counts(strides), _counts((offset,))[0]
    if len(sizes) != len(steps):
        refuse(f"a tensor has {len(sizes)} sizes and {len(steps)} strides")
    if math.prod(max(size, 1) for size in sizes) * storage.dtype.itemsize >= WORD:
        refuse(f"a tensor of shape {shown(str(sizes))} is larger than any memory")
    itemsize, record = storage.dtype.itemsize, storage.record
    claimed = 0 if 0 in sizes else (first + _extent(sizes, steps)) * itemsize
    if claimed > record.nbytes:
        refuse(f"a tensor of shape {shown(str(sizes))} claims {claimed} bytes of a storage that has {record.nbytes}")
    # A stride of 0 repeats one element for ever: harmless as a view, but the first copy of it would fill the memory.
    if math.prod(sizes) * itemsize > len(record.memory):
        refuse(f"a tensor of shape {shown(str(sizes))} claims more bytes than the whole file has")
    return LazyTensor(storage.dtype, sizes, steps, first, record)


def _counts(values: object) -> tuple[int, ...]:
    """Sizes, strides or offsets as they must be: whole numbers from 0 that torch can hold, of at most 64 axes."""
    if not isinstance(values, tuple | list) or len(values) > 64:
        refuse("the shape of a tensor is no short tuple of numbers")
    for value in values:
        if type(value) is not int or not 0 <= value < WORD:
            refuse(f"a tensor has the size, stride or offset {shown(value)}")
    return tuple(values)


def map_file(file: IO[bytes]) -> Mapped:
    """The bytes of an open file, copy-on-write."""
    if not file.read(1):
        refuse("is empty")
    return Mapped(file)


def _refuse_other(head: bytes) -> NoReturn:
    """What a file that torch.save did not write looks like, and what to do about it."""
    if head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b" or head[:6] in {b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c"}:
        raise InputError("is a packed archive; unpack it, and give what lies in it")
    if head.startswith(b"version https://git-lfs"):
        raise InputError("stands for a file that Git LFS has not fetched; fetch it: git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise InputError("is a web page, not a checkpoint; download the file itself")
    refuse("is no file of torch.save")


def begins_legacy(head: bytes) -> bool:
    """Whether a file begins with the old format's number, pickled by any protocol from 2 on."""
    return b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") in head[:32]


class ZipArchive:
    """The new format. Records are found by their exact name; nothing is ever unpacked."""

    def __init__(self, file: IO[bytes], memory: Mapped) -> None:
        self._memory = memory
        try:
            entries = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, OSError):
            if memory[:4] != b"PK\x03\x04":
                _refuse_other(memory[:300])
            refuse("it begins as a zip file and has no table of contents at its end, so it is cut short or damaged")
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            refuse("it holds several records of one name")
        self._prefix = self._find_prefix()
        for name, entry in self._entries.items():
            self._check(name, entry)
        if "byteorder" in self and self._read("byteorder") != b"little":
            refuse("it was written on a big-endian machine, which is not supported")

    def _find_prefix(self) -> str:
        prefixes = [name[: -len("data.pkl")] for name in self._entries if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(prefixes) != 1:
            raise InputError("is a zip archive, but no file of torch.save; unpack it, and give what lies in it")
        return prefixes[0]

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._entries

    def _check(self, name: str, entry: zipfile.ZipInfo) -> None:
        inner = name.removeprefix(self._prefix)
        if not name.startswith(self._prefix) or ".." in inner.split("/"):
            refuse(f"its record {shown(name)} lies outside the archive")
        if inner == "constants.pkl" or inner.startswith("code/"):
            problem = "it is a TorchScript program, not a checkpoint; save its weights with"
            raise InputError(f"{problem}: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            refuse(f"its record {shown(name)} is compressed, as torch.save never does")

    def record(self, name: str) -> Record:
        """Where the bytes of a record lie, by its own header in the file."""
        entry = self._entries.get(self._prefix + name)
        if entry is None:
            refuse(f"it has no record {shown(name)}, so it is incomplete")
        size, header = len(self._memory), entry.header_offset
        if not 0 <= header <= size - LOCAL_HEADER.size:
            refuse(f"its record {shown(name)} lies outside the file")
        signature, flags, method, length, extra = LOCAL_HEADER.unpack_from(self._memory, header)
        written = self._memory[header + LOCAL_HEADER.size : header + LOCAL_HEADER.size + length]
        expected = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")
        if (signature, flags & 1, method, written) != (b"PK\x03\x04", 0, zipfile.ZIP_STORED, expected):
            refuse(f"its record {shown(name)} is another one where it lies than in the table of contents")
        start = header + LOCAL_HEADER.size + length + extra
        if start + entry.file_size > size:
            refuse(f"its record {shown(name)} claims {entry.file_size} bytes, more than the file has")
        return Record(self._memory, start, entry.file_size)

    def _read(self, name: str) -> bytes:
        record = self.record(name)
        return self._memory[record.start : record.start + record.nbytes]

    def pickle(self) -> bytes:
        """The pickle of the whole object."""
        return self._read("data.pkl")

    def storage(self, key: str, dtype: torch.dtype, count: int) -> LazyTensor:
        """The storage of a key as a flat tensor."""
        record = self.record(f"data/{key}")
        if record.nbytes // dtype.itemsize != count:
            refuse(f"storage {key} claims {count} elements of {dtype} and has {record.nbytes} bytes")
        return LazyTensor(dtype, (count,), (1,), 0, record)


class LegacyStorages:
    """The storages of the old format: named in the pickle first, found behind it later."""

    def __init__(self, memory: Mapped) -> None:
        self._memory = memory
        self._named: dict[str, LazyTensor] = {}

    def storage(self, key: str, dtype: torch.dtype, count: int) -> LazyTensor:
        """The storage of a key as a flat tensor, which ``place`` will find."""
        if count * dtype.itemsize > len(self._memory):
            refuse(f"storage {key} claims {count} elements of {dtype}, more than the file has")
        record = Record(self._memory, -1, count * dtype.itemsize)
        storage = self._named.setdefault(key, LazyTensor(dtype, (count,), (1,), 0, record))
        if (storage.dtype, storage.shape) != (dtype, (count,)):
            refuse(f"storage {key} is named with two sizes or types")
        return storage

    def place(self, keys: object, start: int) -> None:
        """Find the storages, which lie in the order of ``keys`` from byte ``start`` on."""
        if type(keys) is not list or any(type(key) is not str for key in keys):
            refuse("its list of storages is none")
        if len(keys) != len(set(keys)) or set(keys) != set(self._named):
            refuse("its list of storages is not that of its tensors")
        for key in keys:
            storage = self._named[key]
            if self._memory[start : start + 8] != storage.shape[0].to_bytes(8, "little"):
                refuse(f"storage {key} has not the {storage.shape[0]} elements that its tensors claim")
            storage.record.start = start + 8
            start += 8 + storage.record.nbytes
            if start > len(self._memory):
                refuse(f"storage {key} ends behind the end of the file, so the file is cut short")
