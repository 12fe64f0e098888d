"""Small pre-training models and batches for tests of losses; everything is drawn from a seed."""

from dataclasses import replace

import torch

from speechbias.models.batch import IGNORED, Batch
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.hubert import HubertSettings
from speechbias.models.initialisation import initialise_network
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import objective
from speechbias.models.wav2vec2 import Wav2Vec2Settings

SETTINGS = {
    "wav2vec2": Wav2Vec2Settings(final_dim=12, groups=2, entries=5, code_dim=8),
    "hubert": HubertSettings(final_dim=12, labels=11),
    "melhubert": MelHubertSettings(clusters=7),
}
FAMILIES = tuple(SETTINGS)
SHAPE = {"dim": 24, "head_dim": 6, "heads": (4, 2, 3), "ffn": (40, 17, 32), "position_kernel": 16}


def made(family, *, seed=0, dtype=torch.float64, **changes):
    """An objective in training mode, with fresh weights."""
    front = MelFrontend() if family == "melhubert" else WaveFrontend((12,) * 7)
    config = replace(EncoderConfig(family, front, **SHAPE, position_groups=4), **changes)
    model = objective(config, SETTINGS[family])
    generator = torch.Generator().manual_seed(seed)
    initialise_network(model.encoder, generator)
    with torch.no_grad():
        model.initialise(generator)
        for layer in model.encoder.transformer.layers:  # attention that is not even
            layer.attention.q_proj.weight.mul_(20)
            layer.attention.k_proj.weight.mul_(20)
    return model.to(dtype).train()


def batch_of(family, frames, *, seed=0, dtype=torch.float64, negatives=9):
    """Sequences of these numbers of frames, half of them masked, with whatever the family learns from."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    lengths = torch.tensor(frames if family == "melhubert" else [320 * count + 100 for count in frames])
    inputs = (
        draw(len(frames), int(lengths.max()), 80) if family == "melhubert" else 0.1 * draw(len(frames), max(lengths))
    )
    longest = max(frames)
    own = torch.arange(longest) < torch.tensor(frames)[:, None]
    mask = (torch.rand(len(frames), longest, generator=generator) < 0.5) & own
    mask[:, :2] = True
    labels = torch.randint(7, mask.shape, generator=generator).where(own, IGNORED)
    batch = Batch(inputs, lengths, mask, labels if family != "wav2vec2" else None)
    if family != "wav2vec2":
        return batch
    start, rows = 0, []
    for count in mask.sum(1).tolist():
        others = torch.randint(count - 1, (count, negatives), generator=generator)
        rows.append(start + others + (others >= torch.arange(count)[:, None]))  # any masked frame but itself
        start += count
    settings = SETTINGS["wav2vec2"]
    exponential = torch.rand(start, settings.groups * settings.entries, generator=generator, dtype=dtype)
    return replace(batch, negatives=torch.cat(rows), gumbel=-(-exponential.log()).log())


def utterance(batch, row, frames):
    """One utterance of a batch, alone and without padding."""
    before, count = (int(batch.mask[rows].sum()) for rows in (slice(row), row))
    own = slice(before, before + count)
    return Batch(
        batch.inputs[row : row + 1, : batch.lengths[row]],
        batch.lengths[row : row + 1],
        batch.mask[row : row + 1, :frames],
        None if batch.labels is None else batch.labels[row : row + 1, :frames],
        None if batch.negatives is None else batch.negatives[own] - before,
        None if batch.gumbel is None else batch.gumbel[own],
    )


def gradients(model, total):
    """The gradient of a loss by parameter."""
    model.zero_grad(set_to_none=True)
    total.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def apart(ours, theirs):
    """Largest difference of two gradients over the largest entry, by the worst parameter."""
    assert ours.keys() == theirs.keys()
    scale = max(gradient.abs().max() for gradient in theirs.values())
    return max(((ours[name] - theirs[name]).abs().max() / scale).item() for name in ours)
