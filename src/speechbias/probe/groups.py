"""Error rates by group of speakers, and the gaps between groups: who pays for what a model was saved.

Intervals resample speakers, since the errors of one speaker come together: within each group its speakers are drawn
with replacement, one fewer than there are (Rao and Wu 1988: as for d), and the rate is all their errors by all their
phones. Where a group has one speaker, or somebody in
it is unknown, there is no interval: how much speakers differ cannot be told from one.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.probe.errors import Errors
from speechbias.training.draws import generator

Rates = NDArray[np.float64]
DRAWS = 1 << 22  # of speakers in memory at a time


class Intervals:
    """How rates are resampled: the draws of a group are a function of the seed and of its name."""

    def __init__(self, *, seed: int, resamples: int, confidence: float) -> None:
        self.seed, self.resamples, self.confidence = seed, resamples, confidence

    def resampled(self, name: str, errors: Sequence[Errors], speakers: Sequence[str]) -> Rates | None:
        """Rates of a group with its speakers drawn anew, (resamples,); None where they cannot be."""
        known = sorted(set(speakers))
        if len(known) < 2 or "" in known:
            return None
        totals = np.zeros((len(known), 2))
        for each, speaker in zip(errors, speakers, strict=True):
            totals[known.index(speaker)] += each.total, each.phones
        draws, count = generator(self.seed, "speakers", 0, name), len(known)
        at_once = max(1, DRAWS // count)  # corpora have tens of thousands of speakers
        parts = [min(at_once, self.resamples - start) for start in range(0, self.resamples, at_once)]
        sums: Rates = np.concatenate([totals[draws.integers(count, size=(part, count - 1))].sum(1) for part in parts])
        return np.asarray(sums[:, 0] / sums[:, 1])

    def bounds(self, rates: Rates | None) -> dict[str, float | None]:
        """Percentiles of resampled numbers; None where there are none."""
        if rates is None:
            return {"ci_low": None, "ci_high": None}
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(rates, (tail, 1 - tail)).tolist()
        return {"ci_low": low, "ci_high": high}


def by_group(
    errors: Sequence[Errors],
    speakers: Sequence[str],
    groups: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    intervals: Intervals,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rates {column: {group: {per, ...}}} and gaps {column: [{groups, gap, ...}]}, of columns that somebody has.

    A gap is the rate of the first group less that of the second, for every two groups.
    """
    found: dict[str, Any] = {}
    gaps: dict[str, Any] = {}
    for column in columns:
        names = sorted({each[column] for each in groups if column in each})
        if not names:
            continue
        resampled: dict[str, Rates | None] = {}
        members: dict[str, set[str]] = {}
        found[column] = {}
        for name in names:
            rows = [row for row, each in enumerate(groups) if each.get(column) == name]
            own, who = [errors[row] for row in rows], [speakers[row] for row in rows]
            members[name] = set(who)
            resampled[name] = intervals.resampled(f"{column}={name}", own, who)
            found[column][name] = {**in_words(own, who), **intervals.bounds(resampled[name])}
        for pair in combinations(names, 2):
            apart = members[pair[0]].isdisjoint(members[pair[1]])
            gaps.setdefault(column, []).append(_gap(pair, found[column], resampled if apart else {}, intervals))
    return found, gaps


def in_words(errors: Sequence[Errors], speakers: Sequence[str]) -> dict[str, Any]:
    """Rate and size of one group; how many speakers is unknown where one of them is."""
    known = None if "" in speakers else len(set(speakers))
    return {"per": sum(errors[1:], errors[0]).rate, "n_utterances": len(errors), "n_speakers": known}


def _gap(
    pair: tuple[str, str], rates: Mapping[str, Any], resampled: Mapping[str, Rates | None], intervals: Intervals
) -> dict[str, Any]:
    first, second = (resampled.get(name) for name in pair)
    drawn = None if first is None or second is None else first - second
    made = {"groups": list(pair), "gap": rates[pair[0]]["per"] - rates[pair[1]]["per"], **intervals.bounds(drawn)}
    return made if drawn is not None else {**made, "why": WITHOUT_INTERVAL}


WITHOUT_INTERVAL = "no interval: a group has one speaker, or unknown ones, or a speaker stands in both groups"
