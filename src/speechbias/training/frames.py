"""A corpus run through once: what is made of the audio of each utterance, in their order, and nothing kept."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np

from speechbias.audio import AudioError, read_audio, refuse_another_length
from speechbias.audio.members import located
from speechbias.embeddings import single_threaded
from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE
from speechbias.models.mel import MelStats
from speechbias.progress import Progress
from speechbias.training.extractors import Wave, log_mel
from speechbias.training.labels import Utterances
from speechbias.training.scan import unusable_after_all

Found = TypeVar("Found")


def extracted(
    manifest: Utterances,
    rows: Sequence[int],
    work: Callable[[Wave], Found],
    label: str,
    workers: int,
    *,
    progress: bool,
) -> Iterator[tuple[int, Found]]:
    """What ``work`` makes of the audio of each row, in their order, a few utterances ahead. A thread per worker."""
    seconds = manifest.num_samples / SAMPLE_RATE
    bar = Progress(label, float(seconds[list(rows)].sum()), shown=progress)
    with bar, single_threaded(), ThreadPoolExecutor(max(workers, 1)) as threads:
        ahead: deque[tuple[int, Future[Found]]] = deque()
        left = iter(rows)
        try:
            while True:
                for row in islice(left, 2 * max(workers, 1) - len(ahead)):
                    ahead.append((row, threads.submit(lambda i: work(_read(manifest, i)), row)))
                if not ahead:
                    return
                row, made = ahead.popleft()
                yield row, made.result()
                bar.advance(float(seconds[row]))
        finally:
            threads.shutdown(cancel_futures=True)


def _read(manifest: Utterances, row: int) -> Wave:
    path = located(manifest.path(row))
    try:
        wave = read_audio(path, SAMPLE_RATE)
        refuse_another_length(path, len(wave), int(manifest.num_samples[row]), SAMPLE_RATE)
    except AudioError as error:
        raise unusable_after_all(error) from None
    return wave


def mel_statistics(manifest: Utterances, *, workers: int = 1, progress: bool = False) -> MelStats:
    """Mean and std of each log-mel bin over all frames of a corpus, (2, 40): sqrt(E[x^2] - E[x]^2), in one pass."""
    count, total, squares = 0, np.zeros(40), np.zeros(40)
    for _, frames in extracted(manifest, range(len(manifest)), log_mel, "mel statistics", workers, progress=progress):
        count += len(frames)
        total += frames.sum(axis=0, dtype=np.float64)
        squares += np.square(frames, dtype=np.float64).sum(axis=0)
    if not count:
        raise InputError("no utterance is long enough for a mel frame; give longer audio")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    if (std <= 0).any():
        raise InputError("a mel bin is the same in all frames; give audio that is speech")
    return np.stack([mean, std])
