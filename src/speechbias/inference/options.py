"""The options of an association test: what may be asked for, and what it is where nobody asks."""

from typing import Literal, TypedDict, get_args

from speechbias.errors import InputError
from speechbias.inference.designs import Design
from speechbias.speat import check_ddof

Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES: tuple[str, ...] = get_args(Alternative)


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


def check_options(options: Options) -> Options:
    """The options, with defaults for what they leave open. Raises ``InputError`` for those that no test can have."""
    if unknown := options.keys() - DEFAULTS.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    settings = DEFAULTS | options
    check_alternative(settings["alternative"])
    for name, least in (("permutations", 1), ("resamples", 1), ("seed", 0)):
        value = settings[name]  # type: ignore[literal-required]
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise InputError(f"{name} is {value!r}. Take a whole number from {least} on.")
    if not 0.5 <= settings["confidence"] < 1:
        confidence = settings["confidence"]
        raise InputError(f"confidence is {confidence:g}. Take a share from 0.5 to below 1, for example 0.95.")
    check_ddof(settings["ddof"])
    return settings


def check_alternative(alternative: str) -> None:
    """Raises ``InputError`` for one that does not exist."""
    if alternative not in ALTERNATIVES:
        raise InputError(f"There is no alternative {alternative!r}. Take one of {', '.join(ALTERNATIVES)}.")
