"""Runs beside each other, a process and a core each: they know nothing of each other, so no order matters."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from speechbias.progress import Progress

AT_MOST = 2  # processes: the demo is made for two cores


@dataclass(frozen=True)
class Run:
    """A run of a maker: what its recipe says, and its folder."""

    verb: Literal["pretrain", "prune", "distill"]
    said: Mapping[str, Any]
    folder: Path


class SideBySide:
    """Processes that stay for all runs of a demo, since each of them imports torch; one core each."""

    def __init__(self, *, progress: bool = False) -> None:
        self.progress = progress
        count = min(AT_MOST, os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")  # a forked process would inherit threads of torch
        self.pool = ProcessPoolExecutor(count, mp_context=context, initializer=_one_core)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; what is not begun is not done."""
        self.pool.shutdown(cancel_futures=True)

    def make(self, what: str, runs: Sequence[Run]) -> None:
        """All of the runs; the first error of one is raised when it comes."""
        with Progress(what, len(runs), shown=self.progress, unit="runs") as bar:
            for ended in as_completed([self.pool.submit(_made, run) for run in runs]):
                ended.result()
                bar.advance(1)


def _one_core() -> None:
    import torch  # noqa: PLC0415 (in the processes alone)

    torch.set_num_threads(1)


def _made(run: Run) -> None:
    """One run, in its process."""
    from speechbias.compress.distill import distill  # noqa: PLC0415 (torch)
    from speechbias.compress.prune import prune  # noqa: PLC0415
    from speechbias.compress.start import distill_recipe, prune_recipe  # noqa: PLC0415
    from speechbias.training.allocator import keep_freed_memory  # noqa: PLC0415
    from speechbias.training.pretrain import pretrain  # noqa: PLC0415
    from speechbias.training.recipe import resolved  # noqa: PLC0415

    keep_freed_memory()
    where = "the demo's recipe"
    if run.verb == "prune":
        prune(prune_recipe(run.said, run.folder, where), run.folder)
    elif run.verb == "distill":
        distill(distill_recipe(run.said, run.folder, where), run.folder)
    else:
        pretrain(resolved(run.said, where), run.folder)
