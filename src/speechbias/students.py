"""d of a student less d of its teacher, from the vectors that their records kept: no model is loaded.

Both were measured on the same clips, so this is a comparison as ``compare`` makes them: the resamples are shared, what
moves both d's alike cancels, and the interval of the difference can be narrower than either d's.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from speechbias.compare.members import Member
from speechbias.compare.models import compare_members
from speechbias.errors import InputError
from speechbias.results import BiasResult, PairedDifference
from speechbias.vectors import stored_vectors

Pair = tuple[BiasResult, BiasResult]


def compare_students(pairs: Iterable[Pair], places: Mapping[str, Path]) -> dict[str, PairedDifference]:
    """For each pair (student, teacher) d of the first less d of the second, by the identity of the first.

    A pair has one test, the same stimuli and options. ``places`` says by identity in which folder the results file of
    a record lies. Left out: pairs of which vectors are not there, or are not the record's, or have no spread in s.
    """
    found: dict[str, PairedDifference] = {}
    for student, teacher in pairs:
        with suppress(InputError):  # no vectors, or a model that has collapsed
            members = [Member(stored_vectors(r, places[r.identity]), r.layer) for r in (student, teacher)]
            found[student.identity] = _compare((student, teacher), members)
    return found


def _compare(pair: Pair, members: list[Member]) -> PairedDifference:
    student = pair[0]
    if min(student.n_speakers[name] for name in "XY") < 2:  # nothing tells how speakers vary
        return PairedDifference(float(pair[0].d - pair[1].d), None, None, None)
    options = {name: getattr(student, name) for name in ("resamples", "confidence", "ddof", "seed", "design")}
    (made,) = compare_members(members, [(0, 1)], **options)
    return PairedDifference(made.difference, made.ci_low, made.ci_high, made.p_value)
