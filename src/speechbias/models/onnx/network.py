"""Our network as a graph: waves (or mel frames) of any length in, all hidden states out. One utterance at a time.

The same order of operations as ``models.network``, but for a wave's mean, which goes first where it makes no
difference. Norms over time are taken of the wave that comes in: mean and variance of a normalised wave in float64, the
group norm by ONNX's instance norm. Weight norms are multiplied out.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from speechbias.erasers import Eraser, stacked
from speechbias.models.config import MelFrontend, WaveFrontend
from speechbias.models.frontend import ConvFrontend, GroupNorm
from speechbias.models.mel import MelStats
from speechbias.models.network import Network
from speechbias.models.onnx.graph import Graph
from speechbias.models.onnx.mel import add_log_mel
from speechbias.models.transformer import Attention, Block, Point, Positions, Transformer

WAVE, FEATURES, STATES, LAST = "wave", "features", "states", "last"


def network_graph(
    network: Network,
    points: Sequence[Point],
    said: dict[str, str],
    *,
    mel_stats: MelStats | None = None,
    erasers: Sequence[Eraser] = (),
) -> tuple[Any, list[str]]:
    """An ``onnx.ModelProto``, and the nodes in it that are products with a weight and can be quantised.

    In: ``wave`` (1, samples) in [-1, 1] at 16 kHz; of a MelHuBERT without statistics ``features`` (1, frames, 80),
    normalised and stacked. Out: ``states`` (states, frames, dim), read at ``points``, and ``last`` (frames, dim), the
    last of them; behind ``erasers``, one for each state, if there are any. InputError where weights are too large for
    one file, or onnx is missing.
    """
    graph, front = Graph(), network.config.frontend
    takes_features = isinstance(front, MelFrontend) and mel_stats is None
    shape: list[str | int] = [1, "frames", front.dim] if takes_features else [1, "samples"]
    if isinstance(front, WaveFrontend):
        x = _convolutions(graph, _prepared_wave(graph, front), network)
    else:
        x = FEATURES if mel_stats is None else add_log_mel(graph, WAVE, front, mel_stats)
    if network.feature_norm is not None:
        x = _layer_norm(graph, x, network.feature_norm, "feature_norm")
    if network.projection is not None:
        x = _linear(graph, x, network.projection, "projection")
    at = _transformer(graph, x, network.transformer)
    states = graph.add("Concat", *(at[point] for point in points), axis=0)
    last = at[points[-1]]
    if erasers:
        states = _erased(graph, states, erasers)
        last = graph.add("Gather", states, graph.integers(len(points) - 1), axis=0)
    last = graph.add("Squeeze", last, graph.integers(0))
    dim = network.config.dim
    outputs: dict[str, tuple[str, list[str | int]]] = {
        STATES: (states, [len(points), "frames", dim]),
        LAST: (last, ["frames", dim]),
    }
    return graph.model({FEATURES if takes_features else WAVE: shape}, outputs, said), graph.linear


def _erased(graph: Graph, states: str, erasers: Sequence[Eraser]) -> str:
    """(states, frames, dim) without what the eraser of each state takes away; in float64, as ``models.erased``."""
    parts = {part: graph.weight(f"removal.{part}", array) for part, array in stacked(erasers).items()}
    wide = graph.add("Cast", states, to=graph.onnx.TensorProto.DOUBLE)
    centred = graph.add("Sub", wide, graph.add("Unsqueeze", parts["mean"], graph.integers(1)))
    found = graph.add("MatMul", graph.add("MatMul", centred, parts["found"]), parts["taken"])
    return graph.add("Cast", graph.add("Sub", wide, found), to=graph.onnx.TensorProto.FLOAT)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _prepared_wave(graph: Graph, front: WaveFrontend) -> str:
    """Zero mean and unit variance, where the checkpoint was trained so; zero mean, where the mean makes no difference.

    A group norm removes what a constant adds to each channel of the first convolution. onnxruntime sums in float32,
    and of a quiet recording with a large offset little would be left.
    """
    if front.wave_norm_eps is None and front.norm != "group":
        return WAVE
    wide = graph.add("Cast", WAVE, to=graph.onnx.TensorProto.DOUBLE)
    wide = graph.add("Sub", wide, graph.add("ReduceMean", wide, axes=[-1]))
    if front.wave_norm_eps is not None:
        variance = graph.add("ReduceMean", graph.add("Mul", wide, wide), axes=[-1])
        deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(front.wave_norm_eps, np.float64)))
        wide = graph.add("Div", wide, deviation)
    return graph.add("Cast", wide, to=graph.onnx.TensorProto.FLOAT)


def _convolutions(graph: Graph, wave: str, network: Network) -> str:
    """(1, samples) to (1, frames, channels)."""
    frontend = network.frontend
    assert isinstance(frontend, ConvFrontend)
    x = graph.add("Unsqueeze", wave, graph.integers(1))
    for i, conv in enumerate(frontend.convs):
        assert isinstance(conv, nn.Conv1d)
        x = _convolve(graph, x, conv, f"frontend.convs.{i}", strides=list(conv.stride))  # (1, channels, frames)
        if i < len(frontend.norms):
            x = _norm_over_channels(graph, x, frontend.norms[i], f"frontend.norms.{i}")
        x = _gelu(graph, x)
    return _swapped(graph, x)


def _convolve(graph: Graph, x: str, conv: nn.Conv1d, name: str, **how: object) -> str:
    weights = [graph.weight(f"{name}.weight", _array(conv.weight))]
    if conv.bias is not None:
        weights.append(graph.weight(f"{name}.bias", _array(conv.bias)))
    return graph.add("Conv", x, *weights, kernel_shape=list(conv.kernel_size), **how)


def _norm_over_channels(graph: Graph, x: str, norm: nn.Module, name: str) -> str:
    """One of the front end's two kinds of norm, of (1, channels, frames)."""
    if isinstance(norm, GroupNorm):
        weights = (graph.weight(f"{name}.{half}", _array(getattr(norm, half))) for half in ("weight", "bias"))
        return graph.add("InstanceNormalization", x, *weights, epsilon=norm.eps)
    assert isinstance(norm, nn.LayerNorm)
    return _swapped(graph, _layer_norm(graph, _swapped(graph, x), norm, name))


def _layer_norm(graph: Graph, x: str, norm: nn.LayerNorm, name: str) -> str:
    weights = (graph.weight(f"{name}.{half}", _array(getattr(norm, half))) for half in ("weight", "bias"))
    return graph.add("LayerNormalization", x, *weights, axis=-1, epsilon=norm.eps)


def _linear(graph: Graph, x: str, linear: nn.Linear, name: str) -> str:
    """The weight lies in the file transposed, (in, out)."""
    product = graph.matmul(x, f"{name}.weight", _array(linear.weight).T)
    return graph.add("Add", product, graph.weight(f"{name}.bias", _array(linear.bias)))


def _gelu(graph: Graph, x: str) -> str:
    """The exact one, spelled as onnxruntime knows to fuse it; opset 17 has no operator for it."""
    erf = graph.add("Erf", graph.add("Div", x, graph.constant(math.sqrt(2))))
    return graph.add("Mul", graph.add("Mul", x, graph.add("Add", erf, graph.constant(1))), graph.constant(0.5))


def _swapped(graph: Graph, x: str) -> str:
    return graph.add("Transpose", x, perm=[0, 2, 1])


def _transformer(graph: Graph, x: str, transformer: Transformer) -> dict[Point, str]:
    """What stands at every point where a hidden state can be read, each (1, frames, dim)."""
    at: dict[Point, str] = {"projection": x}
    x = graph.add("Add", x, _positions(graph, x, transformer.positions))
    if not transformer.pre_norm:
        x = _layer_norm(graph, x, transformer.norm, "transformer.norm")
    at["input"] = x
    for i, block in enumerate(transformer.layers):
        assert isinstance(block, Block)
        x = at[i + 1] = _block(graph, x, block, f"transformer.layers.{i}")
    at["output"] = _layer_norm(graph, x, transformer.norm, "transformer.norm") if transformer.pre_norm else x
    return at


def _positions(graph: Graph, x: str, positions: Positions) -> str:
    conv = positions.conv
    before = conv.kernel_size[0] // 2  # an even kernel's surplus frame is never computed
    pads = [before, before - positions.surplus]
    y = _convolve(graph, _swapped(graph, x), conv, "transformer.positions.conv", group=conv.groups, pads=pads)
    return _swapped(graph, _gelu(graph, y))


def _block(graph: Graph, x: str, block: Block, name: str) -> str:
    def norm(x: str, which: str) -> str:
        return _layer_norm(graph, x, getattr(block, which), f"{name}.{which}")

    def feed_forward(x: str) -> str:
        return _linear(graph, _gelu(graph, _linear(graph, x, block.fc1, f"{name}.fc1")), block.fc2, f"{name}.fc2")

    def attend(x: str) -> str:
        return _attention(graph, x, block.attention, f"{name}.attention")

    if block.pre_norm:
        x = graph.add("Add", x, attend(norm(x, "attention_norm")))
        return graph.add("Add", x, feed_forward(norm(x, "final_norm")))
    x = norm(graph.add("Add", x, attend(x)), "attention_norm")
    return norm(graph.add("Add", x, feed_forward(x)), "final_norm")


def _attention(graph: Graph, x: str, attention: Attention, name: str) -> str:
    heads, size = attention.heads, attention.head_dim

    def split(which: str, perm: list[int]) -> str:
        y = _linear(graph, x, getattr(attention, which), f"{name}.{which}")
        return graph.add("Transpose", graph.add("Reshape", y, graph.integers(1, -1, heads, size)), perm=perm)

    q, v = split("q_proj", [0, 2, 1, 3]), split("v_proj", [0, 2, 1, 3])  # (1, heads, frames, size)
    scores = graph.add("MatMul", q, split("k_proj", [0, 2, 3, 1]))  # (1, heads, frames, frames)
    weights = graph.add("Softmax", graph.add("Mul", scores, graph.constant(size**-0.5)), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.integers(1, -1, heads * size))
    return _linear(graph, joined, attention.out_proj, f"{name}.out_proj")
