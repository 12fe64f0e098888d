"""What a training run is: a TOML file, read strictly, every key of which has a default by family.

A recipe says what differs from the paper and from the code it was trained with (``defaults``, ``paper.PRETRAINING``);
``base = "other.toml"`` takes another file's keys first, and that one has no base itself. The resolved recipe, every
key written out, lies in the run folder, and alone makes the run again. Paths are relative to the file that names them.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from speechbias.errors import InputError
from speechbias.features import NAMES as FEATURES
from speechbias.models.config import FAMILIES, Family
from speechbias.models.hubert import HubertTerms
from speechbias.models.objectives import Terms
from speechbias.models.regularisation import Regularisation
from speechbias.models.wav2vec2 import Wav2Vec2Terms
from speechbias.training.defaults import family_defaults
from speechbias.training.distillation import DistillSection
from speechbias.training.masking import Masking
from speechbias.training.pruning import PruneSection
from speechbias.training.recipe_sections import (
    OF_CORPUS,
    SYNTHETIC,
    DataSection,
    ModelSection,
    OptimSection,
    RunSection,
    UnitsSection,
)
from speechbias.training.sections import Values, is_model, is_path, merged, nearest, read_section, read_toml, to_toml
from speechbias.training.track import TrackSection

Kinds = Mapping[str, type[Any]]  # the dataclass of every section, by its name
TERMS: Mapping[Family, type[Terms]] = {"wav2vec2": Wav2Vec2Terms, "hubert": HubertTerms}


@dataclass(frozen=True)
class Recipe:
    """One run, every key resolved; a field is a section. ``objective``: the constants of the family's loss."""

    model: ModelSection
    data: DataSection
    units: UnitsSection | None
    masking: Masking
    regularisation: Regularisation
    objective: Terms | None
    optim: OptimSection
    run: RunSection
    track: TrackSection | None = None
    prune: PruneSection | None = None
    distill: DistillSection | None = None

    @property
    def family(self) -> Family:
        """``wav2vec2``, ``hubert`` or ``melhubert``."""
        return self.model.family

    def sections(self) -> dict[str, object]:
        """What is there, by the names of the sections."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: section for name, section in named.items() if section is not None}

    def to_toml(self) -> str:
        """The whole recipe, as ``read_recipe`` takes it."""
        return to_toml(self.sections())

    @property
    def sha256(self) -> str:
        """Of all that it says."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()

    def fingerprint(self, manifest_sha256: str) -> str:
        """What runs have in common that differ by their seed alone, as a hash: what trains, on what, how long."""
        sections = self.sections()
        sections.pop("track", None)
        sections["data"] = replace(self.data, train=(manifest_sha256,), workers=0)
        sections["run"] = RunSection(steps=self.run.steps, precision=self.run.precision)
        return hashlib.sha256(to_toml(sections).encode()).hexdigest()[:16]


def read_recipe(path: Path | str, *, seed: int | None = None, data: Sequence[str] = ()) -> Recipe:
    """The recipe of a file; ``seed`` and ``data`` (another corpus) replace what it says. InputError, one line."""
    return resolved(read_keys(path, seed=seed, data=data), str(path))


def read_keys(
    path: Path | str, *, seed: int | None = None, data: Sequence[str] = (), kinds: Kinds | None = None
) -> dict[str, Any]:
    """The keys that a file and its base say, by section, paths absolute; nothing of it is checked yet.

    ``kinds``: the dataclasses of another recipe's sections, whose fields say what is a path.
    """
    said = _with_base(Path(path), kinds or _kinds())
    if data:
        said = merged(said, {"data": {"train": _absolute(list(data), Path())}})
    if seed is not None:
        said = merged(said, {"run": {"seed": seed}})
    return said


def _with_base(path: Path, kinds: Kinds) -> dict[str, Any]:
    """The keys of a file and of its base, paths absolute."""
    said = _anchored(read_toml(path), path.parent, kinds)
    base = said.pop("base", None)
    if base is None:
        return said
    below_it = _base(path, base)
    lower = _anchored(read_toml(below_it), below_it.parent, kinds)
    if "base" in lower:
        raise InputError(f"{below_it} has a base itself; one level is all there is")
    batch = {"seconds", "utterances"}
    for section in ("data", "probe"):
        below = lower.get(section)
        if isinstance(said.get(section), dict) and isinstance(below, dict) and batch & said[section].keys():
            lower[section] = {key: value for key, value in below.items() if key not in batch}  # one of the two counts
    return merged(lower, said)


def _base(path: Path, named: object) -> Path:
    """The file that ``base`` names, relative to the one in which it stands."""
    if not isinstance(named, str) or "\0" in named:
        raise InputError(f"{path}: base is {named!r}; name one file")
    try:
        return path.parent / Path(named).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: base = {named!r} names no file ({error}); write the path of a file or folder"
        ) from None


def _kinds() -> Kinds:
    """The dataclass of every section; that of ``objective`` is one by family (``TERMS``)."""
    hints = get_type_hints(Recipe)
    return {
        name: next(kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType)
        for name, hint in hints.items()
    }


def _paths(kinds: Kinds) -> Iterator[tuple[str, str, bool]]:
    """Section and key of everything that names files, and whether these are models, which may have other names."""
    for name, kind in kinds.items():
        yield from ((name, field.name, is_model(field)) for field in dataclasses.fields(kind) if is_path(field))


def _anchored(said: dict[str, Any], folder: Path, kinds: Kinds) -> dict[str, Any]:
    """The same keys with paths relative to ``folder`` made absolute."""
    for section, key, model in _paths(kinds):
        values = said.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str | list):
            said[section] = {**values, key: _absolute(values[key], folder, model=model)}
    return said


def _absolute(value: Any, folder: Path, *, model: bool = False) -> Any:
    if isinstance(value, list):
        return [_absolute(part, folder, model=model) for part in value]
    names_no_file = not isinstance(value, str) or value in {SYNTHETIC, OF_CORPUS} or value.startswith("random:")
    if model and not names_no_file:  # a feature, or a hub id where nothing of that name lies
        names_no_file = value in FEATURES or not os.path.exists(folder / os.path.expanduser(value))  # noqa: PTH110, PTH111
    try:  # links stay links: "checkpoints/last" means what is last when it is read
        path = value if names_no_file else os.path.abspath(folder / Path(value).expanduser())  # noqa: PTH100
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{value!r} names no file ({error}); write the path of a file or folder") from None
    if isinstance(path, str) and ("\0" in path or path != os.fsencode(path).decode(errors="replace")):
        raise InputError(f"{path!r} cannot stand in a recipe, which is UTF-8; rename the folder, or name a link to it")
    return path


def resolved(said: Values, where: str) -> Recipe:
    """A recipe from sections of keys, what they do not say taken from the family's defaults."""
    model = said.get("model")
    named = model.get("family") if isinstance(model, Mapping) else None
    family = next((known for known in FAMILIES if known == named), None)
    if family is None:
        what = "names no family" if named is None else f"family is {named!r}"
        raise InputError(f"{where} [model] {what}; take one of {', '.join(FAMILIES)}")
    kinds = {**_kinds(), "objective": None if "distill" in said else TERMS.get(family)}
    for name in said:
        if name not in kinds:
            raise nearest(where, "section", name, kinds)
    defaults = family_defaults(family, said)
    if "units" in said and defaults.get("units") is None:
        learner = "a student" if "distill" in said else family
        raise InputError(f"{where} [units]: {learner} learns no labels; leave the section out")
    values = merged({name: section for name, section in defaults.items() if section is not None}, said)
    sections: dict[str, Any] = dict.fromkeys(kinds)
    for name, section in values.items():
        kind = kinds[name]
        if kind is None:
            learner = "a student" if "distill" in said else family
            raise InputError(f"{where} [{name}]: the loss of {learner} has no constants here; leave the section out")
        sections[name] = read_section(kind, section, f"{where} [{name}]")
    try:
        if sections["model"].checkpoint is None:  # which has its own shapes
            sections["model"].config()
    except ValueError as error:
        raise InputError(f"{where} [model]: {error}") from None
    return Recipe(**sections)
