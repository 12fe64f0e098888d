"""Which models differ? d1 - d2 on the same clips, from embeddings or from what results files keep.

The statistics are ``inference.differences``; here stand what is compared with what, and the record of a comparison.
"""

from speechbias.compare.comparison import Comparison, adjust
from speechbias.compare.models import compare_layers, compare_models
from speechbias.compare.records import compare_results

__all__ = ["Comparison", "adjust", "compare_layers", "compare_models", "compare_results"]
