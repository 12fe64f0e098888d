"""One of our networks as an ``Encoder``: frozen, one utterance at a time (on a GPU many), states by convention.

Conventions: waves are 1-d float32 in [-1, 1] at 16 kHz; hidden states (states, frames, dim) float32. The network is
never in training mode and draws no random numbers; two threads can run it at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.encoder import Front, Reduce, States, VanishingError, Wave, check_pooled
from speechbias.errors import InputError
from speechbias.models.batches import BATCHED, SECONDS, Batches, Padded, padded
from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend
from speechbias.models.conventions import at_points, then_heads
from speechbias.models.device import choose_dtype
from speechbias.models.distillation import Heads
from speechbias.models.distilled import Distilled
from speechbias.models.engine import Engine
from speechbias.models.fingerprint import heads_recipe, network_recipe
from speechbias.models.inputs import Inputs
from speechbias.models.mel import MelStats
from speechbias.models.network import Network
from speechbias.models.packed import PACKED, PLAIN
from speechbias.models.precision import exact_products
from speechbias.models.pruning import Pruning
from speechbias.models.readers import Collector, Reader, Reducer, RunningMeans
from speechbias.models.transformer import Point


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A loaded network with what every encoder promises; made by ``freeze.freeze``."""

    name: str
    config: EncoderConfig
    rebuild: Callable[[], Network]
    states: str
    dtype: str
    device: str
    mel_stats: MelStats | None
    points: tuple[Point, ...]
    engine: Engine | None  # None: the network computes itself
    batches: Batches | None  # None: one utterance at a time
    sha256: str  # of shapes and weights, whatever kind of file they came from and whatever dtype they compute in
    front_sha256: str
    check_source: Callable[[], None]  # InputError where the network computes on a file's own pages, which changed
    step: int | None = None  # where in which training run: of the record, not of any digit
    run: Mapping[str, object] | None = None
    pruning: Pruning | None = None
    teacher: Distilled | None = None  # of a student
    heads: Heads | None = None  # whose predictions are further states; None: they do not count
    stored_parameters: int = 0  # numbers in its tensors, zeros too

    @property
    def parameters(self) -> int:
        """Numbers in its tensors, less the zeros of pruned weights; both halves of a weight norm count."""
        zeros = self.pruning.removed(self.config) if self.pruning and self.pruning.method == "weights" else 0
        return self.stored_parameters - zeros

    @property
    def pruned(self) -> Mapping[str, object]:
        """What a record says of it."""
        return {} if self.pruning is None else self.pruning.in_record(self.config)

    @property
    def distilled(self) -> Mapping[str, object]:
        """What a record says of its teacher."""
        return {} if self.teacher is None else self.teacher.in_record(self.config)

    @property
    def network(self) -> Network:
        """The network itself; where the engine computes and the weights lie in a file, mapped anew from it."""
        return self.rebuild()

    @property
    def family(self) -> str:
        """``wav2vec2``, ``hubert`` or ``melhubert``."""
        return self.config.family

    @property
    def num_states(self) -> int:
        """Transformer layers + 1, and heads where these count."""
        return len(self.points) + (len(self.heads.targets) if self.heads else 0)

    @property
    def dim(self) -> int:
        """Size of a hidden state."""
        return self.config.dim

    @property
    def sample_rate(self) -> int:
        """16 kHz."""
        return SAMPLE_RATE

    @property
    def frame_shift(self) -> float:
        """Seconds from frame to frame."""
        return self.config.frontend.hop / SAMPLE_RATE

    @property
    def min_samples(self) -> int:
        """The receptive field of one frame."""
        return self.config.frontend.receptive_field

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything beside the weights that changes a digit."""
        return {
            **network_recipe(self.config, self.points, self.mel_stats),
            **({} if self.heads is None else heads_recipe(self.heads)),
            "engine": PACKED if self.engine else BATCHED if self.batches else PLAIN,
            "device": torch.device(self.device).type,
        }

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, frames, dim)."""
        return self._collect(self._inputs(wave))

    def reduced(self, wave: Wave, reduce: Reduce) -> States:
        """``reduce`` of every state as it is made, (states, dim)."""
        reducer = Reducer(self.num_states, reduce)
        self._read(self._inputs(wave), reducer)
        return reducer.states()

    def encode_features(self, features: NDArray[np.floating]) -> States:
        """All states of normalised, stacked log-mel frames (frames, 80) at 20 ms, (frames, 40) at 10 ms."""
        front = self.config.frontend
        if not isinstance(front, MelFrontend):
            raise InputError(f"{self.name} takes waves, not mel features; use hidden_states")
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] != front.dim or not len(features):
            shape = " x ".join(map(str, features.shape))
            raise InputError(f"{self.name} takes features of shape (frames, {front.dim}), not {shape}")
        return self._collect(torch.tensor(features, dtype=torch.float32))

    def pooled(self, wave: Wave) -> States:
        """Mean over frames per state, (states, dim), summed in float64 while the network runs."""
        if self.batches is not None:
            return self.pooled_batch([wave])[0]
        with torch.inference_mode(), exact_products():
            return self._pooled(self._features(self._inputs(wave)))

    def front_shape(self, samples: int) -> tuple[int, int]:
        """The shape of ``front`` of a wave of so many samples."""
        front = self.config.frontend
        if isinstance(front, MelFrontend):
            return MelFrontend(front.bins, stack=1).num_frames(samples), front.bins
        return front.num_frames(samples), front.dim

    def front(self, wave: Wave) -> Front:
        """What models may share: CNN output before its norm (frames, dim), or log-mel of 10 ms (frames, bins).

        Not mel features as a checkpoint normalises and stacks them: these are cheap, and its own.
        """
        if isinstance(self.config.frontend, MelFrontend):
            return self.inputs.begun(wave)
        with torch.inference_mode(), exact_products():
            return self._features(self._inputs(wave))[0].to("cpu", torch.float32).numpy()

    def pooled_from(self, front: Front) -> States:
        """What ``pooled`` gives of the wave whose ``front`` this is: bit for bit, unless it takes batches."""
        with torch.inference_mode(), exact_products():
            if isinstance(self.config.frontend, MelFrontend):
                return self._pooled(self._features(torch.from_numpy(self.inputs.finished(front))))
            return self._pooled(torch.from_numpy(front)[None])

    def _pooled(self, front: Tensor) -> States:
        means = RunningMeans(self.num_states)
        self._transform(front, means)
        return self._checked(*means.means())

    def pooled_batch(self, waves: Sequence[Wave]) -> list[States]:
        """``pooled`` of each wave; in one padded batch where the network takes batches."""
        if self.batches is None:
            return [self.pooled(wave) for wave in waves]
        pooled = next(self.pooled_batches([padded([self.inputs(wave) for wave in waves])]))
        return [_unless_error(each) for each in pooled]

    def pooled_batches(self, batches: Iterable[Padded]) -> Iterator[list[States | VanishingError]]:
        """``pooled`` of every utterance of every batch, or its error, for a network that takes batches."""
        assert self.batches is not None, "batch_seconds is 0"
        for means, frame_rms in self.batches.means(batches):
            yield [self._answer(*utterance) for utterance in zip(means, frame_rms, strict=True)]

    @property
    def batch_seconds(self) -> float:
        """Audio in one batch, padding included, in seconds; 0: one utterance at a time."""
        return SECONDS if self.batches else 0.0

    @property
    def inputs(self) -> Inputs:
        """What is computed of a wave before the network."""
        return Inputs(self.name, self.config.frontend, self.mel_stats)

    def _checked(self, pooled: NDArray[np.float64], frame_rms: NDArray[np.float64]) -> States:
        self.check_source()
        check_pooled(self.name, pooled, frame_rms)
        return np.asarray(pooled, np.float32)

    def _answer(self, pooled: NDArray[np.float64], frame_rms: NDArray[np.float64]) -> States | VanishingError:
        try:
            return self._checked(pooled, frame_rms)
        except VanishingError as error:
            return error

    def _inputs(self, wave: Wave) -> Tensor:
        """What the network takes of a wave: the wave itself, or its mel features (frames, dim)."""
        return torch.tensor(self.inputs(wave))

    def _collect(self, inputs: Tensor) -> States:
        collector = Collector(self.num_states)
        self._read(inputs, collector)
        return collector.states()

    def _read(self, inputs: Tensor, reader: Reader) -> None:
        with torch.inference_mode(), exact_products():
            self._transform(self._features(inputs), reader)
        self.check_source()

    def _features(self, inputs: Tensor) -> Tensor:
        """The front end's work, (1, frames, front end's dim)."""
        if self.engine is not None:
            return self.engine.front(inputs[None])
        return self.network.features(inputs.to(self.device, choose_dtype(self.dtype))[None])

    def _transform(self, front: Tensor, reader: Reader) -> None:
        """The rest of the work, past a reader."""

        def take(state: int, hidden: Tensor) -> None:
            reader.read(state, hidden[0])

        read = at_points(self.points, take)
        if self.heads is not None:
            read = then_heads(read, self.heads, take, first=len(self.points))
        if self.engine is not None:
            self.engine.transform(front, read=read)
        else:
            network = self.network
            network.transformer(network.project(front.to(self.device, choose_dtype(self.dtype))), read=read)


def _unless_error(pooled: States | VanishingError) -> States:
    if isinstance(pooled, VanishingError):
        raise pooled
    return pooled
