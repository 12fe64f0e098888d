"""What wav2vec 2.0's pre-training adds to the encoder: mask embedding, quantizer, two projections (Section 2.1).

Counterpart: fairseq's ``Wav2Vec2Model`` and ``Wav2vecCriterion``. The parameters count in Table 2; none of them shapes
a hidden state that is measured.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechbias.models.batch import Batch, Loss, Whole
from speechbias.models.config import EncoderConfig
from speechbias.models.contrastive import contrastive_logits
from speechbias.models.initialisation import initialise_linear
from speechbias.models.losses import count_frames, mean_square, summed_cross_entropy
from speechbias.models.network import Network
from speechbias.models.quantizer import Quantizer, diversity_loss, perplexity


@dataclass(frozen=True)
class Wav2Vec2Settings:
    """Sizes of the objective. ``code_dim`` is the size of a whole quantised vector (fairseq: ``vq_dim``)."""

    final_dim: int = 256
    groups: int = 2
    entries: int = 320
    code_dim: int = 256


@dataclass(frozen=True)
class Wav2Vec2Terms:
    """How the loss is put together; no part of a checkpoint."""

    temperature: float = 0.1  # of the cosines (fairseq: logit_temp)
    diversity: float = 0.1  # fairseq: loss_weights[0]
    features_penalty: float = 10.0  # fairseq: loss_weights[1]
    gumbel_start: float = 2.0  # the temperature of the Gumbel softmax at update 0 (fairseq: latent_temp)
    gumbel_least: float = 0.5
    gumbel_decay: float = 0.999995  # per update
    pooled: bool = True  # diversity and penalty over all ranks; false: of each rank's own batch, as in fairseq

    def __post_init__(self) -> None:
        """Refuse what is no loss. ValueError; who reads a recipe says of which."""
        for name in ("temperature", "gumbel_start", "gumbel_least"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("diversity", "features_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 < self.gumbel_decay <= 1:
            raise ValueError(f"gumbel_decay is {self.gumbel_decay}; it is above 0 and at most 1")

    def gumbel_temperature(self, update: int) -> float:
        """The temperature at an update: it falls until it is the least."""
        return max(self.gumbel_start * self.gumbel_decay**update, self.gumbel_least)


class Wav2Vec2Objective(nn.Module):
    """A wav2vec 2.0 model as it is pre-trained; ``encoder`` is what is measured."""

    def __init__(self, config: EncoderConfig, settings: Wav2Vec2Settings) -> None:
        super().__init__()
        self.terms = Wav2Vec2Terms()
        self.encoder = Network(config)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim))
        self.quantizer = Quantizer(config.frontend.dim, settings.groups, settings.entries, settings.code_dim)
        self.project_q = nn.Linear(settings.code_dim, settings.final_dim)
        self.final_proj = nn.Linear(config.dim, settings.final_dim)

    def forward(self, batch: Batch, *, update: int, whole: Whole | None = None) -> Loss:
        """Contrastive loss, a sum over masked frames; and this batch's share in diversity and features' penalty.

        The penalty is a mean over all frames of the ``whole`` update, diversity one over the masked frames of the
        batches that all ranks take at this time, each times the number of masked frames. Alone, and where terms are
        not ``pooled``, both are this batch's own (fairseq).
        """
        encoder, terms, lengths = self.encoder, self.terms, batch.padded_lengths
        features = encoder.features(batch.inputs, lengths)  # (batch, frames, channels)
        valid = encoder.valid(features, lengths)
        normed = encoder.normed(features)
        visible = torch.where(batch.mask[..., None], self.mask_embedding, encoder.project_normed(normed))
        hidden = encoder.transformer(visible, valid, wanted=batch.mask)  # (masked, dim)
        to_quantise = encoder.dropout(normed[batch.mask], encoder.regularisation.features)
        quantised = self.quantizer(to_quantise, self._gumbel(batch), terms.gumbel_temperature(update))
        logits = self._logits(hidden, quantised.vectors, quantised.codes, batch)
        masked = len(logits)
        contrastive = summed_cross_entropy(logits, logits.new_zeros(masked, dtype=torch.long))
        whole = whole if whole and terms.pooled else Whole(masked, count_frames(features, valid), masked)
        sums = torch.stack([quantised.probabilities.sum(0), quantised.chosen.sum(0)])  # (2, groups, entries)
        used, chosen = whole.pool(sums) / whole.beside
        share = whole.beside / whole.ranks  # all ranks have the same diversity; each answers for as much of it
        diversity = terms.diversity * diversity_loss(used) * share
        penalty = terms.features_penalty * mean_square(features, valid, whole.frames) * whole.masked
        parts = {
            "contrastive": contrastive.detach(),
            "diversity": diversity.detach(),
            "features_penalty": penalty.detach(),
            "correct": (logits[:, 0] > logits[:, 1:].amax(1)).sum(),
            "code_perplexity": perplexity(chosen.detach()) * share,
        }
        return Loss(contrastive + diversity + penalty, masked, parts)

    def _gumbel(self, batch: Batch) -> Tensor | None:
        """The noise with which codes are drawn in training; in eval mode the likeliest are taken."""
        if self.training and batch.gumbel is None:
            raise ValueError("wav2vec 2.0 trains on batches with Gumbel noise, and this one has none")
        return batch.gumbel if self.training else None

    def _logits(self, hidden: Tensor, vectors: Tensor, codes: Tensor, batch: Batch) -> Tensor:
        """(masked, 1 + negatives), the positive first."""
        if batch.negatives is None:
            raise ValueError("wav2vec 2.0 learns from batches with negatives, and this one has none")
        return contrastive_logits(
            self.final_proj(hidden),
            self.project_q(vectors),
            codes,
            batch.negatives,
            counts=batch.mask.sum(1).tolist(),
            temperature=self.terms.temperature,
        )

    @staticmethod
    def settings(size: str) -> Wav2Vec2Settings:
        """The published settings of a size: large contrasts in 768 dimensions (libri960_big)."""
        return Wav2Vec2Settings(final_dim=768, code_dim=768) if size == "large" else Wav2Vec2Settings()

    @staticmethod
    def published_terms(size: str) -> Wav2Vec2Terms:
        """The published terms of a size: large draws its codes colder in the end (fairseq: latent_temp 2, 0.1)."""
        return Wav2Vec2Terms(gumbel_least=0.1) if size == "large" else Wav2Vec2Terms()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder (fairseq: Wav2Vec2Model, GumbelVectorQuantizer)."""
        nn.init.uniform_(self.mask_embedding, generator=generator)
        nn.init.uniform_(self.quantizer.codes, generator=generator)
        nn.init.normal_(self.quantizer.weight_proj.weight, generator=generator)
        nn.init.zeros_(self.quantizer.weight_proj.bias)
        for linear in (self.project_q, self.final_proj):
            initialise_linear(linear, generator)
