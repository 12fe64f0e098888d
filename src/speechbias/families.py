"""Records that are one family, judged together from their stored vectors: steps, sparsities, hidden states.

No model is loaded: ``RESULTS.vectors`` has the pooled vectors of every clip, the same clips for every member.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference import Options
from speechbias.inference.simultaneous import simultaneous
from speechbias.results import SCHEMA, BiasResult, Together
from speechbias.vectors import stored_vectors, target_associations


def judge_steps(
    records: Sequence[BiasResult], places: Mapping[str, Path], *, what: str = "steps of one run"
) -> dict[str, Together]:
    """Max-T and bands over the steps, a family per layer; by the identity of each record.

    ``records`` are of one run, test and set of options, and of several steps, or sizes of one pruned model (``what``
    they are called); ``places`` says by identity in which folder the results file of a record lies. Left out: layers
    with one step or with one at which s has no spread, and records whose vectors are not there, or are of other clips.
    """
    families: dict[int | str, list[BiasResult]] = defaultdict(list)
    for record in records:
        families[record.layer].append(record)
    return _judge_families(list(families.values()), places, what)


def judge_states(records: Sequence[BiasResult], places: Mapping[str, Path]) -> dict[str, Together]:
    """The same over the hidden states of each model, without "mean"; ``records`` of one test and set of options."""
    families: dict[tuple[str, str, int | None, str], list[BiasResult]] = defaultdict(list)
    for record in records:
        if record.layer != "mean":
            families[record.model, record.model_sha256, record.step, record.pooling].append(record)
    return _judge_families(list(families.values()), places, "states of one model")


def find_bands(records: Sequence[BiasResult], places: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Records of kind ``band``: d of every member of a family with a band that holds all of them at once, and max-T.

    Families: the states of a model, the steps of a run, the sizes of a pruned model; each of one test and one set of
    options, of d of the mean over states for steps and sizes. ``places`` as for ``judge_steps``; what has no vectors,
    or is alone, is in none.
    """
    made: list[dict[str, Any]] = []
    records = list({_point(record): record for record in records}.values())  # two files may hold the same
    for kind, name in ((_states, "states"), (_steps, "steps"), (_sizes, "sizes")):
        families: dict[str, list[BiasResult]] = defaultdict(list)
        for record in records:
            if (key := kind(record)) is not None:
                families[json.dumps([key, *(getattr(record, each) for each in SHARED)], sort_keys=True)].append(record)
        for family in families.values():
            judged = _judge_families([family], places, f"{name} of one {'model' if name == 'states' else 'run'}")
            made += [_band(name, record, judged[record.identity]) for record in family if record.identity in judged]
    return made


SHARED = (
    *("test", "stimuli_sha256", "family", "num_states", "dim"),
    *("states", "dtype", "recipe", "design", "alternative"),
    *("permutations", "resamples", "confidence", "ddof", "seed"),
)


def _point(record: BiasResult) -> str:
    """A checkpoint counts once, whether it was called ``last`` or by its step."""
    return json.dumps([record.measurement, record.test, record.step, record.run], sort_keys=True)


def _states(record: BiasResult) -> list[Any] | None:
    return None if record.layer == "mean" else [record.model_sha256, record.step, record.run]


def _steps(record: BiasResult) -> list[Any] | None:
    cut = record.method is not None or record.distilled_from is not None
    return [record.run] if record.layer == "mean" and record.step is not None and record.run and not cut else None


def _sizes(record: BiasResult) -> list[Any] | None:
    if record.layer != "mean" or record.parameters_removed is None:
        return None
    return [record.method, record.criterion, record.criterion_seed, record.pruned_from, record.run]


def _band(name: str, record: BiasResult, judged: Together) -> dict[str, Any]:
    said = ("test", "model", "family", "layer", "states", "step", "run", "method", "criterion", "parameters_removed")
    return {
        "kind": "band",
        "schema": SCHEMA,
        "over": name,
        "members": judged.family,
        **{each: getattr(record, each) for each in said if getattr(record, each) is not None},
        "d": record.d,
        "band_low": judged.low,
        "band_high": judged.high,
        "p_adjusted": judged.p_adjusted,
        "confidence": record.confidence,
        "design": record.design,
        **record.about,
    }


def _judge_families(
    families: Sequence[Sequence[BiasResult]], places: Mapping[str, Path], what: str
) -> dict[str, Together]:
    found: dict[str, Together] = {}
    clips: Embeddings | None = None
    opened: dict[tuple[Path, str], Embeddings] = {}
    for family in families:
        members: list[BiasResult] = []
        columns: list[NDArray[np.float64]] = []
        for record in family:
            here = _open(record, places[record.identity], opened)
            if here is None or (clips is not None and here.n != clips.n):
                continue  # of other clips: no labels are the same
            clips = clips or here
            if record.layer == "mean" or record.layer < here.array.shape[1]:
                members.append(record)
                columns.append(target_associations(here, record.layer))
        if clips is not None and len(members) > 1:
            with suppress(InputError):  # a member that has collapsed: what is judged together needs all
                found |= _judge(members, np.column_stack(columns), clips, f"{len(members)} {what}")
    return found


def _open(record: BiasResult, folder: Path, opened: dict[tuple[Path, str], Embeddings]) -> Embeddings | None:
    """The vectors of a record, each file read once; None where they are not those that were measured."""
    if record.vectors is None:
        return None
    key = folder / record.vectors["path"], record.vectors["sha256"]
    if key not in opened:
        with suppress(InputError):
            opened[key] = stored_vectors(record, folder)
    return opened.get(key)


def _judge(family: Sequence[BiasResult], s: NDArray[np.float64], clips: Embeddings, over: str) -> dict[str, Together]:
    options: Options = {name: getattr(family[0], name) for name in Options.__annotations__}  # type: ignore[assignment]
    found = simultaneous(s, n_x=clips.n["X"], speakers=clips.speakers, pairs=clips.pairs, **options)
    numbers = zip(family, found.p_adjusted, found.low, found.high, strict=True)
    return {record.identity: Together(float(p), float(low), float(high), over) for record, p, low, high in numbers}
