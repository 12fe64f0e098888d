"""The recipe that lies in a run's folder: a run goes on with it and with no other.

Every checkpoint holds the hash of the recipe that made it. So where the file itself was lost or damaged, the recipe
that is given can still be told from any other.
"""

import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from speechbias.checkpoint.folder import META
from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json
from speechbias.training.recipe import Recipe
from speechbias.training.sections import read_toml
from speechbias.training.track import TrackSection

RECIPE = "recipe.toml"
MAY_CHANGE = {("run", key) for key in ("steps", "save", "keep", "keep_every", "max_skipped", "tensorboard", "wandb")}
MAY_CHANGE |= {("data", key) for key in ("workers", "train", "scan")}  # a corpus may move; its rows are compared
MAY_CHANGE |= {("track", field.name) for field in fields(TrackSection)}  # it watches, and trains nothing


def refuse_another(folder: Path, recipe: Recipe, checkpoints: Iterable[Path], *, warn: Callable[[str], None]) -> None:
    """InputError where a run's recipe is another one than this, but for what may change.

    Where the file in the folder is damaged, the recipe must be that of one of the run's ``checkpoints``, to the last
    key; ``warn`` is told then.
    """
    try:
        differing = _difference(_read(folder / RECIPE), tomllib.loads(recipe.to_toml()))
        if differing is None:
            return
        problem, remedy = f"{folder}: {differing}", "a run goes on with its own recipe"
    except InputError as damage:
        problem = f"{damage}: the run's own recipe is lost or damaged"
        remedy = "give the recipe with which it was last started, with all options"
    if recipe.sha256 not in _hashes(checkpoints):
        raise InputError(f"{problem}; {remedy}, or choose another --out")
    warn(f"{problem}; the recipe given is that of the run's checkpoints, and is written there anew")


def written_recipe(folder: Path) -> dict[str, Any] | None:
    """The sections of the recipe in a run's folder; None where there is none, or none that is whole."""
    try:
        return _read(folder / RECIPE)
    except InputError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """The sections of a resolved recipe. InputError for what is none: lost, no TOML, or cut off."""
    found = read_toml(path, remedy="")
    if not found:
        raise InputError(f"{path} is empty")
    if not all(isinstance(section, dict) for section in found.values()) or "steps" not in found.get("run", {}):
        raise InputError(f"{path} is no whole recipe")  # what was cut off behind ``[run]`` differs by its keys
    return found


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """In which key two resolved recipes differ that should not."""
    for section in before.keys() | now.keys():
        old, new = before.get(section, {}), now.get(section, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) and (section, key) not in MAY_CHANGE:
                return f"[{section}] {key} was {old.get(key)!r} and is now {new.get(key)!r}"
    return None


def _hashes(checkpoints: Iterable[Path]) -> set[str]:
    """Of the recipes by which checkpoints were made, as far as they say so."""
    found = set()
    for checkpoint in checkpoints:
        with suppress(InputError):
            provenance = read_json(checkpoint / META).get("provenance")
            if isinstance(provenance, dict):
                found.add(str(provenance.get("recipe_sha256")))
    return found
