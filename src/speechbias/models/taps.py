"""Hidden states read from inside a model while it runs, by forward hooks that are installed once.

Two readers: ``RunningMeans`` keeps one sum per state and forgets the frames, ``Collector`` keeps the frames. Both see
the same tensors, so that what is pooled is the mean of what is collected. The reader of a call is local to its thread:
two threads can run one model at a time.

Conventions: a tensor that passes a tap is (1, frames, dim); only its first ``valid`` frames count.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """One state: what enters or leaves a module."""

    module: nn.Module
    side: Literal["in", "out"]


class Reader(Protocol):
    """What looks at the frames of a state, (frames, dim), as they pass."""

    def read(self, state: int, frames: Tensor) -> None:
        """Take the valid frames of one state; windows of one wave come one after the other."""


class RunningMeans:
    """Sums over frames in float64: memory for (states, dim), whatever the number of frames."""

    def __init__(self, num_states: int) -> None:
        self.sums: list[Tensor | float] = [0.0] * num_states
        self.squares: list[Tensor | float] = [0.0] * num_states
        self.counts = [0] * num_states

    def read(self, state: int, frames: Tensor) -> None:
        """Add frames (frames, dim) to a state's sums."""
        self.sums[state] = self.sums[state] + frames.sum(dim=0, dtype=torch.float64)
        norm = torch.linalg.vector_norm(frames, dtype=torch.float64)
        self.squares[state] = self.squares[state] + norm.square()
        self.counts[state] += frames.shape[0]

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean over frames (states, dim) and root mean square of the frames (states,)."""
        counts = np.array(self.counts, np.float64)
        sums = torch.stack([torch.as_tensor(total) for total in self.sums]).cpu().numpy()
        squares = torch.stack([torch.as_tensor(total) for total in self.squares]).cpu().numpy()
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


class Taps:
    """Hooks on the modules whose inputs and outputs are the states of one convention, state 0 first."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._current = threading.local()
        for state, tap in enumerate(taps):
            if tap.side == "in":
                tap.module.register_forward_pre_hook(self._hook_in(state))
            else:
                tap.module.register_forward_hook(self._hook_out(state))

    @contextmanager
    def reading(self, reader: Reader, *, valid: int | None = None) -> Iterator[None]:
        """Let ``reader`` see the first ``valid`` frames (None: all) of every state of the runs inside."""
        self._current.reader, self._current.valid = reader, valid
        try:
            yield
        finally:
            self._current.reader = None

    def _read(self, state: int, value: Any) -> None:
        reader = getattr(self._current, "reader", None)
        if reader is not None:
            hidden = value[0] if isinstance(value, tuple) else value  # WavLM's blocks also hand on a position bias
            reader.read(state, hidden[0, : self._current.valid])

    def _hook_in(self, state: int) -> Any:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._read(state, arguments[0])

        return hook

    def _hook_out(self, state: int) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            self._read(state, output)

        return hook
