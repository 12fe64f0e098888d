"""The gradient of d by heads and rows: against finite differences, one backward pass, and real removals."""

import copy
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrize import register_parametrization

import speechbias as sb
from objectives import FAMILIES, made
from recordings import read_rows, write_csv, write_test
from speechbias.compress.criteria import head_scores, row_scores
from speechbias.compress.influence import balanced, bias_scores, measure_influence
from speechbias.compress.surgery import remove_heads, remove_rows
from speechbias.errors import InputError
from speechbias.models.conventions import at_points, state_points
from speechbias.models.freeze import freeze
from speechbias.models.inputs import Inputs
from speechbias.models.masked import Mask
from speechbias.speat import association
from speechbias.stimuli import read_stimuli
from speechbias.tracking.clips import Clips

STATS = np.stack([np.full(40, 12.0), np.full(40, 3.0)])
SMALL = {"heads": (4, 2, 3), "ffn": (5, 3, 4)}


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    return write_test(tmp_path_factory.mktemp("stimuli"), clips=3)


@pytest.fixture(scope="module")
def clips(stimuli):
    return Clips([read_stimuli(stimuli)])


def stats_of(family):
    return STATS if family == "melhubert" else None


def encoder_of(family, **changes):
    """A small network in float64, in eval mode, in which heads and rows count."""
    network = made(family, **{**SMALL, **changes}).encoder.eval().requires_grad_(requires_grad=False)
    for weight in outgoing(network, "heads") + outgoing(network, "rows"):
        weight.mul_(20)
    return network


def embeddings(network, clips, test, states="s3prl"):
    """(stimuli, dim) of a test, by the slow way: every state kept, then averaged."""
    points = state_points("x", network.config, states)
    inputs = Inputs("x", network.config.frontend, stats_of(network.config.family))
    rows = []
    for clip in test.stimuli:
        kept = [None] * len(points)
        given = torch.tensor(inputs(clips.waves[clips.check.facts[clip.path].sha256]), dtype=torch.float64)
        network(given[None], read=at_points(points, kept.__setitem__))
        rows.append(torch.stack([state[0].mean(0) for state in kept]).mean(0))
    return torch.stack(rows)


def d_of(network, clips, test, states="s3prl"):
    ends = np.cumsum([len(members) for members in test.sets.values()])[:-1]
    return sb.effect_size(*np.split(embeddings(network, clips, test, states).detach().numpy(), ends))


def outgoing(network, what):
    """Per layer, views (dim, units, size) of the weights that go out of the units."""
    views = []
    for layer, block in enumerate(network.transformer.layers):
        linear = block.attention.out_proj if what == "heads" else block.fc2
        units = (network.config.heads if what == "heads" else network.config.ffn)[layer]
        views.append(linear.weight.view(linear.out_features, units, -1))
    return views


def differences(network, clips, test, what, *, states="s3prl", eps=1e-5):
    """dd/dgate by central differences: the outgoing weights of one unit after the other made larger and smaller."""
    found = []
    for weight in outgoing(network, what):
        layer = []
        for unit in range(weight.shape[1]):
            before, ds = weight[:, unit].clone(), []
            for sign in (1, -1):
                weight[:, unit] = (1 + sign * eps) * before
                ds.append(d_of(network, clips, test, states))
            weight[:, unit] = before
            layer.append((ds[0] - ds[1]) / (2 * eps))
        found.append(np.array(layer))
    return found


@pytest.mark.parametrize(
    ("family", "states", "changes"),
    [(family, "s3prl", {}) for family in FAMILIES]
    + [("hubert", "s3prl", {"pre_norm": True}), ("wav2vec2", "hf", {"pre_norm": True}), ("hubert", "speat-2023", {})],
)
def test_every_gate_agrees_with_central_differences(family, states, changes, clips):
    network, test = encoder_of(family, **changes), clips.tests[0]
    (found,) = measure_influence(network, clips, states=states, mel_stats=stats_of(family))
    assert found.d == pytest.approx(d_of(network, clips, test, states), rel=1e-10)
    for what in ("heads", "rows"):
        for ours, theirs in zip(
            getattr(found, what), differences(network, clips, test, what, states=states), strict=True
        ):
            assert np.abs(theirs).max() > 1e-3
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_passes_are_one_backward_pass_of_gradient_times_weight(family, clips):
    network, test = encoder_of(family), clips.tests[0]
    (found,) = measure_influence(network, clips, mel_stats=stats_of(family))
    weights = [
        linear.weight.requires_grad_()
        for block in network.transformer.layers
        for linear in (block.attention.out_proj, block.fc2)
    ]
    X, Y, A, B = embeddings(network, clips, test).split([len(members) for members in test.sets.values()])
    s = association(torch.cat([X, Y]), A, B)
    d = (s[: len(X)].mean() - s[len(X) :].mean()) / s.std()
    products = [gradient * weight for gradient, weight in zip(torch.autograd.grad(d, weights), weights, strict=True)]
    for layer, (heads, rows) in enumerate(zip(products[::2], products[1::2], strict=True)):
        by_head = heads.sum(0).view(SMALL["heads"][layer], -1).sum(1)
        np.testing.assert_allclose(found.heads[layer], by_head.detach(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.rows[layer], rows.sum(0).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("what", "remove"), [("heads", remove_heads), ("rows", remove_rows)])
def test_a_small_unit_really_removed_changes_the_size_of_d_as_foretold(what, remove, swapped, clips):
    test = clips.tests[0]
    if swapped:  # the sign of d changes, what its size owes to a unit does not
        test = replace(test, X=test.Y, Y=test.X)
        clips = copy.copy(clips)
        clips.check = replace(clips.check, sets=(test,))
    network = encoder_of("hubert")
    for weight in outgoing(network, what):
        weight[:, 1] *= 1e-4
    (found,) = measure_influence(network, clips)
    assert (found.d > 0) is not swapped or found.d * d_of(network, clips, test) > 0
    for layer, foretold in enumerate(found.of_removal(what)):
        after = d_of(remove(network, {layer: [1]}), clips, test)
        assert abs(after) - abs(found.d) == pytest.approx(foretold[1], rel=1e-2)


def test_the_sign_of_a_test_turns_d_and_not_what_its_size_owes_to_a_unit(clips):
    test, network = clips.tests[0], encoder_of("wav2vec2")
    turned = copy.copy(clips)
    turned.check = replace(clips.check, sets=(replace(test, A=test.B, B=test.A),))
    (one,), (other,) = measure_influence(network, clips), measure_influence(network, turned)
    assert one.d == pytest.approx(-other.d)
    for ours, theirs in zip(one.of_removal("rows"), other.of_removal("rows"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_several_tests_at_once_are_each_alone_also_where_they_share_clips(stimuli, tmp_path):
    rows = [row | {"path": str(stimuli.parent / row["path"])} for row in read_rows(stimuli)]
    others = [row | {"set": {"X": "A", "A": "X", "Y": "B", "B": "Y"}[row["set"]]} for row in rows[1:]]
    tests = [
        read_stimuli(write_csv(tmp_path / "one.csv", [*rows, rows[0]])),
        read_stimuli(write_csv(tmp_path / "two.csv", others)),
    ]
    network = encoder_of("hubert")
    together = measure_influence(network, Clips(tests))
    for test, found in zip(tests, together, strict=True):
        (alone,) = measure_influence(network, Clips([test]))
        assert (found.test, found.stimuli_sha256, found.d) == (alone.test, alone.stimuli_sha256, alone.d)
        for ours, theirs in zip(found.heads + found.rows, alone.heads + alone.rows, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    for ours, theirs in zip(together[0].rows, differences(network, Clips(tests), tests[0], "rows"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)  # its first clip counts twice


@pytest.mark.parametrize("family", FAMILIES)
def test_an_objective_its_network_and_a_loaded_encoder_give_the_same(family, clips):
    objective = made(family, dtype=torch.float32)
    stats = stats_of(family)
    encoder = freeze("tiny", copy.deepcopy(objective.encoder), mel_stats=stats)
    found = [measure_influence(each, clips, mel_stats=stats)[0] for each in (objective, objective.encoder)]
    found += measure_influence(encoder, clips)
    for other in found[1:]:
        for ours, theirs in zip(found[0].heads + found[0].rows, other.heads + other.rows, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert found[0].d == pytest.approx(sb.measure_bias(clips.embed(encoder, workers=1)[0]).d, abs=1e-4)


def test_masked_weights_count_as_zeros(clips):
    network = encoder_of("hubert")
    zeroed = copy.deepcopy(network)
    linear = network.transformer.layers[1].fc2
    kept = torch.arange(linear.weight.numel()).view_as(linear.weight) % 3 > 0
    register_parametrization(linear, "weight", Mask(kept))
    zeroed.transformer.layers[1].fc2.weight[~kept] = 0
    (ours,), (theirs,) = measure_influence(network, clips), measure_influence(zeroed, clips)
    np.testing.assert_array_equal(np.concatenate(ours.rows), np.concatenate(theirs.rows))


def state_of(model):
    """Whatever scoring might have changed."""
    tensors = {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in model.state_dict().items()}
    return (
        tensors,
        [module.training for module in model.modules()],
        [(p.requires_grad, p.grad if p.grad is None else p.grad.sum().item()) for p in model.parameters()],
        [len(module._forward_pre_hooks) for module in model.modules()],
        torch.get_rng_state().sum().item(),
    )


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_model_stays_as_it_is_whatever_the_callers_mode(mode, clips):
    model = made("wav2vec2", dtype=torch.float32)
    model.encoder.transformer.layers[0].eval()
    model.encoder.frontend.requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = state_of(model)
    with mode():
        (found,) = measure_influence(model, clips)
    assert state_of(model) == before
    (again,) = measure_influence(model, clips)
    np.testing.assert_array_equal(np.concatenate(found.rows), np.concatenate(again.rows))


def test_balance_0_is_l1_and_looks_at_no_clip_and_1_is_the_change_of_the_size_of_d(clips):
    network = encoder_of("hubert")
    for what, l1 in (("heads", head_scores(network)), ("rows", row_scores(network))):
        for ours, theirs in zip(bias_scores(network, None, what=what, balance=0), l1, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        (found,) = measure_influence(network, clips)
        for ours, theirs in zip(
            bias_scores(network, clips, what=what, balance=1), found.of_removal(what), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_the_output_projection_counts_where_it_is_asked_for():
    network = encoder_of("hubert")
    for ours, l1 in zip(
        bias_scores(network, None, what="heads", balance=0, out_proj=True),
        head_scores(network, out_proj=True),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, l1)


def test_a_balance_between_weighs_standard_scores_of_each_layer():
    l1 = [np.array([1.0, 2.0, 3.0]), np.array([5.0])]
    effects = [[np.array([0.2, 0.0, -0.2]), np.array([1.0])], [np.array([0.4, 0.0, -0.4]), np.array([2.0])]]
    found = balanced(l1, effects, balance=0.25)
    np.testing.assert_allclose(found[0], 1.5**0.5 * np.array([-0.75 + 0.25, 0, 0.75 - 0.25]), atol=1e-12)
    np.testing.assert_array_equal(found[1], [0.0])  # one unit stands out from nothing
    mean = balanced(l1, effects, balance=1)
    np.testing.assert_allclose(mean[0], [0.3, 0.0, -0.3])


def test_equal_l1_scores_leave_the_order_to_d():
    found = balanced([np.ones(3)], [[np.array([0.1, -0.1, 0.0])]], balance=0.01)
    assert found[0].argsort().tolist() == [1, 2, 0]


@pytest.mark.parametrize("balance", [-0.1, 1.5, float("nan")])
def test_another_balance_is_refused(balance, clips):
    with pytest.raises(InputError, match=r"balance is .* from 0, L1 alone, to 1"):
        bias_scores(encoder_of("hubert"), clips, what="heads", balance=balance)


def test_what_cannot_be_scored_is_said_in_a_line(clips):
    with pytest.raises(InputError, match="is no network of ours"):
        measure_influence(torch.nn.Linear(2, 2), clips)
    with pytest.raises(InputError, match="carries no mean and std"):
        measure_influence(encoder_of("melhubert"), clips)
    broken = encoder_of("hubert")
    broken.transformer.layers[0].fc2.bias[:] = torch.nan
    with pytest.raises(InputError, match=r"gender, the model: The embedding of X\[0\] is not finite"):
        measure_influence(broken, clips)


def test_the_record_says_on_what_was_scored(clips):
    (found,) = measure_influence(encoder_of("hubert"), clips)
    assert found.describe() == {"test": "gender", "stimuli_sha256": found.stimuli_sha256, "d": found.d}
    assert len(found.stimuli_sha256) == 64
