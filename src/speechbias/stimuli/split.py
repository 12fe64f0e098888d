"""A test cut in two: clips by which something is chosen, and clips of other speakers that show what the choice did.

A d of the clips that chose which parts of a model go says how well the choice fits these clips, not what it does to
the bias. So nobody stands in both halves: neither a speaker, in whichever of the four sets, nor a pair, nor a file.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.results import SETS
from speechbias.stimuli.sets import Stimulus, StimulusSet, locate, make_stimulus_set

SCORED, HELD_BACK = "scored", "held-back"  # the halves of gender.csv are gender-scored and gender-held-back
LEAST = 2  # stimuli of a set
DIVISIONS = 4096

Counts = NDArray[np.int64]


def split_stimuli(stimuli: StimulusSet, *, share: float = 0.5, seed: int = 0) -> tuple[StimulusSet, StimulusSet]:
    """Two tests without a common speaker, pair or file: about ``share`` of every set, and the rest.

    So of every group in it, and of every sex (column ``gender`` or ``sex``), as nearly as whole speakers allow.

    The first is named ``<name>-scored``, the second ``<name>-held-back``; both keep the order of the CSV. A clip of
    an unknown speaker is taken for a speaker of its own. The same seed gives the same halves. InputError where the
    speakers do not divide so that each half has 2 clips or more in every set.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share:g}; give the part of the clips that the first half gets, between 0 and 1")
    members = stimuli.stimuli
    units = _inseparable(members)
    counts, set_of = _count(members, units)
    first = _chosen(counts, set_of, share, np.random.default_rng(seed))
    if first is None:
        raise InputError(_explain(stimuli, counts))
    scored = {place for unit, taken in zip(units, first, strict=True) if taken for place in unit}
    return (
        _half(f"{stimuli.name}-{SCORED}", (s for place, s in enumerate(members) if place in scored)),
        _half(f"{stimuli.name}-{HELD_BACK}", (s for place, s in enumerate(members) if place not in scored)),
    )


def check_held_back(scored: Iterable[StimulusSet], reported: Iterable[StimulusSet]) -> None:
    """InputError, a line per test, where a reported test has a file or a speaker of those by which is scored."""
    used = {mark: each.name for each in scored for s in each.stimuli for mark in _marks(s)}
    problems = []
    for test in reported:
        shared = {mark: used[mark] for s in test.stimuli for mark in _marks(s) if mark in used and mark[0] != "pair"}
        if shared:
            (kind, name), where = next(iter(shared.items()))
            problems.append(
                f"{test.name}.csv shows what {where}.csv chose, and shares {len(shared)} files and speakers with it "
                f"(first the {kind} {name.rpartition('/')[2]}); hold clips back: speechbias stimuli split FILE.csv"
            )
    if problems:
        raise InputError(*problems)


def _half(name: str, members: Iterable[Stimulus]) -> StimulusSet:
    return make_stimulus_set(name, [replace(s, row=0) for s in members])


def _marks(stimulus: Stimulus) -> Iterator[tuple[str, str]]:
    """What must not stand in both halves."""
    yield "file", str(locate(stimulus))
    if stimulus.speaker:
        yield "speaker", stimulus.speaker
    if stimulus.pair and stimulus.set in "XY":
        yield "pair", stimulus.pair


def _inseparable(members: Sequence[Stimulus]) -> list[list[int]]:
    """Places of the clips that are bound together, by whatever chain of marks; in the order of their first clips."""
    unit_of = list(
        range(len(members))
    )  # a forest: each clip points to an earlier one of its unit, the first to itself

    def root(place: int) -> int:
        while unit_of[place] != place:
            unit_of[place] = unit_of[unit_of[place]]
            place = unit_of[place]
        return place

    seen: dict[tuple[str, str], int] = {}
    for place, stimulus in enumerate(members):
        for mark in _marks(stimulus):
            one, other = sorted((root(place), root(seen.setdefault(mark, place))))
            unit_of[other] = one
    units = defaultdict(list)
    for place in range(len(members)):
        units[root(place)].append(place)
    return list(units.values())


def _count(members: Sequence[Stimulus], units: Collection[Sequence[int]]) -> tuple[Counts, Counts]:
    """Clips of each unit (units, columns): of every set, then of its groups and its sexes; and the columns' sets."""
    labels = list(dict.fromkeys([*((key,) for key in SETS), *(label for s in members for label in _labels(s))]))
    column_of = {label: column for column, label in enumerate(labels)}
    counts = np.zeros((len(units), len(labels)), np.int64)
    for row, unit in enumerate(units):
        for place in unit:
            for label in _labels(members[place]):
                counts[row, column_of[label]] += 1
    return counts, np.array([SETS.index(label[0]) for label in labels])


def _labels(stimulus: Stimulus) -> list[tuple[str, ...]]:
    """What a clip counts as: women among the talkers of one half and men of the other would make two other tests."""
    sex = stimulus.columns.get("gender") or stimulus.columns.get("sex") or ""
    return [(stimulus.set,), (stimulus.set, "group", stimulus.group), (stimulus.set, "sex", sex)]


def _chosen(counts: Counts, set_of: Counts, share: float, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which units are the first half; None where no division is found that leaves both halves large enough."""
    sets = counts[:, : len(SETS)].sum(0)
    wanted = np.clip(share, LEAST / sets, 1 - LEAST / sets)[set_of]
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order, : len(SETS)].sum(1), kind="stable")]  # large ones are hard to place later
    for divisions in (_dealt(counts, wanted, order)[None], _divisions(len(counts), share, rng)):
        got = divisions @ counts  # (divisions, columns)
        of_sets = got[:, : len(SETS)]
        possible = np.flatnonzero((np.minimum(of_sets, sets - of_sets) >= LEAST).all(1))
        if len(possible):
            off = ((got[possible] - wanted * counts.sum(0)) ** 2 / counts.sum(0)).sum(1)
            return np.asarray(divisions[possible[off.argmin()]])
    return None


def _divisions(units: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """All divisions of a few units, or so many random ones of more: (divisions, units)."""
    if 2**units > DIVISIONS:
        return rng.random((DIVISIONS, units)) < share
    return (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(bool)


def _dealt(counts: Counts, wanted: NDArray[np.float64], order: Counts) -> NDArray[np.bool_]:
    """Units dealt in this order, each to where the shares of all dealt so far stay nearest to the wanted ones.

    Distances are squared clips over the clips of the column, so that nothing is neglected for its size.
    A tie goes to the second half: there d is reported.
    """
    total, above = counts.sum(0), np.zeros(counts.shape[1])  # clips of the first half above the wanted ones
    first = np.zeros(len(counts), bool)
    for unit in order:
        with_it, without_it = above + counts[unit] * (1 - wanted), above - counts[unit] * wanted
        first[unit] = (with_it**2 / total).sum() < (without_it**2 / total).sum() - 1e-12
        above = with_it if first[unit] else without_it
    return first


def _explain(stimuli: StimulusSet, counts: Counts) -> str:
    """Why there are no two halves: the sets of few clips or speakers, or speakers in several sets."""
    few = [
        f"{key} has {clips} clips of {units} speakers"
        for key, clips, units in zip(SETS, counts.sum(0), (counts > 0).sum(0), strict=False)
        if clips < 2 * LEAST or units < 2
    ]
    why = ", ".join(few) or "too many speakers stand in several sets, or one speaks too much of a set"
    return (
        f"{stimuli.name}.csv cannot be split by speaker into two tests with {LEAST} clips or more in every set "
        f"({why}). Add speakers, or score on other recordings."
    )
