"""One model's probes, one per learning rate, trained beside each other: a batch of states is read once for all.

Each begins with the same weights, sees the same batches and has an optimiser of its own, so its digits are those it
would have alone. The rate is chosen by dev PER; the best weights of each rate are kept. The state lies on disk after
every evaluation, and where a run is asked to stop; a run that was killed ends with the same bits.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from signal import Signals
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE
from speechbias.probe.errors import error_rate
from speechbias.probe.model import Probe, ctc_loss, frames_needed, greedy, normalised
from speechbias.probe.phones import PhoneSet
from speechbias.probe.recipe import ProbeRecipe
from speechbias.probe.states import States
from speechbias.probe.utterances import Utterance
from speechbias.progress import Progress
from speechbias.results import write_whole
from speechbias.training.log import Log
from speechbias.training.optim import clip_gradients
from speechbias.training.sampler import Sampler
from speechbias.training.signals import stop_when_asked
from speechbias.training.step import seeded

SWEEP, LOG = "sweep.pt", "log.jsonl"
KEPT = ("update", "waited", "ended", "loss", "skipped", "dev_loss")  # plain numbers of a rate
SECONDS = 200.0  # of dev or test at a time, where batches are counted in utterances


@dataclass(frozen=True, eq=False)
class Bench:
    """What the probes of one model are trained and judged on; rows count the utterances of all splits."""

    recipe: ProbeRecipe
    utterances: Sequence[Utterance]
    states: States
    train: Sequence[int]
    dev: Sequence[int]
    test: Sequence[int]
    states_shape: tuple[int, int]  # states, dim
    device: str = "cpu"

    @cached_property
    def phone_set(self) -> PhoneSet:
        """The phones of the recipe."""
        return PhoneSet(self.recipe.probe.phones, self.recipe.probe.eos)

    def targets(self, rows: Sequence[int]) -> list[list[int]]:
        """What a probe is to give for some utterances."""
        return [self.phone_set.targets(self.utterances[row].phones) for row in rows]

    def read(self, rows: Sequence[int]) -> tuple[Tensor, list[int]]:
        """States of some utterances, (states, frames of all, dim) on the device, and the frames of each."""
        states = self.states.batch(rows).to(self.device)
        return normalised(states) if self.recipe.probe.normalise else states, self.states.frames[list(rows)].tolist()

    def infeasible(self) -> list[int]:
        """Training utterances that CTC cannot say in as many frames as they have."""
        needed = map(frames_needed, self.targets(self.train))
        return [row for row, least in zip(self.train, needed, strict=True) if self.states.frames[row] < least]

    def transcribe(self, probe: Probe, rows: Sequence[int]) -> list[list[str]]:
        """Phones that a probe hears in some utterances, in order."""
        return self.listen([probe], rows)[0].phones

    @torch.no_grad()
    def listen(self, probes: Sequence[Probe], rows: Sequence[int]) -> list["Heard"]:
        """The same of several probes, whose states are read once, and their loss."""
        heard = [Heard() for _ in probes]
        for chunk in self._chunks(rows):
            states, frames = self.read(chunk)
            for probe, said in zip(probes, heard, strict=True):
                log_probs = probe(states)
                parts = torch.split(log_probs, frames)
                said.phones += [self.phone_set.decode(greedy(part)) for part in parts]
                said.loss += float(ctc_loss(log_probs, frames, self.targets(chunk))) * len(chunk) / len(rows)
        return heard

    def _chunks(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """Rows in order, at most a batch's seconds at a time."""
        most = (self.recipe.probe.seconds or SECONDS) * SAMPLE_RATE
        chunk: list[int] = []
        for row in rows:
            if chunk and sum(self.utterances[each].samples for each in (*chunk, row)) > most:
                yield chunk
                chunk = []
            chunk.append(row)
        yield chunk


@dataclass
class Heard:
    """What a probe makes of some utterances: phones of each, and the mean loss."""

    phones: list[list[str]] = field(default_factory=list)
    loss: float = 0.0


@dataclass
class Best:
    """Of one rate: its lowest dev PER, after which update, and the weights then."""

    dev_per: float = math.inf
    update: int = 0
    weights: Mapping[str, Tensor] = field(default_factory=dict)


class Rate:
    """One learning rate: a probe, its optimiser, and the best it has been."""

    def __init__(self, lr: float, bench: Bench) -> None:
        recipe = bench.recipe
        with seeded(recipe.run.seed):  # the same for all rates
            self.probe = Probe(*bench.states_shape, len(bench.phone_set.outputs), hidden=recipe.probe.hidden)
        self.probe.to(bench.device)
        self.lr, self.clip, self.share = lr, recipe.optim.clip, 1 / recipe.optim.accumulate
        self.adam = torch.optim.Adam(self.probe.parameters(), lr, recipe.optim.betas, recipe.optim.eps)
        self.best = Best()
        self.update, self.waited, self.ended = 0, 0, False
        self.dev_loss = math.inf  # the lowest
        self.loss, self.skipped = 0.0, 0  # since the last evaluation

    def learn(self, states: Tensor, frames: Sequence[int], targets: Sequence[Sequence[int]]) -> None:
        """One batch of an update: gradients add up to those of the mean over batches."""
        loss = ctc_loss(self.probe(states), frames, targets) * self.share
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss += float(loss.detach())

    def step(self) -> None:
        """Make the update, unless its gradient is not finite (S3PRL leaves such out too)."""
        if math.isfinite(clip_gradients(self.probe.parameters(), self.clip)):
            self.adam.step()
        else:
            self.skipped += 1
        self.adam.zero_grad()
        self.update += 1

    def judge(self, dev_per: float, dev_loss: float, *, patience: int) -> dict[str, Any]:
        """Note an evaluation; what a log says of the updates since the last one.

        Waiting begins anew with a lower loss too: CTC says nothing but blanks at first, and learns all the same.
        """
        self.waited += 1
        if dev_loss < self.dev_loss:
            self.dev_loss, self.waited = dev_loss, 0
        if dev_per < self.best.dev_per:
            weights = {name: value.detach().cpu().clone() for name, value in self.probe.state_dict().items()}
            self.best, self.waited = Best(dev_per, self.update, weights), 0
        self.ended = 0 < patience <= self.waited
        return {"dev_per": dev_per, "dev_loss": _or_none(dev_loss), "skipped": self.skipped}

    def state(self) -> dict[str, Any]:
        """All of it in tensors and plain containers."""
        plain = {name: getattr(self, name) for name in KEPT}
        made = {"probe": self.probe.state_dict(), "adam": self.adam.state_dict(), "best": vars(self.best)}
        return {**plain, **made}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        self.probe.load_state_dict(state["probe"])
        self.adam.load_state_dict(state["adam"])
        self.best = Best(**state["best"])
        for name in KEPT:
            setattr(self, name, state[name])


@dataclass(frozen=True)
class Swept:
    """Where a sweep stands: all rates, and which signal ended it before its end."""

    rates: Sequence[Rate]
    asked: Signals | None

    @property
    def chosen(self) -> Rate:
        """The lowest dev PER; of several the first that the recipe names."""
        return min(self.rates, key=lambda rate: rate.best.dev_per)


def sweep(bench: Bench, folder: Path, *, label: str, warn: Callable[[str], None], progress: bool = False) -> Swept:
    """Train the probes of every rate, from where ``folder`` has them. SIGTERM, SIGUSR1 and Ctrl-C save and end it."""
    recipe, run = bench.recipe, bench.recipe.run
    rates = [Rate(lr, bench) for lr in recipe.optim.rates]
    update = _load(folder / SWEEP, rates)
    log = Log(folder / LOG, every=run.evaluate, step=update, warn=warn)
    bar = Progress(label, run.steps, shown=progress, unit="updates", done=update)
    with stop_when_asked() as stop, bar:
        batches = _batches(bench, update)
        while update < run.steps and (active := [rate for rate in rates if not rate.ended]):
            for rows in islice(batches, recipe.optim.accumulate):
                states, frames = bench.read(rows)
                targets = bench.targets(rows)
                for rate in active:
                    rate.learn(states, frames, targets)
            for rate in active:
                rate.step()
            update += 1
            due = update % run.evaluate == 0 or update == run.steps
            if due:
                log.write(_evaluate(bench, active, update))
            if due or stop.asked:
                _save(folder / SWEEP, update, rates)
            if stop.asked:
                return Swept(rates, stop.asked)
            bar.advance(1, note=f"dev PER {min(rate.best.dev_per for rate in rates):.3f}" if due else None)
    return Swept(rates, None)


def _batches(bench: Bench, update: int) -> Iterator[list[int]]:
    """Rows of every batch from an update on: batch n of a run is a pure function of the recipe."""
    probe = bench.recipe.probe
    sampler = Sampler(
        np.array([each.samples for each in bench.utterances], np.int64),
        seconds=probe.seconds,
        utterances=probe.utterances,
        rows=np.array(bench.train, np.int64),
        seed=bench.recipe.run.seed,
        stream="probe",
    )
    number = update * bench.recipe.optim.accumulate
    while True:
        yield sampler.batch(*sampler.locate(number)).tolist()
        number += 1


def _evaluate(bench: Bench, rates: Sequence[Rate], update: int) -> dict[str, Any]:
    """Judge rates on dev; the line of the log."""
    references = [bench.utterances[row].phones for row in bench.dev]
    line: dict[str, Any] = {"step": update, "rates": {}}
    heard = bench.listen([rate.probe for rate in rates], bench.dev)
    for rate, said in zip(rates, heard, strict=True):
        since = update % bench.recipe.run.evaluate or bench.recipe.run.evaluate
        judged = rate.judge(error_rate(references, said.phones), said.loss, patience=bench.recipe.run.patience)
        line["rates"][f"{rate.lr:g}"] = {"loss": _or_none(rate.loss / since), **judged}
        rate.loss, rate.skipped = 0.0, 0
    return line


def _or_none(number: float) -> float | None:
    """As JSON takes it."""
    return number if math.isfinite(number) else None


def _save(path: Path, update: int, rates: Sequence[Rate]) -> None:
    """The state whole, behind a hash of it: neither torch nor zip notices every byte that a disk gives back wrong."""
    buffer = io.BytesIO()
    torch.save({"update": update, "rates": {f"{rate.lr!r}": rate.state() for rate in rates}}, buffer)
    content = buffer.getvalue()
    write_whole(path, hashlib.sha256(content).digest() + content)


def _load(path: Path, rates: Sequence[Rate]) -> int:
    """Bring rates to where a run was left; returns its update. InputError for what is damaged."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise InputError(f"{path} is damaged; remove it, and --resume begins this model's sweep anew")
    state = torch.load(io.BytesIO(content[32:]), weights_only=True, map_location="cpu")
    for rate in rates:
        rate.load(state["rates"][f"{rate.lr!r}"])
    return int(state["update"])
