"""What is hidden from the model, and what it is told from: span masks, negatives, Gumbel noise.

Spans follow fairseq's rule with a static length, overlap allowed: int(prob * frames / length + u) of them, u uniform
on [0, 1), but at least ``min_masks``; starts without replacement from [0, frames - length). MelHuBERT's public code
has the same rule on numpy's global stream, with one more number drawn per batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 1_000  # frames of a span: 20 s, longer than any crop

Draws = np.random.Generator | np.random.RandomState
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masking:
    """``prob`` is the share of frames that spans of ``length`` frames would hide if none overlapped."""

    prob: float
    length: int
    min_masks: int = 2

    def __post_init__(self) -> None:
        """Refuse what hides nothing or everything."""
        if not 0 < self.prob <= 1:
            raise ValueError(f"prob is {self.prob}; give a share of frames above 0, at most 1")
        if not 1 <= self.length <= LONGEST:
            raise ValueError(f"length is {self.length}; it counts frames of a span, 1 to {LONGEST}")
        if not 0 <= self.min_masks <= LONGEST:
            raise ValueError(f"min_masks is {self.min_masks}; it counts spans, 0 to {LONGEST}")

    def mask(self, frames: int, draws: Draws) -> Mask:
        """One utterance's mask, (frames,)."""
        return span_mask(frames, prob=self.prob, length=self.length, draws=draws, min_masks=self.min_masks)


def span_mask(frames: int, *, prob: float, length: int, draws: Draws, min_masks: int = 2) -> Mask:
    """Mask of one utterance, (frames,), True is hidden.

    Where the spans do not fit (frames - length <= their number) starts come from [0, number + 1) and spans end with
    the utterance, as in fairseq. There are at most frames - 1 spans, so that an utterance of one frame stays visible.
    """
    return _spans(frames, length, max(int(prob * frames / float(length) + draws.random()), min_masks), draws)


def _spans(frames: int, length: int, number: int, draws: Draws) -> Mask:
    number = min(number, max(frames - 1, 0))
    starts = draws.choice(max(frames - length, number + 1), number, replace=False)
    covered = np.zeros(frames + length, bool)
    covered[starts[:, None] + np.arange(length)] = True
    return covered[:frames]


def negatives(counts: Sequence[int], *, number: int, draws: Sequence[np.random.Generator]) -> NDArray[np.int64]:
    """Per masked frame, ``number`` other masked frames of its utterance, with replacement: (sum(counts), number).

    ``counts`` and ``draws`` stand per utterance; indices count the masked frames of the whole batch. The only masked
    frame of an utterance is given itself, which the loss knows for a copy of the right answer and leaves out.
    """
    parts, before = [np.zeros((0, number), np.int64)], 0
    for count, stream in zip(counts, draws, strict=True):
        drawn = stream.integers(0, max(count - 1, 1), size=(count, number))
        if count > 1:
            drawn += drawn >= np.arange(count)[:, None]  # pass over the frame itself
        parts.append(drawn + before)
        before += count
    return np.concatenate(parts)


def gumbel_noise(counts: Sequence[int], *, size: int, draws: Sequence[np.random.Generator]) -> NDArray[np.float32]:
    """Standard Gumbel noise for every masked frame: (sum(counts), size); ``counts`` and ``draws`` per utterance."""
    parts = [np.zeros((0, size), np.float32)]
    parts += [
        stream.gumbel(size=(count, size)).astype(np.float32) for count, stream in zip(counts, draws, strict=True)
    ]
    return np.concatenate(parts)
