"""Every number that this package takes from the paper, with its section.

Lin et al., "On the social bias of speech self-supervised models", Interspeech 2024. What is stated stands as the
paper states it; where the paper is silent, our choice stands with the reason and the alternatives (``silences``).
"""

from speechbias.paper.compression import (
    AUTHORS_DISTILLATION_UPDATES,
    DISTILLATION,
    FIRST_RECORDED_CUT,
    HEAD_PRUNING,
    PRUNING_UTTERANCES,
    RECORDED_CUTS,
    ROW_PRUNING,
    WEIGHT_PRUNING,
    Convergence,
    Distilling,
    Ladder,
)
from speechbias.paper.models import (
    EFFECT_BOUNDS,
    PRETRAINING,
    TABLE_1,
    TABLE_2,
    Category,
    Pretraining,
    Shape,
    magnitude,
)
from speechbias.paper.presets import DISTILLATION_PRESETS, PRUNING_PRESETS
from speechbias.paper.probing import PROBING, Probing
from speechbias.paper.published import SPEAT, SPEAT_COUNTS, WEIGHTS, Weights
from speechbias.paper.reported import TABLE_3, TABLE_3_COLUMNS, TABLE_4, TABLE_4_MIDDLE, Utility
from speechbias.paper.silences import SILENCES, Silence

__all__ = [
    "AUTHORS_DISTILLATION_UPDATES",
    "DISTILLATION",
    "DISTILLATION_PRESETS",
    "EFFECT_BOUNDS",
    "FIRST_RECORDED_CUT",
    "HEAD_PRUNING",
    "PRETRAINING",
    "PROBING",
    "PRUNING_PRESETS",
    "PRUNING_UTTERANCES",
    "RECORDED_CUTS",
    "ROW_PRUNING",
    "SILENCES",
    "SPEAT",
    "SPEAT_COUNTS",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
    "TABLE_3_COLUMNS",
    "TABLE_4",
    "TABLE_4_MIDDLE",
    "WEIGHTS",
    "WEIGHT_PRUNING",
    "Category",
    "Convergence",
    "Distilling",
    "Ladder",
    "Pretraining",
    "Probing",
    "Shape",
    "Silence",
    "Utility",
    "Weights",
    "magnitude",
]
