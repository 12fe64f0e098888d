"""Fast exact inference on a CPU: the network's own arithmetic on prepacked oneDNN matrix products.

``Engine`` computes what ``Network`` computes, one utterance at a time, and hands every state to a reader as it is
made. Shapes: waves (samples,), frames (frames, dim); no batch, so no padding. What each technique exploits, and why
the result is the same up to float32 rounding (tests/models/test_engine.py compares every state with the network):

- *Prepacked weights.* oneDNN multiplies with AVX-512 where torch's default BLAS does not, once weights lie in its own
  blocked order; they are reordered once per model. The same products and sums.
- *A convolution is a matrix product over overlapping windows.* Frames lie channels last, so the window of a frame is a
  contiguous run of memory and windows are a strided view: nothing is copied. The same products and sums.
- *Group norm folded into the first convolution.* Mean and variance of each channel over time follow from the mean and
  the second moments of the input windows (10 x 10, float64), before a frame is computed. Algebra; float64 keeps it.
- *The front end in pieces of ``PIECE`` frames,* whose intermediates stay in the cache: with the norm folded, no frame
  needs another one. Memory does not grow with the length of the wave times 512 channels. Feed-forward likewise.
- *Fused* bias, GELU (erf) and residual sums save passes over memory, q, k and v are one product. The same sums.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.frontend import ConvFrontend
from speechbias.models.network import Network, StoredNetwork, skeleton
from speechbias.models.transformer import Block, Positions, Read

PIECE = 32  # frames of 20 ms; the largest intermediate, (64 x PIECE, 512), is then 4 MB
ROWS = 256  # frames at a time where a row is long: of feed-forward, of attention weights in bfloat16
DTYPES = (torch.float32, torch.bfloat16)
PACKED, PLAIN = "oneDNN, prepacked weights", "torch"


@cache
def is_supported(dtype: torch.dtype) -> bool:
    """Whether this build of torch, on this processor, has the products that the engine needs, and they are right.

    They are torch's own compiler's, without a promise to stay; where they are gone the plain network computes.
    """
    if dtype not in DTYPES or (dtype == torch.bfloat16 and not _has_bfloat16()):
        return False
    x, weight, bias = (torch.linspace(-1, 1, n, dtype=dtype) for n in (6 * 32, 16 * 32, 16))
    x, weight = x.view(6, 32), weight.view(16, 32)
    rows = x.flatten().as_strided((4, 32), (16, 1))  # overlapping
    try:
        linear = Linear(weight, bias, dtype)
        pairs = (
            (linear(rows), F.linear(rows, weight, bias)),
            (linear(x, gelu=True), F.gelu(F.linear(x, weight, bias))),
            (linear.plus(x, x[:, :16].contiguous()), F.linear(x, weight, bias) + x[:, :16]),
            (_product(x, weight), x @ weight.T),  # not packed
        )
    except (RuntimeError, AttributeError, TypeError):
        return False
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    return all(torch.allclose(ours, plain, rtol=tolerance, atol=tolerance) for ours, plain in pairs)


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself: else it would be slower than float32, and no engine is."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 (its only name)
    except (RuntimeError, AttributeError):
        return False


def _own(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, always: a view of one bias would keep the file of all weights mapped."""
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


class Linear:
    """y = x W' + b with W in oneDNN's order; ``weight`` is (out, in) as torch has it. Rows of x may overlap."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.ops: Any = torch.ops.mkldnn
        self.weight = self.ops._reorder_linear_weight(weight.detach().to(dtype).contiguous(), None)  # noqa: SLF001
        self.bias = None if bias is None else _own(bias, dtype)

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(frames, in) to (frames, out), with GELU (erf) if asked for."""
        after, how = ("gelu", "none") if gelu else ("none", "")
        return self.ops._linear_pointwise(x, self.weight, self.bias, after, [], how)  # noqa: SLF001

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """``self(x) + residual``."""
        return self.ops._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")  # noqa: SLF001


@dataclass(frozen=True)
class Norm:
    """A layer norm over the last axis."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def _norm(module: nn.Module, dtype: torch.dtype) -> Norm:
    assert isinstance(module, nn.LayerNorm)
    return Norm(_own(module.weight, dtype), _own(module.bias, dtype), module.eps)


def windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    """The inputs of every frame of a convolution over contiguous (frames, channels): (frames out, kernel * channels).

    A view: neighbours overlap in memory.
    """
    frames, channels = x.shape
    return x.as_strided(
        ((frames - kernel) // stride + 1, kernel * channels), (stride * channels, 1), x.storage_offset()
    )


def _window_weight(weight: Tensor) -> Tensor:
    """A convolution's weight (out, in, kernel) as that of a product over ``windows``: (out, kernel * in)."""
    return weight.transpose(1, 2).flatten(1)


class FrontEnd:
    """Waveform to frames, (samples,) to (frames, channels)."""

    def __init__(self, frontend: ConvFrontend, config: WaveFrontend, dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype
        convs = [conv for conv in frontend.convs if isinstance(conv, nn.Conv1d)]
        norms = list(frontend.norms)
        # float32 whatever the dtype: two thousandths of the work, and nothing is lost there
        self.weight = _own(_window_weight(convs[0].weight), torch.float32)  # (channels, kernel)
        self.bias = None if convs[0].bias is None else _own(convs[0].bias, torch.float32)
        self.group_norm: Norm | None = None
        if isinstance(norms[0], nn.GroupNorm):
            weight, bias = _own(norms[0].weight, torch.float64), _own(norms[0].bias, torch.float64)
            self.group_norm = Norm(weight, bias, norms[0].eps)
        self.norms = [] if self.group_norm is not None else [_norm(norm, dtype) for norm in norms]
        self.rest = [Linear(_window_weight(conv.weight), conv.bias, dtype) for conv in convs[1:]]

    def __call__(self, wave: Tensor) -> Tensor:
        """The frames of one wave, float32."""
        front = self.config
        if front.wave_norm_eps is not None:
            wave = F.layer_norm(wave, wave.shape, eps=front.wave_norm_eps)
        first = Linear(*self._first(wave), torch.float32)
        frames = (len(wave) - front.receptive_field) // front.hop + 1
        starts = [*range(0, frames, PIECE), frames]
        return torch.cat([self._piece(first, wave, start, stop) for start, stop in pairwise(starts)])

    def _first(self, wave: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the first convolution, with the group norm's statistics of this wave in them."""
        if self.group_norm is None:
            return self.weight, self.bias
        kernel, norm = self.weight.double(), self.group_norm
        inputs = wave.unfold(0, self.config.kernels[0], self.config.strides[0]).double()  # (frames, kernel)
        mean = inputs.mean(0)
        inputs -= mean
        variance = ((kernel @ (inputs.T @ inputs / len(inputs))) * kernel).sum(1)  # of each channel over time
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shift = norm.bias - (kernel @ mean) * scale  # a bias of the convolution is in the mean: it cancels
        return (kernel * scale[:, None]).float(), shift.float()

    def _piece(self, first: Linear, wave: Tensor, start: int, stop: int) -> Tensor:
        """Frames ``start`` to ``stop``, from the samples that they see."""
        front = self.config
        samples = wave[start * front.hop : (stop - 1) * front.hop + front.receptive_field, None]
        normed = bool(self.norms)
        x = first(windows(samples, front.kernels[0], front.strides[0]), gelu=not normed).to(self.dtype)
        if normed:
            x = F.gelu(self.norms[0](x))
        for i, conv in enumerate(self.rest, start=1):
            x = conv(windows(x, front.kernels[i], front.strides[i]), gelu=not normed)
            if normed:
                x = F.gelu(self.norms[i](x))
        return x


class PackedPositions:
    """Convolutional positions: per group one product over windows of that group's channels."""

    def __init__(self, positions: Positions, dtype: torch.dtype) -> None:
        conv = positions.conv
        assert conv.bias is not None
        self.kernel = conv.kernel_size[0]
        weights, biases = conv.weight.chunk(conv.groups), conv.bias.chunk(conv.groups)
        self.groups = [Linear(_window_weight(w), b, dtype) for w, b in zip(weights, biases, strict=True)]

    def __call__(self, x: Tensor) -> Tensor:
        """(frames, dim) to the same shape; an even kernel's surplus last frame is not computed."""
        before = self.kernel // 2
        padded = F.pad(x, (0, 0, before, self.kernel - 1 - before))
        parts = padded.chunk(len(self.groups), dim=1)
        convolved = (
            group(windows(part.contiguous(), self.kernel, 1), gelu=True)
            for group, part in zip(self.groups, parts, strict=True)
        )
        return torch.cat(list(convolved), dim=1)


class Scratch:
    """Memory that is used again and again: holes between packed weights would add up."""

    def __init__(self) -> None:
        self.flat = torch.empty(0)

    def cat(self, parts: Sequence[Tensor]) -> Tensor:
        """Matrices one below the other, until the next call."""
        size, dtype = sum(part.numel() for part in parts), parts[0].dtype
        if len(self.flat) < size or self.flat.dtype != dtype:
            self.flat = torch.empty(size, dtype=dtype)
        return torch.cat([part.detach() for part in parts], out=self.flat[:size].view(-1, parts[0].shape[1]))


class PackedBlock:
    """One transformer block."""

    def __init__(self, block: Block, dtype: torch.dtype, scratch: Scratch) -> None:
        attention = block.attention
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight, bias = scratch.cat([part.weight for part in three]), torch.cat([part.bias for part in three])
        self.heads, self.head_dim, self.pre_norm = attention.heads, attention.head_dim, block.pre_norm
        self.qkv = Linear(weight, bias, dtype)
        self.out = Linear(attention.out_proj.weight, attention.out_proj.bias, dtype)
        self.fc1 = Linear(block.fc1.weight, block.fc1.bias, dtype)
        self.fc2 = Linear(block.fc2.weight, block.fc2.bias, dtype)
        self.attention_norm, self.final_norm = _norm(block.attention_norm, dtype), _norm(block.final_norm, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(frames, dim) to the same shape."""
        if self.pre_norm:
            x = self.out.plus(self._mixed(self.attention_norm(x)), x)
            return self._plus_feed_forward(self.final_norm(x), x)
        x = self.attention_norm(self.out.plus(self._mixed(x), x))
        return self.final_norm(self._plus_feed_forward(x, x))

    def _plus_feed_forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Frame by frame the same, so the widest intermediate is made for ``ROWS`` frames at a time."""
        pairs = zip(torch.split(x, ROWS), torch.split(residual, ROWS), strict=True)
        return torch.cat([self.fc2.plus(self.fc1(some, gelu=True), before) for some, before in pairs])

    def _mixed(self, x: Tensor) -> Tensor:
        """The heads' outputs side by side, (frames, heads * head_dim)."""
        split = self.qkv(x).view(len(x), 3, self.heads, self.head_dim)
        q, k, v = split.permute(1, 2, 0, 3)  # each (heads, frames, head_dim)
        if x.dtype == torch.bfloat16:
            return torch.cat([_head(*parts) for parts in zip(q, k, v, strict=True)], dim=1)
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])
        return mixed[0].transpose(0, 1).flatten(1)


def _head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head's attention as two products, (frames, head_dim) in and out.

    Torch's own kernel is no faster in bfloat16 than in float32. Contiguous: oneDNN crawls on a head's strided view.
    """
    keys, values = k.contiguous(), v.T.contiguous()
    scaled = torch.split(q * q.shape[1] ** -0.5, ROWS)  # a row of weights needs no other one
    return torch.cat([_product(_product(some, keys).softmax(-1), values) for some in scaled])


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # noqa: SLF001


class Engine:
    """A network packed for inference; it holds its own copy of all weights, and may run in several threads.

    Of a stored network never more than one block's weights are in memory beside the packed ones.
    """

    def __init__(self, network: Network | StoredNetwork, dtype: torch.dtype) -> None:
        config: EncoderConfig = network.config
        self.config, self.dtype = config, dtype
        filled = _filling(network)
        front = config.frontend
        self.front_end = self.feature_norm = self.projection = None
        if isinstance(front, WaveFrontend):
            with filled("frontend") as frontend:
                self.front_end = FrontEnd(frontend, front, dtype)
            if front.feature_norm:
                with filled("feature_norm") as norm:
                    self.feature_norm = _norm(norm, dtype)
        if config.projection:
            with filled("projection") as projection:
                self.projection = Linear(projection.weight, projection.bias, dtype)
        with filled("transformer.positions") as positions:
            self.positions = PackedPositions(positions, dtype)
        with filled("transformer.norm") as norm:
            self.norm = _norm(norm, dtype)
        self.blocks: list[PackedBlock] = []
        scratch = Scratch()
        for number in range(config.num_layers):
            with filled(f"transformer.layers.{number}") as block:
                self.blocks.append(PackedBlock(block, dtype, scratch))
        if isinstance(network, StoredNetwork):
            _give_back()

    def __call__(self, inputs: Tensor, *, read: Read) -> None:
        """Run one wave (1, samples), or one sequence of mel frames (1, frames, dim), past a reader of its states."""
        self.transform(self.front(inputs), read=read)

    def front(self, inputs: Tensor) -> Tensor:
        """What the front end gives, (1, frames, front end's dim): CNN output, or the mel frames as they are."""
        return inputs if self.front_end is None else self.front_end(inputs[0].float())[None]

    def transform(self, front: Tensor, *, read: Read) -> None:
        """The rest, from what the front end gave, in any precision that holds it."""
        x = front[0].to(self.dtype)
        x = x if self.feature_norm is None else self.feature_norm(x)
        x = x.contiguous() if self.projection is None else self.projection(x)
        read("projection", x[None])
        x = x + self.positions(x)
        if not self.config.pre_norm:
            x = self.norm(x)
        read("input", x[None])
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            read(number, x[None])
        read("output", self.norm(x)[None] if self.config.pre_norm else x[None])


def _filling(network: Network | StoredNetwork) -> Callable[[str], AbstractContextManager[Any]]:
    """filled(name): a module with its weights; those of a stored network are let go behind the ``with``."""
    if isinstance(network, Network):
        return lambda name: nullcontext(network.get_submodule(name))
    modules, part = skeleton(network.config), network.part

    @contextmanager
    def filled(name: str) -> Iterator[nn.Module]:
        module = modules.get_submodule(name)
        module.load_state_dict(dict(part(name)), strict=True, assign=True)
        yield module
        module.to("meta")

    return filled


def _give_back() -> None:
    """Hand what the packing left between its results back to the system, where the C library can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
