"""Attention with dropout, head by head, against its formula with the same masks, forward and backward."""

import pytest
import torch
from torch.nn import functional as F

from speechbias.models import attention
from speechbias.models.attention import attend
from speechbias.models.dropout import kept, kept_scale

BATCH, HEADS, FRAMES, SIZE = 2, 3, 11, 4
DROPPED = 0.3


def parts(dtype=torch.float64):
    """Three leaves as a block makes them, heads split off a view."""
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(BATCH, FRAMES, HEADS, SIZE, generator=generator, dtype=dtype) for _ in range(3))
    return [(2 * x).requires_grad_() for x in made]


def plain(q, k, v, mask):
    """Section 3.2.1 of Vaswani et al. 2017, with dropout of the weights."""
    scores = q @ k.transpose(2, 3) / SIZE**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    sizes = [len(rows) for rows in torch.arange(q.shape[2]).split(attention.ROWS)]
    keep = torch.cat([kept((size, FRAMES), DROPPED) for _ in range(BATCH * HEADS) for size in sizes])
    return (scores.softmax(-1) * keep.view(scores.shape) * kept_scale(DROPPED)) @ v


def computed(way, leaves, mask):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        mixed = way(*(x.transpose(1, 2) for x in leaves), mask)
    return [mixed.detach(), *torch.autograd.grad(mixed.double().pow(3).sum(), leaves)]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("rows", [4, 128])
@pytest.mark.parametrize("queries", [6, FRAMES])
def test_it_is_the_formula_with_its_gradients(padded, rows, queries, monkeypatch):
    monkeypatch.setattr(attention, "ROWS", rows)
    mask = (torch.arange(FRAMES) < torch.tensor([[FRAMES], [5]]))[:, None, None] if padded else None
    leaves = parts()
    leaves[0] = leaves[0].detach()[:, :queries].requires_grad_()
    ours = computed(lambda *given: attend(*given, DROPPED), leaves, mask)
    for own, reference in zip(ours, computed(plain, leaves, mask), strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_the_formula_within_its_precision():
    leaves = parts(torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    ours = computed(lambda *given: attend(*given, DROPPED), leaves, None)
    for own, reference in zip(ours, computed(plain, exact, None), strict=True):
        assert own.dtype == torch.bfloat16
        assert (own.double() - reference).norm() < 0.03 * reference.norm()


def test_without_dropout_it_is_torchs_own():
    q, k, v = (x.transpose(1, 2) for x in parts())
    assert torch.equal(attend(q, k, v, None, 0.0), F.scaled_dot_product_attention(q, k, v))
