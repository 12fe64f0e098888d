"""Signs of life while the first rank prepares a run and the others wait for it: who dies then is missed in a minute.

In training all ranks exchange something in every update, and a closed connection is noticed there. A first rank that
scans for hours speaks to nobody, so the others count up a number each in the store by which they found each other.
Those who wait listen to the first, and notice its end without help.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from speechbias.training.ranks import LostRanksError, Ranks
from speechbias.training.signals import Interrupted

BEAT = 5.0  # seconds between two signs of life
MISSED = 6  # beats in a row after which a rank is dead; counted, since a machine may sleep and wake up


@contextmanager
def vigil(ranks: Ranks) -> Iterator[None]:
    """Around work of the first rank within ``end_when_asked``. LostRanksError there when another one is gone."""
    if ranks.store is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    over, lost, lock = threading.Event(), list[int](), threading.Lock()
    alone = ranks.store.clone()  # a store serves one thread

    def miss(rank: int) -> None:
        with lock:
            if not over.is_set():
                lost.append(rank)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    work = (lambda: _watch(alone, ranks.size, over, miss)) if ranks.first else (lambda: _beat(alone, ranks.rank, over))
    threading.Thread(target=work, daemon=True).start()
    try:
        yield
    except Interrupted as asked:
        if not lost:
            raise
        raise LostRanksError(f"rank {ranks.rank} of {ranks.size} lost rank {lost[0]}") from asked
    finally:
        with lock:
            over.set()


def _beat(store: Any, rank: int, over: threading.Event) -> None:
    try:
        while not over.wait(BEAT):
            store.add(_key(rank), 1)
    except RuntimeError:  # who keeps the store is gone, and this rank will notice
        return


def _watch(store: Any, size: int, over: threading.Event, miss: Callable[[int], None]) -> None:
    beats, missed = dict.fromkeys(range(1, size), -1), dict.fromkeys(range(1, size), 0)
    try:
        while not over.wait(BEAT):
            for rank, before in beats.items():
                beats[rank] = store.add(_key(rank), 0)
                missed[rank] = missed[rank] + 1 if beats[rank] == before else 0
                if missed[rank] == MISSED:
                    miss(rank)
                    return
    except RuntimeError:
        return


def _key(rank: int) -> str:
    return f"speechbias/alive/{rank}"
