"""Models without training by name, ``random:<family>-<size>[:seed]``: step 0 of Figure 1, a control, the demo's model.

The statistics of MelHuBERT's mel bins are those of the 40 LibriSpeech test-other clips (5 women, 5 men, 4 minutes) on
which docs/results.md measures, to two decimals; they lie within a quarter of a standard deviation of those published
for all of LibriSpeech. Other statistics can be given (``--mel-stats``).
"""

from dataclasses import replace

import numpy as np

from speechbias.checkpoint.content import Checkpoint, Meta, of_objective
from speechbias.checkpoint.drawn import DrawnTensors
from speechbias.checkpoint.source import parse_untrained
from speechbias.models.config import EncoderConfig, sized

MEL_MEAN = (
    *(11.69, 12.41, 13.07, 13.75, 13.90, 14.07, 14.27, 14.47, 14.23, 14.13, 14.09, 14.04, 13.92, 14.01, 14.21, 14.28),
    *(14.54, 14.82, 15.02, 15.21, 15.46, 15.63, 15.63, 15.70, 15.87, 16.03, 16.12, 16.12, 16.08, 16.10, 16.37, 16.49),
    *(16.44, 16.27, 15.99, 15.77, 15.75, 15.59, 15.51, 15.33),
)
MEL_STD = (
    *(3.67, 4.00, 4.56, 4.87, 4.76, 4.75, 4.79, 4.74, 4.69, 4.54, 4.43, 4.33, 4.20, 4.13, 4.04, 4.05),
    *(3.84, 3.88, 4.05, 3.98, 3.92, 3.92, 3.87, 3.87, 3.87, 3.88, 3.88, 3.83, 3.73, 3.74, 3.75, 3.89),
    *(3.94, 3.87, 3.83, 3.76, 3.78, 3.66, 3.60, 3.65),
)


def untrained_config(model: str) -> EncoderConfig:
    """The config of an untrained model; draws nothing."""
    family, size, _ = parse_untrained(model)
    return sized(family, size)


def draw_untrained(model: str) -> Checkpoint:
    """An untrained model, its weights drawn from the seed (0 where none is given)."""
    family, _, seed = parse_untrained(model)
    mel_stats = np.array([MEL_MEAN, MEL_STD]) if family == "melhubert" else None
    meta = Meta(step=0, mel_stats=mel_stats, provenance={"format": "untrained", "source": model, "seed": seed})
    drawn = _draw(model, meta)
    return replace(drawn, tensors=DrawnTensors(drawn.tensors, again=lambda: _draw(model, meta).tensors))


def _draw(model: str, meta: Meta) -> Checkpoint:
    from speechbias.models.objectives import published_settings, untrained  # noqa: PLC0415 (torch: seconds)

    family, size, seed = parse_untrained(model)
    return of_objective(model, untrained(family, size, seed=seed), published_settings(family, size), meta=meta)
