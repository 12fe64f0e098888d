"""Several groups at once: whether they differ at all, and what of it goes with each of two factors.

Omnibus: the share of the variance of s that lies between the groups (eta squared). Factors: contrasts of the means of
s in the cells, every cell alike whatever its size, over the SD of s over all clips of the cells: one scale with d.
The main effect of a level is the mean over the levels of the other factor of its difference to the reference; the
interaction is how much that difference is another at a level of the other factor than at its reference.

p of a main effect: its two levels are dealt anew among speakers within levels of the other factor, exact where they
are alike at every one of these. p of an interaction: residuals of the model without it are dealt anew among the
cells (Freedman and Lane 1983), which is exact for many speakers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.contrasts.judging import Array, Settings, attribute_p, dealt_p, interval_of
from speechbias.contrasts.levels import Levels, cross
from speechbias.contrasts.relabelled import find_dealing, resampling
from speechbias.contrasts.targets import Targets
from speechbias.inference.intervals import variance_scale
from speechbias.inference.multiplicity import holm

FLAT = 1e-12  # of the mean square
SPARE = 2  # units beyond the coefficients of a model whose residuals are dealt anew


@dataclass(frozen=True)
class _Clips:
    """The targets that are in a group."""

    s: Array  # about its mean
    codes: NDArray[np.int64]
    groups: int
    people: tuple[str, ...]
    cosines: Array
    talkers: tuple[Sequence[str], Sequence[str]]

    @classmethod
    def of(cls, targets: Targets, levels: Levels) -> "_Clips":
        used = np.flatnonzero(levels.codes >= 0)
        s, people = targets.s[used], targets.people
        return cls(
            s=s - s.mean(),
            codes=levels.codes[used],
            groups=len(levels.names),
            people=tuple(people[row] for row in used),
            cosines=targets.cosines[used],
            talkers=(targets.talkers["A"], targets.talkers["B"]),
        )

    @property
    def members(self) -> Array:
        """1 where a clip is of a group, (clips, groups)."""
        return np.asarray(self.codes[:, None] == np.arange(self.groups), dtype=np.float64)


def omnibus(targets: Targets, levels: Levels, settings: Settings) -> dict[str, Any]:
    """Whether the groups differ at all, and whether that is aligned with A against B."""
    clips = _Clips.of(targets, levels)
    eta = _eta_squared(clips.s[None], clips.members)
    total = float((clips.s**2).sum())

    def of_codes(codes: Array) -> Array:
        sums, n = _group_sums(codes, clips.s, clips.groups)
        return np.asarray((sums**2 / n).sum(axis=1) / total)

    dealing = find_dealing(clips.codes.tolist(), clips.people)
    attribute = attribute_p(
        clips.cosines, clips.talkers, lambda s: _eta_squared(s, clips.members)[:, None], eta, settings
    )
    return {
        "eta_squared": float(eta[0]),
        **dealt_p(clips.codes.astype(np.float64), dealing, of_codes, settings),
        "p_attribute": float(attribute.p[0]),
        "p_attribute_min": attribute.least,
    }


def factor_effects(targets: Targets, first: Levels, second: Levels, settings: Settings) -> list[dict[str, Any]]:
    """Main effects and interactions of two factors, the first level of each its reference; p adjusted by Holm."""
    cells = cross(first, second)
    clips, used = _Clips.of(targets, cells), np.flatnonzero(cells.codes >= 0)
    codes = (first.codes[used], second.codes[used])
    asked = _contrasts(first, second)
    weights = np.stack([weight for _, _, weight in asked])  # (effects, cells)
    sizes = _sizes(clips.s[None], clips.members, weights, settings.ddof)[0]
    attribute = attribute_p(
        clips.cosines,
        clips.talkers,
        lambda s: _sizes(s, clips.members, weights, settings.ddof),
        sizes,
        settings,
    )
    limits = _intervals(clips, weights, settings)
    shape = (len(first.names), len(second.names))
    effects = [
        {
            "kind": kind,
            "name": name,
            "size": float(size),
            **limit,
            **_p_value(clips, codes, kind, weight, shape=shape, settings=settings),
            "p_attribute": float(p),
            "p_attribute_min": attribute.least,
            "p_attribute_adjusted": float(p_adjusted),
        }
        for (kind, name, weight), size, limit, p, p_adjusted in zip(
            asked, sizes, limits, attribute.p, attribute.adjusted, strict=True
        )
    ]
    return _adjusted(effects, settings)


def _adjusted(effects: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """With Holm's p's over those that have a p, and whether both are below alpha."""
    known = [each for each in effects if each["p_value"] is not None]
    p = dict(zip(map(id, known), holm([each["p_value"] for each in known]).tolist(), strict=True))
    found = [each | {"p_adjusted": p.get(id(each))} for each in effects]
    return [each | {"associated": _is_small(each, settings.alpha)} for each in found]


def _is_small(each: dict[str, Any], alpha: float) -> bool:
    return each["p_adjusted"] is not None and max(each["p_adjusted"], each["p_attribute_adjusted"]) < alpha


def _contrasts(first: Levels, second: Levels) -> list[tuple[str, str, Array]]:
    """Kind, name and weights of the cells' means, for every level beside the references."""
    rows, columns = np.eye(len(first.names)), np.eye(len(second.names))
    found = [
        (first.column, f"{name} - {first.names[0]}", np.outer(rows[i] - rows[0], np.ones(len(columns)) / len(columns)))
        for i, name in enumerate(first.names)
        if i
    ]
    found += [
        (
            second.column,
            f"{name} - {second.names[0]}",
            np.outer(np.ones(len(rows)) / len(rows), columns[j] - columns[0]),
        )
        for j, name in enumerate(second.names)
        if j
    ]
    found += [
        (
            "interaction",
            f"{a} - {first.names[0]}, at {b} less at {second.names[0]}",
            np.outer(rows[i] - rows[0], columns[j] - columns[0]),
        )
        for i, a in enumerate(first.names)
        if i
        for j, b in enumerate(second.names)
        if j
    ]
    kinds = {first.column: "first", second.column: "second"}
    return [(kinds.get(kind, kind), name, weight.ravel()) for kind, name, weight in found]


def _p_value(
    clips: _Clips,
    codes: tuple[NDArray[np.int64], NDArray[np.int64]],
    kind: str,
    weight: Array,
    *,
    shape: tuple[int, int],
    settings: Settings,
) -> dict[str, Any]:
    """Of one effect, with the hypothesis that is tested."""
    if kind == "interaction":
        return {"null": "no interaction", "p_method": "freedman-lane"} | _interaction_p(
            clips, codes, weight, shape, settings
        )
    own, other = codes if kind == "first" else codes[::-1]
    by_level = weight.reshape(shape).sum(axis=0 if kind == "second" else 1)
    bystanders = np.where(by_level[own] == 0, own, -1)  # levels that this contrast is not about stay where they are
    dealing = find_dealing(own.tolist(), clips.people, list(zip(other.tolist(), bystanders.tolist(), strict=True)))

    def of_own(dealt: Array) -> Array:
        pair: tuple[Any, Any] = (dealt, other) if kind == "first" else (other, dealt)
        sums, n = _group_sums(pair[0] * shape[1] + pair[1], clips.s, clips.groups)
        return np.asarray((sums / n) @ weight)

    null = "alike at every level of the other factor"
    return {"null": null, "p_method": "monte-carlo"} | dealt_p(own.astype(np.float64), dealing, of_own, settings)


def _interaction_p(
    clips: _Clips,
    codes: tuple[NDArray[np.int64], NDArray[np.int64]],
    weight: Array,
    shape: tuple[int, int],
    settings: Settings,
) -> dict[str, Any]:
    dummies = [np.eye(size)[code] for size, code in zip(shape, codes, strict=True)]
    design = np.column_stack([dummies[0], dummies[1][:, 1:]])
    dealing = find_dealing(clips.codes.tolist(), clips.people)
    units = len(dealing.units) if dealing else 0
    if units < design.shape[1] + SPARE:
        dealing = None
    residuals = clips.s - design @ np.linalg.lstsq(design, clips.s, rcond=None)[0]
    wider = residuals * np.sqrt(units / max(units - design.shape[1], 1))  # residuals vary less than errors

    def of_cells(dealt: Array) -> Array:
        sums, n = _group_sums(dealt, wider, clips.groups)
        return np.asarray((sums / n) @ weight)

    observed = (clips.members.T @ clips.s / clips.members.sum(axis=0)) @ weight
    return dealt_p(clips.codes.astype(np.float64), dealing, of_cells, settings, observed=float(observed))


def _intervals(clips: _Clips, weights: Array, settings: Settings) -> list[dict[str, Any]]:
    """BCa over speakers, drawn within the cells in which they stand."""
    members = clips.members
    sums = np.column_stack([members, members * clips.s[:, None], clips.s**2])
    scale = variance_scale(len(clips.s), settings.ddof)

    def statistic(totals: Array) -> Array:
        n, by_cell = totals[:, : clips.groups], totals[:, clips.groups : -1]
        return _over_sd(n, by_cell, totals[:, -1:], weights, scale)

    return interval_of(sums, statistic, resampling(clips.people, clips.codes.tolist()), settings)


def _sizes(s: Array, members: Array, weights: Array, ddof: int) -> Array:
    """Contrasts over the SD, (draws, effects), of s (draws, clips)."""
    n = members.sum(axis=0)[None]
    squares = (s**2).sum(axis=1, keepdims=True)
    return _over_sd(n, s @ members, squares, weights, variance_scale(s.shape[1], ddof))


def _over_sd(n: Array, sums: Array, squares: Array, weights: Array, scale: float) -> Array:
    """From clips, sums of s (draws, cells) and squares (draws, 1); NaN where a cell is empty or s has no spread."""
    total = n.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = scale * (squares - sums.sum(axis=1, keepdims=True) ** 2 / total) / total
        sizes = (sums / n) @ weights.T / np.sqrt(variance)
        return np.asarray(np.where((variance > FLAT * squares / total) & np.isfinite(sizes), sizes, np.nan))


def _eta_squared(s: Array, members: Array) -> Array:
    """Sum of squares between groups over all of it, (draws,), of s (draws, clips)."""
    centred = s - s.mean(axis=1, keepdims=True)
    return np.asarray((((centred @ members) ** 2) / members.sum(axis=0)).sum(axis=1) / (centred**2).sum(axis=1))


def _group_sums(codes: Array, s: Array, groups: int) -> tuple[Array, Array]:
    """Sums of s and numbers of clips of every group, (draws, groups), for codes (draws, clips)."""
    members = [(codes == group).astype(np.float64) for group in range(groups)]
    return np.stack([each @ s for each in members], axis=1), np.stack([each.sum(axis=1) for each in members], axis=1)
