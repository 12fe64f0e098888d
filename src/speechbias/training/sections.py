"""TOML, read strictly into frozen dataclasses, and written back.

A section is a dataclass, a key one of its fields. An unknown key, a value of another type: one line that says where,
and the nearest key. Whole numbers are taken where numbers are wanted, lists become tuples.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from speechbias.errors import InputError, not_utf8, os_reason

Values = Mapping[str, Any]
Section = TypeVar("Section")
A_PATH: Mapping[str, Any] = {"path": True}  # metadata of a field whose texts name files
A_MODEL: Mapping[str, Any] = {"path": True, "model": True}  # whose texts are MODELs, files only where there are such
LARGEST = 1e15  # nothing in a recipe is; nor is it infinite, or no number
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read_toml(path: Path, *, remedy: str = "; name a recipe (.toml), or correct it") -> dict[str, Any]:
    """The content of a file. InputError where there is none, or it is no TOML; it ends with the remedy."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({os_reason(error)}){remedy}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no TOML: {not_utf8(error)}{remedy}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML: {error}{remedy}") from None
    except RecursionError:
        raise InputError(f"{path} is no TOML: its brackets are nested too deeply{remedy}") from None


def merged(lower: Values, upper: Values) -> dict[str, Any]:
    """The sections of two files, the keys of ``upper`` before those of ``lower``."""
    made = dict(lower)
    for name, section in upper.items():
        both = isinstance(section, Mapping) and isinstance(made.get(name), Mapping)
        made[name] = {**made[name], **section} if both else section
    return made


def nearest(where: str, what: str, name: str, known: Collection[str]) -> InputError:
    """The error of an unknown name: it says which is nearest."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return InputError(f"{where}: unknown {what} {name[:60]!r}; the nearest is {near[0]!r}")


def _needed(kind: type[Section]) -> list[str]:
    """The keys that a section does not go without."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def is_path(field: "dataclasses.Field[Any]") -> bool:
    """Whether the texts of a key name files."""
    return bool(field.metadata.get("path"))


def is_model(field: "dataclasses.Field[Any]") -> bool:
    """Whether the texts of a key name models."""
    return bool(field.metadata.get("model"))


def read_section(kind: type[Section], values: Any, where: str) -> Section:
    """A dataclass from the keys of a section; ``where`` names file and section in errors."""
    if not isinstance(values, Mapping):
        name = where.rpartition(" ")[2]
        raise InputError(f"{where} is no section; write {name} on a line, and its keys below")
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for name in values:
        if name not in fields:
            raise nearest(where, "key", name, fields)
    if lacking := [name for name in _needed(kind) if name not in values]:
        raise InputError(f"{where} has no {' and no '.join(lacking)}; write {lacking[0]} = ... there")
    try:
        return kind(**{name: _fitting(value, hints[name], f"{where} {name}") for name, value in values.items()})
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: {error}") from None


def _fitting(value: Any, kind: Any, where: str) -> Any:
    """A value as a field of this type takes it. InputError where it is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        if value is None:
            return None
        return _fitting(value, next(part for part in inner if part is not NoneType), where)
    if origin is Literal:
        if any(value == option and type(value) is type(option) for option in inner):
            return value
        raise InputError(f"{where} is {_shown(value)}; take one of {', '.join(map(str, inner))}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            value = [value]
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise InputError(f"{where} is a list of {len(value)}; give one of {len(inner)}")
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_fitting(part, each, where) for part, each in zip(value, kinds, strict=True))
    return _plain(value, kind, where)


def _shown(value: Any) -> str:
    """A value as it stands in the file, shortened."""
    if isinstance(value, str):
        return repr(value[:60])
    return str(value).lower() if isinstance(value, bool) else str(value)[:60]


def _plain(value: Any, kind: Any, where: str) -> Any:
    """A number, a text or a truth value."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(min(max(value, -LARGEST), LARGEST))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where} is {_shown(value)}; give {WORDS[kind]}")
    if kind in {int, float} and not abs(value) < LARGEST:  # not a number is below nothing
        raise InputError(f"{where} is {str(value)[:60]}; give a number below {LARGEST:.0e}")
    return value


def to_toml(sections: Mapping[str, object]) -> str:
    """Dataclasses as a TOML file; what is None is left out."""
    lines: list[str] = []
    for name, section in sections.items():
        lines.append(f"[{name}]")
        for field in dataclasses.fields(section):  # type: ignore[arg-type]
            value = getattr(section, field.name)
            if value is not None:
                lines.append(f"{field.name} = {_literal(value)}")
        lines.append("")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # a TOML literal too, for texts, numbers and truth values
