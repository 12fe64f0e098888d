"""What frame energies and the spectrum of one clip say: pauses, levels, signal-to-noise ratio, bandwidth, clipping.

Conventions: a wave is 1-d, full scale 1, at ``rate`` Hz; levels are dB of the mean square re full scale 1 (a sine at
full scale has -3 dB); a frame is 25 ms, one every 10 ms. Levels are never below ``FLOOR``, the noise of 16 bits.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import CLIPPING_LEVEL, CLIPPING_RUN

Array = NDArray[np.float64]

FRAME, HOP = 0.025, 0.010  # s
FLOOR = -100.0  # dBFS
SILENT = 25.0  # dB below the loudest frames, as de Jong and Wempe (2009) tell silence from speech
PAUSE = 0.3  # s; theirs too
LOUDEST = 99  # percentile of the frames' levels
SPEECH, NOISE = 95, 10  # percentiles of the frames' levels, for the signal-to-noise ratio
ENERGY = 0.99  # share below the bandwidth


def frame_levels(wave: Array, rate: int) -> Array:
    """Level of every frame in dBFS, (frames,); of a wave shorter than a frame its own."""
    length, hop = min(round(FRAME * rate), len(wave)), round(HOP * rate)
    sums = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    return decibels((sums[length:] - sums[:-length])[::hop] / length)


def decibels(power: Array | np.floating) -> Array:
    """DB of a mean square, at least ``FLOOR``."""
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10))))


def is_silent(levels: Array) -> NDArray[np.bool_]:
    """Which frames are 25 dB or more below the loudest (99th percentile)."""
    return np.asarray(levels < np.percentile(levels, LOUDEST) - SILENT)


def pause_share(silent: NDArray[np.bool_]) -> float:
    """Per cent of the frames within silences of 0.3 s or more, those at both ends included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(np.int8), [0]])))
    runs = edges[1::2] - edges[::2]
    return 100 * float(runs[runs * HOP >= PAUSE - 1e-9].sum()) / len(silent)


def active_level(levels: Array, silent: NDArray[np.bool_]) -> float:
    """Level of the frames that are not silent, in dBFS: pauses do not lower it."""
    return float(decibels(np.mean(10 ** (levels[~silent] / 10))))


def signal_to_noise(levels: Array) -> float:
    """95th less 10th percentile of the frames' levels, in dB.

    In the manner of NIST's STNR, percentiles in the place of its fitted modes. A clip without a pause has no frame of
    noise alone: there it is too small; what a noise gate has silenced looks cleaner than it was recorded.
    """
    speech, noise = np.percentile(levels, [SPEECH, NOISE])
    return float(speech - noise)


def bandwidth(wave: Array, rate: int) -> float:
    """Frequency in kHz below which 99 % of the energy of the wave's first difference lies.

    The difference lifts the spectrum by 6 dB an octave, or else the low frequencies of voices would decide alone.
    """
    if len(wave) < 2:
        return 0.0
    power = np.abs(np.fft.rfft(np.diff(wave))) ** 2
    below = np.cumsum(power)
    bin_ = int(np.searchsorted(below, ENERGY * below[-1]))
    return float(bin_) * rate / max(len(wave) - 1, 1) / 1000


def clipping_share(samples: NDArray[np.floating]) -> float:
    """Per cent of the samples that stand in runs of 3 or more at full scale; ``samples`` (samples, channels)."""
    full = np.abs(samples) >= CLIPPING_LEVEL
    gap = np.zeros((1, full.shape[1]), dtype=np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([gap, full.astype(np.int8), gap]), axis=0).T.ravel())
    runs = edges[1::2] - edges[::2]
    return float(100 * runs[runs >= CLIPPING_RUN].sum() / full.size)
