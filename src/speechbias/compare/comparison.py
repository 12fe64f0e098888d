"""One comparison: two models (or two states of one) on one test, as a record; and p's of a table of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from speechbias.inference.multiplicity import benjamini_hochberg, holm
from speechbias.level import alpha_of
from speechbias.results import SCHEMA

METHOD = "bootstrap-t of Fisher's z"
OPTIONAL = ("step", "baseline_step", "p_both_zero", "leave_one_talker_out", "crop_seconds")


@dataclass(frozen=True)
class Comparison:
    """d of ``model`` minus d of ``baseline``, on the same clips (contract, "Comparison of two models")."""

    test: str
    layer: int | str
    model: str
    baseline: str
    baseline_layer: int | str  # another than ``layer`` only where states of one model are compared
    d: float
    d_baseline: float
    difference: float
    ci_low: float  # for these attribute clips
    ci_high: float
    ci_attributes: tuple[float, float]  # attribute talkers resampled too
    p_value: float  # are the two d's equal?
    p_adjusted: float  # max-T over the comparisons on the same clips
    adjusted_over: str
    band_low: float  # these hold for all of those at once
    band_high: float
    p_holm: float  # over ``family``
    p_bh: float
    family: str  # how many comparisons were made together
    method: str
    standard_error: float
    design: str
    n: dict[str, int]
    n_speakers: dict[str, int]
    groups: dict[str, str]
    attribute_talkers: int
    resamples: int
    seed: int
    confidence: float
    ddof: int
    states: str
    dtype: str
    redrawn: int
    model_sha256: str
    baseline_sha256: str
    stimuli_sha256: str
    warnings: list[str] = field(default_factory=list)
    schema: int = SCHEMA
    kind: str = "comparison"
    # Where they apply.
    step: int | None = None
    baseline_step: int | None = None
    crop_seconds: float | None = None  # both heard only so much of each clip
    leave_one_talker_out: tuple[float, float] | None = None  # range of the difference; talkers fewer than 10
    p_both_zero: float | None = None  # relabelling of X and Y: are both d's zero? (max-T over the two)

    @property
    def differs(self) -> bool:
        """Whether p by Holm is below alpha = 1 - confidence: one false finding in the whole table is that unlikely."""
        return self.p_holm < alpha_of(self.confidence)

    @property
    def verdict(self) -> str:
        """``differs`` or ``cannot tell``: a large p never shows that two models are alike."""
        return "differs" if self.differs else "cannot tell"

    def to_json(self) -> dict[str, Any]:
        """A JSON object; fields that do not apply are left out."""
        made = {key: value for key, value in asdict(self).items() if value is not None or key not in OPTIONAL}
        for pair in ("ci_attributes", "leave_one_talker_out"):
            if pair in made:
                made[pair] = list(made[pair])
        return made

    def __str__(self) -> str:
        """One comparison in a few lines for a terminal."""
        level = f"{100 * self.confidence:g} %"
        return (
            f"{self.test}, layer {self.layer}: {self.model} against {self.baseline}\n"
            f"  d {self.d:+.2f} and {self.d_baseline:+.2f}: difference {self.difference:+.2f}   {level} interval "
            f"{self.ci_low:+.2f} to {self.ci_high:+.2f}\n"
            f"  p = {self.p_value:.3g} (are the d's equal?), by Holm over {self.family} {self.p_holm:.3g}\n"
            f"  {self.verdict} at alpha = {alpha_of(self.confidence):g}"
        )


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same with the p's of Holm and of Benjamini and Hochberg over all of them."""
    p = [each.p_value for each in comparisons]
    family = "1 comparison" if len(p) == 1 else f"{len(p)} comparisons"
    return [
        replace(each, p_holm=float(of_holm), p_bh=float(of_bh), family=family)
        for each, of_holm, of_bh in zip(comparisons, holm(p), benjamini_hochberg(p), strict=True)
    ]
