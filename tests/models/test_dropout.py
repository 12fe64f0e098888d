"""Dropout from 16 bits an element: the share that is dropped, what expectations do, and where the bits come from."""

import pytest
import torch

from speechbias.models.dropout import dropout, kept, kept_scale


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.75, 1e-5, 0.99999])
def test_the_share_that_is_kept_is_the_one_it_scales_by(probability):
    share = 1 / kept_scale(probability)
    assert share == pytest.approx(1 - probability, abs=0.5 / 65536 + 1e-9)
    count = 4_000_003
    found = kept((count,), probability).double().mean().item()
    assert found == pytest.approx(share, abs=5 * (share * (1 - share) / count) ** 0.5)


def test_each_of_the_four_elements_of_a_draw_is_dropped_alone():
    keep = kept((200_000, 4), 0.5).double()
    assert (keep.mean(0) - 0.5).abs().max() < 0.006
    assert (torch.corrcoef(keep.T) - torch.eye(4)).abs().max() < 0.012
    assert torch.corrcoef(torch.stack([keep[:-1, 0], keep[1:, 0]]))[0, 1].abs() < 0.012


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_elements_are_zero_or_scaled_and_so_are_gradients(dtype):
    x = torch.linspace(1, 2, 35, dtype=dtype).view(5, 7).requires_grad_()
    y = dropout(x, 0.25)
    assert y.dtype == dtype
    assert {0.0, kept_scale(0.25)} == set((y != 0).double().mul(kept_scale(0.25)).unique().tolist())
    torch.testing.assert_close(y, torch.where(y != 0, x * kept_scale(0.25), 0))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y != 0, kept_scale(0.25), 0.0).to(dtype))


def test_the_seed_of_torch_decides():
    torch.manual_seed(5)
    first, other = kept((3, 11), 0.5), kept((3, 11), 0.5)
    torch.manual_seed(5)
    assert torch.equal(kept((3, 11), 0.5), first)
    assert not torch.equal(first, other)


def test_an_empty_tensor_stays_empty():
    assert dropout(torch.zeros(0, 4), 0.1).shape == (0, 4)
