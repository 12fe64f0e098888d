"""What every encoder promises, from MFCC to Whisper: a waveform in, hidden states out.

Conventions: a wave is a 1-d float32 array in [-1, 1] at ``sample_rate``; hidden states are float32 of shape
(states, frames, dim) and hold valid frames only, never padding; a pooled embedding is the mean over those frames,
shape (states, dim). One wave at a time: padding a batch changes group-norm models.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError

Wave = NDArray[np.float32]
States = NDArray[np.float32]
Reduce = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]  # (state, its frames (frames, dim)) -> (dim,)
Front = NDArray[np.float32]  # what a front end gives, (frames, its dim)
CONVENTIONS = ("s3prl", "hf", "speat-2023")  # which hidden states count
WITH_HEADS = "s3prl-heads"  # of a student: those of "s3prl", then what its heads predict of its teacher


class VanishingError(InputError):
    """One clip's mean over time is lost to rounding. Raised where its path is not known."""

    def of_clip(self, path: object) -> InputError:
        """The same, of a clip by its path."""
        return InputError(*(f"{path}: {problem}" for problem in self.problems))


def check_convention(states: str) -> None:
    """InputError for a convention of hidden states that does not exist."""
    if states not in {*CONVENTIONS, WITH_HEADS}:
        raise InputError(f"states {states!r} are not known; take one of {', '.join((*CONVENTIONS, WITH_HEADS))}")


def refuse_heads(name: str, states: str, *, why: str = "is no distilled student") -> None:
    """InputError where heads are asked for of a model that has none."""
    if states == WITH_HEADS:
        raise InputError(f"{name} {why}, so it has no prediction heads; leave --states {WITH_HEADS} out")


@runtime_checkable
class Encoder(Protocol):
    """A frozen speech encoder: ``load_encoder`` returns one, ``embed`` takes one."""

    @property
    def name(self) -> str:
        """What the results call it: a feature's name, a folder's last part, a hub id. Never an absolute path."""

    @property
    def family(self) -> str:
        """For example ``features``, ``wav2vec2``, ``hubert``, ``whisper``."""

    @property
    def num_states(self) -> int:
        """How many hidden states there are: transformer layers + 1, or 1 for classical features."""

    @property
    def dim(self) -> int:
        """Size of one hidden state."""

    @property
    def sample_rate(self) -> int:
        """Sampling rate of the waves it takes, in Hz."""

    @property
    def frame_shift(self) -> float:
        """Time from one frame to the next, in seconds."""

    @property
    def min_samples(self) -> int:
        """Shortest wave that gives one frame (the receptive field), in samples at ``sample_rate``."""

    @property
    def states(self) -> str:
        """Which convention of hidden states counts: ``s3prl``, ``hf``, ``speat-2023`` or ``s3prl-heads``."""

    @property
    def dtype(self) -> str:
        """Precision of the computation, for example ``float32``."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything beside the weights that changes a digit (normalisation, windows, final norm): JSON values."""

    @property
    def sha256(self) -> str:
        """Of the weights; of the recipe where there are none."""

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, shape (states, frames, dim)."""

    def pooled(self, wave: Wave) -> States:
        """Mean over frames per state, shape (states, dim); memory does not grow with the number of states."""


@runtime_checkable
class BatchEncoder(Encoder, Protocol):
    """An encoder that can take many utterances at a time: a network of ours on a GPU."""

    @property
    def batch_seconds(self) -> float:
        """Audio in one batch, padding included, in seconds; 0 where it takes one utterance at a time."""

    @property
    def inputs(self) -> Callable[[Wave], NDArray[np.float32]]:
        """What is computed of a wave before the network; can be sent to another process."""

    def pooled_batches(self, batches: Iterable[Any]) -> Iterator[list[States | VanishingError]]:
        """``pooled`` of every utterance of every batch (``models.batches.Padded``), or the error that it would raise.

        A value, so that it is known of which utterance.
        """


@runtime_checkable
class Staged(Encoder, Protocol):
    """An encoder that computes in two stages, of which models of one front end share the first."""

    @property
    def front_sha256(self) -> str:
        """Of everything that fixes a digit of ``front``: encoders that share it give the same of a wave."""

    def front_shape(self, samples: int) -> tuple[int, int]:
        """The shape of ``front`` of a wave of so many samples."""

    def front(self, wave: Wave) -> Front:
        """The first stage: (frames, front end's dim)."""

    def pooled_from(self, front: Front) -> States:
        """The second stage: ``pooled_from(front(wave))`` equals ``pooled(wave)`` bit for bit."""


@runtime_checkable
class Reducing(Encoder, Protocol):
    """An encoder that gives its hidden states one at a time, so that never all of them are in memory."""

    def reduced(self, wave: Wave, reduce: Reduce) -> States:
        """``reduce`` of every state, (states, dim), whose frames are those of ``hidden_states`` bit for bit."""


@runtime_checkable
class Dated(Encoder, Protocol):
    """An encoder that knows where in a training run it stands."""

    @property
    def step(self) -> int | None:
        """Optimiser updates behind it; 0: untrained; None: unknown."""

    @property
    def run(self) -> Mapping[str, object] | None:
        """Which run: its ``name``, and where they are known its ``recipe`` (a hash, seed aside) and ``seed``."""


@runtime_checkable
class Sized(Encoder, Protocol):
    """An encoder that knows its size, and how it came to it: what was cut away, whose student it is."""

    @property
    def parameters(self) -> int | None:
        """Of the encoder alone, without an objective; weights that pruning set to zero do not count."""

    @property
    def pruned(self) -> Mapping[str, object]:
        """The fields of a record that say how it was pruned, by name (``models.pruning``); empty: it was not."""

    @property
    def distilled(self) -> Mapping[str, object]:
        """The same of whose student it is (``models.distilled``); empty: nobody's, as far as is known."""


@runtime_checkable
class Fitted(Encoder, Protocol):
    """An encoder of which a part was fitted on clips of some speakers, which say nothing of it."""

    @property
    def fitted_on(self) -> frozenset[str]:
        """``mark`` of every speaker and of every file (SHA-256 of its bytes); empty: nothing was fitted."""


def mark(kind: str, name: str) -> str:
    """By what a ``speaker`` or a ``file`` is known again, without its name."""
    return hashlib.sha256(f"{kind}\0{name}".encode()).hexdigest()[:16]


def check_not_fitted(encoder: Encoder, test: str, speakers: Iterable[str], files: Iterable[str]) -> None:
    """InputError where a test has speakers or files (SHA-256 of the bytes) on which an encoder was fitted."""
    marks = encoder.fitted_on if isinstance(encoder, Fitted) else frozenset()
    if not marks:
        return
    shared = len({mark("speaker", each) for each in speakers if each} & marks)
    shared_files = len({mark("file", each) for each in files} & marks)
    if shared or shared_files:
        raise InputError(
            f"{encoder.name} was fitted on {shared} speakers and {shared_files} files of {test}.csv, so d there "
            "shows the fit; measure on others: speechbias stimuli split FILE.csv, then fit on one half"
        )


ROUNDING = 1e-5  # a mean over time this small beside its frames is what float32 rounding leaves of zero


def check_wave(name: str, wave: Wave, *, min_samples: int) -> Wave:
    """One wave as contiguous float32, or InputError: not 1-d, shorter than ``min_samples``, NaN or Inf."""
    wave = np.ascontiguousarray(wave, np.float32)
    if wave.ndim != 1:
        shape = " x ".join(map(str, wave.shape))
        raise InputError(f"{name}: takes one mono wave, 1-d, not an array of {shape}; average the channels")
    if len(wave) < min_samples:
        raise InputError(
            f"{name}: the wave has {len(wave)} samples, one frame needs {min_samples}; leave the clip out"
        )
    if not np.isfinite(wave).all():
        raise InputError(f"{name}: the wave holds NaN or Inf; repair or leave out the clip")
    return wave


def check_pooled(name: str, pooled: NDArray[np.floating], frame_rms: NDArray[np.floating], *, why: str = "") -> None:
    """Refuse means over time that hold nothing but the rounding of their frames.

    ``pooled`` is (states, dim), ``frame_rms`` (states,) the root mean square of the frames that were averaged. Every
    ``Encoder.pooled`` ends here. Frames that are all zero, NaN or Inf pass: who knows the clip's path names those.
    """
    rms = np.sqrt(np.mean(np.square(pooled, dtype=np.float64), axis=1))
    lost = np.flatnonzero(rms < ROUNDING * np.asarray(frame_rms))
    if len(lost):
        where = ", ".join(map(str, lost))
        why = why or "its frames cancel over time, so no embedding can be made of them; use another model or feature"
        raise VanishingError(f"{name}: the mean over time is zero up to rounding (state {where}): {why}")


def reduce_states(encoder: Encoder, wave: Wave, reduce: Reduce) -> States:
    """``reduce`` of every state of any encoder, (states, dim); state by state where it can."""
    if isinstance(encoder, Reducing):
        return encoder.reduced(wave, reduce)
    return np.stack([reduce(state, frames) for state, frames in enumerate(encoder.hidden_states(wave))])


def mean_over_frames(name: str, states: States, *, why: str = "") -> States:
    """Mean over frames of (states, frames, dim), summed in float64: (states, dim) float32, refused if it vanishes."""
    mean = states.mean(axis=1, dtype=np.float64)
    squares = [np.mean(np.square(state), dtype=np.float64) for state in states]
    check_pooled(name, mean, np.sqrt(squares), why=why)
    return np.asarray(mean, np.float32)
