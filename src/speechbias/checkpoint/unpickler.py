"""What the instructions of a pickle build, noted down and not run.

A pickle is a program. Python's own unpicklers, restricted or not, run it: what may be looked up may be called, changed
or filled, seven bytes take all memory (a memo's index) and a key nested a million deep ends the process. Here the
instructions are decoded by ``pickletools`` and followed one by one on our own stack. Names stay text: the few makers
below are found by name in a table, everything else known is ``Inert``, and a name on no list ends the reading.

Shared with ``archives``: errors are InputError without the file's name, ``refuse`` adds the remedy.
"""

import pickletools
import re
from collections.abc import Callable, Collection, Iterable
from typing import IO, Any, NoReturn

import torch

from speechbias.checkpoint.archives import LazyTensor, refuse, shown, storage_view
from speechbias.errors import InputError

STORAGES = {  # how a pickle names the type of a storage
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.UntypedStorage": torch.uint8,
    "torch.storage.UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype): dtype for dtype in STORAGES.values()}
INERT_MODULES = re.compile(  # of which classes are inert: names with a capital
    r"(omegaconf|fairseq\.(data\.dictionary|dataclass|models|tasks|criterions|optim|meters|logging))(\.\w+)*"
    r"|typing|pathlib(\._local)?|numpy\.dtypes"
)
INERT_NAMES = {
    "argparse.Namespace",
    "torch.device",
    "torch.storage.TypedStorage",
    "numpy.ndarray",
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    *(f"builtins.{name}" for name in ("object", "bool", "int", "float", "str", "bytearray")),
}
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "_operator": "operator"}  # Python 2's names, and C's
TYPES_RENAMED = {"builtins.unicode": "builtins.str", "builtins.long": "builtins.int"}  # protocol 2 writes Python 2


class Inert:
    """A thing that was named and not made. ``args`` is None where only its name stands (a class as a value)."""

    __slots__ = ("args", "items", "name", "state")

    def __init__(self, name: str, args: tuple[object, ...] | None = None) -> None:
        self.name = name
        self.args = args
        self.state: object = None
        self.items: list[object] = []  # what it would have been filled with; for a mapping its pairs

    def __repr__(self) -> str:
        return f"<inert {self.name}>"


class Machine:
    """Follows one pickle. ``size``, the bytes of the file, limits how much may be copied."""

    also: frozenset[str] = frozenset()  # names that are inert in this kind of file beside those in the lists above

    def __init__(self, storage: Callable[[str, torch.dtype, int], LazyTensor], size: int) -> None:
        self._storage = storage
        self._credit = size
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes | IO[bytes]) -> object:
        """What the pickle holds; a stream is left behind its last byte."""
        for instruction, argument, _ in pickletools.genops(program):
            if instruction.name in LITERALS:
                self.stack.append(argument)
            elif instruction.name in STEPS:
                STEPS[instruction.name](self, argument)
            else:
                refuse(f"it uses the pickle instruction {instruction.name}, which no checkpoint needs")
        return self.stack.pop()

    def find(self, module: object, name: object) -> Inert | torch.dtype:
        """What stands for a global name."""
        return find(module, name, self.also)

    def since_mark(self) -> list[Any]:
        """Take what was put on the stack since the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def replace(self, count: int, make: Callable[..., object]) -> None:
        """Put what ``make``, a function of ours, makes of the last ``count`` things in their place."""
        things = self.stack[-count:]
        if len(things) < count:
            refuse("is damaged (a pickle instruction finds nothing to work on)")
        del self.stack[-count:]
        self.stack.append(make(*things))

    def copied(self, items: object) -> list[Any]:
        """The items of a container. All copies together have no more of them than the file has bytes."""
        if not isinstance(items, list | tuple | set | frozenset | str):
            raise TypeError
        self._credit -= len(items)
        if self._credit < 0:
            refuse("it copies one part again and again, until the memory would be full")
        return list(items)

    def fill(self, items: list[Any]) -> None:
        """Add items to a list, a set or a stand-in."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(map(key, items))
        else:
            _instance(target, "fills").items.extend(items)

    def fill_pairs(self, items: list[Any]) -> None:
        """Add keys and values, one after the other, to a dict or a stand-in."""
        target, pairs = self.stack[-1], zip(items[::2], items[1::2], strict=True)
        if type(target) is dict:
            target.update(_mapping(pairs))
        else:
            _instance(target, "fills").items.extend(pairs)

    def build(self) -> None:
        """Note the state of a stand-in. That of an OrderedDict (the _metadata of a state dict) is not needed."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is not dict:
            _instance(target, "changes").state = state

    def call(self, function: object, args: object, *named: object) -> object:
        """What stands for ``function(*args)``: made by our maker of that name, or inert."""
        if not isinstance(function, Inert) or function.args is not None or function.name in STORAGES:
            _refuse_to("calls", function)
        if type(args) is not tuple:
            refuse(f"it calls {shown(function.name)} with a {type(args).__name__} for its arguments")
        if function.name not in MAKERS:
            return Inert(function.name, args + named)
        try:
            return MAKERS[function.name](self, *args, *named)
        except InputError:
            raise
        except (TypeError, ValueError, OverflowError):
            refuse(f"it calls {function.name} with arguments that no checkpoint has")

    def persistent(self, identity: object) -> LazyTensor:
        """The storage of a persistent id: ("storage", type, key, device, number of elements[, view])."""
        if type(identity) is not tuple or not 5 <= len(identity) <= 6 or _text(identity[0]) != "storage":
            refuse("it holds more than tensors beside the pickle, perhaps a whole model with its class")
        kind, name, count = identity[1], _text(identity[2]), identity[4]
        if not isinstance(kind, Inert) or kind.args is not None or kind.name not in STORAGES:
            _refuse_to("takes for the type of a storage", kind)
        if not re.fullmatch(r"[0-9]{1,24}", name):
            refuse(f"it names the storage {shown(name) or 'with no text'}, which is no number")
        if type(count) is not int or not 0 <= count < 1 << 60:
            refuse(f"storage {name} has {shown(count)} elements")
        if identity[5:] not in ((), (None,)):
            refuse("it has views of storages, as torch wrote them before version 0.4, which is not supported")
        return self._storage(name, STORAGES[kind.name], count)


def key(value: Any) -> Any:
    """A key of a dict or item of a set, if it is flat: hashing nested tuples takes for ever or overflows the stack."""
    parts = value if type(value) is tuple and len(value) <= 16 else (value,)
    for part in parts:
        simple = isinstance(part, str | bytes | float | Inert | torch.dtype | None)  # an Inert equals only itself
        if not simple and not (isinstance(part, int) and part.bit_length() <= 64):
            refuse(f"it has a {type(value).__name__} for a key")
    return value


def _mapping(pairs: Iterable[Any]) -> dict[Any, Any]:
    return {key(name): value for name, value in pairs}


def _text(value: object) -> str:
    """A text, which Python 2 wrote as bytes."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _instance(target: object, act: str) -> Inert:
    """A stand-in for an instance; nothing else may be acted on."""
    if isinstance(target, Inert) and target.args is not None:
        return target
    return _refuse_to(act, target)


def _refuse_to(act: str, thing: object) -> NoReturn:
    name = shown(thing.name) if isinstance(thing, Inert) else f"a {type(thing).__name__}"
    refuse(f"it {act} {name}; nothing was run")


def find(module: object, name: object, also: Collection[str] = ()) -> Inert | torch.dtype:
    """What stands for a global name. Nothing is looked up anywhere but in the lists above and in ``also``."""
    if not isinstance(module, str) or not isinstance(name, str):
        return refuse("it asks for a name that is no text")
    module = RENAMED.get(module, module)
    full = TYPES_RENAMED.get(f"{module}.{name}", f"{module}.{name}")
    if re.fullmatch(r"[A-Za-z_]\w*", name):  # no dot: which part is the module leaves no doubt
        if full in DTYPES:
            return DTYPES[full]
        inert = full in INERT_NAMES or full in also or (name[0].isupper() and INERT_MODULES.fullmatch(module))
        if inert or full in MAKERS or full in STORAGES:
            return Inert(full)
    return refuse(f"it asks for {shown(full)}, which no checkpoint needs; nothing was run")


def _tensor(_: Machine, storage: object, offset: object, shape: object, strides: object, *more: object) -> LazyTensor:
    if not isinstance(storage, LazyTensor) or any(more[2:]):  # more: gradient wanted, hooks; then conjugate, negative
        raise TypeError
    return storage_view(storage, offset, shape, strides)


def _parameter(_: Machine, data: object, *_more: object) -> LazyTensor:
    if not isinstance(data, LazyTensor):
        raise TypeError
    return data


def _bytes(machine: Machine, text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes, which protocol 2 writes as text of the same numbers."""
    if encoding != "latin1":
        raise ValueError
    return "".join(machine.copied(text)).encode("latin1")


def _typing(_: Machine, alias: object, parameter: object) -> Inert:
    """``typing.Optional[int]`` and the like, the type of a field in a config."""
    if not isinstance(alias, Inert) or not alias.name.startswith("typing."):
        raise TypeError
    return Inert(alias.name, (parameter,))


def _none_type(_: Machine, value: object) -> Inert:
    if value is not None:
        raise TypeError
    return Inert("builtins.NoneType")


def _instance_of(_: Machine, kind: object, _base: object, state: object) -> Inert:
    if not isinstance(kind, Inert) or kind.args is not None:
        raise TypeError
    return Inert(kind.name, () if state is None else (state,))


MAKERS: dict[str, Callable[..., object]] = {
    "_codecs.encode": _bytes,
    "builtins.bytes": _bytes,
    "builtins.complex": lambda _, real, imaginary: complex(real, imaginary),
    "builtins.dict": lambda machine, pairs=(): _mapping(machine.copied(pairs)),
    "builtins.frozenset": lambda machine, items=(): frozenset(map(key, machine.copied(items))),
    "builtins.list": lambda machine, items=(): machine.copied(items),
    "builtins.set": lambda machine, items=(): set(map(key, machine.copied(items))),
    "builtins.tuple": lambda machine, items=(): tuple(machine.copied(items)),
    "builtins.type": _none_type,
    "collections.OrderedDict": lambda machine, pairs=(): _mapping(machine.copied(pairs)),
    "collections.defaultdict": lambda _, _factory=None: {},
    "copyreg._reconstructor": _instance_of,
    "operator.getitem": _typing,
    "torch.Size": lambda machine, sizes: tuple(machine.copied(sizes)),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
}
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
STEPS: dict[str, Callable[[Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _, __: None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, index: m.memo.update({index: m.stack[-1]})),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, index: m.stack.append(m.memo[index])),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m.fill(m.since_mark())),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.replace(2, m.call)),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_SET": lambda m, _: m.stack.append(set()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.replace(1, lambda *items: items),
    "TUPLE2": lambda m, _: m.replace(2, lambda *items: items),
    "TUPLE3": lambda m, _: m.replace(3, lambda *items: items),
    "FROZENSET": lambda m, _: m.stack.append(frozenset(map(key, m.since_mark()))),
    "APPEND": lambda m, _: m.fill([m.stack.pop()]),
    "SETITEM": lambda m, _: m.fill_pairs([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.fill_pairs(m.since_mark()),
    "GLOBAL": lambda m, names: m.stack.append(m.find(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: m.replace(2, m.find),
    "NEWOBJ_EX": lambda m, _: m.replace(3, m.call),
    "BINPERSID": lambda m, _: m.replace(1, m.persistent),
    "BUILD": lambda m, _: m.build(),
}
