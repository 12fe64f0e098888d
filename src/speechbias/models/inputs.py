"""From a wave to what a network of ours takes, on a CPU: the wave itself, or its mel frames."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import Wave, check_wave
from speechbias.errors import InputError
from speechbias.features.cepstra import kaldi_log_mel
from speechbias.models.config import MelFrontend, WaveFrontend
from speechbias.models.mel import NO_STATS, MelStats, normalised


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is computed of a wave before the network: knows no weights, so that other processes can do it."""

    name: str  # of the model, for messages
    frontend: WaveFrontend | MelFrontend
    mel_stats: MelStats | None = None

    def __call__(self, wave: Wave) -> NDArray[np.float32]:
        """The wave (samples,), or its normalised, stacked mel frames (frames, dim). InputError for unusable waves."""
        return self.finished(self.begun(wave))

    def begun(self, wave: Wave) -> NDArray[np.float32]:
        """The wave (samples,), or log-mel frames of 10 ms (frames, bins), before statistics of a checkpoint."""
        wave = check_wave(self.name, wave, min_samples=self.frontend.receptive_field)
        if not isinstance(self.frontend, MelFrontend):
            return wave
        self._stats()  # refused before anything is computed
        return kaldi_log_mel(wave)

    def finished(self, begun: NDArray[np.float32]) -> NDArray[np.float32]:
        """What ``begun`` gave, as the network takes it."""
        return normalised(begun, self.frontend, self._stats()) if isinstance(self.frontend, MelFrontend) else begun

    def _stats(self) -> MelStats:
        if self.mel_stats is None:
            raise InputError(f"{self.name} {NO_STATS}")
        return self.mel_stats
