"""What of a d is there without any training? The same network with freshly drawn weights, on the same clips.

Its d, and d of the model less it by the paired difference of ``compare`` (resamples that both share). The twin is one
draw: the interval is over speakers, not over seeds. Where the results hold a measurement of the very weights that the
twin would have (step 0 of the same run, a ``random:`` model), that one is taken and nothing is embedded.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbias.compare.members import Member
from speechbias.compare.models import compare_members
from speechbias.embeddings import Embeddings
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.inference import Options
from speechbias.measure import measure_bias
from speechbias.results import BiasResult, write_vectors
from speechbias.vectors import stored_vectors, to_arrays

NUMBERS = ("d", "p_value", "p_attribute", "ci_low", "ci_high", "associated", "vectors")
SHARED = ("resamples", "confidence", "ddof", "seed", "design")  # of the model and its twin


def twin_control(
    result: BiasResult,
    twin: Encoder,
    *,
    out: Path,
    measured: Sequence[BiasResult],
    embed: Callable[[], Embeddings],
) -> dict[str, Any]:
    """What a record of this control holds beside what it is of: ``twin``, ``difference`` and ``passed``.

    ``out`` is the results file, ``measured`` what it holds; ``embed`` gives the twin's embeddings of the test where
    they are needed. ``passed`` is False where the model is associated and no difference from its twin is shown.
    """
    try:
        untrained = _held(result, twin, measured) or _measured(result, embed(), out)
    except InputError as error:  # untrained, and all clips alike to it
        return missing(str(error))
    return compare_with(result, untrained, out.parent) | {"name": twin.name, "sha256": twin.sha256}


def missing(why: str) -> dict[str, Any]:
    """What a record holds where there is no twin."""
    return {"twin": None, "difference": None, "passed": None, "why": why}


def compare_with(result: BiasResult, untrained: BiasResult, folder: Path) -> dict[str, Any]:
    """The record's numbers, from the vectors of both. InputError as ``stored_vectors``."""
    members = [Member(stored_vectors(each, folder), each.layer) for each in (result, untrained)]
    difference = {"d": result.d - untrained.d, "ci_low": None, "ci_high": None, "p_value": None}
    if min(result.n_speakers[name] for name in "XY") > 1:  # of one, nothing tells how speakers vary
        (made,) = compare_members(members, [(0, 1)], **{name: getattr(result, name) for name in SHARED})
        numbers = made.ci_low, made.ci_high, made.p_value
        difference = {"d": made.difference, **dict(zip(("ci_low", "ci_high", "p_value"), numbers, strict=True))}
    p = difference["p_value"]
    return {
        "twin": {name: getattr(untrained, name) for name in NUMBERS},
        "difference": difference,
        "passed": not (result.associated and p is not None and p >= result.alpha),
    }


def _held(result: BiasResult, twin: Encoder, measured: Sequence[BiasResult]) -> BiasResult | None:
    """The measurement of the twin's own weights under the same options, if there is one whose vectors are kept."""

    def key(of: BiasResult) -> Mapping[str, Any]:
        return {**vars(of), "model_sha256": twin.sha256, "recipe": dict(twin.recipe)}

    wanted = BiasResult(**key(result)).measurement
    alike = (each for each in measured if each.model_sha256 == twin.sha256 and each.vectors)
    return next((each for each in alike if each.measurement == wanted), None)


def _measured(result: BiasResult, embeddings: Embeddings, out: Path) -> BiasResult:
    options: Options = {name: getattr(result, name) for name in Options.__annotations__}  # type: ignore[assignment]
    found = measure_bias(embeddings, layer="mean", **options)
    return BiasResult(**{**vars(found), "vectors": write_vectors(out, to_arrays(embeddings))})
