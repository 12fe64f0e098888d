"""Who speaks in a simulated test, and normal noise that is alike within a speaker.

Scores s and vectors have variance 1 within a group; clips of one speaker, or of one pair, correlate by 0.5. d is that
of equation 2 with endlessly many speakers: over the SD of both groups together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.designs import Relabelling, relabel
from speechbias.inference.intervals import Strata
from speechbias.inference.units import target_units

Array = NDArray[np.float64]

BLOCK = 50  # columns that share relabellings or resamples; each column is a draw of its own
DESIGNS = ("independent", "speaker", "within-speaker", "pair")


@dataclass(frozen=True)
class Groups:
    """``x`` and ``y`` speakers (of ``pair``: pairs) with so many clips each; ``ragged``: from 1 clip to so many."""

    x: int
    y: int
    clips: int = 1
    design: str = "independent"
    ragged: bool = False

    def __str__(self) -> str:
        """A row of a table."""
        if self.design == "independent":
            return f"{self.x} + {self.y} clips"
        if self.design == "pair":
            return f"{self.x} pairs of clips"
        clips = f"1 to {self.clips} clips" if self.ragged else f"{self.clips} clips"
        if self.design == "within-speaker":
            return f"{self.x} speakers, {clips} in each group"
        return f"{self.x} + {self.y} speakers x {clips}"

    @cached_property
    def people(self) -> tuple[list[int], list[int]]:
        """The speaker of every clip of X and of Y, as numbers."""
        shared = self.design in {"within-speaker", "pair"}
        return self._people(self.x, 0), self._people(self.y, 0 if shared else self.x)

    def _people(self, count: int, first: int) -> list[int]:
        return [first + k for k in range(count) for _ in range(1 + k % self.clips if self.ragged else self.clips)]

    @property
    def n_x(self) -> int:
        """Clips of X."""
        return len(self.people[0])

    @property
    def share(self) -> float:
        """Of X among the clips."""
        return self.n_x / sum(map(len, self.people))

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Speakers of X and Y as the package takes them; of single clips and pairs unknown."""
        named = self.design in {"speaker", "within-speaker"}
        return {
            name: tuple(f"s{k}" if named else "" for k in side) for name, side in zip("XY", self.people, strict=True)
        }

    @property
    def pairs(self) -> dict[str, tuple[str, ...]] | None:
        """Pair ids of the design ``pair``."""
        if self.design != "pair":
            return None
        return {name: tuple(f"p{k}" for k in side) for name, side in zip("XY", self.people, strict=True)}

    @property
    def relabelling(self) -> Relabelling:
        """That of the design."""
        return relabel(self.design, (self.labels["X"], self.labels["Y"]), self.pairs)

    @property
    def units(self) -> Strata:
        """What the bootstrap draws."""
        return target_units(self.design, self.labels, self.pairs)

    def noise(self, rng: np.random.Generator, *shape: int) -> Array:
        """(clips, *shape), X first."""
        people = np.array([*self.people[0], *self.people[1]])
        z = rng.normal(size=(len(people), *shape))
        if self.design == "independent":
            return z
        voices = rng.normal(size=(int(people.max()) + 1, *shape))
        return np.asarray((z + voices[people]) / np.sqrt(2))

    def scores(self, rng: np.random.Generator, columns: int, d: float = 0.0, shape: str = "normal") -> Array:
        """S of so many simulated tests with a true ``d``, (clips, columns)."""
        s = SHAPES[shape](self.noise(rng, columns))
        s[: self.n_x] += self.shift(d)
        return s

    def shift(self, d: float) -> float:
        """How far the groups lie apart, in SDs within, for this ``d``."""
        return float(d / np.sqrt(1 - d**2 * self.share * (1 - self.share)))


def skewed(z: Array) -> Array:
    """Log-normal with mean 0 and variance 1: skewness 2.3, as scores near a bound have."""
    return np.asarray((np.exp(0.6 * z) - np.exp(0.18)) / np.sqrt((np.exp(0.36) - 1) * np.exp(0.36)))


SHAPES: dict[str, Callable[[Array], Array]] = {"normal": lambda z: z, "skewed": skewed}


def blocks(draws: int, block: int = BLOCK) -> list[int]:
    """Sizes of the blocks that make up so many draws."""
    return [min(block, draws - first) for first in range(0, draws, block)]
