"""The log: means over its windows, the same lines after a kill, and where else numbers go."""

import json
import sys
import types

import pytest

from full_disk import small_files
from speechbias.errors import InputError
from speechbias.training.log import SPEED, Log, TensorBoard, WeightsAndBiases
from speechbias.training.step import Report
from speechbias.training.watch import Watch


def report(update, *, skipped=False):
    return Report(update, 1.0 / update, {"correct": update / 10}, 0.1 * update, 2.0 * update, 5, skipped=skipped)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_speed(path):
    return [{name: value for name, value in line.items() if name != SPEED} for line in lines(path)]


def run(path, updates, *, every=3, step=0, state=None):
    log = Log(path, every=every, step=step)
    if state:
        log.load(state)
    for update in updates:
        log.add(report(update), 1.5)
    return log


def test_a_line_holds_the_means_since_the_last(tmp_path):
    run(tmp_path / "log.jsonl", range(1, 8))
    first, second = lines(tmp_path / "log.jsonl")
    assert (first["step"], second["step"]) == (3, 6)
    assert first["loss"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert second["correct"] == pytest.approx(0.5)
    assert (second["masked_frames"], second["audio_seconds"]) == (15, 4.5)
    assert second["lr"] == pytest.approx(0.6)
    assert second["gradient"] == pytest.approx(10.0)
    assert second[SPEED] > 0
    assert "skipped" not in first


def test_a_skipped_update_counts_as_one_and_enters_no_mean(tmp_path):
    log = Log(tmp_path / "log.jsonl", every=2)
    log.add(report(1, skipped=True), 1.0)
    line = log.add(report(2), 1.0)
    assert (line["skipped"], line["loss"]) == (1, 0.5)
    log.add(report(3, skipped=True), 1.0)
    line = log.add(report(4, skipped=True), 1.0)
    assert line["skipped"] == 2
    assert "loss" not in line


@pytest.mark.parametrize("saved", range(1, 9))
@pytest.mark.parametrize("torn", ["", '{"step": 9, "lo'])
def test_a_killed_and_resumed_log_is_that_of_a_run_that_was_not(saved, torn, tmp_path):
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    run(whole, range(1, 10))
    state = json.loads(json.dumps(run(killed, range(1, saved + 1)).state()))
    log = Log(killed, every=3, step=saved)
    log.load(state)
    for update in range(saved + 1, 9):  # went on after the checkpoint, then was killed
        log.add(report(update), 1.5)
    killed.write_text(killed.read_text() + torn)
    run(killed, range(saved + 1, 10), step=saved, state=state)
    assert without_speed(killed) == without_speed(whole)


def test_the_window_in_a_checkpoint_does_not_change_with_later_updates(tmp_path):
    log = run(tmp_path / "log.jsonl", [1])
    state = log.state()
    log.add(report(2), 1.0)
    assert state["updates"] == 1
    assert state["sums"]["loss"] == 1.0


def test_a_log_that_was_lost_is_told_and_goes_on(tmp_path):
    path, told = tmp_path / "log.jsonl", []
    run(path, range(1, 8))
    path.unlink()
    log = Log(path, every=3, step=7, warn=told.append)
    for update in (8, 9):
        log.add(report(update), 1.0)
    assert [line["step"] for line in lines(path)] == [9]
    assert len(told) == 1
    assert "log.jsonl: 2 of the 2 lines up to update 7 are lost" in told[0]


@pytest.mark.parametrize("damage", [b'{"loss": 1}\n', b"\0\0\0\n", b"[" * 100_000 + b"\n", b"\xff\n"])
def test_lines_that_are_damaged_are_told_and_kept_aside(damage, tmp_path):
    path, told = tmp_path / "log.jsonl", []
    run(path, range(1, 14))
    kept = path.read_bytes().splitlines(keepends=True)
    spoilt = kept[0] + damage + kept[2] + kept[3] + b'{"step": 9, "lo'
    path.write_bytes(spoilt)
    Log(path, every=3, step=10, warn=told.append)
    assert path.read_bytes() == kept[0] + kept[2]
    assert (tmp_path / "damaged-log.jsonl").read_bytes() == spoilt
    assert "log.jsonl is damaged in 1 lines" in told[0]
    assert "1 of the 3 lines up to update 10 are lost" in told[1]


@pytest.mark.parametrize("step", [0, 2, 3, 8, 9])
@pytest.mark.parametrize("torn", ["", '{"step": 9, "lo'])
def test_of_a_log_as_a_kill_leaves_it_nothing_is_told(step, torn, tmp_path):
    path, told = tmp_path / "log.jsonl", []
    run(path, range(1, 10))
    path.write_text(path.read_text() + torn)
    Log(path, every=3, step=step, warn=told.append)
    assert told == []
    assert not (tmp_path / "damaged-log.jsonl").exists()


def test_a_full_disk_names_the_log(tmp_path):
    log = Log(tmp_path / "log.jsonl", every=1)
    with small_files(10), pytest.raises(OSError, match=r"log\.jsonl"):
        log.add(report(1), 1.0)


class Kept:
    def __init__(self):
        self.rows, self.closed = [], False

    def write(self, step, numbers):
        self.rows.append((step, dict(numbers)))

    def close(self):
        self.closed = True


def test_sinks_get_every_line_and_are_closed(tmp_path):
    sink = Kept()
    log = Log(tmp_path / "log.jsonl", every=2, sinks=[sink])
    for update in range(1, 5):
        log.add(report(update), 1.0)
    log.close()
    assert [step for step, _ in sink.rows] == [2, 4]
    assert sink.rows[0][1]["loss"] == pytest.approx(0.75)
    assert sink.closed


def test_without_tensorboard_or_wandb_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'speechbias\[track\]'"):
        TensorBoard(tmp_path, purge_step=1)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'speechbias\[track\]'"):
        WeightsAndBiases("project", name="run", id_="1", settings={})


def test_tensorboard_and_wandb_are_given_the_numbers(tmp_path, monkeypatch):
    said = []
    writer = types.SimpleNamespace(add_scalar=lambda *args: said.append(args), close=lambda: said.append("closed"))
    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = lambda folder, purge_step: said.append((folder, purge_step)) or writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    sink = TensorBoard(tmp_path, purge_step=4)
    sink.write(5, {"loss": 2.0})
    sink.close()
    assert said == [(str(tmp_path), 4), ("loss", 2.0, 5), "closed"]
    wandb = types.ModuleType("wandb")
    run_ = types.SimpleNamespace(log=lambda row, step: said.append((row, step)), finish=lambda: said.append("done"))
    wandb.init = lambda **given: said.append(given) or run_
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    sink = WeightsAndBiases("p", name="r", id_="i", settings={"a": 1})
    sink.write(5, {"loss": 2.0})
    sink.close()
    given = {"project": "p", "name": "r", "id": "i", "resume": "allow", "config": {"a": 1}}
    assert said[3:] == [given, ({"loss": 2.0}, 5), "done"]


def test_collapsed_codes_are_told_once():
    watch = Watch(entropy=None, groups=2)
    assert watch.look({"step": 10, "loss": 3.0, "code_perplexity": 30.0}) == []
    (told,) = watch.look({"step": 20, "loss": 0.1, "code_perplexity": 2.1})
    assert "collapsed" in told
    assert watch.look({"step": 30, "loss": 0.1, "code_perplexity": 2.0}) == []


def test_a_loss_that_labels_do_not_allow_is_told():
    (told,) = Watch(entropy=5.0).look({"step": 10, "loss": 3.0})
    assert "labels' entropy 5.00" in told
    assert Watch(entropy=5.0).look({"step": 10, "loss": 5.2}) == []
    assert Watch(entropy=5.0).look({"step": 10_000, "loss": 3.0}) == []  # a first line of a long window
    watch = Watch(entropy=5.0)
    assert watch.look({"step": 10, "loss": 5.2}) == watch.look({"step": 20, "loss": 3.0}) == []  # learnt by then
    (told,) = watch.look({"step": 30, "loss": 0.1})
    assert "next to nothing" in told


def test_the_cross_entropy_is_compared_where_the_loss_holds_more():
    assert Watch(entropy=5.0).look({"step": 10, "loss": 30.0, "cross_entropy": 1.0})
    assert not Watch(entropy=5.0).look({"step": 10, "loss": 3.0, "cross_entropy": 5.1})
    assert Watch(entropy=5.0).look({"step": 10}) == []  # every update was skipped
