"""Jobs of submitit's local executor: the plain command's bytes, whatever is killed, however often it is asked for."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from launch_jobs import LOCAL, Counting, Dying
from probing import write_recipe as write_probe_recipe
from probing import write_speech
from recordings import write_test
from speechbias.cli import app
from speechbias.errors import InputError, JobsError
from speechbias.launch.queue import DONE, run_jobs
from speechbias.launch.settings import Settings, executor, read_settings
from speechbias.launch.verbs import ProbeJob, TrainJob, launch_measure, launch_probe, launch_training, measure_key
from speechbias.probe.recipe import read_probe_recipe
from speechbias.probe.run import probe
from speechbias.results import read_results
from speechbias.stimuli import read_stimuli
from speechbias.survey import Survey
from speechbias.training.pretrain import Outcome, pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.signals import Interrupted
from training_runs import digest, log_of, write_corpus, write_recipe

submitit = pytest.importorskip("submitit", reason="submitit is not installed: pip install 'speechbias[cluster]'")

OPTIONS = {"permutations": 500, "resamples": 200}


@pytest.fixture(autouse=True)
def importable_jobs(monkeypatch):
    """Jobs are processes of their own, without pytest's paths."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]))


def survey(folder, out, models=("mel", "mfcc", "stft")):
    tests = [read_stimuli(folder / "gender.csv"), read_stimuli(folder / "age.csv")]
    return Survey(models=list(models), tests=tests, out=out, options=OPTIONS, cache=out.parent / "cache")


@pytest.fixture
def stimuli(tmp_path):
    write_test(tmp_path)
    write_test(tmp_path, name="age", seed=3)
    return tmp_path


def files(out):
    """The results and their vectors, as hashes."""
    paths = [out, *sorted(out.with_name(f"{out.name}.vectors").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_jobs_write_the_bytes_of_the_plain_command_one_killed_midway(stimuli):
    plain = stimuli / "plain" / "r.jsonl"
    list(survey(stimuli, plain).measure())
    killed, said = [], []

    def kill():
        """The first job that holds a claim."""
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until:
            for claim in (stimuli / "jobs").glob("r.jsonl.jobs/*/claim"):
                record = claim.read_text()
                if record.endswith("}"):
                    killed.append(json.loads(record)["pid"])
                    os.kill(killed[0], signal.SIGKILL)
                    return
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    out = stimuli / "jobs" / "r.jsonl"
    found = launch_measure(survey(stimuli, out), LOCAL, say=said.append)
    killer.join()
    assert killed
    assert sum("ended without a result" in line for line in said) == 1
    assert sum("ended" not in line for line in said) == 4  # three jobs, one of them twice
    assert files(out) == files(plain)
    assert [result.identity for result in found] == [result.identity for result in read_results(plain)]
    said.clear()
    launch_measure(survey(stimuli, out), LOCAL, say=said.append)  # nothing is left to do
    assert said == []
    assert files(out) == files(plain)


def test_a_key_says_what_is_measured(stimuli):
    one = survey(stimuli, stimuli / "r.jsonl", models=["mel"])
    assert measure_key(one) == measure_key(survey(stimuli, stimuli / "r.jsonl", models=["mel"]))
    assert measure_key(one) != measure_key(survey(stimuli, stimuli / "r.jsonl", models=["mfcc"]))
    before = measure_key(one)
    clip = one.tests[0].stimuli[0].path
    os.utime(clip, (1, 1))
    assert measure_key(one) != before


def test_problems_of_a_job_stop_no_other(stimuli):
    out = stimuli / "r.jsonl"
    bad = survey(stimuli, out)
    (stimuli / "clips" / "age-X0.wav").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"age-X0\.wav"):
        launch_measure(bad, LOCAL, say=print)
    assert not out.exists()


RUNNER = """
import sys
from dataclasses import replace
from pathlib import Path
from launch_jobs import LOCAL, Counting
from speechbias.launch.queue import run_jobs
folder = Path(sys.argv[1])
run_jobs([Counting(folder / str(n)) for n in range(4)], LOCAL, folder / "logs", say=print)
"""


@pytest.mark.slow
def test_two_runners_do_no_job_twice(tmp_path):
    runners = [subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path)], text=True) for _ in range(2)]
    assert [runner.wait() for runner in runners] == [0, 0]
    assert sorted((tmp_path / "lines").read_text().split()) == ["0", "1", "2", "3"]
    assert all((tmp_path / str(n) / DONE).exists() for n in range(4))


def test_a_job_that_dies_again_and_again_is_given_up(tmp_path):
    said = []
    with pytest.raises(JobsError, match=r"1 of 2 jobs ended 3 times without a result \(bad\)") as caught:
        run_jobs([Counting(tmp_path / "good"), Dying(tmp_path / "bad")], LOCAL, tmp_path / "logs", say=said.append)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "good" / DONE).exists()
    assert sum("bad: job" in line and "ended" in line for line in said) == 3


@pytest.mark.slow
def test_a_run_that_has_to_make_room_comes_back(tmp_path, monkeypatch):
    """SIGUSR1 to the training process, as Slurm sends it: it saves, and is started again from there."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as here: other sums give other bits
    corpus = write_corpus(tmp_path / "clips")
    read = read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=150, save=1000, keep=[], log=50))
    pretrain(read, tmp_path / "whole")
    asked = []

    def ask():
        until = time.monotonic() + 60
        while not (tmp_path / "run" / "log.jsonl").exists():  # in the midst of its updates
            if time.monotonic() > until:
                return
            time.sleep(0.005)
        (claim,) = (tmp_path / "run.jobs").glob("*/claim")
        asked.append(json.loads(claim.read_text())["pid"])
        os.kill(asked[0], signal.SIGUSR1)

    asker = threading.Thread(target=ask)
    asker.start()
    said = launch_training("pretrain", read, tmp_path / "run", LOCAL, say=print)
    asker.join()
    assert asked
    assert said["update"] == 150
    assert said["asked"] is None
    assert digest(tmp_path / "run", 150) == digest(tmp_path / "whole", 150)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")
    logs = "".join(path.read_text() for path in (tmp_path / "run.jobs" / "logs").glob("*_log.out"))
    assert "Requeued job" in logs
    assert launch_training("pretrain", read, tmp_path / "run", LOCAL, say=print)["update"] == 150  # at once
    with pytest.raises(InputError, match="holds a run"):
        launch_training("pretrain", read_recipe(tmp_path / "r.toml", seed=1), tmp_path / "run", LOCAL, say=print)


@pytest.fixture
def environment(monkeypatch):
    """A cluster's, of one process, that notes who requeues."""
    made = SimpleNamespace(num_tasks=1, global_rank=0, requeued=[])
    made._requeue = made.requeued.append
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: made)
    monkeypatch.setattr(submitit.helpers, "TorchDistributedEnvironment", lambda: SimpleNamespace(export=lambda: None))
    monkeypatch.setattr("speechbias.training.allocator.keep_freed_memory", lambda: None)
    return made


@pytest.fixture
def ends(monkeypatch):
    """How training ends, time after time: by an exception, or a signal and a number of updates."""
    left = []

    def train(recipe, out, **_):
        end = left.pop(0)
        if isinstance(end, BaseException):
            raise end
        return Outcome(out / "last", end[1], end[0])

    monkeypatch.setattr("speechbias.training.pretrain.pretrain", train)
    return left


def pretrain_job(folder):
    return TrainJob(folder / "key", None, folder / "run", "cpu", 1)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_that_sigterm_ended_goes_on_when_it_is_started_again(tmp_path, environment, ends, rank):
    job = pretrain_job(tmp_path)
    ends += [("SIGTERM", 7), (None, 20), (None, 99)]
    assert job() == "done"
    assert (job.outcome()["asked"], job.outcome()["update"], job.is_done()) == ("SIGTERM", 7, False)
    assert job() == "done"
    assert (job.outcome()["asked"], job.outcome()["update"], job.is_done()) == (None, 20, True)
    environment.num_tasks, environment.global_rank = 2, rank
    assert job() == "done"  # and now there is nothing left to do, for any process
    assert ends == [(None, 99)]
    assert environment.requeued == []


def test_a_run_that_sigterm_ended_leaves_no_word_while_it_goes_on(tmp_path, environment, ends):
    job = pretrain_job(tmp_path)
    ends += [("SIGTERM", 7), MemoryError()]
    job()
    with pytest.raises(MemoryError):
        job()
    assert job.outcome() is None


@pytest.mark.parametrize("end", [Interrupted("SIGUSR1"), ("SIGUSR1", 7)], ids=["preparing", "training"])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_requeues(tmp_path, environment, ends, end, rank):
    environment.num_tasks, environment.global_rank = 2, rank
    ends.append(end)
    with pytest.raises(SystemExit) as ended:  # no exception that submitit would record as a failure
        pretrain_job(tmp_path)()
    assert ended.value.code == (rank == 0)  # the others end as if all were well
    assert environment.requeued == [0] * (rank == 0)
    assert pretrain_job(tmp_path).outcome() is None


def test_other_signals_while_the_corpus_is_prepared_are_no_failure_and_do_not_requeue(tmp_path, environment, ends):
    job = pretrain_job(tmp_path)
    ends += [Interrupted("SIGTERM"), (None, 20)]
    assert job() == "done"
    assert job.outcome() == {"update": None, "asked": "SIGTERM"}
    assert not job.is_done()
    assert environment.requeued == []
    assert job() == "done"
    assert job.outcome()["update"] == 20


def ended_while_preparing(verb, recipe, out, settings, **_):
    return {"update": None, "asked": "SIGTERM"}


def test_the_command_says_that_nothing_was_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("speechbias.launch.verbs.launch_training", ended_while_preparing)
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path)
    done = CliRunner().invoke(app, ["pretrain", str(recipe), "--out", str(tmp_path / "run"), "--launcher", "local"])
    assert done.exit_code == 1
    assert "SIGTERM: ended without saving; the same goes on." in done.output


def test_a_run_that_never_began_needs_no_resume(tmp_path, monkeypatch):
    """Its recipe lies there already, and may be corrected; nothing was trained."""
    asked = []
    monkeypatch.setattr("speechbias.launch.verbs.run_jobs", lambda jobs, *_, **__: asked.append(jobs[0].recipe) or [])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("[model]\n")
    read = read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path))
    assert launch_training("pretrain", read, tmp_path / "run", LOCAL, say=print) == {}
    assert asked == [read]
    (tmp_path / "run" / "checkpoints" / "step-00000002").mkdir(parents=True)
    with pytest.raises(InputError, match="holds a run; go on with it by --resume"):
        launch_training("pretrain", read, tmp_path / "run", LOCAL, say=print)
    assert launch_training("pretrain", read, tmp_path / "run", LOCAL, resume=True, say=print) == {}


@pytest.mark.parametrize("verb", ["pretrain", "prune", "distill"])
def test_a_job_makes_what_its_verb_makes(verb, tmp_path, environment, monkeypatch):
    made = []

    def maker(recipe, out, **options):
        made.append((verb, recipe, out, options["resume"]))
        return SimpleNamespace(checkpoint=out / "checkpoints" / "last", update=3, asked=None)

    module = {"pretrain": "speechbias.training.pretrain"}.get(verb, f"speechbias.compress.{verb}")
    monkeypatch.setattr(f"{module}.{verb}", maker)
    job = replace(pretrain_job(tmp_path), verb=verb)
    assert job() == "done"
    assert made == [(verb, None, tmp_path / "run", True)]
    assert job.outcome()["update"] == 3


@pytest.fixture
def probes(monkeypatch):
    """How probing ends, time after time: by an exception, or a signal and a number of models."""
    left = []

    def probe(recipe, out, *, resume, **_):
        assert resume
        end = left.pop(0)
        if isinstance(end, BaseException):
            raise end
        return SimpleNamespace(records=[{}] * end[1], asked=end[0])

    monkeypatch.setattr("speechbias.probe.run.probe", probe)
    return left


def test_a_probe_that_a_signal_ended_goes_on_when_it_is_started_again(tmp_path, environment, probes):
    job = ProbeJob(tmp_path / "key", None, tmp_path / "probed", "cpu", 1)
    probes += [("SIGTERM", 1), Interrupted("SIGTERM"), KeyboardInterrupt(), (None, 2), (None, 99)]
    for asked, models in (("SIGTERM", 1), ("SIGTERM", 0), ("SIGINT", 0), (None, 2), (None, 2)):
        assert job() == "done"
        assert job.outcome() == {"models": models, "asked": asked}
        assert job.is_done() == (asked is None)
    assert probes == [(None, 99)]
    assert environment.requeued == []


@pytest.mark.parametrize("end", [Interrupted("SIGUSR1"), ("SIGUSR1", 1)], ids=["states", "sweep"])
def test_a_probe_makes_room(tmp_path, environment, probes, end):
    job = ProbeJob(tmp_path / "key", None, tmp_path / "probed", "cpu", 1)
    probes.append(end)
    with pytest.raises(SystemExit):
        job()
    assert environment.requeued == [0]
    assert job.outcome() is None


def test_probes_as_a_job_write_the_rates_of_the_plain_command(tmp_path):
    table, said = write_speech(tmp_path / "speech"), []
    recipe = read_probe_recipe(write_probe_recipe(tmp_path / "p.toml", table, models=("mel", "mfcc")))
    probe(recipe, tmp_path / "plain")
    out = tmp_path / "jobs" / "probed"
    assert launch_probe(recipe, out, LOCAL, say=said.append) is None
    rates = (out / "results.jsonl").read_bytes()
    assert rates == (tmp_path / "plain" / "results.jsonl").read_bytes()
    assert len(said) == 1
    assert launch_probe(recipe, out, LOCAL, say=said.append) is None  # nothing is left to do
    assert len(said) == 1
    (out / "results.jsonl").unlink()
    assert launch_probe(recipe, out, LOCAL, say=said.append) is None
    assert len(said) == 2
    assert (out / "results.jsonl").read_bytes() == rates


def test_the_command_probes_as_a_job(tmp_path, monkeypatch):
    recipe = write_probe_recipe(tmp_path / "p.toml", write_speech(tmp_path / "speech"))
    command = ["probe", str(recipe), "--out", str(tmp_path / "probed"), "--launcher", "local"]
    asked = []
    launch = "speechbias.launch.verbs.launch_probe"
    monkeypatch.setattr(launch, lambda *_, **how: asked.append(how["device"]) or "SIGTERM")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "SIGTERM: saved. The same goes on." in done.output
    monkeypatch.setattr(launch, lambda *_, **how: asked.append(how["device"]))
    (tmp_path / "probed").mkdir()
    (tmp_path / "probed" / "results.jsonl").write_text('{"kind": "per", "schema": 1}\n')
    done = CliRunner().invoke(app, [*command, "--device", "cuda"])
    assert done.exit_code == 0
    assert "phone error rates of 1 model. Next: speechbias report" in done.output
    assert asked == ["cpu", "cuda"]


def test_what_is_wrong_with_a_probe_comes_from_its_job(tmp_path):
    table = write_speech(tmp_path / "speech")
    recipe = read_probe_recipe(write_probe_recipe(tmp_path / "p.toml", table, models=("nowhere.pt",)))
    with pytest.raises(InputError, match=r"nowhere\.pt"):
        launch_probe(recipe, tmp_path / "probed", LOCAL, say=lambda _: None)


@pytest.mark.slow
def test_the_command_itself_is_killed_and_given_again(stimuli):
    command = [sys.executable, "-m", "speechbias", "measure", "mel", "mfcc", "stft"]
    command += ["--stimuli", "gender.csv", "--permutations", "500", "-o"]
    subprocess.run([*command, "plain.jsonl"], cwd=stimuli, capture_output=True, check=True)
    jobs = [*command, "jobs.jsonl", "--launcher", "local", "--launch", "parallel=1"]
    first = subprocess.Popen(jobs, cwd=stimuli, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((stimuli / "jobs.jsonl.jobs").glob("*/done.json")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not (stimuli / "jobs.jsonl").exists()
    again = subprocess.run(jobs, cwd=stimuli, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (stimuli / "jobs.jsonl").read_text() == (stimuli / "plain.jsonl").read_text().replace(
        "plain.jsonl", "jobs.jsonl"
    )
    assert again.stderr.count(": job ") <= 2  # what was done is not done again


@pytest.mark.parametrize(
    "verb", [["measure", "mel"], *([verb, "r.toml", "--out", "run"] for verb in ("pretrain", "probe"))]
)
def test_settings_of_jobs_need_a_launcher(verb):
    ended = CliRunner().invoke(app, [*verb, "--launch", "gpus=1"])
    assert isinstance(ended.exception, InputError)
    assert ended.exception.problems == (
        "--launch sets how jobs run; give --launcher slurm or --launcher local with it, or leave it out",
    )


def test_settings(tmp_path):
    (tmp_path / "c.toml").write_text('partition = "gpu"\ntime = "48:30:00"\ngpus = 1\n')
    made = read_settings("slurm", [str(tmp_path / "c.toml"), "time=90", "mem=32"])
    assert (made.partition, made.time, made.gpus, made.mem, made.launcher) == ("gpu", 90, 1, 32, "slurm")
    assert read_settings("slurm", ["time=48:30:00"]).time == 48 * 60 + 30
    for wrong, message in (
        ("partion=x", r"--launch partion is unknown. Nearest: partition; all: parallel, time"),
        ("foo=1", r"--launch foo is unknown. There are: parallel, time"),
        ("gpus=many", r"--launch gpus=many is not a whole number"),
        ("nodes=0", r"--launch nodes=0 is not a whole number above 0"),
        ("none.toml", r"none.toml cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            read_settings("local", [wrong])
    with pytest.raises(InputError, match=r"--launcher slurm: .*[\w?] Run it where sbatch is, or with local\.$"):
        run_jobs([], Settings("slurm"), tmp_path, say=print)
    with pytest.raises(InputError, match="one machine is one node"):
        run_jobs([], Settings("local", nodes=2), tmp_path, say=print)


@pytest.mark.slow
def test_the_command_line(stimuli):
    command = [
        sys.executable,
        "-m",
        "speechbias",
        "measure",
        "mel",
        "--stimuli",
        "gender.csv",
        "--permutations",
        "500",
    ]
    jobs = [*command, "-o", "jobs.jsonl", "--launcher", "local", "--launch", "parallel=1"]
    done = subprocess.run(jobs, cwd=stimuli, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"gender +mel +\+\d", done.stdout)
    subprocess.run([*command, "-o", "plain.jsonl"], cwd=stimuli, capture_output=True, check=True)
    plain = (stimuli / "plain.jsonl").read_text()
    assert (stimuli / "jobs.jsonl").read_text() == plain.replace("plain.jsonl", "jobs.jsonl")


def test_what_slurm_is_asked(tmp_path, monkeypatch):
    """A Slurm that takes every job, and keeps what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in (("srun", ""), ("sbatch", f'cp "$1" {tmp_path}/asked; echo Submitted batch job 12')):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    settings = read_settings("slurm", ["partition=gpu", "time=36:00:00", "gpus=4", "nodes=2", "cpus=8", "account=us"])
    assert executor(settings, tmp_path / "logs")(Counting(tmp_path / "job")).job_id == "12"
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in (tmp_path / "asked").read_text().splitlines()
        if line.startswith("#SBATCH")
    )
    assert asked.items() >= {
        "partition": "gpu", "time": "2160", "gpus-per-node": "4", "ntasks-per-node": "4", "nodes": "2",
        "cpus-per-task": "8", "account": "us", "signal": "USR1@120", "requeue": "",
    }.items()  # fmt: skip
