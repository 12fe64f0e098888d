"""Section 3.2: d against pre-training steps."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from speechbias.paper import TABLE_3_COLUMNS
from speechbias.report.curves import Run
from speechbias.reproduce.findings.evidence import Array, Evidence
from speechbias.reproduce.findings.finding import Finding, Says, sign_verdict

SECTION = "3.2"
SETTLED = 60_000  # updates within which d becomes positive
DRAWS = 2_000


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section, test by test."""
    for find in (_one_trend_per_family, _later_is_more, _melhubert_is_largest_untrained, _positive_in_time):
        for test in TABLE_3_COLUMNS:
            yield find(evidence, test)


def _runs(evidence: Evidence, test: str) -> list[Run]:
    """Runs with two trained steps or more."""
    runs = [run for curve in evidence.curves(test) for run in curve.runs]
    return [run for run in runs if len([step for step in run.mean if step > 0]) >= 2]


def _one_trend_per_family(evidence: Evidence, test: str) -> Finding:
    """Correlations of curves within families less those between, against runs whose families are exchanged."""
    statement = "runs of one family show one trend of d over steps"
    runs = _runs(evidence, test)
    families = [next(iter(run.mean.values())).family for run in runs]
    shared = sorted(set.intersection(*(set(run.mean) for run in runs))) if runs else []
    several = [family for family in set(families) if families.count(family) >= 2]
    if len(set(families)) < 2 or not several or len(shared) < 4:
        note = "it takes two families, one of them with two runs, at four steps or more in common"
        return Finding(SECTION, statement, test, "training runs", Says.absent, unit="correlation", note=note)
    d = np.array([[run.mean[step].d for step in shared] for run in runs])
    r = np.nan_to_num(np.corrcoef(d))
    value = _within_less_between(r, families)
    rng = np.random.default_rng(0)
    drawn = [_within_less_between(r, [families[k] for k in rng.permutation(len(families))]) for _ in range(DRAWS)]
    p = (1 + sum(each >= value - 1e-12 for each in drawn)) / (1 + DRAWS)
    note = f"within families less between, {len(runs)} runs, {len(shared)} steps; p = {p:.2g} by exchanging families"
    says = Says.supported if p < 0.05 else Says.unclear
    return Finding(SECTION, statement, test, "training runs", says, value, unit="correlation", note=note)


def _within_less_between(r: Array, families: Sequence[str]) -> float:
    within: list[float] = []
    between: list[float] = []
    for i, j in combinations(range(len(families)), 2):
        (within if families[i] == families[j] else between).append(r[i, j])
    return float(np.mean(within) - np.mean(between))


def _later_is_more(evidence: Evidence, test: str) -> Finding:
    """The last third of the trained steps less the first third, mean over runs."""
    statement = "d is larger later in pre-training"
    runs = _runs(evidence, test)
    if not runs:
        return Finding(SECTION, statement, test, "stimuli", Says.absent)
    late, early = [], []
    for run in runs:
        steps = sorted(step for step in run.mean if step > 0)
        third = max(len(steps) // 3, 1)
        late.append([run.mean[step] for step in steps[-third:]])
        early.append([run.mean[step] for step in steps[:third]])
    records = [record for part in (*late, *early) for record in part]
    sizes = [len(part) for part in (*late, *early)]
    weights = np.concatenate([np.full(size, 1 / size) for size in sizes]) / len(runs)
    weights[sum(sizes[: len(runs)]) :] *= -1
    found = evidence.effect(records, lambda d: np.asarray(d @ weights))
    note = f"last third of the steps less the first, mean of {len(runs)} run{'s' if len(runs) > 1 else ''}"
    says = sign_verdict(found.low, found.high, sign=1)
    return Finding(SECTION, statement, test, "stimuli", says, found.value, found.low, found.high, note=note)


def _melhubert_is_largest_untrained(evidence: Evidence, test: str) -> Finding:
    """Over drawn weights: each model is one draw, so the interval is Welch's over models."""
    statement = "untrained, MelHuBERT has a larger d than the other families"
    found = evidence.untrained(test)
    mel, others = ([r.d for r in found if (r.family == "melhubert") is which] for which in (True, False))
    if not mel or not others:
        return Finding(SECTION, statement, test, "training runs", Says.absent)
    value = float(np.mean(mel) - np.mean(others))
    note = f"{len(mel)} of MelHuBERT, {len(others)} of other families"
    if min(len(mel), len(others)) < 2:
        note += "; two draws of weights of each tell how draws differ"
        return Finding(SECTION, statement, test, "training runs", Says.unclear, value, note=note)
    interval = stats.ttest_ind(mel, others, equal_var=False).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    says = sign_verdict(low, high, sign=1)
    return Finding(SECTION, statement, test, "training runs", says, value, low, high, note=note)


def _positive_in_time(evidence: Evidence, test: str) -> Finding:
    statement = "d is positive from 30,000 to 60,000 steps on"
    settled = [
        record
        for run in _runs(evidence, test)
        for step, record in run.mean.items()
        if step >= SETTLED
    ]  # fmt: skip
    if not settled:
        longest = max((max(run.mean) for run in _runs(evidence, test)), default=0)
        note = f"the longest run here ends at {longest:,}" if longest else ""
        return Finding(SECTION, statement, test, "stimuli", Says.absent, note=note)
    level = 1 - 0.05 / len(settled)
    effects = [evidence.effect([record], lambda d: d[..., 0], confidence=level) for record in settled]
    least = min(effects, key=lambda each: each.value)
    says = Says.unclear
    if all(each.low is not None and each.low > 0 for each in effects):
        says = Says.supported
    elif any(each.high is not None and each.high < 0 for each in effects):
        says = Says.contradicted
    note = f"the lowest of {len(settled)} checkpoints, its interval for all of them at once"
    return Finding(SECTION, statement, test, "stimuli", says, least.value, least.low, least.high, note=note)
