"""d of a student less d of its teacher, from the vectors that their records kept: no model is loaded.

Both were measured on the same clips. The resamples are shared, so what moves both d's alike cancels, and the interval
of the difference can be narrower than either d's.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference.association import target_units
from speechbias.inference.designs import resolve_design
from speechbias.inference.intervals import difference_interval
from speechbias.results import SETS, BiasResult, PairedDifference
from speechbias.speat import association, check_spread
from speechbias.vectors import of_layer, stored_vectors

Pair = tuple[BiasResult, BiasResult]


def compare_students(pairs: Iterable[Pair], places: Mapping[str, Path]) -> dict[str, PairedDifference]:
    """For each pair (student, teacher) d of the first less d of the second, by the identity of the first.

    A pair has one test, the same stimuli and options. ``places`` says by identity in which folder the results file of
    a record lies. Left out: pairs of which vectors are not there, or are not the record's, or have no spread in s.
    """
    found: dict[str, PairedDifference] = {}
    for student, teacher in pairs:
        with suppress(InputError):  # no vectors, or a model that has collapsed
            clips = [stored_vectors(record, places[record.identity]) for record in (student, teacher)]
            if clips[0].n == clips[1].n:
                found[student.identity] = _compare((student, teacher), clips)
    return found


def _compare(pair: Pair, clips: list[Embeddings]) -> PairedDifference:
    columns = [_associations(each, record.layer) for record, each in zip(pair, clips, strict=True)]
    for column in columns:
        check_spread(column)
    s, student, labels, n_x = np.column_stack(columns), pair[0], clips[0].speakers, clips[0].n["X"]
    design = resolve_design(labels, pairs=clips[0].pairs, design=student.design)
    units = target_units(design, labels, clips[0].pairs)
    interval, p = difference_interval(
        s,
        units,
        n_x=n_x,
        ddof=student.ddof,
        resamples=student.resamples,
        confidence=student.confidence,
        rng=np.random.default_rng([student.seed, 2]),  # as for the interval of each d
    )
    difference = float(pair[0].d - pair[1].d)
    if units.one_sided(n_x):
        return PairedDifference(difference, None, None, None)
    return PairedDifference(difference, float(interval.low[0]), float(interval.high[0]), float(p[0]))


def _associations(clips: Embeddings, layer: int | str) -> NDArray[np.float64]:
    """S of every target (equation 1), X first, in one state or the mean over states."""
    x, y, a, b = np.split(of_layer(clips, layer), np.cumsum([clips.n[name] for name in SETS])[:-1])
    return np.asarray(association(np.concatenate([x, y]), a, b))
