"""Matrix products on weights in oneDNN's own order, of which the engine is made; and whether they are to be had.

*What it exploits:* oneDNN multiplies with AVX-512 where torch's default BLAS does not, once weights lie in its own
blocked order, into which they are brought once per model. Bias, GELU (erf) and residual sums go into the product and
save passes over memory. *Exact:* the same products and sums.

*A convolution is a product over overlapping windows.* Frames lie channels last, so the window of a frame is a
contiguous run of memory and windows are a strided view: nothing is copied. *Exact:* the same products and sums.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DTYPES = (torch.float32, torch.bfloat16)
PACKED, PLAIN = "oneDNN, prepacked weights", "torch"


def is_packed(device: str, dtype: torch.dtype) -> bool:
    """Whether the engine computes there."""
    return device == "cpu" and is_supported(dtype)


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
            (product(x, weight), x @ weight.T),  # not packed
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


def own(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, always: a view of one bias would keep the file of all weights mapped."""
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


class Linear:
    """y = x W' + b with W in oneDNN's order; ``weight`` is (out, in) as torch has it. Rows of x may overlap."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.ops: Any = torch.ops.mkldnn
        self.weight = self.ops._reorder_linear_weight(weight.detach().to(dtype).contiguous(), None)  # noqa: SLF001
        self.bias = None if bias is None else own(bias, dtype)

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


def packed_norm(module: nn.Module, dtype: torch.dtype) -> Norm:
    """A copy of a layer norm."""
    assert isinstance(module, nn.LayerNorm)
    return Norm(own(module.weight, dtype), own(module.bias, dtype), module.eps)


def windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    """The inputs of every frame of a convolution over contiguous (frames, channels): (frames out, kernel * channels).

    A view: neighbours overlap in memory.
    """
    frames, channels = x.shape
    return x.as_strided(
        ((frames - kernel) // stride + 1, kernel * channels), (stride * channels, 1), x.storage_offset()
    )


def window_weight(weight: Tensor) -> Tensor:
    """A convolution's weight (out, in, kernel) as that of a product over ``windows``: (out, kernel * in)."""
    return weight.transpose(1, 2).flatten(1)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Product of rows (frames, in) and a weight (out, in) that is not packed, by oneDNN too: (frames, out)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # noqa: SLF001
