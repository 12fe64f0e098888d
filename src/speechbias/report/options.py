"""What differs between two measurements of the same model, test and state: rows that differ are never merged.

An option is a pair of a label and a text. ``ASKED`` options were chosen by the user and stand in the label of a row as
soon as they vary; the others (recipe, counts, versions) only where nothing else tells two records apart.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from speechbias.report.names import redact
from speechbias.results import BiasResult

Options = dict[str, str]

ASKED: tuple[tuple[str, str], ...] = (
    ("model_sha256", "weights"),
    ("step", "step"),
    ("method", "method"),
    ("criterion", "criterion"),
    ("remaining", "remaining"),
    ("states", "states"),
    ("pooling", "pooling"),
    ("dtype", "dtype"),
    ("crop_seconds", "crop"),
    ("design", "design"),
    ("alternative", "alternative"),
    ("ddof", "ddof"),
    ("confidence", "confidence"),
    ("permutations", "permutations"),
    ("resamples", "resamples"),
    ("seed", "seed"),
)
OTHERS: tuple[tuple[str, str], ...] = (
    ("family", "family"), ("recipe", "recipe"), ("n", "clips"), ("n_speakers", "speakers"), ("groups", "group"),
    ("skipped", "left out"), ("parameters", "parameters"), ("ci_method", "interval"), ("p_method", "method of p"),
    ("versions", "version of"),
)  # fmt: skip


def shorten_hash(sha256: str) -> str:
    """The first eight characters, enough to tell two files apart."""
    return sha256[:8]


def asked_options(record: BiasResult) -> Options:
    """What the user chose, or what names the weights."""
    values = {label: getattr(record, name) for name, label in ASKED}
    values["weights"] = shorten_hash(record.model_sha256)
    values["crop"] = None if record.crop_seconds is None else f"{record.crop_seconds:g} s"
    return {label: "none" if value is None else _text(value) for label, value in values.items()}


def other_options(record: BiasResult) -> Options:
    """Everything else that fixes or describes a measurement; dictionaries by key."""
    options: Options = {}
    for name, label in OTHERS:
        value = getattr(record, name)
        if isinstance(value, dict):
            options |= {f"{label} {key}": _text(inner) for key, inner in value.items()}
        else:
            options[label] = str(len(value)) if isinstance(value, list) else _text(value)
    return options


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return redact(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))


def distinguish(records: Sequence[BiasResult], slot: Callable[[BiasResult], Hashable]) -> list[Options]:
    """Per record the options that tell it from every other record in the same slot.

    Without two records in one slot all are empty. What no option tells apart is numbered, so that it shows.
    """
    slots = _slots(records, slot)
    asked = [asked_options(record) for record in records]
    kept = _select(asked, _varying(asked, slots))
    if _ambiguous(kept, slots):
        others = [other_options(record) for record in records]
        for label in _varying(others, slots):
            trial = [options | {label: other.get(label, "none")} for options, other in zip(kept, others, strict=True)]
            if _ambiguous(trial, slots) < _ambiguous(kept, slots):
                kept = trial
    return _number(kept, slots)


def _slots(records: Sequence[BiasResult], slot: Callable[[BiasResult], Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        found[slot(record)].append(index)
    return list(found.values())


def _varying(options: Sequence[Options], slots: Iterable[list[int]]) -> list[str]:
    labels = dict.fromkeys(label for each in options for label in each)
    slots = [slot for slot in slots if len(slot) > 1]
    return [label for label in labels if any(len({options[i].get(label) for i in slot}) > 1 for slot in slots)]


def _select(options: Sequence[Options], labels: Sequence[str]) -> list[Options]:
    return [{label: each.get(label, "none") for label in labels} for each in options]


def _ambiguous(options: Sequence[Options], slots: Iterable[list[int]]) -> int:
    """How many records share slot and options with an earlier one."""
    return sum(len(slot) - len({tuple(options[i].items()) for i in slot}) for slot in slots)


def _number(options: list[Options], slots: Iterable[list[int]]) -> list[Options]:
    for slot in slots:
        seen: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
        for index in slot:
            key = tuple(options[index].items())
            seen[key] += 1
            if seen[key] > 1:
                options[index] = options[index] | {"measurement": str(seen[key])}
    return options
