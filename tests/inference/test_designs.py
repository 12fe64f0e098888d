"""Which design fits which speakers, and how many relabellings it has."""

import numpy as np
import pytest

from speechbias.errors import InputError
from speechbias.inference.designs import DESIGNS, relabel, relabel_attributes, resolve_design
from speechbias.inference.permutation import smallest_p
from statistics_reference import attribute_labellings, labellings

PAIRS = {"X": ["p", "q", "r", "s"], "Y": ["s", "r", "p", "q"]}
# name: (design, speakers of X, speakers of Y); unequal clip counts, singles and blanks on purpose
CASES = {
    "clips": ("independent", ["", "", "", ""], ["", "", ""]),
    "named once": ("independent", ["a", "b", "c"], ["d", "e", ""]),
    "whole speakers": ("speaker", ["a", "a", "a", "b"], ["c", "c", "d"]),
    "whole speakers and blanks": ("speaker", ["a", "a", "", "b"], ["c", "c", ""]),
    "each in both": ("within-speaker", ["a", "a", "b"], ["a", "b", "b", "b"]),
    "in both, and singles": ("within-speaker", ["a", "a", "c", ""], ["a", "d", "", "e"]),
    "pairs": ("pair", ["", "", "", ""], ["", "", "", ""]),
}
cases = pytest.mark.parametrize(("design", "x", "y"), CASES.values(), ids=CASES)


@cases
def test_count_and_smallest_p_are_those_of_the_enumeration(design, x, y):
    every = labellings(design, x, y, PAIRS)
    relabelling = relabel(design, (x, y), PAIRS)
    assert relabelling.count == len(every)
    assert len({frozenset(c) for c in every}) == len(every)
    mirrored = all(set(range(len(x) + len(y))) - c in every for c in every)
    assert relabelling.mirrored == mirrored
    assert smallest_p(relabelling, "two-sided", 99) == (2 if mirrored else 1) / len(every)
    assert smallest_p(relabelling, "greater", 99) == smallest_p(relabelling, "less", 99) == 1 / len(every)


@cases
def test_the_first_units_of_a_stratum_are_those_labelled_x(design, x, y):
    found = relabel(design, (x, y), PAIRS)
    chosen = {
        clip
        for start, k in zip(found.starts[:-1], found.chosen, strict=True)
        for unit in found.units[start : start + k]
        for clip in unit
    }
    assert chosen == set(range(len(x)))
    assert sorted(clip for unit in found.units for clip in unit) == list(range(len(x) + len(y)))


@cases
def test_the_design_is_found_in_the_data(design, x, y):
    speakers = {"X": x, "Y": y}
    assert resolve_design(speakers, pairs=PAIRS) == ("independent" if design == "pair" else design)
    assert resolve_design(speakers, design=design, pairs=PAIRS) == design
    assert resolve_design(speakers, design="independent") == "independent"


def test_five_and_five_speakers_make_252_relabellings():
    speakers = [f"s{i // 4}" for i in range(20)], [f"t{i // 4}" for i in range(20)]
    found = relabel("speaker", speakers)
    assert found.count == 252
    assert smallest_p(found, "two-sided", 100_000) == 2 / 252


def test_blank_speakers_are_never_the_same_person():
    assert resolve_design({"X": ["", ""], "Y": ["", ""]}) == "independent"
    assert resolve_design({"X": ["a", "a", ""], "Y": ["", "b"]}) == "speaker"


def test_what_fits_no_design_is_refused_unless_one_is_named():
    speakers = {"X": ["a", "b", "b"], "Y": ["a", "c", "d"]}
    with pytest.raises(InputError, match=r"1 speakers stand in both X and Y, 1 others.*--design"):
        resolve_design(speakers)
    assert resolve_design(speakers, design="independent") == "independent"
    assert resolve_design(speakers, design="within-speaker") == "within-speaker"
    with pytest.raises(InputError, match="1 speakers stand in both"):
        resolve_design(speakers, design="speaker")


def test_unknown_design_is_refused():
    with pytest.raises(InputError, match=", ".join(DESIGNS)):
        resolve_design({"X": [""], "Y": [""]}, design="clips")


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        {"X": ["p", "q"], "Y": ["p", "r"]},
        {"X": ["p", "p"], "Y": ["p", "p"]},
        {"X": ["p"], "Y": ["p"]},
        {"X": ["p", ""], "Y": ["p", ""]},
        {"X": ["p", "q"]},
    ],
)
def test_pairs_stand_once_in_x_and_once_in_y(pairs):
    with pytest.raises(InputError, match="pair id"):
        resolve_design({"X": ["", ""], "Y": ["", ""]}, design="pair", pairs=pairs)


@pytest.mark.parametrize("clips", [(2, 3), (3, 2), (3, 3)])
def test_every_clip_has_a_pair(clips):
    labels = {name: [""] * count for name, count in zip("XY", clips, strict=True)}
    with pytest.raises(InputError, match="pair id"):
        resolve_design(labels, design="pair", pairs={"X": ["p", "q"], "Y": ["q", "p"]})


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (["t", "t", "u"], ["t", "u", "u"]),  # within talkers
        (["t", "t", "u"], ["v", "w", "w"]),  # whole talkers
        (["t", "t", "u"], ["t", "w", "w"]),  # u and w keep their labels
        (["", "", ""], ["", ""]),  # unknown: each clip a talker
        (["t", "", "u"], ["t", "", "u"]),
    ],
)
def test_attribute_relabellings_are_those_of_the_enumeration(a, b):
    found, every = relabel_attributes((a, b)), attribute_labellings(a, b)
    assert found.count == len(every)
    assert found.mirrored == all(set(range(len(a) + len(b))) - c in every for c in every)


def test_smallest_p_of_a_sample_is_one_in_all():
    relabelling = relabel("independent", ([""] * 30, [""] * 30))
    assert smallest_p(relabelling, "two-sided", 999) == 1 / 1000
    assert smallest_p(relabelling, "two-sided", None) == 2 / relabelling.count
    nothing = relabel("within-speaker", (["a", "a"], ["b", "b"]))
    assert nothing.count == 1
    assert smallest_p(nothing, "two-sided", 999) == 1
    assert not nothing.mirrored
    assert np.all(nothing.starts == [0, 2, 4])
