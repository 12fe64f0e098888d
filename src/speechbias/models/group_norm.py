"""A group norm of one channel per group behind a convolution of a wave, known before the convolution is computed.

*What it exploits:* a channel of the convolution is a linear map of the window that the kernel sees, so its mean and
variance over time follow from the mean and the second moments of these windows (10 x 10 for the networks here): the
norm goes into the kernel and a bias, and nothing of (frames, channels) is normalised, nor its gradient. *Exact:*
algebra, of centred windows in float64, so that no digit of float32 is lost.
"""

import torch
from torch import Tensor


def window_moments(waves: Tensor, kernel: int, stride: int, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean (..., kernel) and central second moments (..., kernel, kernel), float64, of the windows of waves.

    Waves are (..., samples); ``count`` (...,) says how many of a wave's windows are no padding.
    """
    seen = waves.unfold(-1, kernel, stride).double()  # (..., frames, kernel)
    frames = seen.shape[-2]
    if count is None:
        mean = seen.mean(-2)
        seen = seen - mean[..., None, :]
        return mean, seen.mT @ seen / frames
    own = (torch.arange(frames) < count[..., None]).double()[..., None]
    mean = (seen * own).sum(-2) / count[..., None]
    seen = (seen - mean[..., None, :]) * own
    return mean, seen.mT @ seen / count[..., None, None]


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
