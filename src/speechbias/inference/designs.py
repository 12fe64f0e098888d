"""Designs of the permutation test: which clips are exchangeable with which (contract, section 1).

Every design is one structure, UNITS in STRATA. A unit is a group of clips that moves as a whole; in a stratum of m
units a fixed number k is labelled X, and all choices of k units are equally likely. The number of relabellings is
the product of C(m, k) over the strata.

=============== ============================================= ==================================================
design          unit                                          strata
=============== ============================================= ==================================================
independent     clip                                          one
speaker         speaker (a blank one is its own)              one; T is over clips, so group sizes may change
within-speaker  clip                                          one per repeated speaker, one for all other clips
pair            clip                                          one per pair
=============== ============================================= ==================================================
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, prod
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError

Design = Literal["independent", "speaker", "within-speaker", "pair"]
DESIGNS: tuple[str, ...] = get_args(Design)
Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Relabelling:
    """Units in strata. In each stratum the first ``chosen`` units are those labelled X in the data."""

    units: tuple[tuple[int, ...], ...]  # clips of each unit, numbered through the first set, then the second
    starts: NDArray[np.int64]  # stratum i holds units starts[i] to starts[i + 1]
    chosen: NDArray[np.int64]  # how many of them are labelled X

    @property
    def count(self) -> int:
        """How many relabellings there are, the observed one included."""
        sizes = np.diff(self.starts).tolist()
        return prod(comb(m, k) for m, k in zip(sizes, self.chosen.tolist(), strict=True))

    @property
    def mirrored(self) -> bool:
        """Whether swapping all labels gives a relabelling again: then both tails hold equally many."""
        return bool(np.all(2 * self.chosen == np.diff(self.starts)))


def relabel(design: str, speakers: tuple[Sequence[str], Sequence[str]], pairs: Labels | None = None) -> Relabelling:
    """The relabelling of a design for two sets with these speakers (blank: unknown)."""
    ids = _name_both(speakers)
    if design == "independent":
        return _in_strata([(range(len(ids[0])), range(len(ids[0]), len(ids[0]) + len(ids[1])))])
    if design == "speaker":
        return _whole_speakers(ids)
    if design == "within-speaker":
        return _within_speakers(ids, pooled=True)
    return _pairs(ids, pairs)


def relabel_attributes(speakers: tuple[Sequence[str], Sequence[str]]) -> Relabelling:
    """Relabelling of A and B: within each talker; of whole talkers where each stands in one set only.

    A talker in one set only, beside others in both, keeps its label.
    """
    ids = _name_both(speakers)
    return _within_speakers(ids, pooled=False) if set(ids[0]) & set(ids[1]) else _whole_speakers(ids)


def resolve_design(speakers: Labels, *, pairs: Labels | None = None, design: str | None = None) -> str:
    """The design that X and Y call for, in the contract's order, or ``design`` if that can be done.

    Raises ``InputError`` where none fits: some repeated speakers stand in both sets and others in one.
    """
    found = _name_both((speakers["X"], speakers["Y"]))
    if design is not None:
        if design not in DESIGNS:
            raise InputError(f"There is no design {design!r}. Take one of {', '.join(DESIGNS)}.")
        if design == "pair":
            _pairs(found, pairs)
        elif design == "speaker":
            _whole_speakers(found)
        return design
    both = set(found[0]) & set(found[1])
    repeated = {speaker for speaker, clips in Counter((*found[0], *found[1])).items() if clips > 1}
    if not repeated:
        return "independent"
    if not both:
        return "speaker"
    if repeated == both:
        return "within-speaker"
    raise InputError(
        f"No design fits: {len(both)} speakers stand in both X and Y, {len(repeated - both)} others have several "
        "clips in one of them. Leave one kind out, or choose with --design."
    )


def name_blanks(speakers: Sequence[str], where: str) -> tuple[str, ...]:
    """A blank speaker is its own: give it a name that nobody has, in this set or another."""
    return tuple(speaker or f"\0{where}{row}" for row, speaker in enumerate(speakers))


def _name_both(speakers: tuple[Sequence[str], Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return name_blanks(speakers[0], "first"), name_blanks(speakers[1], "second")


def _clips_of(ids: tuple[Sequence[str], Sequence[str]]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Clips of each speaker in the first and in the second set."""
    clips: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for side, offset in ((0, 0), (1, len(ids[0]))):
        for row, speaker in enumerate(ids[side]):
            clips[side].setdefault(speaker, []).append(offset + row)
    return clips


def _in_strata(strata: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Relabelling:
    """Strata of single clips: (labelled X, labelled Y) of each."""
    return _build([([(c,) for c in first], [(c,) for c in second]) for first, second in strata])


def _build(strata: Sequence[tuple[Sequence[tuple[int, ...]], Sequence[tuple[int, ...]]]]) -> Relabelling:
    sizes = [len(first) + len(second) for first, second in strata]
    return Relabelling(
        units=tuple(unit for first, second in strata for unit in (*first, *second)),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        chosen=np.array([len(first) for first, _ in strata], dtype=np.int64),
    )


def _whole_speakers(ids: tuple[Sequence[str], Sequence[str]]) -> Relabelling:
    first, second = _clips_of(ids)
    if both := first.keys() & second.keys():
        raise InputError(
            f"{len(both)} speakers stand in both sets: whole speakers cannot be relabelled. "
            "Take --design within-speaker."
        )
    return _build([([tuple(c) for c in first.values()], [tuple(c) for c in second.values()])])


def _within_speakers(ids: tuple[Sequence[str], Sequence[str]], *, pooled: bool) -> Relabelling:
    """One stratum per repeated speaker; the clips of all others in one (``pooled``) or fixed."""
    first, second = _clips_of(ids)
    strata: list[tuple[list[int], list[int]]] = []
    others: tuple[list[int], list[int]] = ([], [])
    for speaker in dict.fromkeys((*ids[0], *ids[1])):
        clips = first.get(speaker, []), second.get(speaker, [])
        if pooled and len(clips[0]) + len(clips[1]) == 1:
            others[0].extend(clips[0])
            others[1].extend(clips[1])
        else:
            strata.append(clips)
    return _in_strata([*strata, others] if others[0] or others[1] else strata)


def _pairs(ids: tuple[Sequence[str], Sequence[str]], pairs: Labels | None) -> Relabelling:
    x, y = (tuple(pairs.get(name, ())) if pairs else () for name in ("X", "Y"))
    once = set(x) == set(y) and len(set(x)) == len(x) == len(ids[0]) and len(y) == len(ids[1]) and "" not in x
    if not once:
        raise InputError(
            "Design pair needs a pair id for each clip, once in X and once in Y. Check the column `pair`."
        )
    place = {pair: len(x) + row for row, pair in enumerate(y)}
    return _in_strata([((row,), (place[pair],)) for row, pair in enumerate(x)])
