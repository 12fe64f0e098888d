"""Would this test find an association that is there, and none that is not? Controls on the vectors of a measurement.

Planted: X is moved towards A and away from B, and Y the other way, until d is what is asked for; a test that does not
call that associated cannot show much with these clips. Shuffled: A and B are relabelled within their talkers over and
over; p_value alone is often small then, since groups that differ do so along many directions, p_attribute is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.geometry import effect
from speechbias.inference import associate, resolve_design
from speechbias.inference.designs import Relabelling, relabel, relabel_attributes
from speechbias.inference.permutation import permutation_test
from speechbias.results import SCHEMA, SETS, BiasResult
from speechbias.speat import unit
from speechbias.vectors import sets_of_layer, stored_vectors

Array = NDArray[np.float64]
PLANTED = 1.5  # d: near to what d can be at the most, 2
DRAWS = 400
QUICK = {"permutations": 10_000, "resamples": 200}
MARGIN = 3  # standard errors that the share of false alarms may lie above alpha


def control(result: BiasResult, folder: Path, *, planted: float = PLANTED, seed: int = 0) -> dict[str, Any]:
    """Both controls for a measurement whose results file lies in ``folder``: a record of kind ``control``.

    InputError as ``stored_vectors``.
    """
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, result.layer)
    alpha = round(1 - result.confidence, 12)
    found = _planted(sets, result, clips, planted)
    shuffled = _shuffled(sets, result, clips, seed=seed)
    bound = alpha + MARGIN * np.sqrt(alpha * (1 - alpha) / shuffled["draws"])
    return {
        "kind": "control",
        "schema": SCHEMA,
        **{name: getattr(result, name) for name in ("test", "model", "family", "layer", "states", "groups", "design")},
        "alpha": alpha,
        "planted": found,
        "shuffled": shuffled,
        "passed": bool(found["associated"] and shuffled["associated"] <= bound),
        "seed": seed,
        **result.about,
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

    low, high = 0.0, 1.0
    if effect(moved(low), ddof=ddof) >= d:  # there is as much of it already: it is taken down to what is asked for
        low = -high
    if not effect(moved(low), ddof=ddof) <= d <= effect(moved(high), ddof=ddof):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if effect(moved(middle), ddof=ddof) < d else (low, middle)
    return moved(high)


def _planted(sets: Mapping[str, Array], result: BiasResult, clips: Embeddings, target: float) -> dict[str, Any]:
    made = plant(sets, target, ddof=result.ddof)
    if made is None:
        return {"d": None, "p_value": None, "p_attribute": None, "associated": False}
    asked = ("alternative", "confidence", "ddof", "seed", "design")
    options: Any = QUICK | {name: getattr(result, name) for name in asked}
    x, y, a, b = (made[name][:, None] for name in SETS)
    (test,) = associate(x, y, a, b, speakers=clips.speakers, pairs=clips.pairs, **options)
    return {
        "d": test.d,
        "p_value": test.p_value,
        "p_attribute": test.p_attribute,
        "associated": test.associated,
    }


def _shuffled(sets: Mapping[str, Array], result: BiasResult, clips: Embeddings, *, seed: int) -> dict[str, Any]:
    """Shares of relabellings of A and B with a small p_value, and with both p's small.

    p_attribute of a relabelling is its place among all of them: they are draws of one distribution.
    """
    talkers = relabel_attributes((clips.speakers["A"], clips.speakers["B"]))
    attributes = unit(np.concatenate([sets["A"], sets["B"]]))
    rng = np.random.default_rng([seed, 0])
    g = np.array([_weights(talkers, len(attributes), rng) for _ in range(DRAWS)])
    targets, n_x = unit(np.concatenate([sets["X"], sets["Y"]])), len(sets["X"])
    s = targets @ (g @ attributes).T  # (targets, draws)
    design = resolve_design(clips.speakers, pairs=clips.pairs, design=result.design)
    found = permutation_test(
        s,
        relabel(design, (clips.speakers["X"], clips.speakers["Y"]), clips.pairs),
        rng=rng,
        family=(),
        n_x=n_x,
        alternative=result.alternative,
        permutations=QUICK["permutations"],
    )
    d = (s[:n_x].mean(0) - s[n_x:].mean(0)) / s.std(0, ddof=result.ddof)
    size = {"two-sided": np.abs(d), "greater": d, "less": -d}[result.alternative]
    p_attribute = (size[None] >= size[:, None]).mean(1)
    alpha = round(1 - result.confidence, 12)
    small = found.p_value < alpha
    return {
        "draws": len(d),
        "p_value": float(small.mean()),
        "associated": float((small & (p_attribute < alpha)).mean()),
    }


def _weights(relabelling: Relabelling, clips: int, rng: np.random.Generator) -> Array:
    """1 / n_A on the clips that a relabelling calls A, -1 / n_B on the others, (clips,)."""
    is_a = np.zeros(clips, bool)
    for first, after, count in zip(relabelling.starts, relabelling.starts[1:], relabelling.chosen, strict=False):
        for unit_ in rng.permutation(np.arange(first, after))[:count]:
            is_a[list(relabelling.units[unit_])] = True
    return np.asarray(np.where(is_a, 1 / is_a.sum(), -1 / (~is_a).sum()))
