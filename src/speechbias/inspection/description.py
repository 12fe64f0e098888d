"""What is said of a model: frozen, JSON values throughout, the same for every kind of model. No torch here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One transformer layer, numbered from 1. ``ffn`` is its feed-forward width, ``parameters`` are all of its own."""

    layer: int
    heads: int
    head_dim: int
    ffn: int
    parameters: int


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates per second of audio; ``parts`` is empty for models that are not our own network."""

    total: int
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """How long one clip takes: seconds of CPU time of one thread, over some runs after a first that does not count."""

    median: float
    lowest: float
    highest: float
    runs: int
    clip: float  # seconds of audio
    machine: str  # the processor, as it calls itself


@dataclass(frozen=True)
class Description:
    """One model; None or empty is what its kind does not have, or what cannot be known of it.

    ``parameters`` are the encoder's, ``nonzero`` those of them that are not 0. ``sparsity`` is what the checkpoint
    says of its masks, else the share of zeros in the layers' weight matrices, where there are any. ``states`` counts
    the hidden states of each convention that the model has. ``frame_shift`` and ``latency`` are in seconds, the latter
    the median of ``timing``. ``bytes_on_disk`` is the size of the files that hold the encoder's weights.
    """

    name: str
    family: str
    dim: int
    states: Mapping[str, int]
    sample_rate: int
    frame_shift: float
    recipe: Mapping[str, object]
    sha256: str
    parameters: int | None = None
    parameters_with_objective: int | None = None
    nonzero: int | None = None
    sparsity: float | None = None
    layers: tuple[Layer, ...] = ()
    front_end: Mapping[str, object] = field(default_factory=dict)
    pre_norm: bool | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    student: bool = False
    macs: Macs | None = None
    bytes_on_disk: int | None = None
    latency: float | None = None
    timing: Timing | None = None
    step: int | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def num_layers(self) -> int:
        """Transformer layers: one less than there are states."""
        return max(self.states.values()) - 1

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON has them."""
        return dataclasses.asdict(self)
