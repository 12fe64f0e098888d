"""A group norm of one channel per group behind a convolution of a wave, known before the convolution is computed.

*What it exploits:* a channel of the convolution is a linear map of the window that the kernel sees, so its mean and
variance over time follow from the mean and the second moments of these windows (10 x 10 for the networks here): the
norm goes into the kernel and a bias, and nothing of (frames, channels) is normalised, nor its gradient. *Exact:*
algebra, of centred windows in float64, so that no digit of float32 is lost. Windows are widened ``ROWS`` at a time, so
that memory does not grow with the length of a wave.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 1 << 16  # windows at a time: 20 s of audio, 5 MB


def window_moments(waves: Tensor, kernel: int, stride: int, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean (..., kernel) and central second moments (..., kernel, kernel), float64, of the windows of waves.

    Waves are (..., samples); ``count`` (...,) says how many of a wave's windows are no padding.
    """
    rows = waves.unfold(-1, kernel, stride)  # (..., frames, kernel), a view
    own = count if count is not None else torch.tensor(rows.shape[-2])
    total = sum(seen.sum(-2) for seen in _pieces(rows, count))
    mean = total / own[..., None]  # (..., kernel)
    second = sum(seen.mT @ seen for seen in _pieces(rows, count, mean))
    return mean, second / own[..., None, None]


def _pieces(rows: Tensor, count: Tensor | None, mean: Tensor | None = None) -> Iterator[Tensor]:
    """Windows in float64 without their ``mean``, piece by piece; zero where they are padding."""
    for start in range(0, rows.shape[-2], ROWS):
        seen = rows[..., start : start + ROWS, :].double()
        if mean is not None:
            seen = seen - mean[..., None, :]
        if count is not None:
            places = torch.arange(start, start + seen.shape[-2])
            seen = seen * (places < count[..., None])[..., None]
        yield seen


def fold_group_norm(
    kernel: Tensor, moments: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """A convolution's kernel (channels, kernel) and the norm behind it: weight (..., channels, kernel) and bias.

    ``moments`` are those of the windows; ``weight`` and ``bias`` (channels,) are the norm's. All float64. A bias of
    the convolution is in the mean too, and cancels.
    """
    mean, second = moments
    variance = ((kernel @ second) * kernel).sum(-1)  # of each channel over time
    scale = weight * torch.rsqrt(variance + eps)
    return kernel * scale[..., None], bias - (mean @ kernel.mT) * scale
