"""Fresh weights: each kind of parameter from its own distribution, from a generator, and all of them drawn."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from speechbias.models.config import FAMILIES, EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.initialisation import initialise_network
from speechbias.models.network import Network
from speechbias.models.objectives import untrained

SIZE = "small"


@pytest.fixture(scope="module", params=FAMILIES)
def fresh(request):
    return untrained(request.param, SIZE, seed=1)


def drawn(config, seed=0):
    network = Network(config)
    initialise_network(network, torch.Generator().manual_seed(seed))
    return network


def is_normal(values, std, mean=0.0):
    """Mean, standard deviation, kurtosis and largest value are those of a normal distribution of this size."""
    values = values.detach().double().flatten()
    n = values.numel()
    z = (values - mean) / std
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs(z.std() - 1) < 5 / math.sqrt(2 * n)
    assert abs(z.pow(4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert z.abs().max() < math.sqrt(2 * math.log(n)) + 2.5


def is_uniform(values, low, high):
    """Nothing outside, both ends reached, and mean and standard deviation of a uniform distribution."""
    values = values.detach().double().flatten()
    n, width = values.numel(), high - low
    assert low <= values.min() < low + 12 * width / n
    assert high - 12 * width / n < values.max() <= high
    assert abs(values.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * n)
    assert abs(values.std() - width / math.sqrt(12)) < width / math.sqrt(n)


def is_default_linear(linear):
    bound = 1 / math.sqrt(linear.in_features)
    is_uniform(linear.weight, -bound, bound)
    is_uniform(linear.bias, -bound, bound)


def zero(values):
    return not values.any()


def test_the_same_seed_draws_the_same_bits(fresh):
    again = untrained(fresh.encoder.config.family, SIZE, seed=1).state_dict()
    tensors = fresh.state_dict()
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())


def test_another_seed_draws_others(fresh):
    other = untrained(fresh.encoder.config.family, SIZE, seed=2).state_dict()
    for name, tensor in fresh.state_dict().items():
        constant = zero(tensor) or torch.equal(tensor, torch.ones_like(tensor))
        assert torch.equal(tensor, other[name]) == constant, name


def test_no_two_tensors_of_one_model_are_the_same_draw(fresh):
    starts = [tuple(t.flatten()[:8].tolist()) for t in fresh.state_dict().values() if t.numel() >= 8]
    varied = [start for start in starts if len(set(start)) > 1]
    assert len(varied) > 20
    assert len(set(varied)) == len(varied)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_global_generator_is_touched(family):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    untrained(family, SIZE, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(one, other) for one, other in zip(before[2], after, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_drawing_does_not_depend_on_the_global_seed(family):
    made = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            made.append(untrained(family, SIZE, seed=3).state_dict())
    assert all(torch.equal(tensor, made[1][name]) for name, tensor in made[0].items())


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_undrawn(family, monkeypatch):
    """Memory that nobody has written yet holds NaN here."""
    load = nn.Module.load_state_dict
    poisoned = []

    def poison(module, tensors, **options):
        poisoned.extend(tensor.fill_(torch.nan) for tensor in tensors.values())
        return load(module, tensors, **options)

    monkeypatch.setattr(nn.Module, "load_state_dict", poison)
    made = untrained(family, SIZE, seed=0)
    undrawn = [name for name, tensor in made.state_dict().items() if not tensor.isfinite().all()]
    assert len(poisoned) == len(made.state_dict())
    assert not undrawn


def test_an_untrained_model_is_frozen_and_in_eval_mode(fresh):
    assert not fresh.training
    assert not any(module.training for module in fresh.modules())
    assert not any(parameter.requires_grad for parameter in fresh.parameters())
    assert {tensor.dtype for tensor in fresh.state_dict().values()} == {torch.float32}


def test_linear_maps_of_the_blocks(fresh):
    linears = [m for m in fresh.encoder.transformer.layers.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 3 * 6
    for linear in linears:
        is_normal(linear.weight, 0.02)
        assert zero(linear.bias)


def test_positions_carry_the_magnitudes_of_what_was_drawn(fresh):
    conv = fresh.encoder.transformer.positions.conv
    dim, kernel = 640, 128
    assert conv.weight.shape == (dim, dim // 16, kernel)
    is_normal(conv.weight, math.sqrt(4 / (kernel * dim)))
    magnitude, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    torch.testing.assert_close(magnitude, conv.weight.norm(dim=(0, 1), keepdim=True))
    torch.testing.assert_close(direction, conv.weight)
    assert zero(conv.bias)


def test_norms_begin_as_the_identity(fresh):
    norms = [m for m in fresh.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm)]
    wave = fresh.encoder.config.family != "melhubert"
    assert len(norms) == 3 * 2 + 1 + 2 * wave
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert zero(norm.bias)


def test_the_convolutions_are_he_normal(fresh):
    if fresh.encoder.frontend is None:
        assert fresh.encoder.config.family == "melhubert"
        return
    for conv in fresh.encoder.frontend.convs:
        is_normal(conv.weight, math.sqrt(2 / (conv.in_channels * conv.kernel_size[0])))
        assert conv.bias is None


def test_projection_and_final_projection_keep_torchs_default(fresh):
    is_default_linear(fresh.encoder.projection)
    is_default_linear(fresh.final_proj)


def test_what_wav2vec2_adds():
    made = untrained("wav2vec2", SIZE, seed=4)
    is_uniform(made.mask_embedding, 0, 1)
    is_uniform(made.quantizer.codes, 0, 1)
    is_normal(made.quantizer.weight_proj.weight, 1.0)
    assert zero(made.quantizer.weight_proj.bias)
    is_default_linear(made.project_q)
    is_default_linear(made.final_proj)


def test_what_hubert_adds():
    made = untrained("hubert", SIZE, seed=4)
    is_uniform(made.mask_embedding, 0, 1)
    is_uniform(made.label_embeddings, 0, 1)
    is_default_linear(made.final_proj)


def test_biases_of_convolutions_keep_torchs_default():
    front = WaveFrontend((256,) * 7, norm="layer", bias=True)
    network = drawn(EncoderConfig("hubert", front, 32, 8, heads=(4,), ffn=(64,)))
    for conv in network.frontend.convs:
        fan_in = conv.in_channels * conv.kernel_size[0]
        is_normal(conv.weight, math.sqrt(2 / fan_in))
        is_uniform(conv.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def test_other_kernels_and_sizes_set_the_scale_of_the_positions():
    config = EncoderConfig(
        "melhubert", MelFrontend(), 96, 8, heads=(4,), ffn=(64,), position_kernel=31, position_groups=4
    )
    is_normal(drawn(config).transformer.positions.conv.weight, math.sqrt(4 / (31 * 96)))


def test_a_model_without_projection_can_be_drawn():
    config = EncoderConfig("hubert", WaveFrontend((32,) * 7), 32, 8, heads=(4,), ffn=(64,), projection=False)
    assert all(tensor.isfinite().all() for tensor in drawn(config).state_dict().values())
