"""What units are clusters of: log-mel, MFCC or a hidden state of an encoder, frame by frame.

Each extractor takes a mono wave (samples,) float32 at 16 kHz and gives frames (frames, dim) float32 at ``rate`` per
second; a wave too short for one frame gives none. ``features`` names every setting, so that the quantiser's labels can
be made again.

- ``logmel``: MelHuBERT's input, Kaldi's 40 bins at 100 Hz, normalised per bin by mean and std of the corpus.
- ``mfcc``: HuBERT's first iteration, Kaldi's 13 cepstra with their deltas twice, 39 numbers at 100 Hz, no CMVN.
- ``state``: the second iteration, a hidden state of a model that was trained on the first one's labels, 50 Hz.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechbias.checkpoint import load_encoder
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.features import FEATURES
from speechbias.features.cepstra import CEPSTRA, LOG_MEL_BINS, kaldi_log_mel, mfcc
from speechbias.features.spectra import KALDI_HOP, KALDI_LENGTH
from speechbias.models.config import SAMPLE_RATE, MelFrontend
from speechbias.models.mel import MelStats, mel_recipe, read_mel_stats

CHUNK = 1_600_000  # samples: longer waves are run in pieces (fairseq: max_chunk)

Wave = NDArray[np.float32]
Frames = NDArray[np.float32]


class Extractor(Protocol):
    """Waves in, frames out."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Kind and settings: JSON values."""

    @property
    def rate(self) -> int:
        """Frames per second."""

    @property
    def dim(self) -> int:
        """Size of a frame."""

    @property
    def mel_stats(self) -> MelStats | None:
        """Mean and std by which frames are normalised, where they are."""

    def __call__(self, wave: Wave) -> Frames:
        """Frames of a wave."""


@dataclass(frozen=True, eq=False)
class LogMel:
    """Normalised log-mel frames of 10 ms."""

    mel_stats: MelStats

    rate = SAMPLE_RATE // KALDI_HOP
    dim = LOG_MEL_BINS

    @property
    def features(self) -> Mapping[str, Any]:
        """Every setting, the statistics by their hash."""
        return {"kind": "logmel", **mel_recipe(MelFrontend(LOG_MEL_BINS, 1), self.mel_stats)}

    def __call__(self, wave: Wave) -> Frames:
        """Frames of a wave, (frames, 40)."""
        mean, std = self.mel_stats
        return np.asarray((log_mel(wave) - mean) / std, np.float32)


@dataclass(frozen=True, eq=False)
class Mfcc:
    """13 cepstra, their deltas and the deltas of these."""

    rate = SAMPLE_RATE // KALDI_HOP
    dim = 3 * CEPSTRA
    mel_stats = None

    @property
    def features(self) -> Mapping[str, Any]:
        """Every setting."""
        return {"kind": "mfcc", **FEATURES["mfcc"].settings, "cmvn": "none"}

    def __call__(self, wave: Wave) -> Frames:
        """Frames of a wave, (frames, 39)."""
        return np.asarray(mfcc(wave) if len(wave) >= KALDI_LENGTH else np.empty((0, self.dim)), np.float32)


@dataclass(frozen=True, eq=False)
class State:
    """One hidden state of an encoder; waves longer than ``CHUNK`` are run in pieces that lose no frame."""

    encoder: Encoder
    state: int
    mel_stats = None  # an encoder has its own

    def __post_init__(self) -> None:
        """Refuse a state that there is none of, and encoders whose frames are no whole number of samples."""
        if not 0 <= self.state < self.encoder.num_states:
            last = self.encoder.num_states - 1
            raise InputError(f"{self.encoder.name} has no state {self.state}; give one from 0 to {last}")
        if self.encoder.sample_rate != SAMPLE_RATE or SAMPLE_RATE % self._hop:
            raise InputError(f"{self.encoder.name} makes no whole number of frames per second of 16 kHz; use another")

    @property
    def _hop(self) -> int:
        return round(self.encoder.frame_shift * SAMPLE_RATE)

    @property
    def rate(self) -> int:
        """Frames per second."""
        return SAMPLE_RATE // self._hop

    @property
    def dim(self) -> int:
        """Size of a hidden state."""
        return self.encoder.dim

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """The encoder by name and hash of its weights (hashed once), with its own settings."""
        encoder = self.encoder
        return {
            "kind": "state",
            "model": encoder.name,
            "model_sha256": encoder.sha256,
            "states": encoder.states,
            "state": self.state,
            "dtype": encoder.dtype,
            "recipe": dict(encoder.recipe),
        }

    def __call__(self, wave: Wave) -> Frames:
        """Frames of a wave, (frames, dim)."""
        hop = self._hop
        step, pieces = CHUNK // hop * hop, []
        for start in range(0, max(len(wave), 1), step):
            last = start + step >= len(wave)
            # A piece sees behind its end what its last frames need: 400 samples per frame that are 160 or 320 apart.
            piece = wave[start:] if last else wave[start : start + step + KALDI_LENGTH]
            if len(piece) >= self.encoder.min_samples:
                frames = self.encoder.hidden_states(piece)[self.state]
                pieces.append(frames if last else frames[: step // hop])
        return np.concatenate(pieces) if pieces else np.empty((0, self.dim), np.float32)


def make_extractor(
    kind: str,
    *,
    mel_stats: ArrayLike | Path | None = None,
    model: str | Path | None = None,
    state: int | None = None,
    device: str = "cpu",
) -> Extractor:
    """The extractor of a kind: ``logmel`` with statistics, ``mfcc``, ``state`` with a model and which of its states.

    ``mel_stats`` with ``state`` are for a MelHuBERT file that carries none.
    """
    given = {
        name for name, value in {"mel_stats": mel_stats, "model": model, "state": state}.items() if value is not None
    }
    needed, allowed = NEEDS.get(kind, (set(), set()))
    if kind not in NEEDS:
        raise InputError(f"units of {kind!r} are not known; use one of {', '.join(NEEDS)}")
    if lacking := sorted(needed - given):
        raise InputError(f"units of {kind} need {lacking[0]}; give it")
    if useless := sorted(given - allowed):
        raise InputError(f"units of {kind} take no {useless[0]}; leave it out")
    if kind == "mfcc":
        return Mfcc()
    if kind == "logmel":
        assert mel_stats is not None
        return LogMel(read_mel_stats(mel_stats))
    assert model is not None
    assert state is not None
    return State(load_encoder(model, device=device, mel_stats=mel_stats), state)


NEEDS: Mapping[str, tuple[set[str], set[str]]] = {  # what a kind must be given, and what it may be
    "logmel": ({"mel_stats"}, {"mel_stats"}),
    "mfcc": (set(), set()),
    "state": ({"model", "state"}, {"model", "state", "mel_stats"}),
}


def log_mel(wave: Wave) -> NDArray[np.floating]:
    """Log-mel frames before normalisation; none of a wave shorter than one window."""
    return kaldi_log_mel(wave) if len(wave) >= KALDI_LENGTH else np.empty((0, LOG_MEL_BINS), np.float32)
