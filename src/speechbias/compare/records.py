"""From results files to comparisons: which records belong together, and which model is the baseline.

Together are the records of one test, all on the same clips with the same options; their vectors lie beside the files.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from speechbias.compare.comparison import Comparison, adjust
from speechbias.compare.members import Member, OneSpeakerError, label
from speechbias.compare.models import compare_members
from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.results import BiasResult
from speechbias.vectors import stored_vectors

CLIPS = "stimuli_sha256"
ALIKE = (CLIPS, "design", "ddof", "confidence", "resamples", "seed")
OPTIONS = ("design", "ddof", "confidence", "resamples", "seed", "permutations")
Model = tuple[str, str, int | None]  # name, hash, step


def compare_results(
    measured: Mapping[Path, Sequence[BiasResult]] | Mapping[str, Sequence[BiasResult]],
    *,
    baseline: str | None = None,
    all_pairs: bool = False,
    per_layer: bool = False,
    layers: bool = False,
    both_zero: bool = False,
    note: Callable[[str], None] | None = None,
) -> list[Comparison]:
    """D of each model minus d of the ``baseline``, test by test, from the records of results files and their vectors.

    ``baseline``: a model's name, "NAME, step N", or the beginning of its hash; by default that from which the others
    were pruned, or the earliest step of a run, or else the first of the file. ``per_layer``: every hidden state that
    all models of a test have, too. ``layers``: states of each model against its state 0 instead of models.
    ``note`` is told of tests with one model or a group of one speaker, where others can be compared. Raises
    ``InputError`` for other clips or options within a test, for vectors that are missing or damaged, an unknown
    baseline, a model measured twice, choices that exclude each other, and where there is nothing to compare.
    """
    _check_choice(baseline, all_pairs=all_pairs, per_layer=per_layer, layers=layers)
    named = _told_apart({Path(path): [_called_by_its_run(r) for r in records] for path, records in measured.items()})
    places = {id(record): path.parent for path, records in named.items() for record in records}
    tests = _by_test([record for records in named.values() for record in records])
    if baseline is not None:
        _check_baseline(tests, baseline)
    made: list[Comparison] = []
    alone: list[str] = []
    for test, models in tests.items():
        _check_options(test, models)
        if not layers and len(models) < 2:
            if note:
                note(f"{test}: only {label(*_named(next(iter(models))))} was measured there, nothing to compare")
            continue
        opened = {model: _open(records, places) for model, records in models.items()}
        if layers:
            members, pairs = _between_layers(opened)
        else:
            choice = {"baseline": baseline, "all_pairs": all_pairs, "per_layer": per_layer}
            members, pairs = _between_models(models, opened, **choice)  # type: ignore[arg-type]
        if pairs:
            options = {name: getattr(_first(models), name) for name in OPTIONS}
            try:
                made += compare_members(members, pairs, both_zero=both_zero, **options)
            except OneSpeakerError as error:
                alone += error.problems
    _check_made(made, alone, note, what="states" if layers else "models")
    return adjust(made)


def _first(models: Mapping[Model, Mapping[Any, BiasResult]]) -> BiasResult:
    return next(iter(next(iter(models.values())).values()))


def _check_made(
    made: Sequence[Comparison], alone: Sequence[str], note: Callable[[str], None] | None, *, what: str
) -> None:
    """InputError where nothing was compared, or where nobody takes a note of the tests that could not be."""
    if alone and (note is None or not made):
        raise InputError(*alone)
    if not made:
        raise InputError(f"There are no two {what} of one test. Name results of two or more.")
    for problem in alone:
        if note:
            note(f"left out: {problem}")


def _called_by_its_run(record: BiasResult) -> BiasResult:
    """A checkpoint of a run by the run's name: all runs call their checkpoints alike; one pooled otherwise says so."""
    name = (record.run or {}).get("name")
    called = record.model if not name or record.step is None else str(name)
    called += "" if record.pooling == "mean" else f", {record.pooling} over time"
    return record if called == record.model else replace(record, model=called)


def _told_apart(named: Mapping[Path, list[BiasResult]]) -> dict[Path, list[BiasResult]]:
    """Models of one name, as one and what something was removed from, by the beginnings of their hashes too."""
    weights: dict[tuple[str, int | None], set[str]] = defaultdict(set)
    for record in chain.from_iterable(named.values()):
        weights[record.model, record.step].add(record.model_sha256)

    def tell(record: BiasResult) -> BiasResult:
        alone = len(weights[record.model, record.step]) == 1
        return record if alone else replace(record, model=f"{record.model} [{record.model_sha256[:8]}]")

    return {path: [tell(record) for record in records] for path, records in named.items()}


def _check_choice(baseline: str | None, *, all_pairs: bool, per_layer: bool, layers: bool) -> None:
    """InputError for choices of which one would go unheard."""
    given = {"--baseline": baseline is not None, "--all-pairs": all_pairs, "--per-layer": per_layer}
    chosen = [name for name in given if given[name]]
    if layers and chosen:
        raise InputError(
            f"--layers compares the states of each model with its state 0. Leave it or {' and '.join(chosen)} out."
        )
    if all_pairs and baseline is not None:
        raise InputError("--all-pairs has no baseline. Leave --all-pairs or --baseline out.")


def _by_test(records: Sequence[BiasResult]) -> dict[str, dict[Model, dict[int | str, BiasResult]]]:
    """By test and model the record of each layer. A record that stands in two files is taken once."""
    tests: dict[str, dict[Model, dict[int | str, BiasResult]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        of = tests[record.test][record.model, record.model_sha256, record.step]
        other = of.setdefault(record.layer, record)
        if other.identity != record.identity:
            raise InputError(
                f"{record.test}: {label(record.model, record.step)} was measured twice, with other "
                f"{_what_differs(other, record)}. Leave one of the two out."
            )
    if not tests:
        raise InputError("These files hold no measurement. Name results that `measure` wrote.")
    return tests


def _what_differs(one: BiasResult, other: BiasResult) -> str:
    names = ("stimuli_sha256", "states", "dtype", "design", "ddof", "alternative", "permutations", "resamples")
    wrong = [name for name in (*names, "confidence", "seed", "recipe") if getattr(one, name) != getattr(other, name)]
    return "clips" if CLIPS in wrong else " and ".join(wrong) or "runs"


def _check_options(test: str, models: Mapping[Model, Mapping[Any, BiasResult]]) -> None:
    """All records of a test on the same clips, with the same options."""
    records = [record for layers in models.values() for record in layers.values()]
    for record in records[1:]:
        for name in ALIKE:
            mine, theirs = getattr(records[0], name), getattr(record, name)
            if mine != theirs:
                one, other = (label(each.model, each.step) for each in (records[0], record))
                what = "clips" if name == CLIPS else f"{name} ({mine} and {theirs})"
                raise InputError(
                    f"{test}: {one} and {other} were measured with different {what}. Measure both alike, or name "
                    "files that fit together."
                )


def _named(model: Model) -> tuple[str, int | None]:
    return model[0], model[2]


def _find(models: Sequence[Model], wanted: str) -> list[Model]:
    """Models that a user may mean: by name, name and step, or hash."""
    for fits in (
        lambda m: label(*_named(m)) == wanted,
        lambda m: m[0] == wanted or m[0] == f"{wanted} [{m[1][:8]}]",
        lambda m: len(wanted) >= 6 and m[1].startswith(wanted),
    ):
        if found := [model for model in models if fits(model)]:
            return found
    return []


def _check_baseline(tests: Mapping[str, Mapping[Model, Any]], wanted: str) -> None:
    models = list(dict.fromkeys(model for of in tests.values() for model in of))
    found = _find(models, wanted)
    names = list(dict.fromkeys(label(*_named(model)) for model in models))
    if not found:
        near = get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:3]
        raise InputError(f"No model {wanted!r} was measured here. Did you mean {' or '.join(near)}?")
    if len(found) > 1:
        told = " or ".join(dict.fromkeys(label(*_named(m)) if m[2] is not None else m[1][:12] for m in found))
        raise InputError(f"{wanted!r} names {len(found)} models. Take --baseline {told}.")
    if absent := [test for test, of in tests.items() if found[0] not in of]:
        raise InputError(f"{wanted} was not measured on {', '.join(absent)}. Measure it, or choose another baseline.")


def _choose(models: Mapping[Model, Mapping[Any, BiasResult]], wanted: str | None) -> Model:
    """The baseline: as named, else the unpruned one, the earliest step, the first of the file."""
    keys = list(models)
    if wanted is not None:
        return _find(keys, wanted)[0]
    records = {model: next(iter(layers.values())) for model, layers in models.items()}
    origins = {record.pruned_from for record in records.values()} - {None}
    for model, record in records.items():
        if record.pruned_from is None and origins & {record.model, record.model_sha256}:
            return model
    runs = {json.dumps(record.run, sort_keys=True) for record in records.values()}
    if len(runs) == 1 and all(model[2] is not None for model in keys):
        return min(keys, key=lambda model: model[2] or 0)
    return keys[0]


def _open(records: Mapping[Any, BiasResult], places: Mapping[int, Path]) -> Embeddings:
    first = next(iter(records.values()))
    return stored_vectors(first, places[id(first)])


def _between_models(
    models: Mapping[Model, Mapping[int | str, BiasResult]],
    opened: Mapping[Model, Embeddings],
    *,
    baseline: str | None,
    all_pairs: bool,
    per_layer: bool,
) -> tuple[list[Member], list[tuple[int, int]]]:
    """The d's of a test, layer by layer, and which are compared."""
    keys, chosen = list(models), _choose(models, baseline)
    common = set.intersection(*(set(layers) for layers in models.values()))
    single = any(each.array.shape[1] == 1 for each in opened.values())  # a single state is the mean once more
    states = sorted(layer for layer in common if isinstance(layer, int)) if per_layer and not single else []
    wanted: list[int | str] = [*(["mean"] if "mean" in common else []), *states]
    members = [Member(opened[model], layer) for layer in wanted for model in keys]
    pairs = [
        (k * len(keys) + i, k * len(keys) + j) for k in range(len(wanted)) for i, j in _pairs(keys, chosen, all_pairs)
    ]
    return members, pairs


def _pairs(keys: Sequence[Model], chosen: Model, all_pairs: bool) -> list[tuple[int, int]]:
    """(model, baseline) by number."""
    if all_pairs:
        return [(j, i) for i, j in combinations(range(len(keys)), 2)]
    return [(i, keys.index(chosen)) for i in range(len(keys)) if keys[i] != chosen]


def _between_layers(opened: Mapping[Model, Embeddings]) -> tuple[list[Member], list[tuple[int, int]]]:
    """Every hidden state of each model, compared with its state 0."""
    members: list[Member] = []
    pairs: list[tuple[int, int]] = []
    for embeddings in opened.values():
        start = len(members)
        members += [Member(embeddings, layer) for layer in range(embeddings.array.shape[1])]
        pairs += [(k, start) for k in range(start + 1, len(members))]
    return members, pairs
