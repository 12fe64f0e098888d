"""Distillation: a student predicts hidden states of a teacher (DistilHuBERT; the paper's Section 2.3 and Figure 3).

Counterpart: S3PRL's ``pretrain/distiller``. Heads on the student's last state predict one teacher layer each: a linear
map to all of them at once, GELU, a linear map of each one's own. They are learnt from and then left alone: the encoder
is what is measured. The teacher is an attribute, never a module of the objective: nothing trains, saves, or puts it
into another mode, and processes that share an update do not send it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.batch import Batch, Loss, Whole
from speechbias.models.config import EncoderConfig
from speechbias.models.conventions import state_points
from speechbias.models.initialisation import initialise_linear
from speechbias.models.losses import precise
from speechbias.models.network import Network, build, skeleton
from speechbias.models.regularisation import Regularisation
from speechbias.models.transformer import Point

MOST_LAYERS = 1_000  # of any network


@dataclass(frozen=True)
class DistillationSettings:
    """Which layers of the teacher are predicted, counted from 1; a head for each."""

    targets: tuple[int, ...] = (4, 12)

    def __post_init__(self) -> None:
        """Refuse what are no layers. ValueError; who reads a file says of which."""
        if not self.targets or list(self.targets) != sorted(set(self.targets)):
            raise ValueError(f"targets are {list(self.targets)}; name one layer or more, each once, in order")
        if not 1 <= self.targets[0] <= self.targets[-1] <= MOST_LAYERS:
            raise ValueError(f"targets are {list(self.targets)}; layers are counted from 1")


@dataclass(frozen=True)
class DistillationTerms:
    """How the loss is put together; no part of a checkpoint."""

    cosine: float = 1.0  # weight of the cosine term (DistilHuBERT: lambda)
    masked: bool = False  # teacher and student hear the masked frames as zeros (MelHuBERT)


class Heads(nn.Module):
    """A prediction for each target (S3PRL: ``pred_head_final_dim``, "expand-last" and ``SplitLinear``)."""

    def __init__(self, dim: int, targets: tuple[int, ...]) -> None:
        super().__init__()
        self.targets = targets  # the teacher's layers, from 1
        self.expand = nn.Linear(dim, len(targets) * dim)
        self.each = nn.ModuleList(nn.Linear(dim, dim) for _ in targets)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., dim) to predictions (..., targets, dim)."""
        parts = F.gelu(self.expand(hidden)).chunk(len(self.each), dim=-1)
        return torch.stack([head(part) for head, part in zip(self.each, parts, strict=True)], dim=-2)


class Teacher:
    """A frozen network, of which some states are targets: state n as S3PRL counts, so layer n's output.

    The last layer's is taken after the final norm where the model has one. With ``dropout`` it is in training mode,
    as in S3PRL, where nobody puts it into eval mode; else it draws nothing.
    """

    def __init__(
        self,
        config: EncoderConfig,
        tensors: Mapping[str, Tensor],
        targets: Sequence[int],
        *,
        dropout: Regularisation | None = None,
        device: str = "cpu",
    ) -> None:
        points = state_points("the teacher", config, "s3prl")
        self.points: list[Point] = [points[target] for target in targets]
        short = first_layers(config, max(targets))  # what nobody asks for is not computed
        # Copied: the file may change meanwhile, or hold halves.
        own = {name: precise(tensors[name]).clone() for name in skeleton(short).state_dict()}
        self.network = build(short, own).to(device)
        if dropout is not None:
            self.network.regularise(dropout)
            self.network.train()

    def targets(self, inputs: Tensor, lengths: Tensor | None, frames: Tensor) -> Tensor:
        """The target states of some ``frames`` (batch, frames) of a batch: (counted, targets, dim), float32."""
        found: dict[Point, Tensor] = {}

        def read(point: Point, hidden: Tensor) -> None:
            if point in self.points:
                found[point] = hidden[frames]

        with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
            self.network(inputs, lengths, read=read)
        return torch.stack([found[point] for point in self.points], dim=1)


class Distillation(nn.Module):
    """A student as it is trained; ``encoder`` is what is measured. ``teacher`` is given before training."""

    def __init__(self, config: EncoderConfig, settings: DistillationSettings) -> None:
        super().__init__()
        self.terms = DistillationTerms()
        self.encoder = Network(config)
        self.heads = Heads(config.dim, settings.targets)
        self.teacher: Teacher | None = None

    def forward(self, batch: Batch, *, update: int, whole: Whole | None = None) -> Loss:  # noqa: ARG002 (wav2vec 2.0)
        """How far the predictions are from the teacher's states, summed over the frames that are ``counted``."""
        assert self.teacher is not None, "a student learns from somebody"
        assert batch.counted is not None, "all frames are learnt, not the masked ones"
        inputs, lengths, frames = batch.inputs, batch.padded_lengths, batch.counted
        if self.terms.masked:
            inputs = inputs.masked_fill(batch.mask[..., None], 0)
        wanted = self.teacher.targets(inputs, lengths, frames)
        predicted = self.heads(self.encoder(inputs, lengths)[frames])
        distance, cosine, similarity = prediction_terms(predicted, wanted)
        cosine = self.terms.cosine * cosine
        parts = {"l1": distance.detach(), "cosine": cosine.detach(), "similarity": similarity.detach()}
        return Loss(distance + cosine, len(wanted), parts)

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh heads: torch's default draw, and S3PRL's of its SplitLinear, which is the same."""
        for linear in (self.heads.expand, *self.heads.each):
            assert isinstance(linear, nn.Linear)
            initialise_linear(linear, generator)


def prediction_terms(predicted: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of predictions and targets (frames, targets, dim), each a mean over targets (and dim), summed over frames.

    Absolute differences, -log sigmoid of the cosines, and the cosines themselves, which are watched (Chang et al.
    2022, equation 1; S3PRL: ``rec_loss``, ``sim_loss``).
    """
    predicted, wanted = precise(predicted), precise(wanted)
    cosines = F.cosine_similarity(predicted, wanted, dim=-1)  # (frames, targets)
    distance = (predicted - wanted).abs().mean((1, 2))
    return distance.sum(), -F.logsigmoid(cosines).mean(1).sum(), cosines.mean(1).sum()


def first_layers(config: EncoderConfig, count: int) -> EncoderConfig:
    """The encoder up to a layer."""
    return replace(config, heads=config.heads[:count], ffn=config.ffn[:count])
