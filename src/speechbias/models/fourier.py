"""The convolution of positions by the convolution theorem: in training on a CPU, and in the engine.

*What it exploits:* a kernel of 128 frames between 48 channels of a group is one product of small matrices per
frequency instead of 128 per frame: a tenth of the arithmetic at base. Sequences are cut into windows of one and a half
kernels, of which the frames that see only their own window are used (overlap-save): short transforms however long a
sequence is, and spectra one and a half times as large as the weight. *Exact:* the same sums as ``F.conv1d``, rounded
otherwise.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Kernel:
    """A grouped convolution's weight by its spectra, complex (groups * frequencies, out, in), of so many ``taps``."""

    spectra: Tensor
    groups: int
    taps: int

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.taps + self.taps // 2

    @property
    def step(self) -> int:
        """Frames of a window that see nothing outside of it."""
        return self.window - self.taps + 1


def kernel_of(weight: Tensor, groups: int) -> Kernel:
    """The spectra of a weight (channels, channels / groups, taps)."""
    taps = weight.shape[-1]
    spectra = torch.fft.rfft(weight.view(groups, -1, *weight.shape[1:]), n=taps + taps // 2)
    return Kernel(spectra.permute(0, 3, 1, 2).flatten(0, 1), groups, taps)


def convolve(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """What ``F.conv1d`` gives with ``taps // 2`` zeros on both sides, but for the surplus frame of an even kernel.

    ``x`` (batch, channels, frames) to the same shape, with gradients; ``weight`` (channels, channels / groups, taps).
    """
    with torch.autocast("cpu", enabled=False):
        y: Tensor = _Convolution.apply(x.to(weight.dtype), weight, groups)  # type: ignore[no-untyped-call]
    return y


def windows_of(x: Tensor, kernel: Kernel) -> Tensor:
    """``x`` (batch, channels, frames) in overlapping windows, (batch, channels, windows, frames): a view of a copy."""
    frames = x.shape[-1]
    before, count = kernel.taps // 2, -(-frames // kernel.step)
    padded = F.pad(x, (before, count * kernel.step + kernel.taps - 1 - frames - before))
    return padded.unfold(-1, kernel.window, kernel.step)


def convolve_windows(windows: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """What ``convolve`` gives of these windows, (batch, channels, windows * step); and their conjugate spectra."""
    batch, channels = windows.shape[:2]
    of_x = _spectra(windows, kernel).conj_physical()
    y = _windows(torch.bmm(kernel.spectra, of_x).conj(), kernel, batch)  # a network's convolution correlates
    return y[..., : kernel.step].reshape(batch, channels, -1), of_x


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        kernel = kernel_of(weight, groups)
        y, of_x = convolve_windows(windows_of(x, kernel), kernel)
        ctx.save_for_backward(of_x, kernel.spectra)
        ctx.groups, ctx.taps, ctx.shape = groups, kernel.taps, x.shape
        return y[..., : x.shape[-1]]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_x, spectra = ctx.saved_tensors
        kernel, (batch, channels, frames) = Kernel(spectra, ctx.groups, ctx.taps), ctx.shape
        g = F.pad(gradients[0], (0, -frames % kernel.step)).view(batch, channels, -1, kernel.step)
        of_g = _spectra(F.pad(g, (0, kernel.taps - 1)), kernel)
        of_weight = torch.bmm(of_g, of_x.transpose(1, 2)).conj().view(ctx.groups, -1, *spectra.shape[1:])
        taps = torch.fft.irfft(of_weight.permute(0, 2, 3, 1), n=kernel.window)[..., : ctx.taps].flatten(0, 1)
        parts = _windows(torch.bmm(spectra.transpose(1, 2), of_g), kernel, batch)
        return _overlapped(parts, kernel.step)[..., ctx.taps // 2 :][..., :frames], taps, None


def _spectra(windows: Tensor, kernel: Kernel) -> Tensor:
    """(batch, channels, windows, frames) to spectra (groups * frequencies, channels of a group, batch * windows)."""
    batch, channels, count, frames = windows.shape
    own = channels // kernel.groups
    spectra = torch.fft.rfft(windows).view(batch, kernel.groups, own, count, frames // 2 + 1)
    return spectra.permute(1, 4, 2, 0, 3).reshape(-1, own, batch * count)


def _windows(spectra: Tensor, kernel: Kernel, batch: int) -> Tensor:
    """Spectra to (batch, channels, windows, frames)."""
    spectra = spectra.view(kernel.groups, -1, spectra.shape[1], batch, spectra.shape[2] // batch)
    return torch.fft.irfft(spectra.permute(3, 0, 2, 4, 1), n=kernel.window).flatten(1, 2)


def _overlapped(windows: Tensor, step: int) -> Tensor:
    """Windows that start every ``step`` frames, summed where they overlap: (batch, channels, frames)."""
    batch, channels, count, length = windows.shape
    frames = (count - 1) * step + length
    columns = windows.flatten(0, 1).transpose(1, 2)
    return F.fold(columns, (1, frames), (1, length), stride=(1, step)).view(batch, channels, frames)
