"""Section 2.3: pruning and distillation as the text and the authors' configurations have them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ladder:
    """Section 2.3, heads and rows: ``amount`` of each layer at a cut, the lowest by L1 norm.

    ``stages``: (updates from one cut to the next, what is left when the stage ends: heads in all, rows of a layer).
    """

    amount: int
    stages: tuple[tuple[int, int], ...]
    lr: float


@dataclass(frozen=True)
class Convergence:
    """Section 2.3, weights: a cut to the next of ``targets`` (share of zeros) when the loss moves no more.

    That is when its moving average (decay ``ema``) is within ``tolerance`` of what it was ``look_back`` updates ago.
    """

    targets: tuple[float, ...]
    ema: float
    tolerance: float
    look_back: int
    lr: float


def _sparsities(*stages: tuple[float, float]) -> tuple[float, ...]:
    """In per cent: (step, until) of each stage, as shares."""
    reached, made = 0.0, []
    for step, until in stages:
        while reached < until:
            reached += step
            made.append(round(reached / 100, 4))
    return tuple(made)


HEAD_PRUNING = Ladder(1, ((25_000, 72), (40_000, 12)), lr=5e-5)
ROW_PRUNING = Ladder(128, ((25_000, 512),), lr=1e-5)
WEIGHT_PRUNING = Convergence(
    _sparsities((20, 20), (10, 50), (5, 65), (2.5, 70), (1, 80)),
    ema=0.9998,
    tolerance=0.001,
    look_back=15_000,
    lr=1e-5,
)
PRUNING_UTTERANCES = {"melhubert": 4, "wav2vec2": 12}  # of a batch; HuBERT is not pruned there
# "We recorded MelHuBERT's pruning schedule and applied it to Wav2Vec2": updates from its first cut to each one, as in
# the configuration that the authors published.
RECORDED_CUTS = tuple(
    1_000 * thousand
    for thousand in (
        *(0, 125, 200, 500, 700, 900, 1_075, 1_300, 1_650),
        *(1_875, 2_075, 2_150, 2_275, 2_450, 2_600, 2_825, 2_950, 3_075, 3_225),
    )
)
FIRST_RECORDED_CUT = 25_000  # MelHuBERT's own, at the first check for convergence


@dataclass(frozen=True)
class Distilling:
    """Section 2.3, distillation: DistilHuBERT's recipe. ``warmup`` is a share of the updates."""

    students: tuple[int, ...]  # layers
    targets: tuple[int, ...]  # layers of the teacher
    utterances: int
    updates: int
    lr: float
    warmup: float

    @property
    def layers(self) -> int:
        """Those of the smallest student, DistilHuBERT's own."""
        return self.students[0]


DISTILLATION = Distilling((2, 4, 6), (4, 12), utterances=24, updates=200_000, lr=2e-4, warmup=0.07)
AUTHORS_DISTILLATION_UPDATES = {2: 200_005, 4: 200_005, 6: 320_005}  # of MelHuBERT's students, in their configurations
