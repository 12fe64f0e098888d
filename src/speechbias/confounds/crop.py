"""Crops of equal length: the middle seconds of every clip, for whoever measures and for the audit alike."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import Dated, Encoder, Fitted, Sized, States, Wave


def middle(samples: NDArray[np.float32], rate: int, seconds: float | None) -> NDArray[np.float32]:
    """The middle ``seconds`` of samples (samples, ...) at ``rate`` Hz; all of them where there are fewer."""
    length = len(samples) if seconds is None else round(seconds * rate)
    start = max((len(samples) - length) // 2, 0)
    return samples[start : start + length]


class Cropped:
    """An encoder that hears the middle ``seconds`` of a clip and refuses shorter ones.

    Its ``recipe`` says so: a cropped measurement is another measurement, with a cache and records of its own. One
    utterance at a time, whatever the encoder could take.
    """

    def __init__(self, encoder: Encoder, seconds: float) -> None:
        self.encoder, self.seconds = encoder, seconds
        self.name, self.family, self.states, self.dtype = encoder.name, encoder.family, encoder.states, encoder.dtype
        self.num_states, self.dim, self.sha256 = encoder.num_states, encoder.dim, encoder.sha256
        self.sample_rate, self.frame_shift = encoder.sample_rate, encoder.frame_shift
        self.min_samples = max(encoder.min_samples, round(seconds * encoder.sample_rate))
        self.recipe: Mapping[str, object] = {**encoder.recipe, "crop_seconds": seconds}
        self.step = encoder.step if isinstance(encoder, Dated) else None
        self.run = encoder.run if isinstance(encoder, Dated) else None
        self.parameters = encoder.parameters if isinstance(encoder, Sized) else None
        self.pruned: Mapping[str, object] = encoder.pruned if isinstance(encoder, Sized) else {}
        self.distilled: Mapping[str, object] = encoder.distilled if isinstance(encoder, Sized) else {}
        self.fitted_on = encoder.fitted_on if isinstance(encoder, Fitted) else frozenset()

    def hidden_states(self, wave: Wave) -> States:
        """All states of the middle of one wave, (states, frames, dim)."""
        return self.encoder.hidden_states(middle(wave, self.sample_rate, self.seconds))

    def pooled(self, wave: Wave) -> States:
        """Mean over the frames of the middle of one wave, (states, dim)."""
        return self.encoder.pooled(middle(wave, self.sample_rate, self.seconds))
