"""Checkpoints of torch.save: what honest ones hold, and that hostile ones end in one line before anything happens."""

import argparse
import collections
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from speechbias.checkpoint import pickles
from speechbias.checkpoint.pickles import Inert, LazyTensor, plain, read_torch_file
from speechbias.errors import InputError

SOURCES = Path(__file__).parents[2] / "src"
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]
MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}

formats = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


def save(path, value, new=True, **options):
    torch.save(value, path, _use_new_zipfile_serialization=new, **options)
    return path


def loaded(value):
    """The same containers with tensors in the place of lazy ones."""
    if isinstance(value, LazyTensor):
        return value.load()
    if isinstance(value, dict):
        return {key: loaded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(loaded(item) for item in value)
    return value


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert ours.stride() == theirs.stride()
        assert torch.equal(ours, theirs.detach())
    elif isinstance(theirs, dict):
        assert type(ours) is dict
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_same(our, their)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)


# Honest files


@formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_dtype(tmp_path, dtype, new):
    torch.manual_seed(0)
    value = {"x": (torch.randn(3, 5) * 50).to(dtype), "dtype": dtype}
    path = save(tmp_path / "x", value, new)
    lazy = read_torch_file(path)
    assert (lazy["x"].dtype, lazy["x"].shape) == (dtype, (3, 5))
    assert_same(loaded(lazy), torch.load(path, weights_only=True))


@formats
def test_nested_containers_and_views(tmp_path, new):
    base = torch.arange(60, dtype=torch.float32).reshape(5, 12)
    value = {
        "shared": [base, base[1:3], base.t(), base[:, ::3], base[4, 11]],
        "empty": (torch.zeros(0), torch.zeros(0, 7), base[5:, 3:]),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "expanded": torch.ones(1).expand(6),
        "odd": torch.arange(3, dtype=torch.uint8),  # the next storage of the old format lies on no multiple of 8
        "after": torch.arange(4, dtype=torch.float64),
        "size": base.size(),
        "ordered": collections.OrderedDict(a=1, b=(None, True, 1.5, -(2**70), "ä", [])),
        7: {"nested": {"deep": [{}]}},
    }
    path = save(tmp_path / "x", value, new)
    assert_same(loaded(read_torch_file(path)), torch.load(path, weights_only=True))


@formats
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, new, protocol):
    value = {"b": b"\x00\xff", "e": b"", "s": {1, 2}, "f": frozenset({"a"}), "c": 1 + 2j, "t": torch.ones(2)}
    ours = read_torch_file(save(tmp_path / "x", value, new, pickle_protocol=protocol))
    assert torch.equal(ours.pop("t").load(), value.pop("t"))
    assert ours == value


def test_a_state_dict_with_metadata_and_an_optimizer(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    value = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    path = save(tmp_path / "x", value)
    ours = loaded(read_torch_file(path))
    assert_same(ours, torch.load(path, weights_only=True))
    model.load_state_dict(ours["model"])


def test_a_shared_storage_stays_shared(tmp_path):
    base = torch.zeros(8)
    one, two = (tensor.load() for tensor in read_torch_file(save(tmp_path / "x", [base, base[4:]])))
    one[4] = 3
    assert two[0] == 3


@formats
def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path, new):
    path = save(tmp_path / "x", {"w": torch.ones(1000)}, new)
    before = path.read_bytes()
    weights = read_torch_file(path)["w"].load()
    weights.fill_(5)
    assert weights.sum() == 5000
    assert path.read_bytes() == before
    assert read_torch_file(path)["w"].load().sum() == 1000


def resident():
    """Bytes of mapped files in memory."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_an_optimizer_is_not_read(tmp_path):
    path = save(tmp_path / "x", {"model": torch.ones(4), "optimizer": torch.ones(10_000_000)})
    before = resident()
    tracemalloc.start()
    try:
        value = read_torch_file(path)
        assert value["model"].load().sum() == 4
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert resident() - before < 8_000_000
    assert value["optimizer"].load().sum() == 10_000_000


def test_the_file_may_be_unlinked_while_its_tensors_are_used(tmp_path):
    path = save(tmp_path / "x", torch.ones(3))
    lazy = read_torch_file(path)
    path.unlink()
    assert lazy.load().sum() == 3


# Files as fairseq, omegaconf and the compression toolkits write them, made by packages that do not exist here

STUBS = {
    "omegaconf/__init__.py": "",
    "omegaconf/base.py": """
        class Metadata:
            def __init__(self, **fields): self.__dict__.update(fields)
        class ContainerMetadata(Metadata): pass
    """,
    "omegaconf/nodes.py": """
        class AnyNode:
            def __init__(self, value, parent): self._val, self._parent, self._metadata = value, parent, None
    """,
    "omegaconf/listconfig.py": "class ListConfig: pass",
    "omegaconf/dictconfig.py": """
        import typing
        from omegaconf.base import ContainerMetadata
        from omegaconf.listconfig import ListConfig
        from omegaconf.nodes import AnyNode
        class DictConfig:
            def __getstate__(self): return self.__dict__
            def __setstate__(self, state): self.__dict__.update(state)
        def wrap(value, parent=None):
            if not isinstance(value, (dict, list)):
                return AnyNode(value, parent)
            node = DictConfig() if isinstance(value, dict) else ListConfig()
            kinds = dict(ref_type=typing.Any, object_type=dict, key_type=typing.Optional[str], element_type=None)
            node._metadata, node._parent = ContainerMetadata(**kinds, none=type(None)), parent
            if isinstance(value, dict):
                node._content = {key: wrap(item, node) for key, item in value.items()}
            else:
                node._content = [wrap(item, node) for item in value]
            return node
    """,
    "fairseq/__init__.py": "",
    "fairseq/data/__init__.py": "",
    "fairseq/data/dictionary.py": """
        class Dictionary:
            def __init__(self): self.symbols, self.count, self.indices = ["<s>", "0"], [1, 1], {"<s>": 0, "0": 1}
    """,
    "fairseq/dataclass/__init__.py": "",
    "fairseq/dataclass/constants.py": """
        from enum import Enum
        class ChoiceEnum(Enum): static = "static"
        ChoiceEnum.__reduce_ex__ = lambda self, protocol: (ChoiceEnum, (self.value,))
    """,
    "fairseq/dataclass/configs.py": """
        import dataclasses
        @dataclasses.dataclass
        class CommonConfig:
            seed: int = 1
            log: object = "???"
    """,
}
MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
import argparse, collections, pathlib
import numpy as np, torch
from fairseq.data.dictionary import Dictionary
from fairseq.dataclass.configs import CommonConfig
from fairseq.dataclass.constants import ChoiceEnum
from omegaconf.dictconfig import DictConfig, wrap
cfg = wrap({"model": {"_name": "hubert", "layers": [1, 2.5, None], "mask": ChoiceEnum.static, "miss": "???"}})
absent = DictConfig()
absent._content = None
value = {
    "args": argparse.Namespace(arch="wav2vec2", lr=[0.0005], path=pathlib.PurePosixPath("/a/b"), inner=CommonConfig()),
    "cfg": cfg,
    "absent": absent,
    "empty": argparse.Namespace(),
    "model": collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3)),
    "task_state": {"dictionaries": [Dictionary()], "twice": ChoiceEnum.static},
    "extra_state": {
        "loss": np.float64(1.5), "random": ("MT19937", np.arange(4, dtype=np.uint32), 3), "flag": np.bool_(True),
        "strings": np.array(["a"]), "groups": collections.defaultdict(list, {"a": [1]}),
        "device": torch.device("cpu"), "kind": int,
    },
}
torch.save(value, sys.argv[2], _use_new_zipfile_serialization=sys.argv[3] == "True")
"""


@formats
def test_files_of_packages_that_are_not_here(tmp_path, new):
    for name, text in STUBS.items():
        (tmp_path / "stubs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "stubs" / name).write_text(textwrap.dedent(text))
    path = tmp_path / "wav2vec_small.pt"
    subprocess.run([sys.executable, "-c", MAKE, tmp_path / "stubs", path, str(new)], check=True)
    before = set(sys.modules)
    value = read_torch_file(path)
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"fairseq", "omegaconf", "argparse"}
    assert "fairseq" not in sys.modules
    assert "omegaconf" not in sys.modules

    assert isinstance(value["args"], Inert)
    assert value["args"].name == "argparse.Namespace"
    assert value["cfg"].state["_content"]["model"].name == "omegaconf.dictconfig.DictConfig"
    dictionary = value["task_state"]["dictionaries"][0]
    assert repr(dictionary) == "<inert fairseq.data.dictionary.Dictionary>"

    opened = plain(value)
    inner = {"seed": 1, "log": "???"}
    assert opened["args"] == {"arch": "wav2vec2", "lr": [0.0005], "path": "/a/b", "inner": inner}
    model = {"_name": "hubert", "layers": [1, 2.5, None], "mask": "static", "miss": "???"}
    assert opened["cfg"] == {"model": model}
    assert opened["absent"] is None
    assert opened["empty"] == {}
    assert torch.equal(opened["model"]["w"].load(), torch.arange(6.0).reshape(2, 3))
    indices = {"<s>": 0, "0": 1}
    assert opened["task_state"]["dictionaries"] == [{"symbols": ["<s>", "0"], "count": [1, 1], "indices": indices}]
    assert opened["task_state"]["twice"] == "static"
    assert opened["extra_state"]["groups"] == {"a": [1]}
    assert opened["extra_state"]["random"][0] == "MT19937"
    assert opened["extra_state"]["kind"] is None


def test_plain_opens_keys_sets_and_slots():
    enum = Inert("fairseq.dataclass.constants.Choice", ("static",))
    slots = Inert("fairseq.models.Thing", ())
    slots.state = (None, {"a": 1})
    many = Inert("torch.device", ("cuda", 0))
    filled = Inert("fairseq.models.Names", ())
    filled.items = [("a", 1)]
    assert plain([{enum: {enum}}, slots, many, Inert("typing.Any"), filled, frozenset({1})]) == [
        *({"static": {"static"}}, {"a": 1}, ["cuda", 0], None, [("a", 1)], frozenset({1}))
    ]


def test_plain_survives_what_nests_repeats_or_contains_itself():
    loop = Inert("argparse.Namespace", ())
    loop.state = {"me": [loop]}
    with pytest.raises(InputError, match="contain themselves"):
        plain(loop)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError, match="nested too deeply"):
        plain(deep)
    doubling = [1]
    for _ in range(60):
        doubling = [doubling, doubling]
    assert plain(doubling)[0][1][0] is not None
    with pytest.raises(InputError, match="for a key"):
        plain({Inert("fairseq.models.Names", ([1],)): 1})


# Hostile files


def zipped(path, program, *, entries=(), compression=zipfile.ZIP_STORED, prefix="archive/"):
    """A zip file of torch.save around a pickle; ``entries`` are further records."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{prefix}data.pkl", program)
        for name, content in (("byteorder", b"little"), ("version", b"3\n"), *entries):
            archive.writestr(f"{prefix}{name}", content)
    return path


def legacy(path, program, *, keys=(), storages=b"", system=SYSTEM):
    """A file of the old format around a pickle."""
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    path.write_bytes(head + program + pickle.dumps(list(keys), 2) + storages)
    return path


def refused(path, *needles):
    """The one line of the InputError, which names the file and every needle."""
    with pytest.raises(InputError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 600
    for needle in (str(path), *needles):
        assert needle in message
    return message


def call(name, *arguments, more=b""):
    """A pickle that calls module.name(*arguments)."""
    module, _, function = name.rpartition(".")
    parts = [pickle.dumps(argument, 2)[2:-1].replace(b"q\x00", b"") for argument in arguments]
    return b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"(" + b"".join(parts) + b"tR" + more + b"."


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


GLOBAL = {
    "dict": b"cargparse\nNamespace\n",
    "float": b"ctorch\nFloatStorage\n",
    "tensor": b"ctorch._utils\n_rebuild_tensor_v2\n",
}


def storage(key="0", kind=b"ctorch\nFloatStorage\n", count=2, view=b""):
    number = b"\x8a\x08" + struct.pack("<q", count)
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number + view + b"tQ"


def tensor(where, offset=0, shape=(2,), strides=(1,)):
    numbers = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, shape, strides))
    numbers = re.sub(rb"q[\x00-\x03]", b"", numbers)
    return b"\x80\x02" + GLOBAL["tensor"] + b"(" + where + numbers + b"\x89ccollections\nOrderedDict\n)RtR."


def zip_of_tensor(path, *where, content=b"\x00" * 8, **options):
    return zipped(path, tensor(*where or (storage(),), **options), entries=[("data/0", content)])


CANARY = "CANARY"
COMMAND = f"touch {CANARY}"
RUNNERS = {
    "os.system": (COMMAND,),
    "posix.system": (COMMAND,),
    "nt.system": (COMMAND,),
    "builtins.eval": (f"open('{CANARY}', 'w')",),
    "builtins.exec": (f"open('{CANARY}', 'w')",),
    "__builtin__.eval": (f"open('{CANARY}', 'w')",),
    "builtins.open": (CANARY, "w"),
    "builtins.getattr": ("", "__class__"),
    "builtins.__import__": ("antigravity",),
    "subprocess.Popen": (["touch", CANARY],),
    "runpy._run_code": (f"open('{CANARY}', 'w')", {}),
    "torch.load": (CANARY,),
    "torch.hub.load": (CANARY,),
    "torch._utils._rebuild_wrapper_subclass": (1,),
    "torch.storage._load_from_bytes": (b"",),
    "numpy.load": (CANARY,),
    "numpy.core.multiarray.fromfile": (CANARY,),
    "importlib.import_module": ("antigravity",),
    "pickle.loads": (b"",),
    "codecs.decode": ("", "rot13"),
    "fairseq.utils.import_user_module": (1,),
    "fairseq_evil.models.x": (),
    "omegaconfx.y": (),
    "collections.Counter": (),
    "torch.Tensor": (3,),
    "speechbias.cli.main": (),
}


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / CANARY).exists()


@formats
@pytest.mark.parametrize("name", RUNNERS)
def test_a_name_on_no_list_is_not_even_looked_up(tmp_path, canary, new, name):
    before = set(sys.modules)
    write = zipped if new else legacy
    path = write(tmp_path / "x.pt", call(name, *RUNNERS[name]))
    message = refused(path, name.replace("__builtin__", "builtins"), "nothing was run")
    assert message.endswith("Get the file from its authors again.")
    assert set(sys.modules) - before <= {"encodings.cp437"}  # zipfile's own, at its first zip


@pytest.mark.parametrize("part", ["magic", "version", "system", "keys"])
def test_every_pickle_of_the_old_format_is_restricted(tmp_path, canary, part):
    parts = {"magic": MAGIC, "version": 1001, "system": SYSTEM, "object": {}, "keys": []}
    programs = {name: pickle.dumps(value, 2) for name, value in parts.items()}
    evil = call("os.system", COMMAND)
    programs[part] = evil if part != "magic" else programs["magic"][:-1] + b"0" + evil[2:]
    path = tmp_path / "x.pt"
    path.write_bytes(b"".join(programs.values()))
    refused(path, "os.system")


EVIL = call("os.system", COMMAND)[2:-1]
HIDDEN = {
    "in the arguments of an allowed call": b"\x80\x02ccollections\nOrderedDict\n(]" + EVIL + b"atR.",
    "in the arguments of a stand-in": b"\x80\x02cfairseq.models\nX\n(" + EVIL + b"tR.",
    "in a state": b"\x80\x02cargparse\nNamespace\n)\x81}" + text("a") + EVIL + b"sb.",
    "as a key": b"\x80\x02}" + EVIL + b"Ns.",
    "in a persistent id": b"\x80\x02(" + text("storage") + EVIL + text("0") + text("cpu") + b"K\x01tQ.",
    "in thrown away parts": b"\x80\x02(" + EVIL + b"1N.",
    "behind the memo": b"\x80\x04cargparse\nNamespace\n\x940" + EVIL + b"\x94.",
}


@formats
@pytest.mark.parametrize("program", HIDDEN.values(), ids=HIDDEN)
def test_a_call_hidden_somewhere(tmp_path, canary, new, program):
    refused((zipped if new else legacy)(tmp_path / "x.pt", program), "os.system")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fairseq.models", "os.system"),
        ("torch", "_utils._rebuild_tensor_v2"),
        ("argparse", "Namespace.__init__"),
        ("typing", "sys.modules"),
        ("builtins", "int.__class__"),
        ("omegaconf", ""),
        ("os\nevil", "system"),
        ("os\x1b[2J", "system"),
        ("os", "system\r\n" + "x" * 100_000),
        ("os", "\u202esystem"),
    ],
)
def test_names_with_dots_or_control_characters(tmp_path, canary, module, name):
    program = b"\x80\x04" + text(module) + text(name) + b"\x93(" + text(COMMAND) + b"tR."
    shown = f"{module}.{name}".encode("unicode_escape").decode()[:60]
    refused(zipped(tmp_path / "x.pt", program), shown, "nothing was run")


CHANGES = {
    "a class": (GLOBAL["dict"] + b"}" + text("x") + b"K\x01sb.", "changes argparse.Namespace"),
    "a maker": (b"ccollections\nOrderedDict\n}" + text("__call__") + b"K\x01sb.", "changes collections.OrderedDict"),
    "a type of storage": (GLOBAL["float"] + b"}" + text("dtype") + b"K\x01sb.", "changes torch.FloatStorage"),
    "a storage": (storage() + b"}" + text("offset") + b"K\x7fsb.", "changes a LazyTensor"),
    "a dtype": (b"ctorch\nfloat32\n}" + text("itemsize") + b"K\x7fsb.", "changes a dtype"),
    "a tensor": (tensor(storage())[2:-1] + b"(K\x01K\x02tb.", "changes a LazyTensor"),
    "slots of a tensor": (tensor(storage())[2:-1] + b"N}" + text("offset") + b"K\x7fs\x86b.", "changes a LazyTensor"),
    "a list": (b"]N}" + text("append") + b"Ns\x86b.", "changes a list"),
    "items of a class": (GLOBAL["dict"] + b"K\x01a.", "fills argparse.Namespace"),
    "items of a tuple": (b")K\x01a.", "fills a tuple"),
    "keys of a list": (b"]K\x00K\x01s.", "fills a list"),
    "a called list": (b"])R.", "calls a list"),
    "a called storage type": (GLOBAL["float"] + b"K\x09\x85R.", "calls torch.FloatStorage"),
    "a called tensor": (storage() + b")\x81.", "calls a LazyTensor"),
    "a called stand-in": (GLOBAL["dict"] + b")R)R.", "calls argparse.Namespace"),
    "a list of arguments": (GLOBAL["dict"] + b"]R.", "calls argparse.Namespace with a list"),
}


@pytest.mark.parametrize(("program", "message"), CHANGES.values(), ids=CHANGES)
def test_only_stand_ins_are_changed_filled_or_called(tmp_path, program, message):
    path = zipped(tmp_path / "x.pt", b"\x80\x02" + program, entries=[("data/0", b"\x00" * 8)])
    refused(path, message)


ODD_CALLS = {
    "_codecs.encode": ("abc", "rot13"),
    "builtins.bytes": (10**10,),
    "builtins.list": (10**10,),
    "builtins.set": ([[]],),
    "builtins.complex": ("1", "2"),
    "builtins.type": ("X", (), {}),
    "operator.getitem": ({"a": 1}, "a"),
    "torch.Size": (10**10,),
    "torch._utils._rebuild_tensor_v2": (1, 0, (1,), (1,), False, None),
    "torch._utils._rebuild_parameter": (1, False, None),
    "copyreg._reconstructor": (1, 2, 3),
}


@pytest.mark.parametrize("name", ODD_CALLS)
def test_known_calls_with_unknown_arguments(tmp_path, name):
    message = refused(zipped(tmp_path / "x.pt", call(name, *ODD_CALLS[name])))
    assert name in message or "for a key" in message


@pytest.mark.parametrize("name", ["bytearray", "int", "float", "str", "bool", "object"])
def test_builtin_types_stay_names(tmp_path, name):
    value = read_torch_file(zipped(tmp_path / "x.pt", call(f"builtins.{name}", 10**10)))
    assert (value.name, value.args) == (f"builtins.{name}", (10**10,))


# Each of these is some bytes to some kilobytes; Python's own unpickler takes gigabytes, hours or ends the process.
BOMBS = {
    "bytes of 10 GB": b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"x.",
    "text of 10 GB": b"\x80\x04\x8d" + struct.pack("<Q", 10**10) + b"x.",
    "bytes of 2^64": b"\x80\x04\x8e" + b"\xff" * 8 + b"x.",
    "number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "negative number of bytes": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "tuples in tuples as a key": b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",
    "doubled tuples as a key": b"\x80\x02})" + b"2\x86" * 60 + b"Ns.",
    "doubled tuples in a set": b"\x80\x04\x8f()" + b"2\x86" * 60 + b"\x90.",
    "doubled tuples in a frozenset": b"\x80\x04()" + b"2\x86" * 60 + b"\x91.",
    "doubled tuples for a count": b"\x80\x02("
    + text("storage")
    + GLOBAL["float"]
    + text("0")
    + text("cpu")
    + b")"
    + b"2\x86" * 60
    + b"tQ.",
    "doubled tuples for a key of a storage": b"\x80\x02("
    + text("storage")
    + GLOBAL["float"]
    + b")"
    + b"2\x86" * 60
    + text("cpu")
    + b"K\x01tQ.",
    "doubled tuples for an offset": b"\x80\x02"
    + GLOBAL["tensor"]
    + b"("
    + storage(view=b"N")[:-1].replace(b"\x02" + b"\x00" * 7, b"\x00" * 8)
    + b"Q)"
    + b"2\x86" * 60
    + b"))tR.",
    "doubled tuples for an encoding": b"\x80\x02c_codecs\nencode\n(" + text("x") + b")" + b"2\x86" * 60 + b"tR.",
    "doubled tuples for metadata": b"\x80\x02cbuiltins\ncomplex\n()" + b"2\x86" * 60 + b"2tR.",
    "doubled tuples as a view": b"\x80\x02" + storage(view=b")" + b"2\x86" * 60) + b".",
    "long number as a key": b"\x80\x02}\x8b\x00\x01\x00\x00" + b"\x01" * 256 + b"Ns.",
    "copied again and again": b"\x80\x02](" + b"N" * 2000 + b"e" + b"q\x00cbuiltins\ntuple\nh\x00\x85R" * 2000 + b".",
    "encoded again and again": b"\x80\x02"
    + text("x" * 9000)
    + b"q\x000"
    + b"c_codecs\nencode\nh\x00\x85R" * 5000
    + b".",
    "registered extension": b"\x80\x02\x82\x01.",
    "buffer": b"\x80\x05\x97.",
    "bytearray of 10 GB": b"\x80\x05\x96" + struct.pack("<Q", 10**10) + b"x.",
    "old instance": b"(ios\nsystem\n.",
    "nothing to call": b"\x80\x02R.",
    "nothing": b"",
    "no mark": b"\x80\x02t.",
    "no memo": b"\x80\x02h\x07.",
    "odd keys": b"\x80\x02}(K\x01u.",
    "no text": b"\x80\x04]]\x93.",
    "surrogates": b"\x80\x04\x8c\x03\xed\xa0\x80\x8c\x01x\x93.",
    "unknown instruction": b"\x80\x02\xff.",
    "text as persistent id": b"Pos\n.",
}


@formats
@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS)
def test_bombs_fizzle(tmp_path, canary, new, program):
    path = (zipped if new else legacy)(tmp_path / "x.pt", program)
    tracemalloc.start()
    try:
        refused(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_a_memo_index_is_no_size(tmp_path):
    assert read_torch_file(zipped(tmp_path / "x.pt", b"\x80\x02Nr\xff\xff\xff\xff.")) is None


def test_deep_nests_are_built_and_thrown_away(tmp_path):
    tuples = b"\x80\x02)" + b"\x85" * 100_000 + b"."
    assert isinstance(read_torch_file(zipped(tmp_path / "x.pt", tuples)), tuple)
    instances = b"\x80\x02cfairseq.models\nX\nq\x00)" + b"q\x010h\x00h\x01R\x85" * 100_000 + b"."
    value = read_torch_file(zipped(tmp_path / "x.pt", instances))
    assert value[0].name == "fairseq.models.X"
    with pytest.raises(InputError, match="nested too deeply"):
        plain(value)


CLAIMS = {
    "10 GB in its shape": {"shape": (2_500_000_000,)},
    "10 GB through its stride": {"shape": (2,), "strides": (2_500_000_000,)},
    "10 GB through its offset": {"offset": 2_500_000_000},
    "10 GB without a stride": {"shape": (2_500_000_000,), "strides": (0,)},
    "an element more": {"shape": (3,)},
    "an element more by its offset": {"offset": 1},
    "an overflow": {"shape": (2**32, 2**32), "strides": (0, 0)},
    "an overflow in nothing": {"shape": (0, 2**62, 2**62), "strides": (1, 1, 1)},
    "a negative size": {"shape": (-1,)},
    "a negative stride": {"strides": (-1,)},
    "a negative offset": {"offset": -1},
    "a huge stride": {"strides": (2**63,)},
    "a stride too few": {"shape": (1, 2)},
    "a size of True": {"shape": (True,)},
    "a size of 2.0": {"shape": (2.0,)},
    "a text for a shape": {"shape": "12"},
    "a long number": {"offset": 10**5000},
    "tuples for a size": {"shape": (((1, 2), (3,)),)},
    "70 axes": {"shape": (1,) * 70, "strides": (1,) * 70},
}


@formats
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_tensor_lies_in_its_storage(tmp_path, new, claim):
    storages = struct.pack("<q", 2) + b"\x00" * 8
    path = tmp_path / "x.pt"
    if new:
        zip_of_tensor(path, **claim)
    else:
        legacy(path, tensor(storage(view=b"N"), **claim), keys=["0"], storages=storages)
    assert path.stat().st_size < 3000
    message = refused(path)
    assert "tensor" in message
    assert "damaged" not in message


@formats
@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2_500_000_000, 2**62])
def test_a_storage_has_the_size_it_claims(tmp_path, new, count):
    path = tmp_path / "x.pt"
    if new:
        zip_of_tensor(path, storage(count=count))
    else:
        program = tensor(storage(count=count), shape=(0,))
        legacy(path, program, keys=["0"], storages=struct.pack("<q", 2) + b"\x00" * 8)
    refused(path, "storage 0")


PERSISTENT = {
    "no storage": (b"(" + text("module") + GLOBAL["dict"] + text("x.py") + text("") + b"NtQ", "whole model"),
    "a text": (text("0") + b"Q", "more than tensors"),
    "too short": (b"(" + text("storage") + b"tQ", "more than tensors"),
    "a class for the type": (storage(kind=GLOBAL["dict"]), "argparse.Namespace"),
    "a dtype for the type": (storage(kind=b"ctorch\nfloat32\n"), "a dtype"),
    "an instance for the type": (storage(kind=GLOBAL["dict"] + b")R"), "argparse.Namespace"),
    "a path": (storage(key="../../etc/passwd"), "../../etc/passwd"),
    "an absolute path": (storage(key="/etc/passwd"), "/etc/passwd"),
    "another record": (storage(key="../data.pkl"), "../data.pkl"),
    "a superscript two": (storage(key="²"), "no number"),
    "a number": (b"(" + text("storage") + GLOBAL["float"] + b"K\x00" + text("cpu") + b"K\x02tQ", "no number"),
    "a missing record": (storage(key="7"), "data/7"),
    "a view": (storage(view=b"(" + text("1") + b"K\x00K\x01t"), "0.4"),
}


@pytest.mark.parametrize(("where", "needle"), PERSISTENT.values(), ids=PERSISTENT)
def test_persistent_ids(tmp_path, where, needle):
    entries = [("data/0", b"\x00" * 8)]
    refused(zipped(tmp_path / "x.pt", b"\x80\x02" + where + b".", entries=entries), needle)


@formats
def test_a_file_cut_anywhere(tmp_path, new):
    whole = save(tmp_path / "x", {"a": torch.ones(50), "b": [1, "x", torch.ones(3)]}, new).read_bytes()
    cut = tmp_path / "cut.pt"
    for size in [*range(0, len(whole) - 1, 37), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        refused(cut)


@formats
def test_a_file_with_any_byte_changed_reads_or_is_refused(tmp_path, new):
    whole = save(tmp_path / "x", {"a": torch.ones(5), "b": argparse.Namespace(c={1, 2})}, new).read_bytes()
    changed = tmp_path / "changed.pt"
    random = np.random.default_rng(0)
    for position in random.integers(0, len(whole), 400):
        bytes_ = bytearray(whole)
        bytes_[position] ^= int(random.integers(1, 256))
        changed.write_bytes(bytes_)
        try:
            loaded(plain(read_torch_file(changed)))
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017


# Containers


def test_compressed_records_are_refused(tmp_path):
    entries = [("data/0", b"\x00" * 10_000_000)]
    path = zipped(tmp_path / "x.pt", tensor(storage()), entries=entries, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    refused(path, "compressed")


def test_records_outside_the_archive_are_refused(tmp_path):
    for name in ("../../etc/passwd", "data/../../x"):
        refused(zipped(tmp_path / "x.pt", b"N.", entries=[(name, b"")]), name)
    path = zipped(tmp_path / "x.pt", b"N.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("/etc/passwd", b"")
    refused(path, "/etc/passwd")


def test_records_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(tmp_path / "x.pt", b"N.", entries=[("version", b"3")])
    refused(tmp_path / "x.pt", "one name")


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/readme", b"")
    refused(path, "no file of torch.save", "unpack it")
    refused(zipped(path, b"N.", entries=[("constants.pkl", b"N.")]), "TorchScript", "state_dict()")
    refused(zipped(path, b"N.", entries=[("code/x.py", b"")]), "TorchScript")
    zipped(path, b"N.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    refused(path, "no file of torch.save", "unpack it")
    for content in (b"", b"some text", b"\x80\x02}.", b"\x93NUMPY" + b"\x00" * 50, b"PK\x05\x06" + b"\x00" * 18):
        path.write_bytes(content)
        refused(path)


def test_files_of_big_endian_machines_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"N.")
        archive.writestr("archive/byteorder", b"big")
    refused(tmp_path / "x.pt", "big-endian")
    refused(legacy(tmp_path / "y.pt", b"N.", system={**SYSTEM, "little_endian": False}), "big-endian")
    refused(legacy(tmp_path / "y.pt", b"N.", system=[]), "big-endian")


def patched(path, where, content):
    data = bytearray(path.read_bytes())
    data[where : where + len(content)] = content
    path.write_bytes(data)
    return path


def test_local_headers_are_believed_only_where_they_agree(tmp_path):
    def entry(field, value, size="<I"):
        """Change a field of the last record, data/0, in the table of contents."""
        path = zip_of_tensor(tmp_path / "x.pt")
        where = path.read_bytes().rindex(b"PK\x01\x02")
        return patched(path, where + field, struct.pack(size, value))

    refused(entry(42, 0), "another one")  # the offset of its header
    refused(entry(42, 2_000_000_000), "outside the file")
    local = zip_of_tensor(tmp_path / "x.pt").read_bytes().rindex(b"PK\x03\x04")
    refused(patched(tmp_path / "x.pt", local + 28, b"\xff\xff"), "more than the file has")  # length of the extra field
    zip_of_tensor(tmp_path / "x.pt")
    refused(patched(tmp_path / "x.pt", local + 8, b"\x08"), "another one")  # compressed, says the header
    path = entry(24, 10_000_000)
    refused(path, "compressed")  # the size alone
    where = path.read_bytes().rindex(b"PK\x01\x02")
    refused(patched(path, where + 20, struct.pack("<I", 10_000_000)), "10000000 bytes, more than the file has")


def test_storages_of_the_old_format(tmp_path):
    two = struct.pack("<q", 2) + b"\x00" * 8
    path = tmp_path / "x.pt"
    view = b"N"

    def write(**options):
        return legacy(path, tensor(storage(view=view)), **{"keys": ["0"], "storages": two} | options)

    assert read_torch_file(write()).load().sum() == 0
    refused(write(keys=[]), "list of storages")
    refused(write(keys=["0", "0"]), "list of storages")
    refused(write(keys=["0", "1"]), "list of storages")
    refused(write(keys=[0]), "list of storages")
    refused(write(storages=struct.pack("<q", 3) + b"\x00" * 12), "storage 0")
    refused(write(storages=struct.pack("<q", -2)), "storage 0")
    refused(write(storages=two[:-1]), "cut short")
    refused(write(storages=b""), "storage 0")
    both = b"\x80\x02" + storage(view=view) + storage(count=1, view=view) + b"\x86."
    refused(legacy(path, both, keys=["0"], storages=two), "two sizes")


def test_a_missing_file_a_folder_and_a_pipe(tmp_path):
    refused(tmp_path / "missing.pt", "it does not exist", "check the path")
    refused(tmp_path, "is a folder or no plain file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is a folder or no plain file")


def test_nothing_else_opens_checkpoints():
    forbidden = re.compile(
        r"add_safe_globals|weights_only\s*=\s*False|^\s*(import|from)\s+(fairseq|omegaconf|s3prl)\b"
        r"|import_module\(.(fairseq|omegaconf|s3prl)|torch\.load\((?!.*weights_only=True)",
        re.MULTILINE,
    )
    for path in SOURCES.rglob("*.py"):
        found = forbidden.search(path.read_text())
        assert found is None, f"{path}: {found}"
    for name in ("archives", "kmeans", "pickles", "unpickler"):
        source = (Path(pickles.__file__).parent / f"{name}.py").read_text()
        assert not re.search(
            r"^import pickle$|torch\.load|Unpickler\(|\beval\(|\bexec\(|__import__", source, re.MULTILINE
        )
