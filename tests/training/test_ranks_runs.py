"""Whole runs on two ranks: tracked, on shards, stopped and resumed; who speaks when something is wrong, and once."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import rank_processes
from rank_processes import environment, free_port
from recordings import write_test
from speechbias.errors import InputError
from speechbias.results import read_results
from speechbias.training import ranks
from speechbias.training.pretrain import pretrain
from speechbias.training.ranks import LostRanksError, Ranks, one_voice
from speechbias.training.recipe import read_recipe
from speechbias.training.sharding import write_shards
from speechbias.training.vigil import vigil
from training_runs import digest, log_of, steps_of, write_corpus, write_recipe

TRACK = '[track]\nstimuli = "{}"\nevery = 2\npermutations = 500\nresamples = 200\n'


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips", clips=16)


def edited(recipe, *changes):
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    return recipe


def test_two_ranks_track_what_one_does(corpus, pair, tmp_path):
    stimuli = write_test(tmp_path, clips=3)
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=4)
    recipe.write_text(recipe.read_text() + TRACK.format(stimuli))
    told = pair.run(rank_processes.train, recipe, tmp_path / "two")
    assert [answer[:2] for answer in told] == [(4, None)] * 2
    pretrain(read_recipe(edited(recipe, ("accumulate = 2", "accumulate = 4"))), tmp_path / "one")
    two, one = (read_results(tmp_path / run / "results.jsonl") for run in ("two", "one"))
    assert [(r.step, r.layer) for r in two] == [(r.step, r.layer) for r in one]
    assert {r.step for r in two} == {0, 2, 4}
    for ours, theirs in zip(two, one, strict=True):
        assert ours.d == pytest.approx(theirs.d, abs=0 if ours.step == 0 else 1e-4)
        assert ours.model == theirs.model


def without_perplexity(run):
    """It is judged by the frames that are there at a time."""
    return [{name: value for name, value in line.items() if name != "code_perplexity"} for line in log_of(run)]


def test_wav2vec2_on_two_ranks_is_one_with_twice_the_batches_but_for_diversity(corpus, pair, tmp_path):
    change = ("[optim]", "[objective]\ndiversity = 0.0\n[optim]")
    recipe = edited(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), change)
    assert [answer[:2] for answer in pair.run(rank_processes.train, recipe, tmp_path / "two")] == [(6, None)] * 2
    pretrain(read_recipe(edited(recipe, ("accumulate = 2", "accumulate = 4"))), tmp_path / "one")
    for ours, theirs in zip(*map(without_perplexity, (tmp_path / "two", tmp_path / "one")), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)
    assert digest(tmp_path / "two", 0) == digest(tmp_path / "one", 0)
    assert digest(tmp_path / "two", 6) != digest(tmp_path / "two", 0)


@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
def test_two_ranks_on_shards_stop_and_go_on_as_if_they_had_not(family, corpus, pair, tmp_path):
    write_shards([corpus], tmp_path / "shards", count=3)
    recipe = write_recipe(tmp_path / "r.toml", family, tmp_path / "shards", steps=7, save=100, keep=[])
    edited(recipe, ("[optim]", "window = 2\n[optim]"))
    pair.run(rank_processes.train, recipe, tmp_path / "whole")
    stop = (1, 9, signal.SIGTERM)  # the second rank's first batch of the third update
    answers = pair.run(rank_processes.train, recipe, tmp_path / "cut", asked=stop)
    assert [answer[:2] for answer in answers] == [(3, "SIGTERM")] * 2
    answers = pair.run(rank_processes.train, recipe, tmp_path / "cut", resume=True)
    assert [answer[:2] for answer in answers] == [(7, None)] * 2
    assert digest(tmp_path / "cut", 7) == digest(tmp_path / "whole", 7)
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


def started(arguments, tmp_path, *, program=("-m", "speechbias")):
    """Two ranks without a launcher, each with a file for what it says."""
    port, processes = free_port(), []
    for rank in range(2):
        with (tmp_path / f"said-{rank}").open("wb") as said:
            command = [sys.executable, *program, *map(str, arguments)]
            env = {**os.environ, **environment(rank, port), "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen(command, env=env, stdout=said, stderr=said))
    return processes


def ended(processes, tmp_path):
    """Exit codes, and what each rank said."""
    try:
        codes = [process.wait(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return codes, [(tmp_path / f"said-{rank}").read_text() for rank in range(2)]


def until(there, processes):
    while not there():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


@pytest.mark.slow
def test_one_rank_is_asked_to_make_room_and_both_end_with_one_checkpoint(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=100_000, save=100_000, log=1, keep=[])
    processes = started(["pretrain", recipe, "--out", tmp_path / "run"], tmp_path)
    until((tmp_path / "run" / "log.jsonl").exists, processes)
    processes[1].send_signal(signal.SIGUSR1)
    codes, said = ended(processes, tmp_path)
    (step,) = steps_of(tmp_path / "run")
    assert codes == [1, 1]
    assert said[0].count(f"SIGUSR1: saved after {step} updates. Go on with --resume.") == 1
    assert said[1] == ""
    assert log_of(tmp_path / "run")[-1]["step"] == step


PREPARING = """
import sys, time
from pathlib import Path
from speechbias import cli
from speechbias.training import opening, ranks, vigil
vigil.BEAT, vigil.MISSED, ranks.SILENCE = 0.1, 5, 0.1
marker = Path(sys.argv.pop())
def scan(*_, **__):
    marker.touch()
    time.sleep(600)
opening.open_training_corpus = scan
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_while_the_corpus_is_prepared_ends_the_other(victim, corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    arguments = ["pretrain", recipe, "--out", tmp_path / "run", tmp_path / "scanning"]
    processes = started(arguments, tmp_path, program=("-c", PREPARING))
    until((tmp_path / "scanning").exists, processes)
    time.sleep(0.5)
    processes[victim].kill()
    codes, said = ended(processes, tmp_path)
    assert codes[1 - victim] == 1
    (line,) = said[1 - victim].splitlines()
    assert f"rank {1 - victim} of 2 lost " in line
    assert "go on with --resume" in line


SLOW = """
import sys, time
from speechbias import cli
from speechbias.training import opening, ranks, run, vigil
vigil.BEAT = 0.1
last, prepare = run.RunFolder.last, opening.open_training_corpus
def read(self, **options):
    left = last(self, **options)
    time.sleep(0 if ranks.started()[0] == 0 else 2)
    return left
def scan(*given, **options):
    time.sleep(4)
    return prepare(*given, **options)
run.RunFolder.last, opening.open_training_corpus = read, scan
cli.main()
"""


@pytest.mark.slow
def test_a_rank_that_reads_its_checkpoint_for_long_is_alive(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    processes = started(["pretrain", recipe, "--out", tmp_path / "run"], tmp_path, program=("-c", SLOW))
    assert ended(processes, tmp_path)[0] == [0, 0]


@pytest.mark.slow
def test_what_all_ranks_are_told_is_said_once(corpus, tmp_path):
    recipe = edited(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), ("lr = ", "rl = "))
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [*run, "-m", "speechbias", "pretrain", str(recipe), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1  # torchrun's own
    assert done.stderr.count("unknown key 'rl'") == 1
    assert "exitcode  : 2" in done.stderr


def test_another_rank_speaks_last_and_says_who_it_is(monkeypatch):
    slept = []
    monkeypatch.setattr(ranks.time, "sleep", slept.append)
    for rank, said in (("0", r"^r\.toml"), ("3", r"^rank 3 of 4, on \S+: r\.toml")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "4")
        with pytest.raises(InputError, match=said), one_voice():
            raise InputError("r.toml cannot be read")
    assert slept == [ranks.SILENCE]
    with pytest.raises(LostRanksError, match=r"^rank 3 of 4 lost"), one_voice():
        raise LostRanksError("rank 3 of 4 lost the others")


def test_a_process_alone_holds_no_vigil():
    with vigil(Ranks()):
        pass


def test_a_log_names_no_rank_twice(corpus, pair, tmp_path):
    """Each line of a log is written once, by the first."""
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, log=1)
    pair.run(rank_processes.train, recipe, tmp_path / "run")
    lines = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 6]
