"""Classical features as encoders with one state: ``stft``, ``spectrogram``, ``mel``, ``mfcc``.

The settings are S3PRL's, with one exception on purpose: S3PRL ends ``spectrogram``, ``mel`` and ``mfcc`` with
per-utterance mean and variance normalisation (CMVN), after which the mean over time of every dimension is zero up to
rounding, and an association of such means is one of rounding noise. Here the plain names leave CMVN out; ``mel:cmvn``
and so on have it, for comparison: their frames can be had, their pooled embedding is refused.

Conventions: waves are 1-d float32 in [-1, 1] at 16 kHz; hidden states are (1, frames, dim) float32, computed in
float64. Source: the paper's Table 3 (its four classical rows); S3PRL's upstreams ``stft_mag``, ``spectrogram``,
``mel`` and ``mfcc``.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import States, Wave, check_wave, mean_over_frames
from speechbias.features.cepstra import cmvn, mel, mfcc
from speechbias.features.spectra import Frames, spectrogram, stft

SAMPLE_RATE = 16_000
CMVN = ":cmvn"


@dataclass(frozen=True)
class Feature:
    """One kind of feature: what computes it, and every setting that makes a digit of it."""

    compute: Callable[[NDArray[np.float32]], Frames]
    dim: int
    hop: int  # samples
    min_samples: int  # one window; with centred frames one more than the half window that is reflected
    settings: Mapping[str, object]


_CENTRED = {"window": "hann (periodic)", "centre": "reflect padding of half a window", "sample_rate": SAMPLE_RATE}
_KALDI = {
    "window": "povey",
    "window_length": 400,
    "fft_length": 512,
    "hop": 160,
    "snip_edges": True,
    "dither": 0.0,
    "preemphasis": 0.97,
    "remove_dc_offset": True,
    "sample_rate": SAMPLE_RATE,
}

FEATURES: Mapping[str, Feature] = {
    "stft": Feature(
        stft,
        257,
        320,
        257,
        {**_CENTRED, "s3prl": "stft_mag", "window_length": 512, "fft_length": 512, "hop": 320, "values": "magnitude"},
    ),
    "spectrogram": Feature(
        spectrogram,
        257,
        160,
        400,
        {
            **_KALDI,
            "s3prl": "spectrogram",
            "values": "ln(max(power, 2^-23)); bin 0: ln(max(raw energy, 1))",
        },
    ),
    "mel": Feature(
        mel,
        80,
        160,
        201,
        {
            **_CENTRED,
            "s3prl": "mel",
            "window_length": 400,
            "fft_length": 400,
            "hop": 160,
            "mel_bins": 80,
            "mel_scale": "htk",
            "mel_norm": None,
            "mel_hz": [0.0, 8000.0],
            "values": "ln(power + 1e-10)",
        },
    ),
    "mfcc": Feature(
        mfcc,
        39,
        160,
        400,
        {
            **_KALDI,
            "s3prl": "mfcc",
            "mel_bins": 23,
            "mel_scale": "kaldi",
            "mel_hz": [20.0, 8000.0],
            "cepstra": 13,
            "lifter": 22,
            "use_energy": False,
            "deltas": {"order": 2, "window": 5},
            "values": "cepstra of ln(max(power, 2^-23))",
        },
    ),
}
NAMES = tuple(FEATURES) + tuple(name + CMVN for name in FEATURES)


@dataclass(frozen=True)
class FeatureEncoder:
    """A classical feature with what every encoder promises (``speechbias.encoder.Encoder``); safe in threads."""

    name: str
    states: str = "s3prl"  # one state under every convention
    family: str = field(default="features", init=False)
    num_states: int = field(default=1, init=False)
    sample_rate: int = field(default=SAMPLE_RATE, init=False)
    dtype: str = field(default="float32", init=False)

    @property
    def _feature(self) -> Feature:
        return FEATURES[self.name.removesuffix(CMVN)]

    @property
    def _normalised(self) -> bool:
        return self.name.endswith(CMVN)

    @property
    def dim(self) -> int:
        """Coefficients per frame."""
        return self._feature.dim

    @property
    def frame_shift(self) -> float:
        """Seconds from frame to frame."""
        return self._feature.hop / SAMPLE_RATE

    @property
    def min_samples(self) -> int:
        """One window; with CMVN one hop more, because a standard deviation needs two frames."""
        return self._feature.min_samples + (self._feature.hop if self._normalised else 0)

    @property
    def recipe(self) -> Mapping[str, object]:
        """All settings by name."""
        policy = (
            "per utterance, after deltas: (x - mean) / (std + 1e-10), std unbiased" if self._normalised else "none"
        )
        return {**self._feature.settings, "cmvn": policy, "precision": "float64, result float32"}

    @property
    def sha256(self) -> str:
        """Of name and recipe: a feature has no weights."""
        text = json.dumps([self.name, self.recipe], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def hidden_states(self, wave: Wave) -> States:
        """The feature of one wave, shape (1, frames, dim)."""
        wave = check_wave(self.name, wave, min_samples=self.min_samples)
        frames = self._feature.compute(wave)
        return np.asarray(cmvn(frames) if self._normalised else frames, np.float32)[None]

    def pooled(self, wave: Wave) -> States:
        """Mean over frames, shape (1, dim); InputError with CMVN, which leaves nothing but rounding in it."""
        return mean_over_frames(self.name, self.hidden_states(wave), why=self._why_nothing_is_left())

    def _why_nothing_is_left(self) -> str:
        plain = self.name.removesuffix(CMVN)
        return f"per-utterance CMVN removes it; use {plain}" if self._normalised else ""
