"""The demo: the paper in miniature, offline, on synthetic voices with a planted association and a null control.

Features and untrained models are measured; three families are pre-trained in two shapes, d tracked on the way; one of
them is pruned in the paper's three ways and distilled, and probes say which phones are still heard in it. ``stages``
has a function for each, ``recipes`` what is trained.
"""

from speechbias.demo.side_by_side import SideBySide
from speechbias.demo.stages import (
    Demo,
    Trained,
    run_demo,
    run_distilling,
    run_probing,
    run_pruning,
    run_training,
    write_page,
)

__all__ = [
    "Demo",
    "SideBySide",
    "Trained",
    "run_demo",
    "run_distilling",
    "run_probing",
    "run_pruning",
    "run_training",
    "write_page",
]
