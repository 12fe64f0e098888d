"""A disk that is full, as far as a test may fill one: no file grows beyond so many bytes."""

import resource
import signal
from contextlib import contextmanager


@contextmanager
def small_files(room):
    """Writing beyond ``room`` bytes fails, as on a full disk with an error that names no file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
