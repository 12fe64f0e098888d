"""Would this test find an association that is there, and none that is not? Two controls on a measurement's vectors.

Planted: X is moved towards A and away from B, and Y the other way, until d is what is asked for; a test that does not
call that associated cannot show much with these clips. Shuffled: A and B are relabelled within their talkers over and
over, and each time both p's are found anew. p_value alone is often small then, since groups that differ do so along
many directions; both are not, as long as p_attribute keeps its level on these vectors.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.geometry import effect
from speechbias.inference import resolve_design
from speechbias.inference.attributes import attribute_test
from speechbias.inference.designs import Relabelling, relabel, relabel_attributes
from speechbias.inference.permutation import permutation_test, share
from speechbias.inference.selections import selections
from speechbias.results import SCHEMA, SETS, BiasResult
from speechbias.speat import unit
from speechbias.vectors import sets_of_layer, stored_vectors

Array = NDArray[np.float64]
PLANTED = 1.5  # |d|: near to what it can be at the most, 2
FARTHEST = 16  # mean lengths of a vector by which X and Y are moved at most
PERMUTATIONS = 10_000  # of the planted, where the measurement had no fewer
DRAWS, REFERENCE = 400, 2_000  # shuffles, and relabellings by which each is judged
FEWEST_HITS = 20  # that a p of alpha should count
MARGIN = 4  # standard errors that the share of false alarms may lie above alpha: 1 of 10,000 fails by chance
LEAST = 1e-12  # of the largest |s|: what lies closer is a tie


def control(result: BiasResult, folder: Path, *, planted: float = PLANTED, seed: int = 0) -> dict[str, Any]:
    """Both controls for a measurement whose results file lies in ``folder``: a record of kind ``control``.

    ``planted`` is the |d| of what is planted, which is negative where the test asks for ``less``. InputError as
    ``stored_vectors``.
    """
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, result.layer)
    level = result.alpha
    target = -abs(planted) if result.alternative == "less" else planted
    found = _planted(sets, result, clips, target)
    shuffled = _shuffled(sets, result, clips, seed=seed)
    bound = level + MARGIN * math.sqrt(level * (1 - level) * (1 / shuffled["draws"] + 1 / shuffled["reference"]))
    return {
        **describe(result, "vectors"),
        "planted": found,
        "shuffled": shuffled,
        "passed": bool(found["associated"] and shuffled["associated"] <= bound),
        "seed": seed,
    }


def describe(result: BiasResult, which: str) -> dict[str, Any]:
    """What every record of kind ``control`` says of the measurement that it is of."""
    named = ("test", "model", "family", "layer", "states", "groups", "design", "alternative")
    return {
        "kind": "control",
        "control": which,
        "schema": SCHEMA,
        **{name: getattr(result, name) for name in named},
        "alpha": result.alpha,
        "model_sha256": result.model_sha256,
        "stimuli_sha256": result.stimuli_sha256,
        "of": result.measurement,
    }


def plant(sets: Mapping[str, Array], d: float, *, ddof: int = 1) -> dict[str, Array] | None:
    """The sets with X moved towards A and Y towards B until d is ``d``; None where no such move gets there.

    Arrays (stimuli, dim). All of X move by one vector, all of Y by its opposite: the difference of A's and B's mean
    directions, of a length that bisection finds.
    """
    towards = unit(sets["A"]).mean(0) - unit(sets["B"]).mean(0)
    scale = np.linalg.norm(np.concatenate([sets["X"], sets["Y"]]), axis=1).mean()
    step = towards * scale / max(float(np.linalg.norm(towards)), np.finfo(float).tiny)

    def moved(by: float) -> dict[str, Array]:
        return {**sets, "X": sets["X"] + by * step, "Y": sets["Y"] - by * step}

    side = 1 if effect(sets, ddof=ddof) < d else -1  # there may be as much of it already: it is taken down to ``d``
    near, far = 0.0, 1.0
    while side * (effect(moved(side * far), ddof=ddof) - d) < 0:
        near, far = far, 2 * far
        if far > FARTHEST:
            return None
    if math.isnan(effect(moved(side * far), ddof=ddof)):
        return None
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if side * (effect(moved(side * middle), ddof=ddof) - d) < 0 else (near, middle)
    return moved(side * far)


def _planted(sets: Mapping[str, Array], result: BiasResult, clips: Embeddings, target: float) -> dict[str, Any]:
    """Both p's of the planted, as the measurement itself would find them, but with fewer relabellings."""
    made = plant(sets, target, ddof=result.ddof)
    asked = {"target": target, "permutations": _permutations(result)}
    if made is None:
        return asked | {"d": None, "p_value": None, "p_attribute": None, "associated": False}
    x, y, a, b = (unit(made[name]) for name in SETS)
    cosines = np.concatenate([x, y]) @ np.concatenate([a, b]).T
    s = cosines[:, : len(a)].mean(1) - cosines[:, len(a) :].mean(1)
    rngs = [np.random.default_rng([result.seed, stream]) for stream in range(2)]  # those of ``associate``
    options = {"n_x": len(x), "alternative": result.alternative, "permutations": asked["permutations"]}
    tested = permutation_test(
        s[:, None],
        _targets(result, clips),
        rng=rngs[0],
        saddlepoint=result.design == "independent",
        **options,  # type: ignore[arg-type]
    )
    talkers = relabel_attributes((clips.speakers["A"], clips.speakers["B"]))
    p_attribute, _ = attribute_test(cosines[None], talkers, n_a=len(a), rng=rngs[1], **options)  # type: ignore[arg-type]
    p = float(tested.p_value[0]), float(p_attribute[0])
    return asked | {
        "d": effect(made, ddof=result.ddof),
        "p_value": p[0],
        "p_attribute": p[1],
        "associated": max(p) < result.alpha,
    }


def _permutations(result: BiasResult) -> int:
    """Enough for a p of alpha; never more than the measurement had, whose p's could not be smaller than that."""
    return min(result.permutations, max(PERMUTATIONS, math.ceil(FEWEST_HITS / result.alpha)))


def _targets(result: BiasResult, clips: Embeddings) -> Relabelling:
    design = resolve_design(clips.speakers, pairs=clips.pairs, design=result.design)
    return relabel(design, (clips.speakers["X"], clips.speakers["Y"]), clips.pairs)


def _shuffled(sets: Mapping[str, Array], result: BiasResult, clips: Embeddings, *, seed: int) -> dict[str, Any]:
    """Shares of relabellings of A and B with a small p_value, and with both p's small; d that 1 - alpha stay below.

    p_attribute of a relabelling is its place among others: whatever it is relabelled from, they are the same.
    """
    rng = np.random.default_rng([seed, 0])
    talkers = relabel_attributes((clips.speakers["A"], clips.speakers["B"]))
    attributes = unit(np.concatenate([sets["A"], sets["B"]]))
    targets, n_x = unit(np.concatenate([sets["X"], sets["Y"]])), len(sets["X"])
    shuffles = _weights(_drawn(talkers, DRAWS, rng))
    reference, every = _relabellings(talkers, REFERENCE, rng)
    s = targets @ (shuffles @ attributes).T  # (targets, draws)
    size = _sizes(s, n_x, result)
    others = _sizes(targets @ (_weights(reference) @ attributes).T, n_x, result)
    p_attribute = _places(size, others[None], every=every)
    dealt, every = _relabellings(_targets(result, clips), max(REFERENCE, _permutations(result) // 5), rng)
    differences = _one_sided(s[:n_x].mean(0) - s[n_x:].mean(0), result)
    p_value = _places(differences, _one_sided(_weights(dealt) @ s, result).T, every=every)
    level = result.alpha
    small = p_value < level
    return {
        "draws": DRAWS,
        "reference": len(reference),
        "p_value": float(small.mean()),
        "associated": float((small & (p_attribute < level)).mean()),
        "d": float(np.quantile(size, 1 - level)),
    }


def _places(observed: Array, others: Array, *, every: bool) -> Array:
    """The p of each of ``observed`` (draws,) among ``others`` (draws or 1, relabellings)."""
    tie = LEAST * np.abs(observed).max(initial=0)
    hits = (others >= observed[:, None] - tie).sum(1)
    return share(hits, others.shape[1], exact=every)


def _one_sided(values: Array, result: BiasResult) -> Array:
    """What is large where the alternative holds."""
    return {"two-sided": np.abs(values), "greater": values, "less": -values}[result.alternative]


def _sizes(s: Array, n_x: int, result: BiasResult) -> Array:
    """D of every column of s (targets, draws), by the alternative; 0 where s has no spread."""
    spread = s.std(0, ddof=result.ddof)
    d = (s[:n_x].mean(0) - s[n_x:].mean(0)) / np.where(spread > 0, spread, np.inf)
    return _one_sided(d, result)


def _relabellings(relabelling: Relabelling, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], bool]:
    """Which clips are of the first set (relabellings, clips): all relabellings where they are few, else drawn ones."""
    if relabelling.count > draws:
        return _drawn(relabelling, draws, rng), False
    chosen = np.concatenate(list(selections(relabelling, permutations=draws, rng=rng)))
    units = np.zeros((len(chosen), len(relabelling.units)), bool)
    np.put_along_axis(units, chosen, values=True, axis=1)
    return _clips(units, relabelling), True


def _drawn(relabelling: Relabelling, draws: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Independent relabellings: which clips are of the first set, (draws, clips)."""
    units = np.zeros((draws, len(relabelling.units)), bool)
    for first, after, count in zip(relabelling.starts, relabelling.starts[1:], relabelling.chosen, strict=False):
        order = rng.random((draws, after - first)).argsort(1)
        np.put_along_axis(units[:, first:after], order[:, :count], values=True, axis=1)
    return _clips(units, relabelling)


def _clips(units: NDArray[np.bool_], relabelling: Relabelling) -> NDArray[np.bool_]:
    """From units (draws, units) to their clips (draws, clips)."""
    of = np.empty(sum(map(len, relabelling.units)), np.intp)
    for number, clips in enumerate(relabelling.units):
        of[list(clips)] = number
    return units[:, of]


def _weights(is_first: NDArray[np.bool_]) -> Array:
    """1 / n on the clips that a relabelling calls of the first set, -1 / n on the others, (draws, clips)."""
    n = is_first.sum(1, keepdims=True)
    return np.asarray(np.where(is_first, 1 / n, -1 / (is_first.shape[1] - n)))
