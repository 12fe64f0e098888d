"""Stopped while the corpus is prepared, or killed anywhere: then resumed, a run is the one that was not."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from speechbias import cli
from speechbias.models.config import FAMILIES
from speechbias.training import frames, scan
from speechbias.training.corpus import make_run_units
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from training_runs import digest, log_of, steps_of, write_corpus, write_recipe

STAGES = [  # where each family reads its eight clips for the n-th time: scan, mel statistics, k-means, labels
    *[(family, scan, "measure_length", 3) for family in FAMILIES],
    ("hubert", frames, "read_audio", 4),
    ("hubert", frames, "read_audio", 13),
    ("melhubert", frames, "read_audio", 4),
    ("melhubert", frames, "read_audio", 13),
    ("melhubert", frames, "read_audio", 21),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A corpus, and by family runs that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write_corpus(folder / "clips")
    for family in FAMILIES:
        pretrain(read_recipe(write_recipe(folder / "r.toml", family, folder / "clips")), folder / family)
    return folder


def signalling(monkeypatch, module, name, at, number):
    """Patch a function so that the n-th call of it asks this process to stop."""
    real, calls = getattr(module, name), iter(range(1, 10**6))

    def asking(*args, **kwargs):
        if next(calls) == at:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, asking)


def rests_of(run):
    return [path.name for path in run.glob(".*") if path.name != ".lock"]


@pytest.fixture(autouse=True)
def ctrl_c():
    """As at a terminal: what runs in the background of a shell starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


ASKED = [(signal.SIGTERM, stage) for stage in STAGES] + [(signal.SIGUSR1, STAGES[0]), (signal.SIGINT, STAGES[3])]


@pytest.mark.parametrize(("number", "stage"), ASKED)
def test_a_signal_while_the_corpus_is_prepared_ends_cleanly(number, stage, whole, tmp_path, monkeypatch):
    family, *where = stage
    recipe, run, before = (
        write_recipe(tmp_path / "r.toml", family, whole / "clips"),
        tmp_path / "run",
        signal.getsignal(number),
    )
    with monkeypatch.context() as patched:
        signalling(patched, *where, number)
        done = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", str(run)])
    said = "interrupted" if number == signal.SIGINT else number.name
    assert done.exit_code == 1
    assert f"speechbias: {said}: ended without saving. Go on with --resume.\n" in done.stderr
    assert rests_of(run) == []
    assert signal.getsignal(number) == before
    pretrain(read_recipe(recipe), run, resume=True)
    assert digest(run, 6) == digest(whole / family, 6)
    assert log_of(run) == log_of(whole / family)


def test_units_are_interrupted_alike(whole, tmp_path, monkeypatch):
    recipe = read_recipe(write_recipe(tmp_path / "r.toml", "hubert", whole / "clips"))
    with monkeypatch.context() as patched:
        signalling(patched, frames, "read_audio", 13, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            make_run_units(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "units").exists()
    assert rests_of(tmp_path / "run") == []
    assert len(make_run_units(recipe, tmp_path / "run").labels) == 8


KILLED = """
import os, signal
from speechbias.training import {module} as module
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
real, calls = module.{name}, iter(range(1, 10**6))
def dying(*args, **kwargs):
    if next(calls) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
module.{name} = dying
pretrain(read_recipe({recipe!r}), {run!r}, resume=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_while_the_corpus_is_prepared_leaves_nothing_half_written(stage, whole, tmp_path):
    family, module, name, at = stage
    recipe, run = write_recipe(tmp_path / "r.toml", family, whole / "clips"), tmp_path / "run"
    said = {"module": module.__name__.rpartition(".")[2], "name": name, "at": at}
    code = KILLED.format(**said, recipe=str(recipe), run=str(run))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    labelling = stage in {STAGES[4], STAGES[7]}
    assert any(rest.startswith(".units.") for rest in rests_of(run)) == labelling  # what the next one has to sweep
    pretrain(read_recipe(recipe), run, resume=True)
    assert rests_of(run) == []
    assert digest(run, 6) == digest(whole / family, 6)
    assert log_of(run) == log_of(whole / family)
    assert steps_of(run) == steps_of(whole / family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_outside_of_the_main_thread_has_no_handlers_and_ends_the_same(family, whole, tmp_path):
    recipe, ended = read_recipe(write_recipe(tmp_path / "r.toml", family, whole / "clips")), []
    thread = threading.Thread(target=lambda: ended.append(pretrain(recipe, tmp_path / "run")))
    thread.start()
    thread.join()
    assert [each.update for each in ended] == [6]
    assert digest(tmp_path / "run", 6) == digest(whole / family, 6)
