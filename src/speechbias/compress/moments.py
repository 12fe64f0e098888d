"""Adam's moments through a cut: what is left of a weight keeps what is left of its moments.

The public code builds a new optimiser after each cut of heads or rows, and every weight forgets its gradients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from speechbias.compress.surgery import Cut


def trained_names(objective: nn.Module) -> list[str]:
    """Names of the trained parameters, in the order in which ``make_optimiser`` counts them."""
    return [name for name, parameter in objective.named_parameters() if parameter.requires_grad]


def carried(state: Mapping[str, Any], names: Sequence[str], cut: Cut) -> dict[str, Any]:
    """The state of an optimiser over parameters of these names, as it is after the cut. Numbers of updates stay."""

    def left(name: str, value: Any) -> Any:
        return cut.apply(name, value) if isinstance(value, Tensor) and value.dim() else value

    moments = {
        place: {key: left(names[place], value) for key, value in held.items()}
        for place, held in state["state"].items()
    }
    return {**state, "state": moments}
