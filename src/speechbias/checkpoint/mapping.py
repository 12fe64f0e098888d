"""Files mapped into memory, and the weights of a network that lie in them, of which a part can be let go.

The pages of a mapping that were touched stay in the memory of the process until all of the mapping goes. Who reads the
weights of a model once, to pack them, therefore takes them part by part, each part from a mapping of its own, and
needs no more memory than for one part. The file stays open, so that every mapping is of the same file even where
another one has taken its name. A file that somebody writes into meanwhile would give the hash of one model and the
digits of another: its size and time of change are noted when it is first mapped, and compared whenever they matter.
"""

import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from speechbias.errors import InputError


class Mapped(mmap.mmap):
    """The bytes of an open file, copy-on-write."""

    name: str
    descriptor: int
    written: tuple[int, int]  # size and time of change

    def __new__(cls, file: IO[bytes]) -> Self:
        """Map a file, of whose descriptor a duplicate is kept."""
        written = _written(file.fileno())
        made = super().__new__(cls, file.fileno(), 0, access=mmap.ACCESS_COPY)
        made.name, made.descriptor, made.written = str(file.name), os.dup(file.fileno()), written
        weakref.finalize(made, os.close, made.descriptor)
        return made

    def again(self) -> mmap.mmap:
        """Another mapping of the file, with pages of its own. InputError if the file is not as it was."""
        self.check()
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_COPY)

    def check(self) -> None:
        """InputError if somebody has written into the file since it was mapped."""
        if _written(self.descriptor) != self.written:
            raise InputError(f"{self.name} changed while it was read; measure it again")


def _written(descriptor: int) -> tuple[int, int]:
    """What changes with the content of a file. Not its other times, which change with its name."""
    facts = os.fstat(descriptor)
    return facts.st_size, facts.st_mtime_ns


Fresh = Callable[[mmap.mmap], mmap.mmap]


def as_it_is(memory: mmap.mmap) -> mmap.mmap:
    """The mapping that is there already."""
    return memory


class Lazy(Protocol):
    """A tensor that is not read yet."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what the file holds."""

    def load(self, fresh: Fresh = as_it_is) -> Tensor:
        """Read it, through the mapping that ``fresh`` makes of a mapping."""


@dataclass(frozen=True, eq=False)
class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a model in its files, under our names. As a mapping it gives all of them in one mapping."""

    stored: Mapping[str, Lazy]
    dtype: torch.dtype | None = None  # to which they are converted; None: as they are
    _used: dict[int, Mapped] = field(default_factory=dict, init=False, repr=False)  # files of what was loaded

    def __getitem__(self, name: str) -> Tensor:
        """A tensor, one and the same each time."""
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self.stored)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.stored)

    @cached_property
    def _whole(self) -> dict[str, Tensor]:
        return self._load("", self._noted)

    def part(self, module: str) -> dict[str, Tensor]:
        """The tensors of one module (all for ""), named as in it, from a mapping that goes when they go."""
        mappings: dict[int, mmap.mmap] = {}

        def fresh(memory: mmap.mmap) -> mmap.mmap:
            if not isinstance(memory, Mapped):  # of no file
                return memory
            self._noted(memory)
            if id(memory) not in mappings:
                mappings[id(memory)] = memory.again()
            return mappings[id(memory)]

        return self._load(f"{module}." if module else "", fresh)

    def check(self) -> None:
        """InputError if a file changed since it was mapped, of which anything was loaded."""
        for memory in self._used.values():
            memory.check()

    def _noted(self, memory: mmap.mmap) -> mmap.mmap:
        if isinstance(memory, Mapped):
            self._used[id(memory)] = memory
        return memory

    def _load(self, prefix: str, fresh: Fresh) -> dict[str, Tensor]:
        loaded = {
            name.removeprefix(prefix): lazy.load(fresh)
            for name, lazy in self.stored.items()
            if name.startswith(prefix)
        }
        return {name: tensor if self.dtype is None else tensor.to(self.dtype) for name, tensor in loaded.items()}


@runtime_checkable
class InParts(Protocol):
    """Tensors of which those of one module can be had alone, and let go."""

    def part(self, module: str) -> dict[str, Tensor]:
        """The tensors of one module (all for ""), named as in it, in memory for as long as they are held."""

    def check(self) -> None:
        """InputError if they are no longer what they were."""


def part_of(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """The tensors of one module, named as in it; let go with it where they can be."""
    if isinstance(tensors, InParts):
        return tensors.part(module)
    prefix = f"{module}." if module else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_unchanged(tensors: Mapping[str, Tensor]) -> None:
    """InputError where tensors lie in files that changed since they were mapped."""
    if isinstance(tensors, InParts):
        tensors.check()
