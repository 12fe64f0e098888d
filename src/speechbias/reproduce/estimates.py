"""What the paper's own measurements, trainings and probes cost, by their recipes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from speechbias.models.config import Family, sized
from speechbias.paper import (
    DISTILLATION,
    HEAD_PRUNING,
    PRETRAINING,
    PRUNING_UTTERANCES,
    RECORDED_CUTS,
    ROW_PRUNING,
    TABLE_1,
    TABLE_3_COLUMNS,
)
from speechbias.reproduce.cost import (
    ATTRIBUTE_SECONDS,
    CLIP_SECONDS,
    FORWARD,
    TEACHER,
    TRAINING,
    UTTERANCE_SECONDS,
    Cost,
    macs_per_second,
    parameters,
)
from speechbias.reproduce.rows import PaperRow

BYTES = 4
STATES_MB = 16  # vectors and cache of a model's measurements, about
PROBE_HOURS = 110.0  # LibriSpeech's 100 hours, dev and test
PROBED_MB = 50  # of a probe, and what was heard of each utterance
FRAMES, HALF = 50, 2  # in a second; bytes of a number of a state that is kept


def measuring(row: PaperRow | None, *, times: int = 1) -> Cost:
    """All three tests on a model of a row, or on features (None); so many models of one shape."""
    hours = sum(hours_of(name) for name in TABLE_3_COLUMNS)
    macs = 0.0
    if row is not None:
        assert row.family is not None
        macs = 3600 * hours * FORWARD * macs_per_second(row.family, row.size)
    return Cost(audio=times * hours, macs=times * macs, disk=times * STATES_MB * 1e6)


def training(verb: str, said: Mapping[str, Any], shape: tuple[Family, str]) -> Cost:
    """A run of a verb, of what its recipe says."""
    family, size = shape
    if verb == "pretrain":
        paper = PRETRAINING[family]
        updates = said["run"].get("steps", paper.updates)
        seconds = paper.seconds or (paper.utterances or 0) * UTTERANCE_SECONDS
        return _hearing(family, size, hours=updates * seconds / 3600, passes=TRAINING, kept=updates // 10_000)
    if verb == "distill":
        seconds = DISTILLATION.utterances * UTTERANCE_SECONDS
        hours = DISTILLATION.updates * seconds / 3600
        return _hearing(family, size, hours=hours, passes=TEACHER + 1, kept=10)
    cuts = {
        "heads": (72 // 12) * HEAD_PRUNING.stages[0][0] + (60 // 12) * HEAD_PRUNING.stages[1][0],
        "rows": (3072 - 512) // ROW_PRUNING.amount * ROW_PRUNING.stages[0][0],
        "weights": RECORDED_CUTS[-1],
    }
    hours = cuts[said["prune"]["method"]] * PRUNING_UTTERANCES[family] * UTTERANCE_SECONDS / 3600
    return _hearing(family, size, hours=hours, passes=TRAINING, kept=20)


def probing(family: Family, models: int) -> Cost:
    """Phone error rates of so many models as large as a base one; the states of one at a time are kept."""
    config = sized(family, "base")
    states = 3600 * PROBE_HOURS * FRAMES * (config.num_layers + 1) * config.dim * HALF
    heard = _hearing(family, "base", hours=models * PROBE_HOURS, passes=FORWARD, kept=0)
    return replace(heard, disk=models * PROBED_MB * 1e6, meanwhile=states)


def fetching(row: PaperRow) -> Cost:
    """The published weights of a row, from the hub."""
    assert row.family is not None
    return Cost(disk=BYTES * parameters(row.family, row.size))


def hours_of(category: str) -> float:
    """Audio of one test: targets, and 120 clips of attributes."""
    count = next(row.count for row in TABLE_1 if row.name.casefold() == category.casefold())
    return (2 * count * CLIP_SECONDS[category.casefold()] + 120 * ATTRIBUTE_SECONDS) / 3600


def _hearing(family: Family, size: str, *, hours: float, passes: int, kept: int) -> Cost:
    """So many hours by a model, of which so many checkpoints are kept."""
    weights = BYTES * parameters(family, size)
    return Cost(hours, 3600 * hours * passes * macs_per_second(family, size), weights * (kept + 4))
