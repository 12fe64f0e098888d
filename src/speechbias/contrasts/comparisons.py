"""Groups two by two: d of a level against another, by the same test that ``measure`` makes of a CSV with these sets.

X is the first of the two groups, Y the second, so d of the same two the other way round is -d. All tests are
two-sided. Where every speaker is of one group and the groups are at most seven, p is adjusted by closed testing, else
by Holm; p_attribute by min-P over relabellings of A and B that all comparisons share.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from speechbias.contrasts.closed import MOST_GROUPS, Pair, closed_p_values
from speechbias.contrasts.judging import Array, Settings, attribute_p
from speechbias.contrasts.levels import Levels
from speechbias.contrasts.targets import Targets
from speechbias.errors import InputError
from speechbias.inference import AssociationTest, Design, associate
from speechbias.inference.multiplicity import holm

CLOSED = "closed testing"
HOLM = "Holm"
CLOSED_DRAWS = 20_000  # relabellings of each hypothesis of several groups, at most


def compare_levels(
    targets: Targets, levels: Levels, settings: Settings, *, reference: bool, design: Design | None
) -> tuple[str, list[dict[str, Any]]]:
    """Every level with the first (``reference``), or with every other: how p was adjusted, and a dict for each pair.

    InputError where no design fits two groups, or their s has no spread.
    """
    every = list(combinations(range(len(levels.names)), 2))
    pairs = [(j, i) for i, j in every if i == 0] if reference else every
    tests = [_test(targets, levels, pair, settings, design) for pair in pairs]
    adjusted_by, p_adjusted = _adjust(targets, levels, pairs, tests, settings)
    p_attribute = _adjust_attribute(targets, levels, pairs, tests, settings)
    return adjusted_by, [
        _contrast(levels, pair, test, p_adjusted=p, p_attribute=attribute, settings=settings)
        for pair, test, p, attribute in zip(pairs, tests, p_adjusted, p_attribute, strict=True)
    ]


def _test(targets: Targets, levels: Levels, pair: Pair, settings: Settings, design: Design | None) -> AssociationTest:
    """What ``measure`` says of two groups."""
    names = [levels.names[each] for each in pair]
    rows = [levels.rows(name) for name in names]
    x, y = (targets.vectors[each][:, None] for each in rows)
    speakers = {key: [targets.speakers[row] for row in each] for key, each in zip("XY", rows, strict=True)}
    try:
        (test,) = associate(
            x,
            y,
            targets.attributes["A"][:, None],
            targets.attributes["B"][:, None],
            speakers={**speakers, **targets.talkers},
            permutations=settings.permutations,
            resamples=settings.resamples,
            confidence=settings.confidence,
            ddof=settings.ddof,
            seed=settings.seed,
            design=design,
        )
    except InputError as error:
        raise InputError(*(f"{names[0]} and {names[1]}: {line}" for line in error.problems)) from None
    return test


def _adjust(
    targets: Targets, levels: Levels, pairs: Sequence[Pair], tests: Sequence[AssociationTest], settings: Settings
) -> tuple[str, list[float]]:
    own = [test.p_value for test in tests]
    kinds = {test.design for test in tests}
    if len(pairs) == 1 or len(levels.names) > MOST_GROUPS or not kinds <= {"independent", "speaker"}:
        return HOLM, holm(own).tolist()
    one_each = Counter(name for name, _ in _standing(targets, levels))
    if max(one_each.values()) > 1:
        return HOLM, holm(own).tolist()
    units, groups = _units(targets, levels)
    adjusted = closed_p_values(
        units,
        groups,
        dict(zip(pairs, own, strict=True)),
        ddof=settings.ddof,
        permutations=min(settings.permutations, CLOSED_DRAWS),
        rng=np.random.default_rng([settings.seed, 4]),
    )
    return CLOSED, [adjusted[pair] for pair in pairs]


def _adjust_attribute(
    targets: Targets, levels: Levels, pairs: Sequence[Pair], tests: Sequence[AssociationTest], settings: Settings
) -> list[float]:
    """By min-P, and never below the comparison's own p, which is of other relabellings."""
    members = (levels.codes[:, None] == np.arange(len(levels.names))).astype(np.float64)
    i, j = np.array(pairs).T

    def ds(s: Array) -> Array:
        """The d's of all pairs, (draws, pairs), of s (draws, targets)."""
        n, sums, squares = members.sum(axis=0), s @ members, s**2 @ members
        both = n[i] + n[j]
        variance = (squares[:, i] + squares[:, j] - (sums[:, i] + sums[:, j]) ** 2 / both) / (both - settings.ddof)
        return np.asarray((sums[:, i] / n[i] - sums[:, j] / n[j]) / np.sqrt(variance))

    talkers = (targets.talkers["A"], targets.talkers["B"])
    found = attribute_p(targets.cosines, talkers, ds, ds(targets.s[None])[0], settings)
    own = np.array([test.p_attribute for test in tests])
    return [float(p) for p in (np.maximum(own, found.adjusted) if len(pairs) > 1 else own)]


def _standing(targets: Targets, levels: Levels) -> set[tuple[str, int]]:
    """Who stands in which group."""
    return {(name, code) for name, code in zip(targets.people, levels.codes.tolist(), strict=True) if code >= 0}


def _units(targets: Targets, levels: Levels) -> tuple[Array, Any]:
    """Clips, s and s squared of every speaker in a group, about the mean of s; and the group."""
    place = {name: (row, code) for row, (name, code) in enumerate(sorted(_standing(targets, levels)))}
    used = np.flatnonzero(levels.codes >= 0)
    s = targets.s - targets.s[used].mean()
    people = targets.people
    units = np.zeros((len(place), 3))
    np.add.at(units, [place[people[row]][0] for row in used], np.stack([np.ones_like(s), s, s**2], axis=1)[used])
    return units, np.array([code for _, code in place.values()])


def _contrast(
    levels: Levels, pair: Pair, test: AssociationTest, *, p_adjusted: float, p_attribute: float, settings: Settings
) -> dict[str, Any]:
    return {
        "first": levels.names[pair[0]],
        "second": levels.names[pair[1]],
        **{name: getattr(test, name) for name in ("d", "ci_low", "ci_high", "ci_method")},
        **{name: getattr(test, name) for name in ("p_value", "p_method", "p_min")},
        "p_adjusted": p_adjusted,
        "p_attribute": test.p_attribute,
        "p_attribute_min": test.p_attribute_min,
        "p_attribute_adjusted": p_attribute,
        "associated": max(p_adjusted, p_attribute) < settings.alpha,
        "design": test.design,
        "n": [test.n["X"], test.n["Y"]],
        "n_speakers": [test.n_speakers["X"], test.n_speakers["Y"]],
    }
