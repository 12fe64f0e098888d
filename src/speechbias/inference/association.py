"""The association test: d with both p-values and both intervals, for one array or for all states of a model.

States share their relabellings and resamples, so a state's numbers do not depend on which others are tested with it.
The random streams are named: the same seed gives the same relabellings whatever else is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from speechbias.errors import InputError
from speechbias.inference.attributes import attribute_test
from speechbias.inference.designs import Design, name_blanks, relabel, relabel_attributes, resolve_design
from speechbias.inference.intervals import Interval, Strata, attribute_interval, target_interval, whole_range
from speechbias.inference.permutation import Permutation, permutation_test
from speechbias.speat import check_ddof, check_sets, check_spread, unit

Array = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES: tuple[str, ...] = get_args(Alternative)
SETS = ("X", "Y", "A", "B")
FEW_TALKERS = 10
FEW_UNITS = (
    8  # below it intervals leave out large d's too often, and of differences nothing is shown (docs/validity.md)
)
SMALLEST = 5e-324  # where a probability underflows; p is never 0


class Options(TypedDict, total=False):
    """The options of ``association_test`` beside the data."""

    alternative: Alternative
    permutations: int
    resamples: int
    confidence: float
    ddof: int
    seed: int
    design: Design | None


DEFAULTS: Options = {
    "alternative": "two-sided",
    "permutations": 100_000,
    "resamples": 10_000,
    "confidence": 0.95,
    "ddof": 1,
    "seed": 0,
    "design": None,
}


@dataclass(frozen=True)
class AssociationTest:
    """d of one test and how sure it is (contract, section 1); ``print`` shows it in a few lines."""

    d: float
    p_value: float  # are X and Y exchangeable in s?
    p_method: str  # exact, monte-carlo or saddlepoint
    p_min: float  # the smallest p_value that the design can give
    p_attribute: float  # is the difference of X and Y aligned with A against B?
    p_attribute_min: float
    p_adjusted: float | None  # max-T over the states tested together
    ci_low: float  # for these attribute clips
    ci_high: float
    ci_method: str
    ci_attributes: tuple[float, float]  # attribute talkers resampled too
    attribute_talkers: int
    leave_one_talker_out: tuple[float, float] | None  # range of d; where talkers are fewer than 10
    redrawn: int
    n: Mapping[str, int]
    n_speakers: Mapping[str, int]
    design: str
    alternative: str
    permutations: int
    resamples: int
    confidence: float
    ddof: int
    seed: int
    warnings: tuple[str, ...]

    @property
    def associated(self) -> bool:
        """Whether p_value and p_attribute are both below alpha = 1 - confidence."""
        return max(self.p_value, self.p_attribute) < round(1 - self.confidence, 12)

    def __str__(self) -> str:
        """A block for the terminal: d, interval, and the two questions behind the two p's."""
        n, alpha = self.n, round(1 - self.confidence, 12)
        wider = f"{self.ci_attributes[0]:+.3f} to {self.ci_attributes[1]:+.3f}"
        how = f"{self.alternative}, design {self.design}, {self.p_method}, at least {self.p_min:.2g}"
        verdict = "associated: both are" if self.associated else "not associated: not both are"
        return "\n".join(
            [
                f"d = {self.d:+.3f}   {100 * self.confidence:g} % interval {self.ci_low:+.3f} to {self.ci_high:+.3f}",
                f"  X {n['X']}, Y {n['Y']}, A {n['A']}, B {n['B']} stimuli; with attribute talkers resampled {wider}",
                f"  p_value     = {self.p_value:.3g}  do X and Y differ? ({how})",
                f"  p_attribute = {self.p_attribute:.3g}  is the difference aligned with A against B?",
                f"  {verdict} below {alpha:g}",
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )


def association_test(
    X: ArrayLike,
    Y: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    permutations: int = 100_000,
    resamples: int = 10_000,
    confidence: float = 0.95,
    ddof: int = 1,
    seed: int = 0,
    speakers: Mapping[str, Sequence[str]] | None = None,
    design: Design | None = None,
    pairs: Mapping[str, Sequence[str]] | None = None,
) -> AssociationTest:
    """SpEAT's d with permutation p-values and bootstrap intervals.

    ``X``, ``Y``, ``A``, ``B``: embeddings (stimuli, dim), any sizes from 2. ``speakers``: for each set the speaker of
    every row, blank where unknown; they decide the ``design`` unless it is named. ``pairs``: pair ids of X and Y, for
    the design ``pair``. Raises ``InputError``, a ``ValueError``, for degenerate input and where no design fits.
    """
    arrays = check_sets({"X": X, "Y": Y, "A": A, "B": B}, ndim=2)
    return associate(
        *(arrays[name][:, None] for name in SETS),
        alternative=alternative,
        permutations=permutations,
        resamples=resamples,
        confidence=confidence,
        ddof=ddof,
        seed=seed,
        speakers=speakers,
        design=design,
        pairs=pairs,
    )[0]


def associate(
    X: ArrayLike,
    Y: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    *,
    speakers: Mapping[str, Sequence[str]] | None = None,
    pairs: Mapping[str, Sequence[str]] | None = None,
    simultaneous: Sequence[int] = (),
    **options: Unpack[Options],
) -> tuple[AssociationTest, ...]:
    """``association_test`` of every state: arrays (stimuli, states, dim), one result per state.

    ``simultaneous``: the states that form the family of max-T; only these have a ``p_adjusted``.
    """
    settings = check_options(options)
    alternative, ddof = settings["alternative"], settings["ddof"]
    sets = check_sets({"X": X, "Y": Y, "A": A, "B": B}, ndim=3)
    n = {name: len(array) for name, array in sets.items()}
    labels = check_speakers(speakers, n)
    chosen = resolve_design(labels, pairs=pairs, design=settings["design"])
    cosines = all_cosines(sets)
    s = cosines[:, :, : n["A"]].mean(axis=2).T - cosines[:, :, n["A"] :].mean(axis=2).T  # (targets, states)
    d = _effect_sizes(s, n["X"], ddof)
    rngs = [np.random.default_rng([settings["seed"], stream]) for stream in range(4)]
    sampling = {"n_x": n["X"], "alternative": alternative, "permutations": settings["permutations"]}
    permuted = permutation_test(
        s,
        relabel(chosen, (labels["X"], labels["Y"]), pairs),
        rng=rngs[0],
        family=simultaneous,
        saddlepoint=chosen == "independent",
        **sampling,  # type: ignore[arg-type]
    )
    talker_labels = relabel_attributes((labels["A"], labels["B"]))
    p_attribute, p_attribute_min = attribute_test(cosines, talker_labels, n_a=n["A"], rng=rngs[1], **sampling)  # type: ignore[arg-type]
    targets = target_units(chosen, labels, pairs)
    talkers = Strata.of(name_blanks(labels["A"], "A"), name_blanks(labels["B"], "B"))
    bootstrap = {"n_x": n["X"], "ddof": ddof, "resamples": settings["resamples"], "confidence": settings["confidence"]}
    interval = target_interval(s, targets, rng=rngs[2], **bootstrap)  # type: ignore[arg-type]
    wider, left_out = attribute_interval(cosines, targets, talkers, n_a=n["A"], rng=rngs[3], **bootstrap)  # type: ignore[arg-type]
    if targets.one_sided(n["X"]):
        interval, wider = (whole_range(each, n["X"], n["Y"], ddof) for each in (interval, wider))
    few = len(talkers.units) < FEW_TALKERS
    warnings = _warn(labels, permuted, p_attribute_min, targets, len(talkers.units), alpha=1 - settings["confidence"])
    shared = {
        **settings,
        "design": chosen,
        "p_min": permuted.p_min,
        "p_attribute_min": p_attribute_min,
        "attribute_talkers": len(talkers.units),
        "n": n,
        "n_speakers": {name: len(set(name_blanks(labels[name], name))) for name in SETS},
    }
    return tuple(
        AssociationTest(
            d=float(d[k]),
            p_value=float(permuted.p_value[k]),
            p_method=permuted.method[k],
            p_attribute=float(p_attribute[k]),
            p_adjusted=float(permuted.p_adjusted[k]) if k in simultaneous else None,
            ci_low=float(interval.low[k]),
            ci_high=float(interval.high[k]),
            ci_method=interval.method[k],
            ci_attributes=(float(wider.low[k]), float(wider.high[k])),
            leave_one_talker_out=_range(left_out[:, k]) if few else None,
            redrawn=int(interval.redrawn[k] + wider.redrawn[k]),
            warnings=(*warnings, *_warn_of_intervals(interval, k)),
            **shared,  # type: ignore[arg-type]
        )
        for k in range(s.shape[1])
    )


def p_from_effect_size(d: float, n_x: int, n_y: int, *, alternative: Alternative = "greater") -> float:
    """The p that a published d implies by Student's t; one-sided as SpEAT's by default.

    d is over the total SD (ddof 1), so t = d sqrt(n_x n_y / n) / sqrt((n - 1 - d^2 n_x n_y / n) / (n - 2)). Raises
    ``InputError`` for a |d| that no data can have.
    """
    if alternative not in ALTERNATIVES:
        raise InputError(_no_alternative(alternative))
    n = n_x + n_y
    if min(n_x, n_y) < 2:
        raise InputError(f"The sets hold {n_x} and {n_y} stimuli. Each needs at least 2.")
    within = n - 1 - d**2 * n_x * n_y / n
    if not within > 0:
        bound = math.sqrt((n - 1) * n / (n_x * n_y))
        raise InputError(f"d = {d} cannot be: with {n_x} and {n_y} stimuli |d| stays below {bound:.4f}.")
    statistic = d * math.sqrt(n_x * n_y / n) / math.sqrt(within / (n - 2))
    if alternative == "two-sided":
        return max(2 * float(stdtr(n - 2, -abs(statistic))), SMALLEST)
    return max(float(stdtr(n - 2, -statistic if alternative == "greater" else statistic)), SMALLEST)


def check_options(options: Options) -> Options:
    """The options, with defaults for what they leave open. Raises ``InputError`` for those that no test can have."""
    if unknown := options.keys() - DEFAULTS.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    settings = DEFAULTS | options
    if settings["alternative"] not in ALTERNATIVES:
        raise InputError(_no_alternative(settings["alternative"]))
    for name, least in (("permutations", 1), ("resamples", 1), ("seed", 0)):
        value = settings[name]  # type: ignore[literal-required]
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise InputError(f"{name} is {value!r}. Take a whole number from {least} on.")
    if not 0.5 <= settings["confidence"] < 1:
        confidence = settings["confidence"]
        raise InputError(f"confidence is {confidence:g}. Take a share from 0.5 to below 1, for example 0.95.")
    check_ddof(settings["ddof"])
    return settings


def _no_alternative(alternative: str) -> str:
    return f"There is no alternative {alternative!r}. Take one of {', '.join(ALTERNATIVES)}."


def check_speakers(speakers: Mapping[str, Sequence[str]] | None, n: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """One label per row of every set, "" where unknown (blank, None, NaN, or a set without speakers)."""
    given = speakers or {}
    if unknown := [name for name in given if name not in SETS]:
        raise InputError(f"speakers names the sets {', '.join(map(str, unknown))}. Sets are X, Y, A and B.")
    labels = {}
    for name in SETS:
        ids = list(given[name]) if given.get(name) is not None else []
        ids = ids or [""] * n[name]
        if len(ids) != n[name]:
            raise InputError(f"speakers names {len(ids)} speakers for {name}, which holds {n[name]} stimuli.")
        labels[name] = tuple("" if s is None or s != s else str(s).strip() for s in ids)  # noqa: PLR0124 (NaN)
    return labels


def all_cosines(sets: Mapping[str, Array]) -> Array:
    """Cosines of all targets with all attributes, (states, targets, attributes).

    State by state, so that the digits do not depend on which states are computed together.
    """
    targets, attributes = np.concatenate([sets["X"], sets["Y"]]), np.concatenate([sets["A"], sets["B"]])
    states = range(targets.shape[1])
    return np.stack([unit(targets[:, k].copy()) @ unit(attributes[:, k].copy()).T for k in states])


def _effect_sizes(s: Array, n_x: int, ddof: int) -> Array:
    """The d of every state, from s (targets, states)."""
    for number, state in enumerate(s.T):
        check_spread(state, where=f"state {number}" if s.shape[1] > 1 else "")
    return np.asarray((s[:n_x].mean(axis=0) - s[n_x:].mean(axis=0)) / s.std(axis=0, ddof=ddof))


def target_units(
    design: str, labels: Mapping[str, Sequence[str]], pairs: Mapping[str, Sequence[str]] | None
) -> Strata:
    """What the bootstrap draws: clips, speakers or pairs."""
    if design == "pair" and pairs is not None:
        return Strata.of(pairs["X"], pairs["Y"])
    blank = design == "independent"
    first, second = ([""] * len(labels[name]) if blank else labels[name] for name in ("X", "Y"))
    return Strata.of(name_blanks(first, "X"), name_blanks(second, "Y"))


def _range(values: Array) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else None


def _warn(
    labels: Mapping[str, Sequence[str]],
    permuted: Permutation,
    p_attribute_min: float,
    targets: Strata,
    talkers: int,
    *,
    alpha: float,
) -> list[str]:
    """What a reader has to know before believing the numbers."""
    warnings = []
    if blank := {name: count for name in SETS if (count := sum(not label for label in labels[name]))}:
        where = ", ".join(f"{count} in {name}" for name, count in blank.items())
        warnings.append(f"speakers unknown: {where}; each such clip counts as a speaker of its own")
    if targets.one_sided(len(labels["X"])):
        warnings.append("only one speaker in a group: no interval can be given, the whole range of d stands there")
    elif (units := targets.fewest(len(labels["X"]))) < FEW_UNITS:
        warnings.append(
            f"only {units} independent units in a group: the interval is a rough guide, of a large d often too narrow"
        )
    if talkers < FEW_TALKERS:
        warnings.append(f"only {talkers} attribute talkers: the interval over talkers is a rough guide")
    for name, least in (("p_value", permuted.p_min), ("p_attribute", p_attribute_min)):
        if least >= alpha:
            warnings.append(f"{name} cannot go below {least:.3g} with so few speakers: nothing can be shown")
    return warnings


def _warn_of_intervals(interval: Interval, state: int) -> list[str]:
    percentile = interval.method[state] == "percentile"
    return ["BCa is not defined here: the interval is a percentile one"] if percentile else []
