"""What each library calls the parameters that we call otherwise: two tables, read in both directions.

A pair is (ours, theirs), each the name of a module or of a parameter; ``{i}`` stands for a layer's number. fairseq's
names are also those of S3PRL, of MelHuBERT and of everything that Speech-SSL-Compression writes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

T = TypeVar("T")

ENCODER_MODULES = ("frontend", "feature_norm", "projection", "transformer")  # the rest belongs to the objective
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_OURS, _LAYER = "transformer.layers.{i}", "encoder.layers.{i}"

FAIRSEQ = (
    ("frontend.convs.{i}", "feature_extractor.conv_layers.{i}.0"),
    ("frontend.norms.{i}", "feature_extractor.conv_layers.{i}.2.1"),  # layer norm, between two transposes
    ("frontend.norms.{i}", "feature_extractor.conv_layers.{i}.2"),  # group norm
    ("feature_norm", "layer_norm"),
    ("projection", "post_extract_proj"),
    ("projection", "pre_extract_proj"),  # MelHuBERT
    ("transformer.positions.conv", "encoder.pos_conv.0"),
    ("transformer.norm", "encoder.layer_norm"),
    *((f"{_OURS}.attention.{name}", f"{_LAYER}.self_attn.{name}") for name in ATTENTION),
    (f"{_OURS}.attention_norm", f"{_LAYER}.self_attn_layer_norm"),
    (f"{_OURS}.fc1", f"{_LAYER}.fc1"),
    (f"{_OURS}.fc2", f"{_LAYER}.fc2"),
    (f"{_OURS}.final_norm", f"{_LAYER}.final_layer_norm"),
    ("mask_embedding", "mask_emb"),
    ("quantizer.codes", "quantizer.vars"),
    ("quantizer.weight_proj", "quantizer.weight_proj"),
    ("project_q", "project_q"),
    ("final_proj", "final_proj"),
    ("label_embeddings", "label_embs_concat"),
)

TRANSFORMERS = (
    ("frontend.convs.{i}", "feature_extractor.conv_layers.{i}.conv"),
    ("frontend.norms.{i}", "feature_extractor.conv_layers.{i}.layer_norm"),
    ("feature_norm", "feature_projection.layer_norm"),
    ("projection", "feature_projection.projection"),
    ("transformer.positions.conv", "encoder.pos_conv_embed.conv"),
    ("transformer.norm", "encoder.layer_norm"),
    *((f"{_OURS}.attention.{name}", f"{_LAYER}.attention.{name}") for name in ATTENTION),
    (f"{_OURS}.attention_norm", f"{_LAYER}.layer_norm"),
    (f"{_OURS}.fc1", f"{_LAYER}.feed_forward.intermediate_dense"),
    (f"{_OURS}.fc2", f"{_LAYER}.feed_forward.output_dense"),
    (f"{_OURS}.final_norm", f"{_LAYER}.final_layer_norm"),
    ("mask_embedding", "masked_spec_embed"),
    ("quantizer.codes", "quantizer.codevectors"),
    ("quantizer.weight_proj", "quantizer.weight_proj"),
    ("project_q", "project_q"),
    ("final_proj", "project_hid"),
)

# Weight norm before torch 2.1, and its parametrisation since.
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
ANCHOR = "encoder.layer_norm.weight"  # every such encoder has one: what stands before it is the prefix of a wrapper


@dataclass(frozen=True)
class Names:
    """One library's names against ours."""

    pairs: tuple[tuple[str, str], ...]

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(theirs), _replacement(ours)) for ours, theirs in self.pairs]

    def ours(self, name: str) -> str | None:
        """Our name of one of their parameters; None for what we have no place for."""
        for suffix, parametrised in WEIGHT_NORM.items():
            if name.endswith(f".{suffix}"):
                name = name.removesuffix(suffix) + parametrised
        for pattern, replacement in self._rules:
            if pattern.match(name):
                return pattern.sub(replacement, name)
        return None

    def theirs(self, name: str) -> str:
        """Their name of one of our parameters. KeyError for what they have no place for."""
        for ours, theirs in self.pairs:
            pattern = _pattern(ours)
            if pattern.match(name):
                return pattern.sub(_replacement(theirs), name)
        raise KeyError(name)

    def rename(self, tensors: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
        """Their state dict under our names, without the prefix of a wrapper; and the names left out."""
        prefix = wrapper_prefix(tensors)
        renamed: dict[str, T] = {}
        left_out = []
        for name, tensor in tensors.items():
            own = self.ours(name.removeprefix(prefix))
            if own is None:
                left_out.append(name)
            else:
                renamed[own] = tensor
        return renamed, left_out


def wrapper_prefix(names: Iterable[str]) -> str:
    """What a wrapper (a head for recognition, DataParallel) has put before every name of the encoder."""
    found = [name.removesuffix(ANCHOR) for name in names if name.endswith(ANCHOR)]
    return min(found, key=len, default="")


def unknown_inside(left_out: Iterable[str], names: Iterable[str]) -> list[str]:
    """Names left out that belong to the encoder: without them it would be another model than the file's."""
    prefix = wrapper_prefix(names)
    return [name for name in left_out if name.startswith((f"{prefix}encoder.", f"{prefix}feature_extractor."))]


def split(tensors: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Our tensors as those of the encoder and those of the objective around it."""
    encoder = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in ENCODER_MODULES}
    return encoder, {name: tensor for name, tensor in tensors.items() if name not in encoder}


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(template).replace(r"\{i\}", r"(\d+)") + r"(?=\.|$)")


def _replacement(template: str) -> str:
    return template.replace("{i}", r"\1")


FAIRSEQ_NAMES = Names(FAIRSEQ)
TRANSFORMERS_NAMES = Names(TRANSFORMERS)
