"""What wav2vec 2.0's pre-training adds to the encoder: mask embedding, quantizer, two projections (Section 2.1).

Counterpart: fairseq's ``Wav2Vec2Model``. The parameters count in Table 2; none of them shapes a hidden state that is
measured.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechbias.models.config import EncoderConfig
from speechbias.models.initialisation import initialise_linear
from speechbias.models.network import Network


@dataclass(frozen=True)
class Wav2Vec2Settings:
    """Sizes of the objective. ``code_dim`` is the size of a whole quantised vector (fairseq: ``vq_dim``)."""

    final_dim: int = 256
    groups: int = 2
    entries: int = 320
    code_dim: int = 256


class Quantizer(nn.Module):
    """Codebooks of product quantisation: ``groups`` of ``entries`` codes (fairseq: ``GumbelVectorQuantizer``)."""

    def __init__(self, dim: int, settings: Wav2Vec2Settings) -> None:
        super().__init__()
        codes = settings.groups * settings.entries
        self.codes = nn.Parameter(torch.empty(1, codes, settings.code_dim // settings.groups))
        self.weight_proj = nn.Linear(dim, codes)


class Wav2Vec2Objective(nn.Module):
    """A wav2vec 2.0 model as it is pre-trained; ``encoder`` is what is measured."""

    def __init__(self, config: EncoderConfig, settings: Wav2Vec2Settings) -> None:
        super().__init__()
        self.encoder = Network(config)
        self.mask_embedding = nn.Parameter(torch.empty(config.dim))
        self.quantizer = Quantizer(config.frontend.dim, settings)
        self.project_q = nn.Linear(settings.code_dim, settings.final_dim)
        self.final_proj = nn.Linear(config.dim, settings.final_dim)

    @staticmethod
    def settings(size: str) -> Wav2Vec2Settings:
        """The published settings of a size: large contrasts in 768 dimensions (libri960_big)."""
        return Wav2Vec2Settings(final_dim=768, code_dim=768) if size == "large" else Wav2Vec2Settings()

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights for what is not the encoder (fairseq: Wav2Vec2Model, GumbelVectorQuantizer)."""
        nn.init.uniform_(self.mask_embedding, generator=generator)
        nn.init.uniform_(self.quantizer.codes, generator=generator)
        nn.init.normal_(self.quantizer.weight_proj.weight, generator=generator)
        nn.init.zeros_(self.quantizer.weight_proj.bias)
        for linear in (self.project_q, self.final_proj):
            initialise_linear(linear, generator)
