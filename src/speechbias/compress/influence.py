"""What the size of d owes to every head and every row, and a criterion that weighs it against L1.

d (equations 1 and 2, of the embedding averaged over states) couples all clips of a test. So there are two passes: the
first embeds the clips, and the matrix of their embeddings says how d changes with each of them; the second takes one
clip at a time, forward and back. Memory does not grow with the number of clips.

The effect of a removal is that on |d|, to first order: it says what the first units of a cut do, and less of the last.
It is of the clips by which is scored; what a cut did is shown on others (``stimuli.split``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechbias.compress.criteria import What, head_scores, row_scores
from speechbias.compress.gates import GatedNetwork
from speechbias.compress.subjects import network_of
from speechbias.errors import InputError
from speechbias.models.conventions import state_points
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.inputs import Inputs
from speechbias.models.mel import MelStats
from speechbias.models.precision import exact_products
from speechbias.results import SETS
from speechbias.speat import association, check_sets, check_spread
from speechbias.stimuli import StimulusSet, stimuli_sha256
from speechbias.tracking.clips import Clips
from speechbias.tracking.subjects import unwrapped

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Influence:
    """One test's d, and its gradient with respect to the gate of every head and every row, per layer (units,)."""

    test: str
    stimuli_sha256: str
    d: float
    heads: tuple[Array, ...]
    rows: tuple[Array, ...]

    def of_removal(self, what: What) -> list[Array]:
        """Per layer and unit the change of |d|, to first order, when the unit is removed; below 0: |d| falls."""
        return [-np.sign(self.d) * gradient for gradient in getattr(self, what)]

    def describe(self) -> dict[str, object]:
        """What was scored on, as JSON values for the record of a cut."""
        return {"test": self.test, "stimuli_sha256": self.stimuli_sha256, "d": self.d}


def bias_scores(
    model: Any,
    clips: Clips,
    *,
    what: What,
    balance: float = 0.5,
    states: str = "s3prl",
    mel_stats: MelStats | None = None,
    out_proj: bool = False,
) -> list[Array]:
    """Scores of all heads or rows, per layer (units,); the lowest go first.

    (1 - balance) times L1 plus balance times what the removal of the unit adds to |d|, the mean over the tests of
    the clips, both standardised within the layer. d is in standard deviations already, so tests are added as they are.
    ``balance`` 0 gives the L1 scores themselves, and looks at no clip; 1 the change of |d| alone. ``out_proj`` is that
    of ``head_scores``. InputError for another balance, and as ``measure_influence``.
    """
    if not 0 <= balance <= 1:
        raise InputError(f"balance is {balance:g}; it goes from 0, L1 alone, to 1, the effect on |d| alone")
    l1 = head_scores(model, out_proj=out_proj) if what == "heads" else row_scores(model)
    if balance == 0:
        return l1
    found = measure_influence(model, clips, states=states, mel_stats=mel_stats)
    return balanced(l1, [influence.of_removal(what) for influence in found], balance=balance)


def balanced(l1: Sequence[Array], effects: Sequence[Sequence[Array]], *, balance: float) -> list[Array]:
    """The scores of ``bias_scores``, from L1 per layer and, per test, the change of |d| per layer."""
    change = [np.mean(layer, axis=0) for layer in zip(*effects, strict=True)]
    if balance in {0, 1}:  # as they are: standardising could make ties
        return list(change if balance else l1)
    pairs = zip(l1, change, strict=True)
    return [(1 - balance) * _standardised(size) + balance * _standardised(effect) for size, effect in pairs]


def _standardised(scores: Array) -> Array:
    """Mean 0 and standard deviation 1; zeros where all are equal."""
    spread = scores.std()
    return (scores - scores.mean()) / spread if spread > 0 else np.zeros(len(scores))


def measure_influence(
    model: Any, clips: Clips, *, states: str = "s3prl", mel_stats: MelStats | None = None, name: str = "the model"
) -> list[Influence]:
    """How d of each test of the clips depends on every head and row of a model, which stays as it is.

    ``model`` is an objective, a network or a frozen one of ours, also within a module that distributes it. Name,
    ``states`` and ``mel_stats`` are the frozen one's own, if it is one. InputError for another model, a MelHuBERT
    without statistics, and clips whose d is not defined.
    """
    model = unwrapped(model)
    if isinstance(model, FrozenNetwork):
        name, states, mel_stats, model = model.name, model.states, model.mel_stats, model.network
    network = network_of(model)
    prepare = Inputs(name, network.config.frontend, mel_stats)
    inputs = {facts.sha256: prepare(clips.waves[facts.sha256]) for facts in clips.files}
    with torch.inference_mode(mode=False), exact_products():
        gated = GatedNetwork(network, state_points(name, network.config, states))
        return _both_passes(gated, inputs, clips, name)


class _Slope(NamedTuple):
    """The d of a test, and its gradient with respect to each clip's embedding (dim,), by the hash of its audio."""

    d: float
    of_clips: Mapping[str, Tensor]


def _both_passes(
    gated: GatedNetwork, inputs: Mapping[str, NDArray[np.float32]], clips: Clips, name: str
) -> list[Influence]:
    with torch.no_grad():
        embeddings = {sha256: gated.embedding(given) for sha256, given in inputs.items()}
    slopes = [_slope(test, clips, embeddings, name) for test in clips.tests]
    totals = [[torch.zeros_like(gate, dtype=torch.float64) for gate in gated.gates] for _ in slopes]
    for sha256, given in inputs.items():
        asking = [number for number, slope in enumerate(slopes) if sha256 in slope.of_clips]
        found = gated.gradients(given, [slopes[number].of_clips[sha256] for number in asking])
        for number, gradients in zip(asking, found, strict=True):
            totals[number] = [total + part for total, part in zip(totals[number], gradients, strict=True)]
    found_of = zip(clips.tests, slopes, totals, strict=True)
    return [_influence(test, clips, slope.d, total) for test, slope, total in found_of]


def _slope(test: StimulusSet, clips: Clips, embeddings: Mapping[str, Tensor], name: str) -> _Slope:
    files = [clips.check.facts[clip.path].sha256 for clip in test.stimuli]
    stacked = torch.stack([embeddings[sha256] for sha256 in files]).requires_grad_()  # (stimuli, dim)
    sizes = [len(test.sets[key]) for key in SETS]
    with torch.enable_grad():
        X, Y, A, B = torch.split(stacked, sizes)
        s_x, s_y = association(X, A, B), association(Y, A, B)
        s = torch.cat([s_x, s_y])
        d = (s_x.mean() - s_y.mean()) / s.std()
    try:
        check_sets({key: part.numpy(force=True) for key, part in zip(SETS, (X, Y, A, B), strict=True)}, ndim=2)
        check_spread(s.numpy(force=True))
    except InputError as error:
        raise InputError(*(f"{test.name}, {name}: {line}" for line in error.problems)) from None
    (gradient,) = torch.autograd.grad(d, stacked)
    of_clips: dict[str, Tensor] = {}
    for sha256, row in zip(files, gradient, strict=True):  # a file that stands there twice counts twice
        of_clips[sha256] = of_clips[sha256] + row if sha256 in of_clips else row
    return _Slope(d.item(), of_clips)


def _influence(test: StimulusSet, clips: Clips, d: float, gradients: Sequence[Tensor]) -> Influence:
    arrays = tuple(gradient.cpu().numpy() for gradient in gradients)
    layers = len(arrays) // 2
    audio = {clip.path: clips.check.facts[clip.path].sha256 for clip in test.stimuli}
    return Influence(test.name, stimuli_sha256(test, audio), d, arrays[:layers], arrays[layers:])
