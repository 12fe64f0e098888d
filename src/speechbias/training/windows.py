"""Batches of a sharded corpus: those of a ``Sampler`` for each window of a few shards, window after window.

So what is read within some time lies in few shards, each of which is read in one part of an epoch: from a local disk
at its speed, and once per machine from a file system that many machines share. Which shards make a window is drawn
once, from the seed; the order of windows, of utterances within a bucket of lengths, and of batches within a window is
drawn for every epoch. Every utterance comes once per epoch, and every epoch has the same number of batches, so that a
resumed run finds its window and its place there without going through what was before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechbias.training.draws import generator
from speechbias.training.manifest import Manifest, Numbers
from speechbias.training.sampler import Sampler
from speechbias.training.shards import rows_by_shard

WINDOW = 8  # shards: of 256 MB, some 8,000 utterances of LibriSpeech


class WindowSampler:
    """As ``Sampler``; ``shards`` are the rows of each shard, ``window`` says how many of these are mixed."""

    def __init__(
        self, num_samples: Numbers, shards: Sequence[Numbers], *, window: int | None = None, seed: int = 0, **by: Any
    ) -> None:
        size, self.seed = window or WINDOW, seed
        drawn = generator(seed, "windows", 0, "").permutation(len(shards)).tolist()
        self.windows = [
            Sampler(
                num_samples,
                rows=np.concatenate([shards[number] for number in drawn[start : start + size]]),
                seed=seed,
                stream=f"window {start // size}",
                **by,
            )
            for start in range(0, len(drawn), size)
        ]
        self.rows = np.concatenate([each.rows for each in self.windows])
        self.crop_samples = self.windows[0].crop_samples
        self._counts = np.array([len(each) for each in self.windows])
        self._latest: tuple[tuple[int, int], list[Numbers]] | None = None

    def __len__(self) -> int:
        """Batches per epoch."""
        return int(self._counts.sum())

    def batch(self, epoch: int, position: int) -> Numbers:
        """One batch of an epoch. Of one window all batches are kept, of the others none."""
        order = generator(self.seed, "order of windows", epoch, "").permutation(len(self.windows))
        ends = np.cumsum(self._counts[order])
        place = int(np.searchsorted(ends, position, "right"))
        window = int(order[place])
        if self._latest is None or self._latest[0] != (epoch, window):
            self._latest = (epoch, window), self.windows[window].draw(epoch)
        return self._latest[1][position - int(ends[place] - self._counts[window])]

    def locate(self, number: int) -> tuple[int, int]:
        """Epoch and position of batch ``number`` of a run."""
        return divmod(number, len(self))


def sampler_of(
    manifest: Manifest, rows: Numbers, *, window: int | None = None, seed: int = 0, **by: Any
) -> Sampler | WindowSampler:
    """The sampler of a corpus: over all of it where it is files, in windows where it is shards."""
    if manifest.places is None:
        return Sampler(manifest.num_samples, rows=rows, seed=seed, **by)
    return WindowSampler(manifest.num_samples, rows_by_shard(manifest, rows), window=window, seed=seed, **by)
