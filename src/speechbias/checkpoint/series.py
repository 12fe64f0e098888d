"""Many checkpoints of one run: which update and which run a folder belongs to, each once, in the order of updates.

Ours lie in ``RUN/checkpoints/step-00000500``, those of transformers' ``Trainer`` in ``RUN/checkpoint-500`` with a
``trainer_state.json``. What a checkpoint says of itself goes before what its folder is called. No torch here.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbias.checkpoint.source import Source
from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json

OURS = re.compile(r"step-(\d+)")
TRAINERS = re.compile(r"checkpoint-(\d+)")
TRAINER_STATE = "trainer_state.json"


def trainer_step(source: Source) -> int | None:
    """The update of a folder that transformers' ``Trainer`` wrote; None for any other source."""
    if source.path is None or not (source.path / TRAINER_STATE).is_file():
        return None
    try:
        step = read_json(source.path / TRAINER_STATE).get("global_step")
    except InputError:  # damaged; the weights may be whole, and are what is measured
        return None
    return step if type(step) is int and step >= 0 else None


def run_of(source: Source) -> Mapping[str, Any] | None:
    """The run of a checkpoint that does not name it: the folder that its series lies in."""
    if source.path is None:
        return None
    path = source.path.resolve()
    if OURS.fullmatch(path.name) and path.parent.name == "checkpoints":
        return {"name": path.parent.parent.name}
    return {"name": path.parent.name} if TRAINERS.fullmatch(path.name) else None


def in_order(models: Sequence[str]) -> list[str]:
    """MODELs, each once, checkpoints of one folder by their updates: ``*`` sorts 1000 before 500, and ``last`` first.

    Two names of one folder (``last`` is a link) are one model. A series stands where its first member stood.
    """
    unique: dict[str, str] = {}
    for model in models:
        unique.setdefault(_place(model), model)
    first: dict[str, int] = {}
    numbered = []
    for position, (place, model) in enumerate(unique.items()):
        folder, name = os.path.split(place)
        found = OURS.fullmatch(name) or TRAINERS.fullmatch(name)
        series = f"{folder}/{name.split('-')[0]}" if found else place
        start = first.setdefault(series, position)
        numbered.append((start, int(found[1]) if found else 0, model))
    return [model for _, _, model in sorted(numbered, key=lambda each: each[:2])]


def _place(model: str) -> str:
    """Where a MODEL lies, links followed; its name where it is no folder."""
    try:
        there = Path(model).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # no name of a file; whoever loads it says so
        return model
    return os.path.realpath(Path(model).expanduser()) if there else model
