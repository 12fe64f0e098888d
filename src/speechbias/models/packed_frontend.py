"""The front end of the engine: waveform to frames, (samples,) to (frames, channels), one utterance at a time.

*Group norm in the first convolution.* Known before a frame is computed (``group_norm``), it goes into the weights.

*Pieces of ``PIECE`` frames.* What they exploit: the intermediates of a piece stay in the processor's cache, and memory
does not grow with the length of the wave times 512 channels. *Exact:* with the norm in the weights no frame needs
another one.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.config import WaveFrontend
from speechbias.models.frontend import ConvFrontend
from speechbias.models.group_norm import fold_group_norm, window_moments
from speechbias.models.packed import Linear, Norm, own, packed_norm, window_weight, windows

PIECE = 32  # frames of 20 ms; the largest intermediate, (64 x PIECE, 512), is then 4 MB


class PackedFrontend:
    """Waveform to frames, (samples,) to (frames, channels)."""

    def __init__(self, frontend: ConvFrontend, config: WaveFrontend, dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype
        convs = [conv for conv in frontend.convs if isinstance(conv, nn.Conv1d)]
        norms = list(frontend.norms)
        # float32 whatever the dtype: two thousandths of the work, and nothing is lost there
        self.weight = own(window_weight(convs[0].weight), torch.float32)  # (channels, kernel)
        self.bias = None if convs[0].bias is None else own(convs[0].bias, torch.float32)
        self.group_norm: Norm | None = None
        if isinstance(norms[0], nn.GroupNorm):
            weight, bias = own(norms[0].weight, torch.float64), own(norms[0].bias, torch.float64)
            self.group_norm = Norm(weight, bias, norms[0].eps)
        self.norms = [] if self.group_norm is not None else [packed_norm(norm, dtype) for norm in norms]
        self.rest = [Linear(window_weight(conv.weight), conv.bias, dtype) for conv in convs[1:]]

    def __call__(self, wave: Tensor) -> Tensor:
        """The frames of one wave, float32."""
        front = self.config
        if front.wave_norm_eps is not None:
            wave = F.layer_norm(wave, wave.shape, eps=front.wave_norm_eps)
        if self.group_norm is not None:
            wave = (wave.double() - wave.double().mean()).float()  # which the norm takes away, with fewer digits lost
        first = Linear(*self._first(wave), torch.float32)
        frames = (len(wave) - front.receptive_field) // front.hop + 1
        starts = [*range(0, frames, PIECE), frames]
        return torch.cat([self._piece(first, wave, start, stop) for start, stop in pairwise(starts)])

    def _first(self, wave: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the first convolution, with the group norm's statistics of this wave in them."""
        if self.group_norm is None:
            return self.weight, self.bias
        norm, front = self.group_norm, self.config
        moments = window_moments(wave, front.kernels[0], front.strides[0])
        weight, bias = fold_group_norm(self.weight.double(), moments, norm.weight, norm.bias, norm.eps)
        return weight.float(), bias.float()

    def _piece(self, first: Linear, wave: Tensor, start: int, stop: int) -> Tensor:
        """Frames ``start`` to ``stop``, from the samples that they see."""
        front = self.config
        samples = wave[start * front.hop : (stop - 1) * front.hop + front.receptive_field, None]
        normed = bool(self.norms)
        x = first(windows(samples, front.kernels[0], front.strides[0]), gelu=not normed).to(self.dtype)
        if normed:
            x = F.gelu(self.norms[0](x))
        for i, conv in enumerate(self.rest, start=1):
            x = conv(windows(x, front.kernels[i], front.strides[i]), gelu=not normed)
            if normed:
                x = F.gelu(self.norms[i](x))
        return x
