"""What looks at hidden states while a model runs: means over frames, something else of them, or the frames themselves.

``RunningMeans`` keeps one sum per state and forgets the frames, ``Reducer`` keeps what a function makes of them,
``Collector`` keeps the frames. All see the same tensors, so that what is pooled is the mean of what is collected.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.encoder import Reduce

ROWS = 256  # frames


class Reader(Protocol):
    """What looks at the frames of a state, (frames, dim), as they pass."""

    def read(self, state: int, frames: Tensor) -> None:
        """Take the valid frames of one state; windows of one wave come one after the other."""


class RunningMeans:
    """Sums over frames in float64: memory for (states, dim), whatever the number of frames.

    It is taken at once: a sum made between the large intermediates of two layers would keep their memory in pieces.
    """

    def __init__(self, num_states: int) -> None:
        self.sums: Tensor | None = None  # (states, dim)
        self.squares: Tensor | None = None  # (states,)
        self.counts = [0] * num_states

    def read(self, state: int, frames: Tensor) -> None:
        """Add frames (frames, dim) to a state's sums."""
        if self.sums is None or self.squares is None:
            self.sums = frames.new_zeros((len(self.counts), frames.shape[1]), dtype=torch.float64)
            self.squares = frames.new_zeros(len(self.counts), dtype=torch.float64)
        self.sums[state] += frames.sum(dim=0, dtype=torch.float64)
        for some in torch.split(frames, ROWS):  # it copies what it takes to float64
            self.squares[state] += torch.linalg.vector_norm(some, dtype=torch.float64).square()
        self.counts[state] += frames.shape[0]

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean over frames (states, dim) and root mean square of the frames (states,)."""
        assert self.sums is not None
        assert self.squares is not None
        counts = np.array(self.counts, np.float64)
        sums, squares = self.sums.cpu().numpy(), self.squares.cpu().numpy()
        return sums / counts[:, None], np.sqrt(squares / (counts * sums.shape[1]))


class Collector:
    """All frames of all states."""

    def __init__(self, num_states: int) -> None:
        self.frames: list[list[NDArray[np.float32]]] = [[] for _ in range(num_states)]

    def read(self, state: int, frames: Tensor) -> None:
        """Keep frames (frames, dim) of a state, after those of earlier windows."""
        self.frames[state].append(frames.to("cpu", torch.float32, copy=True).numpy())

    def states(self) -> NDArray[np.float32]:
        """Everything read: (states, frames, dim)."""
        return np.stack([np.concatenate(windows) for windows in self.frames])


class Reducer:
    """What a function makes of the frames of each state, which are then forgotten.

    ``whole``: each state is read once, with all its frames. A wave in several windows keeps them to the end instead.
    """

    def __init__(self, num_states: int, reduce: Reduce, *, whole: bool = True) -> None:
        self.reduce, self.whole = reduce, whole
        self.collector = Collector(num_states)
        self.reduced: dict[int, NDArray[np.float32]] = {}

    def read(self, state: int, frames: Tensor) -> None:
        """Reduce the frames (frames, dim) of a state, or keep those of one window."""
        if self.whole:
            self.reduced[state] = self.reduce(state, frames.to("cpu", torch.float32).numpy())
        else:
            self.collector.read(state, frames)

    def states(self) -> NDArray[np.float32]:
        """What became of every state, (states, dim)."""
        if self.whole:
            return np.stack([self.reduced[state] for state in range(len(self.collector.frames))])
        return np.stack([self.reduce(k, np.concatenate(each)) for k, each in enumerate(self.collector.frames)])
