"""Tracking: what it measures is what a checkpoint gives, and whoever trains notices nothing."""

# ruff: noqa: NPY002 - the generators of whoever trains

import hashlib
import random
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

import speechbias as sb
from objectives import FAMILIES, SETTINGS, made
from recordings import write_test
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.errors import InputError
from speechbias.models.masked import Mask, plain_tensors
from speechbias.models.network import Network
from speechbias.results import read_results
from speechbias.survey import Survey
from speechbias.tracking.undisturbed import undisturbed

FAST = {"permutations": 500, "resamples": 200}
RUN = {"name": "first", "recipe": "0123", "seed": 7}
STATS = np.stack([np.full(40, 12.0), np.full(40, 3.0)])


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    return write_test(tmp_path_factory.mktemp("stimuli"), clips=4)


def digest(module):
    """SHA-256 of every tensor of a module."""
    return {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in module.state_dict().items()}


class Small(nn.Module):
    """Somebody else's model: two states, dropout, batch norm that would move, one part frozen in eval mode."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 8, 400, 320)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))

    def forward(self, waves):
        first = self.norm(self.first(waves[:, None])).transpose(1, 2)
        return first, first + self.second(first)


def states_of(module, wave):
    return module(torch.from_numpy(wave)[None])


def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small().train()
    model.norm.eval()
    return model


def train(model, each, *, steps=4):
    """A plain loop that draws from every generator there is; ``each`` is called after every update."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    each(0, model)
    for step in range(1, steps + 1):
        waves = torch.randn(3, 1600) * random.random() * np.random.rand()
        model(waves)[1].square().mean().backward()
        if step == 2:
            each(-1, model)  # gradients are there
        optimiser.step()
        optimiser.zero_grad()
        each(step, model)
    return digest(model), random.random(), np.random.rand(), torch.rand(1).item()


@pytest.mark.parametrize("way", ["hidden_states", "pooled"])
def test_a_loop_with_a_tracker_is_the_loop_without(way, stimuli, tmp_path):
    reads = {"hidden_states": states_of, "pooled": lambda *a: [s[0].mean(0) for s in states_of(*a)]}
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", name="small", **{way: reads[way]}, **FAST)
    flags = []

    def track(step, model):
        before = [p.grad is None for p in model.parameters()]
        assert len(tracker(step, model)) == 3
        assert [p.grad is None for p in model.parameters()] == before
        flags.append([part.training for part in model.modules()])

    assert train(small(), track) == train(small(), lambda *_: None)
    assert all(each == [True, True, False, True, True, True] for each in flags)
    results = read_results(tmp_path / "r.jsonl")
    assert [r.step for r in results if r.layer == "mean"] == [0, 1, -1, 2, 3, 4]
    assert {(r.model, r.family, r.num_states, r.dim) for r in results} == {("small", "given", 2, 8)}
    assert (
        len({r.model_sha256 for r in results}) == 6 - 1
    )  # before an update the weights are those of the update before


def test_both_ways_to_read_a_module_give_the_same(stimuli, tmp_path):
    model = small()
    first = sb.BiasTracker(stimuli, tmp_path / "a.jsonl", hidden_states=states_of, **FAST)(0, model)
    model.eval()
    arrays = {}

    def read(module, wave):
        arrays[len(wave)] = [state[0].mean(0).numpy() for state in module(torch.from_numpy(wave)[None])]
        return arrays[len(wave)]

    second = sb.BiasTracker(stimuli, tmp_path / "b.jsonl", pooled=read, **FAST)(0, model)
    assert [r.d for r in first] == pytest.approx([r.d for r in second], abs=1e-5)
    assert arrays


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_tracked_is_what_a_checkpoint_gives(family, stimuli, tmp_path):
    model = made(family, dtype=torch.float32)
    stats = STATS if family == "melhubert" else None
    tracker = sb.BiasTracker(
        stimuli, tmp_path / "tracked" / "r.jsonl", name="step-{step:08d}", mel_stats=stats, run=RUN, **FAST
    )
    for step in (3, 5):  # the second time with the mel frames that are kept
        if step == 5:
            with torch.no_grad():
                model.encoder.transformer.layers[0].fc1.weight.add_(0.01)
        tracker(step, model)
        meta = Meta(step=step, mel_stats=stats, provenance={"run": RUN})
        content = of_objective("x", model, SETTINGS[family], meta=meta)
        save_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}", content)
    folders = [str(path) for path in (tmp_path / "checkpoints").iterdir()]
    survey = Survey(
        folders, [sb.read_stimuli(stimuli)], tmp_path / "measured" / "r.jsonl", options=FAST, per_layer=True
    )
    assert len(list(survey.measure())) == 10
    assert (tmp_path / "tracked" / "r.jsonl").read_bytes() == (tmp_path / "measured" / "r.jsonl").read_bytes()
    assert model.training
    first, second = (
        {r.d for r in read_results(tmp_path / "tracked" / "r.jsonl") if r.step == step} for step in (3, 5)
    )
    assert first != second


def pruning(method, remaining, of):
    return {
        "method": method, "criterion": "l1", "seed": None, "cuts": 1, "remaining": remaining, "of": of,
        "pruned_from": "0" * 64,
    }  # fmt: skip


def test_a_pruned_model_is_tracked_as_its_checkpoint_is_measured(stimuli, tmp_path):
    model = made("hubert", dtype=torch.float32)
    config = model.encoder.config
    layers = model.encoder.transformer.layers
    whole = sum(tensor.numel() for tensor in model.encoder.state_dict().values())
    parts = [part for layer in layers for part in (layer.fc1, layer.fc2)]
    values = sum(part.weight.numel() for part in parts)
    said = {
        1: pruning("heads", sum(config.heads), sum(config.heads) + 2),
        2: pruning("rows", sum(config.ffn), sum(config.ffn) + 8 * len(layers)),
        3: pruning("weights", values - values // 2, values),
    }
    tracker = sb.BiasTracker(stimuli, tmp_path / "tracked" / "r.jsonl", name="step-{step:08d}", run=RUN, **FAST)
    for step, pruned in said.items():
        if step == 3:
            for part in parts:
                kept = torch.arange(part.weight.numel()).reshape(part.weight.shape) % 2 == 0
                register_parametrization(part, "weight", Mask(kept))
        tracker.track(step, model, pruning=pruned)
        content = of_objective("x", made("hubert", dtype=torch.float32), SETTINGS["hubert"])
        tensors = plain_tensors(model.encoder)
        assert tensors.keys() == content.tensors.keys()
        content = replace(content, tensors=tensors, meta=Meta(step=step, provenance={"run": RUN, "pruning": pruned}))
        save_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}", content)
    assert (tensors["transformer.layers.0.fc1.weight"] == 0).float().mean() == 0.5
    folders = [str(path) for path in (tmp_path / "checkpoints").iterdir()]
    survey = Survey(
        folders, [sb.read_stimuli(stimuli)], tmp_path / "measured" / "r.jsonl", options=FAST, per_layer=True
    )
    list(survey.measure())
    assert (tmp_path / "tracked" / "r.jsonl").read_bytes() == (tmp_path / "measured" / "r.jsonl").read_bytes()
    first, second, third = (r for r in read_results(tmp_path / "tracked" / "r.jsonl") if r.layer == "mean")
    assert [(r.method, r.remaining, r.parameters) for r in (first, second, third)] == [
        ("heads", sum(config.heads), whole),
        ("rows", sum(config.ffn) / len(layers), whole),
        ("weights", values - values // 2, whole - values // 2),
    ]
    assert third.parameters_removed == values // 2
    assert second.of == pytest.approx(second.remaining + 8)
    assert first.d == second.d != third.d
    assert {first.criterion, first.pruned_from} == {"l1", "0" * 64}


def test_what_no_checkpoint_would_say_of_its_pruning_is_a_mistake_in_the_loop(stimuli, tmp_path):
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", **FAST)
    with pytest.raises(ValueError, match="no checkpoint says"):
        tracker(0, made("hubert", dtype=torch.float32), pruning={"method": "heads", "remaining": 3})


def test_a_network_is_measured_as_the_objective_around_it(stimuli, tmp_path):
    model = made("hubert", dtype=torch.float32)
    compiled = torch.compile(model.encoder, backend="eager")
    found = [
        sb.BiasTracker(stimuli, tmp_path / str(n) / "r.jsonl", **FAST)(0, module)
        for n, module in enumerate((model, model.encoder, compiled))
    ]
    assert found[0] == found[1] == found[2]
    assert isinstance(model.encoder, Network)


def test_the_states_of_all_generators_are_put_back_after_an_error():
    model = small()
    drawn = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()[1].copy()
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        random.random()
        np.random.rand()
        torch.rand(1)
        raise ZeroDivisionError
    assert [part.training for part in model.modules()] == [True, True, False, True, True, True]
    assert random.getstate() == drawn[0]
    assert torch.equal(torch.get_rng_state(), drawn[1])
    assert np.array_equal(np.random.get_state()[1], numpy)
    assert torch.is_grad_enabled()


def test_steps_that_are_due(stimuli, tmp_path):
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", every=10, steps=[3], hidden_states=states_of, **FAST)
    model = small()
    tracked = [step for step in [0, 1, 3, 3, 9, 10, 10, 20] if tracker(step, model)]
    assert tracked == [0, 3, 10, 20]
    assert tracker.cost.times == 4
    assert 0 < tracker.cost.share <= 1
    assert "bias tracked 4 times" in str(tracker.cost)


def test_later_steps_of_the_same_run_are_taken_back_and_nothing_else(stimuli, tmp_path):
    out = tmp_path / "r.jsonl"
    model = small()
    trackers = {
        name: sb.BiasTracker(stimuli, out, name=name, hidden_states=states_of, per_layer=False, **FAST)
        for name in "ab"
    }
    for step in (0, 5, 10):
        for tracker in trackers.values():
            tracker(step, model)
    before = read_results(out)
    with out.open("a") as file:
        file.write('{"schema": 1, "kind": "per", "step": 10}\n')
    assert trackers["a"].take_back(5) == 1
    assert read_results(out) == [r for r in before if (r.model, r.step) != ("a", 10)]
    assert '"kind": "per"' in out.read_text()
    assert (trackers["a"].holds(5), trackers["a"].holds(10), trackers["b"].holds(10)) == (True, False, True)
    trackers["a"](10, model)
    assert sorted((r.model, r.step) for r in read_results(out)) == sorted((r.model, r.step) for r in before)


def tracker_of(stimuli, out, **changes):
    return sb.BiasTracker(stimuli, out, name="step-{step}", run=RUN, hidden_states=states_of, **{**FAST, **changes})


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"permutations": 400}, {"confidence": 0.9}, {"alternative": "greater"}, {"ddof": 0}]
)
def test_records_with_other_options_are_not_those_of_a_tracker(changes, stimuli, tmp_path):
    out, model = tmp_path / "r.jsonl", small()
    tracker_of(stimuli, out)(5, model)
    assert tracker_of(stimuli, out).holds(5)
    other = tracker_of(stimuli, out, **changes)
    assert not other.holds(5)
    assert len(other(5, model)) == 3
    assert other.holds(5)
    assert tracker_of(stimuli, out).holds(5)  # both are there, as `measure` would leave them


def test_records_of_other_stimuli_and_layers_are_not_those_of_a_tracker(tmp_path):
    stimuli, out, model = write_test(tmp_path, clips=4), tmp_path / "r.jsonl", small()
    tracker_of(stimuli, out, per_layer=False)(5, model)
    assert tracker_of(stimuli, out, per_layer=False).holds(5)
    assert not tracker_of(stimuli, out).holds(5)
    tracker_of(stimuli, out)(5, model)
    assert tracker_of(stimuli, out, per_layer=False).holds(5)
    lines = stimuli.read_text().splitlines()
    stimuli.write_text("\n".join(lines[:1] + lines[2:]) + "\n")  # one clip of X less
    changed = tracker_of(stimuli, out)
    assert not changed.holds(5)
    changed(5, model)
    assert len({r.stimuli_sha256 for r in read_results(out)}) == 2
    assert changed.holds(5)


def test_later_records_of_tests_that_are_tracked_no_more_are_taken_back_too(stimuli, tmp_path):
    age = write_test(tmp_path, name="age", clips=4)
    for run, left in ((RUN, {("age", 5), ("gender", 5)}), (None, {("age", 5), ("age", 10), ("gender", 5)})):
        out = tmp_path / str(len(left)) / "r.jsonl"
        both = sb.BiasTracker([age, stimuli], out, run=run, hidden_states=states_of, per_layer=False, **FAST)
        for step in (5, 10):
            both(step, small())
        one = sb.BiasTracker(stimuli, out, run=run, hidden_states=states_of, per_layer=False, **FAST)
        one.take_back(5)  # without a run, they may be somebody else's
        assert {(r.test, r.step) for r in read_results(out)} == left
        assert one.holds(5)


@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_trainer_of_transformers(stimuli, tmp_path):
    """The loop itself, with a model of theirs: it is tracked, and its weights are those without a tracker."""
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
    transformers = pytest.importorskip("transformers")
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=8, mask_time_prob=0.0,
    )  # fmt: skip
    data = [{"input_values": torch.randn(3200).tolist(), "labels": [1, 2]} for _ in range(4)]

    def trained(name, callbacks):
        torch.manual_seed(0)
        model = transformers.HubertForCTC(config)
        args = transformers.TrainingArguments(
            str(tmp_path / name),
            max_steps=4,
            per_device_train_batch_size=1,
            use_cpu=True,
            report_to=[],
            dataloader_pin_memory=False,
            save_steps=100,
        )
        transformers.Trainer(model, args, train_dataset=data, callbacks=callbacks).train()
        return digest(model)

    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", every=2, per_layer=False, **FAST)
    assert trained("tracked", [tracker.trainer_callback()]) == trained("plain", [])
    assert steps_in(tmp_path / "r.jsonl") == [0, 2, 4]


def test_a_model_that_has_collapsed_stops_no_training(stimuli, tmp_path):
    told = []
    tracker = sb.BiasTracker(
        stimuli, tmp_path / "r.jsonl", pooled=lambda *_: torch.ones(2, 4), warn=told.append, **FAST
    )
    assert tracker(5, None) == []
    assert told
    assert all(text.startswith("step 5 is not tracked: ") for text in told)
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", pooled=lambda *_: np.full((2, 4), np.nan), **FAST)
    with pytest.warns(UserWarning, match="non-finite"):
        tracker(5, None)


def test_what_is_wrong_from_the_start_is_refused(stimuli, tmp_path):
    out = tmp_path / "r.jsonl"
    for options, said in (
        ({"every": 0}, "every is 0"),
        ({"states": "all"}, "states 'all'"),
        ({"permutations": 0}, "permutations"),
        ({"design": "pair"}, "pair"),
    ):
        with pytest.raises(InputError, match=said):
            sb.BiasTracker(stimuli, out, **options)
    with pytest.raises(InputError, match="no test"):
        sb.BiasTracker([], out)
    with pytest.raises(InputError, match="a Linear is no network of ours"):
        sb.BiasTracker(stimuli, out, **FAST)(0, nn.Linear(2, 2))
    with pytest.raises(InputError, match="model_type 'bert'"):
        sb.BiasTracker(stimuli, out, **FAST)(0, SimpleNamespace(config=SimpleNamespace(model_type="bert")))
    with pytest.warns(UserWarning, match=r"\(states, frames, dim\)"):
        sb.BiasTracker(stimuli, out, hidden_states=lambda *_: torch.ones(3, 4), **FAST)(0, None)
    with pytest.warns(UserWarning, match="make the tracker with sample_rate=16000"):
        sb.BiasTracker(stimuli, out, sample_rate=8000, **FAST)(0, made("hubert", dtype=torch.float32))
    stimuli.with_name("clips").joinpath("gender-X0.wav").rename(stimuli.with_name("away.wav"))
    try:
        with pytest.raises(InputError, match="row 2"):
            sb.BiasTracker(stimuli, out)
    finally:
        stimuli.with_name("away.wav").rename(stimuli.with_name("clips") / "gender-X0.wav")


def test_a_callback_of_transformers(stimuli, tmp_path):
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", every=2, hidden_states=states_of, per_layer=False, **FAST)
    callback, model = tracker.trainer_callback(), small()
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    callback.on_train_begin(None, state, None, model=model)
    for state.global_step in (1, 2, 3, 4):
        callback.on_step_end(None, state, None, model=model)
    assert steps_in(tmp_path / "r.jsonl") == [0, 2, 4]
    state.global_step = 3  # a run that was killed after 4 goes on from 3
    again = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", every=2, hidden_states=states_of, per_layer=False, **FAST)
    callback = again.trainer_callback()
    callback.on_train_begin(None, state, None, model=model)
    assert steps_in(tmp_path / "r.jsonl") == [0, 2]
    other = SimpleNamespace(global_step=4, is_world_process_zero=False)
    callback.on_step_end(None, other, None, model=model)
    assert steps_in(tmp_path / "r.jsonl") == [0, 2]
    state.global_step = 4
    callback.on_step_end(None, state, None, model=model)
    assert steps_in(tmp_path / "r.jsonl") == [0, 2, 4]


def steps_in(path):
    return [r.step for r in read_results(path)]


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_a_callback_of_lightning(package, stimuli, tmp_path, monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    tracker = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", every=2, hidden_states=states_of, per_layer=False, **FAST)
    with pytest.raises(InputError, match="pip install lightning"):
        tracker.lightning_callback()
    stub = ModuleType(package)
    stub.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, package.split(".")[0], ModuleType(package.split(".")[0]))
    monkeypatch.setitem(sys.modules, package, stub)
    callback = tracker.lightning_callback(module=lambda pl: pl.inner)
    assert isinstance(callback, stub.Callback)
    lightning_module = SimpleNamespace(inner=small())
    trainer = SimpleNamespace(global_step=0, is_global_zero=True)
    callback.on_train_start(trainer, lightning_module)
    for trainer.global_step in (1, 1, 2, 2, 3):  # two batches to an update
        callback.on_train_batch_end(trainer, lightning_module, None, None, 0)
    trainer.global_step, trainer.is_global_zero = 4, False
    callback.on_train_batch_end(trainer, lightning_module, None, None, 0)
    assert steps_in(tmp_path / "r.jsonl") == [0, 2]
