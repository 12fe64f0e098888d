"""What an ONNX file of ours says of the network in it."""

import dataclasses
from pathlib import Path

from speechbias.checkpoint.folder import parse_config
from speechbias.errors import InputError
from speechbias.inspection.description import Description
from speechbias.inspection.networks import describe_config
from speechbias.models.config import EncoderConfig
from speechbias.models.network import skeleton
from speechbias.models.onnx.quantised import IN_WORDS
from speechbias.models.onnx.runtime import OnnxEncoder


def describe_onnx(encoder: OnnxEncoder, described: Description) -> Description:
    """``described``, what is known of every encoder, with what the config in the file adds."""
    facts = encoder.facts
    config = _config(encoder)
    tensors = skeleton(config).state_dict()
    kept = facts.pruned if facts.pruned.get("method") == "weights" else {}
    return dataclasses.replace(
        describe_config(config, tensors, described),
        nonzero=facts.nonzero,
        sparsity=round(1 - kept["remaining"] / kept["of"], 6) or None if kept.get("of") else None,
        step=facts.step,
        provenance={
            **({"quantised": IN_WORDS} if facts.precision == "int8" else {}),
            "exported from": facts.name,
            "its sha256": facts.encoder_sha256,
            "by": f"speechbias {facts.speechbias_version}",
            "run by": encoder.engine,
            **facts.provenance,
        },
    )


def _config(encoder: OnnxEncoder) -> EncoderConfig:
    """The config in the metadata. InputError where it is no config, or not of this graph."""
    try:
        config, _ = parse_config(Path(encoder.name), encoder.facts.config)
        if (config.num_layers + 1, config.dim) != (encoder.num_states, encoder.dim):
            raise ValueError("other sizes than its graph")  # noqa: TRY301
        skeleton(config)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{encoder.name}: the config in its metadata is damaged ({reason}); export it again"
        ) from None
    return config
