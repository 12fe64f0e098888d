"""What to cut: scores of heads and of feed-forward rows, and which have the lowest (Section 2.3).

A head's score is the sum of absolute values of its rows of q, k and v with their biases; its columns of the output
projection are not in it. A row's, that of its row of the first feed-forward matrix, its bias, and its column of the
second. Scores are those of the weights as they are now, masked ones at zero, and are taken anew before each cut.
Public counterpart: nervjack2/Speech-SSL-Compression, ``head_pruning`` and ``row_pruning``.

Sums are float64. The public code sums in float32, whose rounding is some 1e-6 of a score: both order heads and rows
alike unless two scores are nearer than that, which is where float32 orders by the rounding of one summation order.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.compress.subjects import config_of, network_of
from speechbias.errors import InputError
from speechbias.models.transformer import Block

Scores = list[NDArray[np.float64]]  # one array per layer
What = Literal["heads", "rows"]
KINDS: tuple[What, What] = ("heads", "rows")


def head_scores(encoder: Any, *, out_proj: bool = False) -> Scores:
    """Per layer, an array (heads,): the L1 norm of each head's rows of q, k and v, biases included.

    ``encoder`` is a loaded encoder, a network or an objective; InputError for any other. With ``out_proj`` the head's
    columns of the output projection count too, which the public code leaves out and the paper does not speak of.
    """
    return [_head_scores(layer, out_proj=out_proj) for layer in _layers(encoder)]


def row_scores(encoder: Any) -> Scores:
    """Per layer, an array (rows,): the L1 norm of each row of fc1, its bias, and its column of fc2."""
    return [_row_scores(layer) for layer in _layers(encoder)]


def random_scores(encoder: Any, what: What, *, seed: int) -> Scores:
    """Scores without meaning, uniform in [0, 1): cut by them, a model is damaged as much but not by its weights.

    The control to pruning by weight. An array is a function of seed, layer, ``what`` and its length: cuts that follow
    each other are independent.
    """
    config = config_of(encoder)
    counts = config.heads if what == "heads" else config.ffn
    keys = [(seed, KINDS.index(what), layer, count) for layer, count in enumerate(counts)]
    return [np.random.default_rng(key).random(key[-1]) for key in keys]


def lowest(scores: Sequence[NDArray[np.floating]], count: int, *, what: What = "heads") -> dict[int, tuple[int, ...]]:
    """Of each layer the ``count`` with the lowest scores: {layer: sorted indices}. Of equal ones, the lower index.

    InputError where a layer would have none left, for a negative count, and for scores that are NaN.
    """
    _check(scores, count, what)
    for layer, values in enumerate(scores):
        if count >= len(values):
            raise InputError(too_many(layer, len(values), what))
    return {layer: _sorted(np.argsort(values, kind="stable")[:count]) for layer, values in enumerate(scores)}


def lowest_overall(
    scores: Sequence[NDArray[np.floating]], count: int, *, what: What = "heads"
) -> dict[int, tuple[int, ...]]:
    """The ``count`` lowest of all layers together, the best of each layer apart (the public code's ``by_whole``).

    Layers that lose none are not named. Equal scores go by layer and index. InputError as from ``lowest``.
    """
    _check(scores, count, what)
    orders = [np.argsort(values, kind="stable")[:-1] for values in scores]
    candidates = sorted((values[i], layer, i) for layer, values in enumerate(scores) for i in orders[layer])
    if count > len(candidates):
        raise InputError(
            f"{len(candidates)} {what} can be cut if each layer keeps one; cut that many or fewer, not {count}"
        )
    chosen: dict[int, list[int]] = {}
    for _, layer, index in candidates[:count]:
        chosen.setdefault(layer, []).append(index)
    return {layer: _sorted(np.array(chosen[layer])) for layer in sorted(chosen)}


def lowest_heads(encoder: Any, count: int = 1) -> dict[int, tuple[int, ...]]:
    """``lowest`` of ``head_scores``: the paper's cut is one head of each layer."""
    return lowest(head_scores(encoder), count, what="heads")


def lowest_rows(encoder: Any, count: int = 128) -> dict[int, tuple[int, ...]]:
    """``lowest`` of ``row_scores``: the paper's cut is 128 rows of each layer."""
    return lowest(row_scores(encoder), count, what="rows")


def too_many(layer: int, count: int, what: What) -> str:
    """What to say where all heads or rows of a layer would go."""
    has = f"{count} {what}" if count > 1 else f"1 {what[:-1]}"
    return f"layer {layer} has {has}, and one must stay; cut {count - 1 or 'none'}{' or fewer' if count > 1 else ''}"


def _layers(encoder: Any) -> list[Block]:
    return list(network_of(encoder).transformer.layers)  # type: ignore[arg-type]


def _head_scores(layer: Block, *, out_proj: bool) -> NDArray[np.float64]:
    attention = layer.attention
    total = torch.zeros(attention.heads * attention.head_dim, dtype=torch.float64)
    for part in (attention.q_proj, attention.k_proj, attention.v_proj):
        total += _l1(part.weight, 1) + _l1(part.bias[:, None], 1)
    if out_proj:
        total += _l1(attention.out_proj.weight, 0)
    return total.view(attention.heads, attention.head_dim).sum(1).numpy()


def _row_scores(layer: Block) -> NDArray[np.float64]:
    return (_l1(layer.fc1.weight, 1) + _l1(layer.fc1.bias[:, None], 1) + _l1(layer.fc2.weight, 0)).numpy()


def _l1(weight: Tensor, dim: int) -> Tensor:
    """Sums of absolute values over an axis, float64, on the CPU."""
    return (
        weight.detach().abs().sum(dim, dtype=torch.float64).cpu()
    )  # vector_norm takes three times as long over axis 0


def _check(scores: Sequence[NDArray[np.floating]], count: int, what: What) -> None:
    if count < 0:
        raise InputError(f"{count} {what} cannot be cut; give 0 or more")
    for layer, values in enumerate(scores):
        if not np.isfinite(values).all():
            raise InputError(
                f"layer {layer}: scores of {what} hold NaN or Inf; its weights do, take a checkpoint before"
            )


def _sorted(indices: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(sorted(map(int, indices)))
