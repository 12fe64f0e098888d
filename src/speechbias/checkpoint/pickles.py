"""Files of ``torch.save`` read without running anything in them: fairseq, MelHuBERT and other pickled checkpoints.

``read_torch_file`` gives plain dict, list, tuple, set, str, bytes, numbers, None and torch.dtype; ``LazyTensor`` for
tensors, checked against the file and not yet read; ``Inert`` for the classes known to stand in checkpoints (a
Namespace, a config, fairseq's Dictionary), of which ``plain`` makes dicts and values. Any other name in the file ends
the reading: InputError, one line. No fallback: nothing else ever opens the file.

The containers are in ``archives``, the pickles in them in ``unpickler``.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar, cast

from speechbias.checkpoint.archives import (
    AGAIN,
    LEGACY_MAGIC,
    LazyTensor,
    LegacyStorages,
    ZipArchive,
    begins_legacy,
    map_file,
    refuse,
    shown,
)
from speechbias.checkpoint.unpickler import Inert, Machine, key
from speechbias.errors import InputError, os_reason

__all__ = ["Inert", "LazyTensor", "plain", "read_torch_file"]

Content = TypeVar("Content")
VERBS = re.compile(r"(is|has|was|holds|stands) ")  # a problem that goes on from the name of the file
LEGACY_PROTOCOL = 1001
NUMPY_SCALARS = {"b1": "<?", "i4": "<i", "i8": "<q", "u4": "<I", "u8": "<Q", "f2": "<e", "f4": "<f", "f8": "<d"}
OPEN = object()  # stands for a container that ``plain`` is at work on


def read_torch_file(path: Path) -> object:
    """What a file of torch.save holds. InputError, one line, for whatever is wrong with the file."""
    return read_in_a_line(path, _read, what="a checkpoint")


def read_in_a_line(path: Path, read: Callable[[IO[bytes]], Content], *, what: str) -> Content:
    """What ``read`` makes of a file. InputError, one line that names the file, for whatever goes wrong."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder or no plain file; give the path of {what}")
    try:
        with path.open("rb") as file:
            return read(file)
    except InputError as error:
        said = str(error)
        raise InputError(f"{path}{'' if VERBS.match(said) else ':'} {said}") from None
    except OSError as error:
        why = os_reason(error, otherwise=shown(str(error)))
        raise InputError(f"{path} cannot be read ({why}); check the path") from None
    except Exception as error:  # noqa: BLE001 (damage ends in any exception; one line for all)
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise InputError(f"{path} is damaged or cut short ({reason}). {AGAIN}") from None


def _read(file: IO[bytes]) -> object:
    memory = map_file(file)
    if begins_legacy(memory[:32]):
        stream = cast("IO[bytes]", memory)  # it has the read, readline and tell that are needed
        return _read_legacy(stream, LegacyStorages(memory), len(memory))
    archive = ZipArchive(file, memory)
    return Machine(archive.storage, len(memory)).run(archive.pickle())


def _read_legacy(stream: IO[bytes], storages: LegacyStorages, size: int) -> object:
    """Number, version, facts about the machine, the object, the list of its storages: five pickles."""

    def read() -> object:
        return Machine(storages.storage, size).run(stream)

    if read() != LEGACY_MAGIC or read() != LEGACY_PROTOCOL:
        refuse("has an unknown version of torch's old format")
    machine = read()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        refuse("was written on a big-endian machine, which is not supported")
    whole = read()
    storages.place(read(), stream.tell())
    return whole


def plain(value: object) -> object:
    """Dicts, lists and values for the stand-ins in ``value``; tensors and what is plain already stay.

    A Namespace becomes its dict, omegaconf's containers and nodes what they hold ("???", a missing value, stays), an
    instance with a state (fairseq's configs and Dictionary) its dict, an enum its value, a path its text, and any
    other stand-in its arguments or None. InputError for what contains itself.
    """
    try:
        return _plain(value, {})
    except RecursionError:
        raise InputError(f"the settings in the checkpoint are nested too deeply. {AGAIN}") from None


def _plain(value: object, done: dict[int, tuple[object, object]]) -> Any:
    # ``done``: what became of a container, by its id, and the container, so that the id stays its own. What is shared
    # is opened once: a small file could double its settings until the memory is full.
    if not isinstance(value, dict | list | tuple | set | frozenset | Inert):
        return value
    if id(value) not in done:
        done[id(value)] = (value, OPEN)
        done[id(value)] = (value, _opened(value, done))
    result = done[id(value)][1]
    if result is OPEN:
        raise InputError(f"the settings in the checkpoint contain themselves. {AGAIN}")
    return result


def _opened(value: Any, done: dict[int, tuple[object, object]]) -> object:
    if isinstance(value, Inert):
        return _plain(_inside(value), done)
    if isinstance(value, dict):
        return {key(_plain(name, done)): _plain(item, done) for name, item in value.items()}
    items = [_plain(item, done) for item in value]
    if isinstance(value, set | frozenset):
        items = [key(item) for item in items]
    return type(value)(items)


def _inside(thing: Inert) -> object:
    """What a stand-in holds: its fields, its items or its arguments."""
    fields = _fields(thing.state)
    if thing.name.startswith("omegaconf."):
        for name in ("_content", "_val"):
            if name in fields:
                return fields[name]
    if fields or thing.name == "argparse.Namespace":
        return fields
    arguments = thing.args or ()
    if thing.name.startswith("pathlib.") and arguments and all(isinstance(part, str) for part in arguments):
        return str(PurePosixPath(*cast("tuple[str, ...]", arguments)))
    if thing.name.endswith(".multiarray.scalar"):
        return _numpy_scalar(*arguments)
    if len(arguments) == 1:
        return arguments[0]
    return list(arguments) or thing.items or None


def _numpy_scalar(kind: object = None, content: object = None) -> object:
    """A number that numpy pickled, little-endian as torch's files are; None for other kinds."""
    code = kind.args[0] if isinstance(kind, Inert) and kind.args else None
    layout = NUMPY_SCALARS.get(code) if isinstance(code, str) else None
    if layout is None or not isinstance(content, bytes) or len(content) != struct.calcsize(layout):
        return None
    return struct.unpack(layout, content)[0]


def _fields(state: object) -> dict[Any, Any]:
    """The fields of an instance: its __dict__, or the pair of it and its slots."""
    parts = state if isinstance(state, tuple) else (state,)
    return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
