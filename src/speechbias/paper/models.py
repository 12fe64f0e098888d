"""Sections 2.1 and 2.2: bias categories (Table 1), shapes and sizes (Table 2), pre-training, the words for d."""

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
