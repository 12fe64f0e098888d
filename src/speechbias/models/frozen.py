"""One of our networks as an ``Encoder``: frozen, one utterance at a time, states by convention.

Conventions: waves are 1-d float32 in [-1, 1] at 16 kHz; hidden states (states, frames, dim) float32. The network is
never in training mode and draws no random numbers; two threads can run it at a time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.encoder import States, Wave, check_pooled, check_wave
from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend
from speechbias.models.conventions import in_words, state_points
from speechbias.models.device import choose_device, choose_dtype
from speechbias.models.engine import PACKED, PLAIN, Engine, is_supported
from speechbias.models.mel import NO_STATS, MelStats, mel_features, mel_recipe
from speechbias.models.network import Network
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
            "engine": PLAIN if self.engine is None else PACKED,
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
        means = RunningMeans(self.num_states)
        self._run(self._inputs(wave), means)
        pooled, frame_rms = means.means()
        check_pooled(self.name, pooled, frame_rms)
        return np.asarray(pooled, np.float32)

    def _inputs(self, wave: Wave) -> Tensor:
        """What the network takes of a wave: the wave itself, or its mel features (frames, dim)."""
        wave = check_wave(self.name, wave, min_samples=self.min_samples)
        front = self.config.frontend
        if not isinstance(front, MelFrontend):
            return torch.tensor(wave)
        if self.mel_stats is None:
            raise InputError(f"{self.name} {NO_STATS}")
        return torch.from_numpy(mel_features(wave, front, self.mel_stats))

    def _collect(self, inputs: Tensor) -> States:
        collector = Collector(self.num_states)
        self._run(inputs, collector)
        return collector.states()

    def _run(self, inputs: Tensor, reader: Reader) -> None:
        def read(point: Point, hidden: Tensor) -> None:
            for state, wanted in enumerate(self.points):
                if wanted == point:
                    reader.read(state, hidden[0])

        with torch.inference_mode():
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
) -> FrozenNetwork:
    """A network as an encoder to be measured, which from now on owns it.

    InputError for states without meaning for it, an unknown dtype, or a device that is not here.
    """
    points = state_points(name, network.config, states)
    where, precision = choose_device(device), choose_dtype(dtype)
    sha256 = network_sha256(network)
    engine = None
    if where == "cpu" and is_supported(precision):
        engine = Engine(network, precision)
    else:
        network.to(where, precision)
    return FrozenNetwork(name, network.eval(), states, dtype, where, mel_stats, points, engine, sha256)


def network_sha256(network: Network) -> str:
    """SHA-256 of the config and of every tensor (name, dtype, shape, bytes), in the order of their names."""
    total = hashlib.sha256(json.dumps(asdict(network.config), sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
