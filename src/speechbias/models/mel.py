"""MelHuBERT's input: Kaldi log-mel of 10 ms, normalised per bin by statistics of a corpus, stacked to 20 ms.

The statistics belong to a checkpoint as its weights do: (2, 40), row 0 mean, row 1 standard deviation, over the frames
of the training corpus (the ``mean-std.npy`` of the public code). Time means keep what the mel spectrum says of the
speaker, because the statistics are not the utterance's own.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechbias.errors import InputError, os_reason
from speechbias.features.cepstra import kaldi_log_mel
from speechbias.models.config import MelFrontend

MelStats = NDArray[np.float64]
NO_STATS = (
    "carries no mean and std of its mel bins, so it takes features but no audio; give those it was trained with: "
    "--mel-stats FILE.npy (mel_stats=), an array (2, 40) of mean and std"
)


def mel_features(wave: NDArray[np.float32], front: MelFrontend, stats: MelStats) -> NDArray[np.float32]:
    """Normalised, stacked features of one wave: (frames, bins * stack)."""
    return normalised(kaldi_log_mel(wave), front, stats)


def normalised(log_mel: NDArray[np.float32], front: MelFrontend, stats: MelStats) -> NDArray[np.float32]:
    """Log-mel frames of 10 ms (frames, bins), which no checkpoint changes, as a checkpoint takes them in."""
    mean, std = stats
    return stacked((log_mel - mean) / std, front.stack)


def stacked(frames: NDArray[np.floating], stack: int) -> NDArray[np.float32]:
    """``stack`` neighbours in one frame; what lacks at the end is zero, the corpus' mean. (ceil(n / stack), ...)."""
    missing = -len(frames) % stack
    padded = np.pad(frames, ((0, missing), (0, 0)))
    return np.asarray(padded.reshape(-1, stack * frames.shape[1]), np.float32)


def read_mel_stats(stats: ArrayLike | Path, *, bins: int = 40) -> MelStats:
    """Mean and std per mel bin, (2, bins) float64, from an array or an ``.npy`` file. InputError for anything else."""
    if not isinstance(stats, str | Path):
        where = "mel_stats"
        try:
            stats = np.asarray(stats)
        except (TypeError, ValueError):
            raise InputError(f"mel_stats is no array; give mean and std of {bins} mel bins, (2, {bins})") from None
    else:
        where = str(stats)
        try:
            stats = np.load(stats, allow_pickle=False)
        except Exception as error:  # noqa: BLE001 (numpy lets out whatever parsing a damaged header raises)
            reason = os_reason(error, otherwise="not a .npy of plain numbers")
            raise InputError(f"{where} cannot be read ({reason}); give a .npy of mean and std, (2, {bins})") from None
    if not isinstance(stats, np.ndarray) or stats.shape != (2, bins) or stats.dtype.kind not in "fiu":
        shape = " x ".join(map(str, getattr(stats, "shape", ()))) or "no array"
        raise InputError(f"{where} holds {shape}; give mean and std of {bins} mel bins, shape (2, {bins})")
    numbers = np.asarray(stats, np.float64)
    if not np.isfinite(numbers).all() or (numbers[1] <= 0).any():
        raise InputError(
            f"{where}: row 0 is the mean, row 1 the std; all are finite, every std above 0; give such numbers"
        )
    return numbers


def log_mel_recipe(bins: int) -> Mapping[str, object]:
    """Every setting of the features before they are normalised and stacked."""
    return {
        "input": "kaldi log-mel",
        "mel_bins": bins,
        "window": "hamming",
        "window_length": 400,
        "hop": 160,
        "scale": "2^15",
    }


def mel_recipe(front: MelFrontend, stats: MelStats | None) -> Mapping[str, object]:
    """Every setting of the features by name, the statistics by their hash."""
    return {
        **log_mel_recipe(front.bins),
        "stacked": front.stack,
        "mel_stats": None if stats is None else hashlib.sha256(np.ascontiguousarray(stats).tobytes()).hexdigest()[:16],
        "precision": "float64, result float32",
    }
