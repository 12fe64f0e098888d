"""Files mapped into memory, and the weights of a network that lie in them, of which a part can be let go.

The pages of a mapping that were touched stay in the memory of the process until all of the mapping goes. Who reads the
weights of a model once, to pack them, therefore takes them part by part, each part from a mapping of its own, and
needs no more memory than for one part. The file stays open, so that every mapping is of the same file even where
another one has taken its name.
"""

import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor


class Mapped(mmap.mmap):
    """The bytes of an open file, copy-on-write."""

    descriptor: int

    def __new__(cls, descriptor: int) -> Self:
        """Map the file of a descriptor, of which a duplicate is kept."""
        made = super().__new__(cls, descriptor, 0, access=mmap.ACCESS_COPY)
        made.descriptor = os.dup(descriptor)
        weakref.finalize(made, os.close, made.descriptor)
        return made

    def again(self) -> mmap.mmap:
        """Another mapping of the file, with pages of its own."""
        return mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_COPY)


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
        return self._load("", as_it_is)

    def part(self, module: str) -> dict[str, Tensor]:
        """The tensors of one module (all for ""), named as in it, from a mapping that goes when they go."""
        mappings: dict[int, mmap.mmap] = {}

        def fresh(memory: mmap.mmap) -> mmap.mmap:
            if not isinstance(memory, Mapped):  # of no file
                return memory
            if id(memory) not in mappings:
                mappings[id(memory)] = memory.again()
            return mappings[id(memory)]

        return self._load(f"{module}." if module else "", fresh)

    def _load(self, prefix: str, fresh: Fresh) -> dict[str, Tensor]:
        loaded = {
            name.removeprefix(prefix): lazy.load(fresh)
            for name, lazy in self.stored.items()
            if name.startswith(prefix)
        }
        return {name: tensor if self.dtype is None else tensor.to(self.dtype) for name, tensor in loaded.items()}


def part_of(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """The tensors of one module, named as in it; of stored ones in a mapping of their own."""
    if isinstance(tensors, StoredTensors):
        return tensors.part(module)
    prefix = f"{module}." if module else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
