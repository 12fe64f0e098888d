"""One update: what it changes, what it leaves alone, and that it is a function of weights, batches and seed."""

from dataclasses import replace

import pytest
import torch

from objectives import FAMILIES, batch_of, made, utterance
from speechbias.models.batch import Batch
from speechbias.models.regularisation import Regularisation
from speechbias.training.optim import clip_gradients, learning_rate, make_optimiser
from speechbias.training.recipe_sections import OptimSection
from speechbias.training.step import Trainer, seeded

OPTIM = OptimSection(lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, warmup=4, schedule="linear", clip=0.0)
NOISY = Regularisation(dropout=0.2, attention=0.2, input=0.1, features=0.1, layerdrop=0.3)


def trainer(family, *, seed=0, clip=0.0, regularisation=None, precision="float32", rate=lambda _: 1e-2, dtype=None):
    model = made(family, dtype=dtype or torch.float32)
    if regularisation:
        model.encoder.regularise(regularisation)
    return Trainer(model, make_optimiser(model, OPTIM), rate=rate, clip=clip, precision=precision, seed=seed)


def batches(family, count=3, dtype=torch.float32):
    return [batch_of(family, (30, 22), seed=number, dtype=dtype) for number in range(count)]


def weights(trained):
    return {name: tensor.clone() for name, tensor in trained.objective.state_dict().items()}


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_equals_one_written_out(family):
    ours, plain = trainer(family, dtype=torch.float64), made(family, dtype=torch.float64)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    for update, batch in enumerate(batches(family, dtype=torch.float64)):
        report = ours.step([batch])
        loss = plain(batch, update=update)
        (loss.total / batch.masked).backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()]).norm()
        assert report.gradient == pytest.approx(float(norm), rel=1e-5)
        optimiser.step()
        optimiser.zero_grad()
        assert report.loss == pytest.approx(loss.total.item() / batch.masked, rel=1e-6)
        assert report.update == ours.update == update + 1
        assert not report.skipped
        for name, part in loss.parts.items():
            assert report.parts[name] == pytest.approx(float(part) / batch.masked, rel=1e-5, abs=1e-12)
    for name, tensor in plain.state_dict().items():
        if not name.endswith("k_proj.bias"):  # its gradient is rounding, and Adam makes all gradients equally large
            torch.testing.assert_close(ours.objective.state_dict()[name], tensor, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_how_an_update_is_cut_into_batches_does_not_matter(family):
    whole = batch_of(family, (31, 22), dtype=torch.float32)
    rows = [utterance(whole, row, frames) for row, frames in enumerate((31, 22))]
    one, two = trainer(family), trainer(family)
    if family == "wav2vec2":  # codes are as diverse as they are in a batch
        for each in (one, two):
            each.objective.terms = replace(each.objective.terms, diversity=0.0)
    first, second = one.step([whole]), two.step(rows)
    assert first.masked == second.masked == whole.masked
    assert first.loss == pytest.approx(second.loss, rel=1e-5)
    assert first.gradient == pytest.approx(second.gradient, rel=1e-4)
    assert first.parts["correct"] == pytest.approx(second.parts["correct"])


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_a_function_of_seed_and_update(family):
    first, again, other = (trainer(family, seed=seed, regularisation=NOISY) for seed in (1, 1, 2))
    for batch in batches(family):
        first.step([batch])
        torch.rand(17)  # somebody else's draws
        again.step([batch])
        other.step([batch])
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_two_updates_do_not_share_their_dropout():
    trained = trainer("melhubert", regularisation=NOISY, rate=lambda _: 0.0)
    batch = batches("melhubert", 1)[0]
    assert trained.step([batch]).loss != trained.step([batch]).loss


def test_a_step_leaves_the_callers_random_numbers_alone():
    trained = trainer("wav2vec2", regularisation=NOISY)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trained.step(batches("wav2vec2", 1))
    assert torch.equal(torch.rand(3), wanted)


def test_seeded_puts_back_what_was_there_and_depends_on_the_whole_key():
    before = torch.random.get_rng_state()
    drawn = []
    for key in ((0, 1), (0, 1), (1, 0), (0, 1, 0)):
        with seeded(*key):
            drawn.append(float(torch.rand(())))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_all_batches_of_an_update_leave_out_the_same_layers_and_have_dropout_of_their_own():
    """A batch that comes twice: without dropout it is learnt twice alike, and updates differ."""
    batch = batch_of("melhubert", (30, 22), dtype=torch.float32)
    left_out = Regularisation(layerdrop=0.4)
    once, twice = (trainer("melhubert", regularisation=left_out, rate=lambda _: 0.0) for _ in range(2))
    losses = []
    for _ in range(6):
        losses.append(once.step([batch]).loss)
        assert twice.step([batch, batch]).loss == pytest.approx(losses[-1], rel=1e-6)
    assert len(set(losses)) > 1
    once, twice = (trainer("melhubert", regularisation=NOISY) for _ in range(2))
    assert twice.step([batch, batch]).loss != pytest.approx(once.step([batch]).loss, rel=1e-6)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_update_without_a_finite_gradient_changes_nothing_and_counts(poison):
    trained = trainer("hubert")
    trained.step(batches("hubert", 1))
    before = weights(trained)
    good = batches("hubert", 1)[0]
    bad = Batch(good.inputs.clone(), good.lengths, good.mask, good.labels)
    bad.inputs[0, 40] = poison
    report = trained.step([good, bad])
    assert report.skipped
    assert report.update == trained.update == 2
    assert same(weights(trained), before)
    after = trained.step([good])  # nothing of the bad gradient is left
    clean = trainer("hubert")
    clean.step(batches("hubert", 1))
    clean.update = 2
    assert clean.step([good]) == after


def test_bfloat16_computes_coarsely_and_keeps_weights_in_float32():
    exact, coarse = trainer("melhubert"), trainer("melhubert", precision="bfloat16")
    batch = batches("melhubert", 1)[0]
    first, second = exact.step([batch]), coarse.step([batch])
    assert first.loss != second.loss
    assert first.loss == pytest.approx(second.loss, rel=0.02)
    assert {tensor.dtype for tensor in coarse.objective.state_dict().values()} == {torch.float32}


def test_the_rate_is_used_and_reported():
    trained = trainer("melhubert", rate=lambda update: 0.0 if update == 0 else 1e-3)
    before = weights(trained)
    assert trained.step(batches("melhubert", 1)).lr == 0.0
    assert same(weights(trained), before)
    assert trained.step(batches("melhubert", 1)).lr == 1e-3
    assert not same(weights(trained), before)


def test_learning_rate_grows_and_falls_in_straight_lines():
    rates = [learning_rate(update, OPTIM, steps=14) for update in range(15)]
    assert rates[:5] == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[4:] == pytest.approx([0.01 * left / 10 for left in range(10, -1, -1)])


def test_a_constant_learning_rate_stays_at_its_peak():
    constant = replace(OPTIM, schedule="constant")
    assert [learning_rate(update, constant, steps=5) for update in (2, 4, 5, 10**6)] == [0.005, 0.01, 0.01, 0.01]
    assert learning_rate(0, replace(constant, warmup=0), steps=5) == 0.01


@pytest.mark.parametrize(("clip", "after"), [(0.0, 5.0), (10.0, 5.0), (2.0, 2.0)])
def test_clipping_bounds_the_norm_of_all_gradients_together_and_0_is_off(clip, after):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, clip) == pytest.approx(5.0)
    norm = torch.cat([parameter.grad for parameter in parameters]).norm()
    assert float(norm) == pytest.approx(after, rel=1e-5)


def test_the_optimiser_leaves_out_what_is_not_trained():
    model = made("wav2vec2", dtype=torch.float32)
    model.encoder.frontend.requires_grad_(requires_grad=False)
    held = {id(parameter) for group in make_optimiser(model, OPTIM).param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert len(held) < len(list(model.parameters()))
