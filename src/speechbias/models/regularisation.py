"""What the network does in training only: dropout, LayerDrop, and a slower front end.

None of it belongs to a checkpoint. ``Network.regularise`` says how strong it is, and in eval mode nothing of it is
there. Dropout draws from torch's global generators, because it takes no other: a training step forks and seeds them
around itself (``torch.random.fork_rng``). LayerDrop draws from a generator of its own where ``layers_drawn`` names
one, so that batches of one update with different dropout leave out the same layers, on whatever ranks they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechbias.models.config import Family
from speechbias.models.dropout import dropout


@dataclass(frozen=True)
class Regularisation:
    """Probabilities, each at the place that fairseq's name says, and the factor on the front end's gradient."""

    dropout: float = 0.0  # before the first block, after attention, after feed-forward (fairseq: dropout)
    attention: float = 0.0  # of attention weights (fairseq: attention_dropout)
    activation: float = 0.0  # between the two linear maps of feed-forward (fairseq: activation_dropout)
    input: float = 0.0  # of what the projection gives (fairseq: dropout_input)
    features: float = 0.0  # of what the quantizer takes (fairseq: dropout_features)
    layerdrop: float = 0.0  # of a whole block (fairseq: layerdrop)
    feature_grad_mult: float = 1.0  # 0: the front end is not trained (fairseq: feature_grad_mult)

    def __post_init__(self) -> None:
        """Refuse what is no probability. ValueError; who reads a recipe says of which."""
        for name, value in vars(self).items():
            most = float("inf") if name == "feature_grad_mult" else 1.0
            if not 0 <= value < most:
                raise ValueError(f"{name} {value} is not in 0 <= {name} < {most:g}")


OFF = Regularisation()
_layer_draws: ContextVar[torch.Generator | None] = ContextVar("layer_draws", default=None)  # None: torch's own
# fairseq: wav2vec2_base_librispeech, hubert_base_librispeech
WAVES = Regularisation(0.1, attention=0.1, input=0.1, features=0.1, layerdrop=0.05, feature_grad_mult=0.1)
MEL = Regularisation(0.1, attention=0.1, activation=0.1)  # MelHuBERT: no LayerDrop, no front end


def published_regularisation(family: Family, size: str) -> Regularisation:
    """What a size was published with; the small sizes as base.

    wav2vec 2.0 large is that of LibriSpeech, which drops more layers (Baevski et al. 2020, Section 4.2); HuBERT large
    saw 60,000 hours and has none of it (fairseq: hubert_large_librivox).
    """
    if family == "melhubert":
        return MEL
    if size != "large":
        return WAVES
    if family == "hubert":
        return OFF
    return Regularisation(0.1, attention=0.1, input=0.1, features=0.1, layerdrop=0.2, feature_grad_mult=0.1)


class Regularised(nn.Module):
    """A module that reads ``regularisation`` in training; ``Network.regularise`` sets it in all of them."""

    regularisation: Regularisation = OFF

    def dropout(self, x: Tensor, probability: float) -> Tensor:
        """``x`` itself in eval mode or at probability 0."""
        return dropout(x, probability) if self.training and probability > 0 else x

    def drops(self, probability: float) -> bool:
        """Whether a layer is left out this time."""
        return self.training and probability > 0 and float(torch.rand((), generator=_layer_draws.get())) < probability


@contextmanager
def layers_drawn(generator: torch.Generator) -> Iterator[None]:
    """LayerDrop of this thread by a generator of the CPU, wherever the model runs."""
    token = _layer_draws.set(generator)
    try:
        yield
    finally:
        _layer_draws.reset(token)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x``, whose gradient is multiplied by a factor on its way back (fairseq: GradMultiply)."""
    return x if factor == 1 else _ScaledGradient.apply(x, factor)  # type: ignore[no-untyped-call]


def left_out(x: Tensor, layer: nn.Module) -> Tensor:
    """``x`` past a layer that is left out: it costs nothing, and its parameters get a gradient of zero.

    Without that, distributed training waits for a gradient that never comes, or has to search the graph in each step.
    """
    return _LeftOut.apply(x, *layer.parameters())  # type: ignore[no-untyped-call]


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


class _LeftOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = zip(ctx.parameters, ctx.needs_input_grad[1:], strict=True)
        return gradients[0], *(torch.zeros_like(p) if needs else None for p, needs in needed)
