"""What MelHuBERT's pre-training adds to the encoder: a linear map to 512 clusters (Section 2.1).

Counterpart: ``MelHuBERTModel`` of nervjack2/MelHuBERT. Masked frames are zero in the normalised features, so there is
no mask embedding.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechbias.models.config import EncoderConfig
from speechbias.models.initialisation import initialise_linear
from speechbias.models.network import Network


@dataclass(frozen=True)
class MelHubertSettings:
    """Size of the objective."""

    clusters: int = 512


class MelHubertObjective(nn.Module):
    """A MelHuBERT model as it is pre-trained; ``encoder`` is what is measured."""

    def __init__(self, config: EncoderConfig, settings: MelHubertSettings) -> None:
        super().__init__()
        self.encoder = Network(config)
        self.final_proj = nn.Linear(config.dim, settings.clusters)

    @staticmethod
    def settings(_: str) -> MelHubertSettings:
        """The published settings, the same in every size."""
        return MelHubertSettings()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder."""
        initialise_linear(self.final_proj, generator)
