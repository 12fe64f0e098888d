"""Every number that this package takes from the paper, with its section.

Lin et al., "On the social bias of speech self-supervised models", Interspeech 2024. What is stated stands as the
paper states it; where the paper is silent, our choice stands with the reason and the alternatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# Section 2.2: |d| from which a bias is called small, medium, large.
EFFECT_BOUNDS = {"small": 0.20, "medium": 0.50, "large": 0.80}


@dataclass(frozen=True)
class Category:
    """One row of Table 1: two target concepts and the number of stimuli in each."""

    name: str
    x: str
    y: str
    count: int


TABLE_1 = (
    Category("Gender", "Female", "Male", 60),
    Category("Native", "US", "Korean", 55),
    Category("Age", "Young", "Old", 58),
)


@dataclass(frozen=True)
class Shape:
    """One row of Table 2: n_l, d_m, f_s, n_h, and the parameters of each family as printed."""

    size: str
    layers: int
    dim: int
    ffn: int
    heads: int
    parameters: Mapping[str, str]


TABLE_2 = (
    Shape("small", 3, 640, 2048, 8, {"melhubert": "16.5M", "wav2vec2": "21.3M", "hubert": "20.9M"}),
    Shape("slim", 12, 384, 768, 8, {"melhubert": "15.6M", "wav2vec2": "20.4M", "hubert": "20.0M"}),
    Shape("base", 12, 768, 3072, 12, {"melhubert": "90.2M", "wav2vec2": "95.0M", "hubert": "94.7M"}),
)


@dataclass(frozen=True)
class Pretraining:
    """Section 2.1: updates, and the audio of each: seconds per GPU (the paper does not say how many) or utterances."""

    updates: int
    seconds: float | None = None
    utterances: int | None = None


PRETRAINING = {
    "wav2vec2": Pretraining(400_000, seconds=87.5),
    "hubert": Pretraining(400_000, seconds=87.5),
    "melhubert": Pretraining(421_000, utterances=12),
}


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


@dataclass(frozen=True)
class Probing:
    """Section 3.3: phoneme recognition by "the evaluation configurations in the S3PRL toolkit", none of which it says.

    The numbers are S3PRL's (downstream/ctc/libriphone.yaml): Adam at a constant rate, 16 utterances a batch, two
    batches an update. SUPERB searched the rate for each model by powers of ten; which ones the paper does not say.
    """

    updates: int = 100_000
    evaluate: int = 1_000
    rates: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float = 1.0
    accumulate: int = 2
    hidden: int = 256
    seconds: float = (
        200.0  # our choice: 16 utterances of LibriSpeech, of 12.6 s in the mean; by utterances memory varies
    )


def _sparsities(*stages: tuple[float, float]) -> tuple[float, ...]:
    """In per cent: (step, until) of each stage, as shares."""
    reached, made = 0.0, []
    for step, until in stages:
        while reached < until:
            reached += step
            made.append(round(reached / 100, 4))
    return tuple(made)


PROBING = Probing()
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

# Table 3: SpEAT d of each model, in the paper's order of rows and columns.
TABLE_3_COLUMNS = ("Age", "Native", "Gender")
TABLE_3 = {
    "Wav2Vec2 slim": (0.49, 0.52, 0.85),
    "Wav2Vec2 small": (0.40, 0.31, 0.07),
    "Wav2Vec2 base": (0.51, 0.21, 1.21),
    "Wav2Vec2 large": (0.46, 0.69, 0.58),
    "HuBERT slim": (0.52, 0.62, 0.91),
    "HuBERT small": (0.50, 0.33, 0.54),
    "HuBERT base": (0.52, 0.68, 1.04),
    "MelHuBERT slim": (0.44, 0.55, 1.33),
    "MelHuBERT small": (0.14, 0.57, 0.92),
    "MelHuBERT base": (0.16, 0.62, 0.92),
    "STFT": (0.39, -0.07, -0.04),
    "Spectrogram": (-0.32, -0.12, 0.17),
    "Mel Spectrogram": (-0.32, -0.07, 0.03),
    "MFCC": (-0.05, 0.13, 0.50),
}


@dataclass(frozen=True)
class Utility:
    """A row of Table 4: phone error rates in per cent. Pruned models: the middle size and the sparsest."""

    family: str
    method: str  # distillation, heads, rows or weights
    base: float
    compressed: tuple[float, ...]


# Table 4: the middle sizes are 72 of 144 heads, 1536 of 3072 rows and a sparsity of 0.4; the students have 2 layers.
TABLE_4 = (
    Utility("wav2vec2", "distillation", 5.7, (21.3,)),
    Utility("wav2vec2", "heads", 5.7, (11.5, 18.8)),
    Utility("wav2vec2", "rows", 5.7, (8.9, 17.3)),
    Utility("wav2vec2", "weights", 5.7, (6.6, 8.9)),
    Utility("hubert", "distillation", 5.41, (18.6,)),
    Utility("melhubert", "distillation", 8.2, (27.2,)),
    Utility("melhubert", "heads", 8.2, (7.0, 11.6)),
    Utility("melhubert", "rows", 8.2, (8.8, 14.1)),
    Utility("melhubert", "weights", 8.2, (8.1, 8.7)),
)
TABLE_4_MIDDLE = {"heads": 72 / 144, "rows": 1536 / 3072, "weights": 1 - 0.4}  # what is left, as a share


@dataclass(frozen=True)
class Silence:
    """A choice that the paper leaves open and that changes a number."""

    topic: str
    chosen: str
    alternatives: str
    reason: str


SILENCES = {
    "native-count": Silence(
        topic="Stimuli per group of Native (Table 1 says 55)",
        chosen="59, all pairs of SpEAT's US/Korean list, less what the user's copy of the archive lacks",
        alternatives="55: no published list has that many; which 4 pairs the paper dropped is not said",
        reason="SpEAT's list is public and matched on age and sex; Gender (60) and Age (58) agree with it exactly",
    ),
    "ddof": Silence(
        topic="Standard deviation in equation 2",
        chosen="n - 1 (ddof 1), over X and Y together",
        alternatives="n (ddof 0), as WEFE",
        reason="SpEAT's own code; 0.4 % of d at 60 + 60 stimuli",
    ),
    "pretraining": Silence(
        topic="Optimiser, masks, crops and dropout of pre-training (Section 2.1 gives updates and batches)",
        chosen="those of fairseq's base recipes for wav2vec 2.0 and HuBERT, of MelHuBERT's code for MelHuBERT",
        alternatives="any; every one is a key of the recipe",
        reason="the models are trained with that code; sizes of Table 2 agree with its defaults",
    ),
    "pretraining-gpus": Silence(
        topic="How many GPUs share an update of 87.5 s each",
        chosen="1: a recipe counts the audio of one process, and more processes make larger updates",
        alternatives="2: then 400,000 updates see LibriSpeech about as often as MelHuBERT's 421,000 of 12 utterances",
        reason="nothing is said, and one is what most people have",
    ),
    "pruning-start": Silence(
        topic="Updates before the first cut and after the last one (Section 2.3 gives those between cuts)",
        chosen="as many as between the cuts beside it",
        alternatives="1,000 before; 40,000, 34,000 or 5,000 after, as the authors' configurations",
        reason="every point of Figure 2 is then trained for as long as its neighbours",
    ),
    "pruning-moments": Silence(
        topic="Adam's moments at a cut of heads or rows",
        chosen="those of what stays are carried through",
        alternatives="a new optimiser after each cut, as the authors' code",
        reason="a cut is no reason to forget the gradients of the weights that stay; weight pruning keeps them too",
    ),
    "convergence": Silence(
        topic="When and how the loss of weight pruning is compared",
        chosen="every 15,000 updates after a cut, both ways (a loss that rose by over 0.001 has not converged)",
        alternatives="after every update; every 25,000, a fall alone counts, the first cut untested (authors' code)",
        reason="asked after every update, two noisy averages that cross are soon taken for a loss that stands still",
    ),
    "head-norm": Silence(
        topic="Which matrices the L1 norm of a head is of",
        chosen="query, key and value with their biases",
        alternatives="the output projection too",
        reason="the authors' code",
    ),
    "pruning-temperature": Silence(
        topic="Gumbel temperature of wav2vec 2.0 while it is pruned",
        chosen="0.5, at which pre-training ends",
        alternatives="2.0, as the authors' code, which never tells the quantizer how far training is",
        reason="training goes on where it was",
    ),
    "distillation": Silence(
        topic="What of a student is copied, and what counts in its loss (Section 2.3 names DistilHuBERT's recipe)",
        chosen="front end, projection, positions, norms, first layers copied; own frames; a teacher without dropout",
        alternatives="padding counted and dropout in the teacher, as S3PRL; random weights and masks, as the authors' "
        "MelHuBERT",
        reason="a target that depends on a neighbour's length or on a draw is no property of the teacher",
    ),
    "distillation-small-teachers": Silence(
        topic="Targets in a teacher of fewer than 12 layers",
        chosen="the middle layer, rounded up, and the last",
        alternatives="the last alone; any, by [distill] targets",
        reason="DistilHuBERT's targets spread from below the middle to the end",
    ),
    "layers": Silence(
        topic="Aggregation across layers",
        chosen="mean over all hidden states, the encoder's input included; d of that mean",
        alternatives="without the input; sum (the same d); mean of the layers' d",
        reason="SpEAT's headline numbers; S3PRL's list of hidden states",
    ),
    "probe-rate": Silence(
        topic="Learning rate of the phoneme recogniser",
        chosen="1e-1 to 1e-5 by powers of ten for every model, chosen by dev PER, all on record",
        alternatives="S3PRL's default 1e-2 for all; SUPERB's search down to 1e-7",
        reason="one rate for all favours models whose states are of its scale",
    ),
    "p-value": Silence(
        topic="Test of significance",
        chosen="two-sided permutation test that respects repeated speakers",
        alternatives="one-sided over clips, as SpEAT (--alternative greater --design independent)",
        reason="the paper reports none; a reverse association must be visible",
    ),
    "cmvn": Silence(
        topic="Normalisation of classical features",
        chosen="none: the mean over time keeps what the feature says of the speaker",
        alternatives="per-utterance CMVN (feature:cmvn), S3PRL's default for three of the four features",
        reason="per-utterance CMVN makes every mean over time zero up to rounding, so d is noise",
    ),
}


# What the authors' configurations differ by from the defaults of a recipe, as its keys, by method and family: the
# names are those of `[prune] preset`. The text of the paper is what the defaults read; its preset says so in full.
_LADDERS = {"heads": HEAD_PRUNING, "rows": ROW_PRUNING}
PRUNING_PRESETS: Mapping[str, Mapping[tuple[str, str], Mapping[str, Mapping[str, object]]]] = {
    "paper-text": {
        **{
            (method, family): {"prune": {"schedule": "ladder", "stages": ladder.stages, "amount": ladder.amount}}
            for method, ladder in _LADDERS.items()
            for family in PRUNING_UTTERANCES
        },
        ("weights", "melhubert"): {"prune": {"schedule": "converged", "targets": WEIGHT_PRUNING.targets, "check": 1}},
        ("weights", "wav2vec2"): {"prune": {"schedule": "listed", "targets": WEIGHT_PRUNING.targets}},
    },
    "authors-code": {
        ("heads", "melhubert"): {"prune": {"first": 1_000, "last": 40_000, "moments": "reset"}},
        ("heads", "wav2vec2"): {
            "prune": {"first": 1_000, "last": 5_000, "moments": "reset"},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
        ("rows", "melhubert"): {"prune": {"first": 1_000, "last": 34_000, "moments": "reset"}},
        ("rows", "wav2vec2"): {
            "prune": {"first": 1_000, "last": 34_000, "moments": "reset"},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
        ("weights", "melhubert"): {
            "prune": {"check": 25_000, "sides": "fall", "unconditional": True, "average": "three", "last": 25_000}
        },
        ("weights", "wav2vec2"): {
            "prune": {"at": tuple(5_000 + cut for cut in RECORDED_CUTS), "last": 125_000},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
    },
}

# The same of [distill], by name and family. S3PRL's distiller trained the paper's students of wav2vec 2.0 and HuBERT,
# code of the authors those of MelHuBERT.
_S3PRL: Mapping[str, Mapping[str, object]] = {
    "distill": {
        "copied": ("frontend", "projection", "positions", "layers"),
        "feature_norm": False,
        "padding": True,
        "teacher_dropout": True,
        "decay_biases": False,
    },
    "optim": {"weight_decay": 0.01},
}
DISTILLATION_PRESETS: Mapping[str, Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "s3prl": {"wav2vec2": _S3PRL, "hubert": _S3PRL},
    "authors-code": {
        "wav2vec2": _S3PRL,
        "hubert": _S3PRL,
        "melhubert": {
            "distill": {"copied": (), "padding": True, "teacher_dropout": True, "masked": True},
            "optim": {"weight_decay": 1e-6},
        },
    },
}


def magnitude(d: float, ci_low: float, ci_high: float) -> str:
    """The paper's word for d (Section 2.2), or "" where the interval is too wide to say it.

    A word is used only where the interval excludes the next lower bound: ``large`` needs an interval beyond 0.5,
    ``medium`` beyond 0.2, ``small`` beyond 0, and ``negligible`` one that lies within +-0.2 as a whole.
    """
    low, high = (ci_low, ci_high) if d >= 0 else (-ci_high, -ci_low)
    bounds = (0.0, *EFFECT_BOUNDS.values())
    for word, excluded, least in reversed(list(zip(EFFECT_BOUNDS, bounds, bounds[1:], strict=False))):
        if abs(d) >= least:
            return word if low > excluded else ""
    return "negligible" if -bounds[1] < low and high < bounds[1] else ""
