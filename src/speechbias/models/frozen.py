"""One of our networks as an ``Encoder``: frozen, one utterance at a time (on a GPU many), states by convention.

Conventions: waves are 1-d float32 in [-1, 1] at 16 kHz; hidden states (states, frames, dim) float32. The network is
never in training mode and draws no random numbers; two threads can run it at a time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.encoder import States, Wave, check_pooled
from speechbias.errors import InputError
from speechbias.models.batches import BATCHED, SECONDS, Batches, Padded, padded
from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend
from speechbias.models.conventions import in_words, state_points
from speechbias.models.device import choose_device, choose_dtype
from speechbias.models.engine import PACKED, PLAIN, Engine, is_supported
from speechbias.models.inputs import Inputs
from speechbias.models.mel import MelStats, mel_recipe
from speechbias.models.network import Network
from speechbias.models.precision import exact_products
from speechbias.models.readers import Collector, Reader, RunningMeans
from speechbias.models.transformer import Point


@dataclass(frozen=True, eq=False)
class FrozenNetwork:
    """A loaded network with what every encoder promises; made by ``freeze``."""

    name: str
    network: Network
    states: str
    dtype: str
    device: str
    mel_stats: MelStats | None
    points: tuple[Point, ...]
    engine: Engine | None  # None: the network computes itself
    batches: Batches | None  # None: one utterance at a time
    sha256: str  # of shapes and weights, whatever kind of file they came from and whatever dtype they compute in

    @property
    def config(self) -> EncoderConfig:
        """The shapes of the network."""
        return self.network.config

    @property
    def family(self) -> str:
        """``wav2vec2``, ``hubert`` or ``melhubert``."""
        return self.config.family

    @property
    def num_states(self) -> int:
        """Transformer layers + 1."""
        return len(self.points)

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
        front = self.config.frontend
        if isinstance(front, MelFrontend):
            fed = mel_recipe(front, self.mel_stats)
        else:
            eps = front.wave_norm_eps
            fed = {
                "input": "waveform",
                "normalisation": "none" if eps is None else f"zero mean, unit variance, eps {eps:g}",
                "padding": "none",
            }
        return {
            **fed,
            "state_0": in_words(self.points[0], self.config),
            "last_state": in_words(self.points[-1], self.config),
            "engine": PACKED if self.engine else BATCHED if self.batches else PLAIN,
            "device": torch.device(self.device).type,
        }

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, frames, dim)."""
        return self._collect(self._inputs(wave))

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
        means = RunningMeans(self.num_states)
        self._run(self._inputs(wave), means)
        return self._checked(*means.means())

    def pooled_batch(self, waves: Sequence[Wave]) -> list[States]:
        """``pooled`` of each wave; in one padded batch where the network takes batches."""
        if self.batches is None:
            return [self.pooled(wave) for wave in waves]
        return next(self.pooled_batches([padded([self.inputs(wave) for wave in waves])]))

    def pooled_batches(self, batches: Iterable[Padded]) -> Iterator[list[States]]:
        """``pooled`` of every utterance of every batch, for a network that takes batches."""
        assert self.batches is not None, "batch_seconds is 0"
        for means, frame_rms in self.batches.means(batches):
            yield [self._checked(*utterance) for utterance in zip(means, frame_rms, strict=True)]

    @property
    def batch_seconds(self) -> float:
        """Audio in one batch, padding included, in seconds; 0: one utterance at a time."""
        return SECONDS if self.batches else 0.0

    @property
    def inputs(self) -> Inputs:
        """What is computed of a wave before the network."""
        return Inputs(self.name, self.config.frontend, self.mel_stats)

    def _checked(self, pooled: NDArray[np.float64], frame_rms: NDArray[np.float64]) -> States:
        check_pooled(self.name, pooled, frame_rms)
        return np.asarray(pooled, np.float32)

    def _inputs(self, wave: Wave) -> Tensor:
        """What the network takes of a wave: the wave itself, or its mel features (frames, dim)."""
        return torch.tensor(self.inputs(wave))

    def _collect(self, inputs: Tensor) -> States:
        collector = Collector(self.num_states)
        self._run(inputs, collector)
        return collector.states()

    def _run(self, inputs: Tensor, reader: Reader) -> None:
        def read(point: Point, hidden: Tensor) -> None:
            for state, wanted in enumerate(self.points):
                if wanted == point:
                    reader.read(state, hidden[0])

        with torch.inference_mode(), exact_products():
            if self.engine is not None:
                self.engine(inputs[None], read=read)
            else:
                self.network(inputs.to(self.device, choose_dtype(self.dtype))[None], read=read)


def freeze(
    name: str,
    network: Network,
    *,
    states: str = "s3prl",
    device: str = "cpu",
    dtype: str = "float32",
    mel_stats: MelStats | None = None,
    batched: bool | None = None,
) -> FrozenNetwork:
    """A network as an encoder to be measured, which from now on owns it.

    ``batched``: whether it pools many utterances at a time, by the plain network; None: on a CUDA device, since on a
    CPU a batch gains nothing. InputError for states without meaning for it, an unknown dtype, or a device that is not
    here.
    """
    points = state_points(name, network.config, states)
    where, precision = choose_device(device), choose_dtype(dtype)
    sha256 = network_sha256(network)
    engine = batches = None
    batched = where != "cpu" if batched is None else batched
    if where == "cpu" and not batched and is_supported(precision):
        engine = Engine(network, precision)
    else:
        network.to(where, precision)
    if batched:
        batches = Batches(name, network.eval(), points, where, precision)
    return FrozenNetwork(name, network.eval(), states, dtype, where, mel_stats, points, engine, batches, sha256)


def network_sha256(network: Network) -> str:
    """SHA-256 of the config and of every tensor (name, dtype, shape, bytes), in the order of their names."""
    total = hashlib.sha256(json.dumps(asdict(network.config), sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
