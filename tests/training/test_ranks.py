"""Two processes that make one update together: the same losses and weights as one process with all of it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import rank_processes
from objectives import FAMILIES
from rank_processes import batch_number, concatenated, environment, free_port, trainer
from speechbias.errors import InputError
from speechbias.models.regularisation import Regularisation
from speechbias.training.pretrain import pretrain
from speechbias.training.ranks import LostRanksError, joined, own_device
from speechbias.training.recipe import read_recipe
from training_runs import digest, log_of, steps_of, write_corpus, write_recipe

NOISY = Regularisation(dropout=0.2, attention=0.2, input=0.1, features=0.1, layerdrop=0.4)
LAYERS = Regularisation(layerdrop=0.4, feature_grad_mult=0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips")


def one_process(family, *, count=3, turns=1, together=True, empty=(), **options):
    """The same updates alone: batches that two ranks take at a time are one batch, or two that are accumulated."""
    trained, reports = trainer(family, **options), []
    for update in range(count):
        numbers = range(update * turns * 2, (update + 1) * turns * 2)
        batches = [batch_number(family, number, empty=empty) for number in numbers]
        if together:
            batches = [concatenated(batches[turn : turn + 2]) for turn in range(0, 2 * turns, 2)]
        reports.append(trained.step(batches))
    return reports, trained.objective.state_dict()


def assert_same(answers, wanted):
    """Losses, parts, gradients and weights of both ranks are those of one process, up to rounding."""
    for reports, weights in answers:
        for ours, theirs in zip(reports, wanted[0], strict=True):
            assert (ours.update, ours.masked, ours.skipped) == (theirs.update, theirs.masked, theirs.skipped)
            assert ours.loss == pytest.approx(theirs.loss, rel=1e-9)
            assert ours.gradient == pytest.approx(theirs.gradient, rel=1e-5)
            assert dict(ours.parts) == pytest.approx(dict(theirs.parts), rel=1e-9)
        for name, tensor in wanted[1].items():
            if not name.endswith(
                "k_proj.bias"
            ):  # its gradient is rounding, and Adam makes all gradients equally large
                torch.testing.assert_close(weights[name], tensor, rtol=1e-6, atol=1e-8, msg=name)
    (_, first), (_, second) = answers
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_are_one_process_with_both_batches(family, pair):
    assert_same(pair.run(rank_processes.updates, family, clip=1.0), one_process(family, clip=1.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_that_accumulate_are_one_process_that_accumulates(family, pair):
    assert_same(pair.run(rank_processes.updates, family, turns=2), one_process(family, turns=2))


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_left_out_are_the_same_on_all_ranks(family, pair):
    wanted = one_process(family, regularisation=LAYERS)
    assert_same(pair.run(rank_processes.updates, family, regularisation=LAYERS), wanted)
    assert wanted[0][0].loss != one_process(family)[0][0].loss


@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_are_one_that_accumulates_two_with_dropout_too(family, pair):
    """But for wav2vec 2.0's diversity, which is judged by the frames that are there at a time."""
    terms = {"diversity": 0.0} if family == "wav2vec2" else None
    answers = pair.run(rank_processes.updates, family, regularisation=NOISY, terms=terms)
    wanted = one_process(family, regularisation=NOISY, terms=terms, together=False)
    if family == "wav2vec2":
        for reports in (answers[0][0], answers[1][0], wanted[0]):
            for number, report in enumerate(reports):
                rest = {name: part for name, part in report.parts.items() if name != "code_perplexity"}
                reports[number] = replace(report, parts=rest)
    assert_same(answers, wanted)


def test_ranks_do_not_share_their_dropout(pair):
    """If they did, the two would be one process that takes each batch with the same masks."""
    (reports, _), _ = pair.run(rank_processes.updates, "melhubert", count=1, regularisation=NOISY)
    trained = trainer("melhubert", regularisation=NOISY)
    alone = [trainer("melhubert", regularisation=NOISY).step([batch_number("melhubert", n)]) for n in (0, 1)]
    shared = sum(report.loss * report.masked for report in alone) / sum(report.masked for report in alone)
    assert trained.update == 0
    assert reports[0].loss != pytest.approx(shared, rel=1e-6)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_fairseqs_form_takes_means_over_each_ranks_own_batch(family, pair):
    (reports, _), _ = pair.run(rank_processes.updates, family, count=1, terms={"pooled": False})
    model = trainer(family).objective
    losses = [model(batch_number(family, number), update=0) for number in (0, 1)]
    masked = sum(loss.masked for loss in losses)
    assert reports[0].loss == pytest.approx(sum(float(loss.total.detach()) for loss in losses) / masked, rel=1e-9)
    pooled = pair.run(rank_processes.updates, family, count=1)[0][0][0]
    assert pooled.loss != pytest.approx(reports[0].loss, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rank_with_nothing_to_learn_keeps_step(family, pair):
    """Batch 1 has no masked frame, nor have both batches of the second update."""
    empty = (1, 2, 3) if family == "melhubert" else (1,)
    answers = pair.run(rank_processes.updates, family, count=2, turns=2, empty=(*empty, 6, 7))
    assert_same(answers, one_process(family, count=2, turns=2, empty=(*empty, 6, 7)))


def test_a_loss_that_is_not_finite_on_one_rank_is_left_out_on_both(pair):
    answers = pair.run(rank_processes.updates, "hubert", count=2, poisoned=(3,))
    for reports, _ in answers:
        assert [report.skipped for report in reports] == [False, True]
    assert_same([([reports[0]], weights) for reports, weights in answers], one_process("hubert", count=1))


def test_what_one_rank_is_asked_all_know(pair):
    first, second = pair.run(rank_processes.asked_of_one, int(signal.SIGUSR1))
    assert first == (signal.SIGUSR1, None, True)
    assert second == (signal.SIGUSR1, None, False)


def test_a_process_alone_does_not_start_torch_distributed(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as ranks:
        assert not torch.distributed.is_initialized()
        model = trainer("melhubert").objective
        assert ranks.parallel(model) is model
        assert ranks.first
        ranks.wait()


def close(ours, theirs):
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(yours, rel=1e-5, abs=1e-7)


def edited(recipe, *changes):
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    return recipe


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_a_run_on_two_ranks_is_that_of_one_with_twice_the_batches(family, corpus, pair, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", family, corpus)
    alone = edited(write_recipe(tmp_path / "s.toml", family, corpus), ("accumulate = 2", "accumulate = 4"))
    told = [told for _, _, told in pair.run(rank_processes.train, recipe, tmp_path / "two")]
    assert told[1] == []  # the first speaks for all
    pretrain(read_recipe(alone), tmp_path / "one")
    close(log_of(tmp_path / "two"), log_of(tmp_path / "one"))
    assert steps_of(tmp_path / "two") == steps_of(tmp_path / "one")
    assert digest(tmp_path / "two", 0) == digest(tmp_path / "one", 0)


def test_a_front_end_that_is_not_trained_is_waited_for_by_nobody(corpus, pair, tmp_path):
    """wav2vec 2.0 without diversity and dropout, and with LayerDrop."""
    more = "[objective]\ndiversity = 0.0\n[regularisation]\nfeature_grad_mult = 0.0\nlayerdrop = 0.5\n[optim]"
    recipe = edited(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), ("[optim]", more))
    alone = edited(write_recipe(tmp_path / "s.toml", "wav2vec2", corpus), ("[optim]", more))
    edited(alone, ("accumulate = 2", "accumulate = 4"))
    assert [ended[:2] for ended in pair.run(rank_processes.train, recipe, tmp_path / "two")] == [(6, None)] * 2
    pretrain(read_recipe(alone), tmp_path / "one")
    lines = [
        [{name: value for name, value in line.items() if name != "code_perplexity"} for line in log_of(tmp_path / run)]
        for run in ("two", "one")
    ]
    close(*lines)
    before, after = digest(tmp_path / "two", 0), digest(tmp_path / "two", 6)
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {name for name in before if name.startswith("frontend.")} != set()


def test_a_launcher_that_is_asked_to_stop_ends_with_one_checkpoint_more(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=100_000, save=100_000, log=1, keep=[])
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [*run, "-m", "speechbias", "pretrain", str(recipe), "--out", str(tmp_path / "run")]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=said)
        try:
            while not (tmp_path / "run" / "log.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) != 0
        finally:
            process.kill()
            process.wait()
    (step,) = steps_of(tmp_path / "run")
    text = (tmp_path / "said").read_text()
    assert text.count(f"saved after {step} updates. Go on with --resume.") == 1
    assert log_of(tmp_path / "run")[-1]["step"] == step
    assert "lost the others" not in text


def test_a_run_goes_on_with_other_ranks(corpus, pair, tmp_path):
    """Two ranks, of which the second is asked to stop; then one that is asked; then two again."""
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus, steps=7, save=100, keep=[])
    pair.run(rank_processes.train, recipe, tmp_path / "whole")
    stop = (1, 9, signal.SIGUSR1)  # the second rank's first batch of the third update
    assert [ended[:2] for ended in pair.run(rank_processes.train, recipe, tmp_path / "run", asked=stop)] == [
        (3, "SIGUSR1")
    ] * 2
    assert steps_of(tmp_path / "run") == [3]
    os.environ["RANK"] = "0"
    try:
        ended = rank_processes.train(recipe, tmp_path / "run", asked=(0, 18, signal.SIGTERM), resume=True)
    finally:
        del os.environ["RANK"]
    assert ended[:2] == (5, "SIGTERM")
    assert [answer[:2] for answer in pair.run(rank_processes.train, recipe, tmp_path / "run", resume=True)] == [
        (7, None)
    ] * 2
    close(log_of(tmp_path / "run"), log_of(tmp_path / "whole"))


def test_ranks_that_cannot_share_an_update_are_told(corpus, pair, tmp_path):
    recipe = edited(
        write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=2), ("accumulate = 2", "accumulate = 1")
    )
    pretrain(read_recipe(recipe), tmp_path / "run")
    for answer in pair.run(rank_processes.train, recipe, tmp_path / "run", resume=True):
        assert isinstance(answer, InputError)
        assert "1 batches, which 2 processes cannot share alike; go on with one of 1" in str(answer)


def test_utterances_of_all_ranks_are_named_when_an_update_is_left_out(corpus, pair, tmp_path):
    recipe = edited(write_recipe(tmp_path / "r.toml", "melhubert", corpus), ("accumulate = 2", "accumulate = 1"))
    ended = pair.run(rank_processes.train, recipe, tmp_path / "run", poisoned=(5,))
    assert [update for update, *_ in ended] == [6, 6]
    (line,) = [line for line in log_of(tmp_path / "run") if "skipped_utterances" in line]
    assert line["step"] == 3
    assert len(line["skipped_utterances"]) == 6  # three of batch 4, the first rank's; three of batch 5
    assert sum("not finite" in text for text in ended[0][2]) == 1


def test_what_the_first_rank_refuses_ends_both(corpus, pair, tmp_path):
    recipe = edited(write_recipe(tmp_path / "r.toml", "hubert", corpus), (str(corpus), str(tmp_path / "nowhere")))
    first, second = pair.run(rank_processes.train, recipe, tmp_path / "run")
    assert isinstance(first, InputError)
    assert isinstance(second, LostRanksError)
    assert str(second).startswith("rank 1 of 2 lost the others (")
    assert pair.run(rank_processes.asked_of_one, int(signal.SIGTERM))[1][0] == signal.SIGTERM


@pytest.mark.parametrize("launcher", ["torchrun", "none"])
def test_a_rank_that_is_killed_ends_the_others(launcher, corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=100_000, save=20, keep=[])
    command = ["-m", "speechbias", "pretrain", str(recipe), "--out", str(tmp_path / "run")]
    port, said = free_port(), (tmp_path / "said").open("wb")
    if launcher == "torchrun":
        run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
        processes = [subprocess.Popen([*run, *command], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=said)]
    else:
        processes = [
            subprocess.Popen([sys.executable, *command], env={**os.environ, **environment(rank, port)}, stderr=said)
            for rank in range(2)
        ]
    try:
        while not (tmp_path / "run" / "checkpoints" / "last").exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)
        victim = processes[-1].pid if launcher == "none" else child_of(processes[0].pid, rank=1)
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        assert processes[0].wait(timeout=60) != 0
        assert time.monotonic() - begun < 60
    finally:
        said.close()
        for process in processes:
            process.kill()
            process.wait()
    text = (tmp_path / "said").read_text()
    assert "rank 0 of 2 lost the others (" in text
    assert launcher == "torchrun" or ("Traceback" not in text and "Warning" not in text)
    assert steps_of(tmp_path / "run")


def child_of(parent, *, rank):
    """The process that torchrun started as this rank."""
    children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True).stdout.split()
    for child in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(children)


TWO = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"),
    [("cpu", 2, "cpu"), ("auto", 2, "cuda:1"), ("cuda", 2, "cuda:1"), ("auto", 0, "cpu")],
)
def test_each_rank_takes_its_own_device(device, gpus, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert own_device(device, TWO) == wanted


@pytest.mark.parametrize(
    ("device", "gpus", "said"),
    [
        ("cuda:1", 2, "'cuda:1' for 2 processes of one machine"),
        ("cuda", 1, "2 processes on this machine, which has 1 CUDA devices"),
        ("auto", 1, "2 processes on this machine, which has 1 CUDA devices"),
        ("cuda", 0, "is not here"),
        ("tpu", 0, "unknown"),
    ],
)
def test_a_device_that_a_rank_cannot_have_is_said(device, gpus, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    with pytest.raises(InputError, match=said):
        own_device(device, TWO)


def test_an_environment_that_is_half_there_is_said(monkeypatch):
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match=r"rank 1 of 2 finds no others \(.*MASTER_ADDR.*\); start with torchrun"):
        joined("cpu").__enter__()
