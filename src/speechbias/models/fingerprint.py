"""What fixes the digits of a network: hashes of its shapes and weights, and everything beside them in words."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from speechbias.models.config import EncoderConfig, MelFrontend
from speechbias.models.conventions import in_words
from speechbias.models.device import choose_device, choose_dtype
from speechbias.models.distillation import Heads
from speechbias.models.masked import plain_tensors
from speechbias.models.mel import MelStats, log_mel_recipe, mel_recipe
from speechbias.models.network import Network
from speechbias.models.packed import PACKED, PLAIN, is_packed
from speechbias.models.transformer import Point


def network_sha256(network: Network) -> str:
    """``weights_sha256`` of a network in memory."""
    return weights_sha256(network.config, plain_tensors(network))


def weights_sha256(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the config and of every tensor (name, dtype, shape, bytes), in the order of their names."""
    return tensors_sha256(asdict(config), tensors)


def front_sha256(
    config: EncoderConfig, weights: Mapping[str, Tensor], *, device: str = "cpu", dtype: str = "float32"
) -> str:
    """What fixes the digits of ``FrozenNetwork.front``: config and ``weights`` of the front end, and how it computes.

    Models of one front end share it, whatever follows.
    """
    front, where, precision = config.frontend, choose_device(device), choose_dtype(dtype)
    if isinstance(front, MelFrontend):
        return tensors_sha256(dict(log_mel_recipe(front.bins)), {})
    by = PACKED if is_packed(where, precision) else PLAIN
    return tensors_sha256([asdict(front), by, torch.device(where).type, dtype], weights)


def tensors_sha256(said: object, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what is said (JSON values) and of every tensor, in the order of their names."""
    total = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def network_recipe(config: EncoderConfig, points: Sequence[Point], mel_stats: MelStats | None) -> dict[str, object]:
    """What beside the weights fixes the states of a network, whatever computes it: its input, which states count."""
    front = config.frontend
    if isinstance(front, MelFrontend):
        fed = mel_recipe(front, mel_stats)
    else:
        eps = front.wave_norm_eps
        fed = {
            "input": "waveform",
            "normalisation": "none" if eps is None else f"zero mean, unit variance, eps {eps:g}",
            "padding": "none",
        }
    return {**fed, "state_0": in_words(points[0], config), "last_state": in_words(points[-1], config)}


def heads_recipe(heads: Heads) -> dict[str, object]:
    """What fixes the states behind the last layer: which layers of the teacher they predict, and their weights."""
    return {
        "heads": f"predictions of the teacher's layers {', '.join(map(str, heads.targets))}",
        "heads_sha256": tensors_sha256(list(heads.targets), heads.state_dict()),
    }
