"""The folder of a probe's run: what lies where, what is done already, and what it refuses to be mixed with.

``recipe.toml`` (resolved), ``results.jsonl`` (a record per model), ``left-out.tsv``, ``out-of-lexicon.tsv``, and a
folder for each model: ``log.jsonl``, ``sweep.pt`` while it is trained, ``states/`` while it is cached, and when it is
done ``record.json``, ``utterances.tsv`` and ``probe.safetensors``.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbias.embeddings import Model
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.probe.recipe import MAY_MOVE, ProbeRecipe
from speechbias.probe.splits import LEFT_OUT, OUT_OF_LEXICON, Splits
from speechbias.probe.sweep import SWEEP
from speechbias.results import write_whole
from speechbias.training.sections import read_toml
from speechbias.training.tables import tsv

RECIPE, RESULTS, MODELS, PRETRAINED = "recipe.toml", "results.jsonl", "models", "pretrained"
RECORD, TABLE, WEIGHTS, STATES = "record.json", "utterances.tsv", "probe.safetensors", "states"  # of a model
INFEASIBLE, CORPUS = "infeasible.tsv", "corpus.sha256"


def folder_name(encoder: Encoder) -> str:
    """The folder of a model: its name, and a hash of what fixes its states."""
    model = Model.of(encoder)
    said = [model.sha256, model.family, model.states, model.dtype, dict(model.recipe)]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model.name)[:60]}-{digest[:8]}"


def refuse_another(folder: Path, recipe: ProbeRecipe) -> None:
    """InputError where the folder holds probes of another recipe, but for its models."""
    path = folder / RECIPE
    if not path.exists() or not (folder / MODELS).exists():
        return
    before, now = read_toml(path), tomllib.loads(recipe.to_toml())
    for section in now.keys() | before.keys():
        old, new = before.get(section, {}), now.get(section, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) and key not in MAY_MOVE.get(section, ()):
                raise InputError(
                    f"{folder}: [{section}] {key} was {old.get(key)!r} and is now {new.get(key)!r}; probes of one "
                    "folder have one recipe, choose another --out"
                )


def refuse_another_corpus(place: Path, splits: Splits) -> None:
    """InputError where a sweep was begun on other utterances than these."""
    path = place / CORPUS
    if (place / SWEEP).exists() and path.exists() and path.read_text() != splits.sha256:
        raise InputError(
            f"{place}: the corpus is not that on which its sweep began; put it back, or choose another --out"
        )
    write_whole(path, splits.sha256.encode())


def record_of(place: Path, splits: Splits) -> dict[str, Any] | None:
    """The record of a model that is done. InputError where it is of other utterances, or damaged."""
    path = place / RECORD
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        known = record["corpus_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} is damaged; remove {place}, and the model is probed anew") from None
    if known != splits.sha256:
        raise InputError(f"{place}: the corpus is not that of its record; put it back, or choose another --out")
    return record


def write_lists(folder: Path, splits: Splits) -> None:
    """What of the corpora is not used, and the words that no lexicon has; no file where there are none."""
    left_out = (
        (each.split, each.key, each.why) for each in sorted(splits.left_out, key=lambda each: (each.split, each.key))
    )
    for name, rows in ((LEFT_OUT, left_out), (OUT_OF_LEXICON, sorted(splits.unknown.items()))):
        if content := tsv(rows):
            write_whole(folder / name, content)
        else:
            (folder / name).unlink(missing_ok=True)


def write_record(place: Path, record: Mapping[str, Any], table: str) -> None:
    """What makes a model done; the record last."""
    write_whole(place / TABLE, table.encode(errors="surrogateescape"))
    write_whole(place / RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
