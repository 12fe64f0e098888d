"""Short-time spectra of a whole utterance at once: framing, windows, power spectra.

Conventions: a wave is 1-d in [-1, 1] at 16 kHz; spectra are (frames, bins). Everything between wave and result is
float64, in blocks of ``BLOCK`` frames, so ten minutes of audio need no more working memory than two seconds; numpy
lets other threads run inside each block. Two framings are in use, and both stand in the recipes:

- centred (torch.stft): reflect padding of half a window, 1 + samples // hop frames, periodic Hann window;
- Kaldi (compute-spectrogram-feats with ``snip_edges``): whole windows only, 25 ms every 10 ms, zero-padded to 512.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.float64]
Frames = NDArray[np.floating]

BLOCK = 128  # frames: an intermediate of 0.4 MB stays in the cache; blocks of 512 take 2 to 3 times as long
EPSILON = float(np.finfo(np.float32).eps)  # Kaldi's floor of every power before its logarithm
ENERGY_FLOOR = 1.0  # torchaudio.compliance.kaldi: energy_floor; S3PRL leaves it there
KALDI_LENGTH, KALDI_HOP, KALDI_FFT = 400, 160, 512
PREEMPHASIS = 0.97


def hann_periodic(length: int) -> Array:
    """Hann window as torch.hann_window makes it: one period, the end point left out."""
    angle = 2.0 * np.pi * np.arange(length) / length
    return np.asarray(0.5 - 0.5 * np.cos(angle))


def povey(length: int) -> Array:
    """Kaldi's own window: a symmetric Hann window to the power 0.85."""
    angle = 2.0 * np.pi * np.arange(length) / (length - 1)
    return np.asarray((0.5 - 0.5 * np.cos(angle)) ** 0.85)


def map_frames(
    wave: NDArray[np.float32],
    transform: Callable[[Array], Array],
    *,
    length: int,
    hop: int,
    dim: int,
    dtype: DTypeLike = np.float32,
) -> Frames:
    """Apply ``transform``, (block, length) to (block, dim), to the frames of a wave, block by block."""
    frames = sliding_window_view(wave, length)[::hop]
    result = np.empty((len(frames), dim), dtype)
    for start in range(0, len(frames), BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = transform(frames[block].astype(np.float64))
    return result


def centred(wave: NDArray[np.float32], fft_length: int) -> NDArray[np.float32]:
    """Reflect half a window at both ends, as torch.stft with ``center=True``; needs more samples than that half."""
    return np.pad(wave, fft_length // 2, mode="reflect")


def power(frames: Array, *, fft_length: int) -> Array:
    """Squared magnitudes of the DFT of windowed frames, (block, fft_length // 2 + 1)."""
    spectrum = np.fft.rfft(frames, fft_length)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def hamming(length: int) -> Array:
    """Symmetric Hamming window, as Kaldi's ``hamming``."""
    return np.asarray(np.hamming(length))


def kaldi_power(frames: Array, window: Array | None = None) -> tuple[Array, Array]:
    """Kaldi's power spectrum of raw frames, (block, 400) to (block, 257), and its raw log energy, (block,).

    ``window`` is Povey's unless given.

    Energy is taken after the removal of the DC offset and before pre-emphasis and window (``raw_energy``).
    """
    frames = frames - frames.mean(axis=1, keepdims=True)
    energy = np.einsum("ij,ij->i", frames, frames)
    log_energy = np.log(np.maximum(energy, max(EPSILON, ENERGY_FLOOR)))
    emphasised = np.empty_like(frames)
    emphasised[:, 1:] = frames[:, 1:] - PREEMPHASIS * frames[:, :-1]
    emphasised[:, 0] = frames[:, 0] * (1.0 - PREEMPHASIS)  # the sample before the first is the first
    emphasised *= _POVEY if window is None else window
    return power(emphasised, fft_length=KALDI_FFT), log_energy


def stft(wave: NDArray[np.float32]) -> Frames:
    """S3PRL ``stft_mag``: magnitudes, no logarithm. (1 + samples // 320, 257)."""

    def magnitudes(frames: Array) -> Array:
        return np.asarray(np.sqrt(power(frames * _HANN_512, fft_length=512)))

    return map_frames(centred(wave, 512), magnitudes, length=512, hop=320, dim=257)


def spectrogram(wave: NDArray[np.float32]) -> Frames:
    """S3PRL ``spectrogram`` before CMVN: Kaldi's log power spectrum, bin 0 the log energy. (frames, 257)."""

    def log_power(frames: Array) -> Array:
        spectrum, log_energy = kaldi_power(frames)
        result = np.log(np.maximum(spectrum, EPSILON))
        result[:, 0] = log_energy
        return np.asarray(result)

    return map_frames(wave, log_power, length=KALDI_LENGTH, hop=KALDI_HOP, dim=257)


_HANN_512 = hann_periodic(512)
_POVEY = povey(KALDI_LENGTH)
