"""One update of an objective's weights. Loops differ by what they do around it; this is the same in all of them.

The loss is summed over masked frames, and divided by the masked frames of the whole update, on all ranks: how it is
cut into batches, and who takes which, does not change it. Of R ranks, rank r takes the batches whose place in the
update leaves r when divided by R. Dropout draws from torch's generator, which is seeded here from (seed, update,
place) and put back afterwards, so that a run that was killed goes on as if it had not been, and nobody else's draws
move; the layers that LayerDrop leaves out are those of the update.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from speechbias.models.batch import Batch, Loss, Whole
from speechbias.models.regularisation import layers_drawn
from speechbias.training.optim import clip_gradients
from speechbias.training.ranks import Ranks


@dataclass(frozen=True)
class Report:
    """What one update was: means over masked frames, and whether it was left out for want of a finite gradient."""

    update: int  # counted from 1: updates done with this one
    loss: float
    parts: Mapping[str, float]
    lr: float
    gradient: float  # norm, before it was bounded
    masked: int
    skipped: bool


class Trainer:
    """An objective, its optimiser, how many updates they have behind them, and the ranks that share an update."""

    def __init__(
        self,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        rate: Callable[[int], float],
        clip: float = 0.0,
        precision: str = "float32",
        seed: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        self.objective, self.optimiser = objective, optimiser
        self.ranks = ranks or Ranks()
        self.share_gradients()
        self.rate, self.clip, self.precision, self.seed = rate, clip, precision, seed
        self.device = next(objective.parameters()).device
        self.update = 0

    def share_gradients(self) -> None:
        """Let ranks meet in the objective's gradients as it is now: again when weights got parametrisations."""
        self.parallel = self.ranks.parallel(self.objective)

    def step(self, batches: Sequence[Batch]) -> Report:
        """One update on this rank's batches of it, as many as the other ranks have.

        It counts, and the rate goes on, also where it is skipped. All ranks have the same report.
        """
        self.objective.train()
        counts = self.ranks.sum(torch.tensor([[batch.masked, self._frames(batch)] for batch in batches]))
        turns = [turn for turn, beside in enumerate(counts[:, 0]) if beside]  # nothing is learnt of the others
        masked, frames = counts[turns].sum(0).tolist()
        losses = []
        for turn in turns:
            whole = Whole(masked, frames, int(counts[turn, 0]), self.ranks.size, self.ranks.pool)
            losses.append(self._learn(batches[turn], whole, turn, last=turn == turns[-1]))
        lr = self.rate(self.update)
        gradient = clip_gradients(self.objective.parameters(), self.clip)
        loss, parts = means(losses, masked, self.ranks)
        finite = math.isfinite(loss) and math.isfinite(gradient)  # on all ranks or on none: both are those of all
        if finite:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            self.optimiser.step()
        self.optimiser.zero_grad()
        self.update += 1
        return Report(self.update, loss, parts, lr, gradient, masked, skipped=not finite)

    def _learn(self, batch: Batch, whole: Whole, turn: int, *, last: bool) -> Loss:
        """Forward and backward pass of one batch; gradients add up."""
        place = turn * self.ranks.size + self.ranks.rank
        layers = torch.Generator().manual_seed(_hashed(self.seed, self.update, "layers"))
        with self.ranks.gathering(self.parallel, last=last):
            with seeded(self.seed, self.update, place, device=self.device), layers_drawn(layers), self._autocast():
                made: Loss = self.parallel(batch.to(self.device, non_blocking=True), update=self.update, whole=whole)
            torch.autograd.backward(made.total / (whole.masked / self.ranks.size))  # whose mean over ranks is taken
        return Loss(made.total.detach(), made.masked, made.parts)

    def _frames(self, batch: Batch) -> int:
        encoder: Any = self.objective.encoder
        return int(encoder.num_frames(batch.lengths).sum())

    def _autocast(self) -> torch.autocast:
        reduced = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced)


def means(losses: Sequence[Loss], masked: int, ranks: Ranks) -> tuple[float, dict[str, float]]:
    """The loss and its parts per masked frame, over the batches of one update; the device is waited for once."""
    if not losses:
        return math.nan, {}
    names = list(losses[0].parts)
    sums = torch.stack([torch.stack([loss.total, *(loss.parts[name] for name in names)]).double() for loss in losses])
    loss, *parts = (ranks.sum(sums.sum(0).cpu()) / masked).tolist()
    return loss, dict(zip(names, parts, strict=True))


@contextmanager
def seeded(*key: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's generators, of the CPU and of the device, as this key sets them, and afterwards as they were."""
    gpus = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(_hashed(*key))
        if gpus:
            torch.cuda.manual_seed(_hashed(*key))
        yield


def _hashed(*key: int | str) -> int:
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
