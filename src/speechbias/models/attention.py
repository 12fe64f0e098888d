"""Attention on q, k, v (batch, heads, frames, head_dim), with dropout of its weights in training.

Where nothing is dropped, and on a GPU, torch's kernels compute. On a CPU they have none with dropout: they make every
(batch, heads, frames, frames) matrix several times in memory. ``_Attention`` goes head by head, so what it makes of a
head stays in the cache, and keeps its weights and one byte per weight for the way back. The same sums.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from speechbias.models.dropout import kept, kept_scale


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropped: float) -> Tensor:
    """Mixed values, of q's shape; ``mask`` (batch, 1, 1, frames) is False for what is never attended to."""
    if not dropped or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask, dropped)
    with torch.autocast("cpu", enabled=False):
        mixed: Tensor = _Attention.apply(q, k, v, (mask, dropped))  # type: ignore[no-untyped-call]
    return mixed


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, how: tuple[Tensor | None, float]) -> Tensor:
        mask, dropped = how
        batch, heads, frames, size = q.shape
        ctx.size, ctx.scale = size**-0.5, kept_scale(dropped)
        q, k, v = (x.reshape(-1, frames, size) for x in (q * ctx.size, k, v))  # each head's rows in one piece
        weights, mixed = q.new_empty(batch * heads, frames, frames), torch.empty_like(q)
        keep = torch.empty_like(weights, dtype=torch.uint8)
        for i, out in enumerate(mixed):
            scores = q[i] @ k[i].T
            if mask is not None:
                scores.masked_fill_(~mask[i // heads, 0], float("-inf"))
            torch.softmax(scores, -1, out=weights[i])
            keep[i] = kept((frames, frames), dropped)
            torch.mm(weights[i] * keep[i].to(q.dtype), v[i], out=out)
        ctx.save_for_backward(q, k, v, weights, keep)
        return mixed.mul_(ctx.scale).view(batch, heads, frames, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, keep = ctx.saved_tensors
        shape = gradients[0].shape
        g = (gradients[0] * ctx.scale).reshape(q.shape)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for i, weight in enumerate(weights):
            stays = keep[i].to(q.dtype)
            torch.mm((weight * stays).T, g[i], out=dv[i])
            of_weights = (g[i] @ v[i].T).mul_(stays)
            of_scores = torch._softmax_backward_data(of_weights, weight, -1, q.dtype)  # noqa: SLF001 (autograd's own)
            torch.mm(of_scores, k[i], out=dq[i])
            torch.mm(of_scores.T, q[i], out=dk[i])
        return dq.mul_(ctx.size).view(shape), dk.view(shape), dv.view(shape), None
