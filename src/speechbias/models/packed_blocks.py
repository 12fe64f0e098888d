"""Positions and blocks of the engine: frames (frames, dim) to the same shape, one utterance at a time.

*Positions are products of spectra*: ``fourier``.

*q, k and v are one product.* What it exploits: one pass over the frames. *Exact:* the same products and sums.

*``ROWS`` frames at a time* of feed-forward, and of attention weights in bfloat16. What it exploits: the widest
intermediates stay in the cache, and memory does not grow with them. *Exact:* no row needs another one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from speechbias.models.fourier import convolve_windows, kernel_of, windows_of
from speechbias.models.packed import Linear, own, packed_norm, product
from speechbias.models.transformer import Block, Positions

ROWS = 256  # frames
WINDOWS = 8  # of positions: some 500 frames at base


class PackedPositions:
    """Convolutional positions by spectra of their weights, in float32 whatever the precision of the rest."""

    def __init__(self, positions: Positions, dtype: torch.dtype) -> None:
        conv = positions.conv
        self.dtype = dtype
        self.kernel = kernel_of(conv.weight.detach().float(), conv.groups)
        self.bias = own(conv.get_parameter("bias"), torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """(frames, dim) to the same shape."""
        pieces = torch.split(windows_of(x.float().T[None], self.kernel), WINDOWS, 2)  # no window needs another one
        y = torch.cat([convolve_windows(some, self.kernel)[0][0] for some in pieces], dim=1)
        return F.gelu(y.T[: len(x)] + self.bias).to(self.dtype)


class Scratch:
    """Memory that is used again and again: holes between packed weights would add up."""

    def __init__(self) -> None:
        self.flat = torch.empty(0)

    def cat(self, parts: Sequence[Tensor]) -> Tensor:
        """Matrices one below the other, until the next call."""
        size, dtype = sum(part.numel() for part in parts), parts[0].dtype
        if len(self.flat) < size or self.flat.dtype != dtype:
            self.flat = torch.empty(size, dtype=dtype)
        return torch.cat([part.detach() for part in parts], out=self.flat[:size].view(-1, parts[0].shape[1]))


class PackedBlock:
    """One transformer block."""

    def __init__(self, block: Block, dtype: torch.dtype, scratch: Scratch) -> None:
        attention = block.attention
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight, bias = scratch.cat([part.weight for part in three]), torch.cat([part.bias for part in three])
        self.heads, self.head_dim, self.pre_norm = attention.heads, attention.head_dim, block.pre_norm
        self.qkv = Linear(weight, bias, dtype)
        self.out = Linear(attention.out_proj.weight, attention.out_proj.bias, dtype)
        self.fc1 = Linear(block.fc1.weight, block.fc1.bias, dtype)
        self.fc2 = Linear(block.fc2.weight, block.fc2.bias, dtype)
        self.attention_norm = packed_norm(block.attention_norm, dtype)
        self.final_norm = packed_norm(block.final_norm, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(frames, dim) to the same shape."""
        if self.pre_norm:
            x = self.out.plus(self._mixed(self.attention_norm(x)), x)
            return self._plus_feed_forward(self.final_norm(x), x)
        x = self.attention_norm(self.out.plus(self._mixed(x), x))
        return self.final_norm(self._plus_feed_forward(x, x))

    def _plus_feed_forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Frame by frame the same, so the widest intermediate is made for ``ROWS`` frames at a time."""
        pairs = zip(torch.split(x, ROWS), torch.split(residual, ROWS), strict=True)
        return torch.cat([self.fc2.plus(self.fc1(some, gelu=True), before) for some, before in pairs])

    def _mixed(self, x: Tensor) -> Tensor:
        """The heads' outputs side by side, (frames, heads * head_dim)."""
        split = self.qkv(x).view(len(x), 3, self.heads, self.head_dim)
        q, k, v = split.permute(1, 2, 0, 3)  # each (heads, frames, head_dim)
        if x.dtype == torch.bfloat16:
            return torch.cat([_head(*parts) for parts in zip(q, k, v, strict=True)], dim=1)
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])
        return mixed[0].transpose(0, 1).flatten(1)


def _head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head's attention as two products, (frames, head_dim) in and out.

    Torch's own kernel is no faster in bfloat16 than in float32. Contiguous: oneDNN crawls on a head's strided view.
    """
    keys, values = k.contiguous(), v.T.contiguous()
    scaled = torch.split(q * q.shape[1] ** -0.5, ROWS)  # a row of weights needs no other one
    return torch.cat([product(product(some, keys).softmax(-1), values) for some in scaled])
