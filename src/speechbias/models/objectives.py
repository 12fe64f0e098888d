"""The three pre-training models by family: built, drawn, counted. An objective owns its encoder.

What an objective computes comes with pre-training; here is what it holds, because Table 2 counts it and checkpoints
carry it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from speechbias.models.config import EncoderConfig, Family, sized
from speechbias.models.hubert import HubertObjective, HubertSettings
from speechbias.models.initialisation import initialise_network
from speechbias.models.melhubert import MelHubertObjective, MelHubertSettings
from speechbias.models.wav2vec2 import Wav2Vec2Objective, Wav2Vec2Settings

Objective = Wav2Vec2Objective | HubertObjective | MelHubertObjective
Settings = Wav2Vec2Settings | HubertSettings | MelHubertSettings


@dataclass(frozen=True)
class Kind:
    """The objective of one family, and its settings."""

    objective: Any
    settings: Any


KINDS: Mapping[Family, Kind] = {
    "wav2vec2": Kind(Wav2Vec2Objective, Wav2Vec2Settings),
    "hubert": Kind(HubertObjective, HubertSettings),
    "melhubert": Kind(MelHubertObjective, MelHubertSettings),
}


def objective(config: EncoderConfig, settings: Settings) -> Objective:
    """The pre-training model around an encoder of this config; weights are not drawn."""
    made: Objective = KINDS[config.family].objective(config, settings)
    return made


def published_settings(family: Family, size: str) -> Settings:
    """The settings with which a size was published."""
    made: Settings = KINDS[family].objective.settings(size)
    return made


def untrained(family: Family, size: str, *, seed: int) -> Objective:
    """A model as training starts from it: step 0 of the paper's Figure 1. The same seed draws the same weights."""
    with torch.device("meta"):
        made = objective(sized(family, size), published_settings(family, size))
    made.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    initialise_network(made.encoder, generator)
    with torch.no_grad():
        made.initialise(generator)
    return made.eval().requires_grad_(requires_grad=False)


def count_parameters(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
