"""Which measurement a record is, and which one a record of another kind is about."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# By what a record of another kind names the measurement that it belongs to, beside the hashes.
NAMED = ("test", "model", "family", "layer", "states", "dtype", "recipe", "d", "groups")
NAMES = ("test", "model", "step", "run")  # which a report may call otherwise
IDENTITY = (
    *("test", "model", "model_sha256", "recipe", "stimuli_sha256", "layer", "states", "dtype", "num_states"),
    *("design", "alternative", "permutations", "resamples", "confidence", "ddof", "seed", "step", "run"),
)


def identity(values: Mapping[str, Any]) -> str:
    """The hash of a measurement's identity, from the values of its fields."""
    return hashlib.sha256(dump([values[name] for name in IDENTITY])).hexdigest()


def about_of(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Which measurement a record is about: hash of the model, of the stimuli, and the pooling.

    Of the measurement it is ``about_of(result.about)``.
    """
    return str(record.get("model_sha256")), str(record.get("stimuli_sha256")), str(record.get("pooling", "mean"))


def dump(value: object) -> bytes:
    """A value as one line of JSON: the same bytes for the same value."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
