"""Attention on q, k, v (batch, heads, frames, head_dim), with dropout of its weights in training.

Where nothing is dropped, and on a GPU, torch's kernels compute. On a CPU they have none with dropout: they make every
(batch, heads, queries, frames) matrix several times in memory. ``_Attention`` goes head by head and some queries at a
time, so what it makes of them stays in the cache, and keeps the weights and one byte per weight for the way back. The
same sums.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from speechbias.models.dropout import kept, kept_scale

ROWS = 128  # of 800 frames, in float32: 400 kB, which a core's own cache holds


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropped: float) -> Tensor:
    """Mixed values, of q's shape; ``mask`` (batch, 1, 1, frames) is False for what is never attended to.

    There may be fewer queries than frames.
    """
    if not dropped or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask, dropped)
    with torch.autocast("cpu", enabled=False):
        mixed: Tensor = _Attention.apply(q, k, v, (mask, dropped))  # type: ignore[no-untyped-call]
    return mixed


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, how: tuple[Tensor | None, float]) -> Tensor:
        mask, dropped = how
        batch, heads, queries, size = q.shape
        ctx.size, ctx.scale = size**-0.5, kept_scale(dropped)
        q, k, v = (x.reshape(batch * heads, -1, size) for x in (q * ctx.size, k, v))  # a head's rows in one piece
        weights, mixed = q.new_empty(batch * heads, queries, k.shape[1]), torch.empty_like(q)
        keep = torch.empty_like(weights, dtype=torch.uint8)
        for i, rows in _pieces(q):
            scores = torch.mm(q[i, rows], k[i].T, out=weights[i, rows])
            if mask is not None:
                scores.masked_fill_(~mask[i // heads, 0], float("-inf"))
            torch.softmax(scores, -1, out=scores)
            keep[i, rows] = kept(scores.shape, dropped)
            torch.mm(scores * keep[i, rows].to(q.dtype), v[i], out=mixed[i, rows])
        ctx.save_for_backward(q, k, v, weights, keep)
        return mixed.mul_(ctx.scale).view(batch, heads, queries, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, keep = ctx.saved_tensors
        batch, heads, _, size = gradients[0].shape
        g = (gradients[0] * ctx.scale).reshape(q.shape)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for i, rows in _pieces(q):
            weight, stays = weights[i, rows], keep[i, rows].to(q.dtype)
            dv[i].addmm_((weight * stays).T, g[i, rows])
            of_weights = (g[i, rows] @ v[i].T).mul_(stays)
            of_scores = torch._softmax_backward_data(of_weights, weight, -1, q.dtype)  # noqa: SLF001 (autograd's own)
            torch.mm(of_scores, k[i], out=dq[i, rows])
            dk[i].addmm_(of_scores.T, q[i, rows])
        dq, dk, dv = (x.view(batch, heads, -1, size) for x in (dq.mul_(ctx.size), dk, dv))
        return dq, dk, dv, None


def _pieces(q: Tensor) -> Iterator[tuple[int, slice]]:
    """Head by head, ``ROWS`` queries at a time."""
    for i, first in product(range(q.shape[0]), range(0, q.shape[1], ROWS)):
        yield i, slice(first, first + ROWS)
