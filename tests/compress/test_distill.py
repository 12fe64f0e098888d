"""Distillation end to end: what a run writes, that one killed anywhere ends as one that was not, and on two ranks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import rank_processes
from recordings import write_test
from speechbias import cli
from speechbias.checkpoint import check_model, load_encoder, read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.compress.distill import distill
from speechbias.compress.prune import prune
from speechbias.compress.start import read_distill_recipe, read_prune_recipe
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.models.config import FAMILIES
from speechbias.models.distillation import Distillation, DistillationSettings
from speechbias.models.freeze import freeze
from speechbias.results import read_results
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from training_runs import assert_same, digest, dying_at, run_and_kill, steps_of, write_corpus, write_recipe

TINY = Path(__file__).parents[2] / "recipes" / "tiny"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips")


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Teachers of two layers, of each family: encoders alone, without objective and labels."""
    folder = tmp_path_factory.mktemp("trained")
    for family in FAMILIES:
        recipe = write_recipe(folder / f"{family}.toml", family, corpus, steps=2, keep=[])
        recipe.write_text(recipe.read_text().replace("layers = 1", "layers = 2").replace("heads = 2", "heads = 4"))
        pretrain(read_recipe(recipe), folder / "runs" / family)
        found = read_checkpoint(str(folder / "runs" / family / "checkpoints" / "last"))
        save_checkpoint(folder / family, Checkpoint(family, found.config, found.tensors, meta=found.meta))
    return folder


def recipe_of(path, family, corpus, trained, *, more="", layers=1, section="", model=None, **run):
    lines = write_recipe(path, family, corpus, **{"save": 3, "keep": [0], **run}).read_text().splitlines(keepends=True)
    kept = lines[lines.index("[data]\n") : lines.index("[units]\n") if "[units]\n" in lines else None]
    start = model or f'checkpoint = "{trained / family}"'
    path.write_text(f"[model]\n{start}\n" + "".join(kept) + f"[distill]\nlayers = {layers}\n{section}{more}")
    return path


def run(recipe, out, *, seed=None, **options):
    return distill(read_distill_recipe(recipe, out, seed=seed), out, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_begins_as_its_teachers_first_layers_and_learns(family, corpus, trained, tmp_path):
    """Of an encoder alone: no objective, no labels are needed."""
    ended = run(recipe_of(tmp_path / "r.toml", family, corpus, trained), tmp_path / "out")
    assert (ended.update, ended.asked) == (6, None)
    assert steps_of(tmp_path / "out") == [0, 6]
    assert not (tmp_path / "out" / "units").exists()
    teacher, first = (read_checkpoint(str(p)) for p in (trained / family, tmp_path / "out/checkpoints/step-00000000"))
    assert first.tensors.keys() == {name for name in teacher.tensors if "layers.1" not in name}
    assert all(torch.equal(tensor, teacher.tensors[name]) for name, tensor in first.tensors.items())
    last = read_checkpoint(str(ended.checkpoint))
    assert (last.config.num_layers, last.config.student) == (1, True)
    assert last.settings == DistillationSettings((1, 2))
    assert isinstance(last.objective(), Distillation)
    assert any(not torch.equal(tensor, first.tensors[name]) for name, tensor in last.tensors.items())
    said = last.meta.provenance["distillation"]
    assert said["teacher_sha256"] == load_encoder(str(trained / family)).sha256
    assert (said["teacher_layers"], said["layers"], said["targets"]) == (2, 1, [1, 2])
    assert str(trained) not in json.dumps(last.meta.provenance)
    encoder = load_encoder(str(ended.checkpoint))
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    assert encoder.pooled(wave).shape == (2, 16)  # the input projection and one block; heads not


def test_the_first_state_is_the_projection(corpus, trained, tmp_path):
    run(recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, steps=1), tmp_path / "out")
    wave = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    student = read_checkpoint(str(tmp_path / "out/checkpoints/step-00000000")).network()
    with torch.no_grad():
        projected = student.project(student.features(torch.from_numpy(wave)[None]))[0]
    states = load_encoder(str(tmp_path / "out/checkpoints/step-00000000")).hidden_states(wave)
    np.testing.assert_allclose(states[0], projected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "section"),
    [
        ("wav2vec2", 'preset = "s3prl"\n'),
        ("hubert", "cosine = 0.5\n"),
        ("melhubert", 'preset = "authors-code"\n'),
    ],
)
def test_a_run_that_stops_anywhere_goes_on_as_if_it_had_not(  # noqa: PLR0917
    family, section, corpus, trained, tmp_path, monkeypatch
):
    """Also with a teacher that draws, masks, and two groups of the optimiser."""
    recipe = recipe_of(tmp_path / "r.toml", family, corpus, trained, section=section)
    run(recipe, tmp_path / "whole")
    dying = dying_at(monkeypatch)
    for resume, dying.at in enumerate((5, 10)):
        with pytest.raises(ZeroDivisionError):
            run(recipe, tmp_path / "cut", resume=bool(resume))
    dying.at = None
    run(recipe, tmp_path / "cut", resume=True)
    assert_same(tmp_path / "cut", tmp_path / "whole", 6)


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, steps=22, save=1, log=7, keep=[])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_and_kill("distill", recipe, whole=whole, killed=killed, kills=2)
    assert_same(killed, whole, 22)


@pytest.mark.parametrize("section", ["", "padding = true\n"])
def test_two_ranks_teach_alike_and_one_goes_on(section, pair, corpus, trained, tmp_path):
    """Two ranks of one batch each are one process with both, to rounding, also where one of them goes on alone."""
    recipe = recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, steps=3, section=section)
    shared = recipe.read_text().replace("linear", "constant").replace("accumulate = 2", "accumulate = 1")
    recipe.write_text(shared)
    assert pair.run(rank_processes.teach_alike, recipe, tmp_path / "two") == [(3, []), (3, [])]
    longer, alone = tmp_path / "longer.toml", tmp_path / "alone.toml"
    longer.write_text(shared.replace("steps = 3", "steps = 5"))
    alone.write_text(longer.read_text().replace("accumulate = 1", "accumulate = 2"))
    run(longer, tmp_path / "two", resume=True)
    run(alone, tmp_path / "one")
    ends = [read_checkpoint(str(tmp_path / name / "checkpoints" / "step-00000005")) for name in ("two", "one")]
    for name, tensor in {**ends[0].tensors, **ends[0].objective_tensors}.items():
        other = {**ends[1].tensors, **ends[1].objective_tensors}[name]
        torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-4)


def test_records_on_the_way_are_those_of_the_checkpoints(corpus, trained, tmp_path):
    stimuli = write_test(tmp_path / "stimuli", clips=3)
    track = f'[track]\nstimuli = "{stimuli}"\npermutations = 500\nresamples = 200\n'
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, more=track)
    run(recipe, tmp_path / "run")
    tracked = tmp_path / "run" / "results.jsonl"
    before = tracked.read_bytes()
    folders = [str(tmp_path / "run" / "checkpoints" / f"step-{step:08d}") for step in (0, 6)]
    fast = ["--permutations", "500", "--resamples", "200", "--no-audit", "--per-layer", "--stimuli", str(stimuli)]
    for results in (tracked, tmp_path / "run" / "afresh.jsonl"):
        assert CliRunner().invoke(cli.app, ["measure", *folders, *fast, "-o", str(results)]).exit_code == 0
    assert tracked.read_bytes() == before  # nothing was missing
    found, afresh = (
        sorted(read_results(tmp_path / "run" / name), key=lambda each: (each.step, str(each.layer)))
        for name in ("results.jsonl", "afresh.jsonl")
    )
    assert [result.step for result in found] == [0, 0, 0, 6, 6, 6]
    for mine, other in zip(found, afresh, strict=True):
        assert {**mine.to_json(), "vectors": 0} == {**other.to_json(), "vectors": 0}


def test_presets_make_other_students(corpus, trained, tmp_path):
    ends = {}
    for name in ("", 'preset = "authors-code"\n', "padding = true\n", "teacher_dropout = true\n", "masked = true\n"):
        out = tmp_path / f"out-{len(ends)}"
        run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, section=name, steps=3, keep=[0]), out)
        ends[name] = digest(out, 3)
        assert (digest(out, 0) == digest(tmp_path / "out-0", 0)) == ("preset" not in name)
    assert len({json.dumps(end, sort_keys=True) for end in ends.values()}) == len(ends)


def test_a_student_is_inspected_and_pruned_but_not_trained_on(corpus, trained, tmp_path):
    ended = run(recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, steps=1), tmp_path / "out")
    done = CliRunner().invoke(cli.app, ["inspect", str(ended.checkpoint), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)[0]
    assert said["student"] is True
    heads = (16 * 32 + 32) + 2 * (16 * 16 + 16)
    assert said["parameters_with_objective"] - said["parameters"] == heads
    cut = tmp_path / "cut.toml"
    start = f'[model]\ncheckpoint = "{ended.checkpoint}"\n[data]\ntrain = "{corpus}"\n'
    text = start + '[prune]\nmethod = "heads"\nat = [1]\n'
    cut.write_text(text + "train = false\n")
    pruned = prune(read_prune_recipe(cut, tmp_path / "pruned"), tmp_path / "pruned")
    made = read_checkpoint(str(pruned.checkpoint))
    assert (made.config.heads, made.config.student) == ((3,), True)
    assert (
        made.meta.provenance["distillation"] == read_checkpoint(str(ended.checkpoint)).meta.provenance["distillation"]
    )
    assert isinstance(made.objective(), Distillation)
    cut.write_text(text)
    with pytest.raises(InputError, match=r"is a student.*train = false"):
        read_prune_recipe(cut, tmp_path / "other")


def test_a_student_can_be_pre_trained_on_and_be_a_teacher(corpus, trained, tmp_path):
    """Its encoder alone is taken; heads stay behind."""
    two = recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, layers=2, steps=1)
    student = run(two, tmp_path / "student").checkpoint
    recipe = write_recipe(tmp_path / "p.toml", "hubert", corpus, steps=1)
    said = recipe.read_text().splitlines()
    start = said.index("[data]")
    recipe.write_text("\n".join(["[model]", 'family = "hubert"', f'checkpoint = "{student}"', *said[start:]]))
    assert pretrain(read_recipe(recipe), tmp_path / "on").update == 1
    again = recipe_of(tmp_path / "s.toml", "hubert", corpus, trained, model=f'checkpoint = "{student}"', steps=1)
    last = read_checkpoint(str(run(again, tmp_path / "again").checkpoint))
    assert last.meta.provenance["distillation"]["teacher_sha256"] == load_encoder(str(student)).sha256
    assert last.config.num_layers == 1


def test_a_teacher_may_come_from_a_run_of_another_version(corpus, trained, tmp_path):
    """Of whose recipe the units alone are asked, and those by who prunes."""
    shutil.copytree(trained / "runs" / "hubert", tmp_path / "old")
    written = tmp_path / "old" / "recipe.toml"
    written.write_text(written.read_text() + "\n[abandoned]\nkey = 1\n")
    start = f'checkpoint = "{tmp_path / "old" / "checkpoints" / "last"}"'
    assert run(recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, model=start, steps=1), tmp_path / "a").update
    cut = tmp_path / "cut.toml"
    cut.write_text(f'[model]\n{start}\n[data]\ntrain = "{corpus}"\n[prune]\nmethod = "heads"\nat = [1]\n')
    units = read_prune_recipe(cut, tmp_path / "b").units
    assert units is not None
    assert units.quantiser == str(tmp_path / "old" / "units")
    assert units.clusters == read_recipe(trained / "runs" / "hubert" / "recipe.toml").units.clusters


def test_a_recipe_pretrains_its_teacher_where_it_is_not_there(corpus, trained, tmp_path):
    pre = write_recipe(tmp_path / "pre.toml", "melhubert", corpus, steps=2, keep=[])
    pre.write_text(pre.read_text().replace("layers = 1", "layers = 2"))
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, model='pretrain = "pre.toml"', steps=2)
    assert run(recipe, tmp_path / "out").update == 2
    assert steps_of(tmp_path / "out" / "pretrained") == [2]
    with pytest.raises(InputError, match="holds a run"):
        run(recipe, tmp_path / "out")
    assert run(recipe, tmp_path / "out", resume=True).update == 2


def test_a_run_that_is_made_longer_keeps_its_warmup(corpus, trained, tmp_path):
    """It is a share of the updates that were asked for when the run began."""
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, steps=30)
    recipe.write_text(recipe.read_text().replace("warmup = 2\n", "").replace("steps = 30", "steps = 2"))
    run(recipe, tmp_path / "out")
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 30"))
    assert read_distill_recipe(recipe, tmp_path / "out").optim.warmup == 0
    assert read_distill_recipe(recipe, tmp_path / "elsewhere").optim.warmup == 2
    recipe.write_text(recipe.read_text().replace("steps = 30", "steps = 3"))
    assert run(recipe, tmp_path / "out", resume=True).update == 3


def test_a_run_goes_on_with_its_own_teacher_only(corpus, trained, tmp_path):
    shutil.copytree(trained / "melhubert", tmp_path / "teacher")
    start = f'checkpoint = "{tmp_path / "teacher"}"'
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, model=start, steps=2)
    run(recipe, tmp_path / "out")
    other = read_checkpoint(str(tmp_path / "teacher"))
    changed = {name: tensor * 1.01 for name, tensor in other.tensors.items()}
    save_checkpoint(tmp_path / "teacher", Checkpoint("t", other.config, changed, meta=other.meta))
    recipe.write_text(recipe.read_text().replace("steps = 2", "steps = 4"))
    with pytest.raises(InputError, match="learnt from another teacher"):
        run(recipe, tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"layers": 3}, "layers is 3; the teacher has 2"),
        ({"section": "targets = [1, 4]\n"}, "targets 4; the teacher has 2 layers"),
        ({"section": "feature_norm = false\n"}, "melhubert has none"),
        ({"model": 'checkpoint = "nowhere"'}, "nowhere"),
        ({"model": 'family = "melhubert"'}, "name the checkpoint to distill"),
        ({"more": '[prune]\nmethod = "heads"\n'}, "one of the two"),
        ({"more": "[units]\nclusters = 4\n"}, "learns no labels"),
    ],
)
def test_what_cannot_be_taught_is_refused_in_a_line(keys, said, corpus, trained, tmp_path):
    with pytest.raises(InputError, match=said):
        run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, **keys), tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_teacher_of_another_family_is_refused(corpus, trained, tmp_path):
    start = f'checkpoint = "{trained / "melhubert"}"\nfamily = "hubert"'
    with pytest.raises(InputError, match="is a melhubert, the recipe's is hubert"):
        run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, model=start), tmp_path / "out")


def test_a_recipe_is_for_its_own_verb(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained)
    with pytest.raises(InputError, match="it is for speechbias distill"):
        pretrain(read_distill_recipe(recipe, tmp_path / "out"), tmp_path / "out")
    with pytest.raises(InputError, match=r"has no \[prune\]; without one it is for speechbias distill"):
        read_prune_recipe(recipe, tmp_path / "out")
    plain = write_recipe(tmp_path / "p.toml", "melhubert", corpus)
    with pytest.raises(InputError, match=r"has no \[distill\]; without one it is for speechbias pretrain"):
        read_distill_recipe(plain, tmp_path / "out")


def test_the_command_teaches_from_another_model_by_another_seed(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, steps=1)
    out = ["--out", str(tmp_path / "out"), "--model", str(trained / "wav2vec2"), "--seed", "5"]
    done = CliRunner().invoke(cli.app, ["distill", str(recipe), *out])
    assert done.exit_code == 0, done.output
    assert f"speechbias measure {tmp_path / 'out' / 'checkpoints' / 'last'} --stimuli" in done.output
    last = read_checkpoint(str(tmp_path / "out" / "checkpoints" / "last"))
    assert (last.config.family, last.meta.provenance["seed"]) == ("wav2vec2", 5)


def test_a_damaged_objective_is_refused_in_a_line(corpus, trained, tmp_path):
    ended = run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, steps=1), tmp_path / "out")
    path = ended.checkpoint / "config.json"
    whole = json.loads(path.read_text())
    for objective, said in (
        ({"kind": "contrast"}, "no 'distillation'"),
        ({"kind": "distillation", "targets": [2, 1]}, "in order"),
        ({"kind": "distillation", "targets": [1, 2, 3]}, "weights of the encoder are missing"),
        ({"kind": "distillation", "target": [1]}, "nearest is 'targets'"),
    ):
        path.write_text(json.dumps({**whole, "objective": objective}))
        with pytest.raises(InputError, match=said):
            read_checkpoint(str(ended.checkpoint))


@pytest.mark.slow
def test_the_tiny_recipe_runs_alone_and_learns(tmp_path):
    ended = run(TINY / "distill.toml", tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    assert lines[-1]["similarity"] > lines[0]["similarity"] + 0.3
    assert load_encoder(str(ended.checkpoint)).num_states == 2


# What records say of a student


@pytest.fixture(scope="module")
def taught(corpus, trained, tmp_path_factory):
    """A student of each kind of front end, tracked as it learnt, and the stimuli."""
    folder = tmp_path_factory.mktemp("taught")
    stimuli = write_test(folder / "stimuli", clips=4)
    track = f'[track]\nstimuli = ["{stimuli}"]\npermutations = 200\nresamples = 100\n'
    for family in ("hubert", "melhubert"):
        run(recipe_of(folder / f"{family}.toml", family, corpus, trained, more=track, steps=2), folder / family)
    return folder, stimuli


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_a_record_names_the_teacher_tracked_or_measured(family, taught, trained, tmp_path):
    folder, stimuli = taught
    options = ["--per-layer", "--no-audit", "--permutations", "200", "--resamples", "100", "--stimuli", str(stimuli)]
    asked = ["measure", *map(str, sorted((folder / family / "checkpoints").glob("step-*"))), *options]
    done = CliRunner().invoke(cli.app, [*asked, "-o", str(tmp_path / "r.jsonl")])
    assert done.exit_code == 0, done.output
    tracked = folder / family / "results.jsonl"
    assert tracked.read_bytes().replace(b"results.jsonl", b"r.jsonl") == (tmp_path / "r.jsonl").read_bytes()
    student = load_encoder(str(folder / family / "checkpoints" / "last"))
    for record in read_results(tracked):
        assert record.distilled_from == load_encoder(str(trained / family)).sha256
        assert (record.student_layers, record.teacher_layers, record.num_states) == (1, 2, 2)
        assert (record.parameters, record.method) == (student.parameters, None)
    teacher = read_results(_measured(trained / family, stimuli, tmp_path / "teacher.jsonl"))[0]
    assert (teacher.distilled_from, teacher.student_layers) == (None, None)
    assert "distilled_from" not in json.loads((tmp_path / "teacher.jsonl").read_text())
    assert teacher.parameters > student.parameters


def _measured(model, stimuli, out, *more):
    quick = ["--no-audit", "--permutations", "200", "--resamples", "100"]
    done = CliRunner().invoke(
        cli.app, ["measure", str(model), "--stimuli", str(stimuli), "-o", str(out), *quick, *more]
    )
    assert done.exit_code == 0, done.output or done.exception
    return out


def test_an_exported_student_still_names_its_teacher_unless_it_was_trained_on(taught, trained, tmp_path):
    folder, stimuli = taught
    student = folder / "hubert" / "checkpoints" / "last"
    teacher = load_encoder(str(trained / "hubert")).sha256
    for form in ("hf", "onnx", "speechbias"):
        out = export_checkpoint(student, tmp_path / form, format=form, latency=False)
        (record,) = read_results(_measured(out, stimuli, tmp_path / f"{form}.jsonl"))
        assert (record.distilled_from, record.student_layers, record.teacher_layers) == (teacher, 1, 2)
    weights = tmp_path / "hf" / "model.safetensors"
    changed = {name: tensor * 1.01 for name, tensor in load_file(weights).items()}
    save_file(changed, weights, {"format": "pt"})
    assert load_encoder(str(tmp_path / "hf")).distilled == {}
    (tmp_path / "hf" / "export.json").write_text("[")
    assert load_encoder(str(tmp_path / "hf")).distilled == {}


# Heads as states


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_heads_are_further_states_where_they_are_asked_for(family, taught):
    checkpoint = taught[0] / family / "checkpoints" / "last"
    plain, headed = load_encoder(str(checkpoint)), load_encoder(str(checkpoint), states="s3prl-heads")
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    states = headed.hidden_states(wave)
    assert (plain.num_states, headed.num_states, states.shape[0]) == (2, 4, 4)
    np.testing.assert_array_equal(states[:2], plain.hidden_states(wave))
    objective = read_checkpoint(str(checkpoint)).objective()
    with torch.no_grad():  # as training has them
        predicted = objective.heads(torch.from_numpy(states[1])).permute(1, 0, 2).numpy()
    np.testing.assert_allclose(states[2:], predicted, atol=1e-5)
    np.testing.assert_allclose(headed.pooled(wave), states.mean(axis=1), atol=1e-5)
    assert headed.sha256 == plain.sha256
    assert headed.recipe["heads"] == "predictions of the teacher's layers 1, 2"
    assert {k: v for k, v in headed.recipe.items() if "heads" not in k} == plain.recipe


def test_a_padded_batch_gives_heads_what_one_wave_gives(taught):
    found = read_checkpoint(str(taught[0] / "hubert" / "checkpoints" / "last"))
    alone, many = (
        freeze("s", found.network(), states="s3prl-heads", heads=found.heads(), batched=batched)
        for batched in (False, True)
    )
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(length).astype(np.float32) for length in (8000, 5000)]
    for wave, pooled in zip(waves, many.pooled_batch(waves), strict=True):
        assert pooled.shape == (4, 16)
        np.testing.assert_allclose(pooled, alone.pooled(wave), atol=1e-5)


def test_measuring_with_heads_is_in_the_record_and_other_heads_are_other_digits(taught, tmp_path):
    folder, stimuli = taught
    student = folder / "hubert" / "checkpoints" / "last"
    _measured(student, stimuli, tmp_path / "r.jsonl", "--per-layer")
    records = read_results(_measured(student, stimuli, tmp_path / "r.jsonl", "--per-layer", "--states", "s3prl-heads"))
    assert [(r.states, r.num_states, r.layer) for r in records] == [
        *(("s3prl", 2, layer) for layer in ("mean", 0, 1)),
        *(("s3prl-heads", 4, layer) for layer in ("mean", 0, 1, 2, 3)),
    ]
    assert len({record.model_sha256 for record in records}) == 1
    found = read_checkpoint(str(student))
    others = {name: tensor + 1 for name, tensor in found.objective_tensors.items()}
    save_checkpoint(tmp_path / "last", replace(found, objective_tensors=others))
    again = read_results(_measured(tmp_path / "last", stimuli, tmp_path / "r.jsonl", "--states", "s3prl-heads"))
    assert len(again) == len(records) + 1  # the same encoder, and still not taken from the file or the cache
    assert again[-1].d != records[3].d


def test_a_run_tracks_its_heads_where_its_recipe_says_so(corpus, trained, taught, tmp_path):
    track = f'[track]\nstimuli = ["{taught[1]}"]\npermutations = 200\nresamples = 100\nstates = "s3prl-heads"\n'
    out = tmp_path / "out"
    run(recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, more=track, steps=1), out)
    tracked = [record for record in read_results(out / "results.jsonl") if record.step == 1]
    options = ["--per-layer", "--states", "s3prl-heads"]
    measured = read_results(
        _measured(out / "checkpoints" / "step-00000001", taught[1], tmp_path / "m.jsonl", *options)
    )
    assert [(r.layer, r.d, r.recipe) for r in tracked] == [(r.layer, r.d, r.recipe) for r in measured]


def test_heads_of_what_has_none_are_refused_in_a_line(taught, trained, tmp_path):
    found = read_checkpoint(str(taught[0] / "hubert" / "checkpoints" / "last"))
    save_checkpoint(tmp_path / "alone", Checkpoint("alone", found.config, found.tensors, meta=found.meta))
    for model, why in (
        ("mel", "mel is no distilled student"),
        ("random:hubert-small", "is no distilled student"),
        (str(trained / "hubert"), "hubert is no distilled student"),
        (str(tmp_path / "alone"), "alone is a student without the heads"),
    ):
        for ask in (load_encoder, check_model):
            with pytest.raises(InputError, match=f"{why}.*no prediction heads; leave --states s3prl-heads out"):
                ask(model, states="s3prl-heads")


# Pruning a student


def test_a_student_is_cut_without_training_and_says_both(corpus, trained, taught, tmp_path):
    folder, stimuli = taught
    student = folder / "hubert" / "checkpoints" / "last"
    recipe = write_recipe(tmp_path / "p.toml", "hubert", corpus)
    said = recipe.read_text().splitlines()
    kept = said[said.index("[data]") : said.index("[units]")]
    lines = [
        "[model]",
        f'checkpoint = "{student}"',
        *kept,
        "[prune]",
        'method = "heads"',
        "stages = [[1, 1]]",
        "amount = 1",
    ]
    recipe.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"is a student.*\[prune\] train = false.*prune its teacher and distil that"):
        read_prune_recipe(recipe, tmp_path / "out")
    recipe.write_text("\n".join([*lines, "train = false"]))
    ended = prune(read_prune_recipe(recipe, tmp_path / "out"), tmp_path / "out")
    cut = read_checkpoint(str(ended.checkpoint))
    assert (cut.config.heads, cut.config.student) == ((1,), True)
    (record,) = read_results(_measured(ended.checkpoint, stimuli, tmp_path / "r.jsonl"))
    assert (record.method, record.remaining, record.pruned_from) == ("heads", 1, load_encoder(str(student)).sha256)
    assert (record.distilled_from, record.student_layers) == (load_encoder(str(trained / "hubert")).sha256, 1)
    headed = load_encoder(str(ended.checkpoint), states="s3prl-heads")
    assert headed.num_states == 4
