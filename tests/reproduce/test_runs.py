"""Runs among the user's checkpoints: one that has not ended is no model, and its steps are steps all the same."""

import io
import shlex
import shutil
from dataclasses import replace

import pytest

from exportable import saved, tiny
from made_records import make_record
from recordings import write_test
from shell import call
from speechbias.reproduce.findings import Evidence
from speechbias.reproduce.make import Records, choose, make
from speechbias.reproduce.places import Places
from speechbias.reproduce.plan import plan
from speechbias.reproduce.runs import read_run, without_unended
from speechbias.reproduce.work import How, Measure
from speechbias.results import append_results, read_results
from training_runs import steps_of, write_corpus, write_recipe


def lay_run(folder, *, steps, of):
    """A run folder with these checkpoints, whose recipe asks for ``of`` updates."""
    for step in steps:
        saved(folder / "checkpoints" / f"step-{step:08d}", tiny("wav2vec2"), step=step)
    (folder / "checkpoints" / "last").symlink_to(f"step-{max(steps):08d}")
    (folder / "recipe.toml").write_text(f"[run]\nsteps = {of}\n")
    return folder


def works_of(items, places):
    return {work.name: work for work in plan(items, places).works}


def test_how_far_a_run_is(tmp_path):
    run = lay_run(tmp_path / "mine", steps=[1, 2], of=3)
    assert (read_run(run).step, read_run(run).steps) == (2, 3)
    assert read_run(run).unended
    assert not read_run(run).ended
    (run / "recipe.toml").write_text("[run]\nsteps = 2\n")
    assert read_run(run).ended
    assert not read_run(run).unended
    (run / "recipe.toml").write_text("[run]\nsteps = 3\n")
    (tmp_path / "mine.ended").touch()  # as a run that waited for its loss to converge
    assert read_run(run).ended
    assert not read_run(run).unended
    (tmp_path / "mine.ended").unlink()
    for text in ("steps =", "[run]\nstep = 3\n", "[run]\nsteps = 'many'\n"):
        (run / "recipe.toml").write_text(text)
        assert not read_run(run).unended  # nobody knows
        assert not read_run(run).ended
    assert read_run(tmp_path / "nowhere").checkpoints == []
    assert not read_run(tmp_path / "nowhere").unended


def test_a_run_that_has_not_ended_is_no_model(tmp_path):
    run = lay_run(tmp_path / "models" / "wav2vec2-slim", steps=[10, 20], of=400)
    places = Places(tmp_path / "out", checkpoints=tmp_path / "models", hub=False)
    assert places.find("wav2vec2-slim") is None
    assert "pretrain wav2vec2-slim" in works_of(["table3"], places)
    (line,) = plan(["table3"], places).notes
    assert line.startswith(f"{run} has not ended: it is at update 20 of 400.")
    assert plan(["table1", "table4"], places).notes == ()  # which have nothing to do with it
    (tmp_path / "models" / "wav2vec2-slim.pt").touch()  # beside it
    assert places.find("wav2vec2-slim") == str(tmp_path / "models" / "wav2vec2-slim.pt")
    (run / "recipe.toml").write_text("[run]\nsteps = 20\n")
    assert places.find("wav2vec2-slim") == str(run / "checkpoints" / "last")
    assert plan(["table3"], places).notes == ()
    (run / "recipe.toml").unlink()  # copied without it
    assert places.find("wav2vec2-slim") == str(run / "checkpoints" / "last")


def test_steps_of_a_run_are_measured_for_figure_1(tmp_path):
    run = lay_run(tmp_path / "models" / "wav2vec2-slim", steps=[10, 20, 400], of=500)
    csv = write_test(tmp_path / "stimuli", clips=3)
    places = Places(tmp_path / "out", checkpoints=tmp_path / "models", stimuli=(csv,))
    works = works_of(["figure1"], places)
    assert "pretrain wav2vec2-slim" not in works
    assert "pretrain wav2vec2-small" in works
    work = works["measure the 3 steps of wav2vec2-slim"]
    assert isinstance(work, Measure)
    assert work.cost.audio == pytest.approx(3 * works_of(["table3"], places)["measure features"].cost.audio)
    (tmp_path / "out").mkdir()
    work.do(How())
    assert work.state == "done"
    records = read_results(work.out)
    assert [record.step for record in records] == [10, 20, 400]
    assert {record.run["name"] for record in records} == {"wav2vec2-slim"}
    drawn = make("figure1", Records({work.out: records}, []), tmp_path / "out")
    assert all(path.exists() for path in drawn.paths)
    for step in (10, 20):  # of a run that kept its last step alone there is no curve
        (run / "checkpoints" / f"step-{step:08d}").rename(tmp_path / f"{step}")
    assert "pretrain wav2vec2-slim" in works_of(["figure1"], places)


def test_the_last_step_of_a_run_that_has_not_ended_is_in_no_row(tmp_path):
    run = read_run(lay_run(tmp_path / "wav2vec2-slim", steps=[10, 20], of=400))
    shape = {"family": "wav2vec2", "num_states": 13, "dim": 384}
    told = {"run": {"name": "wav2vec2-slim", "recipe": "r", "seed": 0}, **shape}
    steps = [make_record(step=step, model_sha256=str(step), **told) for step in (10, 20)]
    feature = make_record(family="features", model="mfcc")
    assert without_unended([*steps, feature], [run]) == [feature]
    ours = replace(steps[1], step=400, model_sha256="ours", d=1.5)  # of the run that was made here instead
    assert without_unended([*steps, ours], [run]) == [ours]
    assert without_unended(steps, [replace(run, steps=20)]) == steps
    other = replace(steps[0], run={"name": "another"})
    assert without_unended([other], [run]) == [other]

    records = Records({tmp_path / "r.jsonl": [*steps, feature]}, [])
    table = make("table3", records, tmp_path, runs=[run]).paths[0].read_text()
    assert "| Wav2Vec2 slim" not in table
    assert "| MFCC" in table
    assert "| Wav2Vec2 slim" in make("table3", records, tmp_path).paths[0].read_text()
    (line,) = choose(records.all, runs=[run]).notes
    assert line.startswith(f"{run.folder} has not ended: it is at update 20 of 400.")
    assert choose([feature], runs=[run]).notes == ()  # none of its records is here
    evidence = Evidence([*steps, feature], {}, on_the_way={record.identity for record in steps})
    assert evidence.trained("Gender") == []
    (curve,) = evidence.curves("Gender")
    assert curve.steps == [10, 20]
    assert [r.step for r in Evidence([*steps, feature], {}).trained("Gender")] == [20]


def test_a_run_that_was_copied_under_the_papers_name_is_known_by_its_own(tmp_path):
    """Its records are of the run that its checkpoints name."""
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", write_corpus(tmp_path / "corpus"), steps=2)
    words = ["speechbias", "pretrain", str(recipe), "--out", str(tmp_path / "mine")]
    assert call(words, out=io.StringIO(), err=io.StringIO()) == 0
    copy = tmp_path / "models" / "melhubert-small"
    shutil.copytree(tmp_path / "mine", copy, symlinks=True)
    csv = write_test(tmp_path / "stimuli", clips=3)
    work = Measure("m", (str(copy / "checkpoints" / "last"),), (csv,), tmp_path / "results.jsonl")
    work.do(How())
    assert work.state == "done"
    (record,) = read_results(work.out)
    assert record.run["name"] == "mine"
    (copy / "recipe.toml").write_text((copy / "recipe.toml").read_text().replace("steps = 2", "steps = 4"))
    assert without_unended([record], [read_run(copy)]) == []
    alone = tmp_path / "models" / "melhubert-slim"  # its checkpoint, without the run
    shutil.copytree(copy / "checkpoints" / "last", alone)
    assert replace(work, models=(str(alone),)).state == "done"


def test_findings_take_no_unended_run_for_a_model(tmp_path):
    run = read_run(lay_run(tmp_path / "wav2vec2-slim", steps=[10, 20], of=400))
    told = {"run": {"name": "wav2vec2-slim"}, "family": "wav2vec2", "vectors": None}
    steps = [make_record(step=step, model_sha256=str(step), **told) for step in (10, 20)]
    records = Records({tmp_path / "r.jsonl": [*steps, make_record(family="features", model="mfcc")]}, [])

    def measured(**options):
        make("findings", records, tmp_path, **options)
        return (tmp_path / "findings.md").read_text().split("Not measured")[0]

    assert "larger d than classical features" in measured()
    assert "larger d than classical features" not in measured(runs=[run])
    assert "d is larger later" in measured(runs=[run])  # for which its steps are taken


def test_a_run_that_was_made_here_and_killed_is_left_aside_and_said_once(tmp_path):
    run = lay_run(tmp_path / "out" / "runs" / "wav2vec2-slim", steps=[10, 20], of=400)
    told = {"run": {"name": "wav2vec2-slim"}, "family": "wav2vec2", "num_states": 13, "dim": 384}
    append_results(run / "results.jsonl", [make_record(step=20, **told)])
    append_results(tmp_path / "out" / "results.jsonl", [make_record(family="features", model="mfcc")])
    out, err = io.StringIO(), io.StringIO()
    assert call(["speechbias", "reproduce", "table3", "-o", str(tmp_path / "out")], out=out, err=err) == 0
    assert "1 of 42 cells measured" in " ".join(out.getvalue().split())
    assert err.getvalue().count("has not ended") == 1


def test_the_command_says_it_and_how_the_run_goes_on(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    run = tmp_path / "models" / "melhubert-small"

    def typed(words):
        out, err = io.StringIO(), io.StringIO()
        assert call(words, out=out, err=err) == 0, err.getvalue()
        return out.getvalue()

    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=2)
    typed(["speechbias", "pretrain", str(recipe), "--out", str(run)])
    (run / "recipe.toml").write_text((run / "recipe.toml").read_text().replace("steps = 2", "steps = 4"))
    places = ["--checkpoints", str(tmp_path / "models"), "-o", str(tmp_path / "out")]
    said = " ".join(typed(["speechbias", "reproduce", "figure1", "--dry-run", *places]).split())
    assert "note: " in said
    assert "has not ended: it is at update 2 of 4." in said
    (again,) = plan(["figure1"], Places(tmp_path, checkpoints=tmp_path / "models")).notes
    typed(shlex.split(again.partition("It goes on by: ")[2]))
    assert steps_of(run)[-1] == 4
    assert "has not ended" not in typed(["speechbias", "reproduce", "figure1", "--dry-run", *places])
