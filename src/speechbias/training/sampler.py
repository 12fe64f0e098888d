"""Which utterances make which batch: a pure function of (seed, epoch, position).

Utterances are sorted by length, the longest first, in buckets within which they lie at random; the row is cut into
batches of at most so many padded seconds, or so many utterances; the order of batches is random. Every utterance comes
once per epoch, and every epoch has the same number of batches: batch ``number`` of a run is batch ``number % len`` of
epoch ``number // len``. An update of R ranks that accumulate k batches takes R * k numbers, rank r those that leave
r when divided by R; so a restart on other hardware goes on where the last one stopped, without replay.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE
from speechbias.training.draws import generator

Numbers = NDArray[np.int64]
BUCKET = SAMPLE_RATE // 5  # samples; within 0.2 s neighbours change from epoch to epoch, at some 1 % of padding


class Sampler:
    """Batches of rows, by ``seconds`` of padded audio or by number of ``utterances``.

    ``num_samples`` are the lengths of all rows at 16 kHz; ``rows`` those that are used (None: all). What is longer
    than ``crop_seconds`` counts with that length. Samplers of one seed draw independently by their ``stream``.
    """

    def __init__(
        self,
        num_samples: Numbers,
        *,
        seconds: float | None = None,
        utterances: int | None = None,
        crop_seconds: float | None = None,
        rows: Numbers | None = None,
        seed: int = 0,
        stream: str = "",
    ) -> None:
        if (seconds is None) == (utterances is None):
            raise ValueError("give either seconds or utterances")
        self.rows = np.arange(len(num_samples)) if rows is None else np.asarray(rows, np.int64)
        self.crop_samples = None if crop_seconds is None else round(crop_seconds * SAMPLE_RATE)
        self.seed, self.stream = seed, stream
        lengths = num_samples[self.rows]
        if self.crop_samples is not None:
            lengths = np.minimum(lengths, self.crop_samples)
        self._refuse(lengths, seconds, utterances)
        bounds = -(-lengths // BUCKET) * BUCKET  # no utterance of a bucket is longer
        self._bounds = np.minimum(bounds, lengths.max())
        self.ends = self._cut(seconds, utterances)
        self._latest: tuple[int, list[Numbers]] | None = None

    @staticmethod
    def _refuse(lengths: Numbers, seconds: float | None, utterances: int | None) -> None:
        if not len(lengths):
            raise InputError("the corpus has no utterances to train on. Relax the filters.")
        if utterances is not None and utterances < 1:
            raise InputError(f"a batch of {utterances} utterances. Give 1 or more.")
        if seconds is not None and (long := int((lengths > seconds * SAMPLE_RATE).sum())):
            raise InputError(
                f"{long} utterances are longer than a batch of {seconds:g} s. Crop them, or leave them out by length."
            )

    def _cut(self, seconds: float | None, utterances: int | None) -> Numbers:
        """Where batches end in the sorted row. It depends on lengths alone, so it is that of every epoch."""
        bounds = -np.sort(-self._bounds)
        ends, start = [], 0
        while start < len(bounds):
            fit = utterances if seconds is None else int(seconds * SAMPLE_RATE) // int(bounds[start])
            start = min(start + max(fit or 0, 1), len(bounds))
            ends.append(start)
        return np.array(ends, np.int64)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.ends)

    def batches(self, epoch: int) -> list[Numbers]:
        """All batches of an epoch, each the rows of its utterances, the longest bucket first."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = epoch, self.draw(epoch)
        return self._latest[1]

    def draw(self, epoch: int) -> list[Numbers]:
        """The same, and nothing of it kept."""
        chance = generator(self.seed, "order", epoch, self.stream).random(len(self.rows))
        order = self.rows[np.lexsort((chance, -self._bounds))]
        batches = np.split(order, self.ends[:-1])
        shuffled = generator(self.seed, "batches", epoch, self.stream).permutation(len(batches))
        return [batches[number] for number in shuffled]

    def batch(self, epoch: int, position: int) -> Numbers:
        """One batch of an epoch."""
        return self.batches(epoch)[position]

    def locate(self, number: int) -> tuple[int, int]:
        """Epoch and position of batch ``number`` of a run."""
        return divmod(number, len(self))
