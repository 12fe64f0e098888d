"""How weights move: AdamW, a learning rate that is a pure function of the update, gradients bounded by their norm."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from speechbias.training.recipe_sections import OptimSection


def make_optimiser(model: nn.Module, settings: OptimSection, *, decay_biases: bool = True) -> torch.optim.Optimizer:
    """AdamW over every trained parameter (fairseq's ``adam`` decouples weight decay likewise, biases included).

    Without ``decay_biases`` what is named a bias does not decay; weights of norms do (S3PRL's optimisers).
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in trained if decay_biases or "bias" not in name]}
    ]
    if not decay_biases:
        biases = [parameter for name, parameter in trained if "bias" in name]
        groups.append({"params": biases, "weight_decay": 0.0})
    return torch.optim.AdamW(
        groups,
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
