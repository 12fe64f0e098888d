"""The quantiser of units: centres of k-means, and what features they live in. A frame's label is its nearest centre.

Frames are (frames, dim) float32, centres (clusters, dim) float32, labels whole numbers from 0. A quantiser is saved
as ``quantiser.safetensors`` (centres, mel statistics) and ``quantiser.json`` (features, rate, hash of the centres);
``describe`` is what a checkpoint's meta keeps of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json
from speechbias.models.mel import MelStats, read_mel_stats

TENSORS, DESCRIPTION = "quantiser.safetensors", "quantiser.json"
BLOCK = 2_048  # frames: their scores against 512 centres are 4 MB

Centres = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Quantiser:
    """``centres`` (clusters, dim) of ``features``: their kind (``logmel``, ``mfcc``, ``state``) and every setting.

    ``rate`` is that of the frames, in Hz; ``mel_stats`` (2, bins) where features are normalised by them.
    """

    centres: Centres
    features: Mapping[str, Any]
    rate: int
    mel_stats: MelStats | None = None

    def __post_init__(self) -> None:
        """Refuse what is no table of centres."""
        if self.centres.ndim != 2 or len(self.centres) < 2 or not np.isfinite(self.centres).all():
            raise InputError("a quantiser needs centres (clusters, dim), at least two, all finite; cluster again")

    @property
    def clusters(self) -> int:
        """How many labels there are."""
        return len(self.centres)

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return int(self.centres.shape[1])

    @property
    def sha256(self) -> str:
        """Of the shape and bytes of the centres."""
        shape = f"{self.clusters} {self.dim}\0".encode()
        return hashlib.sha256(shape + np.ascontiguousarray(self.centres, "<f4").tobytes()).hexdigest()

    def assign(self, frames: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
        """The label of each frame, (frames,), in the smallest type that holds all labels."""
        if frames.ndim != 2 or frames.shape[1] != self.dim:
            shape = " x ".join(map(str, frames.shape))
            raise InputError(f"the quantiser takes frames of {self.dim} numbers, not {shape}; use its own features")
        return nearest(frames, self.centres)[0]

    def describe(self) -> dict[str, Any]:
        """What is known of the labels: JSON values, for a checkpoint's meta."""
        return {
            "clusters": self.clusters,
            "dim": self.dim,
            "rate": self.rate,
            "features": dict(self.features),
            "sha256": self.sha256,
        }

    def save(self, folder: Path) -> None:
        """Write both files into a folder that is there."""
        tensors: dict[str, NDArray[Any]] = {"centres": np.ascontiguousarray(self.centres)}
        if self.mel_stats is not None:
            tensors["mel_stats"] = np.ascontiguousarray(self.mel_stats)
        save_file(tensors, folder / TENSORS)
        text = json.dumps(self.describe(), indent=1, allow_nan=False)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def load_quantiser(folder: Path | str) -> Quantiser:
    """The quantiser in a folder of labels. InputError, one line, where its files do not belong together."""
    folder = Path(folder)
    said = read_json(folder / DESCRIPTION)
    try:
        tensors = load_file(folder / TENSORS)
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder / TENSORS} cannot be read as safetensors ({reason}); copy it again") from None
    centres, stats = tensors.get("centres"), tensors.get("mel_stats")
    features, rate = said.get("features"), said.get("rate")
    if centres is None or centres.dtype != np.float32 or not isinstance(features, dict) or type(rate) is not int:
        raise InputError(f"{folder}: its quantiser lacks centres, features or rate; copy both files again")
    quantiser = Quantiser(centres, features, rate, None if stats is None else read_mel_stats(stats))
    if said.get("sha256") != quantiser.sha256:
        raise InputError(f"{folder}: {DESCRIPTION} describes other centres than {TENSORS} holds; copy both again")
    return quantiser


def label_type(clusters: int) -> DTypeLike:
    """The smallest unsigned type that holds the labels 0 to clusters - 1."""
    return np.min_scalar_type(max(clusters - 1, 0))


def nearest(frames: NDArray[np.floating], centres: Centres) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """The nearest centre of each frame and the squared distance to it, both (frames,).

    Of |x - c|^2 = |x|^2 - 2 x.c + |c|^2 only a matrix product depends on both. Frames and centres are first moved so
    that the centres' mean is zero: features far from the origin would lose their differences in float32.
    """
    frames = np.asarray(frames, np.float32)
    middle = centres.mean(axis=0, dtype=np.float64).astype(np.float32)
    moved = np.ascontiguousarray((centres - middle).T)  # (dim, clusters)
    half = 0.5 * np.einsum("dc,dc->c", moved, moved)
    labels = np.empty(len(frames), label_type(len(centres)))
    distances = np.empty(len(frames), np.float32)
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK] - middle
        scores = block @ moved - half  # (block, clusters), largest where the distance is smallest
        best = scores.argmax(axis=1)
        labels[start : start + BLOCK] = best
        top = scores[np.arange(len(best)), best]
        squares = np.einsum("fd,fd->f", block, block) - 2.0 * top
        distances[start : start + BLOCK] = np.maximum(squares, 0.0)  # rounding can leave it below
    return labels, distances
