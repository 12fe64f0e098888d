"""Weights that a mask keeps at zero, by a parametrisation of torch: who trains or measures a module need not know.

A masked ``linear.weight`` is computed at each use: the parameter where the mask is True, 0 elsewhere. The parameter
lies at ``linear.parametrizations.weight.original`` and is the object it was before, so an optimiser goes on with it;
what stands in it under the mask has no effect and gets a gradient of zero. ``plain_tensors`` gives a module's weights
as if nobody had masked it but for the zeros: what is saved, hashed, cut and measured.

Masks are put on by ``compress.masks``; this module stands here so that measuring need not know what compresses.
"""

from collections.abc import Callable, Iterator
from typing import Self

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized


class Mask(nn.Module):
    """Zero wherever ``kept`` (bool, of the weight's shape) is False; no part of a state dict."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept  # no buffer: distributed training sends all buffers to all ranks, in every forward pass

    def forward(self, original: Tensor) -> Tensor:
        """The masked weight; whatever lies under the mask, NaN too, is 0 in it."""
        return original.where(self.kept, 0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # what ``to`` calls
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.kept = fn(self.kept)
        return self


def plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Its state dict, detached, under the names of an unmasked module, with zeros where it is masked.

    Unmasked tensors are the module's own memory, masked ones are new.
    """
    masked = {f"{name}.parametrizations.{part}.original": (name, part) for name, part, _ in masked_parts(module)}
    tensors = {}
    for key, tensor in module.state_dict().items():
        if key in masked:
            name, part = masked[key]
            tensors[f"{name}.{part}"] = getattr(module.get_submodule(name), part).detach()
        else:
            tensors[key] = tensor.detach()
    return tensors


def plain_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Its parameters under the names of an unmasked module: the objects that an optimiser has."""
    masked = {f"{name}.parametrizations.{part}.original": f"{name}.{part}" for name, part, _ in masked_parts(module)}
    return {masked.get(name, name): parameter for name, parameter in module.named_parameters()}


def masked_parts(module: nn.Module) -> Iterator[tuple[str, str, Mask]]:
    """(name of a submodule, ``weight`` or ``bias``, its mask) of every masked tensor of a module."""
    for name, submodule in module.named_modules():
        if not is_parametrized(submodule):
            continue
        for part, chain in submodule.parametrizations.items():
            if isinstance(chain, ParametrizationList) and isinstance(chain[0], Mask):
                yield name, part, chain[0]
