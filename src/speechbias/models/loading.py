"""Audio files to padded batches of like length, decoded in other processes while the device computes.

Decoding and resampling run at some 1800 times real time on one core: enough for a CPU, far too slow for a GPU. Errors
cross from the processes as values, so that a bad file is answered as anywhere else.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

from speechbias.audio import AudioFacts, count_samples, read_audio
from speechbias.encoder import BatchEncoder, States, VanishingError, Wave
from speechbias.errors import InputError
from speechbias.models.batches import Padded, padded

BATCHES_AHEAD = 2  # per process


def pooled_files(
    encoder: BatchEncoder, files: Sequence[AudioFacts], *, workers: int
) -> Iterator[tuple[AudioFacts, States]]:
    """Pooled embeddings (states, dim) of files, batch by batch; ``workers`` processes decode, 0: this one does.

    InputError for the first file that cannot be used, after the batches before it.
    """
    rate = encoder.sample_rate
    order = buckets(files, sample_rate=rate, seconds=encoder.batch_seconds)
    loaded = load(
        Clips(files, rate, encoder.inputs), order, workers=workers, pinned=encoder.recipe["device"] == "cuda"
    )
    refused: list[InputError] = []

    def usable() -> Iterator[Padded]:
        for batch in loaded:
            if isinstance(batch, InputError):
                refused.append(batch)
                return
            yield batch

    with closing(loaded):
        for bucket, vectors in zip(order, encoder.pooled_batches(usable()), strict=False):
            for index, vector in zip(bucket, vectors, strict=True):
                if isinstance(vector, VanishingError):
                    raise vector.of_clip(files[index].path)
                yield files[index], vector
    if refused:
        raise refused[0]


def buckets(files: Sequence[AudioFacts], *, sample_rate: int, seconds: float) -> list[list[int]]:
    """Which files go together: neighbours in length, longest first, at most ``seconds`` of audio with the padding.

    Depends on lengths and content of the files alone, not on their order. A file longer than that is on its own. The
    longest come first, so that what does not fit into memory shows at once.
    """
    lengths = [count_samples(facts, sample_rate) for facts in files]
    order = sorted(range(len(files)), key=lambda index: (-lengths[index], files[index].sha256))
    made: list[list[int]] = []
    for index in order:
        if made and (len(made[-1]) + 1) * lengths[made[-1][0]] <= seconds * sample_rate:
            made[-1].append(index)
        else:
            made.append([index])
    return made


class Clips(Dataset[NDArray[np.float32] | InputError]):
    """What the network takes of each file, or why it cannot be had."""

    def __init__(
        self, files: Sequence[AudioFacts], sample_rate: int, inputs: Callable[[Wave], NDArray[np.float32]]
    ) -> None:
        self.files, self.sample_rate, self.inputs = tuple(files), sample_rate, inputs

    def __getitem__(self, index: int) -> NDArray[np.float32] | InputError:
        """Decode and prepare one file."""
        try:
            return self.inputs(read_audio(self.files[index].path, self.sample_rate))
        except InputError as error:
            return error


def load(
    clips: Clips, order: Sequence[list[int]], *, workers: int = 0, pinned: bool = False
) -> Generator[Padded | InputError, None, None]:
    """The batches in their order; an InputError in the place of a batch with a file that cannot be used.

    Decodes in this process where others cannot be started (a daemon may have none, a full machine has none left).
    Closing it ends the processes.
    """
    loader = partial(
        DataLoader,
        clips,
        batch_sampler=order,
        collate_fn=_together,
        pin_memory=pinned,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    workers = min(workers, len(order), len(os.sched_getaffinity(0)))
    batches = None
    if workers:
        with suppress(OSError, AssertionError, ImportError):
            batches = iter(loader(num_workers=workers, prefetch_factor=BATCHES_AHEAD, worker_init_fn=_start_worker))
    yield from loader() if batches is None else batches


def _together(clips: Sequence[NDArray[np.float32] | InputError]) -> Padded | InputError:
    sound = [clip for clip in clips if not isinstance(clip, InputError)]
    return padded(sound) if len(sound) == len(clips) else next(c for c in clips if isinstance(c, InputError))


def _start_worker(_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business, which ends this one
    threadpool_limits(1)
