"""Processes that make one update together, one per GPU or per share of the cores, as ``torchrun`` starts them.

A process alone is ``Ranks()``: everything here then gives back what it was given, and torch.distributed is left alone.
What ranks tell each other are sums over all of them, never means of means. Numbers on the CPU go by gloo, gradients of
a GPU by NCCL. Where one rank works and the others wait (a corpus is prepared, a checkpoint written) they may wait for
days; in the midst of training, where all do the same, for minutes. A rank that dies closes its connections, which the
others notice at once.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from speechbias.errors import InputError
from speechbias.models.device import choose_device

TOGETHER = timedelta(minutes=5)  # a disk may be slow for a while; a machine that vanished does not come back
WAITING = timedelta(days=7)  # labels of 100,000 hours take days
SILENCE = 10.0  # seconds that the first rank has for saying what is wrong, and its launcher for ending the others
Thing = TypeVar("Thing")


class LostRanksError(RuntimeError):
    """Other ranks are gone, or do not answer any more."""


class Ranks:
    """This process, number ``rank`` of ``size``, and how it speaks with the others. Made by ``joined``."""

    def __init__(self, rank: int = 0, size: int = 1, *, device: str = "cpu", store: Any = None) -> None:
        self.rank, self.size, self.device, self.store = rank, size, device, store
        self.patient = dist.new_group(backend="gloo", timeout=WAITING) if size > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, warns and shows progress."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """Numbers on the CPU, each the sum over all ranks."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def pool(self, sums: Tensor) -> Tensor:
        """The same on any device, with a gradient, for terms of the loss of which every rank has the same share."""
        return sums if self.size == 1 else _Pooled.apply(sums, self)  # type: ignore[no-untyped-call]

    def agreed(self, asked: signal.Signals | None) -> signal.Signals | None:
        """What any rank was asked by a signal, the same on all; None where none was."""
        number = int(self._reduced(torch.tensor(int(asked or 0)), dist.ReduceOp.MAX))
        return signal.Signals(number) if number else None

    def share(self, thing: Thing) -> Thing:
        """The thing as the first rank has it; the others wait for it as long as it takes."""
        things = [thing]
        if self.size > 1:
            dist.broadcast_object_list(things, group=self.patient)
        return things[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier(group=self.patient)

    def parallel(self, objective: nn.Module) -> nn.Module:
        """An objective whose gradients are means over ranks when its backward pass is done; alone, itself."""
        if self.size == 1:
            return objective
        own = [torch.device(self.device)] if self.device != "cpu" else None
        return DistributedDataParallel(objective, device_ids=own, gradient_as_bucket_view=True)

    def gathering(self, parallel: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass of a batch: gradients meet once per update, after its ``last`` batch."""
        if isinstance(parallel, DistributedDataParallel) and not last:
            return parallel.no_sync()
        return nullcontext()

    def _reduced(self, numbers: Tensor, how: Any) -> Tensor:
        if self.size > 1:
            numbers = numbers.clone()
            dist.all_reduce(numbers, op=how)
        return numbers


class _Pooled(torch.autograd.Function):
    """A sum over ranks, of which each rank has the same loss: the gradient of all their losses is its own, so often.

    Nothing is sent on the way back, where the gradients of weights are under way.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, ranks: Ranks) -> Tensor:
        ctx.size = ranks.size
        return ranks.sum(sums.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.size, None


def started(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank and number of ranks, as the launcher says; (0, 1) without one."""
    return int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))


def own_device(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this rank: of several on one machine each takes its own. InputError where it has none."""
    if started(environment)[1] == 1 or device == "cpu":
        return choose_device(device)
    chosen = choose_device("cuda:0" if device == "cuda" else device)
    if chosen == "cpu":
        return chosen
    local, beside = int(environment.get("LOCAL_RANK", "0")), int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if ":" in device and beside > 1:
        raise InputError(f"device {device!r} for {beside} processes of one machine; each takes its own with cuda")
    if ":" in device:
        return device
    if local >= torch.cuda.device_count():
        raise InputError(
            f"{beside} processes on this machine, which has {torch.cuda.device_count()} CUDA devices; start one for "
            "each (--nproc-per-node), or give --device cpu"
        )
    return f"cuda:{local}"


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among those that its launcher started with it; alone where there is no launcher.

    InputError where they cannot find each other, or one has no device. LostRanksError when others are gone.
    """
    where, (rank, size) = own_device(device), started()
    if size == 1:
        yield Ranks(device=where)
        return
    if where != "cpu":
        torch.cuda.set_device(where)
    backend = "gloo" if where == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        store, rank, size = next(rendezvous("env://", timeout=TOGETHER))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TOGETHER)
    except (ValueError, dist.DistError) as error:
        raise InputError(
            f"rank {rank} of {size} finds no others ({_first_line(error)}); start with torchrun"
        ) from None
    try:
        yield Ranks(rank, size, device=where, store=store)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise LostRanksError(f"rank {rank} of {size} lost the others ({_first_line(error)})") from error
        raise
    dist.destroy_process_group()  # only in good order: with a rank gone it may wait for it


@contextmanager
def one_voice() -> Iterator[None]:
    """What is wrong is said by the first rank: as a rule all have met it, and its launcher ends the others.

    Another rank waits for that. If it is still there after ``SILENCE`` it has met something of its own (a file that
    its machine does not see), or has no launcher: it says then who it is.
    """
    try:
        yield
    except (InputError, LostRanksError) as error:
        rank, size = started()
        if rank == 0:
            raise
        time.sleep(SILENCE)
        if isinstance(error, LostRanksError):
            raise
        who = f"rank {rank} of {size}, on {socket.gethostname()}"
        raise InputError(*(f"{who}: {problem}" for problem in error.problems)) from None


def _first_line(error: Exception) -> str:
    """What went wrong, without the place in torch's source before it and the advice behind."""
    return str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0] or type(error).__name__
