"""The controls of a report: those that stored vectors allow, for whatever measurement has none on file yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbias.controls.planted import control, describe
from speechbias.errors import InputError
from speechbias.results import BiasResult


def gather_controls(
    results: Sequence[BiasResult], places: Mapping[str, Path], others: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A record for each of ``results`` that has none among ``others``; the same record each time, and 0.03 s for one.

    ``places`` says by identity in which folder the results file of a record lies. Where vectors are not there, the
    record has ``passed`` None and says ``why``: it is for the report, not for a file.
    """
    held = {
        other.get("of") for other in others if other.get("kind") == "control" and other.get("control") == "vectors"
    }
    wanted = {result.measurement: result for result in results if result.measurement not in held}
    return [_made(result, places[result.identity]) for result in wanted.values()]


def _made(result: BiasResult, folder: Path) -> dict[str, Any]:
    try:
        return control(result, folder)
    except InputError as error:
        return describe(result, "vectors") | {"planted": None, "shuffled": None, "passed": None, "why": str(error)}
