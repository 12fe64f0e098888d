"""Some frames of the last state alone: those of the whole state, with the same gradients, wherever they stand."""

import pytest
import torch

import objectives
from speechbias.models.transformer import padded_rows

FRAMES = torch.tensor([[11], [4], [7]])
VALID = torch.arange(11) < FRAMES


def some(seed, share=0.4):
    """(3, 11): some of the valid frames; none of the second sequence."""
    wanted = (torch.rand(3, 11, generator=torch.Generator().manual_seed(seed)) < share) & VALID
    wanted[1] = False
    return wanted


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("left_out", [False, True])
def test_wanted_frames_are_those_of_the_whole_state(pre_norm, left_out, monkeypatch):
    transformer = objectives.made("melhubert", pre_norm=pre_norm).encoder.transformer
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(3, 11, 24, dtype=torch.float64, generator=draws)
    wanted = some(2)
    answers = []
    for asked in (None, wanted):
        layers = iter([False] * (len(transformer.layers) - 1) + [left_out])
        monkeypatch.setattr(type(transformer), "drops", lambda *_, layers=layers: next(layers))
        given = x.clone().requires_grad_()
        state = transformer(given, VALID, wanted=asked)
        state = state[wanted] if asked is None else state
        leaves = [given, *transformer.parameters()]
        answers.append((state, *torch.autograd.grad(state.pow(3).sum(), leaves, allow_unused=True)))
    for whole, part in zip(*answers, strict=True):
        assert (whole is None) == (part is None)
        if whole is not None:
            torch.testing.assert_close(part, whole, rtol=1e-11, atol=1e-11)


def test_rows_are_padded_behind():
    rows, filled = padded_rows(torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]).bool())
    assert rows.tolist() == [[1, 3], [0, 0], [2, 0]]
    assert filled.tolist() == [[True, True], [False, False], [True, False]]
