"""The transformer that the three families share: convolutional positions and blocks, post-norm or pre-norm.

Hidden states are (batch, frames, dim). Heads and feed-forward width are each layer's own (``EncoderConfig``), and the
head size does not follow from them: a pruned layer projects to fewer heads of the same size. Padding frames (``valid``
False) are set to zero before the positions and are never attended to, so that they change no other frame.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from speechbias.models.attention import attend
from speechbias.models.config import EncoderConfig
from speechbias.models.fourier import convolve
from speechbias.models.regularisation import Regularised, left_out

# Where a hidden state can be read: what the projection gives, what the first block takes in, each block's output
# (numbered from 1), and the output after the final norm, which pre-norm models have.
Point = Literal["projection", "input", "output"] | int
Read = Callable[[Point, Tensor], None]


class WeightNorm(nn.Module):
    """A convolution's weight as length times direction per place of its kernel, as torch's ``weight_norm(dim=2)``.

    That one, on the meta device, where networks are built before their weights are known, imports torch's compiler:
    70 MB and a second.
    """

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The weight, (out, in, kernel), of length (1, 1, kernel) and a direction of the weight's shape."""
        return torch._weight_norm(direction, length, 2)  # noqa: SLF001 (what torch's own calls)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction of a weight."""
        if weight.is_meta:
            return weight.new_empty(1, 1, weight.shape[2]), weight
        return torch.norm_except_dim(weight, 2, 2), weight


class Positions(nn.Module):
    """Relative positions: a grouped convolution, a weight norm per place of its kernel, GELU (fairseq: pos_conv)."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        self.conv = conv
        register_parametrization(conv, "weight", WeightNorm(), unsafe=True)
        self.surplus = 1 - kernel % 2  # an even kernel gives one frame too many (fairseq: SamePad)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, dim) to the same shape."""
        if self.training and x.device.type == "cpu":
            y = convolve(x.transpose(1, 2), self.conv.weight, self.conv.groups)
            y = y + self.conv.get_parameter("bias")[:, None]
        else:
            y = self.conv(x.transpose(1, 2))
            y = y[..., : y.shape[-1] - self.surplus]
        return F.gelu(y).transpose(1, 2)


class Attention(Regularised):
    """Self-attention with ``heads`` heads of size ``head_dim``."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.q_proj = nn.Linear(dim, heads * head_dim)
        self.k_proj = nn.Linear(dim, heads * head_dim)
        self.v_proj = nn.Linear(dim, heads * head_dim)
        self.out_proj = nn.Linear(heads * head_dim, dim)

    def forward(self, queries: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """``queries`` (batch, queries, dim) attend to ``x`` (batch, frames, dim): (batch, queries, dim).

        ``mask`` (batch, 1, 1, frames) is False for padding.
        """
        q, k, v = (self._split(y) for y in (self.q_proj(queries), self.k_proj(x), self.v_proj(x)))
        dropped = self.regularisation.attention if self.training else 0.0
        mixed = attend(q, k, v, mask, dropped)  # (batch, heads, queries, head_dim)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, self.head_dim).transpose(1, 2)


class Block(Regularised):
    """Attention and feed-forward, each with a residual; its norms come after (post-norm) or before (pre-norm)."""

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__()
        dim, ffn = config.dim, config.ffn[layer]
        self.pre_norm = config.pre_norm
        self.attention = Attention(dim, config.heads[layer], config.head_dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn)
        self.fc2 = nn.Linear(ffn, dim)
        self.final_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None, wanted: Tensor | None = None) -> Tensor:
        """(batch, frames, dim) to the same shape, or of the ``wanted`` frames (batch, frames) alone: (wanted, dim).

        What is made of one frame, all but keys and values, is made of those only.
        """
        if wanted is None:
            return self._block(x, x, mask)
        rows, filled = padded_rows(wanted)
        return self._block(x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1])), x, mask)[filled]

    def _block(self, of: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.pre_norm:
            normed = self.attention_norm(x)
            of = of + self._attend(normed if of is x else self.attention_norm(of), normed, mask)
            return of + self._feed_forward(self.final_norm(of))
        of = self.attention_norm(of + self._attend(of, x, mask))
        return self.final_norm(of + self._feed_forward(of))

    def _attend(self, queries: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.dropout(self.attention(queries, x, mask), self.regularisation.dropout)

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner = self.dropout(F.gelu(self.fc1(x)), self.regularisation.activation)
        return self.dropout(self.fc2(inner), self.regularisation.dropout)


class Transformer(Regularised):
    """Positions, a norm, and the blocks (fairseq: ``TransformerEncoder``)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.positions = Positions(config.dim, config.position_kernel, config.position_groups)
        self.norm = nn.LayerNorm(config.dim)  # before the first block, or after the last one (pre-norm)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        *,
        read: Read | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Projected features (batch, frames, dim) to the last hidden state, of the same shape.

        ``valid`` (batch, frames) is False for padding. ``read`` sees every hidden state as it is made. Where only some
        frames of the last state are ``wanted`` (batch, frames), it is (wanted, dim), and the last block costs less.
        """
        read = read or _nobody
        mask = None if valid is None else valid[:, None, None]
        read("projection", x)
        if valid is not None:
            x = x.where(valid[..., None], 0)
        x = x + self.positions(x)
        if not self.pre_norm:
            x = self.norm(x)
        x = self.dropout(x, self.regularisation.dropout)
        read("input", x)
        for number, layer in enumerate(self.layers, start=1):
            of = wanted if number == len(self.layers) else None
            if self.drops(self.regularisation.layerdrop):
                x = left_out(x if of is None else x[of], layer)
            else:
                x = layer(x, mask, of)
            read(number, x)
        if self.pre_norm:
            x = self.norm(x)
        read("output", x)
        return x


def _nobody(_: Point, __: Tensor) -> None:
    pass


def padded_rows(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Each sequence's wanted frames, as indices padded with 0, and where these are no padding: (batch, most), both."""
    counts = wanted.sum(1)
    filled = valid_frames(counts, int(counts.max()))
    rows = torch.zeros_like(filled, dtype=torch.int64)
    rows[filled] = wanted.nonzero()[:, 1]
    return rows, filled


def valid_frames(num_frames: Tensor, longest: int) -> Tensor:
    """(batch, longest): True for a sequence's own frames, False for the padding behind them."""
    return torch.arange(longest, device=num_frames.device) < num_frames[:, None]
