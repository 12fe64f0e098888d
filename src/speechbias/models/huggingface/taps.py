"""Hidden states read from inside a model while it runs, by forward hooks that are installed once.

The reader of a call is local to its thread: two threads can run one model at a time.

Conventions: a tensor that passes a tap is (1, frames, dim); only its first ``valid`` frames count.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from speechbias.models.readers import Reader


@dataclass(frozen=True)
class Tap:
    """One state: what enters or leaves a module."""

    module: nn.Module
    side: Literal["in", "out"]


class Taps:
    """Hooks on the modules whose inputs and outputs are the states of one convention, state 0 first."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._current = threading.local()
        self._handles = [
            tap.module.register_forward_pre_hook(self._hook_in(state))
            if tap.side == "in"
            else tap.module.register_forward_hook(self._hook_out(state))
            for state, tap in enumerate(taps)
        ]

    def remove(self) -> None:
        """Take the hooks off: a model that is somebody else's is then as it was."""
        for handle in self._handles:
            handle.remove()

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
