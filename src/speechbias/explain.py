"""What drives the d's of a results file, from the vectors that lie beside it: records of kind ``explanation``.

No model is loaded. Numbers are descriptions of these clips: none has an interval, and what is left of a d when the
space is centred or scaled is another measure of the same vectors, not a correction of d.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias import geometry
from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.results import NAMED, SCHEMA, BiasResult
from speechbias.vectors import sets_of_layer, stored_vectors

LARGEST = 5  # dimensions that are named
Sets = dict[str, NDArray[np.float64]]


def explain(result: BiasResult, folder: Path, *, beside: Sequence[BiasResult] = ()) -> dict[str, Any]:
    """One measurement explained; ``folder`` is where its results file lies. A record, JSON values.

    ``beside``: further measurements, of which those of the same model and clips that were pooled otherwise are named.
    InputError where its vectors are not kept, were changed, or do not give its d.
    """
    clips = stored_vectors(result, folder)
    by_state = {name: array.astype(np.float64) for name, array in clips.sets().items()}
    sets = sets_of_layer(clips, result.layer)
    d = geometry.effect(sets, ddof=result.ddof)
    if not np.isclose(d, result.d, atol=1e-6):
        raise InputError(
            f"{result.test}, {result.model}: the stored vectors give d = {d:.6f}, the record says {result.d:.6f}; "
            "measure again"
        )
    shares, everything = geometry.dimension_shares(sets), np.concatenate(list(sets.values()))
    lies = geometry.geometry(everything)
    return {
        "kind": "explanation",
        "schema": SCHEMA,
        **{name: getattr(result, name) for name in NAMED},
        "mean_cosines": geometry.mean_cosines(sets),
        "half_by": geometry.fewest_for_half(shares),
        "dim": len(shares),
        "largest": _largest(shares),
        "anisotropy": lies.anisotropy,
        "rogue": _largest(lies.rogue / lies.anisotropy) if abs(lies.anisotropy) > 1e-6 else [],
        "norm": float(np.median(lies.norms)),
        "state_shares": _state_shares(by_state) if result.layer == "mean" else None,
        "alternatives": _alternatives(by_state, sets, result),
        **_pooled_otherwise(result, beside),
        "other_measures": _other_measures(sets, result.ddof),
        **_left_out(sets, clips, result.ddof),
        **result.about,
        "identity": result.identity,
    }


def _largest(shares: NDArray[np.float64]) -> list[list[float]]:
    """The dimensions of the largest shares, each with its share; those that sum to nothing have none."""
    order = np.argsort(-shares, kind="stable")[:LARGEST]
    return [] if np.isnan(shares).any() else [[int(each), float(shares[each])] for each in order]


def _state_shares(by_state: Mapping[str, NDArray[np.float64]]) -> list[float]:
    return [float(share) for share in geometry.state_shares(np.concatenate(list(by_state.values())))]


def _alternatives(by_state: Sets, sets: Sets, result: BiasResult) -> dict[str, float | None]:
    """D of the same clips in other geometries; None where s has no spread there."""
    found = {name: change(sets) for name, change in geometry.ALTERNATIVES.items() if len(sets["X"][0]) > LARGEST}
    if result.layer == "mean" and result.num_states > 1:
        found["states of equal length"] = geometry.equal_states(by_state)
    ds = {name: geometry.effect(changed, ddof=result.ddof) for name, changed in found.items()}
    return {name: None if np.isnan(d) else d for name, d in ds.items()}


def _pooled_otherwise(result: BiasResult, beside: Sequence[BiasResult]) -> dict[str, Any]:
    """D of the same model and clips under other poolings of frames, by name; nothing where none was measured."""
    found = {each.pooling: each.d for each in beside if _same_but_pooling(each) == _same_but_pooling(result)}
    found.pop(result.pooling, None)
    return {"poolings": found} if found else {}


def _same_but_pooling(result: BiasResult) -> tuple[object, ...]:
    recipe = {key: value for key, value in result.recipe.items() if key != "pooling"}
    of = result.model_sha256, result.stimuli_sha256, result.layer, result.states, result.dtype, result.ddof
    return *of, recipe


def _other_measures(sets: Sets, ddof: int) -> dict[str, float | None]:
    """The same clips by measures that are not d; None where one has no spread to divide by."""
    found = {
        **{f"sc_weat_{name}": geometry.single_category(sets[name], sets["A"], sets["B"]) for name in "XY"},
        **{f"rnd_{name}": geometry.relative_norm_distance(sets, name) for name in "AB"},
        "projection": geometry.projection_gap(sets, ddof=ddof),
    }
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def _left_out(sets: Sets, clips: Embeddings, ddof: int) -> dict[str, Any]:
    """The range of d without one speaker of X or Y, and without one talker of A or B; nobody is named."""
    made: dict[str, Any] = {}
    for key, names in (("leave_one_speaker_out", "XY"), ("leave_one_talker_out", "AB")):
        people = {name: clips.speakers[name] for name in names}
        known = any(label for labels in people.values() for label in labels)
        ds: Sequence[float] = geometry.leave_one_out(sets, people, ddof=ddof).tolist() if known else []
        usable = [d for d in ds if not np.isnan(d)]
        made[key] = [min(usable), max(usable)] if usable else None
    return made
