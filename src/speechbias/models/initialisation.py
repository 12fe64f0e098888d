"""Fresh weights as fairseq and MelHuBERT draw them: the model at step 0.

Every draw takes a generator; nothing is seeded globally. The encoder's linear maps are N(0, 0.02) with zero bias
(fairseq: ``init_bert_params``), the projection in front of it keeps torch's default, the position convolution is
N(0, sqrt(4 / (kernel x dim))), the front end's convolutions are He-normal (``kaiming_normal_``).
"""

import math

import torch
from torch import nn
from torch.nn import init

from speechbias.models.network import Network
from speechbias.models.transformer import Positions


def initialise_network(network: Network, generator: torch.Generator) -> None:
    """Draw every weight of an encoder in place."""
    with torch.no_grad():
        if network.frontend is not None:
            for conv in network.frontend.convs:
                assert isinstance(conv, nn.Conv1d)
                _initialise_conv(conv, generator)
        if network.projection is not None:
            initialise_linear(network.projection, generator)
        _initialise_positions(network.transformer.positions, generator)
        for module in network.transformer.layers.modules():
            if isinstance(module, nn.Linear):
                init.normal_(module.weight, std=0.02, generator=generator)
                init.zeros_(module.bias)
        for module in network.modules():
            if isinstance(module, nn.LayerNorm | nn.GroupNorm):
                init.ones_(module.weight)
                init.zeros_(module.bias)


def initialise_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """The default draw of torch of a linear map, from a generator: uniform within 1 / sqrt(inputs), bias too."""
    bound = 1 / math.sqrt(linear.in_features)
    for values in (linear.weight, linear.bias):
        init.uniform_(values, -bound, bound, generator=generator)


def _initialise_conv(conv: nn.Conv1d, generator: torch.Generator) -> None:
    init.kaiming_normal_(conv.weight, generator=generator)
    if conv.bias is not None:  # torch's default, which fairseq leaves
        bound = 1 / math.sqrt(conv.weight[0].numel())
        init.uniform_(conv.bias, -bound, bound, generator=generator)


def _initialise_positions(positions: Positions, generator: torch.Generator) -> None:
    conv = positions.conv
    std = math.sqrt(4 / (conv.kernel_size[0] * conv.in_channels))
    # Through the parametrisation: its magnitudes become those of the drawn weight, as when weight norm is put on.
    conv.weight = torch.empty_like(conv.weight).normal_(std=std, generator=generator)
    assert conv.bias is not None
    init.zeros_(conv.bias)
