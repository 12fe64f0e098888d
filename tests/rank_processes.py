"""Two processes with gloo between them, kept for a whole file of tests: they run functions of this module by name."""

import multiprocessing
import os
import signal
import socket
import warnings
from dataclasses import replace

import torch
import torch.distributed as dist

import objectives
from speechbias.compress.distill import distill
from speechbias.compress.prune import prune
from speechbias.compress.start import read_distill_recipe, read_prune_recipe
from speechbias.models.batch import Batch
from speechbias.models.regularisation import Regularisation
from speechbias.training import examples
from speechbias.training.pretrain import pretrain
from speechbias.training.ranks import joined
from speechbias.training.recipe import read_recipe
from speechbias.training.step import Trainer

FRAMES = ((30, 22), (17, 26))  # of the utterances of even batches, and of odd ones


class Pair:
    """Two ranks. ``run`` has both call a function and gives what each of them returns, or its exception."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, rank), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, function, *args, **options):
        port = free_port()
        for pipe in self.pipes:
            pipe.send((port, function.__name__, args, options))
        return [pipe.recv() for pipe in self.pipes]

    def close(self):
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.close()
            process.join()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(rank, port, size=2):
    """What torchrun tells its processes."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    return {name: str(value) for name, value in {**names, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}


def serve(pipe, rank):
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    while True:
        try:
            port, name, args, options = pipe.recv()
        except EOFError:
            return
        os.environ.update(environment(rank, port))
        try:
            pipe.send(globals()[name](*args, **options))
        except Exception as error:  # noqa: BLE001 (it is what the test looks at)
            pipe.send(error)
            if dist.is_initialized():
                dist.destroy_process_group()


def batch_number(family, number, *, empty=(), poisoned=()):
    batch = objectives.batch_of(family, FRAMES[number % 2], seed=number)
    if number in empty:
        nothing = torch.zeros_like(batch.mask)
        rest = {
            name: value[:0]
            for name, value in vars(batch).items()
            if name in {"negatives", "gumbel"} and value is not None
        }
        batch = replace(batch, mask=nothing, **rest)
    if number in poisoned:
        batch.inputs[0, 12] = float("nan")
    return batch


def trainer(family, *, regularisation=None, terms=None, clip=0.0, ranks=None):
    model = objectives.made(family)
    model.encoder.regularise(regularisation or Regularisation())
    if terms:
        model.terms = replace(model.terms, **terms)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    return Trainer(model, optimiser, rate=lambda _: 1e-2, clip=clip, seed=3, ranks=ranks)


def updates(family, *, count=3, turns=1, empty=(), poisoned=(), **options):
    """Updates of this rank: of each, its share of 2 x ``turns`` batches. Reports, and all weights."""
    with joined("cpu") as ranks:
        trained = trainer(family, ranks=ranks, **options)
        reports = []
        for update in range(count):
            numbers = range(update * turns * 2 + ranks.rank, (update + 1) * turns * 2, 2)
            reports.append(trained.step([batch_number(family, n, empty=empty, poisoned=poisoned) for n in numbers]))
        return reports, trained.objective.state_dict()


def asked_of_one(number):
    """What both ranks know after the second one was asked by a signal, and without one."""
    with joined("cpu") as ranks:
        return ranks.agreed(signal.Signals(number) if ranks.rank else None), ranks.agreed(None), ranks.first


def train(recipe, out, *, poisoned=(), asked=None, **options):
    """Pre-training with two ranks. ``asked``: (rank, batch number, signal) that it gets when it makes that batch."""
    original, told = examples.Examples.__getitem__, []

    def changed(self, number):
        batch = original(self, number)
        if number in poisoned:
            batch.inputs[0] = float("nan")
        if asked and asked[:2] == (int(os.environ["RANK"]), number):
            os.kill(os.getpid(), asked[2])
        return batch

    examples.Examples.__getitem__ = changed
    try:
        ended = pretrain(read_recipe(recipe), out, warn=told.append, **options)
    finally:
        examples.Examples.__getitem__ = original
    return ended.update, ended.asked, told


def prune_alike(recipe, out, **options):
    """Pruning with two ranks."""
    told = []
    ended = prune(read_prune_recipe(recipe, out), out, warn=told.append, **options)
    return ended.update, told


def teach_alike(recipe, out, **options):
    """Distillation with two ranks."""
    told = []
    ended = distill(read_distill_recipe(recipe, out), out, warn=told.append, **options)
    return ended.update, told


def concatenated(batches):
    """One batch of all their utterances, padded to the longest: nothing is trimmed."""
    longest = max(batch.inputs.shape[1] for batch in batches)
    frames = max(batch.mask.shape[1] for batch in batches)

    def padded(tensors, length, value=0):
        made = []
        for tensor in tensors:
            room = tensor.new_full((len(tensor), length, *tensor.shape[2:]), value)
            room[:, : tensor.shape[1]] = tensor
            made.append(room)
        return torch.cat(made)

    negatives, before = [], 0
    for batch in batches:
        if batch.negatives is not None:
            negatives.append(batch.negatives + before)
            before += len(batch.negatives)
    return Batch(
        padded([batch.inputs for batch in batches], longest),
        torch.cat([batch.lengths for batch in batches]),
        padded([batch.mask for batch in batches], frames),
        None if batches[0].labels is None else padded([batch.labels for batch in batches], frames, objectives.IGNORED),
        torch.cat(negatives) if negatives else None,
        None if batches[0].gumbel is None else torch.cat([batch.gumbel for batch in batches]),
    )
