"""Labels of a corpus: for each row of a manifest the cluster of each of its frames, at 100 or 50 Hz.

All labels lie in one flat array, mapped from disk (``label_files``), with the offset at which each row begins: 170
million labels of 960 hours are 340 MB that processes share.

Labels are 0 to clusters - 1. HuBERT's objective has clusters + 4 label embeddings (fairseq's dictionary begins with
four special symbols, so label k stands at index k + 4 there): that shift is the objective's business, not made here.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import Recording
from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE
from speechbias.training.km import read_km
from speechbias.training.label_files import LabelFacts, read_folder, written_labels
from speechbias.training.label_statistics import LabelReport, inspect_labels
from speechbias.training.quantiser import Quantiser, label_type

TOLERANCE = 0.1  # seconds by which labels and audio may differ (fairseq: label_error_tolerance)
RATES = (100, 50, 25)


class Utterances(Protocol):
    """What labels need of a manifest: its rows, each an audio file and its length at 16 kHz."""

    @property
    def num_samples(self) -> NDArray[np.int64]:
        """Samples of each row."""

    @property
    def sha256(self) -> str:
        """Identity of all rows."""

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Which rows of the source are not here (its files cannot be used), counted in the source."""

    def __len__(self) -> int:
        """Number of rows."""

    def key(self, i: int, /) -> str:
        """What a row is called."""

    def path(self, i: int, /) -> Recording:
        """Where its audio lies."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels by manifest row, and ``facts``: rate, clusters, manifest, quantiser."""

    flat: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    facts: LabelFacts

    def __post_init__(self) -> None:
        """Refuse a rate that does not fit 16 kHz."""
        if self.rate < 1 or SAMPLE_RATE % self.rate:
            raise InputError(f"labels at {self.rate} Hz lie no whole number of samples apart; give 50 or 100 Hz")

    @property
    def rate(self) -> int:
        """Labels per second."""
        return self.facts.rate

    @property
    def clusters(self) -> int:
        """How many classes there are."""
        return self.facts.clusters

    @property
    def quantiser(self) -> Quantiser | None:
        """What made the labels, where it is known."""
        return self.facts.quantiser

    @cached_property
    def sha256(self) -> str:
        """Of every label, and of where rows begin."""
        total = hashlib.sha256(np.ascontiguousarray(self.flat, np.uint16).data)
        total.update(np.ascontiguousarray(self.offsets, np.int64).data)
        return total.hexdigest()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    def of(self, i: int) -> NDArray[np.unsignedinteger]:
        """All labels of a row, (label frames,)."""
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    def frames(self, i: int, start_sample: int, frames: int, hop: int) -> NDArray[np.int64]:
        """The label of each frame of a crop that begins at ``start_sample``, a multiple of ``hop``: (frames,).

        Frame t takes the label that is current at its first sample, floor((start + t hop) rate / 16000): of labels at
        100 Hz every second one for frames of 20 ms. Where labels end up to 0.1 s early, the last one is repeated.
        """
        self.check_hop(hop)
        if start_sample < 0 or start_sample % hop:
            raise ValueError(f"a crop begins at sample {start_sample}, which is no multiple of the hop {hop}")
        index = (start_sample + hop * np.arange(frames)) * self.rate // SAMPLE_RATE
        row = self.of(i)
        if frames and (not len(row) or index[-1] - (len(row) - 1) > TOLERANCE * self.rate):
            raise InputError(
                f"row {i} has {len(row)} labels and needs {index[-1] + 1}; make labels of this corpus anew"
            )
        return row[np.minimum(index, len(row) - 1)].astype(np.int64)

    def check_hop(self, hop: int) -> None:
        """InputError for frames that come faster than labels."""
        if hop * self.rate < SAMPLE_RATE:
            have, need = f"labels at {self.rate} Hz", f"a model with frames at {SAMPLE_RATE // hop} Hz"
            raise InputError(f"{have} are too few for {need}; make units at {SAMPLE_RATE // hop} Hz")

    def check(self, manifest: Utterances) -> LabelReport:
        """InputError unless these labels fit the manifest and can be learnt from; else what they are like.

        Refused: another number of rows or another manifest, lengths that differ from the audio's by more than 0.1 s,
        labels out of range, and labels that are all one class. What is merely odd stands in the report's warnings.
        """
        if len(self) != len(manifest):
            raise InputError(f"labels of {len(self)} rows for a corpus of {len(manifest)}; make units of this corpus")
        if self.facts.manifest_sha256 not in {None, manifest.sha256}:
            raise InputError("the labels were made of another list of utterances; make units of this corpus")
        wrong = np.flatnonzero(length_errors(self.offsets, self.rate, manifest) > TOLERANCE)
        if len(wrong):
            first = ", ".join(
                f"{manifest.key(i)} ({len(self.of(i)) / self.rate:.2f} s of labels, "
                f"{manifest.num_samples[i] / SAMPLE_RATE:.2f} s of audio)"
                for i in wrong[:3].tolist()
            )
            what = f"{len(wrong)} of {len(self)} rows have labels more than {TOLERANCE} s longer or shorter than audio"
            raise InputError(f"{what}: {first}; make units of this corpus, or give the labels' rate")
        return inspect_labels(self.flat, self.clusters)

    def describe(self) -> dict[str, Any]:
        """For a checkpoint's meta: the quantiser, or what is known where the labels came without one."""
        if self.quantiser is not None:
            return self.quantiser.describe()
        return {"clusters": self.clusters, "rate": self.rate, **self.facts.about}

    def save(self, folder: Path | str) -> "Labels":
        """Write the folder, whole or not at all, and give its labels mapped from there."""
        with written_labels(Path(folder), self.facts) as writer:
            for i in range(len(self)):
                writer.append(self.of(i))
        return Labels(*read_folder(Path(folder)))


def length_errors(offsets: NDArray[np.int64], rate: int, manifest: Utterances) -> NDArray[np.float64]:
    """By how many seconds the labels of each row are longer or shorter than its audio."""
    seconds = np.asarray(manifest.num_samples) / SAMPLE_RATE
    return np.asarray(np.abs(np.diff(offsets) / rate - seconds))


def read_labels(
    path: Path | str, manifest: Utterances, *, rate: int | None = None, clusters: int | None = None
) -> Labels:
    """Labels of a manifest from our folder or from fairseq's ``.km``; ``check`` says whether they fit.

    ``rate`` (Hz) and ``clusters`` are for a ``.km``: the rate is inferred from the audio's length, the number of
    clusters read from ``dict.km.txt``. Its text is read in full each time; ``Labels.save`` makes the mapped form. It
    has a line per row of the ``.tsv``: those of files that were left out are left out too.
    """
    path = Path(path)
    if path.is_dir():
        return Labels(*read_folder(path))
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a folder of units or a .km file")
    flat, offsets, clusters = read_km(path, clusters=clusters)
    left_out = manifest.left_out
    if len(offsets) - 1 != len(manifest) + len(left_out):
        unusable = f" ({len(left_out)} of them left out)" if len(left_out) else ""
        raise InputError(
            f"{path} has {len(offsets) - 1} lines for {len(manifest) + len(left_out)} utterances{unusable}; give the "
            ".km of this corpus"
        )
    if len(left_out):
        flat, offsets = _without(left_out, flat, offsets)
    rate = rate or _infer_rate(path, offsets, manifest)
    facts = LabelFacts(rate, clusters, about={"source": path.name})
    return Labels(flat.astype(label_type(clusters), copy=False), offsets, facts)


def _without(
    rows: NDArray[np.int64], flat: NDArray[np.uint16], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The labels and offsets of all rows but these."""
    lengths = np.diff(offsets)
    kept = np.ones(len(lengths), bool)
    kept[rows] = False
    return flat[np.repeat(kept, lengths)], np.concatenate([[0], np.cumsum(lengths[kept])])


def _infer_rate(path: Path, offsets: NDArray[np.int64], manifest: Utterances) -> int:
    """The rate by which most rows are as long as their audio."""
    for rate in RATES:
        if np.mean(length_errors(offsets, rate, manifest) <= TOLERANCE) > 0.5:
            return rate
    raise InputError(f"{path}: labels fit the audio at none of {', '.join(map(str, RATES))} Hz; give their rate")
