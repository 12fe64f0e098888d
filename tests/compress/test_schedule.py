"""Schedules against the paper's ladders, explicit arithmetic of the convergence rule, and what cannot be cut."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechbias.compress.events import Event, write_events
from speechbias.compress.schedule import ConvergenceSchedule, FixedSchedule, amounts_of, make_schedule
from speechbias.errors import InputError
from speechbias.models.config import sized
from speechbias.paper import WEIGHT_PRUNING
from speechbias.training.recipe import resolved

BASE = sized("melhubert", "base")


def section(method, family="melhubert", **keys):
    said = {"model": {"family": family}, "data": {"train": "x"}, "prune": {"method": method, **keys}}
    return resolved(said, "r.toml").prune


def shaped(heads, ffn=(64, 64)):
    return dataclasses.replace(BASE, heads=heads, ffn=ffn)


def cuts(schedule, steps=100_000_000):
    return {step: amount for step, amount in schedule.cuts.items() if step <= steps}


def test_heads_go_by_the_papers_ladder():
    schedule = make_schedule(section("heads"), BASE)
    assert list(schedule.cuts) == [*range(25_000, 150_001, 25_000), *range(190_000, 350_001, 40_000)]
    left = [144 - 12 * number for number in range(1, len(schedule.cuts) + 1)]
    assert left[5] == 72  # after the last cut of 25,000 updates
    assert left[-1] == 12
    assert schedule.end == 390_000
    assert set(schedule.cuts.values()) == {1}


def test_rows_go_by_the_papers_ladder():
    schedule = make_schedule(section("rows", "wav2vec2"), sized("wav2vec2", "base"))
    assert list(schedule.cuts) == list(range(25_000, 500_001, 25_000))
    assert 3072 - 128 * len(schedule.cuts) == 512
    assert schedule.end == 525_000


@pytest.mark.parametrize(
    ("method", "family", "first", "last", "end", "count"),
    [
        ("heads", "melhubert", 1_000, 326_000, 366_000, 11),
        ("heads", "wav2vec2", 1_000, 326_000, 331_000, 11),
        ("rows", "melhubert", 1_000, 476_000, 510_000, 20),
        ("rows", "wav2vec2", 1_000, 476_000, 510_000, 20),
        ("weights", "wav2vec2", 5_000, 3_230_000, 3_355_000, 19),
    ],
)
def test_the_authors_ladders(method, family, first, last, end, count):  # noqa: PLR0917
    """Of their configurations: updates of the first and last cut, and of the end."""
    schedule = make_schedule(section(method, family, preset="authors-code"), sized(family, "base"))
    steps = list(schedule.cuts)
    assert (steps[0], steps[-1], schedule.end, len(steps)) == (first, last, end, count)


def test_weights_go_by_nineteen_targets():
    assert len(WEIGHT_PRUNING.targets) == 19
    assert WEIGHT_PRUNING.targets[:9] == (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.675, 0.7)
    assert WEIGHT_PRUNING.targets[-1] == 0.8
    made = section("weights")
    assert (made.schedule, made.ema, made.tolerance, made.look_back) == ("converged", 0.9998, 0.001, 15_000)
    listed = make_schedule(section("weights", "wav2vec2"), sized("wav2vec2", "base"))
    assert dict(list(listed.cuts.items())[:3]) == {25_000: 0.2, 150_000: 0.3, 225_000: 0.4}


@pytest.mark.parametrize("method", ["heads", "rows"])
def test_the_text_is_what_the_defaults_read(method):
    plain, text = section(method), section(method, preset="paper-text")
    assert dataclasses.replace(text, preset=None) == plain


# Weights: an average over all losses since the cut, by its definition.


def average(losses, decay):
    """Bias-corrected: the weighted mean with weights decay^(age)."""
    weights = decay ** np.arange(len(losses))[::-1]
    return float(np.dot(weights, losses) / weights.sum())


def explicit(losses, *, decay, tolerance, look_back, check, sides, count):
    """Updates of the cuts, each comparison made from the whole list of losses since the cut before."""
    found, begun = [], 0
    for step in range(1, len(losses) + 1):
        since = losses[begun:step]
        if len(found) == count or len(since) % check or len(since) <= look_back:
            continue
        fell = average(since[:-look_back], decay) - average(since, decay)
        if (fell if sides == "fall" else abs(fell)) <= tolerance:
            found.append(step)
            begun = step
    return found


@given(
    st.lists(st.floats(0.1, 5), min_size=5, max_size=60),
    st.sampled_from([0.5, 0.9]),
    st.sampled_from([0.01, 0.3]),
    st.integers(1, 7),
    st.integers(1, 9),
    st.sampled_from(["both", "fall"]),
)
def test_convergence_is_that_of_its_definition(losses, decay, tolerance, look_back, check, sides):  # noqa: PLR0917
    keys = {"ema": decay, "tolerance": tolerance, "look_back": look_back, "check": check, "sides": sides}
    made = section("weights", targets=[0.2, 0.4, 0.5], **keys)
    schedule = make_schedule(made, BASE)
    found = [step for step, loss in enumerate(losses, start=1) if schedule.due(step, loss) is not None]
    wanted = explicit(losses, decay=decay, tolerance=tolerance, look_back=look_back, check=check, sides=sides, count=3)
    assert found == wanted


def test_an_average_of_three_begins_as_the_authors_do():
    """Mean of three losses, the fourth left out, then decay."""
    schedule = make_schedule(section("weights", average="three", ema=0.5, look_back=100, check=100), BASE)
    seen = []
    for step, loss in enumerate([3.0, 6.0, 9.0, 1000.0, 2.0], start=1):
        schedule.due(step, loss)
        seen.append(schedule.average)
    assert seen == [3.0, 4.5, 6.0, 6.0, 4.0]


def test_the_first_cut_may_come_without_a_test_and_the_others_not():
    made = section("weights", check=4, look_back=2, ema=0.0, tolerance=0.0, unconditional=True, sides="fall")
    schedule = make_schedule(made, BASE)
    falling = [100.0 - step for step in range(1, 30)]
    assert [step for step, loss in enumerate(falling, start=1) if schedule.due(step, loss) is not None] == [4]


def test_a_rise_has_converged_by_one_side_only():
    rising = [float(step) for step in range(1, 20)]
    for sides, count in (("both", 0), ("fall", 3)):
        made = section("weights", check=5, look_back=2, ema=0.0, tolerance=0.5, sides=sides, targets=[0.1, 0.2, 0.3])
        schedule = make_schedule(made, BASE)
        assert sum(schedule.due(step, loss) is not None for step, loss in enumerate(rising, start=1)) == count


def test_updates_without_a_loss_count_as_time_and_move_nothing():
    made = section("weights", check=2, look_back=2, ema=0.0, tolerance=0.5)
    schedule = make_schedule(made, BASE)
    assert [schedule.due(step, loss) for step, loss in enumerate([1.0, 1.0, None, None], start=1)][-1] == 0.2
    assert math.isnan(schedule.average)  # begun anew


@pytest.mark.parametrize("stop", range(1, 40, 3))
def test_a_schedule_goes_on_from_its_state(stop):
    losses = [2 + math.sin(step / 3) / step for step in range(1, 60)]
    made = section("weights", check=3, look_back=4, ema=0.8, tolerance=0.02, targets=[0.1, 0.2, 0.3, 0.4])
    whole = make_schedule(made, BASE)
    wanted = [whole.due(step, loss) for step, loss in enumerate(losses, start=1)]
    assert sum(target is not None for target in wanted) >= 2
    first, second = make_schedule(made, BASE), make_schedule(made, BASE)
    found = [first.due(step, loss) for step, loss in enumerate(losses[:stop], start=1)]
    second.load(first.state())
    found += [second.due(step, loss) for step, loss in enumerate(losses[stop:], start=stop + 1)]
    assert found == wanted


def test_a_converged_run_ends_after_its_last_target():
    made = section("weights", check=1, look_back=2, ema=0.0, tolerance=1.0, targets=[0.5], last=4)
    schedule = make_schedule(made, BASE)
    assert isinstance(schedule, ConvergenceSchedule)
    ends = []
    for step in range(1, 10):
        schedule.due(step, 1.0)
        ends.append(schedule.ended(step))
    assert ends == [False] * 6 + [True] * 3  # cut after update 3


# Events of one run as the schedule of another.


def event(step, kind="heads", amount=1):
    return Event(step, kind, amount, "l1", {"0": [1]}, 10, 12)


def test_events_of_one_run_are_the_schedule_of_another(tmp_path):
    write_events(tmp_path / "e.jsonl", [event(7), event(20, amount=2)])
    made = section("heads", "wav2vec2", replay=str(tmp_path / "e.jsonl"))
    schedule = make_schedule(made, sized("wav2vec2", "base"))
    assert cuts(schedule) == {7: 1, 20: 2}
    assert schedule.end == 33
    weights = section("weights", "wav2vec2", replay=str(tmp_path / "w.jsonl"))
    write_events(tmp_path / "w.jsonl", [event(5, "weights", 0.2), event(9, "weights", 0.5)])
    assert amounts_of(weights, BASE) == [0.2, 0.5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"step": 5}\n', "line 1 is no cut of a run"),
        ("nonsense\n", "line 1 is no cut of a run"),
        ("", "holds no cuts"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_events_is_named(content, said, tmp_path):
    if content is not None:
        (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(InputError, match=said):
        make_schedule(section("heads", replay=str(tmp_path / "e.jsonl")), BASE)


def test_events_of_another_kind_are_no_schedule(tmp_path):
    write_events(tmp_path / "e.jsonl", [event(7, "rows", 128)])
    with pytest.raises(InputError, match=r"holds cuts of rows, and .* method is 'heads'"):
        make_schedule(section("heads", replay=str(tmp_path / "e.jsonl")), BASE)


# More than there is.


@pytest.mark.parametrize(
    ("keys", "config", "said"),
    [
        ({"method": "heads", "stages": [[10, 1]]}, shaped((4, 4)), "cuts of 2 do not reach from 8; end it at 2"),
        ({"method": "heads", "stages": [[10, 5], [10, 2]]}, shaped((4, 4)), "a stage ends at 5 heads"),
        ({"method": "rows", "amount": 64, "stages": [[10, 1]]}, shaped((4, 4)), "cut less at a time"),
        ({"method": "heads", "stages": [[10, 8]]}, shaped((4, 4)), "end at 8 heads in all, and the model has 8"),
        ({"method": "heads", "stages": [[10, 2]]}, shaped((5, 1)), "cuts 2 heads of each layer, and the smallest has"),
        ({"method": "rows", "amount": 64, "stages": [[10, 64]]}, shaped((4, 4)), "the model has 64; end lower"),
        ({"method": "heads", "at": [1, 2, 3, 4]}, shaped((4, 4)), "cuts 4 heads of each layer"),
        ({"method": "rows", "at": [1], "amount": 64}, shaped((4, 4)), "of which one stays"),
    ],
)
def test_more_than_there_is_cannot_be_cut(keys, config, said):
    with pytest.raises(InputError, match=said):
        make_schedule(section(**keys), config)


def test_a_target_below_what_is_zero_already_is_refused():
    with pytest.raises(InputError, match=r"begin at 0\.2, and 0\.5 of the model's weights are zero"):
        make_schedule(section("weights"), BASE, sparsity=0.5)
    assert amounts_of(section("weights"), BASE, sparsity=0.1) == list(WEIGHT_PRUNING.targets)


@pytest.mark.parametrize(
    ("method", "keys", "said"),
    [
        ("weights", {"amount": 3}, "weights are cut to targets"),
        ("weights", {"schedule": "ladder"}, "weights are cut to targets"),
        ("heads", {"schedule": "converged"}, 'schedule "converged" is for weights'),
        ("heads", {"targets": [0.5]}, "targets are shares of zeros"),
        ("heads", {"schedule": "listed"}, 'schedule "listed" needs at'),
        ("heads", {"criterion": "bias"}, "needs stimuli"),
        ("weights", {"at": [1, 2], "targets": [0.5]}, "at has 2 updates and targets 1"),
        ("weights", {"targets": [0.5, 0.2]}, "targets has numbers that do not grow"),
        ("weights", {"targets": [0.5, 1.0]}, "between 0 and 1"),
        ("heads", {"at": [5, 5]}, "at has numbers that do not grow"),
        ("heads", {"at": [-5, 5]}, "counted from 0"),
        ("heads", {"stages": []}, "stages are pairs"),
        ("heads", {"stages": [[10, 12], [10, 72]]}, "stages leave fewer and fewer"),
        ("heads", {"balance": 2.0, "criterion": "bias", "stimuli": ["x.csv"]}, "balance is from 0 to 1"),
        ("heads", {"balance": 0.7}, "balance says nothing"),
        ("heads", {"at": [5], "first": 3}, "first says nothing"),
        ("rows", {"out_proj": True}, "out_proj says nothing"),
        ("heads", {"check": 5}, "check says nothing"),
        ("weights", {"moments": "reset"}, "moments says nothing"),
        ("heads", {"amount": 0}, "amount is 0"),
        ("head", {}, "take one of heads, rows, weights"),
    ],
)
def test_a_section_without_meaning_is_refused(method, keys, said):
    with pytest.raises(InputError, match=said):
        section(method, **keys)


def test_the_paper_has_no_preset_for_hubert():
    with pytest.raises(InputError, match="the paper prunes no hubert"):
        section("heads", "hubert", preset="authors-code")
    assert section("heads", "hubert").amount == 1


def test_a_fixed_schedule_is_a_function_of_the_update():
    schedule = FixedSchedule({0: 1, 5: 2}, last=3)
    schedule.load(schedule.state())
    assert [schedule.due(step, 1.0) for step in range(7)] == [1, None, None, None, None, 2, None]
    assert schedule.end == 8
    assert not schedule.ended(8)  # a recipe may say more updates
