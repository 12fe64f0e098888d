"""Fast exact inference on a CPU: the network's own arithmetic on prepacked oneDNN matrix products.

``Engine`` computes what ``Network`` computes, one utterance at a time, and hands every state to a reader as it is
made. Shapes: waves (samples,), frames (frames, dim); no batch, so no padding. Each technique is named, with what it
exploits and why the result is the same up to float32 rounding, where it is used: ``packed`` (products),
``packed_frontend`` with ``group_norm``, ``packed_blocks``. tests/models/test_engine.py compares every state with the
network's.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.network import Network, StoredNetwork, skeleton
from speechbias.models.packed import Linear, packed_norm
from speechbias.models.packed_blocks import PackedBlock, PackedPositions, Scratch
from speechbias.models.packed_frontend import PackedFrontend
from speechbias.models.transformer import Read


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
                self.front_end = PackedFrontend(frontend, front, dtype)
            if front.feature_norm:
                with filled("feature_norm") as norm:
                    self.feature_norm = packed_norm(norm, dtype)
        if config.projection:
            with filled("projection") as projection:
                self.projection = Linear(projection.weight, projection.bias, dtype)
        with filled("transformer.positions") as positions:
            self.positions = PackedPositions(positions, dtype)
        with filled("transformer.norm") as norm:
            self.norm = packed_norm(norm, dtype)
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
