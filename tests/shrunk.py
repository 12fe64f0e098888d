"""Recipes of the repository made small: the same files with the same keys, but for what would take hours."""

import json
import tomllib
from pathlib import Path

SHAPE = {"layers": 4, "dim": 16, "ffn": 16, "heads": 2}
DATA = {"utterances": 3, "crop": 0.6, "min_seconds": 0.0, "workers": 0}
UNITS = {"clusters": 4, "share": 1.0, "passes": 1}
RUN = {"log": 1, "save": 2}
STEPS = {"steps": 2, "keep": [0]}
CUTS = {
    "heads": {"stages": [[1, 4]]},
    "rows": {"amount": 4, "stages": [[1, 12]]},
    "weights": {"schedule": "listed", "at": [1, 2], "targets": [0.2, 0.4]},
}
PROBE = {"utterances": 3, "hidden": 8, "resamples": 100}


def write_shrunk(source: Path, target: Path) -> None:
    """Write every recipe below ``source`` below ``target``, shrunk."""
    for path in sorted(source.rglob("*.toml")):
        written = target / path.relative_to(source)
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(as_toml(shrink(tomllib.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def shrink(recipe: dict) -> dict:
    """The recipe with few updates of a tiny model on few short clips; every other key stays."""
    if "probe" in recipe:
        return _changed(
            recipe, probe=PROBE, optim={"rates": [1e-2, 1e-3], "accumulate": 1}, run={"steps": 4, "evaluate": 2}
        )
    changes = {"data": DATA, "run": RUN}
    if "prune" in recipe:
        return _changed(recipe, prune=CUTS[recipe["prune"]["method"]], **changes)
    if "family" not in recipe.get("model", {}):
        return _changed(recipe, **changes | ({"run": RUN | STEPS} if "distill" in recipe else {}))
    changes |= {"model": SHAPE, "run": RUN | STEPS}
    if recipe["model"]["family"] != "melhubert":
        changes["model"] = SHAPE | {"channels": 8}
    if recipe["model"]["family"] != "wav2vec2":
        changes["units"] = UNITS | ({"state": 2} if "state" in recipe.get("units", {}) else {})
    return _changed(recipe, **changes)


def _changed(recipe: dict, **sections: dict) -> dict:
    """Keys of these sections instead of the recipe's; one size, and one length of a batch."""
    changed = {name: value for name, value in recipe.items() if name not in sections}
    for name, keys in sections.items():
        changed[name] = {k: v for k, v in recipe.get(name, {}).items() if k not in {"size", "seconds"}} | keys
    return changed


def as_toml(recipe: dict) -> str:
    """A recipe of keys, and of sections of keys, as a file."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in recipe.items() if not isinstance(value, dict)]
    for section, keys in recipe.items():
        if isinstance(keys, dict):
            lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in keys.items())]
    return "\n".join(lines) + "\n"
