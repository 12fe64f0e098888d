"""What a model is, without measuring it: shapes per layer, parameters, operations, states, provenance.

Whatever ``load_encoder`` takes can be described. Parameters count every number of a tensor, both halves of a weight
norm too, as Table 2 does; operations are multiply-accumulates (MACs) per second of audio. No time stamps: the same
model gives the same description, its latency excepted.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from speechbias.checkpoint import check_model, load_encoder, read_checkpoint
from speechbias.checkpoint.source import find_source
from speechbias.encoder import CONVENTIONS, Encoder
from speechbias.errors import InputError
from speechbias.inspection.description import Description, Layer, Macs, Timing
from speechbias.inspection.disk import bytes_on_disk
from speechbias.inspection.timing import time_encoder

__all__ = ["Description", "Layer", "Macs", "Timing", "describe_model"]


def describe_model(model: str | Path, *, latency: bool = False) -> Description:
    """Describe MODEL, anything that ``load_encoder`` takes; ``latency`` also runs it. InputError as that."""
    source = find_source(model)
    encoder: Encoder
    if source.kind == "erased":
        return _describe_erased(model, latency=latency)
    if source.kind == "onnx":
        from speechbias.inspection.exported import describe_onnx  # noqa: PLC0415 (torch: seconds)
        from speechbias.models.onnx.runtime import OnnxEncoder  # noqa: PLC0415

        encoder = load_encoder(model)
        assert isinstance(encoder, OnnxEncoder)
        described, states = describe_onnx(encoder, _describe(encoder)), [encoder.states]
    elif source.kind in {"feature", "adapter"}:
        encoder = load_encoder(model)
        described = _describe_feature_or_adapter(encoder)
        states = [name for name in CONVENTIONS if _has(name, partial(check_model, model))]
    else:
        from speechbias.inspection.networks import describe_checkpoint  # noqa: PLC0415 (torch: seconds)
        from speechbias.models.conventions import state_points  # noqa: PLC0415
        from speechbias.models.freeze import freeze  # noqa: PLC0415

        checkpoint = read_checkpoint(model)
        encoder = freeze(checkpoint.name, checkpoint.network(), mel_stats=checkpoint.meta.mel_stats)
        described = describe_checkpoint(checkpoint, _describe(encoder))
        points = partial(state_points, checkpoint.name, checkpoint.config)
        states = [name for name in CONVENTIONS if _has(name, points)]
    timing = time_encoder(encoder) if latency else None
    return dataclasses.replace(
        described,
        states=dict.fromkeys(states, encoder.num_states),
        bytes_on_disk=bytes_on_disk(source),
        latency=timing.median if timing else None,
        timing=timing,
    )


def _describe_erased(model: str | Path, *, latency: bool) -> Description:
    """A model from which something was removed: its base, and what went."""
    from speechbias.checkpoint.erased import read_removal  # noqa: PLC0415
    from speechbias.models.erased import ErasedEncoder  # noqa: PLC0415

    source = find_source(model)
    assert source.path is not None
    removal = read_removal(source.path)
    base = describe_model(removal.base)
    encoder = load_encoder(model, states=removal.states)
    assert isinstance(encoder, ErasedEncoder)
    timing = time_encoder(encoder) if latency else None
    removed = f"{removal.facts.get('method')} of {', '.join(removal.facts.get('classes', ()))}"
    return dataclasses.replace(
        base,
        name=source.name,
        sha256=encoder.sha256,
        states={removal.states: encoder.num_states},
        parameters=encoder.parameters,
        provenance={"removed": removed, **base.provenance},
        bytes_on_disk=(base.bytes_on_disk or 0) + (bytes_on_disk(source) or 0),
        latency=timing.median if timing else None,
        timing=timing,
    )


def _describe(encoder: Encoder) -> Description:
    """What every encoder says of itself."""
    return Description(
        name=encoder.name,
        family=encoder.family,
        dim=encoder.dim,
        states={encoder.states: encoder.num_states},
        sample_rate=encoder.sample_rate,
        frame_shift=encoder.frame_shift,
        recipe={key: value for key, value in encoder.recipe.items() if key != "device"},
        sha256=encoder.sha256,
    )


def _describe_feature_or_adapter(encoder: Encoder) -> Description:
    """A feature, or a model that is not one of our networks: what can be known of it."""
    if encoder.family == "features":
        return _describe(encoder)
    from speechbias.inspection.networks import count_nonzero  # noqa: PLC0415 (torch: seconds)
    from speechbias.inspection.operations import adapter_macs  # noqa: PLC0415
    from speechbias.models.huggingface.adapter import HuggingFaceEncoder  # noqa: PLC0415

    assert isinstance(encoder, HuggingFaceEncoder)
    weights = dict(encoder.model.named_parameters())
    return dataclasses.replace(
        _describe(encoder),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        nonzero=count_nonzero(weights),
        macs=adapter_macs(encoder),
        provenance={"format": "transformers, run by its own code"},
    )


def _has(states: str, ask: Callable[..., object]) -> bool:
    """Whether a model has a convention of hidden states: asking for one that it has not is an InputError."""
    try:
        ask(states=states)
    except InputError:
        return False
    return True
