"""Weights that stay in place at zero: which (global L1), and how they are kept there while a model trains on.

Prunable are the weights and biases of q, k, v, out, fc1 and fc2 of every layer, 85,017,600 numbers of a base model;
norms, positions, front end, projection and objective are not (Section 2.3; public counterpart: ``weight_pruning`` of
nervjack2/Speech-SSL-Compression). A sparsity is the share of all of them that is masked, those masked before included:
round(sparsity x numbers), the smallest absolute values wherever they are, so layers differ in theirs. Of equal values
those go first that come first: by layer, then in the order of ``PARTS``, weight before bias, then by place. The public
code leaves that to ``torch.topk``.

A mask is a bool tensor by the parameter's name as in ``Network.state_dict()``; True is kept.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from speechbias.compress.subjects import Subject, config_of, network_of, remade
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig
from speechbias.models.masked import Mask, masked_parts, plain_parameters
from speechbias.models.network import Network

Masks = dict[str, Tensor]
Floats = NDArray[np.floating]
PARTS = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj", "fc1", "fc2")
SAMPLE, SLACK = 100_000, 1_000  # numbers in a sample, and places to either side: six standard deviations


class Packed(TypedDict):
    """A mask in an eighth of its size: what ``trainer.pt`` may hold."""

    bits: Tensor  # uint8, of numpy.packbits
    shape: list[int]


def prunable(config: EncoderConfig) -> list[str]:
    """Names of the parameters that are masked, in the order in which equal values go."""
    layers = range(config.num_layers)
    return [f"transformer.layers.{n}.{part}.{kind}" for n, part, kind in product(layers, PARTS, ("weight", "bias"))]


def weight_masks(encoder: Any, sparsity: float, previous: Mapping[str, Tensor] | None = None) -> Masks:
    """Masks at this sparsity, by the smallest absolute values of all prunable weights together.

    ``encoder`` is a loaded encoder, a network or an objective. What ``previous`` masks stays masked; None: the masks
    that are installed, if any. InputError for a sparsity not in 0 to below 1, or below that of ``previous``.
    """
    return _masks(encoder, sparsity, previous, _magnitudes)


def random_masks(encoder: Any, sparsity: float, *, seed: int, previous: Mapping[str, Tensor] | None = None) -> Masks:
    """Masks at this sparsity that look at no weight: the control to ``weight_masks``.

    One order of all prunable numbers is drawn from the seed, so masks of a higher sparsity hold those of a lower one.
    """
    return _masks(encoder, sparsity, previous, partial(_drawn, seed=seed))


def _masks(
    encoder: Any, sparsity: float, previous: Mapping[str, Tensor] | None, score: Callable[[Network], Floats]
) -> Masks:
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity is {sparsity}; give a share of the weights from 0 to below 1")
    network = network_of(encoder)
    previous = masks_of(network) if previous is None else previous
    check_fit(network, previous)
    scores = score(network)
    count = round(sparsity * len(scores))
    if count >= len(scores):
        raise InputError(f"sparsity {sparsity} of {len(scores):,} weights leaves none; give a smaller one")
    before = sum(mask.numel() - int(torch.count_nonzero(mask)) for mask in previous.values())
    if before > count:
        raise InputError(
            f"sparsity {sparsity} is below the {before / len(scores):.4g} that is masked already; give that or more"
        )
    names, shapes = prunable(network.config), _shapes(network)
    pieces = np.split(scores, np.cumsum([shapes[name].numel() for name in names])[:-1])  # views
    for name, piece in zip(names, pieces, strict=True):
        if name in previous:
            piece[~previous[name].cpu().numpy().reshape(-1)] = -1  # below every other
    kept = torch.split(torch.from_numpy(~_lowest(scores, count)), [len(piece) for piece in pieces])
    device = next(network.parameters()).device
    return {name: mask.view(shapes[name]).to(device) for name, mask in zip(names, kept, strict=True)}


def _magnitudes(network: Network) -> Floats:
    """Absolute values of all prunable weights, one behind the other: float32, or the weights' own dtype if wider."""
    names, shapes = prunable(network.config), _shapes(network)
    first = next(network.parameters()).dtype
    flat = torch.empty(sum(shapes[name].numel() for name in names), dtype=torch.promote_types(first, torch.float32))
    start = 0
    for name in names:
        owner, _, part = name.rpartition(".")
        weight: Tensor = getattr(network.get_submodule(owner), part)  # masked ones are made one after the other
        stop = start + weight.numel()
        flat[start:stop] = weight.detach().flatten()
        start = stop
    flat.abs_()
    if not bool(torch.isfinite(flat.sum())) and not bool(torch.isfinite(flat).all()):
        raise InputError("the encoder's weights hold NaN or Inf; take an earlier checkpoint")
    magnitudes: Floats = flat.numpy()
    return magnitudes


def _drawn(network: Network, *, seed: int) -> Floats:
    shapes = _shapes(network)
    total = sum(shapes[name].numel() for name in prunable(network.config))
    return np.random.default_rng(seed).random(total, np.float32)


def _shapes(network: Network) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in plain_parameters(network).items()}


def _lowest(scores: Floats, count: int) -> NDArray[np.bool_]:
    """Where the ``count`` lowest are; of those that equal the highest of them, the first."""
    if not count:
        return np.zeros(len(scores), bool)
    threshold = _smallest(scores, count)
    chosen: NDArray[np.bool_] = scores < threshold
    equal = np.flatnonzero(scores == threshold)
    chosen[equal[: count - np.count_nonzero(chosen)]] = True
    return chosen


def _smallest(scores: Floats, count: int) -> Any:
    """The count-th smallest. A sample brackets it, and what lies in the bracket is partitioned.

    Numpy's partition of everything takes seconds where many are equal, as those are that were masked before.
    """
    sample = np.sort(scores[:: max(len(scores) // SAMPLE, 1)])
    place = min(count * len(sample) // len(scores), len(sample) - 1)
    low, high = sample[max(place - SLACK, 0)], sample[min(place + SLACK, len(sample) - 1)]
    rest = count - np.count_nonzero(scores < low)
    at_low = np.count_nonzero(scores == low)
    if 0 < rest <= at_low:
        return low
    between = scores[(scores > low) & (scores < high)]
    rest -= at_low
    if 0 < rest <= len(between):
        return np.partition(between, rest - 1)[rest - 1]
    if low < high and 0 < rest - len(between) <= np.count_nonzero(scores == high):
        return high
    return np.partition(scores, count - 1)[count - 1]  # the sample was not like the whole


def sparsity_of(masks: Mapping[str, Tensor]) -> float:
    """The share of masked numbers, from 0 to 1."""
    numbers = sum(mask.numel() for mask in masks.values())
    kept = sum(int(torch.count_nonzero(mask)) for mask in masks.values())
    return (numbers - kept) / max(numbers, 1)


def apply_masks(encoder: Subject, masks: Mapping[str, Tensor]) -> Subject:
    """A new encoder, checkpoint, network or objective with zeros where it is masked.

    It has as many weights as before and is no faster; nothing keeps its zeros if it is trained on. InputError for
    masks of another network.
    """
    check_fit(network_of(encoder), masks)

    def masked(name: str, tensor: Tensor) -> Tensor:
        return tensor.where(masks[name].to(tensor.device), 0) if name in masks else tensor

    return remade(encoder, config_of(encoder), masked, named=lambda name: f"{name}-sparsity-{sparsity_of(masks):.4g}")


def install(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Keep weights of a network or objective at zero from now on, in place: however it is trained, copied or saved.

    Parameters stay the objects they are, also where masks take the place of earlier ones, so that an optimiser, and
    distributed training, go on with them. InputError for masks of another network.
    """
    network = network_of(module)
    check_fit(network, masks)
    there = {f"{owner}.{part}": mask for owner, part, mask in masked_parts(network)}
    for name in (each for each in prunable(network.config) if each in masks):  # parameters keep their order too
        owner, _, part = name.rpartition(".")
        linear = network.get_submodule(owner)
        own = masks[name].detach().to(getattr(linear, part).device, copy=True)
        if name in there:
            there[name].kept = own
        else:
            register_parametrization(linear, part, Mask(own), unsafe=True)


def masks_of(module: Any) -> Masks:
    """The masks that are installed in a network or objective, by the network's names; empty where none are."""
    return {f"{owner}.{part}": mask.kept for owner, part, mask in masked_parts(network_of(module))}


def packed(masks: Mapping[str, Tensor]) -> dict[str, Packed]:
    """Masks as 8 numbers to a byte, in plain containers."""
    return {
        name: {
            "bits": torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1))),
            "shape": list(mask.shape),
        }
        for name, mask in masks.items()
    }


def unpacked(masks: Mapping[str, Packed]) -> Masks:
    """What ``packed`` packed, on the CPU."""
    made = {}
    for name, mask in masks.items():
        shape = torch.Size(mask["shape"])
        bits = np.unpackbits(mask["bits"].numpy(), count=shape.numel())
        made[name] = torch.from_numpy(bits.astype(bool)).view(shape)
    return made


def check_fit(network: Network, masks: Mapping[str, Tensor]) -> None:
    """InputError, one line, unless these are masks of prunable weights of this network."""
    names, shapes = set(prunable(network.config)), _shapes(network)
    for name, mask in masks.items():
        if name not in names:
            raise InputError(f"{name!r} is no weight of this encoder that can be masked; take masks made for it")
        if mask.shape != shapes[name] or mask.dtype != torch.bool:
            has = f"{mask.dtype} of {' x '.join(map(str, mask.shape))}"
            raise InputError(
                f"the mask of {name} is {has}, not bool of {' x '.join(map(str, shapes[name]))}; take its own"
            )
