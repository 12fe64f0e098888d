"""A network with a gate on every attention head and every feed-forward row, all open, and gradients of the gates.

A gate is a factor of 1 on what a unit gives: a head before ``out_proj``, a row after GELU before ``fc2``. The gradient
with respect to it is the sum of gradient times weight over all weights that go out of the unit; to first order, its
negative is what changes when the unit is removed. Counterpart: Michel et al. (2019), and the ``data-driven`` head
pruning of nervjack2/Speech-SSL-Compression, both for a loss.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechbias.models.conventions import at_points
from speechbias.models.masked import plain_tensors
from speechbias.models.network import Network, build
from speechbias.models.transformer import Point


class GatedNetwork:
    """Modules of our own on a network's memory, so that the network's stay as they are, gradients and flags too.

    ``gates`` are those of the heads, per layer (heads,), and then those of the rows, per layer (rows,).
    """

    def __init__(self, network: Network, points: Sequence[Point]) -> None:
        self.network, self.points = build(network.config, plain_tensors(network)), points
        heads, rows = [], []
        for layer, block in enumerate(self.network.transformer.layers):
            heads.append(_gate(block.get_submodule("attention.out_proj"), network.config.heads[layer]))
            rows.append(_gate(block.get_submodule("fc2"), network.config.ffn[layer]))
        self.gates = [*heads, *rows]

    def embedding(self, inputs: NDArray[np.float32]) -> Tensor:
        """e_i (dim,), float64: the mean over frames of every state, then over states.

        ``inputs`` are a wave (samples,) or mel frames (frames, dim).
        """
        means: dict[int, Tensor] = {}
        read = at_points(self.points, lambda state, hidden: means.update({state: hidden[0].double().mean(0)}))
        like = self.gates[0]
        self.network(torch.tensor(inputs, dtype=like.dtype, device=like.device)[None], read=read)
        return torch.stack([*means.values()]).mean(0)

    def gradients(self, inputs: NDArray[np.float32], vectors: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """For every vector (dim,) the gradient of its product with the embedding, by gate: one pass, many back."""
        with torch.enable_grad():
            embedding = self.embedding(inputs)
            for left, vector in zip(reversed(range(len(vectors))), vectors, strict=True):
                yield torch.autograd.grad(embedding, self.gates, vector, retain_graph=left > 0)


def _gate(linear: nn.Module, units: int) -> Tensor:
    """Ones (units,), by which the inputs of a linear map are multiplied from now on."""
    assert isinstance(linear, nn.Linear)
    size = linear.in_features // units
    gate = torch.ones(units, dtype=linear.weight.dtype, device=linear.weight.device, requires_grad=True)
    linear.register_forward_pre_hook(lambda _, given: given[0] * gate.repeat_interleave(size))
    return gate
