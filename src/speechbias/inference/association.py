"""The association test: d with both p-values and both intervals, for one array or for all states of a model.

States share their relabellings and resamples, so a state's numbers do not depend on which others are tested with it.
The random streams are named: the same seed gives the same relabellings whatever else is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechbias.inference.attributes import attribute_test
from speechbias.inference.cautions import FEW_TALKERS, range_of, warn, warn_of_interval
from speechbias.inference.designs import Design, name_blanks, relabel, relabel_attributes, resolve_design
from speechbias.inference.intervals import Interval, Strata, attribute_interval, target_interval, whole_range
from speechbias.inference.options import Alternative, Options, check_options
from speechbias.inference.permutation import Permutation, permutation_test
from speechbias.inference.units import SETS, attribute_units, check_speakers, target_units
from speechbias.level import alpha_of
from speechbias.speat import check_sets, check_spread, unit

Array = NDArray[np.float64]
P_VALUE, P_ATTRIBUTE, INTERVAL, INTERVAL_OF_TALKERS = range(4)  # streams of a seed


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
        return max(self.p_value, self.p_attribute) < alpha_of(self.confidence)

    def __str__(self) -> str:
        """A block for the terminal: d, interval, and the two questions behind the two p's."""
        n, alpha = self.n, alpha_of(self.confidence)
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
    sets = check_sets({"X": X, "Y": Y, "A": A, "B": B}, ndim=3)
    n = {name: len(array) for name, array in sets.items()}
    labels = check_speakers(speakers, n)
    design = resolve_design(labels, pairs=pairs, design=settings["design"])
    cosines = all_cosines(sets)
    s = cosines[:, :, : n["A"]].mean(axis=2).T - cosines[:, :, n["A"] :].mean(axis=2).T
    d = _effect_sizes(s, n["X"], settings["ddof"])
    test = _Test(cosines, s, d, n, labels, pairs, design, simultaneous, settings)
    p, ci = _p_values(test), _intervals(test)
    return tuple(_result(state, test, p, ci) for state in range(len(d)))


def all_cosines(sets: Mapping[str, Array]) -> Array:
    """Cosines of all targets with all attributes, (states, targets, attributes).

    State by state, so that the digits do not depend on which states are computed together.
    """
    targets, attributes = np.concatenate([sets["X"], sets["Y"]]), np.concatenate([sets["A"], sets["B"]])
    states = range(targets.shape[1])
    return np.stack([unit(targets[:, k].copy()) @ unit(attributes[:, k].copy()).T for k in states])


@dataclass(frozen=True)
class _Test:
    """What p-values and intervals are of: similarities of clips, who speaks in which, and what was asked for."""

    cosines: Array  # (states, targets, attributes)
    s: Array  # (targets, states), X first: equation 1
    d: Array  # (states,): equation 2
    n: Mapping[str, int]
    labels: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, Sequence[str]] | None
    design: str
    family: Sequence[int]
    settings: Options

    def stream(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.settings["seed"], number])


@dataclass(frozen=True)
class _PValues:
    targets: Permutation
    attribute: Array  # (states,)
    attribute_min: float


@dataclass(frozen=True)
class _Intervals:
    units: Strata
    talkers: Strata
    narrow: Interval  # for these attribute clips
    wide: Interval  # attribute talkers resampled too
    without_talker: Array  # (talkers, states): d without each talker


def _effect_sizes(s: Array, n_x: int, ddof: int) -> Array:
    """The d of every state, from s (targets, states)."""
    for number, state in enumerate(s.T):
        check_spread(state, where=f"state {number}" if s.shape[1] > 1 else "")
    return np.asarray((s[:n_x].mean(axis=0) - s[n_x:].mean(axis=0)) / s.std(axis=0, ddof=ddof))


def _p_values(test: _Test) -> _PValues:
    labels, n, settings = test.labels, test.n, test.settings
    alternative, permutations = settings["alternative"], settings["permutations"]
    permuted = permutation_test(
        test.s,
        relabel(test.design, (labels["X"], labels["Y"]), test.pairs),
        n_x=n["X"],
        alternative=alternative,
        permutations=permutations,
        rng=test.stream(P_VALUE),
        family=test.family,
        saddlepoint=test.design == "independent",
    )
    attribute, attribute_min = attribute_test(
        test.cosines,
        relabel_attributes((labels["A"], labels["B"])),
        n_x=n["X"],
        n_a=n["A"],
        alternative=alternative,
        permutations=permutations,
        rng=test.stream(P_ATTRIBUTE),
    )
    return _PValues(permuted, attribute, attribute_min)


def _intervals(test: _Test) -> _Intervals:
    settings = test.settings
    n_x, n_y, ddof = test.n["X"], test.n["Y"], settings["ddof"]
    resamples, confidence = settings["resamples"], settings["confidence"]
    units, talkers = target_units(test.design, test.labels, test.pairs), attribute_units(test.labels)
    narrow = target_interval(
        test.s,
        units,
        n_x=n_x,
        ddof=ddof,
        resamples=resamples,
        confidence=confidence,
        rng=test.stream(INTERVAL),
    )
    wide, without_talker = attribute_interval(
        test.cosines,
        units,
        talkers,
        n_x=n_x,
        n_a=test.n["A"],
        ddof=ddof,
        resamples=resamples,
        confidence=confidence,
        rng=test.stream(INTERVAL_OF_TALKERS),
    )
    if units.one_sided(n_x):
        narrow, wide = (whole_range(each, n_x, n_y, ddof) for each in (narrow, wide))
    return _Intervals(units, talkers, narrow, wide, without_talker)


def _result(k: int, test: _Test, p: _PValues, ci: _Intervals) -> AssociationTest:
    """Of state ``k``."""
    talkers = len(ci.talkers.units)
    warnings = warn(
        test.labels,
        units=ci.units,
        talkers=talkers,
        smallest={"p_value": p.targets.p_min, "p_attribute": p.attribute_min},
        alpha=alpha_of(test.settings["confidence"]),
    )
    return AssociationTest(
        d=float(test.d[k]),
        p_value=float(p.targets.p_value[k]),
        p_method=p.targets.method[k],
        p_min=p.targets.p_min,
        p_attribute=float(p.attribute[k]),
        p_attribute_min=p.attribute_min,
        p_adjusted=float(p.targets.p_adjusted[k]) if k in test.family else None,
        ci_low=float(ci.narrow.low[k]),
        ci_high=float(ci.narrow.high[k]),
        ci_method=ci.narrow.method[k],
        ci_attributes=(float(ci.wide.low[k]), float(ci.wide.high[k])),
        attribute_talkers=talkers,
        leave_one_talker_out=range_of(ci.without_talker[:, k]) if talkers < FEW_TALKERS else None,
        redrawn=int(ci.narrow.redrawn[k] + ci.wide.redrawn[k]),
        n=test.n,
        n_speakers={name: len(set(name_blanks(test.labels[name], name))) for name in SETS},
        warnings=(*warnings, *warn_of_interval(ci.narrow.method[k])),
        **test.settings | {"design": test.design},  # type: ignore[arg-type]
    )
