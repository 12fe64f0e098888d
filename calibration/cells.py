"""A cell: one setting of one inference, so many draws of it, and the rates that were found."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from calibration.figures import Section

DIGITS = 6  # significant ones kept: another library's last bits make no other page


@dataclass(frozen=True)
class Cell:
    """``settings`` are the keywords of the inference's ``run``, which words in ``name`` tell from its other cells."""

    inference: str
    name: str
    draws: int
    settings: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """What finished cells are known by, with the version of the code."""
        return f"{self.inference}: {self.name}; {self.draws} draws; {sorted(self.settings.items())}"

    def rng(self) -> np.random.Generator:
        """Random numbers of this cell alone, whatever else runs, in whichever order."""
        digest = hashlib.sha256(f"{self.inference}: {self.name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True)
class Result:
    """What a cell gave."""

    draws: int
    numbers: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]


Found = Mapping[str, Result]  # by the name of the cell


class Inference(Protocol):
    """A file of this folder: what is simulated, how, and what the page says of it."""

    def cells(self) -> Iterable[Cell]:
        """Every setting."""

    def run(self, draws: int, rng: np.random.Generator, **settings: Any) -> dict[str, float]:
        """Simulate one of them."""

    def section(self, found: Found) -> Section:
        """The part of the page."""
