"""The config of an encoder, read off the shapes of its tensors (under our names).

Layers, heads, feed-forward widths, kernels and the kind of front end are all in the shapes, per layer, so pruned files
need nothing more. What no shape shows comes as ``Hints`` from the file's own settings: the size of a head, whether
norms come first, strides, whether waves were normalised.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from speechbias.errors import InputError
from speechbias.models.config import SHAPES, EncoderConfig, Family, MelFrontend, WaveFrontend
from speechbias.models.convert.hints import Hints
from speechbias.models.hubert import HubertSettings
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.network import Network
from speechbias.models.objectives import Settings, objective
from speechbias.models.wav2vec2 import Wav2Vec2Settings


class Shaped(Protocol):
    """A tensor, or what will become one."""

    @property
    def shape(self) -> Sequence[int]:
        """As of a tensor."""


Tensors = Mapping[str, Shaped]
HEAD_DIMS = {dim: dim // heads for _, dim, _, heads in SHAPES.values()}
MEL_BINS = 40


def encoder_config(where: str, tensors: Tensors, hints: Hints) -> EncoderConfig:
    """The config of the encoder in ``tensors``. InputError where it cannot be read off them."""
    try:
        front = _frontend(tensors, hints)
        norm = _shape(tensors, "transformer.norm.weight")
        dim = norm[0]
        head_dim = _head_dim(where, dim, hints)
        kernel = _shape(tensors, "transformer.positions.conv.parametrizations.weight.original1")
        layers = _layers(tensors, hints)
        return EncoderConfig(
            family=_family(where, tensors, front, hints),
            frontend=front,
            dim=dim,
            head_dim=head_dim,
            heads=tuple(_heads(tensors, layer, head_dim) for layer in layers),
            ffn=tuple(_shape(tensors, f"{layer}.fc1.weight")[0] for layer in layers),
            pre_norm=_pre_norm(front, hints),
            projection="projection.weight" in tensors,
            position_kernel=kernel[2],
            position_groups=dim // kernel[1],
            student=hints.student,
        )
    except KeyError as error:
        missing = f"weights of the encoder are missing ({error.args[0]})"
        raise InputError(f"{where}: {missing}; get the file again") from None
    except (ValueError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: its tensors do not make an encoder ({error}); get the file again") from None


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    return tuple(tensors[name].shape)


def _count(tensors: Tensors, template: str) -> int:
    """How many of ``template`` with 0, 1, 2 ... there are in a row."""
    count = 0
    while template.format(count) in tensors:
        count += 1
    return count


def _layers(tensors: Tensors, hints: Hints) -> list[str]:
    """The names of the layers that are there. KeyError or ValueError where the file says more or fewer."""
    count = _count(tensors, "transformer.layers.{}.fc1.weight")
    if count < (hints.layers or 0):
        raise KeyError(f"transformer.layers.{count} of {hints.layers} layers")
    if count > (hints.layers or count):
        raise ValueError(f"{count} layers, where its settings say {hints.layers}")
    return [f"transformer.layers.{i}" for i in range(count)]


def _frontend(tensors: Tensors, hints: Hints) -> WaveFrontend | MelFrontend:
    convs = _count(tensors, "frontend.convs.{}.weight")
    if not convs:
        inputs = _shape(tensors, "projection.weight")[1]
        if inputs not in {MEL_BINS, 2 * MEL_BINS}:
            raise ValueError(f"a projection of {inputs} inputs, where log-mel frames have 40 or 80")
        return MelFrontend(bins=MEL_BINS, stack=inputs // MEL_BINS)
    shapes = [_shape(tensors, f"frontend.convs.{i}.weight") for i in range(convs)]
    if any(0 in shape for shape in shapes):
        raise ValueError("a convolution without weights")
    strides = hints.strides or WaveFrontend().strides
    if len(strides) != convs:
        raise ValueError(f"{convs} convolutions and {len(strides)} strides")
    layer_norm = "frontend.norms.1.weight" in tensors
    normalise = layer_norm if hints.normalise is None else hints.normalise  # fairseq: they go together
    return WaveFrontend(
        channels=tuple(shape[0] for shape in shapes),
        kernels=tuple(shape[2] for shape in shapes),
        strides=strides,
        norm="layer" if layer_norm else "group",
        bias="frontend.convs.0.bias" in tensors,
        feature_norm="feature_norm.weight" in tensors or not hints.student,  # only DistilHuBERT has none
        wave_norm_eps=hints.normalise_eps if normalise else None,
    )


def _pre_norm(front: WaveFrontend | MelFrontend, hints: Hints) -> bool:
    """As the file says; otherwise as every published model has it: norms first where the front end has layer norms."""
    if hints.pre_norm is not None:
        return hints.pre_norm
    return isinstance(front, WaveFrontend) and front.norm == "layer"


def _head_dim(where: str, dim: int, hints: Hints) -> int:
    if hints.heads:
        return dim // hints.heads
    if dim in HEAD_DIMS:
        return HEAD_DIMS[dim]
    raise InputError(
        f"{where} does not say how many attention heads its {dim} dimensions make; add its settings "
        "(fairseq: cfg or args; MelHuBERT: Upstream_Config) to the file"
    )


def _heads(tensors: Tensors, layer: str, head_dim: int) -> int:
    rows = _shape(tensors, f"{layer}.attention.q_proj.weight")[0]
    if rows % head_dim:
        raise ValueError(f"{layer}.attention has {rows} rows, heads have {head_dim}")
    return rows // head_dim


def _family(where: str, tensors: Tensors, front: WaveFrontend | MelFrontend, hints: Hints) -> Family:
    if isinstance(front, MelFrontend):
        return "melhubert"
    if "quantizer.codes" in tensors or "project_q.weight" in tensors:
        return "wav2vec2"
    if "label_embeddings" in tensors:
        return "hubert"
    if hints.family is None:
        raise InputError(f"{where} does not say whether it is wav2vec 2.0 or HuBERT; add its settings (cfg) to it")
    return hints.family


def objective_settings(family: Family, tensors: Tensors) -> Settings | None:
    """The settings of the objective in ``tensors``; None where it is not there, or not whole."""
    try:
        if family == "melhubert":
            return MelHubertSettings(clusters=_shape(tensors, "final_proj.weight")[0])
        if family == "hubert":
            labels, final_dim = _shape(tensors, "label_embeddings")
            return HubertSettings(final_dim=final_dim, labels=labels)
        _, codes, size = _shape(tensors, "quantizer.codes")
        final_dim, code_dim = _shape(tensors, "project_q.weight")
        return Wav2Vec2Settings(final_dim, code_dim // size, codes // (code_dim // size), code_dim)
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def expected_shapes(config: EncoderConfig, settings: Settings | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors, with ``settings`` of what the objective adds to it."""
    with torch.device("meta"):
        module = Network(config) if settings is None else objective(config, settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return shapes if settings is None else {n: s for n, s in shapes.items() if not n.startswith("encoder.")}


def check_shapes(where: str, tensors: Tensors, expected: Mapping[str, tuple[int, ...]]) -> None:
    """InputError where a tensor is missing, has another shape than its config says, or has no place in it."""
    if missing := sorted(expected.keys() - tensors.keys()):
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            f"{where}: weights of the encoder are missing ({some}); random ones would be measured, get the file again"
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            has = " x ".join(map(str, tensors[name].shape))
            raise InputError(f"{where}: {name} is {has}, not {' x '.join(map(str, shape))}; get the file again")
    if strange := sorted(tensors.keys() - expected.keys()):
        raise InputError(
            f"{where}: {strange[0][:80]!r} has no place in this encoder; it is another model, or weights are missing"
        )
