"""Tiny checkpoints of the three families, every parameter drawn, for the tests of what is exported."""

from dataclasses import replace

import numpy as np
import torch

from speechbias.checkpoint.content import Checkpoint, Meta, of_objective
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.hubert import HubertSettings
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import objective
from speechbias.models.wav2vec2 import Wav2Vec2Settings

SETTINGS = {
    "wav2vec2": Wav2Vec2Settings(final_dim=8, groups=2, entries=4, code_dim=8),
    "hubert": HubertSettings(final_dim=8, labels=12),
    "melhubert": MelHubertSettings(clusters=10),
}
MEL_STATS = np.stack([np.linspace(10, 16, 40), np.linspace(3, 5, 40)])


def tiny(family="hubert", norm="group", blocks="post", **changes):
    front = WaveFrontend(channels=(8,) * 7, norm=norm, bias=norm == "layer")
    config = EncoderConfig(
        family=family,
        frontend=MelFrontend() if family == "melhubert" else front,
        dim=16,
        head_dim=4,
        heads=(4, 4, 4),
        ffn=(32, 32, 32),
        pre_norm=blocks == "pre",
        position_kernel=16,
        position_groups=2,
    )
    return replace(config, **changes)


def drawn(config):
    """A whole pre-training model with every parameter drawn, so that no norm is the identity."""
    model = objective(config, SETTINGS[config.family])
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def saved(folder, config, *, whole=True, **meta):
    checkpoint = of_objective(folder.name, drawn(config), SETTINGS[config.family], meta=Meta(**meta))
    if not whole:
        checkpoint = Checkpoint(folder.name, config, checkpoint.tensors, meta=checkpoint.meta)
    return save_checkpoint(folder, checkpoint)
