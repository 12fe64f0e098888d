"""The convolution of positions by spectra against torch's, with its gradients, in double precision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from speechbias.models.fourier import convolve
from speechbias.models.transformer import Positions


def plain(x, weight, groups):
    kernel = weight.shape[-1]
    y = F.conv1d(x, weight, padding=kernel // 2, groups=groups)
    return y[..., : x.shape[-1]]


@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 70),
    kernel=st.integers(1, 17),
    groups=st.sampled_from([1, 2, 4]),
)
def test_it_is_the_convolution_with_its_gradients(batch, frames, kernel, groups):
    draws = torch.Generator().manual_seed(frames)
    x = torch.randn(batch, 8, frames, generator=draws, dtype=torch.float64)
    weight = torch.randn(8, 8 // groups, kernel, generator=draws, dtype=torch.float64)
    towards = torch.randn(batch, 8, frames, generator=draws, dtype=torch.float64)
    answers = []
    for way in (convolve, plain):
        inputs = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = way(*inputs, groups)
        answers.append((y, *torch.autograd.grad((y * towards).sum(), inputs)))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_at_base_it_is_torchs_within_rounding():
    x, weight = torch.randn(2, 768, 300), 0.01 * torch.randn(768, 48, 128)
    ours, theirs = convolve(x, weight, 16), plain(x, weight, 16)
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()


@pytest.mark.parametrize("kernel", [128, 95])
def test_positions_in_training_are_those_of_a_frozen_network(kernel):
    positions = Positions(32, kernel, 4).double()
    x = torch.randn(2, 150, 32, dtype=torch.float64)
    torch.testing.assert_close(positions.train()(x), positions.eval()(x), atol=1e-12, rtol=0)
