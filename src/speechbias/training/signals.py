"""Being asked to stop: SIGTERM and SIGUSR1 (a cluster that takes the machine back), Ctrl-C.

Python gives signals to the main thread alone. A run in another thread is not asked: there everything is as if these
contexts were not there.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Never

BY_CLUSTERS = (signal.SIGTERM, signal.SIGUSR1)
ASKING = (*BY_CLUSTERS, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """Asked to stop where nothing is to be saved; who cleans up after Ctrl-C does so after this."""


class Stop:
    """Whether somebody asked, and how."""

    asked: signal.Signals | None = None

    def ask(self, number: int, _: FrameType | None) -> None:
        """Note it; a second Ctrl-C does not wait for the update to end."""
        self.asked = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_when_asked() -> Iterator[Stop]:
    """Note signals instead of dying of them, so that a loop can save between two updates."""
    stop = Stop()
    with _handled(ASKING, stop.ask):
        yield stop


@contextmanager
def end_when_asked() -> Iterator[None]:
    """Raise Interrupted where a cluster asks, as Python raises KeyboardInterrupt by itself: what is open is closed."""
    with _handled(BY_CLUSTERS, _interrupt):
        yield


def _interrupt(number: int, _: FrameType | None) -> Never:
    raise Interrupted(signal.Signals(number).name)


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
