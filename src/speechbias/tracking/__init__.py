"""Tracking: d of a model while it trains, at chosen updates, without touching the training.

A tracker decodes its stimuli once, then measures whatever module it is called with and appends ordinary records with
their ``step``: those that ``measure`` gives of a checkpoint of that update. Afterwards random states, gradients, and
the training flag of every submodule are as they were.
"""

from speechbias.tracking.clips import Clips
from speechbias.tracking.tracker import BiasTracker

__all__ = ["BiasTracker", "Clips"]
