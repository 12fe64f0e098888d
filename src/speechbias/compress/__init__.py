"""Compression: what to cut (``criteria``), how (``surgery``, ``masks``), when and in which loop.

Everything here returns new objects; what it is given stays as it was.
"""

from speechbias.compress.criteria import (
    head_scores,
    lowest,
    lowest_heads,
    lowest_overall,
    lowest_rows,
    random_scores,
    row_scores,
)
from speechbias.compress.influence import Influence, bias_scores, measure_influence
from speechbias.compress.masks import apply_masks, random_masks, weight_masks
from speechbias.compress.surgery import Cut, cut_heads, cut_rows, perform, remove_heads, remove_rows, uncut

__all__ = [
    "Cut",
    "Influence",
    "apply_masks",
    "bias_scores",
    "cut_heads",
    "cut_rows",
    "head_scores",
    "lowest",
    "lowest_heads",
    "lowest_overall",
    "lowest_rows",
    "measure_influence",
    "perform",
    "random_masks",
    "random_scores",
    "remove_heads",
    "remove_rows",
    "row_scores",
    "uncut",
    "weight_masks",
]
