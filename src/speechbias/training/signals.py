"""Being asked to stop: SIGTERM and SIGUSR1 (a cluster that takes the machine back), Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


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
    """Note signals instead of dying of them, so that a loop can save between two updates. In the main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in ASKING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
