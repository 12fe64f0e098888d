"""Many utterances at a time, as a GPU wants them: padded batches whose padding changes nothing.

A batch is padded at the right; the network's norms, positions and attention know the lengths, and means are taken over
an utterance's own frames. What a batch gives an utterance differs from what it gets alone by rounding only.

Attention: a mask of keys rules flash attention out. Torch's memory-efficient kernel takes one (a product of float32 is
three of TF32 there, which come near float32's own rounding), and its plain arithmetic serves where that kernel is
missing: on a CPU, or for sizes it does not take. ``precision`` sees to it that nothing else is chosen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.errors import InputError
from speechbias.models.conventions import at_points, then_heads
from speechbias.models.distillation import Heads
from speechbias.models.network import Network
from speechbias.models.precision import exact_products
from speechbias.models.transformer import Point, valid_frames

BATCHED = "torch, padded batches"
# Audio in one batch, padding included. A GPU is launch-bound below some 150 s; the same number on every GPU makes the
# same batches everywhere. Where such a batch does not fit it is halved.
SECONDS = 240.0

Means = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Padded:
    """Waves (batch, samples) or mel frames (batch, frames, dim), and the true ``lengths`` (batch,); on the CPU."""

    inputs: Tensor
    lengths: Tensor

    def pin_memory(self) -> "Padded":
        """The same batch in page-locked memory, from which a GPU copies while it computes (torch's DataLoader)."""
        return Padded(self.inputs.pin_memory(), self.lengths.pin_memory())

    def __len__(self) -> int:
        return len(self.lengths)

    def halves(self) -> list["Padded"]:
        """The batch in two, each padded to its own longest utterance."""
        parts = zip(self.inputs.tensor_split(2), self.lengths.tensor_split(2), strict=True)
        return [Padded(inputs[:, : int(lengths.max())], lengths) for inputs, lengths in parts]


def padded(sequences: Sequence[NDArray[np.float32]]) -> Padded:
    """Sequences (length, ...) in one batch, zeros behind their ends."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    inputs = torch.zeros(len(sequences), int(lengths.max()), *sequences[0].shape[1:])
    for row, sequence in zip(inputs.numpy(), sequences, strict=True):
        row[: len(sequence)] = sequence
    return Padded(inputs, lengths)


class BatchMeans:
    """Sums over the frames of each utterance, float64 on the device: ``RunningMeans`` of a whole batch at a time."""

    def __init__(self, num_states: int, num_frames: Tensor, longest: int) -> None:
        self.num_frames = num_frames  # (batch,)
        self.own = valid_frames(num_frames, longest)[..., None]
        self.sums: list[Tensor] = [num_frames] * num_states  # each replaced by (batch, dim)
        self.squares: list[Tensor] = [num_frames] * num_states  # by (batch,)

    def read(self, state: int, frames: Tensor) -> None:
        """Sum a state (batch, frames, dim) over its own frames."""
        frames = frames.where(self.own, 0)  # what stands in the padding has no meaning: it may be anything
        self.sums[state] = frames.sum(dim=1, dtype=torch.float64)
        self.squares[state] = torch.linalg.vector_norm(frames, dim=(1, 2), dtype=torch.float64).square()

    def means(self) -> tuple[Means, Means]:
        """Means (batch, states, dim), root mean squares of the frames (batch, states). Waits for the device."""
        sums, squares = torch.stack(self.sums, 1), torch.stack(self.squares, 1)
        count = self.num_frames[:, None].double()
        rms = (squares / (count * sums.shape[2])).sqrt()
        return (sums / count[..., None]).cpu().numpy(), rms.cpu().numpy()


@dataclass(frozen=True, eq=False)
class Batches:
    """A network that takes padded batches, and where and in what precision it computes."""

    name: str
    network: Network
    points: tuple[Point, ...]  # where each state is read
    device: str
    dtype: torch.dtype
    heads: Heads | None = None  # whose predictions are states too

    def means(self, batches: Iterable[Padded]) -> Iterator[tuple[Means, Means]]:
        """For every batch the means (batch, states, dim) and root mean squares (batch, states) of its frames.

        A batch is launched before the one ahead of it is fetched, so that a GPU always has work.
        """
        ahead: list[BatchMeans] = []
        for batch in batches:
            launched = self.launch(batch)
            if ahead:
                yield fetched(ahead)
            ahead = launched
        if ahead:
            yield fetched(ahead)

    def launch(self, batch: Padded) -> list[BatchMeans]:
        """Begin a batch; in parts where the device's memory does not hold it. InputError if not even one utterance."""
        try:
            return [self._run(batch)]
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise InputError(
                    f"{self.name}: the memory of {self.device} does not hold one utterance of {int(batch.lengths)} "
                    "samples or frames. Use --device cpu, or cut the clip."
                ) from None
        return [part for half in batch.halves() for part in self.launch(half)]

    def _run(self, batch: Padded) -> BatchMeans:
        longest = int(self.network.num_frames(batch.lengths).max())
        with torch.inference_mode(), exact_products():
            lengths = batch.lengths.to(self.device, non_blocking=True)
            inputs = batch.inputs.to(self.device, non_blocking=True).to(self.dtype)
            count = len(self.points) + (len(self.heads.targets) if self.heads else 0)
            means = BatchMeans(count, self.network.num_frames(lengths), longest)
            read = at_points(self.points, means.read)
            if self.heads is not None:
                read = then_heads(read, self.heads, means.read, first=len(self.points))
            self.network(inputs, lengths, read=read)
            return means


def fetched(parts: Sequence[BatchMeans]) -> tuple[Means, Means]:
    """The figures of a batch, whose parts were launched one after the other."""
    means, rms = zip(*(part.means() for part in parts), strict=True)
    return np.concatenate(means), np.concatenate(rms)
