"""What HuBERT's pre-training adds to the encoder: mask embedding, a projection, an embedding per label (Section 2.1).

Counterpart: fairseq's ``HubertModel``. Table 2 counts 504 labels: 500 clusters and the 4 special symbols of fairseq's
dictionary.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechbias.models.config import EncoderConfig
from speechbias.models.initialisation import initialise_linear
from speechbias.models.network import Network


@dataclass(frozen=True)
class HubertSettings:
    """Sizes of the objective. ``labels`` counts fairseq's four special symbols too."""

    final_dim: int = 256
    labels: int = 504


class HubertObjective(nn.Module):
    """A HuBERT model as it is pre-trained; ``encoder`` is what is measured."""

    def __init__(self, config: EncoderConfig, settings: HubertSettings) -> None:
        super().__init__()
        self.encoder = Network(config)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim))
        self.final_proj = nn.Linear(config.dim, settings.final_dim)
        self.label_embeddings = nn.Parameter(torch.empty(settings.labels, settings.final_dim))

    @staticmethod
    def settings(size: str) -> HubertSettings:
        """The published settings of a size: large compares in 768 dimensions."""
        return HubertSettings(final_dim=768) if size == "large" else HubertSettings()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder (fairseq: HubertModel)."""
        nn.init.uniform_(self.mask_embedding, generator=generator)
        nn.init.uniform_(self.label_embeddings, generator=generator)
        initialise_linear(self.final_proj, generator)
