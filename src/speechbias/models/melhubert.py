"""What MelHuBERT's pre-training adds to the encoder: a linear map to 512 clusters (Section 2.1).

Counterpart: ``MelHuBERTModel`` of nervjack2/MelHuBERT. Masked frames are zero in the normalised features, so there is
no mask embedding. The loss has one term, and no constants: unmasked frames weigh nothing and get no logits.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechbias.models.batch import Batch, Loss, Whole
from speechbias.models.config import EncoderConfig
from speechbias.models.initialisation import initialise_linear
from speechbias.models.losses import learnt, summed_cross_entropy
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

    def forward(self, batch: Batch, *, update: int, whole: Whole | None = None) -> Loss:  # noqa: ARG002 (wav2vec 2.0)
        """Cross-entropy of the clusters of masked frames: a sum, to which the rest of an update is nothing."""
        visible = batch.inputs.masked_fill(batch.mask[..., None], 0)
        frames, labels = learnt(batch)
        hidden = self.encoder(visible, batch.padded_lengths, wanted=frames)  # (learnt, dim)
        logits = self.final_proj(hidden)  # (learnt, clusters)
        total = summed_cross_entropy(logits, labels)
        correct = (logits.detach().argmax(-1) == labels).sum()
        return Loss(total, len(labels), {"cross_entropy": total.detach(), "correct": correct})

    @staticmethod
    def settings(_: str) -> MelHubertSettings:
        """The published settings, the same in every size."""
        return MelHubertSettings()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder."""
        initialise_linear(self.final_proj, generator)
