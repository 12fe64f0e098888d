"""What a checkpoint of ours, or of somebody whose model is one of our networks, says of itself."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from speechbias.checkpoint.content import Checkpoint
from speechbias.inspection.description import Description, Layer
from speechbias.inspection.operations import network_macs
from speechbias.models.config import EncoderConfig, MelFrontend

Tensors = Mapping[str, Tensor]


def describe_checkpoint(checkpoint: Checkpoint, described: Description) -> Description:
    """``described``, what is known of every encoder, with what its config, tensors and meta add."""
    meta, whole = checkpoint.meta, _count(checkpoint.tensors) + _count(checkpoint.objective_tensors)
    return dataclasses.replace(
        describe_config(checkpoint.config, checkpoint.tensors, described),
        parameters_with_objective=whole if checkpoint.settings else None,
        nonzero=count_nonzero(checkpoint.tensors),
        sparsity=_sparsity(checkpoint),
        step=meta.step,
        provenance=dict(meta.provenance),
    )


def describe_config(config: EncoderConfig, tensors: Tensors, described: Description) -> Description:
    """``described`` with what shapes alone show; ``tensors`` may lie on the meta device."""
    return dataclasses.replace(
        described,
        parameters=_count(tensors),
        layers=_layers(config, tensors),
        front_end=_front_end(config),
        pre_norm=config.pre_norm,
        positions={"kernel": config.position_kernel, "groups": config.position_groups},
        student=config.student,
        macs=network_macs(config),
    )


def count_nonzero(tensors: Tensors) -> int:
    """How many numbers of some tensors are not 0."""
    return sum(int(torch.count_nonzero(tensor)) for tensor in tensors.values())


def _count(tensors: Tensors) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _sparsity(checkpoint: Checkpoint) -> float | None:
    """What a reader or a maker has recorded of the masks; else the zeros of the layers' matrices, counted.

    Biases and norms are not counted: they are zero in an untrained model.
    """
    recorded = checkpoint.meta.provenance.get("sparsity")
    if isinstance(recorded, int | float):
        return float(recorded)
    if (pruning := checkpoint.meta.pruning) and pruning.method == "weights":
        return round(1 - pruning.remaining / pruning.of, 6) or None
    matrices = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("transformer.layers.") and tensor.ndim == 2
    }
    return round(1 - count_nonzero(matrices) / _count(matrices), 6) or None


def _layers(config: EncoderConfig, tensors: Tensors) -> tuple[Layer, ...]:
    def parameters(index: int) -> int:
        prefix = f"transformer.layers.{index}."
        return _count({name: tensor for name, tensor in tensors.items() if name.startswith(prefix)})

    widths = enumerate(zip(config.heads, config.ffn, strict=True))
    return tuple(Layer(i + 1, heads, config.head_dim, ffn, parameters(i)) for i, (heads, ffn) in widths)


def _front_end(config: EncoderConfig) -> dict[str, object]:
    """The settings of the front end; what normalises a wave stands in the recipe."""
    kind = "log-mel" if isinstance(config.frontend, MelFrontend) else "convolutions"
    settings = dataclasses.asdict(config.frontend)
    return {"kind": kind, **{key: value for key, value in settings.items() if key != "wave_norm_eps"}}
