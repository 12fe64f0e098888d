"""One vector of a clip's frames, otherwise than by their mean: an encoder around any encoder.

SpEAT pools over time in ten ways beside each other (minimum, maximum, mean, the first two and last two frames, those
at a quarter, half and three quarters; ``embedding_aggregation.py`` of isaacOnline/SpEAT) and reports the mean; median
and standard deviation are added here. Frames are those of ``hidden_states``, (frames, dim), valid ones only. Positions
count from 0: q1 is frame int(T / 4) of T, in time order and no quantile of the values.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import (
    ROUNDING,
    Dated,
    Encoder,
    Fitted,
    Sized,
    States,
    VanishingError,
    Wave,
    check_wave,
    reduce_states,
)
from speechbias.errors import InputError

Frames = NDArray[np.float32]

MEAN = "mean"  # the contract's embedding, which encoders give themselves
POOLINGS: Mapping[str, Callable[[Frames], NDArray[np.floating]]] = {  # (frames, dim) -> (dim,)
    "max": lambda frames: frames.max(axis=0),
    "min": lambda frames: frames.min(axis=0),
    "median": lambda frames: np.median(frames.astype(np.float64), axis=0),
    "std": lambda frames: frames.std(axis=0, dtype=np.float64),
    "first": lambda frames: frames[0],
    "second": lambda frames: frames[1],
    "q1": lambda frames: frames[len(frames) // 4],
    "q2": lambda frames: frames[len(frames) // 2],
    "q3": lambda frames: frames[3 * len(frames) // 4],
    "penultimate": lambda frames: frames[-2],
    "last": lambda frames: frames[-1],
}
OF_TWO = {"std", "second", "penultimate"}  # which a single frame does not have


def check_pooling(pooling: str) -> None:
    """InputError for a pooling that does not exist."""
    if pooling not in {MEAN, *POOLINGS}:
        raise InputError(f"pooling {pooling!r} is unknown; take one of {', '.join((MEAN, *POOLINGS))}")


def with_pooling(encoder: Encoder, pooling: str) -> Encoder:
    """An encoder whose ``pooled`` is another function of its frames; itself for the mean. InputError as above."""
    check_pooling(pooling)
    return encoder if pooling == MEAN else Pooled(encoder, pooling)


class Pooled:
    """An encoder with one of ``POOLINGS`` for its mean over frames.

    Its ``recipe`` says which: another measurement, with a cache and records of its own. One utterance at a time,
    whatever the encoder could take; states are reduced one by one where it gives them so.
    """

    def __init__(self, encoder: Encoder, pooling: str) -> None:
        self.encoder, self.pooling = encoder, pooling
        self.name, self.family, self.states, self.dtype = encoder.name, encoder.family, encoder.states, encoder.dtype
        self.num_states, self.dim, self.sha256 = encoder.num_states, encoder.dim, encoder.sha256
        self.sample_rate, self.frame_shift = encoder.sample_rate, encoder.frame_shift
        hop = round(encoder.frame_shift * encoder.sample_rate)
        self.min_samples = encoder.min_samples + (hop if pooling in OF_TWO else 0)
        self.recipe: Mapping[str, object] = {**encoder.recipe, "pooling": pooling}
        self.step = encoder.step if isinstance(encoder, Dated) else None
        self.run = encoder.run if isinstance(encoder, Dated) else None
        self.parameters = encoder.parameters if isinstance(encoder, Sized) else None
        self.pruned: Mapping[str, object] = encoder.pruned if isinstance(encoder, Sized) else {}
        self.distilled: Mapping[str, object] = encoder.distilled if isinstance(encoder, Sized) else {}
        self.fitted_on = encoder.fitted_on if isinstance(encoder, Fitted) else frozenset[str]()

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, frames, dim)."""
        return self.encoder.hidden_states(wave)

    def pooled(self, wave: Wave) -> States:
        """The pooling of every state's frames, (states, dim) float32; InputError for a wave of too few frames."""
        if self.pooling in OF_TWO:
            wave = check_wave(self.name, wave, min_samples=self.min_samples)
        return reduce_states(self.encoder, wave, self._reduce)

    def _reduce(self, state: int, frames: Frames) -> Frames:
        pooled = POOLINGS[self.pooling](frames).astype(np.float32)  # a copy: frames are forgotten
        if self.pooling == "std" and _rms(pooled) < ROUNDING * _rms(frames):
            raise VanishingError(
                f"{self.name}: the frames of state {state} are all alike, so their SD is rounding; "
                "take another pooling"
            )
        return pooled


def _rms(array: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
