"""d with covariates held equal: Freedman and Lane's p, the interval of d by regression, and d of matched clips."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, coverage, level, power
from calibration.groups import Groups, blocks
from speechbias.confounds.matching import CALIPER, match
from speechbias.confounds.regression import adjusted_interval, freedman_lane
from speechbias.inference.intervals import Strata, target_interval

GROUPS = (
    Groups(60, 60),
    Groups(30, 20),
    Groups(12, 8),
    Groups(20, 20, 4, "speaker"),
    Groups(12, 8, 5, "speaker"),
    Groups(12, 12, 3, "within-speaker"),
    Groups(30, 30, 1, "pair"),
)
APART = (0.0, 0.5, 1.5)  # SDs within groups by which the covariate differs
DRAWS, BLOCK = 1_000, 10
FEWEST = 10  # pairs, or no interval is looked at


def cells() -> Iterator[Cell]:
    """No effect of the group at three differences of the covariate; an effect at the largest."""
    for groups in GROUPS:
        for apart in APART:
            yield Cell("adjusted", f"{groups}, {apart:g} apart", DRAWS, {"groups": groups, "apart": apart})
        settings: dict[str, Any] = {"groups": groups, "apart": 1.5, "effect": 1.0}
        yield Cell("adjusted", f"{groups}, effect", DRAWS, settings)


def run(
    draws: int, rng: np.random.Generator, *, groups: Groups, apart: float, effect: float = 0.0
) -> dict[str, float]:
    """Shares of small p's (raw, adjusted) and of intervals that hold the true d: of effect + covariate + noise."""
    true = _true(groups, apart, effect)
    small, held, matched, looked = np.zeros(2), 0, 0, 0
    for count in blocks(draws, BLOCK):
        z = groups.noise(rng, 1)
        z[: groups.n_x] += apart
        s = z + groups.noise(rng, count)
        s[: groups.n_x] += effect
        options: dict[str, Any] = {"n_x": groups.n_x, "ddof": 1, "resamples": 999, "confidence": 0.95, "rng": rng}
        found = adjusted_interval(s, z, groups.units, **options)
        held += int(np.count_nonzero((found.low <= true) & (true <= found.high)))
        for place, covariate in enumerate((np.zeros((len(z), 0)), z)):
            asked: dict[str, Any] = {"n_x": groups.n_x, "alternative": "two-sided", "permutations": 999, "rng": rng}
            p = freedman_lane(s, covariate, groups.relabelling, **asked)
            small[place] += 0 if p is None else (p < 0.05).sum()
        if not effect and groups.design == "independent":
            x, y = match(z, n_x=groups.n_x, caliper=CALIPER)
            if len(x) >= FEWEST:
                units = Strata.of([f"x{i}" for i in x], [f"y{i}" for i in y])
                chosen = target_interval(s[[*x, *y]], units, **(options | {"n_x": len(x)}))
                matched += int(np.count_nonzero((chosen.low > 0) | (chosen.high < 0)))
                looked += count
    raw, adjusted = (small / draws).tolist()
    shares = {"raw": raw, "adjusted": adjusted, "interval": held / draws}
    return {**shares, "matched": matched / max(looked, 1), "looked": looked}


def _true(groups: Groups, apart: float, effect: float) -> float:
    """D by regression with endlessly many clips: the effect over the SD of s, to which z and the rest add 1 each."""
    return float(effect / np.sqrt(2 + groups.share * (1 - groups.share) * (effect + apart) ** 2))


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "d with covariates held equal",
        "the group adds nothing: p below 5 % in 5 %; the interval of d adjusted holds it in 95 %",
        "One covariate, in which the groups lie 0, 0.5 or 1.5 SD apart, drives s with a correlation of 0.7 within "
        "groups; 999 permutations and resamples.",
        [_levels(found), _coverage(found), _matched(found)],
        "Raw p is shown for what adjustment is for. A covariate measured with error, or one whose effect is no "
        "straight line, is held equal only in part, whatever the p. Where speakers or pairs stand in both groups, "
        "residuals are permuted within them while the regression is one over all clips: what speakers have in common "
        "is in the estimate and not in the permutations. Matching leaves what the caliper lets through, up to 0.25 SD "
        "in each pair, and its interval takes partners for independent clips, which makes it wide.",
        "`confounds/regression.py`, `matching.py`",
    )


def _levels(found: Found) -> Table:
    rows = []
    for groups in GROUPS:
        results = [found[f"{groups}, {apart:g} apart"] for apart in APART]
        raw = power(results[-1]["raw"], results[-1].draws)
        effect = found[f"{groups}, effect"]
        kept = [level(each["adjusted"], each.draws) for each in results]
        rows.append((str(groups), [*kept, raw, power(effect["adjusted"], effect.draws)]))
    header = [*(f"{apart:g} SD" for apart in APART), "raw, 1.5 SD", "power, 1.5 SD"]
    caption = (
        "**p adjusted, no effect of the group, by how far the covariate differs;** then raw p, and the power of p "
        "adjusted for an effect of 1 SD."
    )
    return Table(caption, header, rows, "design")


def _coverage(found: Found) -> Table:
    rows = []
    for groups in GROUPS:
        results = [found[f"{groups}, {name}"] for name in ("0 apart", "1.5 apart", "effect")]
        rows.append((str(groups), [coverage(each["interval"], each.draws) for each in results]))
    header = ["0 SD, no effect", "1.5 SD, no effect", "1.5 SD, effect"]
    return Table("**Coverage of the interval of d adjusted.**", header, rows, "design")


def _matched(found: Found) -> Table:
    rows = []
    for groups in GROUPS:
        if groups.design == "independent":
            results = [found[f"{groups}, {apart:g} apart"] for apart in APART]
            shown = [level(each["matched"], int(each["looked"])) if each["looked"] >= 100 else "" for each in results]
            rows.append((str(groups), shown))
    caption = (
        f"**Matched clips, no effect: intervals that leave 0 out.** Blank where fewer than {FEWEST} pairs are usual; "
        "tests of one block share their covariate, so these are less sure than their number says."
    )
    return Table(caption, [f"{apart:g} SD" for apart in APART], rows, "design")
