"""Every inference that is calibrated, in the order of the page."""

from collections.abc import Mapping
from typing import cast

from calibration import (
    adjusted,
    compare,
    controls,
    families,
    flags,
    gaps,
    intervals,
    leakage,
    multiplicity,
    p_attribute,
    p_value,
    planning,
    power,
    published,
    reproduced,
)
from calibration.cells import Cell, Inference

INFERENCES: Mapping[str, Inference] = {
    module.__name__.rpartition(".")[2]: cast("Inference", module)
    for module in (
        p_value,
        power,
        p_attribute,
        intervals,
        families,
        compare,
        multiplicity,
        adjusted,
        flags,
        leakage,
        controls,
        planning,
        gaps,
        published,
        reproduced,
    )
}


def all_cells() -> list[Cell]:
    """Of every inference."""
    return [cell for inference in INFERENCES.values() for cell in inference.cells()]
