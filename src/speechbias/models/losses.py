"""Terms that several objectives have: cosines as logits, cross-entropy over labelled frames, the features' penalty.

Losses are computed in float32 at least, whatever precision the network around them runs in.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from speechbias.models.batch import IGNORED, Batch


def cosine_logits(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Cosines of every x (n, dim) with every y (m, dim), over the temperature: (n, m)."""
    with torch.autocast(x.device.type, enabled=False):
        logits: Tensor = F.linear(unit(x), unit(y)) / temperature
    return logits


def unit(x: Tensor) -> Tensor:
    """Vectors (..., dim) at length 1, in float32 at least."""
    return F.normalize(precise(x), dim=-1, eps=1e-8)


def precise(x: Tensor) -> Tensor:
    """float32, or float64 where it is that already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def summed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over frames of -log softmax at the label; logits (frames, classes), labels (frames,)."""
    return F.cross_entropy(precise(logits), labels, reduction="sum")


def learnt(batch: Batch) -> tuple[Tensor, Tensor]:
    """Which frames are learnt, (batch, frames): the masked ones that have a label; and their labels, (learnt,)."""
    if batch.labels is None:
        raise ValueError("this objective learns labels, and the batch has none")
    frames = batch.mask & (batch.labels != IGNORED)
    return frames, batch.labels[frames]


def mean_square(features: Tensor, valid: Tensor | None, frames: int) -> Tensor:
    """Squared features (batch, frames, channels), summed over the batch's own frames, per value of so many ``frames``.

    The mean over the batch where these are its own (fairseq: features_pen); its share of the mean over an update where
    they are those of the update.
    """
    squares = precise(features).square()
    if valid is not None:
        squares = squares.where(valid[..., None], 0)
    return squares.sum() / (frames * features.shape[-1])


def count_frames(features: Tensor, valid: Tensor | None) -> int:
    """Frames of a batch (batch, frames, channels) that are no padding."""
    return features.shape[0] * features.shape[1] if valid is None else int(valid.sum())
