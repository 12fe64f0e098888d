"""The encoder of the three families: front end, projection, transformer.

It takes a batch of waves (batch, samples), or for MelHuBERT of normalised, stacked log-mel frames (batch, frames,
80), padded at the right where ``lengths`` says so, and gives hidden states (batch, frames, dim). An objective owns a
network; the network is what is measured, pruned and distilled.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.frontend import ConvFrontend
from speechbias.models.regularisation import Regularisation, Regularised, scale_gradient
from speechbias.models.transformer import Read, Transformer, valid_frames


class Network(Regularised):
    """An encoder as its config describes it; weights are whatever torch puts there until they are loaded or drawn."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        front = config.frontend
        self.frontend = self.feature_norm = None
        if isinstance(front, WaveFrontend):
            self.frontend = ConvFrontend(front)
            self.feature_norm = nn.LayerNorm(front.dim) if front.feature_norm else None
        self.projection = nn.Linear(front.dim, config.dim) if config.projection else None
        self.transformer = Transformer(config)

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        *,
        read: Read | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """The last hidden state (batch, frames, dim), or its ``wanted`` frames; ``read`` sees all states.

        ``lengths`` (batch,), in samples or mel frames, where the batch is padded. Frames behind a sequence's own have
        no meaning; ``num_frames`` counts the others.
        """
        features = self.features(inputs, lengths)
        return self.transformer(self.project(features), self.valid(features, lengths), read=read, wanted=wanted)

    def regularise(self, regularisation: Regularisation) -> None:
        """Train with it from now on: an attribute of this object, no part of a checkpoint; eval mode knows none."""
        for module in self.modules():
            if isinstance(module, Regularised):
                module.regularisation = regularisation

    def features(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the front end gives, (batch, frames, front end's dim): CNN output, or the mel frames as they are."""
        if self.frontend is None:
            return inputs
        factor = self.regularisation.feature_grad_mult if self.training else 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and factor > 0):
            features = self.frontend(self._normalised(inputs, lengths), lengths)
        return scale_gradient(features, factor)

    def valid(self, features: Tensor, lengths: Tensor | None) -> Tensor | None:
        """(batch, frames): False for padding; None where there is none."""
        return None if lengths is None else valid_frames(self.num_frames(lengths), features.shape[1])

    def project(self, features: Tensor) -> Tensor:
        """Features to the transformer's input, (batch, frames, dim)."""
        return self.project_normed(self.normed(features))

    def normed(self, features: Tensor) -> Tensor:
        """Features after their layer norm, where there is one."""
        return features if self.feature_norm is None else self.feature_norm(features)

    def project_normed(self, normed: Tensor) -> Tensor:
        """Normed features to the transformer's input, (batch, frames, dim)."""
        projected = normed if self.projection is None else self.projection(normed)
        return self.dropout(projected, self.regularisation.input)

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Frames of sequences of these lengths."""
        return lengths if self.frontend is None else self.frontend.num_frames(lengths)

    def _normalised(self, waves: Tensor, num_samples: Tensor | None) -> Tensor:
        """Zero mean and unit variance over each wave's own samples, where the checkpoint was trained so."""
        eps = getattr(self.config.frontend, "wave_norm_eps", None)
        if eps is None:
            return waves
        if num_samples is None:
            return F.layer_norm(waves, waves.shape[-1:], eps=eps)  # fairseq: task.normalize
        own = valid_frames(num_samples, waves.shape[1])
        count = num_samples[:, None]
        wide = torch.promote_types(waves.dtype, torch.float32)
        mean = waves.where(own, 0).sum(1, keepdim=True, dtype=wide) / count
        variance = (waves - mean).where(own, 0).square().sum(1, keepdim=True) / count
        return ((waves - mean) * torch.rsqrt(variance + eps)).to(waves.dtype)


def build(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> Network:
    """A network with these weights, frozen and in eval mode: no random draw, nothing copied, tensors stay mapped.

    RuntimeError where names or shapes do not fit (``convert`` checks before, and says what).
    """
    network = skeleton(config)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network


def skeleton(config: EncoderConfig) -> Network:
    """A network without weights (on torch's meta device), frozen and in eval mode."""
    with torch.device("meta"):
        network = Network(config)
    return network.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network that lies in a file, of which modules can be read and let go one by one.

    ``part`` gives the weights of a module by its name ("" for all), under their names inside it, anew at each call:
    they are in memory for as long as they are held. ``check`` is an InputError if the file is another than it was.
    """

    config: EncoderConfig
    part: Callable[[str], Mapping[str, Tensor]]
    check: Callable[[], None]

    def tensors(self) -> Mapping[str, Tensor]:
        """All weights."""
        return self.part("")

    def build(self) -> Network:
        """The whole network."""
        return build(self.config, self.tensors())
