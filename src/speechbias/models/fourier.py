"""The convolution of positions by the convolution theorem, for training on a CPU.

A kernel of 128 frames between 48 channels of a group is one product of small matrices per frequency instead of 128 per
frame: a tenth of the arithmetic at base. Sequences are cut into windows of twice the kernel, of which the frames that
see only their own window are used (overlap-save), so that transforms stay short however long a sequence is. The same
sums as ``F.conv1d``, rounded otherwise.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def convolve(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """What ``F.conv1d`` gives with ``kernel // 2`` zeros on both sides, but for the surplus frame of an even kernel.

    ``x`` (batch, channels, frames) to the same shape; ``weight`` (channels, channels / groups, kernel).
    """
    with torch.autocast("cpu", enabled=False):
        y: Tensor = _Convolution.apply(x.to(weight.dtype), weight, groups)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    """Spectra are (groups * frequencies, channels of a group, windows of the batch)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        batch, channels, frames = x.shape
        kernel = weight.shape[-1]
        step = kernel + 1  # frames of a window of 2 * kernel that see nothing outside of it
        windows = -(-frames // step)
        before = kernel // 2
        padded = F.pad(x, (before, windows * step + kernel - 1 - frames - before))
        of_x = _spectra(padded.unfold(-1, 2 * kernel, step), groups)
        of_weight = torch.fft.rfft(weight.view(groups, -1, *weight.shape[1:]), n=2 * kernel)
        of_weight = of_weight.permute(0, 3, 1, 2).flatten(0, 1)  # (groups * frequencies, out, in)
        ctx.save_for_backward(of_x, of_weight)
        ctx.groups, ctx.shape = groups, x.shape
        y = _windows(torch.bmm(of_weight.conj(), of_x), groups, batch)
        return y[..., :step].reshape(batch, channels, -1)[..., :frames]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_weight = ctx.saved_tensors
        batch, channels, frames = ctx.shape
        kernel = len(of_weight) // ctx.groups - 1
        step = kernel + 1
        padded = F.pad(gradients[0], (0, -frames % step)).view(batch, channels, -1, step)
        of_g = _spectra(F.pad(padded, (0, kernel - 1)), ctx.groups)
        of_gradient = torch.bmm(of_g.conj(), of_x.transpose(1, 2)).view(ctx.groups, kernel + 1, *of_weight.shape[1:])
        of_taps = torch.fft.irfft(of_gradient.permute(0, 2, 3, 1), n=2 * kernel)[..., :kernel].flatten(0, 1)
        parts = _windows(torch.bmm(of_weight.transpose(1, 2), of_g), ctx.groups, batch)
        return _overlapped(parts, step)[..., kernel // 2 :][..., :frames], of_taps, None


def _spectra(windows: Tensor, groups: int) -> Tensor:
    """(batch, channels, windows, 2 * kernel) to spectra."""
    batch, channels, count, length = windows.shape
    spectra = torch.fft.rfft(windows).view(batch, groups, channels // groups, count, length // 2 + 1)
    return spectra.permute(1, 4, 2, 0, 3).reshape(-1, channels // groups, batch * count)


def _windows(spectra: Tensor, groups: int, batch: int) -> Tensor:
    """Spectra to (batch, channels, windows, 2 * kernel)."""
    spectra = spectra.view(groups, -1, spectra.shape[1], batch, spectra.shape[2] // batch)
    return torch.fft.irfft(spectra.permute(3, 0, 2, 4, 1), n=2 * (spectra.shape[1] - 1)).flatten(1, 2)


def _overlapped(windows: Tensor, step: int) -> Tensor:
    """Windows that start every ``step`` frames, summed where they overlap: (batch, channels, frames)."""
    batch, channels, count, length = windows.shape
    frames = (count - 1) * step + length
    columns = windows.flatten(0, 1).transpose(1, 2)
    return F.fold(columns, (1, frames), (1, length), stride=(1, step)).view(batch, channels, frames)
