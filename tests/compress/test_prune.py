"""Pruning end to end: what is cut when, that a run killed anywhere ends as one that was not, and on two ranks."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import rank_processes
import training_runs
from recordings import write_test
from speechbias import cli, compress
from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import read_folder, save_checkpoint
from speechbias.compress.cutting import CuttingSession
from speechbias.compress.events import read_events
from speechbias.compress.masks import prunable
from speechbias.compress.moments import carried, trained_names
from speechbias.compress.prune import prune
from speechbias.compress.start import read_prune_recipe
from speechbias.compress.surgery import cut_heads, perform
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.results import read_results
from speechbias.training.beginning import prepared
from speechbias.training.corpus import make_run_units
from speechbias.training.optim import make_optimiser
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from training_runs import digest, dying_at, log_of, run_and_kill, steps_of, write_corpus, write_recipe

METHODS = {
    "heads": "amount = 1\nstages = [[2, 2]]\n",
    "rows": "amount = 4\nstages = [[2, 8]]\n",
    "weights": 'schedule = "listed"\nat = [2, 4, 6]\ntargets = [0.25, 0.5, 0.75]\n',
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips")


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A run of each family, of two layers with four heads."""
    folder = tmp_path_factory.mktemp("trained")
    for family in FAMILIES:
        recipe = write_recipe(folder / f"{family}.toml", family, corpus, steps=2, keep=[])
        recipe.write_text(recipe.read_text().replace("layers = 1", "layers = 2").replace("heads = 2", "heads = 4"))
        pretrain(read_recipe(recipe), folder / family)
    return folder


def recipe_of(path, family, corpus, trained, method="heads", *, more="", steps=None, section=None, **run):
    text = write_recipe(path, family, corpus, steps=steps or 1, **{"save": 3, "keep": [0], **run}).read_text()
    lines = text.splitlines(keepends=True)
    begin = lines.index("[data]\n")
    kept = lines[begin : lines.index("[units]\n") if "[units]\n" in lines else None]
    if steps is None:
        kept = [line for line in kept if not line.startswith("steps")]
    model = f'[model]\ncheckpoint = "{trained / family / "checkpoints" / "last"}"\n'
    said = METHODS[method] if section is None else section
    path.write_text(model + "".join(kept) + f'[prune]\nmethod = "{method}"\n{said}{more}')
    return path


def run(recipe, out, *, seed=None, **options):
    return prune(read_prune_recipe(recipe, out, seed=seed), out, **options)


def shapes(out, step):
    config = read_checkpoint(str(out / "checkpoints" / f"step-{step:08d}")).config
    return sum(config.heads), set(config.ffn)


@pytest.mark.parametrize("damage", ["", "[model]\nfamily = 3", "\0"])
def test_a_pruning_run_whose_recipe_was_damaged_is_mended_by_its_own(damage, corpus, trained, tmp_path):
    recipe, told = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained), []
    run(recipe, tmp_path / "out")
    written = tmp_path / "out" / "recipe.toml"
    whole = written.read_text()
    written.write_text(damage)
    run(recipe, tmp_path / "out", resume=True, warn=told.append)
    assert written.read_text() == whole
    assert any("the recipe given is that of the run's checkpoints" in text for text in told)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_leave_one_of_each_layer_at_a_time(family, corpus, trained, tmp_path):
    ended = run(recipe_of(tmp_path / "r.toml", family, corpus, trained), tmp_path / "out")
    assert (ended.update, ended.asked) == (8, None)
    assert steps_of(tmp_path / "out") == [0, 2, 4, 6, 8]
    assert [shapes(tmp_path / "out", step)[0] for step in (0, 2, 4, 6, 8)] == [8, 8, 6, 4, 2]
    events = read_events(tmp_path / "out" / "events.jsonl")
    assert [(event.step, event.kind, event.remaining, event.of) for event in events] == [
        (2, "heads", 6, 8),
        (4, "heads", 4, 8),
        (6, "heads", 2, 8),
    ]
    for layer in "01":
        gone = [head for event in events for head in event.cut[layer]]
        assert len(set(gone)) == len(gone)  # numbers of the beginning: none twice
    first = read_checkpoint(str(tmp_path / "out" / "checkpoints" / "step-00000002"))
    assert {layer: tuple(events[0].cut[str(layer)]) for layer in (0, 1)} == compress.lowest_heads(first, 1)
    said = read_checkpoint(str(ended.checkpoint)).meta.provenance["pruning"]
    start = load_encoder(str(trained / family / "checkpoints" / "last"))
    wanted = {"method": "heads", "criterion": "l1", "cuts": 3, "remaining": 2, "of": 8, "pruned_from": start.sha256}
    assert said == wanted
    assert load_encoder(str(ended.checkpoint)).pooled(np.random.default_rng(0).standard_normal(8000)).shape == (3, 16)


def test_rows_leave_so_many_of_each_layer(corpus, trained, tmp_path):
    run(recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, "rows"), tmp_path / "out")
    assert [shapes(tmp_path / "out", step)[1] for step in (0, 2, 4, 6)] == [{16}, {16}, {12}, {8}]
    first = read_checkpoint(str(tmp_path / "out" / "checkpoints" / "step-00000002"))
    events = read_events(tmp_path / "out" / "events.jsonl")
    assert {layer: tuple(events[0].cut[str(layer)]) for layer in (0, 1)} == compress.lowest_rows(first, 4)
    assert [event.remaining for event in events] == [24, 16]


def test_weights_stay_in_place_at_zero(corpus, trained, tmp_path):
    out = tmp_path / "out"
    ended = run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "weights"), out)
    shares = []
    for step in (0, 2, 4, 6, 8):
        checkpoint = read_checkpoint(str(out / "checkpoints" / f"step-{step:08d}"))
        values = torch.cat([checkpoint.tensors[name].flatten() for name in prunable(checkpoint.config)])
        shares.append(float((values == 0).double().mean()))
    untouched = shares[0]  # biases are zero until they have learnt
    assert untouched < 0.2
    assert shares[2:] == pytest.approx([0.25, 0.5, 0.75], abs=1e-3)
    before = read_checkpoint(str(out / "checkpoints" / "step-00000004"))
    after = read_checkpoint(str(ended.checkpoint))
    for name in prunable(before.config):  # what is zero stays zero while the rest learns
        assert not torch.any(after.tensors[name][before.tensors[name] == 0])
    assert not torch.equal(after.tensors["transformer.norm.weight"], before.tensors["transformer.norm.weight"])


@pytest.mark.parametrize(
    ("family", "method", "moments"),
    [("wav2vec2", "heads", "carry"), ("hubert", "rows", "reset"), ("melhubert", "weights", "carry")],
)
def test_a_run_that_stops_anywhere_goes_on_as_if_it_had_not(  # noqa: PLR0917
    family, method, moments, corpus, trained, tmp_path, monkeypatch
):
    """Also between the checkpoint of an update and its cut, and after the cut before the next checkpoint."""
    recipe = recipe_of(
        tmp_path / "r.toml", family, corpus, trained, method, more=f'moments = "{moments}"\n', steps=8, log=3
    )
    run(recipe, tmp_path / "whole")
    dying, cut = dying_at(monkeypatch), CuttingSession.cut_if_due

    def dying_cut(self):
        if self.pending is not None and self.trainer.update == dying_cut.before:
            raise ZeroDivisionError
        cut(self)
        if self.trainer.update == dying_cut.after:
            raise ZeroDivisionError

    monkeypatch.setattr(CuttingSession, "cut_if_due", dying_cut)
    resume = False
    for dying.at, dying_cut.before, dying_cut.after in ((5, 0, 0), (0, 2, 0), (0, 0, 4), (11, 0, 0)):
        with pytest.raises(ZeroDivisionError):
            run(recipe, tmp_path / "cut", resume=resume)
        resume = True
    dying.at = dying_cut.before = dying_cut.after = None
    run(recipe, tmp_path / "cut", resume=True)
    assert_same(tmp_path / "cut", tmp_path / "whole", 8)


def assert_same(one, other, last):
    training_runs.assert_same(one, other, last)
    assert (one / "events.jsonl").read_bytes() == (other / "events.jsonl").read_bytes()


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing(corpus, trained, tmp_path):
    """Cuts after many updates and a checkpoint after each, so that kills fall into both."""
    at = f"at = {[*range(1, 20)]}\ntargets = {[*SHARES]}\n"
    more = {"steps": 22, "save": 1, "log": 7, "keep": []}
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "weights", section=at, **more)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_and_kill("prune", recipe, whole=whole, killed=killed, kills=2)
    assert_same(killed, whole, 22)


SHARES = np.round(np.linspace(0.04, 0.76, 19), 2).tolist()


def test_moments_are_those_of_what_stays(corpus, trained, tmp_path):
    """Two optimisers, one cut after three steps: the next step moves what stays alike."""
    checkpoint = read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last"))
    recipe = read_recipe(trained / "melhubert.toml")
    objective = prepared(copied(checkpoint), recipe)
    optimiser = make_optimiser(objective, recipe.optim)
    names = trained_names(objective, optimiser)
    assert names == [name for name, _ in objective.named_parameters()]
    rng = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(p.shape, generator=rng) for p in objective.parameters()] for _ in range(4)]
    for drawn in gradients[:3]:
        step(objective, optimiser, drawn)
    cut = cut_heads(checkpoint.config, {0: [1, 2], 1: [0]})
    smaller = perform(objective, cut)
    later = make_optimiser(smaller, recipe.optim)
    later.load_state_dict(copy.deepcopy(carried(optimiser.state_dict(), names, cut)))  # two go on here
    step(objective, optimiser, gradients[3])
    step(smaller, later, [cut.apply(name, drawn) for name, drawn in zip(names, gradients[3], strict=True)])
    whole, left = dict(objective.named_parameters()), dict(smaller.named_parameters())
    assert trained_names(smaller, later) == names
    for name in names:
        torch.testing.assert_close(left[name], cut.apply(name, whole[name]), rtol=1e-6, atol=1e-9)


def copied(checkpoint):
    made = checkpoint.objective()
    for parameter in made.parameters():
        parameter.data = parameter.data.clone()
    return made


def step(module, optimiser, gradients):
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimiser.step()


def test_moments_that_are_reset_make_another_run(corpus, trained, tmp_path):
    for moments in ("carry", "reset"):
        more = f'moments = "{moments}"\n'
        run(recipe_of(tmp_path / f"{moments}.toml", "melhubert", corpus, trained, more=more), tmp_path / moments)
    assert digest(tmp_path / "carry", 2) == digest(tmp_path / "reset", 2)
    assert digest(tmp_path / "carry", 4) != digest(tmp_path / "reset", 4)


def test_random_cuts_are_those_of_their_seed(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "rows", more='criterion = "random"\n')
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(recipe, tmp_path / name, seed=seed)
    a, b, c = (read_events(tmp_path / name / "events.jsonl") for name in "abc")
    assert a == b
    assert a != c
    assert {event.criterion for event in a} == {"random"}
    said = read_checkpoint(str(tmp_path / "c" / "checkpoints" / "last")).meta.provenance["pruning"]
    assert (said["criterion"], said["seed"]) == ("random", 2)


def test_cuts_of_one_run_replay_on_another_family(corpus, trained, tmp_path):
    run(recipe_of(tmp_path / "m.toml", "melhubert", corpus, trained, "weights"), tmp_path / "m")
    section = f'replay = "{tmp_path / "m" / "events.jsonl"}"\n'
    recipe = recipe_of(tmp_path / "w.toml", "wav2vec2", corpus, trained, "weights", section=section)
    run(recipe, tmp_path / "w")
    first, second = (read_events(tmp_path / name / "events.jsonl") for name in "mw")
    assert [(event.step, event.amount) for event in first] == [(event.step, event.amount) for event in second]


def test_convergence_ends_a_run_when_its_targets_are_reached(corpus, trained, tmp_path):
    section = "targets = [0.3, 0.6]\ncheck = 2\nlook_back = 2\ntolerance = 100.0\nlast = 3\n"
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "weights", section=section)
    ended = run(recipe, tmp_path / "out")
    events = read_events(tmp_path / "out" / "events.jsonl")
    assert [(event.step, event.amount) for event in events] == [(4, 0.3), (8, 0.6)]
    assert ended.update == 11
    assert log_of(tmp_path / "out")[-1]["step"] == 11
    assert run(recipe, tmp_path / "out", resume=True).update == 11  # it has ended


def test_a_pruned_model_is_pruned_on(corpus, trained, tmp_path):
    """Counted from the model that was never pruned; its zeros stay zeros."""
    for method, further in (("heads", "at = [1]\n"), ("weights", "at = [1]\ntargets = [0.9]\n")):
        run(recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, method), tmp_path / method)
        (tmp_path / f"{method}-again").mkdir()
        pruned = tmp_path / method / "checkpoints" / ("step-00000004" if method == "heads" else "last")
        recipe = recipe_of(tmp_path / "s.toml", "melhubert", corpus, trained, method, section=further)
        text = recipe.read_text().replace(str(trained / "melhubert" / "checkpoints" / "last"), str(pruned))
        recipe.write_text(text)
        ended = run(recipe, tmp_path / "again" / method)
        before, after = (read_checkpoint(str(path)) for path in (pruned, ended.checkpoint))
        first, second = (each.meta.provenance["pruning"] for each in (before, after))
        assert (second["of"], second["cuts"]) == (first["of"], first["cuts"] + 1)
        assert second["pruned_from"] == first["pruned_from"]
        assert second["remaining"] < first["remaining"]
    assert all(not torch.any(after.tensors[name][before.tensors[name] == 0]) for name in prunable(before.config))


def test_cutting_alone_needs_no_objective_and_no_corpus(corpus, trained, tmp_path):
    start = read_checkpoint(str(trained / "hubert" / "checkpoints" / "last"))
    bare = save_checkpoint(tmp_path / "bare", Checkpoint("bare", start.config, start.tensors))
    recipe = recipe_of(tmp_path / "r.toml", "hubert", tmp_path / "nowhere", trained, more="train = false\n")
    text = recipe.read_text()
    recipe.write_text(text.replace(str(trained / "hubert" / "checkpoints" / "last"), str(bare)))
    ended = run(recipe, tmp_path / "out")
    assert ended.update == 0
    folders = sorted((tmp_path / "out" / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["cut-0000", "cut-0001", "cut-0002", "cut-0003"]
    kept = [read_checkpoint(str(folder)) for folder in folders]
    assert [sum(each.config.heads) for each in kept] == [8, 6, 4, 2]
    assert [each.meta.provenance["pruning"]["remaining"] for each in kept] == [8, 6, 4, 2]
    by_hand = compress.remove_heads(start, compress.lowest_heads(start, 1))
    assert all(torch.equal(kept[1].tensors[name], tensor) for name, tensor in by_hand.tensors.items())
    assert len(read_events(tmp_path / "out" / "events.jsonl")) == 3
    with pytest.raises(InputError, match="holds a run"):
        run(recipe, tmp_path / "out")
    recipe.write_text(recipe.read_text().replace("train = false\n", ""))
    with pytest.raises(InputError, match=r"holds an encoder alone.*train = false"):
        run(recipe, tmp_path / "other")


def test_weights_cut_alone_are_those_of_the_api(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "weights", more="train = false\n")
    run(recipe, tmp_path / "out")
    start = read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last"))
    masks = compress.weight_masks(load_encoder(str(trained / "melhubert" / "checkpoints" / "last")), sparsity=0.5)
    cut = read_folder("x", tmp_path / "out" / "checkpoints" / "cut-0002")
    for name, mask in masks.items():
        torch.testing.assert_close(cut.tensors[name], start.tensors[name].where(mask, 0), rtol=0, atol=0)


def test_the_labels_are_those_that_the_objective_has_learnt(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained)
    run(recipe, tmp_path / "out")
    for name in ("centres.npy", "labels.npy"):
        made, before = (folder / "units" for folder in (tmp_path / "out", trained / "melhubert"))
        files = [sorted(path.name for path in folder.iterdir()) for folder in (made, before)]
        assert files[0] == files[1], name
    meta = [read_checkpoint(str(f / "checkpoints" / "last")).meta for f in (tmp_path / "out", trained / "melhubert")]
    assert meta[0].quantiser == meta[1].quantiser
    recipe.write_text(recipe.read_text() + "[units]\nclusters = 3\nshare = 1.0\npasses = 1\n")
    with pytest.raises(InputError, match="nothing says of which clusters"):
        run(recipe, tmp_path / "other")


def test_a_recipe_pretrains_what_it_prunes_where_it_is_not_there(corpus, tmp_path):
    write_recipe(tmp_path / "pre.toml", "melhubert", corpus, steps=2, keep=[])
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, tmp_path, section="at = [2]\n")
    text = recipe.read_text().splitlines()
    text[1] = 'pretrain = "pre.toml"'
    recipe.write_text("\n".join(text))
    ended = run(recipe, tmp_path / "out")
    assert ended.update == 4
    assert steps_of(tmp_path / "out" / "pretrained") == [2]
    before = (tmp_path / "out" / "pretrained" / "log.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a run"):
        run(recipe, tmp_path / "out")
    assert run(recipe, tmp_path / "out", resume=True).update == 4
    assert (tmp_path / "out" / "pretrained" / "log.jsonl").read_bytes() == before


def test_a_resumed_run_needs_its_start_no_more(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "heads", section="at = [1, 2]\n")
    bare = tmp_path / "start"
    save_checkpoint(bare, read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last")))
    units = f'[units]\nquantiser = "{trained / "melhubert" / "units"}"\n'
    text = recipe.read_text().replace(str(trained / "melhubert" / "checkpoints" / "last"), str(bare))
    recipe.write_text(text + units)
    run(recipe, tmp_path / "out")
    bare.rename(tmp_path / "elsewhere")
    assert run(recipe, tmp_path / "out", resume=True).update == 3


def test_a_recipe_prunes_another_model_by_another_criterion(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained)
    model = str(trained / "wav2vec2" / "checkpoints" / "last")
    out = ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(
        cli.app, ["prune", str(recipe), *out, "--model", model, "--criterion", "random", "--seed", "5"]
    )
    assert done.exit_code == 0, done.output
    last = read_checkpoint(str(tmp_path / "out" / "checkpoints" / "last"))
    assert last.config.family == "wav2vec2"
    said = last.meta.provenance["pruning"]
    assert (said["criterion"], said["seed"], said["pruned_from"]) == ("random", 5, load_encoder(model).sha256)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("", "name the checkpoint to prune"),
        ('[model]\nfamily = "hubert"\n', "name the checkpoint to prune"),
        ('[model]\ncheckpoint = "a"\npretrain = "b"\n', "one of the two"),
        ('[model]\ncheckpoint = "nowhere"\n', "nowhere"),
        ('[model]\npretrain = "nowhere.toml"\n', "cannot be read"),
    ],
)
def test_what_names_nothing_to_prune_is_refused(model, said, tmp_path):
    (tmp_path / "r.toml").write_text(model + '[data]\ntrain = "x"\n[prune]\nmethod = "heads"\n')
    with pytest.raises(InputError, match=said):
        run(tmp_path / "r.toml", tmp_path / "out")


def test_a_recipe_without_prune_is_for_another_verb(corpus, trained, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus)
    with pytest.raises(InputError, match="is for speechbias pretrain"):
        run(recipe, tmp_path / "out")
    pruning = recipe_of(tmp_path / "p.toml", "melhubert", corpus, trained)
    with pytest.raises(InputError, match="it is for speechbias prune"):
        pretrain(read_prune_recipe(pruning, tmp_path / "out"), tmp_path / "out")


def test_the_command_says_what_comes_next(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained)
    done = CliRunner().invoke(cli.app, ["prune", str(recipe), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "step 2: cut by l1, 6 of 8 heads are left" in done.output
    assert f"speechbias measure {tmp_path / 'out'}/checkpoints/* --stimuli" in done.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 8


@pytest.mark.parametrize("method", list(METHODS))
def test_two_ranks_cut_alike_and_one_goes_on(method, pair, corpus, trained, tmp_path):
    """Two ranks of one batch each are one process with both, to rounding, also where one of them goes on alone."""
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, method, steps=5)
    shared = recipe.read_text().replace("linear", "constant").replace("accumulate = 2", "accumulate = 1")
    recipe.write_text(shared)
    (update, told), second = pair.run(rank_processes.prune_alike, recipe, tmp_path / "two")
    assert update == 5
    assert second == (5, [])  # the first speaks for both
    assert all("1 of 3 cuts are not made" in warning for warning in told)
    longer, alone = tmp_path / "longer.toml", tmp_path / "alone.toml"
    longer.write_text(shared.replace("steps = 5", "steps = 8"))
    alone.write_text(longer.read_text().replace("accumulate = 1", "accumulate = 2"))
    run(longer, tmp_path / "two", resume=True)
    run(alone, tmp_path / "one")
    two, one = (read_events(tmp_path / name / "events.jsonl") for name in ("two", "one"))
    assert [(event.step, event.cut) for event in two] == [(event.step, event.cut) for event in one]
    ends = [read_checkpoint(str(tmp_path / name / "checkpoints" / "step-00000008")) for name in ("two", "one")]
    for name, tensor in ends[0].tensors.items():
        torch.testing.assert_close(tensor, ends[1].tensors[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", list(METHODS))
def test_records_on_the_way_are_those_of_the_checkpoints(method, corpus, trained, tmp_path):
    stimuli = write_test(tmp_path / "stimuli", clips=3)
    fast = ["--permutations", "500", "--resamples", "200", "--no-audit"]
    track = f'[track]\nstimuli = "{stimuli}"\npermutations = 500\nresamples = 200\n'
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, method, more=track)
    run(recipe, tmp_path / "run")
    tracked = tmp_path / "run" / "results.jsonl"
    before = tracked.read_bytes()
    folders = sorted(str(path) for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    command = ["measure", *folders, "--per-layer", *fast, "--stimuli", str(stimuli), "-o"]
    assert CliRunner().invoke(cli.app, [*command, str(tracked)]).exit_code == 0
    assert tracked.read_bytes() == before  # nothing was missing
    assert CliRunner().invoke(cli.app, [*command, str(tmp_path / "run" / "afresh.jsonl")]).exit_code == 0
    found, afresh = (read_results(tmp_path / "run" / name) for name in ("results.jsonl", "afresh.jsonl"))
    assert {result.method for result in found} == {method}
    assert [result.remaining for result in found if result.layer == "mean"][-1] < found[0].of
    found, afresh = (sorted(results, key=lambda each: (each.step, str(each.layer))) for results in (found, afresh))
    for mine, other in zip(found, afresh, strict=True):
        assert {**mine.to_json(), "vectors": 0} == {**other.to_json(), "vectors": 0}


def test_a_recipe_may_be_corrected_before_the_run_has_begun(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, section="at = [1]\n")
    recipe.write_text(recipe.read_text().replace("min_seconds = 0.0", "min_seconds = 50.0"))
    with pytest.raises(InputError, match="Relax the filter"):
        run(recipe, tmp_path / "out")
    recipe_of(tmp_path / "r.toml", "hubert", corpus, trained, section="at = [1, 3]\n")
    assert run(recipe, tmp_path / "out").update == 5
    assert [event.step for event in read_events(tmp_path / "out" / "events.jsonl")] == [1, 3]


def test_labels_of_other_centres_are_refused(corpus, trained, tmp_path):
    other = make_run_units(read_recipe(trained / "melhubert.toml", seed=9), tmp_path / "other").folder
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, more=f'[units]\nquantiser = "{other}"\n')
    with pytest.raises(InputError, match=r"has learnt other labels \(of centres"):
        run(recipe, tmp_path / "out")
    unknown = read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last"))
    save_checkpoint(tmp_path / "unknown", replace(unknown, meta=replace(unknown.meta, quantiser=None)))
    last = str(trained / "melhubert" / "checkpoints" / "last")
    recipe.write_text(recipe.read_text().replace(last, str(tmp_path / "unknown")))
    assert run(recipe, tmp_path / "unknown-out").update == 8  # the user said which
    recipe.write_text(recipe.read_text().partition("[units]")[0])
    with pytest.raises(InputError, match="nothing says of which clusters"):
        run(recipe, tmp_path / "unnamed")


def test_zeros_stay_zeros_whatever_else_is_cut(corpus, trained, tmp_path):
    """Weights, then heads with their moments, in one go or two."""
    sparse, out = tmp_path / "sparse", tmp_path / "heads"
    run(recipe_of(tmp_path / "w.toml", "melhubert", corpus, trained, "weights"), sparse)
    recipe = recipe_of(tmp_path / "h.toml", "melhubert", corpus, trained)
    last = str(trained / "melhubert" / "checkpoints" / "last")
    recipe.write_text(recipe.read_text().replace(last, str(sparse / "checkpoints" / "last")))
    ended = run(recipe, out)
    for step in (2, 8):
        checkpoint = read_checkpoint(str(out / "checkpoints" / f"step-{step:08d}"))
        values = torch.cat([checkpoint.tensors[name].flatten() for name in prunable(checkpoint.config)])
        assert 0.6 < float((values == 0).double().mean()) < 0.85
    said = read_checkpoint(str(ended.checkpoint)).meta.provenance["pruning"]
    assert (said["method"], said["remaining"], said["of"]) == ("heads", 2, 8)
    assert [each["method"] for each in said["earlier"]] == ["weights"]
    assert said["pruned_from"] == load_encoder(last).sha256  # the one that never was pruned
    shorter, again = tmp_path / "shorter.toml", tmp_path / "again"
    text = recipe.read_text().replace("[run]\n", "[run]\nsteps = 5\n").replace('"linear"', '"constant"')
    shorter.write_text(text)
    recipe.write_text(text.replace("steps = 5", "steps = 8"))
    run(recipe, tmp_path / "whole")
    run(shorter, again)
    run(recipe, again, resume=True)
    assert digest(again, 8) == digest(tmp_path / "whole", 8)


def test_of_several_processes_the_first_only_cuts(corpus, trained, tmp_path, monkeypatch):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, more="train = false\n")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(recipe, tmp_path / "out").update == 0
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("RANK", "0")
    run(recipe, tmp_path / "out")
    assert len(list((tmp_path / "out" / "checkpoints").iterdir())) == 4
    monkeypatch.delenv("WORLD_SIZE")
    recipe.write_text(recipe.read_text().replace("train = false\n", ""))
    with pytest.raises(InputError, match="holds cuts without training"):
        run(recipe, tmp_path / "out", resume=True)


def test_targets_that_a_run_does_not_reach_are_told(corpus, trained, tmp_path):
    section = "targets = [0.3, 0.6]\ncheck = 2\nlook_back = 2\ntolerance = 100.0\n"
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, "weights", section=section, steps=5)
    told = []
    run(recipe, tmp_path / "out", warn=told.append)
    assert [text for text in told if "1 of 2 targets are reached" in text]


def test_a_recipe_beside_a_model_is_that_of_its_run_only_in_a_run(corpus, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree((trained / "wav2vec2" / "checkpoints" / "last").resolve(), tmp_path / "models" / "mine")
    recipe_of(tmp_path / "recipe.toml", "wav2vec2", corpus, trained)
    read = read_prune_recipe("recipe.toml", tmp_path / "out", model="models/mine")
    assert read.family == "wav2vec2"


def test_what_was_only_cut_is_trained_on_with_the_labels_of_its_beginning(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, section="at = [1]\ntrain = false\n")
    cut = run(recipe, tmp_path / "cut").checkpoint
    recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, section="at = [1]\n")
    made = prune(read_prune_recipe(recipe, tmp_path / "out", model=str(cut)), tmp_path / "out")
    assert shapes(tmp_path / "out", made.update)[0] == 4
    start = read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last"))
    assert read_checkpoint(str(made.checkpoint)).meta.quantiser == start.meta.quantiser


def test_cutting_alone_leaves_a_run_that_trains_alone_and_begins_anew(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "wav2vec2", corpus, trained, section="at = [1]\n")
    run(recipe, tmp_path / "out")
    before = (tmp_path / "out" / "recipe.toml").read_bytes()
    recipe_of(tmp_path / "r.toml", "wav2vec2", corpus, trained, section="at = [1, 2]\ntrain = false\n")
    with pytest.raises(InputError, match="holds a run that trains"):
        run(recipe, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "recipe.toml").read_bytes() == before
    run(recipe, tmp_path / "cut")
    recipe.write_text(recipe.read_text().replace("at = [1, 2]", "at = [1]"))
    run(recipe, tmp_path / "cut", resume=True)
    assert sorted(p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()) == ["cut-0000", "cut-0001"]


def test_mel_statistics_of_a_recipe_go_into_what_is_only_cut(corpus, trained, tmp_path):
    start = read_checkpoint(str(trained / "melhubert" / "checkpoints" / "last"))
    save_checkpoint(tmp_path / "without", replace(start, meta=replace(start.meta, mel_stats=None)))
    stats = np.stack([np.full(40, 5.0), np.full(40, 2.0)])
    np.save(tmp_path / "stats.npy", stats)
    recipe = recipe_of(tmp_path / "r.toml", "melhubert", corpus, trained, section="at = [1]\ntrain = false\n")
    said = f'[model]\ncheckpoint = "{tmp_path / "without"}"\nmel_stats = "{tmp_path / "stats.npy"}"\n'
    recipe.write_text(said + recipe.read_text()[recipe.read_text().index("[data]") :])
    made = read_checkpoint(str(run(recipe, tmp_path / "out").checkpoint)).meta.mel_stats
    np.testing.assert_array_equal(np.asarray(made), stats)


def test_the_resolved_recipe_alone_makes_a_run_again_that_pretrained_first(corpus, tmp_path):
    write_recipe(tmp_path / "pre.toml", "wav2vec2", corpus, steps=2, keep=[])
    text = (tmp_path / "pre.toml").read_text()
    data = text[text.index("[data]") : text.index("[optim]")]
    (tmp_path / "r.toml").write_text(f'[model]\npretrain = "pre.toml"\n{data}[prune]\nmethod = "heads"\nat = [1]\n')
    run(tmp_path / "r.toml", tmp_path / "one")
    made = run(tmp_path / "one" / "recipe.toml", tmp_path / "two").update
    assert digest(tmp_path / "one", made) == digest(tmp_path / "two", made)
    assert run(tmp_path / "one" / "recipe.toml", tmp_path / "one", resume=True).update == made


def test_cuts_that_a_run_does_not_reach_are_named(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "wav2vec2", corpus, trained, section="at = [1, 2, 5]\n", steps=2)
    warnings = []
    run(recipe, tmp_path / "out", warn=warnings.append)
    assert [w for w in warnings if "cuts" in w] == [
        "2 of 3 cuts are not made: the first of them comes after update 2, and the run ends with 2 ([run] steps)"
    ]


def test_a_resumed_replay_goes_on_with_the_cuts_that_it_began_with(corpus, trained, tmp_path):
    recipe = recipe_of(tmp_path / "r.toml", "wav2vec2", corpus, trained)
    run(recipe, tmp_path / "first")
    events = tmp_path / "events.jsonl"
    events.write_bytes((tmp_path / "first" / "events.jsonl").read_bytes())
    recipe_of(tmp_path / "r.toml", "wav2vec2", corpus, trained, section=f'replay = "{events}"\n', steps=3, save=1)
    run(recipe, tmp_path / "out")
    events.unlink()
    recipe.write_text(recipe.read_text().replace("steps = 3", "steps = 8"))
    run(recipe, tmp_path / "out", resume=True)
    assert [event.step for event in read_events(tmp_path / "out" / "events.jsonl")] == [2, 4, 6]
    assert digest(tmp_path / "out", 8) == digest(tmp_path / "first", 8)
