"""A strided convolution as matrix products, forward and backward: for training on a CPU.

Frames lie channels last, so ``stride`` neighbouring frames are one row of a matrix without a copy. A kernel of 3 taps
and stride 2 is the product of rows (frames 2t, 2t + 1) with its first two taps, plus that of frames 2t + 2 with the
third; gradients are the same products transposed. The same sums as the convolution's, in another order.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from speechbias.models.group_norm import fold_group_norm, window_moments


def convolve(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """(batch, frames, channels) through a convolution without padding: (batch, frames out, channels out)."""
    weight = conv.weight
    if torch.is_autocast_enabled("cpu"):
        x, weight = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, weight))
    with torch.autocast("cpu", enabled=False):
        y: Tensor = _Windows.apply(x.contiguous(), weight, conv.stride[0])  # type: ignore[no-untyped-call]
        return y if conv.bias is None else y + conv.bias.to(y.dtype)


def _rows(x: Tensor, kernel: int, stride: int) -> Iterator[tuple[slice, Tensor]]:
    """Which taps, and the inputs (frames out, taps * channels) that they see, of one sequence (frames, channels)."""
    count, channels = (len(x) - kernel) // stride + 1, x.shape[1]
    for first in range(0, kernel, stride):
        taps = min(stride, kernel - first)
        size, steps = (count, taps * channels), (stride * channels, 1)
        yield slice(first, first + taps), x.as_strided(size, steps, x.storage_offset() + first * channels)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        taps = weight.permute(2, 1, 0).contiguous()  # (kernel, channels, channels out)
        y = x.new_zeros(len(x), (x.shape[1] - len(taps)) // stride + 1, weight.shape[0])
        for sequence, out in zip(x, y, strict=True):
            for which, rows in _rows(sequence, len(taps), stride):
                out.addmm_(rows, taps[which].flatten(0, 1))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        taps = weight.permute(2, 1, 0).contiguous()
        back, of_taps = torch.zeros_like(x), torch.zeros_like(taps)
        for sequence, to, g in zip(x, back, gradient, strict=True):
            places = zip(_rows(sequence, len(taps), ctx.stride), _rows(to, len(taps), ctx.stride), strict=True)
            for (which, rows), (_, destination) in places:
                destination.addmm_(g, taps[which].flatten(0, 1).T)
                of_taps[which].view(-1, taps.shape[2]).addmm_(rows.T, g)
        return back, of_taps.permute(2, 1, 0), None


def convolve_normed(waves: Tensor, conv: nn.Conv1d, norm: nn.GroupNorm, length: Tensor | None) -> Tensor:
    """The first convolution of waves (batch, samples) and its group norm, one product: (batch, frames, channels).

    The norm is known before the convolution (``group_norm``). ``length`` (batch,): frames that are no padding.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    moments = window_moments(waves, kernel, stride, length)
    weight, shift = fold_group_norm(
        conv.weight[:, 0].double(), moments, norm.weight.double(), norm.bias.double(), norm.eps
    )
    if conv.bias is not None:  # it cancels, but a parameter in training has a gradient, be it zero
        shift = shift + (conv.bias - conv.bias).double()
    rows = waves.unfold(1, kernel, stride)  # (batch, frames, kernel)
    return torch.baddbmm(shift.to(waves.dtype)[:, None], rows, weight.mT.to(waves.dtype))
