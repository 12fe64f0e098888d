"""Objectives of which no weight is at its default, and the same with some of them at zero."""

import copy

import torch

from objectives import FAMILIES, batch_of, made

__all__ = ["FAMILIES", "batch_of", "inputs_of", "random_objective", "states", "with_columns_zero"]


def random_objective(family, *, seed=0, dtype=torch.float64, **changes):
    """An objective whose biases and norms are drawn too; its layers differ in heads and rows."""
    model = made(family, seed=seed, dtype=dtype, **changes)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in model.encoder.transformer.layers.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return model


def inputs_of(family, frames=(30, 17), dtype=torch.float64):
    """A padded batch: (inputs, lengths)."""
    batch = batch_of(family, frames, dtype=dtype)
    return batch.inputs, batch.lengths


def states(network, inputs, lengths=None):
    """Every hidden state of a network in eval mode, of valid frames only."""
    network.eval()
    seen = []
    with torch.no_grad():
        network(inputs, lengths, read=lambda _, hidden: seen.append(hidden))
    if lengths is None:
        return seen
    counts = network.num_frames(lengths)
    return [torch.cat([hidden[row, :count] for row, count in enumerate(counts)]) for hidden in seen]


def with_columns_zero(model, *, heads=None, rows=None):
    """A copy in which the heads' columns of out_proj, or the rows' columns of fc2, are zero, and nothing else."""
    copied = copy.deepcopy(model)
    layers = getattr(copied, "encoder", copied).transformer.layers
    with torch.no_grad():
        for layer, indices in (heads or {}).items():
            attention = layers[layer].attention
            for head in indices:
                attention.out_proj.weight[:, head * attention.head_dim : (head + 1) * attention.head_dim] = 0
        for layer, indices in (rows or {}).items():
            for row in indices:
                layers[layer].fc2.weight[:, row] = 0
    return copied
