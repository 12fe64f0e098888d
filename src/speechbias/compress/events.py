"""``events.jsonl`` of a run: every cut, a line each; what one run cut, and when, is another run's schedule.

Heads and rows are named as the model of the beginning numbers them, by layer, both from 0. (The public code numbers
them anew after each cut.) Of weights a line says the share of zeros, and how many each layer keeps.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from speechbias.errors import InputError, os_reason
from speechbias.results import write_whole
from speechbias.training.pruning import Method

EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Event:
    """One cut after update ``step``; ``remaining``, in all layers, ``of`` as many as there were at the beginning.

    ``amount``: heads or rows of each layer, or the share of zeros that is reached. ``cut``: {layer: indices}, for
    weights {layer: how many are kept}.
    """

    step: int
    kind: Method
    amount: int | float
    criterion: str
    cut: Mapping[str, Any]
    remaining: int
    of: int

    @property
    def sentence(self) -> str:
        """One line for who watches."""
        return f"step {self.step}: cut by {self.criterion}, {self.remaining:,} of {self.of:,} {self.kind} are left"


def read_events(path: Path | str) -> list[Event]:
    """The cuts of a run, in order. InputError for a file that is none, naming the line."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = os_reason(error, otherwise="no UTF-8")
        raise InputError(f"{path} cannot be read ({reason}); name the events.jsonl of a run") from None
    events = [_event(line, f"{path} line {number}") for number, line in enumerate(lines, start=1)]
    if any(b.step <= a.step for a, b in pairwise(events)):
        raise InputError(f"{path}: steps do not grow from line to line; it is no events.jsonl of one run")
    return events


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write all of them, or leave the file as it was."""
    write_whole(path, "".join(json.dumps(asdict(event)) + "\n" for event in events).encode())


def _event(line: str, where: str) -> Event:
    try:
        event = Event(**json.loads(line))
        kinds = isinstance(event.step, int) and event.step >= 0 and event.kind in get_args(Method)
        amounts = isinstance(event.amount, int if event.kind != "weights" else float) and event.amount > 0
    except (ValueError, TypeError):
        kinds = amounts = False
    if not (kinds and amounts):
        raise InputError(f"{where} is no cut of a run; name its events.jsonl as it was written")
    return event
