"""The group norm that is known before its convolution is computed, against torch's own of what was convolved."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from speechbias.models import group_norm as group_norm_module
from speechbias.models.frontend import GroupNorm
from speechbias.models.group_norm import fold_group_norm, window_moments


def layers(channels=6, kernel=10, stride=5):
    """A convolution of a wave and its norm, no parameter at its default, float64."""
    generator = torch.Generator().manual_seed(1)
    conv, norm = nn.Conv1d(1, channels, kernel, stride).double(), GroupNorm(channels).double()
    for parameter in (*conv.parameters(), *norm.parameters()):
        parameter.data.normal_(generator=generator)
    return conv.requires_grad_(requires_grad=False), norm.requires_grad_(requires_grad=False)


def waves(batch, samples, seed=0):
    return 0.3 + torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def folded(wave, conv, norm, count=None):
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    moments = window_moments(wave, kernel, stride, count)
    weight, bias = fold_group_norm(conv.weight[:, 0], moments, norm.weight, norm.bias, norm.eps)
    return wave.unfold(-1, kernel, stride) @ weight.mT + bias[..., None, :]


@pytest.mark.parametrize("samples", [15, 19, 400, 3001])
def test_it_is_the_convolution_and_its_norm(samples):
    conv, norm = layers()
    (wave,) = waves(1, samples)
    expected = F.group_norm(conv(wave[None, None]), 6, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(folded(wave, conv, norm), expected[0].T, rtol=1e-10, atol=1e-10)


def test_the_padding_of_a_batch_counts_nowhere():
    conv, norm = layers()
    batch, count = waves(3, 1200), torch.tensor([239, 100, 1])
    for wave, ours, own in zip(batch, folded(batch, conv, norm, count), count.tolist(), strict=True):
        alone = folded(wave[: (own - 1) * 5 + 10], conv, norm)
        torch.testing.assert_close(ours[:own], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 7, 100, 238, 239, 240])
def test_pieces_meet_without_a_seam(rows, monkeypatch):
    batch, count = waves(3, 1200), torch.tensor([239, 100, 1])
    whole = window_moments(batch, 10, 5), window_moments(batch, 10, 5, count)
    monkeypatch.setattr(group_norm_module, "ROWS", rows)
    for one, other in zip(whole, (window_moments(batch, 10, 5), window_moments(batch, 10, 5, count)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_no_tensor_of_all_windows_is_widened(monkeypatch):
    monkeypatch.setattr(group_norm_module, "ROWS", 50)
    widened, double = [], torch.Tensor.double

    def counted(tensor):
        widened.append(tensor.numel())
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "double", counted)
    window_moments(waves(1, 5000)[0].float(), 10, 5)
    assert len(widened) == 2 * 20
    assert max(widened) == 50 * 10
