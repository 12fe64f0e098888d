"""Mel spectrogram, MFCC, deltas and CMVN, with S3PRL's settings (its ``mel`` and ``mfcc`` upstreams).

Conventions: waves are 1-d in [-1, 1] at 16 kHz, never scaled to 16 bit (S3PRL does not); features are (frames, dim).
The two mel scales are one formula: HTK's 2595 log10(1 + f / 700) is Kaldi's 1127 ln(1 + f / 700). The filters differ:
HTK's triangles (torchaudio's MelScale, ``norm=None``) are straight lines in Hz, Kaldi's are straight lines in mel.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.features.spectra import (
    EPSILON,
    KALDI_FFT,
    KALDI_HOP,
    KALDI_LENGTH,
    Array,
    Frames,
    centred,
    hamming,
    hann_periodic,
    kaldi_power,
    map_frames,
    power,
)

SAMPLE_RATE = 16_000
NYQUIST = SAMPLE_RATE / 2
MEL_FLOOR = 1e-10  # S3PRL: log(x + 1e-10)
LOG_MEL_BINS, INT16_SCALE = 40, 2.0**15
CEPSTRA, KALDI_BINS, LIFTER, LOW_HZ = 13, 23, 22, 20.0


def to_mel(hertz: Array | float) -> Array:
    """Hertz to mel."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def to_hertz(mel: Array) -> Array:
    """Mel to hertz."""
    return np.asarray(700.0 * np.expm1(mel / 1127.0))


def htk_filters(bins: int, fft_length: int) -> Array:
    """HTK's triangles between 0 Hz and Nyquist, straight in Hz, peak 1: (fft_length // 2 + 1, bins)."""
    corners = to_hertz(np.linspace(0.0, float(to_mel(NYQUIST)), bins + 2))
    return _triangles(np.linspace(0.0, NYQUIST, fft_length // 2 + 1), corners)


def kaldi_filters(bins: int, fft_length: int) -> Array:
    """Kaldi's triangles between 20 Hz and Nyquist, straight in mel; the Nyquist bin counts nowhere."""
    corners = np.linspace(float(to_mel(LOW_HZ)), float(to_mel(NYQUIST)), bins + 2)
    filters = _triangles(to_mel(np.linspace(0.0, NYQUIST, fft_length // 2 + 1)), corners)
    filters[-1] = 0.0
    return filters


def _triangles(points: Array, corners: Array) -> Array:
    """Weight of every point in every triangle that rises from one corner to the next and falls to the one after."""
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (points[:, None] - left) / (centre - left)
    falling = (right - points[:, None]) / (right - centre)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def liftered_dct(bins: int, cepstra: int, lifter: int) -> Array:
    """Orthonormal DCT-II with Kaldi's cepstral lifter 1 + L/2 sin(pi i / L) in it, (bins, cepstra)."""
    order = np.arange(cepstra)
    cosines = np.cos(np.pi / bins * (np.arange(bins)[:, None] + 0.5) * order) * np.sqrt(2.0 / bins)
    cosines[:, 0] = np.sqrt(1.0 / bins)
    return np.asarray(cosines * (1.0 + 0.5 * lifter * np.sin(np.pi * order / lifter)))


def mel(wave: NDArray[np.float32]) -> Frames:
    """S3PRL ``mel`` before CMVN: ln(mel energy + 1e-10), (1 + samples // 160, 80)."""

    def log_mel(frames: Array) -> Array:
        return np.asarray(np.log(power(frames * _HANN_400, fft_length=400) @ _HTK + MEL_FLOOR))

    return map_frames(centred(wave, 400), log_mel, length=400, hop=160, dim=80)


def mfcc(wave: NDArray[np.float32]) -> Frames:
    """S3PRL ``mfcc`` before CMVN: 13 cepstra (C0 first), their deltas and the deltas of these, (frames, 39)."""

    def cepstra(frames: Array) -> Array:
        spectrum, _ = kaldi_power(frames)
        return np.asarray(np.log(np.maximum(spectrum @ _KALDI, EPSILON)) @ _DCT)

    statics = map_frames(wave, cepstra, length=KALDI_LENGTH, hop=KALDI_HOP, dim=CEPSTRA, dtype=np.float64)
    first = deltas(statics)
    return np.hstack([statics, first, deltas(first)]).astype(np.float32)


def kaldi_log_mel(wave: NDArray[np.float32]) -> Frames:
    """MelHuBERT's input before normalisation: Kaldi's log-mel, 40 bins, Hamming window, (frames, 40).

    Counterpart: torchaudio.compliance.kaldi.fbank of the wave times 2^15. One frame per whole window of 25 ms, every
    10 ms.
    """

    def log_mel(frames: Array) -> Array:
        spectrum, _ = kaldi_power(frames * INT16_SCALE, _HAMMING)
        return np.asarray(np.log(np.maximum(spectrum @ _KALDI_40, EPSILON)))

    return map_frames(wave, log_mel, length=KALDI_LENGTH, hop=KALDI_HOP, dim=LOG_MEL_BINS)


def deltas(features: Frames) -> Array:
    """Slope over five frames, sum of n (x[t+n] - x[t-n]) / 10 for n = 1, 2, the ends repeated. Same shape."""
    padded = np.pad(features, ((2, 2), (0, 0)), mode="edge")
    one = padded[3:-1] - padded[1:-3]
    two = padded[4:] - padded[:-4]
    return np.asarray((one + 2.0 * two) / 10.0, np.float64)


def cmvn(features: Frames) -> NDArray[np.float32]:
    """Per-utterance mean and variance normalisation, S3PRL's last step: (x - mean) / (std + 1e-10), std unbiased."""
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64, ddof=1)
    return np.asarray((features - mean) / (deviation + 1e-10), np.float32)


_HANN_400 = hann_periodic(400)
_HTK = htk_filters(80, 400)
_KALDI_40 = kaldi_filters(LOG_MEL_BINS, KALDI_FFT)
_HAMMING = hamming(KALDI_LENGTH)
_KALDI = kaldi_filters(KALDI_BINS, KALDI_FFT)
_DCT = liftered_dct(KALDI_BINS, CEPSTRA, LIFTER)
