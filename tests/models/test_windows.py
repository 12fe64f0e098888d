"""A convolution as matrix products against torch's, with its gradients."""

import pytest
import torch
from torch import nn

from speechbias.models.config import WaveFrontend
from speechbias.models.frontend import ConvFrontend
from speechbias.models.windows import convolve


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (10, 5), (4, 3), (3, 1), (2, 3)])
@pytest.mark.parametrize("frames", [10, 11, 12, 41])
def test_it_is_the_convolution_with_its_gradients(kernel, stride, frames):
    generator = torch.Generator().manual_seed(frames)
    conv = nn.Conv1d(4, 6, kernel, stride).double()
    x = torch.randn(2, frames, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = conv(x.transpose(1, 2)).transpose(1, 2)
    ours = convolve(x, conv)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    leaves = (x, conv.weight, conv.bias)
    pairs = zip(*(torch.autograd.grad((y * weight).sum(), leaves) for y in (ours, expected)), strict=True)
    for own, reference in pairs:
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_front_end_in_training_is_the_one_in_eval_mode(norm):
    front = ConvFrontend(WaveFrontend((8,) * 7, norm=norm, bias=True)).double()
    waves = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    length = torch.tensor([3000, 2000])

    def computed(*, training):
        front.train(training).zero_grad()
        y = front(waves, length)[:, :5]
        y.pow(3).sum().backward()
        return [y.detach(), *(parameter.grad.clone() for parameter in front.parameters())]

    for own, reference in zip(computed(training=True), computed(training=False), strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-10, atol=1e-12)
