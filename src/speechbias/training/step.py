"""One update of an objective's weights. Loops differ by what they do around it; this is the same in all of them.

The loss is summed over masked frames, and divided by the masked frames of the whole update: how an update is cut into
batches does not change it. Dropout draws from torch's generator, which is seeded here from (seed, update, batch) and
put back afterwards, so that a run that was killed goes on as if it had not been, and nobody else's draws move.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from speechbias.models.batch import Batch, Loss
from speechbias.training.optim import clip_gradients


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
    """An objective, its optimiser, and how many updates they have behind them."""

    def __init__(
        self,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        rate: Callable[[int], float],
        clip: float = 0.0,
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.objective, self.optimiser = objective, optimiser
        self.rate, self.clip, self.precision, self.seed = rate, clip, precision, seed
        self.device = next(objective.parameters()).device
        self.update = 0

    def step(self, batches: Sequence[Batch]) -> Report:
        """One update on the batches of one. It counts, and the rate goes on, also where it is skipped."""
        self.objective.train()
        batches = [batch for batch in batches if batch.masked]  # nothing is learnt of the others
        masked = sum(batch.masked for batch in batches)
        losses: list[Loss] = []
        for place, batch in enumerate(batches):
            with seeded(self.seed, self.update, place), self._autocast():
                made: Loss = self.objective(batch.to(self.device, non_blocking=True), update=self.update)
            torch.autograd.backward(made.total / max(masked, 1))
            losses.append(Loss(made.total.detach(), made.masked, made.parts))
        lr = self.rate(self.update)
        gradient = clip_gradients(self.objective.parameters(), self.clip)
        loss, parts = means(losses)
        finite = math.isfinite(loss) and math.isfinite(gradient)
        if finite:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            self.optimiser.step()
        self.optimiser.zero_grad()
        self.update += 1
        return Report(self.update, loss, parts, lr, gradient, masked, skipped=not finite)

    def _autocast(self) -> torch.autocast:
        reduced = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced)


def means(losses: Sequence[Loss]) -> tuple[float, dict[str, float]]:
    """The loss and its parts per masked frame, over the batches of one update; the device is waited for once."""
    if not losses:
        return math.nan, {}
    names = list(losses[0].parts)
    sums = torch.stack([torch.stack([loss.total, *(loss.parts[name] for name in names)]).double() for loss in losses])
    loss, *parts = (sums.sum(0) / max(sum(loss.masked for loss in losses), 1)).tolist()
    return loss, dict(zip(names, parts, strict=True))


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Torch's generators as this key sets them, and afterwards as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little"))
        yield
