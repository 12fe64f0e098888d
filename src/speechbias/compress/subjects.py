"""What can be compressed: a loaded encoder, a checkpoint, a network, an objective; and each of them made anew.

``remade`` gives the same kind of thing with other weights, perhaps of another config: the argument stays as it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from speechbias.checkpoint.content import Checkpoint
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig
from speechbias.models.convert.shapes import objective_settings
from speechbias.models.freeze import freeze
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.hubert import HubertObjective
from speechbias.models.masked import plain_parameters, plain_tensors
from speechbias.models.melhubert import MelHubertObjective
from speechbias.models.network import Network, skeleton
from speechbias.models.objectives import objective
from speechbias.models.wav2vec2 import Wav2Vec2Objective

Change = Callable[[str, Tensor], Tensor]  # (a name as in ``Network.state_dict()``, tensor) -> tensor
Subject = TypeVar("Subject")  # FrozenNetwork, Checkpoint, Network or an objective
OBJECTIVES = (Wav2Vec2Objective, HubertObjective, MelHubertObjective)
ENCODER = "encoder."  # the prefix of an objective's names


def network_of(subject: Any) -> Network:
    """The network of a loaded encoder, checkpoint or objective, or a network itself; InputError for anything else."""
    if isinstance(subject, Network):
        return subject
    if isinstance(subject, FrozenNetwork):
        return subject.network
    if isinstance(subject, Checkpoint):
        return subject.network()
    network = getattr(subject, "encoder", None)
    if isinstance(network, Network):
        return network
    name = getattr(subject, "name", None) or f"a {type(subject).__name__}"
    raise InputError(f"{name} is no network of ours; only wav2vec 2.0, HuBERT and MelHuBERT can be compressed")


def config_of(subject: Any) -> EncoderConfig:
    """The config of ``network_of``, for which no weights are read."""
    return subject.config if isinstance(subject, FrozenNetwork | Checkpoint) else network_of(subject).config


def remade(
    subject: Subject,
    config: EncoderConfig,
    change: Change,
    *,
    named: Callable[[str], str] = str,
    share: bool = False,
) -> Subject:
    """The subject with another config and each weight of its encoder as ``change`` gives it.

    What is not changed is copied, or with ``share`` is the subject's own memory, and then the subject is to be let go.
    ``named`` makes the name of what has one. Flags of training, regularisation, terms of a loss and which weights are
    trained go along; masks do not: their zeros stand in the weights.
    """
    made: Any
    if isinstance(subject, FrozenNetwork):
        made = freeze(
            named(subject.name),
            remade(subject.network, config, change, share=share),
            states=subject.states,
            device=subject.device,
            dtype=subject.dtype,
            mel_stats=subject.mel_stats,
            batched=subject.batches is not None,
            teacher=subject.teacher,
            heads=subject.heads,
        )
    elif isinstance(subject, Checkpoint):
        made = _checkpoint(subject, config, _changed(subject.tensors, change, share=share), named(subject.name))
    elif isinstance(subject, Network):
        made = _filled(skeleton(config), subject, _changed(plain_tensors(subject), change, share=share))
    elif isinstance(subject, OBJECTIVES):
        made = _objective(subject, config, change, share=share)
    else:
        network_of(subject)  # InputError, unless it is somebody else's objective
        raise InputError(
            f"a {type(subject).__name__} is no objective of ours; compress its encoder, then make it anew"
        )
    return cast("Subject", made)


def _checkpoint(subject: Checkpoint, config: EncoderConfig, tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """It says what it was made of, and is no step of that one's run."""
    meta = subject.meta
    said = {key: value for key, value in meta.provenance.items() if key != "run"}
    provenance = {**said, "made_from": subject.name, "made_from_step": meta.step}
    return replace(
        subject, name=name, config=config, tensors=tensors, meta=replace(meta, step=None, provenance=provenance)
    )


def _objective(subject: Any, config: EncoderConfig, change: Change, *, share: bool) -> Any:
    tensors = plain_tensors(subject)
    settings = objective_settings(config.family, tensors)
    assert settings is not None, "an objective without its own weights"
    with torch.device("meta"):
        made: Any = objective(config, settings)

    def change_encoder(name: str, tensor: Tensor) -> Tensor:
        return change(name.removeprefix(ENCODER), tensor) if name.startswith(ENCODER) else tensor

    made = _filled(made, subject, _changed(tensors, change_encoder, share=share))
    if hasattr(subject, "terms"):
        made.terms = subject.terms
    return made


def _changed(tensors: Mapping[str, Tensor], change: Change, *, share: bool) -> dict[str, Tensor]:
    changed = {}
    for name, tensor in tensors.items():
        made = change(name, tensor)
        changed[name] = made.clone() if made is tensor and not share else made
    return changed


def _filled(made: Any, subject: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A module of the same kind with these weights, to be trained as the subject is."""
    made.load_state_dict(dict(tensors), strict=True, assign=True)
    trained = plain_parameters(cast("nn.Module", subject))
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(trained[name].requires_grad)
    network_of(made).regularise(network_of(subject).regularisation)
    return made.train(subject.training)
