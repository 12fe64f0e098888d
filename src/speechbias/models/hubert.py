"""What HuBERT's pre-training adds to the encoder: mask embedding, a projection, an embedding per label (Section 2.1).

Counterpart: fairseq's ``HubertModel`` and ``HubertCriterion``. Table 2 counts 504 labels: 500 clusters and the 4
special symbols of fairseq's dictionary, which come first: cluster k is row k + 4. No frame has a special symbol for a
label, but as in fairseq they take part in the softmax, where they are learnt as what no frame is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechbias.models.batch import Batch, Loss, Whole
from speechbias.models.config import EncoderConfig
from speechbias.models.initialisation import initialise_linear
from speechbias.models.losses import cosine_logits, count_frames, learnt, mean_square, summed_cross_entropy
from speechbias.models.network import Network

SPECIAL_SYMBOLS = 4  # fairseq's Dictionary: <s>, <pad>, </s>, <unk>


@dataclass(frozen=True)
class HubertSettings:
    """Sizes of the objective. ``labels`` counts fairseq's four special symbols too."""

    final_dim: int = 256
    labels: int = 504


@dataclass(frozen=True)
class HubertTerms:
    """How the loss is put together; no part of a checkpoint. Unmasked frames weigh nothing and have no logits."""

    temperature: float = 0.1  # of the cosines (fairseq: logit_temp)
    features_penalty: float = 10.0  # fairseq: loss_weights[0]
    pooled: bool = True  # the penalty over the whole update; false: of each rank's own batch, as in fairseq

    def __post_init__(self) -> None:
        """Refuse what is no loss. ValueError; who reads a recipe says of which."""
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; give a number above 0")
        if self.features_penalty < 0:
            raise ValueError(f"features_penalty is {self.features_penalty}; give 0 or more")


class HubertObjective(nn.Module):
    """A HuBERT model as it is pre-trained; ``encoder`` is what is measured."""

    def __init__(self, config: EncoderConfig, settings: HubertSettings) -> None:
        super().__init__()
        self.terms = HubertTerms()
        self.encoder = Network(config)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim))
        self.final_proj = nn.Linear(config.dim, settings.final_dim)
        self.label_embeddings = nn.Parameter(torch.empty(settings.labels, settings.final_dim))

    def forward(self, batch: Batch, *, update: int, whole: Whole | None = None) -> Loss:  # noqa: ARG002 (wav2vec 2.0)
        """Cross-entropy of the labels of masked frames, and the batch's share in the features' penalty.

        That is a mean over all frames of the ``whole`` update, times its masked frames. Alone, and where terms are not
        ``pooled``, over this batch's (fairseq).
        """
        encoder, lengths = self.encoder, batch.padded_lengths
        features = encoder.features(batch.inputs, lengths)  # (batch, frames, channels)
        valid = encoder.valid(features, lengths)
        visible = torch.where(batch.mask[..., None], self.mask_embedding, encoder.project(features))
        frames, labels = learnt(batch)
        labels = labels + SPECIAL_SYMBOLS
        hidden = encoder.transformer(visible, valid, wanted=frames)  # (learnt, dim)
        logits = self.logits(hidden)
        cross_entropy = summed_cross_entropy(logits, labels)
        masked = len(labels)
        whole = whole if whole and self.terms.pooled else Whole(masked, count_frames(features, valid), masked)
        penalty = self.terms.features_penalty * mean_square(features, valid, whole.frames) * whole.masked
        parts = {
            "cross_entropy": cross_entropy.detach(),
            "features_penalty": penalty.detach(),
            "correct": (logits.detach().argmax(-1) == labels).sum(),
        }
        return Loss(cross_entropy + penalty, masked, parts)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (frames, dim) against all labels, special symbols first: (frames, labels)."""
        return cosine_logits(self.final_proj(hidden), self.label_embeddings, self.terms.temperature)

    @staticmethod
    def settings(size: str) -> HubertSettings:
        """The published settings of a size: large compares in 768 dimensions."""
        return HubertSettings(final_dim=768) if size == "large" else HubertSettings()

    @staticmethod
    def published_terms(_: str) -> HubertTerms:
        """The published terms, the same in every size."""
        return HubertTerms()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder (fairseq: HubertModel)."""
        nn.init.uniform_(self.mask_embedding, generator=generator)
        nn.init.uniform_(self.label_embeddings, generator=generator)
        initialise_linear(self.final_proj, generator)
