"""A checkpoint of ours: a folder of ``config.json``, ``encoder.safetensors``, perhaps the objective's, ``meta.json``.

Written under a temporary name and renamed: a folder is whole or not there. Weights are memory-mapped when read.
"""

import dataclasses
import difflib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from speechbias.checkpoint.content import Checkpoint, Meta
from speechbias.checkpoint.mapping import StoredTensors
from speechbias.checkpoint.safe import read_safetensors
from speechbias.errors import InputError, naming, os_reason
from speechbias.models.config import FAMILIES, EncoderConfig, Family, MelFrontend, WaveFrontend
from speechbias.models.convert.shapes import MEL_BINS, check_shapes, expected_shapes
from speechbias.models.distillation import DistillationSettings
from speechbias.models.jsonfiles import read_json
from speechbias.models.mel import read_mel_stats
from speechbias.models.objectives import KINDS, Settings

SCHEMA = 1
CONFIG, ENCODER, OBJECTIVE, META = "config.json", "encoder.safetensors", "objective.safetensors", "meta.json"
FILES = frozenset({CONFIG, ENCODER, OBJECTIVE, META})
DISTILLATION = "distillation"
FRONTENDS: Mapping[str, type[WaveFrontend | MelFrontend]] = {"waveform": WaveFrontend, "mel": MelFrontend}


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one of ours."""
    return (folder / CONFIG).is_file() and (folder / ENCODER).is_file()


def save_checkpoint(
    folder: Path | str, checkpoint: Checkpoint, *, extra: Callable[[Path], None] | None = None
) -> Path:
    """Write a checkpoint, all of it or nothing. InputError where something is there already that is not one of ours.

    One of ours is replaced. ``extra`` writes further files into it before it appears. OSError where the disk is
    full; what was there is then as it was.
    """
    folder = Path(folder)
    with replaced_whole(folder, ours=is_checkpoint, what="checkpoint") as written:
        _write(written, checkpoint)
        if extra is not None:
            extra(written)
    return folder


@contextmanager
def replaced_whole(folder: Path, *, ours: Callable[[Path], bool], what: str) -> Iterator[Path]:
    """An empty folder to write into; once all is written it takes the name ``folder``, and nothing does otherwise.

    InputError where something has that name that is neither ``ours`` (a ``what`` that we wrote) nor an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and (ours(folder) or not any(folder.iterdir()))):
        raise InputError(f"{folder} is there already and is no {what} of ours; choose another name with -o")
    folder = folder.resolve()  # a link stays, what it points to is replaced
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        written = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({os_reason(error)}); choose another place with -o") from None
    aside = written.with_suffix(".old")
    try:
        with naming(folder, written=written):
            yield written
            for file in written.iterdir():
                _reach_the_disk(file)
        written.chmod(0o755)
        if folder.exists():  # moved aside first: whoever is killed while it is deleted would leave half of it
            folder.rename(aside)
        try:
            written.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        _reach_the_disk(folder.parent)  # only now may somebody let go of what this one replaces
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _reach_the_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    (folder / CONFIG).write_text(_dump(to_json(checkpoint.config, checkpoint.settings)), encoding="utf-8")
    save_tensors(folder / ENCODER, checkpoint.tensors)
    if checkpoint.settings is not None:
        save_tensors(folder / OBJECTIVE, checkpoint.objective_tensors)
    stats = checkpoint.meta.mel_stats
    meta = {
        "step": checkpoint.meta.step,
        "provenance": dict(checkpoint.meta.provenance),
        "mel_stats": None if stats is None else stats.tolist(),
        "quantiser": checkpoint.meta.quantiser,
    }
    (folder / META).write_text(_dump(meta), encoding="utf-8")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file. OSError where the disk is full."""
    apart: dict[int, Tensor] = {}  # by address: of two names for one memory (tied weights), each gets its own copy
    made = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        made[name] = whole.clone() if whole.data_ptr() in apart else apart.setdefault(whole.data_ptr(), whole)
    try:
        save_file(made, path, {"format": "pt"})
    except SafetensorError as error:  # a full disk is one too
        said = re.search(r"(?:os error |code: )(\d+)", str(error))
        number = int(said[1]) if said else errno.ENOSPC if "No space left" in str(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def to_json(config: EncoderConfig, settings: Settings | None) -> dict[str, Any]:
    """A config as ``config.json`` holds it."""
    made = {"schema": SCHEMA, **dataclasses.asdict(config)}
    kind = "mel" if isinstance(config.frontend, MelFrontend) else "waveform"
    made["frontend"] = {"kind": kind, **made["frontend"]}
    made["objective"] = None if settings is None else dataclasses.asdict(settings)
    if isinstance(settings, DistillationSettings):
        made["objective"] = {"kind": DISTILLATION, **made["objective"]}
    return made


def read_folder(name: str, folder: Path) -> Checkpoint:
    """Read one of our folders; weights stay on disk until they are used. InputError, one line, for a broken one."""
    config, settings = read_config(folder)
    tensors = _fitting(folder / ENCODER, config)
    rest: Mapping[str, Tensor] = {} if settings is None else _fitting(folder / OBJECTIVE, config, settings)
    return Checkpoint(name, config, tensors, settings, rest, _read_meta(folder, config))


def _fitting(path: Path, config: EncoderConfig, settings: Settings | None = None) -> StoredTensors:
    """The tensors of a file that are those of the config. InputError else."""
    tensors = read_safetensors(path)
    try:
        if config.num_layers > len(tensors) and settings is None:  # before a million layers are made
            raise ValueError(f"{config.num_layers} layers, {len(tensors)} weights")  # noqa: TRY301
        expected = expected_shapes(config, settings)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{path.parent / CONFIG}: no network has these sizes ({str(error).splitlines()[0]})"
        raise InputError(f"{reason}; copy the file again") from None
    check_shapes(str(path), tensors, expected)
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise InputError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers; copy the file again")
    return StoredTensors(tensors)


def read_config(folder: Path) -> tuple[EncoderConfig, Settings | None]:
    """What ``config.json`` says; reads no weights."""
    path = folder / CONFIG
    return parse_config(path, read_json(path))


def parse_config(path: Path, content: Mapping[str, Any]) -> tuple[EncoderConfig, Settings | None]:
    """What a ``config.json`` that was read from ``path`` says. InputError for keys and values without meaning."""
    content = dict(content)
    if content.pop("schema", None) != SCHEMA:
        raise InputError(f"{path} has another schema than {SCHEMA}; update speechbias to read it")
    settings, front = content.pop("objective", None), content.pop("frontend", None)
    family = content.get("family")
    if family not in FAMILIES:
        raise InputError(f"{path}: family {family!r} is none of {', '.join(FAMILIES)}; copy the file again")
    if not isinstance(front, dict) or front.get("kind") not in tuple(FRONTENDS):
        raise InputError(f"{path}: frontend.kind is none of {', '.join(FRONTENDS)}; copy the file again")
    if (front["kind"] == "mel") != (family == "melhubert"):
        raise InputError(f"{path}: a {family} on a front end of kind {front['kind']!r}; copy the file again")
    front = dict(front)
    made = _strictly(path, FRONTENDS[front.pop("kind")], front)
    if isinstance(made, MelFrontend) and (made.bins != MEL_BINS or made.stack > 2):
        raise InputError(
            f"{path}: {made.bins} mel bins in a stack of {made.stack}, not 40 in 1 or 2; copy the file again"
        )
    config = _strictly(path, EncoderConfig, {**content, "frontend": made})
    return config, None if settings is None else _settings(path, family, settings)


def _settings(path: Path, family: Family, said: Any) -> Settings:
    """What ``objective`` says: of distillation where it says so, else of the family's pre-training."""
    kind: type[Any] = KINDS[family].settings
    if isinstance(said, dict) and "kind" in said:
        if said["kind"] != DISTILLATION:
            raise InputError(f"{path}: objective.kind is no {DISTILLATION!r}; update speechbias to read it")
        kind, said = DistillationSettings, {key: value for key, value in said.items() if key != "kind"}
    made: Settings = _strictly(path, kind, said)
    return made


def _strictly(path: Path, kind: type[Any], values: Any) -> Any:
    """A dataclass from JSON values: every key known, every value of the kind of its field. InputError else."""
    if not isinstance(values, dict):
        raise InputError(f"{path}: {kind.__name__} is no JSON object; copy the file again")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values.keys() - fields.keys():
        near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)[0]
        raise InputError(f"{path}: unknown key {key[:60]!r}; the nearest is {near!r}")
    for name, value in values.items():
        if lacking := _lacking(value, fields[name].type):
            raise InputError(f"{path}: {name} is {repr(value)[:60]}, not {lacking}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; copy the file again") from None


def _lacking(value: object, kind: Any) -> str:
    """What a JSON value would have to be for a field of this type; empty where it is that."""
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is int:
        return "" if _counts(value) else "a whole number from 1"
    if kind == tuple[int, ...]:
        return "" if isinstance(value, list) and all(map(_counts, value)) else "a list of whole numbers from 1"
    if kind == float | None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
        return "" if value is None or number else "a number from 0 to 1"
    if get_origin(kind) is Literal:
        return "" if value in get_args(kind) else f"one of {', '.join(get_args(kind))}"
    return ""


def _counts(value: object) -> bool:
    return type(value) is int and value >= 1


def _read_meta(folder: Path, config: EncoderConfig) -> Meta:
    path = folder / META
    content = read_json(path) if path.is_file() else {}
    stats, step = content.get("mel_stats"), content.get("step")
    provenance, quantiser = content.get("provenance") or {}, content.get("quantiser")
    if step is not None and not (type(step) is int and step >= 0):
        raise InputError(f"{path}: step is {repr(step)[:60]}, not a whole number from 0; copy the file again")
    if not isinstance(provenance, dict) or not isinstance(quantiser, dict | None):
        raise InputError(f"{path}: provenance or quantiser is no JSON object; copy the file again")
    if stats is not None:
        try:
            if not isinstance(config.frontend, MelFrontend):
                raise ValueError(f"a {config.family} takes none")  # noqa: TRY004, TRY301 (a file's value, no type)
            stats = read_mel_stats(np.asarray(stats, np.float64), bins=config.frontend.bins)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: mel_stats: {error}") from None
    return Meta(step, stats, quantiser, provenance)
