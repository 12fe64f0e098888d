"""Dropout, LayerDrop and the slower front end: where they are, what they do in training, and that eval has none."""

import copy
from dataclasses import fields, replace

import pytest
import torch

import objectives
from speechbias.models.dropout import dropout
from speechbias.models.fingerprint import network_sha256
from speechbias.models.objectives import published_terms
from speechbias.models.regularisation import OFF, Regularisation, published_regularisation

FRAMES = (12, 20)
ALL = Regularisation(0.1, attention=0.2, activation=0.15, input=0.1, features=0.1, layerdrop=0.4)


def loss_of(model, batch, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(batch, update=0)


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_in_eval_mode_there_is_none_of_it(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    off = loss_of(model.eval(), batch).total
    sha256 = network_sha256(model.encoder)
    model.encoder.regularise(replace(ALL, feature_grad_mult=0.1))
    state = torch.get_rng_state()
    assert torch.equal(model(batch, update=0).total, off)
    assert torch.equal(model(batch, update=0).total, off)
    assert torch.equal(torch.get_rng_state(), state)
    assert network_sha256(model.encoder) == sha256


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_switched_off_training_draws_nothing(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    assert model.encoder.regularisation == OFF
    state = torch.get_rng_state()
    first = model(batch, update=0).total
    assert torch.equal(model(batch, update=0).total, first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_the_same_seed_gives_the_same_loss(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    model.encoder.regularise(ALL)
    first, again, other = (loss_of(model, batch, seed).total for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


USED = {
    "wav2vec2": {"dropout", "attention", "activation", "input", "features", "layerdrop"},
    "hubert": {"dropout", "attention", "activation", "input", "layerdrop"},  # it has no quantizer
    "melhubert": {"dropout", "attention", "activation", "input", "layerdrop"},
}


@pytest.mark.parametrize("name", sorted(USED["wav2vec2"]))
@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_each_of_them_acts_by_itself(family, name):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    off = model(batch, update=0).total
    model.encoder.regularise(Regularisation(**{name: 0.5}))
    changed = not torch.equal(loss_of(model, batch).total, off)
    assert changed == (name in USED[family])


@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_block_drops_where_fairseq_does(pre_norm):
    """Attention weights, attention's output, the inner activation, feed-forward's output: found by their masks."""
    model = objectives.made("melhubert", pre_norm=pre_norm)
    block = model.encoder.transformer.layers[0]
    x = torch.randn(1, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model.encoder.regularise(Regularisation(0.3, activation=0.4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        drawn = block(x, None)
        torch.manual_seed(3)
        block.eval()
        shown = block.attention_norm(x) if pre_norm else x
        mixed = block.attention(shown, shown, None)
        x1 = x + dropout(mixed, 0.3)
        x1 = x1 if pre_norm else block.attention_norm(x1)
        inner = dropout(torch.nn.functional.gelu(block.fc1(block.final_norm(x1) if pre_norm else x1)), 0.4)
        x2 = x1 + dropout(block.fc2(inner), 0.3)
        expected = x2 if pre_norm else block.final_norm(x2)
    torch.testing.assert_close(drawn, expected)


def test_attention_weights_are_dropped_and_the_others_scaled():
    attention = objectives.made("melhubert").encoder.transformer.layers[0].attention
    x = torch.randn(2, 30, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(30) < torch.tensor([[30], [11]])
    exact = attention.eval()(x, x, valid[:, None, None])
    attention.train().regularisation = Regularisation(attention=0.25)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = torch.stack([attention(x, x, valid[:, None, None]) for _ in range(4000)])
        behind = x.clone()
        behind[1, 11:] = 1e6
        torch.manual_seed(0)
        assert torch.equal(attention(behind, behind, valid[:, None, None])[:, :11], drawn[0][:, :11])
    error = (drawn.mean(0) - exact) / (drawn.std(0) / 4000**0.5)
    assert error.abs().max() < 5  # of standard errors
    assert drawn.std(0).min() > 1e-4


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_a_layer_left_out_passes_its_input_and_has_gradients_of_zero(family, monkeypatch):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    without = copy.deepcopy(model)
    del without.encoder.transformer.layers[1]
    expected = without(batch, update=0).total
    reference = objectives.gradients(without, expected)
    draws = iter([False, True, False])
    monkeypatch.setattr(type(model.encoder.transformer), "drops", lambda *_: next(draws))
    total = model(batch, update=0).total
    assert torch.equal(total, expected)
    gradients = objectives.gradients(model, total)
    left = {name for name in gradients if ".layers.1." in name}
    assert len(left) == 16
    assert all(gradients[name] is not None and not gradients[name].any() for name in left)
    shorter = {name.replace(".layers.2.", ".layers.1."): gradients[name] for name in gradients if name not in left}
    assert objectives.apart(shorter, reference) == 0


def test_a_frozen_layer_left_out_stays_without_a_gradient(monkeypatch):
    model, batch = objectives.made("melhubert"), objectives.batch_of("melhubert", FRAMES)
    layer = model.encoder.transformer.layers[0].requires_grad_(requires_grad=False)
    monkeypatch.setattr(type(model.encoder.transformer), "drops", lambda *_: True)
    model(batch, update=0).total.backward()
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_layers_are_left_out_as_often_as_it_says():
    transformer = objectives.made("melhubert").encoder.transformer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        share = sum(transformer.drops(0.2) for _ in range(4000)) / 4000
    assert share == pytest.approx(0.2, abs=0.03)
    assert not transformer.eval().drops(0.999)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("factor", [0.1, 0.0])
def test_the_gradient_of_the_front_end_is_scaled_and_no_other(family, factor):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    loss = model(batch, update=0)
    whole = objectives.gradients(model, loss.total)
    model.encoder.regularise(Regularisation(feature_grad_mult=factor))
    scaled_loss = model(batch, update=0)
    assert torch.equal(scaled_loss.total, loss.total)
    scaled = objectives.gradients(model, scaled_loss.total)
    for name, gradient in whole.items():
        if not name.startswith("encoder.frontend"):
            assert torch.equal(scaled[name], gradient)
        elif factor:
            torch.testing.assert_close(scaled[name], factor * gradient, rtol=1e-12, atol=1e-14)
        else:
            assert scaled[name] is None


def test_published_values():
    base = published_regularisation("wav2vec2", "base")
    assert base == published_regularisation("hubert", "slim") == published_regularisation("hubert", "base")
    assert [getattr(base, field.name) for field in fields(base)] == [0.1, 0.1, 0.0, 0.1, 0.1, 0.05, 0.1]
    mel = published_regularisation("melhubert", "small")
    assert [getattr(mel, field.name) for field in fields(mel)] == [0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 1.0]
    assert published_regularisation("hubert", "large") == OFF
    assert published_regularisation("wav2vec2", "large") == replace(base, layerdrop=0.2)
    assert published_terms("melhubert", "base") is None
    assert published_terms("hubert", "base") == objectives.made("hubert").terms
    assert published_terms("wav2vec2", "base") == objectives.made("wav2vec2").terms


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"layerdrop": -0.1}, {"feature_grad_mult": -1.0}])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Regularisation(**wrong)
