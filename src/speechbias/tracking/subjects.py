"""What somebody trains, as an ``Encoder`` for the length of one measurement.

A network or objective of ours, a speech model of transformers, or anything with a function that reads its states.
Wrappers of distributed and compiled modules are seen through. Nothing is copied that is larger than the packed
weights of the engine, and the module keeps its hooks, its flags and its place.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechbias.encoder import Encoder, States, Wave, mean_over_frames
from speechbias.errors import InputError
from speechbias.models.distillation import Distillation, Heads
from speechbias.models.distilled import Distilled
from speechbias.models.fingerprint import tensors_sha256
from speechbias.models.freeze import freeze
from speechbias.models.masked import plain_tensors
from speechbias.models.mel import MelStats
from speechbias.models.network import Network, build
from speechbias.models.pruning import Pruning

Read = Callable[[Any, Wave], Any]  # (module, wave) -> what it gives of a wave, an array or tensors


@dataclass(frozen=True)
class Reading:
    """How a module is to be read, and what a record calls it."""

    name: str
    states: str = "s3prl"
    mel_stats: MelStats | None = None
    preprocessor: Mapping[str, Any] | None = None  # settings of a feature extractor of transformers
    pooled: Read | None = None  # -> (states, dim)
    hidden_states: Read | None = None  # -> (states, frames, dim), or a sequence of (frames, dim)
    sample_rate: int = 16_000
    run: Mapping[str, Any] | None = None
    pruning: Pruning | None = None
    teacher: Distilled | None = None

    @contextmanager
    def encoder(self, module: Any, step: int) -> Iterator[Encoder]:
        """The module as an encoder. InputError for one that nobody has told how to read."""
        module = unwrapped(module)
        if self.pooled is not None or self.hidden_states is not None:
            yield Function(self, module, step, self._sha256(module, step))
            return
        network = module if isinstance(module, Network) else getattr(module, "encoder", None)
        if isinstance(network, Network):
            yield self._freeze(network, step, module.heads if isinstance(module, Distillation) else None)
        elif hasattr(getattr(module, "config", None), "model_type"):
            from speechbias.models.huggingface.adapter import wrap_huggingface  # noqa: PLC0415 (an extra)

            adapter = wrap_huggingface(
                self.name, module, states=self.states, preprocessor=self.preprocessor, step=step, run=self.run
            )
            try:
                yield adapter
            finally:
                adapter.taps.remove()
        else:
            raise InputError(
                f"{self.name}: a {type(module).__name__} is no network of ours and no speech model of transformers; "
                "give the tracker a function pooled= or hidden_states= that takes (module, wave)"
            )

    def _sha256(self, module: Any, step: int) -> str:
        """Of the module's tensors; of name and step where it is no torch module, and its weights are out of sight."""
        if isinstance(module, nn.Module):
            return tensors_sha256("", module.state_dict())
        return hashlib.sha256(f"{self.name} {step}".encode()).hexdigest()

    def _freeze(self, network: Network, step: int, heads: Heads | None) -> Encoder:
        """A second network on the same memory: the first one's modules are not touched. Masked weights are zeros."""
        shadow = build(network.config, plain_tensors(network))
        device = str(next(network.parameters()).device)
        return freeze(
            self.name,
            shadow,
            states=self.states,
            device=device,
            mel_stats=self.mel_stats,
            step=step,
            run=self.run,
            pruning=self.pruning,
            teacher=self.teacher,
            heads=None if heads is None else copy.deepcopy(heads).eval().requires_grad_(requires_grad=False),
        )


def unwrapped(module: Any) -> Any:
    """The module within those that distribute or compile it."""
    while True:
        if isinstance(module, DistributedDataParallel):
            module = module.module
        elif hasattr(module, "_orig_mod"):  # torch.compile
            module = module._orig_mod  # noqa: SLF001 (its only name)
        else:
            return module


@dataclass(frozen=True, eq=False)
class Function:
    """A module that its owner's function reads; it says nothing of its states, so neither does the record."""

    reading: Reading
    module: Any
    step: int
    sha256: str
    family: str = "given"
    states: str = "given"
    dtype: str = "given"
    num_states: int = 0  # not known before a clip is read
    dim: int = 0
    min_samples: int = 1
    frame_shift: float = 0.0
    recipe: Mapping[str, object] = field(default_factory=lambda: {"read_by": "a function of the user"})

    @property
    def name(self) -> str:
        """What the record calls it."""
        return self.reading.name

    @property
    def sample_rate(self) -> int:
        """Of the waves that the function takes, in Hz."""
        return self.reading.sample_rate

    @property
    def run(self) -> Mapping[str, Any] | None:
        """Which training run."""
        return self.reading.run

    def hidden_states(self, wave: Wave) -> States:
        """All states (states, frames, dim), where the function gives them."""
        if self.reading.hidden_states is None:
            raise InputError(f"{self.name}: its function pools; there are no frames")
        with torch.no_grad():  # each thread has its own mode
            return self._array(self.reading.hidden_states(self.module, wave), 3, "hidden_states")

    def pooled(self, wave: Wave) -> States:
        """Mean over frames per state, (states, dim)."""
        if self.reading.pooled is None:
            return mean_over_frames(self.name, self.hidden_states(wave))
        with torch.no_grad():
            return self._array(self.reading.pooled(self.module, wave), 2, "pooled")

    def _array(self, given: Any, ndim: int, what: str) -> States:
        """What a function gave, as (states, frames, dim) or (states, dim); an axis of one utterance is dropped."""
        parts = [_to_numpy(part) for part in given]
        parts = [part[0] if part.ndim == ndim and len(part) == 1 else part for part in parts]
        if not parts or {part.shape for part in parts} != {parts[0].shape} or parts[0].ndim != ndim - 1:
            wanted = "(states, frames, dim)" if ndim == 3 else "(states, dim)"
            shapes = ", ".join(str(part.shape) for part in parts[:3])
            raise InputError(f"{self.name}: {what} gives states of {shapes or 'nothing'}; give {wanted} of one wave")
        return np.stack(parts).astype(np.float32)


def _to_numpy(part: Any) -> NDArray[Any]:
    return part.detach().to("cpu", torch.float32).numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
