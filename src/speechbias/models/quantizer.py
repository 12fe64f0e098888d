"""wav2vec 2.0's product quantisation: codes chosen by a Gumbel softmax, and how evenly they are used.

Each frame chooses one entry of every group's codebook, and its vector is the entries side by side. In training the
choice is drawn (logits + Gumbel noise, over a temperature), and its gradient is that of the softmax it was drawn from
(straight-through). Diversity is judged by the softmax without noise and temperature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.losses import precise

SMALLEST = 1e-7  # inside the logarithm of an entropy (fairseq)


@dataclass(frozen=True, eq=False)
class Quantised:
    """What the quantizer makes of frames.

    ``vectors`` (frames, code_dim); ``codes`` (frames,), one integer for each combination of entries; ``chosen``
    (frames, groups, entries) is 1 at the entry taken; ``probabilities``, of the same shape, have no noise in them.
    """

    vectors: Tensor
    codes: Tensor
    chosen: Tensor
    probabilities: Tensor


class Quantizer(nn.Module):
    """Codebooks of product quantisation: ``groups`` of ``entries`` codes (fairseq: ``GumbelVectorQuantizer``)."""

    def __init__(self, dim: int, groups: int, entries: int, code_dim: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        self.codes = nn.Parameter(torch.empty(1, groups * entries, code_dim // groups))
        self.weight_proj = nn.Linear(dim, groups * entries)

    def forward(self, x: Tensor, gumbel: Tensor | None, temperature: float) -> Quantised:
        """Frames (frames, dim); ``gumbel`` (frames, groups * entries) noise, None: the likeliest entries are taken."""
        logits = precise(self.weight_proj(x)).view(len(x), self.groups, self.entries)
        noisy = logits if gumbel is None else (logits + gumbel.view_as(logits)) / temperature
        entries = noisy.argmax(-1)  # (frames, groups)
        chosen = F.one_hot(entries, self.entries).to(logits.dtype)
        weights = chosen
        if gumbel is not None:
            soft = noisy.softmax(-1)
            weights = chosen + (soft - soft.detach())  # exactly what was chosen, in this order of sums
        books = self.codes.view(self.groups, self.entries, -1)
        vectors = torch.einsum("fge,ged->fgd", weights, books).flatten(1)
        places = self.entries ** torch.arange(self.groups, device=x.device)
        return Quantised(vectors, (entries * places).sum(1), chosen, logits.softmax(-1))


def perplexity(used: Tensor) -> Tensor:
    """How many entries are in use: exp(entropy) of their shares (groups, entries), summed over groups."""
    return (-(used * (used + SMALLEST).log()).sum(-1)).exp().sum()


def diversity_loss(used: Tensor) -> Tensor:
    """The share of all entries that is not in use: 0 where all are used alike."""
    return (used.numel() - perplexity(used)) / used.numel()
