"""The three pre-training models by family, and distillation: built, drawn, counted. An objective owns its encoder.

``settings`` are sizes, which stand in a checkpoint; ``terms`` are how a loss is put together, which training alone
needs. Called with a ``Batch`` and the number of the update, an objective gives a ``Loss``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from speechbias.models.config import EncoderConfig, Family, sized
from speechbias.models.distillation import Distillation, DistillationSettings
from speechbias.models.hubert import HubertObjective, HubertSettings, HubertTerms
from speechbias.models.initialisation import initialise_network
from speechbias.models.melhubert import MelHubertObjective, MelHubertSettings
from speechbias.models.network import Network
from speechbias.models.wav2vec2 import Wav2Vec2Objective, Wav2Vec2Settings, Wav2Vec2Terms

Objective = Wav2Vec2Objective | HubertObjective | MelHubertObjective | Distillation
Settings = Wav2Vec2Settings | HubertSettings | MelHubertSettings | DistillationSettings
Terms = Wav2Vec2Terms | HubertTerms  # MelHuBERT has nothing to weigh


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
    """The model that is trained around an encoder of this config; weights are not drawn."""
    if isinstance(settings, DistillationSettings):
        return Distillation(config, settings)
    made: Objective = KINDS[config.family].objective(config, settings)
    return made


def published_settings(family: Family, size: str) -> Settings:
    """The settings with which a size was published."""
    made: Settings = KINDS[family].objective.settings(size)
    return made


def published_terms(family: Family, size: str) -> Terms | None:
    """The terms of the loss with which a size was published: what to set as ``terms`` before training; None: none."""
    made: Terms | None = getattr(KINDS[family].objective, "published_terms", lambda _: None)(size)
    return made


def untrained(family: Family, size: str, *, seed: int) -> Objective:
    """A model as training starts from it: step 0 of the paper's Figure 1. The same seed draws the same weights."""
    made = fresh(sized(family, size), published_settings(family, size), seed=seed)
    return made.eval().requires_grad_(requires_grad=False)


def fresh(config: EncoderConfig, settings: Settings, *, seed: int) -> Objective:
    """The pre-training model around an encoder of this config, its weights drawn from a seed."""
    with torch.device("meta"):
        made = objective(config, settings)
    _take_memory(made)
    generator = torch.Generator().manual_seed(seed)
    initialise_network(made.encoder, generator)
    with torch.no_grad():
        made.initialise(generator)
    return made


def fresh_encoder(config: EncoderConfig, *, seed: int) -> Network:
    """The encoder of ``fresh``, the same to the last bit, without a model around it."""
    with torch.device("meta"):
        made = Network(config)
    _take_memory(made)
    initialise_network(made, torch.Generator().manual_seed(seed))
    return made


def _take_memory(module: nn.Module) -> None:
    """Memory for a module on the meta device; to_empty() imports torch's compiler: 40 MB and a second."""
    memory = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in module.state_dict().items()}
    module.load_state_dict(memory, assign=True)


def count_parameters(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
