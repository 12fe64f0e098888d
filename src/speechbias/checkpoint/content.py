"""What a checkpoint holds, whatever wrote it: config and weights of an encoder, perhaps of its objective, and meta.

Tensors have our names and are mapped from the file where they can be; nothing is built before somebody asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from speechbias.checkpoint.mapping import check_unchanged, part_of
from speechbias.models.config import EncoderConfig
from speechbias.models.distillation import DistillationSettings, Heads
from speechbias.models.distilled import Distilled
from speechbias.models.masked import plain_tensors
from speechbias.models.mel import MelStats
from speechbias.models.network import Network, StoredNetwork, build
from speechbias.models.objectives import Objective, Settings, objective
from speechbias.models.pruning import Pruning


@dataclass(frozen=True)
class Meta:
    """What is known of a checkpoint beside shapes and weights.

    ``step`` counts optimiser updates. ``provenance`` says what it was read from and what was left out; ``quantiser``
    describes the k-means that made its labels. ``provenance["pruning"]`` is what ``Pruning`` holds, as a dict;
    of a student ``provenance["distillation"]`` names its teacher.
    """

    step: int | None = None
    mel_stats: MelStats | None = None
    quantiser: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Mapping[str, Any] | None:
        """The training run that wrote it: ``name``, ``recipe`` (a hash that leaves the seed out) and ``seed``."""
        said = self.provenance.get("run")
        return said if isinstance(said, Mapping) and isinstance(said.get("name"), str) else None

    @property
    def pruning(self) -> Pruning | None:
        """How it was pruned; None where it was not, or where what it says of that is not whole."""
        return Pruning.read(self.provenance.get("pruning"))

    @property
    def distilled(self) -> Distilled | None:
        """Whose student it is; None where it is none, or does not say."""
        return Distilled.read(self.provenance.get("distillation"))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One model on disk, read. ``objective_tensors`` is empty where only the encoder was kept."""

    name: str
    config: EncoderConfig
    tensors: Mapping[str, Tensor]
    settings: Settings | None = None
    objective_tensors: Mapping[str, Tensor] = field(default_factory=dict)
    meta: Meta = field(default_factory=Meta)

    def network(self) -> Network:
        """The encoder, frozen, its weights still mapped: made in some hundredths of a second."""
        return build(self.config, self.tensors)

    def stored(self) -> StoredNetwork:
        """The encoder where it lies, for who needs its weights one after the other."""
        return StoredNetwork(self.config, partial(part_of, self.tensors), partial(check_unchanged, self.tensors))

    @property
    def has_heads(self) -> bool:
        """Whether a student's heads are here, with which it predicts its teacher's states."""
        return isinstance(self.settings, DistillationSettings)

    def heads(self) -> Heads | None:
        """What a student predicts its teacher's states with, frozen; None where the checkpoint has none."""
        if not isinstance(self.settings, DistillationSettings):
            return None
        with torch.device("meta"):
            made = Heads(self.config.dim, self.settings.targets)
        own = {name.removeprefix("heads."): tensor.float().clone() for name, tensor in self.objective_tensors.items()}
        made.load_state_dict(own, strict=True, assign=True)
        return made.eval().requires_grad_(requires_grad=False)

    def objective(self) -> Objective | None:
        """The whole pre-training model; None where the checkpoint has only the encoder."""
        if self.settings is None:
            return None
        with torch.device("meta"):
            made = objective(self.config, self.settings)
        whole = {f"encoder.{name}": tensor for name, tensor in self.tensors.items()} | dict(self.objective_tensors)
        made.load_state_dict(whole, strict=True, assign=True)
        return made.eval().requires_grad_(requires_grad=False)


def of_objective(name: str, model: Objective, settings: Settings, *, meta: Meta | None = None) -> Checkpoint:
    """A pre-training model in memory as a checkpoint: what ``save_checkpoint`` writes; masked weights are zeros."""
    tensors = plain_tensors(model)
    encoder = {key.removeprefix("encoder."): t for key, t in tensors.items() if key.startswith("encoder.")}
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith("encoder.")}
    return Checkpoint(name, model.encoder.config, encoder, settings, rest, meta or Meta())
