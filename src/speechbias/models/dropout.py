"""Dropout whose masks cost little on a CPU.

A Bernoulli draw of torch's takes a random number of 32 bits and a comparison for every element, one after the other.
Here torch's global generator seeds a faster one (SFC64) for each mask, and each element takes 16 of its bits, compared
all at once: the same distribution with a probability that is a multiple of 1/65536, by which what is kept is scaled,
so expectations are exact. On other devices torch's own dropout computes.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 1 << 16


def dropout(x: Tensor, probability: float) -> Tensor:
    """Each element 0 with a probability, else scaled up by one over the share that is kept."""
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    return _Dropout.apply(x, kept(x.shape, probability), kept_scale(probability))  # type: ignore[no-untyped-call]


def kept(shape: tuple[int, ...], probability: float) -> Tensor:
    """1 where an element is kept, 0 where it is dropped, uint8 on the CPU."""
    count = math.prod(shape)
    seed = int(torch.randint(2**63 - 1, ()))
    lanes = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy((lanes >= _dropped(probability)).view(np.uint8)).view(shape)


def kept_scale(probability: float) -> float:
    """One over the share of elements that ``kept`` keeps."""
    return STEPS / (STEPS - _dropped(probability))


def _dropped(probability: float) -> int:
    """In how many of ``STEPS`` cases an element is dropped: the nearest, and some are always kept."""
    return min(round(probability * STEPS), STEPS - 1)


class _Dropout(torch.autograd.Function):
    """Keeps one byte per element for the way back; the scale is no part of a mask, which bfloat16 would round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep.to(x.dtype)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return (gradients[0] * keep.to(gradients[0].dtype)).mul_(ctx.scale), None, None
