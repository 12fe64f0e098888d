"""From batch numbers to batches: audio read, cropped, masked and padded.

A crop begins on a frame of the model, so that labels of the whole utterance hold for it: waves are cropped to
``crop_samples``, mel features to the frames of that time (750 for 15 s at 20 ms). Crop, mask, negatives and noise of
an utterance depend on (seed, epoch, utterance) alone. Waves are left as they are; the network normalises where its
config says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from speechbias.audio import AudioError, read_segment
from speechbias.errors import InputError
from speechbias.models.batch import IGNORED, Batch
from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.mel import MelStats, mel_features
from speechbias.models.transformer import valid_frames
from speechbias.training.draws import generator
from speechbias.training.manifest import Manifest
from speechbias.training.masking import Mask, Masking, gumbel_noise, negatives
from speechbias.training.sampler import Numbers
from speechbias.training.scan import unusable_after_all


class FrameLabels(Protocol):
    """What is needed of labels (``training.labels``)."""

    def frames(self, row: int, start_sample: int, frames: int, hop: int, /) -> NDArray[np.int64]:
        """The label of each of ``frames`` model frames, ``hop`` samples apart, from a sample on."""


class Batches(Protocol):
    """What is needed of a sampler (``training.sampler``, ``training.windows``)."""

    rows: Numbers
    crop_samples: int | None

    def __len__(self) -> int:
        """Batches per epoch."""

    def batch(self, epoch: int, position: int) -> Numbers:
        """Rows of one batch."""

    def locate(self, number: int) -> tuple[int, int]:
        """Epoch and position of batch ``number`` of a run."""


Counted = Literal["own", "all"]  # every frame that is learnt: of the utterances, or of the padding too


@dataclass(frozen=True)
class Contrast:
    """What wav2vec 2.0 is told apart from: negatives per masked frame, and the codes that noise is drawn for."""

    negatives: int = 100
    codes: int = 640  # groups * entries


@dataclass(frozen=True, eq=False)
class Example:
    """One utterance of a batch: inputs (samples,) or (frames, dim), mask and labels (frames,)."""

    stream: str  # by which its random choices are named
    inputs: NDArray[np.float32]
    mask: Mask
    labels: NDArray[np.int64] | None


class Examples(Dataset[Batch]):
    """Batch ``number`` of a run, for any number; ``len`` is one epoch.

    ``labels`` for HuBERT and MelHuBERT, ``mel_stats`` for MelHuBERT, ``contrast`` for wav2vec 2.0 (None: the
    published numbers); where frames are ``counted``, what is learnt of them needs no labels and no contrast. Without
    ``masking`` nothing is hidden. InputError for a file that cannot be read any more.
    """

    def __init__(
        self,
        manifest: Manifest,
        sampler: Batches,
        config: EncoderConfig,
        masking: Masking | None,
        *,
        labels: FrameLabels | None = None,
        mel_stats: MelStats | None = None,
        contrast: Contrast | None = None,
        counted: Counted | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(config.frontend, MelFrontend) and mel_stats is None:
            raise ValueError("MelHuBERT needs mel_stats")
        if counted is None and (labels is None) != (config.family == "wav2vec2"):
            raise ValueError(f"{config.family} {'learns no labels' if labels is not None else 'needs labels'}")
        self.manifest, self.sampler, self.front, self.masking = manifest, sampler, config.frontend, masking
        _ = manifest.doubles  # found once, before there are readers
        self.labels, self.mel_stats, self.counted, self.seed = labels, mel_stats, counted, seed
        contrasted = config.family == "wav2vec2" and counted is None
        self.contrast = (contrast or Contrast()) if contrasted else None
        lengths, needed = manifest.num_samples[sampler.rows], self.front.receptive_field
        if short := int((lengths < needed).sum()):
            least = needed / SAMPLE_RATE
            raise InputError(f"{short} utterances are shorter than a frame of {least:g} s. Leave them out by length.")
        if sampler.crop_samples is not None and sampler.crop_samples < needed:
            raise InputError(f"a crop of {sampler.crop_samples} samples is shorter than a frame ({needed}).")

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number`` of a run, counted over epochs."""
        epoch, position = self.sampler.locate(number)
        return self.collate(epoch, [self.example(epoch, int(row)) for row in self.sampler.batch(epoch, position)])

    def example(self, epoch: int, row: int) -> Example:
        """One utterance as an epoch sees it."""
        stream, front = self.manifest.stream(row), self.front
        draws = generator(self.seed, "crop", epoch, stream)
        samples = int(self.manifest.num_samples[row])
        start, stop = crop(samples, front, self.sampler.crop_samples, draws)
        wave = read_segment(self.manifest.path(row), SAMPLE_RATE, start, stop, of=samples)
        frames = front.num_frames(len(wave))
        mask = np.zeros(frames, dtype=bool)
        if self.masking is not None:
            mask = self.masking.mask(frames, generator(self.seed, "mask", epoch, stream))
        labels = None if self.labels is None else self.labels.frames(row, start, frames, front.hop)
        if isinstance(front, MelFrontend) and self.mel_stats is not None:
            wave = mel_features(wave, front, self.mel_stats)
        return Example(stream, wave, mask, labels)

    def collate(self, epoch: int, examples: Sequence[Example]) -> Batch:
        """Pad, and draw what belongs to masked frames."""
        labels = [example.labels for example in examples if example.labels is not None]
        batch = Batch(
            inputs=_pad([example.inputs for example in examples]),
            lengths=torch.tensor([len(example.inputs) for example in examples]),
            mask=_pad([example.mask for example in examples], value=False),
            labels=_pad(labels, value=IGNORED) if labels else None,
            counted=self._counted([len(example.mask) for example in examples]),
        )
        if self.contrast is None:
            return batch
        counts = [int(example.mask.sum()) for example in examples]
        others, noises = (
            [generator(self.seed, purpose, epoch, example.stream) for example in examples]
            for purpose in ("negatives", "gumbel")
        )
        told_from = negatives(counts, number=self.contrast.negatives, draws=others)
        noise = gumbel_noise(counts, size=self.contrast.codes, draws=noises)
        return Batch(
            batch.inputs, batch.lengths, batch.mask, None, torch.from_numpy(told_from), torch.from_numpy(noise)
        )

    def _counted(self, frames: Sequence[int]) -> Tensor | None:
        if self.counted is None:
            return None
        return valid_frames(
            torch.tensor(frames if self.counted == "own" else [max(frames)] * len(frames)), max(frames)
        )


def crop(
    num_samples: int, front: WaveFrontend | MelFrontend, crop_samples: int | None, draws: np.random.Generator
) -> tuple[int, int]:
    """First sample and the one behind the last, of the part that is trained on; the first is a frame's first."""
    if crop_samples is None or num_samples <= crop_samples:
        return 0, num_samples
    if isinstance(front, WaveFrontend):
        start = front.hop * int(draws.integers((num_samples - crop_samples) // front.hop + 1))
        return start, start + crop_samples
    frames = min(max(crop_samples // front.hop, 1), front.num_frames(num_samples))
    start = front.hop * int(draws.integers(front.num_frames(num_samples) - frames + 1))
    needed = front.receptive_field + (frames * front.stack - 1) * (front.hop // front.stack)
    return start, min(start + needed, num_samples)  # the last frame of all may lack its second half


def _pad(arrays: Sequence[NDArray[np.generic]], *, value: float = 0.0) -> Tensor:
    return pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True, padding_value=value)


def load(examples: Examples, numbers: Iterable[int], *, workers: int = 0, pin_memory: bool = False) -> Iterator[Batch]:
    """The batches of these numbers, in order, made by so many processes; what they are does not depend on it."""
    batches = DataLoader(
        _Answers(examples),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else it takes a number from the global stream, on which dropout lives
    )
    for answer in batches:
        if isinstance(answer, InputError):
            raise answer
        yield answer


class _Answers(Dataset["Batch | InputError"]):
    """Batches, or what is wrong with a file as a value: an exception would come out of a worker as its traceback."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, number: int) -> Batch | InputError:
        try:
            return self.examples[number]
        except AudioError as error:
            return unusable_after_all(error)
        except InputError as error:
            return error
