"""Who is one unit: the clips that move together when labels are permuted and when a bootstrap draws."""

from collections.abc import Mapping, Sequence

from speechbias.errors import InputError
from speechbias.inference.designs import name_blanks
from speechbias.inference.intervals import Strata

SETS = ("X", "Y", "A", "B")


def check_speakers(speakers: Mapping[str, Sequence[str]] | None, n: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """One label per row of every set, "" where unknown (blank, None, NaN, or a set without speakers)."""
    given = speakers or {}
    if unknown := [name for name in given if name not in SETS]:
        raise InputError(f"speakers names the sets {', '.join(map(str, unknown))}. Sets are X, Y, A and B.")
    labels = {}
    for name in SETS:
        ids = list(given[name]) if given.get(name) is not None else []
        ids = ids or [""] * n[name]
        if len(ids) != n[name]:
            raise InputError(f"speakers names {len(ids)} speakers for {name}, which holds {n[name]} stimuli.")
        labels[name] = tuple("" if s is None or s != s else str(s).strip() for s in ids)  # noqa: PLR0124 (NaN)
    return labels


def target_units(
    design: str, labels: Mapping[str, Sequence[str]], pairs: Mapping[str, Sequence[str]] | None
) -> Strata:
    """What the bootstrap draws: clips, speakers or pairs."""
    if design == "pair" and pairs is not None:
        return Strata.of(pairs["X"], pairs["Y"])
    blank = design == "independent"
    first, second = ([""] * len(labels[name]) if blank else labels[name] for name in ("X", "Y"))
    return Strata.of(name_blanks(first, "X"), name_blanks(second, "Y"))


def attribute_units(labels: Mapping[str, Sequence[str]]) -> Strata:
    """What the bootstrap draws of the attributes: their talkers."""
    return Strata.of(name_blanks(labels["A"], "A"), name_blanks(labels["B"], "B"))
