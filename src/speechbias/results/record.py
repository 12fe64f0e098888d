"""One measurement as a record, and what is said of several together."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from speechbias.level import alpha_of
from speechbias.results.identity import NAMES, identity

SCHEMA = 1
SETS = ("X", "Y", "A", "B")
COUNTS = (
    *("criterion_seed", "remaining", "of", "parameters", "parameters_removed"),
    *("student_layers", "teacher_layers"),
)
WORDS = ("method", "criterion", "pruned_from", "distilled_from")
STORED = ("path", "sha256")  # of ``vectors``
OPTIONAL = ("step", "run", *WORDS, *COUNTS)


@dataclass(frozen=True)
class BiasResult:
    """One SpEAT measurement: one model, one test, one state (or the mean over states), one set of options."""

    test: str
    model: str
    family: str
    layer: int | str  # "mean" or the number of the hidden state
    states: str
    d: float
    p_value: float
    p_method: str
    p_min: float
    p_attribute: float
    p_adjusted: float | None  # max-T over the states of one model; None for "mean"
    alternative: str
    ci_low: float
    ci_high: float
    confidence: float
    ci_attributes: tuple[float, float]  # attribute talkers resampled too
    design: str
    n: dict[str, int]
    n_speakers: dict[str, int]
    groups: dict[str, str]
    ddof: int
    permutations: int
    resamples: int
    seed: int
    dtype: str
    model_sha256: str
    stimuli_sha256: str
    vectors: dict[str, str] | None  # {"path": relative to the results, "sha256"}
    skipped: list[dict[str, Any]] = field(default_factory=list)  # {"row", "path", "why"}
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    # Additions to the contract's fields.
    num_states: int = 1
    dim: int = 0
    ci_method: str = "bca"
    attribute_talkers: int = 0
    leave_one_talker_out: tuple[float, float] | None = None  # beside ci_attributes where talkers are fewer than 10
    p_attribute_min: float = 0.0  # the smallest p_attribute that these talkers allow
    adjusted_over: str | None = None  # the family of p_adjusted, for example "13 states of one model"
    redrawn: int = 0  # degenerate resamples that were drawn again
    recipe: dict[str, Any] = field(default_factory=dict)  # what beside the weights fixes the embedding
    seconds: dict[str, float] = field(default_factory=dict)  # audio per set
    schema: int = SCHEMA
    kind: str = "bias"
    # Where they apply.
    step: int | None = None  # optimiser updates behind the model; 0: untrained
    run: dict[str, Any] | None = None  # of which training run: {"name", "recipe", "seed"} as far as they are known
    method: str | None = None  # pruned by: heads, rows or weights
    criterion: str | None = None  # by what it was chosen what goes: l1, random, bias ...
    criterion_seed: int | None = None
    remaining: float | None = None  # heads of all layers; FFN rows per layer, their mean where layers differ; values
    of: float | None = None  # the same before any cut
    parameters: int | None = None  # of the encoder; weights that pruning set to zero do not count
    parameters_removed: int | None = None  # by this method
    pruned_from: str | None = None  # the unpruned model: its sha256, or its name
    distilled_from: str | None = None  # the teacher: its sha256, or its name
    student_layers: int | None = None  # transformer layers of a student, and of its teacher
    teacher_layers: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the keys in the order of this class; fields that do not apply are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None or key not in OPTIONAL}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "BiasResult":
        """Read one record; keys that a newer version added are ignored. TypeError for what is no whole record."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in record.items() if key in known}
        for pair in ("ci_attributes", "leave_one_talker_out"):
            if values.get(pair) is not None:
                values[pair] = tuple(values[pair])
        made = cls(**values)
        _check(made)
        return made

    @property
    def alpha(self) -> float:
        """The level of tests that belongs to the intervals: 1 - confidence."""
        return alpha_of(self.confidence)

    @property
    def associated(self) -> bool:
        """Whether both p_value and p_attribute are below alpha = 1 - confidence (contract: the rule of reports)."""
        return max(self.p_value, self.p_attribute) < self.alpha

    @property
    def crop_seconds(self) -> float | None:
        """How much of each clip was heard, from its middle; None: all of it."""
        return self.recipe.get("crop_seconds")

    @property
    def called(self) -> str:
        """``called`` of the model."""
        return called(self.model, self.step, self.run)

    @property
    def pooling(self) -> str:
        """What became of a clip's frames: their ``mean``, or what the recipe says (``poolings``)."""
        return str(self.recipe.get("pooling", "mean"))

    @property
    def about(self) -> dict[str, str]:
        """What a record of another kind says so that it is known which measurement it is about (``about_of``)."""
        other = {} if self.pooling == "mean" else {"pooling": self.pooling}
        return {"model_sha256": self.model_sha256, "stimuli_sha256": self.stimuli_sha256, **other}

    @property
    def identity(self) -> str:
        """What makes two measurements the same: model, stimuli, layer, states and options. As a hash."""
        return identity(vars(self))

    @property
    def measurement(self) -> str:
        """``identity`` without the names of test, model and run: what a record of kind ``control`` is ``of``."""
        return identity(vars(self) | dict.fromkeys(NAMES))

    def __str__(self) -> str:
        """One measurement in a few lines for a terminal."""
        level = f"{100 * self.confidence:g} %"
        return (
            f"{self.test}: {self.model}, layer {self.layer}\n"
            f"  d = {self.d:+.2f}   {level} interval {self.ci_low:+.2f} to {self.ci_high:+.2f}\n"
            f"  X {self.groups['X']} ({self.n['X']})   Y {self.groups['Y']} ({self.n['Y']})   "
            f"A {self.groups['A']} ({self.n['A']})   B {self.groups['B']} ({self.n['B']})\n"
            f"  p = {self.p_value:.3g} ({self.design}, {self.p_method}): do X and Y differ?\n"
            f"  p_attribute = {self.p_attribute:.3g}: is the difference aligned with A against B?\n"
            f"  {'associated' if self.associated else 'not associated'} at alpha = {self.alpha:g}"
        )


def called(model: str, step: object, run: object) -> str:
    """A checkpoint of a run by the run's name and its step, since all runs call theirs alike; else the model."""
    name = run.get("name") if isinstance(run, Mapping) else None
    return model if not name or step is None else f"{name} step {step}"


@dataclass(frozen=True)
class PairedDifference:
    """d of one model less d of another on the same clips, from resamples that both share."""

    difference: float
    low: float | None  # None where a group is of one speaker, whose spread is unknown
    high: float | None
    p: float | None  # two-sided, that the difference is 0


@dataclass(frozen=True)
class Together:
    """One measurement judged together with others on the same clips, for example the steps of one run."""

    p_adjusted: float  # max-T over the family
    low: float  # of the band that holds all of the family at once
    high: float
    family: str  # for example "9 steps of one run"


def _check(made: BiasResult) -> None:
    """TypeError where a field is of another kind than whoever reads the record expects."""
    numbers = (made.d, made.p_value, made.p_attribute, made.p_min, made.confidence, made.ci_low, made.ci_high)
    stored = made.vectors
    whole = isinstance(stored, dict) and all(isinstance(stored.get(name), str) for name in STORED)
    for holds, otherwise in (
        (all(isinstance(number, int | float) for number in (*numbers, *made.ci_attributes)), "a number is missing"),
        (all(name in named for named in (made.n, made.groups) for name in SETS), "n and groups name X, Y, A and B"),
        (isinstance(made.step, int | None), "step is a whole number"),
        (isinstance(made.run, dict | None), "run is an object"),
        (all(isinstance(getattr(made, name), int | float | None) for name in COUNTS), "sizes are numbers"),
        (
            all(isinstance(getattr(made, name), str | None) for name in WORDS),
            "how it was made smaller is said in words",
        ),
        (stored is None or whole, "vectors have a path and a sha256"),
        (all(isinstance(clip, Mapping) for clip in made.skipped), "skipped lists rows"),
    ):
        if not holds:
            raise TypeError(otherwise)
