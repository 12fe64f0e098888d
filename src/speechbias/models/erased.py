"""An encoder from whose states a concept was removed: another one's, each state through an eraser of its own.

Erasers are affine, so what was fitted on means over time is applied to frames, and the mean of erased frames is the
erased mean. Computed in float64, given as float32, as every encoder gives them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import Encoder, Reduce, Sized, States, Wave, reduce_states
from speechbias.erasers import Eraser
from speechbias.errors import InputError


@dataclass(frozen=True, eq=False)
class ErasedEncoder:
    """``base`` with an eraser per hidden state; ``facts`` say what was removed, how, and fitted on what.

    InputError where the erasers are not those of the base's states.
    """

    name: str
    base: Encoder
    erasers: tuple[Eraser, ...]
    facts: Mapping[str, object]  # of a record: JSON values, nobody's name
    fitted_on: frozenset[str] = frozenset()  # marks of speakers and files

    def __post_init__(self) -> None:
        """Refuse erasers of another encoder."""
        shapes = {len(eraser.mean) for eraser in self.erasers}
        if len(self.erasers) != self.base.num_states or shapes != {self.base.dim}:
            raise InputError(
                f"{self.name}: its erasers are for {len(self.erasers)} states of {', '.join(map(str, shapes))}, "
                f"{self.base.name} has {self.base.num_states} of {self.base.dim}; remove again"
            )

    @property
    def family(self) -> str:
        """Of the base."""
        return self.base.family

    @property
    def num_states(self) -> int:
        """Of the base."""
        return self.base.num_states

    @property
    def dim(self) -> int:
        """Of the base: an eraser takes away dimensions of the space, not of the vectors."""
        return self.base.dim

    @property
    def sample_rate(self) -> int:
        """Of the base, in Hz."""
        return self.base.sample_rate

    @property
    def frame_shift(self) -> float:
        """Of the base, in seconds."""
        return self.base.frame_shift

    @property
    def min_samples(self) -> int:
        """Of the base."""
        return self.base.min_samples

    @property
    def states(self) -> str:
        """The convention of states for which the erasers were fitted."""
        return self.base.states

    @property
    def dtype(self) -> str:
        """Of the base."""
        return self.base.dtype

    @property
    def recipe(self) -> Mapping[str, object]:
        """The base's, and what was removed."""
        return {**self.base.recipe, "removal": dict(self.facts)}

    @cached_property
    def sha256(self) -> str:
        """Of the base's weights and the erasers."""
        digest = hashlib.sha256(self.base.sha256.encode())
        for eraser in self.erasers:
            for part in (eraser.mean, eraser.found, eraser.taken):
                digest.update(np.ascontiguousarray(part, np.float64).tobytes())
        return digest.hexdigest()

    @property
    def parameters(self) -> int | None:
        """The base's and those of the erasers; None where the base's are not known."""
        of_base = self.base.parameters if isinstance(self.base, Sized) else None
        added = sum(eraser.mean.size + eraser.found.size + eraser.taken.size for eraser in self.erasers)
        return None if of_base is None else of_base + added

    @property
    def pruned(self) -> Mapping[str, object]:
        """Nothing: it is no point on the curve of sizes of its base."""
        return {}

    @property
    def distilled(self) -> Mapping[str, object]:
        """Nothing: it is not what its base's teacher taught."""
        return {}

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, frames, dim)."""
        return self._erased(self.base.hidden_states(wave))

    def pooled(self, wave: Wave) -> States:
        """Mean over frames per state, (states, dim)."""
        return self._erased(self.base.pooled(wave))

    def reduced(self, wave: Wave, reduce: Reduce) -> States:
        """``reduce`` of every erased state, (states, dim); of one after the other where the base can."""
        return reduce_states(self.base, wave, lambda state, frames: reduce(state, self._erase(state, frames)))

    def _erased(self, states: States) -> States:
        return np.stack([self._erase(number, state) for number, state in enumerate(states)])

    def _erase(self, state: int, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames or a mean of one state without what is erased."""
        return self.erasers[state](vectors.astype(np.float64)).astype(np.float32)
