"""Pruning on one core: what a cut costs, and what it gives.

An event is all that happens between two updates but for saving: heads or rows are scored, chosen and cut out of a
pre-training model of base shape, or a mask of all its prunable weights is made and put on. CPU seconds, medians of
``ROUNDS`` after one that warms up, freed memory kept as the trainer keeps it. A cut layer runs against the whole one
on 10 s of audio in interleaved rounds, in the network that trains (torch's own products) and in the engine that
measures (packed ones); ratios are medians over rounds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from speechbias.compress.criteria import lowest_heads, lowest_rows
from speechbias.compress.masks import apply_masks, install, masks_of, weight_masks
from speechbias.compress.surgery import Cut, cut_heads, cut_rows, perform, remove_heads
from speechbias.embeddings import single_threaded
from speechbias.models.config import sized
from speechbias.models.initialisation import initialise_network
from speechbias.models.network import Network
from speechbias.models.objectives import Objective, untrained
from speechbias.models.packed_blocks import PackedBlock, Scratch
from speechbias.models.transformer import Block
from speechbias.training.allocator import keep_freed_memory

ROUNDS = 5
LAYER_ROUNDS = 15
FRAMES = 499  # of 10 s
AIMS = {"heads": 0.2, "rows": 0.2, "weights": 1.5}  # s
LAYERS: Mapping[str, tuple[int, int, float | None]] = {  # heads, rows, ratio to reach
    "whole": (12, 3072, None),
    "6 heads": (6, 3072, None),
    "1 head": (1, 3072, 1.45),
    "1536 rows": (12, 1536, None),
    "512 rows": (12, 512, 1.7),
}


def main() -> None:
    keep_freed_memory()
    with single_threaded():
        events()
        with torch.inference_mode():
            for name, make in {"network": _plain, "engine": _packed}.items():
                layers(name, make)


def events() -> None:
    """What happens between two updates."""
    model = untrained("melhubert", "base", seed=0).requires_grad_().train()
    print(f"  an event of MelHuBERT base, CPU s, {ROUNDS} rounds")
    ways: dict[str, tuple[Callable[[], object], float | None]] = {
        "heads, 1 of each layer": (lambda: cut_by(model, "heads"), AIMS["heads"]),
        "rows, 128 of each layer": (lambda: cut_by(model, "rows"), AIMS["rows"]),
        "heads, and Adam's moments": (lambda: cut_moments(model, cut_by(model, "heads")), None),
        "rows, and Adam's moments": (lambda: cut_moments(model, cut_by(model, "rows")), None),
        "heads, the whole model kept beside": (lambda: remove_heads(model, lowest_heads(model)), None),
    }
    for name, (event, aim) in ways.items():
        _show(name, [_cpu_seconds(event) for _ in range(ROUNDS + 1)][1:], aim)
    _show("weights, to 20 %", [_cpu_seconds(lambda: mask(model, 0.2)) for _ in range(ROUNDS + 1)][1:], AIMS["weights"])
    _show("weights, from 20 % to 80 %", [_again(model) for _ in range(ROUNDS)], AIMS["weights"])


def cut_by(model: Objective, what: str) -> Cut:
    """Score, choose, cut; weights that no cut concerns stay where they are."""
    config = model.encoder.config
    cut = cut_heads(config, lowest_heads(model)) if what == "heads" else cut_rows(config, lowest_rows(model))
    perform(model, cut, share=True)
    return cut


def cut_moments(model: Objective, cut: Cut) -> list[Tensor]:
    """Two tensors of each weight's shape go through the same cut: here the weight itself, twice."""
    return [cut.apply(name, tensor.detach()) for name, tensor in model.named_parameters() for _ in range(2)]


def mask(model: Objective, sparsity: float) -> None:
    install(model, weight_masks(model, sparsity))


def _again(model: Objective) -> float:
    install(model, {name: torch.ones_like(kept) for name, kept in masks_of(model).items()})
    mask(model, 0.2)
    return _cpu_seconds(lambda: mask(model, 0.8))


def _show(name: str, seconds: list[float], aim: float | None) -> None:
    verdict = "" if aim is None else f" (aim: {aim}, {'reached' if median(seconds) <= aim else 'not reached'})"
    print(f"    {name:36} {median(seconds):6.3f} ({min(seconds):.3f} to {max(seconds):.3f}){verdict}")


def layers(name: str, make: Callable[[Block], Callable[[Tensor], Tensor]]) -> None:
    """One layer of each shape, and the whole one with 80 % of its weights at zero."""
    blocks = {shape: make(block_of(heads, rows)) for shape, (heads, rows, _) in LAYERS.items()}
    whole = network_of(12, 3072)
    sparse = apply_masks(whole, weight_masks(whole, 0.8))
    blocks["80 % zeros"] = make(sparse.transformer.layers[0])
    x = torch.randn(FRAMES, 768, generator=torch.Generator().manual_seed(0))
    for block in blocks.values():
        block(x)
    rounds = [
        {shape: _cpu_seconds(lambda b=block: b(x)) for shape, block in blocks.items()} for _ in range(LAYER_ROUNDS)
    ]
    print(f"  a layer in the {name}, {FRAMES} frames, {LAYER_ROUNDS} interleaved rounds")
    for shape in blocks:
        ratio = median(taken["whole"] / taken[shape] for taken in rounds)
        aim = LAYERS[shape][2] if shape in LAYERS else None
        verdict = "" if aim is None else f" (aim: {aim}, {'reached' if ratio >= aim else 'not reached'})"
        print(f"    {shape:12} {1000 * median(taken[shape] for taken in rounds):6.1f} ms  {ratio:.2f} x{verdict}")


def network_of(heads: int, rows: int) -> Network:
    """A network of one layer of base shape."""
    config = replace(sized("melhubert", "base"), heads=(heads,), ffn=(rows,))
    network = Network(config).eval().requires_grad_(requires_grad=False)
    initialise_network(network, torch.Generator().manual_seed(0))
    return network


def block_of(heads: int, rows: int) -> Block:
    return network_of(heads, rows).transformer.layers[0]


def _plain(block: Block) -> Callable[[Tensor], Tensor]:
    return lambda x: block(x[None], None)


def _packed(block: Block) -> Callable[[Tensor], Tensor]:
    return PackedBlock(block, torch.float32, Scratch())


def _cpu_seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
