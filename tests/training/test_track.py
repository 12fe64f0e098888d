"""A run that is watched is the run that is not, and its records are those of its checkpoints, killed or not."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from recordings import write_test
from speechbias import cli
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.results import append_results, read_results
from speechbias.training.log import TRACKING
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.session import Session
from speechbias.training.track import TrackSection
from training_runs import digest, dying_at, log_of, steps_of, write_corpus, write_recipe

FAST = "permutations = 500\nresamples = 200\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips")


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    return write_test(tmp_path_factory.mktemp("stimuli"), clips=3)


def tracked(recipe, stimuli, *, more="every = 2\n"):
    """The recipe with a section [track]; its stimuli relative to it where they can be."""
    with recipe.open("a", encoding="utf-8") as file:
        file.write(f'[track]\nstimuli = "{stimuli}"\n{FAST}{more}')
    return recipe


def train(recipe, out, **options):
    return pretrain(read_recipe(recipe), out, **options)


def steps_tracked(run):
    return [r.step for r in read_results(run / "results.jsonl") if r.layer == "mean"]


def log_without_times(run):
    return [{name: value for name, value in line.items() if name != TRACKING} for line in log_of(run)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_is_tracked_is_the_run_that_is_not(family, corpus, stimuli, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=5)
    plain = train(recipe, tmp_path / "plain")
    ended = train(tracked(recipe, stimuli), tmp_path / "tracked")
    assert plain.tracking is None
    assert ended.tracking.times == 4
    for step in steps_of(tmp_path / "plain"):
        assert digest(tmp_path / "tracked", step) == digest(tmp_path / "plain", step)
    assert log_without_times(tmp_path / "tracked") == log_of(tmp_path / "plain")
    assert steps_tracked(tmp_path / "tracked") == [0, 2, 4, 5]
    seconds = [json.loads(line)[TRACKING] for line in (tmp_path / "tracked" / "log.jsonl").read_text().splitlines()]
    assert sum(seconds) == pytest.approx(ended.tracking.seconds, rel=0.2)


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_and_resumed_gives_the_same_results(family, corpus, stimuli, tmp_path, monkeypatch):
    recipe = tracked(write_recipe(tmp_path / "r.toml", family, corpus, steps=7, save=3), stimuli, more="every = 1\n")
    train(recipe, tmp_path / "a" / "run")
    dying = dying_at(monkeypatch)
    for dying.at in (3, 10, 13):  # after updates 1, 5 (the last checkpoint is 3) and 6
        with pytest.raises(ZeroDivisionError):
            train(recipe, tmp_path / "b" / "run", resume=dying.at != 3)
        assert steps_tracked(tmp_path / "b" / "run")[-1] == dying.at // 2
    dying.at = None
    train(recipe, tmp_path / "b" / "run", resume=True)
    whole, cut = (tmp_path / name / "run" / "results.jsonl" for name in "ab")
    assert cut.read_bytes() == whole.read_bytes()
    assert steps_tracked(whole.parent) == list(range(8))
    assert digest(whole.parent, 7) == digest(cut.parent, 7)


@pytest.mark.parametrize("family", FAMILIES)
def test_measuring_the_checkpoints_afterwards_finds_everything_there(family, corpus, stimuli, tmp_path):
    recipe = tracked(write_recipe(tmp_path / "r.toml", family, corpus), stimuli)
    train(recipe, tmp_path / "run")
    results = tmp_path / "run" / "results.jsonl"
    before = results.read_bytes()
    folders = sorted(str(path) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert folders[0].endswith("last")
    options = ["--per-layer", "--permutations", "500", "--resamples", "200", "--stimuli", str(stimuli), "--no-audit"]
    done = CliRunner().invoke(cli.app, ["measure", *folders, *options, "-o", str(results)])
    assert done.exit_code == 0, done.output
    assert results.read_bytes() == before
    other = tmp_path / "other" / "results.jsonl"  # records name the folder of vectors after the file
    CliRunner().invoke(cli.app, ["measure", *folders, *options, "-o", str(other)])
    kept = set(steps_of(tmp_path / "run"))
    assert read_results(other) == [r for r in read_results(results) if r.step in kept]
    assert {r.run["name"] for r in read_results(other)} == {"run"}


def test_runs_that_differ_by_the_seed_have_one_recipe(corpus, stimuli, tmp_path):
    recipe = tracked(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=2), stimuli)
    for seed in (0, 1):
        pretrain(read_recipe(recipe, seed=seed), tmp_path / f"run-{seed}")
    recipe.write_text(recipe.read_text().replace("lr = 0.001", "lr = 0.002"))
    train(recipe, tmp_path / "other")
    runs = [read_results(tmp_path / name / "results.jsonl")[-1].run for name in ("run-0", "run-1", "other")]
    assert runs[0]["recipe"] == runs[1]["recipe"] != runs[2]["recipe"]
    assert [run["seed"] for run in runs] == [0, 1, 0]


def test_tracking_may_change_and_begin_while_a_run_goes_on(corpus, stimuli, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus, steps=4)
    train(recipe, tmp_path / "run")
    longer = tracked(write_recipe(tmp_path / "r.toml", "hubert", corpus, steps=6), stimuli, more="steps = [4, 5]\n")
    train(longer, tmp_path / "run", resume=True)
    assert steps_tracked(tmp_path / "run") == [4, 5, 6]


def test_a_run_that_never_began_leaves_no_records_of_its_former_recipe(corpus, stimuli, tmp_path, monkeypatch):
    """It was killed before its first checkpoint, and its recipe corrected; what was measured else stays."""
    recipe = tracked(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=4, save=4, keep=[]), stimuli)
    results = tmp_path / "run" / "results.jsonl"

    def killed(*_):
        raise RuntimeError

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(Session, "note", killed)
        train(recipe, tmp_path / "run")
    assert steps_tracked(tmp_path / "run") == [0]
    append_results(results, [replace(read_results(results)[0], model="hubert", step=None, run=None)])
    recipe.write_text(recipe.read_text().replace("lr = 0.001", "lr = 0.002"))
    train(recipe, tmp_path / "run")
    train(recipe, tmp_path / "whole" / "run")
    lines = results.read_bytes().splitlines()
    assert lines[1:] == (tmp_path / "whole" / "run" / "results.jsonl").read_bytes().splitlines()
    assert json.loads(lines[0])["model"] == "hubert"


def test_without_steps_bias_is_tracked_where_a_checkpoint_stays(corpus, stimuli, tmp_path):
    recipe = tracked(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), stimuli, more="per_layer = false\n")
    train(recipe, tmp_path / "run")
    assert steps_tracked(tmp_path / "run") == [0, 2, 6]
    assert set(steps_of(tmp_path / "run")) >= {0, 2, 6}
    assert {r.layer for r in read_results(tmp_path / "run" / "results.jsonl")} == {"mean"}


def test_when_a_step_is_due():
    every = TrackSection(("a.csv",), every=10, steps=(3,))
    assert [n for n in range(26) if every.is_due(n, steps=25, kept=n == 7)] == [0, 3, 10, 20, 25]
    kept = TrackSection(("a.csv",))
    assert [n for n in range(26) if kept.is_due(n, steps=25, kept=n == 7)] == [0, 7, 25]


def test_stimuli_that_are_wrong_end_a_run_before_it_begins(corpus, stimuli, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    text = recipe.read_text()
    tracked(recipe, tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"none\.csv"):
        train(recipe, tmp_path / "run")
    assert not steps_of(tmp_path / "run") if (tmp_path / "run" / "checkpoints").exists() else True
    for more, said in (
        ("evry = 2\n", "the nearest is 'every'"),
        ("every = 0\n", "every is 0"),
        ("steps = [-1]\n", "steps has a number below 0"),
        ("confidence = 1.0\n", "confidence is 1"),
    ):
        recipe.write_text(text)
        tracked(recipe, stimuli, more=more)
        with pytest.raises(InputError, match=said):
            read_recipe(recipe)


def test_clips_that_are_wrong_are_said_before_the_corpus_is_prepared(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "speechbias.training.opening.open_training_corpus", lambda *_, **__: pytest.fail("hours later")
    )
    stimuli = write_test(tmp_path, clips=3)
    recipe = tracked(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), stimuli)
    text = recipe.read_text()
    for change, said in (
        (lambda: recipe.write_text(text + 'design = "pair"\n'), r"gender\.csv: Design pair"),
        (lambda: recipe.write_text(text), r"gender\.csv, row 2: clips/gender-X0\.wav"),
        (lambda: recipe.write_text(text.replace("gender.csv", "none.csv")), r"none\.csv.* does not exist"),
    ):
        change()
        (tmp_path / "clips" / "gender-X0.wav").write_bytes(b"nothing")
        with pytest.raises(InputError, match=said):
            train(recipe, tmp_path / "run")
    recipe.write_text(text)
    write_test(tmp_path, clips=3)
    with pytest.raises(pytest.fail.Exception, match="hours later"):
        train(recipe, tmp_path / "run")


def test_stimuli_that_change_while_a_run_goes_on_leave_no_stale_records(corpus, tmp_path, monkeypatch):
    """The record of the step that it goes on from is made with the new ones too; later ones are made anew."""
    stimuli = write_test(tmp_path, clips=3)
    recipe = tracked(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=5, save=2), stimuli)
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        dying_at(patched, 8)  # the first batch of update 5: an ended run has one state alone
        train(recipe, tmp_path / "run")
    before = {(r.step, r.stimuli_sha256) for r in read_results(tmp_path / "run" / "results.jsonl")}
    assert [step for step, _ in sorted(before)] == [0, 2, 4]
    last = tmp_path / "run" / "checkpoints" / "step-00000004"
    (last / "encoder.safetensors").write_bytes(b"")  # damaged: the run goes on from 2
    lines = stimuli.read_text().splitlines()
    stimuli.write_text("\n".join([*lines[:-1], lines[-1].replace("negative", "bad")]) + "\n")
    train(recipe, tmp_path / "run", resume=True)
    after = {(r.step, r.stimuli_sha256) for r in read_results(tmp_path / "run" / "results.jsonl")}
    old, new = (sha256 for _, sha256 in (min(before), max(after - before)))
    assert after == {(0, old), (2, old), (2, new), (4, new), (5, new)}


def test_the_command_says_what_tracking_took(corpus, stimuli, tmp_path):
    recipe = tracked(write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=2), stimuli.name)
    for name in ("clips", stimuli.name):  # relative to the recipe
        (tmp_path / name).symlink_to(stimuli.parent / name)
    done = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "bias tracked 2 times" in done.output
    assert "% of the time" in done.output
