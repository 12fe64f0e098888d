"""Section 3.2: d against pre-training steps."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from speechbias.paper import TABLE_3, TABLE_3_COLUMNS
from speechbias.report.curves import Run
from speechbias.reproduce.findings.evidence import Array, Evidence
from speechbias.reproduce.findings.finding import Effect, Finding, Says, Statement, all_verdict, sign_verdict
from speechbias.reproduce.rows import MODELS

SECTION = "3.2"
SETTLED = 60_000  # updates within which d becomes positive
DRAWS = 2_000


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section, test by test."""
    for find in (_one_trend_per_family, _later_is_more, _melhubert_is_largest_untrained, _positive_in_time):
        for test in TABLE_3_COLUMNS:
            yield find(evidence, test)
    yield _gender_is_highest(evidence)


def _runs(evidence: Evidence, test: str) -> list[Run]:
    """Runs with two trained steps or more."""
    runs = [run for curve in evidence.curves(test) for run in curve.runs]
    return [run for run in runs if len([step for step in run.mean if step > 0]) >= 2]


def _one_trend_per_family(evidence: Evidence, test: str) -> Finding:
    """Correlations of curves within families less those between, against runs whose families are exchanged."""
    statement = Statement(
        SECTION, "runs of one family show one trend of d over steps", test, "training runs", "correlation"
    )
    runs = _runs(evidence, test)
    families = [next(iter(run.mean.values())).family for run in runs]
    shared = sorted(set.intersection(*(set(run.mean) for run in runs))) if runs else []
    several = [family for family in set(families) if families.count(family) >= 2]
    if len(set(families)) < 2 or not several or len(shared) < 4:
        note = "it takes two families, one of them with two runs, at four steps or more in common"
        return statement.absent(note)
    d = np.array([[run.mean[step].d for step in shared] for run in runs])
    r = np.nan_to_num(np.corrcoef(d))
    value = _within_less_between(r, families)
    rng = np.random.default_rng(0)
    drawn = [_within_less_between(r, [families[k] for k in rng.permutation(len(families))]) for _ in range(DRAWS)]
    p = (1 + sum(each >= value - 1e-12 for each in drawn)) / (1 + DRAWS)
    note = f"within families less between, {len(runs)} runs, {len(shared)} steps; p = {p:.2g} by exchanging families"
    says = Says.supported if p < 0.05 else Says.unclear
    return statement.judged(Effect(value), says, note)


def _within_less_between(r: Array, families: Sequence[str]) -> float:
    within: list[float] = []
    between: list[float] = []
    for i, j in combinations(range(len(families)), 2):
        (within if families[i] == families[j] else between).append(r[i, j])
    return float(np.mean(within) - np.mean(between))


def _later_is_more(evidence: Evidence, test: str) -> Finding:
    """The last third of the trained steps less the first third, mean over runs."""
    statement = Statement(SECTION, "d is larger later in pre-training", test)
    runs = _runs(evidence, test)
    if not runs:
        return statement.absent()
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
    return statement.judged(found, sign_verdict(found.low, found.high, sign=1), note)


def _melhubert_is_largest_untrained(evidence: Evidence, test: str) -> Finding:
    """Over drawn weights: each model is one draw, so the interval is Welch's over models."""
    statement = Statement(
        SECTION, "untrained, MelHuBERT has a larger d than the other families", test, "training runs"
    )
    found = evidence.untrained(test)
    mel, others = ([r.d for r in found if (r.family == "melhubert") is which] for which in (True, False))
    if not mel or not others:
        return statement.absent()
    value = float(np.mean(mel) - np.mean(others))
    note = f"{len(mel)} of MelHuBERT, {len(others)} of other families"
    if min(len(mel), len(others)) < 2:
        note += "; two draws of weights of each tell how draws differ"
        return statement.judged(Effect(value), Says.unclear, note)
    interval = stats.ttest_ind(mel, others, equal_var=False).confidence_interval(0.95)
    effect = Effect(value, float(interval.low), float(interval.high))
    return statement.judged(effect, sign_verdict(effect.low, effect.high, sign=1), note)


def _positive_in_time(evidence: Evidence, test: str) -> Finding:
    statement = Statement(SECTION, "d is positive from 30,000 to 60,000 steps on", test)
    settled = [
        record
        for run in _runs(evidence, test)
        for step, record in run.mean.items()
        if step >= SETTLED
    ]  # fmt: skip
    if not settled:
        longest = max((max(run.mean) for run in _runs(evidence, test)), default=0)
        return statement.absent(f"the longest run here ends at {longest:,}" if longest else "")
    level = 1 - 0.05 / len(settled)
    effects = [evidence.effect([record], lambda d: d[..., 0], confidence=level) for record in settled]
    least, says = all_verdict(effects, sign=1)
    note = f"the lowest of {len(settled)} checkpoints, its interval for all of them at once"
    return statement.judged(least, says, note)


def _gender_is_highest(evidence: Evidence) -> Finding:
    """Of each run the mean over its trained steps, Gender less the others, one by one; the lower of the two.

    The tests have clips of their own, so that no resample of clips is of two of them: runs are what is drawn.
    """
    rows = [TABLE_3[row.name] for row in MODELS if row.size in {"small", "slim"}]
    hits = sum(ds[TABLE_3_COLUMNS.index("Gender")] == max(ds) for ds in rows)
    statement = Statement(
        SECTION,
        "over pre-training d is highest on Gender",
        "all tests",
        "training runs",
        paper=f"{hits} of {len(rows)} models at their last step (Table 3)",
    )
    levels = _levels(evidence)
    if not levels:
        return statement.absent("it takes runs that were measured at the same steps on all three tests")
    others = [name for name in TABLE_3_COLUMNS if name != "Gender"]
    found = [_mean_over_runs([each["Gender"] - each[name] for each in levels], len(others)) for name in others]
    least, says = all_verdict(found, sign=1)
    beside = others[found.index(least)]
    note = f"Gender less {beside}, the lower of two, means over trained steps; {len(levels)} run"
    return statement.judged(least, says, note + ("s" if len(levels) > 1 else "; two runs tell how runs differ"))


def _levels(evidence: Evidence) -> list[dict[str, float]]:
    """Of each run that was measured on all three tests: by test, the mean of d over the trained steps in common."""
    found: dict[Hashable, dict[str, Run]] = {}
    for test in TABLE_3_COLUMNS:
        for run in _runs(evidence, test):
            record = next(iter(run.mean.values()))
            key = record.family, run.name, run.seed, (record.run or {}).get("recipe")
            found.setdefault(key, {})[test] = run
    made = []
    for runs in found.values():
        shared = set.intersection(*({step for step in run.mean if step > 0} for run in runs.values()))
        if len(runs) == len(TABLE_3_COLUMNS) and shared:
            made.append({test: float(np.mean([run.mean[step].d for step in shared])) for test, run in runs.items()})
    return made


def _mean_over_runs(values: Sequence[float], together: int) -> Effect:
    """The mean with Student's interval over runs, which holds for so many ``together``; none of a single run."""
    value = float(np.mean(values))
    if len(values) < 2:
        return Effect(value)
    half = stats.t.ppf(1 - 0.025 / together, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return Effect(value, float(value - half), float(value + half))
