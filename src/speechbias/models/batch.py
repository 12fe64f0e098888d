"""What an objective is trained on and what it answers: one batch in, one loss out.

Every random choice of a step but dropout (spans, negatives, Gumbel noise) is made where the batch is made and stands
in it, so that a loss is a function of weights and batch: the same on one machine or on ten, and after a restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

IGNORED = -100  # the label of a frame that has none (torch: ignore_index)


@dataclass(frozen=True, eq=False)
class Batch:
    """Utterances padded at the right.

    ``inputs`` are waves (batch, samples), or for MelHuBERT normalised, stacked mel frames (batch, frames, dim);
    ``lengths`` (batch,) counts samples or mel frames; ``mask`` (batch, frames) is True for the frames that are hidden
    from the model, never for padding. HuBERT and MelHuBERT learn ``labels`` (batch, frames), IGNORED behind the end.
    wav2vec 2.0 needs ``negatives`` (masked, 100): per masked frame, in the order of ``mask.nonzero()``, which masked
    frames, in the same order, it is told from; and ``gumbel`` (masked, groups * entries), standard Gumbel noise.
    Distillation learns the frames that are ``counted`` (batch, frames), whatever is masked.
    """

    inputs: Tensor
    lengths: Tensor
    mask: Tensor
    labels: Tensor | None = None
    negatives: Tensor | None = None
    gumbel: Tensor | None = None
    counted: Tensor | None = None

    @property
    def masked(self) -> int:
        """Frames that are learnt: hidden, and with a label where there are labels; or counted. Losses are over it."""
        if self.counted is not None:
            return int(self.counted.sum())
        learnt = self.mask if self.labels is None else self.mask & (self.labels != IGNORED)
        return int(learnt.sum())

    @property
    def padded_lengths(self) -> Tensor | None:
        """``lengths``; None where no sequence is padded, and nothing needs to be left out."""
        return None if bool((self.lengths == self.inputs.shape[1]).all()) else self.lengths

    def to(self, device: str | torch.device, *, non_blocking: bool = False) -> "Batch":
        """The same batch on a device."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory (torch's DataLoader calls this)."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in held.items() if tensor is not None})


def _alone(sums: Tensor) -> Tensor:
    return sums


@dataclass(frozen=True)
class Whole:
    """The update that a batch is a part of, for terms of a loss that are means over more than the batch.

    ``masked`` and ``frames`` count what is learnt and what there is in the whole update. ``beside`` counts the masked
    frames of the batches that all ``ranks`` take at the same time as this one, and ``pool`` adds up over them: what
    cannot be known before a batch has gone through the network is a mean over those.
    """

    masked: int
    frames: int
    beside: int
    ranks: int = 1
    pool: Callable[[Tensor], Tensor] = _alone


@dataclass(frozen=True, eq=False)
class Loss:
    """Sums over the masked frames of a batch: whoever divides knows the masked frames of the whole update.

    ``total`` is what is minimised. ``parts`` are what a log shows, detached and summed likewise: the terms of the loss
    as they enter ``total``, and what is watched beside it (``correct``; ``code_perplexity`` times masked frames).
    """

    total: Tensor
    masked: int
    parts: Mapping[str, Tensor]
