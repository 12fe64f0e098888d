"""From waveform to frames: the convolutional front end of wav2vec 2.0 and HuBERT.

Waves are (batch, samples), frames (batch, frames, channels). With ``num_samples`` (batch,) the waves of a batch may be
padded at the right: statistics of the group norm are taken over each wave's own frames, so that padding cannot change
a result (it does in fairseq, S3PRL and transformers). What stands behind a wave's own frames has no meaning.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.config import WaveFrontend
from speechbias.models.windows import convolve, convolve_normed


class ConvFrontend(nn.Module):
    """Convolutions, each followed by GELU (fairseq: ``ConvFeatureExtractionModel``)."""

    def __init__(self, config: WaveFrontend) -> None:
        super().__init__()
        inputs = (1, *config.channels[:-1])
        self.convs = nn.ModuleList(
            nn.Conv1d(*sizes, bias=config.bias)
            for sizes in zip(inputs, config.channels, config.kernels, config.strides, strict=True)
        )
        norms = [GroupNorm(config.channels[0])] if config.norm == "group" else map(LayerNorm, config.channels)
        self.norms = nn.ModuleList(norms)

    def forward(self, waves: Tensor, num_samples: Tensor | None = None) -> Tensor:
        """Frames (batch, frames, channels) of waves (batch, samples)."""
        if self.training and waves.device.type == "cpu":
            return self._by_products(waves, num_samples)
        x, length = waves[:, None], num_samples  # (batch, 1, samples)
        for i, conv in enumerate(self.convs):
            x = conv(x)  # (batch, channels, frames)
            length = None if length is None else _output_length(conv, length)
            if i < len(self.norms):
                x = self.norms[i](x, length)
            x = F.gelu(x)
        return x.transpose(1, 2)

    def _by_products(self, waves: Tensor, num_samples: Tensor | None) -> Tensor:
        """The same, channels last throughout: faster on a CPU than convolutions and their gradients."""
        x = waves[..., None]  # (batch, samples, 1)
        for i, conv in enumerate(self.convs):
            assert isinstance(conv, nn.Conv1d)
            norm = self.norms[i] if i < len(self.norms) else None
            if isinstance(norm, GroupNorm):
                length = None if num_samples is None else _output_length(conv, num_samples)
                x = convolve_normed(waves, conv, norm, length)
            else:
                x = convolve(x, conv)
                x = x if norm is None else norm(x.transpose(1, 2)).transpose(1, 2)
            x = F.gelu(x)
        return x

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """How many frames waves of these lengths give: floor((samples - kernel) / stride) + 1, layer after layer."""
        for conv in self.convs:
            num_samples = _output_length(conv, num_samples)
        return num_samples


def _output_length(conv: nn.Module, length: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv1d)
    return torch.div(length - conv.kernel_size[0], conv.stride[0], rounding_mode="floor") + 1


class GroupNorm(nn.GroupNorm):
    """Each channel normalised over time (one channel per group), over the wave's own frames alone."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:
        """Same shape as ``x``, (batch, channels, frames); ``length`` (batch,) says how many frames are no padding."""
        if length is None:
            return super().forward(x)
        own = torch.arange(x.shape[-1], device=x.device) < length[:, None, None]  # (batch, 1, frames)
        count = length[:, None, None]
        wide = torch.promote_types(x.dtype, torch.float32)  # sums over a minute leave the range of float16
        mean = x.where(own, 0).sum(-1, keepdim=True, dtype=wide) / count
        variance = (x - mean).where(own, 0).square().sum(-1, keepdim=True) / count
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None]
        return (x * scale + (self.bias[:, None] - mean * scale)).to(x.dtype)  # two passes over x, not four


class LayerNorm(nn.LayerNorm):
    """Each frame normalised over its channels: padding cannot reach it."""

    def forward(self, x: Tensor, length: Tensor | None = None) -> Tensor:  # noqa: ARG002 (as GroupNorm)
        """Same shape as ``x``, (batch, channels, frames)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
