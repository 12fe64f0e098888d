"""Adam's moments through a cut: what is left of a weight keeps what is left of its moments.

The public code builds a new optimiser after each cut of heads or rows, and every weight forgets its gradients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechbias.compress.surgery import Cut
from speechbias.models.masked import plain_parameters


def trained_names(objective: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the trained parameters, of masked ones too, in the order in which the optimiser counts them."""
    names = {parameter: name for name, parameter in plain_parameters(objective).items()}
    return [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]


def carried(state: Mapping[str, Any], names: Sequence[str], cut: Cut) -> dict[str, Any]:
    """The state of an optimiser over parameters of these names, as it is after the cut. Numbers of updates stay."""

    def left(name: str, value: Any) -> Any:
        return cut.apply(name, value) if isinstance(value, Tensor) and value.dim() else value

    moments = {
        place: {key: left(names[place], value) for key, value in held.items()}
        for place, held in state["state"].items()
    }
    return {**state, "state": moments}
