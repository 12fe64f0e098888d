"""A test cut in two: nobody in both halves, balanced, the same every time, refused where it cannot be."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from recordings import read_rows, write_test
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.stimuli import Stimulus, check_held_back, make_stimulus_set, read_stimuli, split_stimuli


def stimulus_set(clips, name="gender"):
    """Of (set, group, speaker, pair) per clip."""
    return make_stimulus_set(
        name,
        [
            Stimulus(Path(f"/nowhere/{n}.wav"), set_, group, speaker, pair)
            for n, (set_, group, speaker, pair) in enumerate(clips)
        ],
    )


def marks(half):
    """Everything that must not stand in the other half."""
    return (
        {("file", s.path) for s in half.stimuli}
        | {("speaker", s.speaker) for s in half.stimuli if s.speaker}
        | {("pair", s.pair) for s in half.X + half.Y if s.pair}
    )


@st.composite
def many_speakers(draw):
    """Speakers with 1 to 3 clips each, talkers in A and B; now and then one stands in X and in Y."""
    clips = []
    for key in "XY":
        for speaker in range(draw(st.integers(4, 9))):
            name = draw(st.sampled_from([f"{key}{speaker}", f"{key}{speaker}", "both", ""]))
            for _ in range(draw(st.integers(1, 3))):
                pair = draw(st.sampled_from(["", "", "p1", "p2"]))
                clips.append((key, f"{key}-{draw(st.integers(0, 1))}", name, pair))
    for talker in range(draw(st.integers(4, 8))):
        clips += [(key, key, f"t{talker}", "") for key in "AB" for _ in range(draw(st.integers(1, 3)))]
    return stimulus_set(draw(st.permutations(clips)))


@given(many_speakers(), st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 5))
@settings(max_examples=60)
def test_halves_are_disjoint_and_whole_and_the_same_every_time(test, share, seed):
    try:
        scored, held_back = split_stimuli(test, share=share, seed=seed)
    except InputError:
        reject()
    assert (scored.name, held_back.name) == ("gender-scored", "gender-held-back")
    assert not marks(scored) & marks(held_back)
    assert min(len(members) for half in (scored, held_back) for members in half.sets.values()) >= 2
    for key, members in test.sets.items():
        paths = [s.path for s in members]
        for half in (scored, held_back):
            own = [s.path for s in half.sets[key]]
            assert own == [path for path in paths if path in own]  # in the order of the CSV
        assert Counter(paths) == Counter(s.path for half in (scored, held_back) for s in half.sets[key])
    assert split_stimuli(test, share=share, seed=seed) == (scored, held_back)


@given(
    st.dictionaries(st.sampled_from(["X1", "X2", "Y1", "A1", "A2", "A3", "B1"]), st.integers(2, 20), min_size=7),
    st.sampled_from([0.25, 0.5, 0.8]),
)
@settings(max_examples=60)
def test_every_group_is_divided_as_asked_where_each_speaker_has_one_clip(sizes, share):
    if min(sizes["Y1"], sizes["B1"]) < 4:
        sizes |= {"Y1": 4, "B1": 4}
    test = stimulus_set([(k[0], k, f"{k}-{n}", "") for k, size in sizes.items() for n in range(size)])
    scored, _ = split_stimuli(test, share=share)
    got = Counter(s.group for s in scored.stimuli)
    for key, members in test.sets.items():
        wanted = min(max(share * len(members), 2), len(members) - 2)
        assert abs(len(scored.sets[key]) - wanted) <= 1.5, key
        for group in {s.group for s in members}:
            assert abs(got[group] - wanted * sizes[group] / len(members)) <= 2, group


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=2, max_size=9), st.sampled_from([0.2, 0.5]))
@settings(max_examples=100)
def test_only_what_no_division_of_speakers_splits_is_refused(speakers, share):
    """Each speaker has so many clips in X, Y, A and B; the oracle tries every division."""
    counts = np.array(speakers)
    possible = any(
        min(half.min(), (counts.sum(0) - half).min()) >= 2
        for half in (np.array(taken) @ counts for taken in product([0, 1], repeat=len(counts)))
    )
    if counts.sum(0).min() < 2:
        reject()  # no test at all
    test = stimulus_set(
        [
            (key, key, f"s{n}", "")
            for n, row in enumerate(speakers)
            for key, many in zip("XYAB", row, strict=True)
            for _ in range(many)
        ]
    )
    if possible:
        split_stimuli(test, share=share)
    else:
        with pytest.raises(InputError, match="cannot be split by speaker"):
            split_stimuli(test, share=share)


def test_seeds_draw_other_halves():
    test = stimulus_set([(key, key, f"{key}{n}", "") for key in "XYAB" for n in range(12)])
    assert len({tuple(s.path for s in split_stimuli(test, seed=seed)[0].stimuli) for seed in range(5)}) == 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("column", ["gender", "sex"])
def test_women_and_men_among_the_talkers_are_divided_too(column, seed):
    sex = ["female", "male", "female", "male"]
    talkers = [(key, f"t{n}", {column: sex[n]}) for key in "AB" for n in range(4) for _ in range(3)]
    targets = [(key, f"{key}{n}", {}) for key in "XY" for n in range(5)]
    clips = [
        Stimulus(Path(f"/{n}.wav"), key, key, who, columns=c) for n, (key, who, c) in enumerate(talkers + targets)
    ]
    for half in split_stimuli(make_stimulus_set("gender", clips), seed=seed):
        assert Counter(s.columns[column] for s in half.A) == {"female": 3, "male": 3}


def test_unknown_speakers_are_speakers_of_their_own():
    scored, held_back = split_stimuli(stimulus_set([(key, key, "", "") for key in "XYAB" for _ in range(6)]))
    assert [len(half.X) for half in (scored, held_back)] == [3, 3]


def test_a_large_speaker_is_balanced_by_several_small_ones():
    clips = [("X", "X", "large", "")] * 6 + [("X", "X", f"x{n}", "") for n in range(6)]
    clips += [(key, key, f"{key}{n}", "") for key in "YAB" for n in range(6)]
    scored, held_back = split_stimuli(stimulus_set(clips))
    alone = next(half for half in (scored, held_back) if "large" in half.speakers["X"])
    assert set(alone.speakers["X"]) == {"large"}
    assert len(scored.X) == len(held_back.X) == 6


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ([("X", "X", "one", "")] * 8, r"X has 8 clips of 1 speakers"),
        ([("X", "X", f"x{n}", "") for n in range(3)], r"X has 3 clips of 3 speakers"),
        ([("X", "X", "one", "")] * 9 + [("X", "X", "two", "")], r"one speaks too much of a set"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line_that_says_why(lacking, why):
    clips = lacking + [(key, key, f"{key}{n}", "") for key in "YAB" for n in range(6)]
    with pytest.raises(InputError, match=rf"^gender.csv cannot be split by speaker.*{why}") as caught:
        split_stimuli(stimulus_set(clips))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_is_between_0_and_1(share):
    test = stimulus_set([(key, key, f"{key}{n}", "") for key in "XYAB" for n in range(6)])
    with pytest.raises(InputError, match="share is"):
        split_stimuli(test, share=share)


def test_reported_clips_may_share_no_file_and_no_speaker_with_scored_ones():
    test = stimulus_set(
        [(key, key, f"{key}{n}", "p1" if n == 0 and key in "XY" else "") for key in "XYAB" for n in range(6)]
    )
    scored, held_back = split_stimuli(test)
    check_held_back([scored], [held_back])
    with pytest.raises(InputError, match=r"^gender.csv shows what gender-scored.csv chose, and shares \d+ files and"):
        check_held_back([scored], [test])
    others = [Stimulus(Path(f"/else/{n}.wav"), s.set, s.group, s.speaker) for n, s in enumerate(scored.stimuli)]
    with pytest.raises(InputError, match="first the speaker"):
        check_held_back([scored], [make_stimulus_set("later", others)])


def command(*arguments):
    return CliRunner().invoke(app, ["stimuli", "split", *map(str, arguments)])


def test_the_command_writes_both_halves(tmp_path):
    table = write_test(tmp_path, clips=6)
    done = command(table, "-o", tmp_path / "halves", "--share", 0.34)
    assert done.exit_code == 0, done.output
    halves = [read_stimuli(tmp_path / "halves" / f"gender-{half}.csv") for half in ("scored", "held-back")]
    assert [len(half.X) for half in halves] == [2, 4]
    assert sum(len(half.stimuli) for half in halves) == len(read_rows(table))
    assert not marks(halves[0]) & marks(halves[1])
    assert all(s.path.exists() for half in halves for s in half.stimuli)
    assert "gender-held-back.csv" in done.output


def test_the_command_wants_a_file_and_a_folder(tmp_path):
    for arguments in (["-o", tmp_path], [write_test(tmp_path, clips=6)]):
        done = command(*arguments)
        assert isinstance(done.exception, InputError)
        assert "-o DIR" in str(done.exception)
