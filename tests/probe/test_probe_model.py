"""The recogniser, its loss, its decoding and its errors, each against something slow and plain."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechbias.probe.errors import Errors, count_errors, error_rate
from speechbias.probe.groups import Intervals, by_group
from speechbias.probe.model import Probe, ctc_loss, frames_needed, greedy, normalised
from speechbias.training.draws import generator


def collapsed(path):
    """What CTC reads in a path, frame by frame."""
    said, before = [], 0
    for output in path:
        if output not in (0, before):
            said.append(output)
        before = output
    return said


def distance(reference, hypothesis):
    """Fewest edits, by the table of Wagner and Fischer."""
    row = list(range(len(hypothesis) + 1))
    for number, one in enumerate(reference, start=1):
        last, row[0] = row[0], number
        for column, other in enumerate(hypothesis, start=1):
            last, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, last + (one != other))
    return row[-1]


def test_the_model_is_a_weighted_sum_and_two_linear_layers():
    draws = torch.Generator().manual_seed(0)
    states = torch.randn(3, 7, 5, generator=draws, dtype=torch.float64)
    probe = Probe(3, 5, 9, hidden=4).double()
    with torch.no_grad():
        probe.weights.copy_(torch.tensor([0.3, -1.0, 2.0]))
    shares = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    weights = {name: value.detach().numpy() for name, value in probe.named_parameters()}
    expected = np.zeros((7, 9))
    for frame in range(7):
        summed = sum(share * state[frame].numpy() for share, state in zip(shares, states, strict=True))
        hidden = weights["project.weight"] @ summed + weights["project.bias"]
        scores = weights["output.weight"] @ hidden + weights["output.bias"]
        expected[frame] = scores - np.log(np.exp(scores).sum())
    np.testing.assert_allclose(probe(states).detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(probe.shares(), shares, atol=1e-12)
    assert Probe(2, 5, 9).shares() == [0.5, 0.5]
    assert Probe(2, 5, 9).project.out_features == 256


def test_normalisation_is_of_each_state_of_each_frame():
    states = 5 * torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0)) + 2
    made = normalised(states)
    np.testing.assert_allclose(made.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(made.std(-1, correction=0), 1, atol=1e-4)


def test_the_loss_is_that_of_all_paths_by_target_length_then_by_utterance():
    draws = torch.Generator().manual_seed(1)
    frames, targets = [4, 3, 2], [[1, 1], [2], [1, 1, 2]]  # the last cannot be said in 2 frames
    log_probs = torch.randn(sum(frames), 3, generator=draws, dtype=torch.float64).log_softmax(-1)
    expected = []
    for part, target in zip(log_probs.split(frames), targets, strict=True):
        paths = itertools.product(range(3), repeat=len(part))
        likely = sum(
            np.exp(sum(float(part[t, o]) for t, o in enumerate(path))) for path in paths if collapsed(path) == target
        )
        expected.append(-np.log(likely) / len(target) if likely else 0.0)
    assert expected[2] == 0
    assert float(ctc_loss(log_probs, frames, targets)) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("target", [t for n in (1, 2, 3) for t in itertools.product((1, 2), repeat=n)])
def test_frames_needed_are_the_shortest_path(target):
    def can(frames):
        return any(collapsed(path) == list(target) for path in itertools.product(range(3), repeat=frames))

    assert frames_needed(target) == next(frames for frames in range(1, 7) if can(frames))


@given(st.lists(st.integers(0, 3), max_size=12))
def test_greedy_decoding_merges_repeats_and_drops_blanks(path):
    scores = torch.nn.functional.one_hot(torch.tensor(path, dtype=torch.long), 4).float()
    assert greedy(scores) == collapsed(path)


def test_error_rates_are_edits_by_phones_of_the_whole_corpus():
    draws = np.random.default_rng(0)
    phones = ["AA", "B", "CH"]
    references = [list(draws.choice(phones, draws.integers(1, 9))) for _ in range(30)]
    hypotheses = [list(draws.choice(phones, draws.integers(0, 12))) for _ in range(30)]
    edits = [distance(*pair) for pair in zip(references, hypotheses, strict=True)]
    counted = count_errors(references, hypotheses)
    assert [each.total for each in counted] == edits
    assert [each.phones for each in counted] == [len(each) for each in references]
    whole = sum(counted[1:], counted[0])
    assert whole.rate == pytest.approx(sum(edits) / sum(map(len, references)))
    assert error_rate(references, hypotheses) == whole.rate
    assert error_rate([["AA"]], [["B", "AA", "B"]]) == 2.0


ERRORS = [Errors(n % 3, n % 2, 0, 5 + n) for n in range(12)]
SPEAKERS = [f"s{n % 6}" for n in range(12)]
GROUPS = [{"gender": "female" if n % 6 < 3 else "male", "age": "30-39"} for n in range(12)]
INTERVALS = Intervals(seed=3, resamples=400, confidence=0.9)


def rate(rows):
    return sum(ERRORS[n].total for n in rows) / sum(ERRORS[n].phones for n in rows)


def test_rates_and_gaps_with_intervals_over_speakers_match_a_slow_loop():
    rates, gaps = by_group(ERRORS, SPEAKERS, GROUPS, ("gender", "age", "accent"), INTERVALS)
    drawn = {}
    for name in ("female", "male"):
        rows = [n for n in range(12) if GROUPS[n]["gender"] == name]
        known = sorted({SPEAKERS[n] for n in rows})
        draws = drawn_speakers(f"gender={name}", len(known))
        drawn[name] = []
        for draw in draws:
            again = [n for index in draw for n in rows if SPEAKERS[n] == known[index]]
            drawn[name].append(sum(ERRORS[n].total for n in again) / sum(ERRORS[n].phones for n in again))
        said = rates["gender"][name]
        assert said["per"] == pytest.approx(rate(rows))
        assert said["n_utterances"] == 6
        assert said["n_speakers"] == 3
        assert [said["ci_low"], said["ci_high"]] == pytest.approx(list(np.quantile(drawn[name], (0.05, 0.95))))
    (gap,) = gaps["gender"]
    assert gap["groups"] == ["female", "male"]
    assert gap["gap"] == pytest.approx(rates["gender"]["female"]["per"] - rates["gender"]["male"]["per"])
    apart = np.subtract(drawn["female"], drawn["male"])
    assert [gap["ci_low"], gap["ci_high"]] == pytest.approx(list(np.quantile(apart, (0.05, 0.95))))
    assert list(rates["age"]) == ["30-39"]
    assert "age" not in gaps
    assert "accent" not in rates


def drawn_speakers(name, count):
    return generator(3, "speakers", 0, name).integers(count, size=(400, count - 1))


@pytest.mark.parametrize("speakers", [["a"] * 6 + ["b"] * 6, ["a", "b", "c"] * 4, ["a", "", "c", "d"] * 3])
def test_where_speakers_cannot_be_told_there_is_no_interval(speakers):
    groups = [{"gender": "female" if n < 6 else "male"} for n in range(12)]
    _, gaps = by_group(ERRORS, speakers, groups, ("gender",), INTERVALS)
    assert gaps["gender"][0]["ci_low"] is None
    assert "no interval" in gaps["gender"][0]["why"]


def test_intervals_of_many_speakers_are_drawn_in_parts_and_are_the_same(monkeypatch):
    errors = [Errors(n % 4, n % 3, n % 2, 10 + n) for n in range(9)]
    speakers = [f"s{n % 5}" for n in range(9)]
    whole = INTERVALS.resampled("all", errors, speakers)
    monkeypatch.setattr("speechbias.probe.groups.DRAWS", 35)  # seven resamples of five speakers
    np.testing.assert_array_equal(INTERVALS.resampled("all", errors, speakers), whole)
