"""A folder of an encoder from which a concept was removed: ``removal.json``, ``removal.safetensors``, the base beside.

The base lies in ``model`` as it was given (a folder, a file), so the folder loads anywhere; features and untrained
models are named instead. The weights of the base are checked by their hash.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.source import REMOVAL as SAID
from speechbias.checkpoint.source import Source, find_source
from speechbias.encoder import Encoder
from speechbias.erasers import Eraser, stacked
from speechbias.errors import InputError
from speechbias.models.erased import ErasedEncoder
from speechbias.models.jsonfiles import read_json
from speechbias.results import write_whole

SCHEMA = 1
ARRAYS, BASE = "removal.safetensors", "model"
PARTS = ("mean", "found", "taken")  # of an eraser: (states, dim), (states, dim, rank), (states, rank, dim)
AGAIN = "make it again: speechbias remove MODEL --fit FIT.csv -o OUT"


@dataclass(frozen=True, eq=False)
class Removal:
    """What such a folder holds. ``base``: what ``load_encoder`` takes; ``fitted_on``: hashes of speakers and files."""

    base: str
    base_sha256: str
    states: str
    erasers: tuple[Eraser, ...]
    facts: Mapping[str, Any]
    fitted_on: frozenset[str]


def is_erased(folder: Path) -> bool:
    """Whether a folder is one of these."""
    return (folder / SAID).is_file()


def write_removal(folder: Path, base: Source, removal: Removal) -> None:
    """Write into an empty folder. ``base`` is copied with its links resolved, but for optimiser states."""
    if base.path is not None:
        place = folder / BASE
        if base.path.is_dir():
            shutil.copytree(base.path, place, ignore=shutil.ignore_patterns("trainer.pt", ".*"))
        else:
            place.mkdir()
            shutil.copyfile(base.path, place / base.path.name)
    save_file(stacked(removal.erasers), folder / ARRAYS)
    said = {
        "schema": SCHEMA,
        "base": base.name if base.path is None else (base.path.name if base.path.is_file() else ""),
        "base_sha256": removal.base_sha256,
        "states": removal.states,
        "facts": dict(removal.facts),
        "fitted_on": sorted(removal.fitted_on),
    }
    write_whole(folder / SAID, json.dumps(said, ensure_ascii=False, indent=2).encode() + b"\n")


def read_removal(folder: Path) -> Removal:
    """Read such a folder; the base is not loaded. InputError, one line, for a broken one."""
    said = read_json(folder / SAID)
    if said.get("schema") != SCHEMA:
        raise InputError(f"{folder / SAID} has another schema than {SCHEMA}; update speechbias to read it")
    texts = all(isinstance(said.get(key), str) for key in ("base", "base_sha256", "states"))
    marks, facts = said.get("fitted_on"), said.get("facts")
    if not texts or not isinstance(facts, dict) or not isinstance(marks, list):
        raise InputError(f"{folder / SAID} does not say what was removed from what; {AGAIN}")
    base = said["base"]
    if Path(base).name != base:
        raise InputError(f"{folder / SAID}: base {base[:60]!r} leads out of the folder; {AGAIN}")
    if (folder / BASE).is_dir():
        base = str(folder / BASE / base) if base else str(folder / BASE)
    elif not base or find_source(base).path is not None:
        raise InputError(f"{folder} has lost its {BASE}; copy the folder again")
    return Removal(base, said["base_sha256"], said["states"], _erasers(folder), facts, frozenset(map(str, marks)))


def without_run(name: str, base: Checkpoint, removal: Removal) -> Checkpoint:
    """The base's checkpoint as an export of the model describes it: no point of its run, and what was removed."""
    meta = base.meta
    said = {**meta.provenance, "removal": dict(removal.facts)}
    return replace(base, name=name, meta=replace(meta, step=None, provenance=said))


def check_states(name: str, removal: Removal, states: str) -> None:
    """InputError for another convention of states than that for which the erasers were fitted."""
    if states != removal.states:
        raise InputError(f"{name} erases the states {removal.states!r}, not {states!r}; remove from those")


def load_erased(name: str, folder: Path, states: str, *, load: Callable[[str], Encoder]) -> ErasedEncoder:
    """The encoder of such a folder; ``load`` loads its base. InputError where that has other weights now."""
    removal = read_removal(folder)
    check_states(name, removal, states)
    base = load(removal.base)
    if base.sha256 != removal.base_sha256:
        raise InputError(f"{folder}: its {BASE} has other weights than those that were fitted; copy the folder again")
    return ErasedEncoder(name, base, removal.erasers, removal.facts, removal.fitted_on)


def _erasers(folder: Path) -> tuple[Eraser, ...]:
    path = folder / ARRAYS
    try:
        arrays = load_file(path)
        mean, found, taken = (arrays[part].astype(np.float64) for part in PARTS)
        shapes = (mean.shape, found.shape, taken.transpose(0, 2, 1).shape)
        if mean.ndim != 2 or shapes[1] != shapes[2] or shapes[1][:2] != shapes[0]:
            raise ValueError(f"shapes {shapes}")  # noqa: TRY301
        if not all(np.isfinite(array).all() for array in (mean, found, taken)):
            raise ValueError("NaN or Inf")  # noqa: TRY301
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read as erasers ({str(error).splitlines()[0]}); {AGAIN}") from None
    return tuple(Eraser(*parts) for parts in zip(mean, found, taken, strict=True))
