"""How weights move: AdamW, a learning rate that is a pure function of the update, gradients bounded by their norm."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from speechbias.training.recipe_sections import OptimSection


def make_optimiser(model: nn.Module, settings: OptimSection) -> torch.optim.Optimizer:
    """AdamW over every trained parameter (fairseq's ``adam`` decouples weight decay likewise, biases included)."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        trained,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate(update: int, settings: OptimSection, *, steps: int) -> float:
    """The rate of an update, counted from 0: linear growth to ``lr``, then constant, or linear down to 0 at the end.

    Update n moves by n / warmup of the peak (fairseq: ``polynomial_decay``, power 1), so the first one not at all,
    unless there is no warm-up.
    """
    if update < settings.warmup:
        return settings.lr * update / settings.warmup
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * max(steps - update, 0) / max(steps - settings.warmup, 1)


def clip_gradients(parameters: Iterable[Tensor], clip: float) -> float:
    """Scale all gradients down together to the norm ``clip``; 0 leaves them as they are. Returns the norm before."""
    return float(nn.utils.clip_grad_norm_(parameters, clip or float("inf")))
