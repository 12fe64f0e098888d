"""Which modules are mutated, and which quick tests are to notice: those of the module first, then of its callers."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "speechbias"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

_NAMES: dict[str, tuple[str, ...]] = {
    "association": ("association", "simultaneous"),
    "attributes": ("attributes", "association"),
    "cautions": ("association", "intervals"),
    "designs": ("designs", "permutation", "association"),
    "differences": ("differences",),
    "influence": ("differences", "planning"),
    "intervals": ("intervals", "differences", "simultaneous", "association"),
    "multiplicity": ("multiplicity",),
    "options": ("association",),
    "permutation": ("permutation", "association", "simultaneous"),
    "planning": ("planning",),
    "published": ("association",),
    "ridge": ("ridge",),
    "saddlepoint": ("saddlepoint", "permutation", "association"),
    "selections": ("permutation", "intervals", "differences", "attributes"),
    "simultaneous": ("simultaneous",),
    "units": ("association", "simultaneous"),
}
PLAN: dict[str, tuple[str, ...]] = {
    "speat.py": ("tests/test_speat.py", "tests/inference/test_association.py"),
    "level.py": ("tests/inference/test_association.py",),
    "compress/criteria.py": ("tests/compress/test_criteria.py",),
    **{
        f"inference/{module}.py": tuple(f"tests/inference/test_{name}.py" for name in names)
        for module, names in _NAMES.items()
    },
}
