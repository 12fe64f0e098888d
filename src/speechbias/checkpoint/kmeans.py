"""The centres of a k-means file of scikit-learn, read without running anything in it (``joblib.dump``, ``pickle``).

HuBERT's published quantisers are such files. A pickle of an estimator is a program like any other, so it is followed
by the machine of ``unpickler``, with the few names more that stand in it. joblib cuts the bytes of each array out of
the pickle: they lie in the file right behind the instruction that completes a ``NumpyArrayWrapper`` (shape, dtype,
order), after a byte n and n bytes of padding where the wrapper has an alignment. Of all that is found only
``cluster_centers_`` is used.
"""

import math
import mmap
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray

from speechbias.checkpoint.archives import WORD, LazyTensor, Record, map_file, refuse, shown, storage_view
from speechbias.checkpoint.pickles import read_in_a_line
from speechbias.checkpoint.unpickler import Inert, Machine
from speechbias.errors import InputError

ESTIMATORS = {
    f"sklearn.cluster.{module}.{name}" for module in ("_kmeans", "k_means_") for name in ("KMeans", "MiniBatchKMeans")
}
WRAPPERS = {f"{package}.numpy_pickle.NumpyArrayWrapper" for package in ("joblib", "sklearn.externals.joblib")}
RANDOM_STATES = {
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random.__RandomState_ctor",
}
DTYPES = {f"f{size}": dtype for size, dtype in ((2, torch.float16), (4, torch.float32), (8, torch.float64))}
DTYPES |= {
    f"i{size}": dtype for size, dtype in ((1, torch.int8), (2, torch.int16), (4, torch.int32), (8, torch.int64))
}
DTYPES |= {f"u{size}": dtype for size, dtype in ((1, torch.uint8), (2, torch.uint16), (4, torch.uint32))}
DTYPES |= {"u8": torch.uint64, "b1": torch.bool}
ATTRIBUTE = "cluster_centers_"
DEFLATED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")  # zlib at its levels; gzip
OTHERWISE_COMPRESSED = (b"BZ", b"\xfd7", b"\x5d\x00", b"\x04\x22")  # bzip2, xz, lzma, lz4
MOST_INFLATED = 1 << 28  # bytes: 2,000 centres of 1,280 dimensions are a twentieth of it


def read_kmeans(path: Path) -> NDArray[np.float32]:
    """The centres (clusters, dim) in a k-means file of scikit-learn. InputError, one line, for anything else."""
    return read_in_a_line(path, lambda file: _centres(_follow(_inflated(map_file(file)))), what="a k-means file")


def _inflated(memory: mmap.mmap) -> mmap.mmap:
    """The pickle, taken out of zlib or gzip where joblib was told to compress."""
    head = memory[:2]
    if head in OTHERWISE_COMPRESSED:
        again = "joblib.dump(joblib.load(FILE), NEW_FILE)"
        raise InputError(f"is compressed by neither zlib nor gzip; where you trust it, save it again: {again}")
    if head not in DEFLATED:
        return memory
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip, by the header
    content = stream.decompress(memory[:], MOST_INFLATED)
    if not stream.eof:
        refuse(f"is cut short, or holds more than {MOST_INFLATED >> 20} MiB")
    whole = mmap.mmap(-1, max(len(content), 1))
    whole[: len(content)] = content
    return whole


def _follow(memory: mmap.mmap) -> object:
    return KMeansMachine(memory).run(cast("IO[bytes]", memory))  # it has the read, readline and tell that are needed


class KMeansMachine(Machine):
    """Follows the pickle of an estimator; the arrays of joblib become claims on the file, checked as they are met."""

    also = frozenset(ESTIMATORS | WRAPPERS | RANDOM_STATES)

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__(_no_storage, len(memory))
        self._memory = memory

    def build(self) -> None:
        """Note the state of a stand-in; behind that of a wrapper stand the bytes of its array."""
        super().build()
        wrapper = self.stack[-1]
        if isinstance(wrapper, Inert) and wrapper.name in WRAPPERS:
            wrapper.items[:] = [self._array(wrapper.state)]

    def _array(self, state: object) -> LazyTensor:
        """The array of a wrapper, over whose bytes the stream is moved."""
        if not isinstance(state, dict):
            raise TypeError
        shape, dtype = state.get("shape"), _dtype(state.get("dtype"))
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self._memory.read_byte()
            self._memory.seek(padding, 1)
        start = self._memory.tell()
        record = Record(self._memory, start, len(self._memory) - start)
        whole = LazyTensor(dtype, (record.nbytes // dtype.itemsize,), (1,), 0, record)
        view = storage_view(whole, 0, shape, _strides(shape, state.get("order")))
        self._memory.seek(start + math.prod(view.shape) * dtype.itemsize)
        return view


def _no_storage(_key: str, _dtype: torch.dtype, _count: int) -> NoReturn:
    refuse("it holds tensors of torch, which no k-means of scikit-learn does")


def _dtype(kind: object) -> torch.dtype:
    """The dtype that a pickled ``numpy.dtype`` means: code, and the byte order in its state."""
    code = kind.args[0] if isinstance(kind, Inert) and kind.name == "numpy.dtype" and kind.args else None
    order = kind.state[1] if isinstance(kind, Inert) and isinstance(kind.state, tuple) else "<"
    if not isinstance(code, str) or code not in DTYPES or order not in {"<", "|"}:
        refuse(
            f"it holds an array of {shown(code)}, byte order {shown(order)}, which is no array of numbers of k-means"
        )
    return DTYPES[code]


def _strides(shape: object, order: object) -> tuple[int, ...]:
    """Strides in elements, of C or Fortran order. What is no shape is refused by ``storage_view``."""
    if not isinstance(shape, tuple) or len(shape) > 8 or any(type(n) is not int or not 0 <= n < WORD for n in shape):
        return ()
    if order == "F":
        return _strides(shape[::-1], "C")[::-1]
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _centres(estimator: object) -> NDArray[np.float32]:
    if not isinstance(estimator, Inert) or estimator.name not in ESTIMATORS:
        name = estimator.name if isinstance(estimator, Inert) else f"a {type(estimator).__name__}"
        raise InputError(f"holds {shown(name)}, no KMeans or MiniBatchKMeans of scikit-learn; give a k-means file")
    found = estimator.state.get(ATTRIBUTE) if isinstance(estimator.state, dict) else None
    if found is None:
        raise InputError(
            f"its k-means has no {ATTRIBUTE}: it was saved before it was fitted; fit it and save it again"
        )
    array = _array(found)
    with np.errstate(over="ignore"):
        centres = np.ascontiguousarray(array, np.float32)
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) < 2 or not np.isfinite(centres).all():
        refuse(f"its {ATTRIBUTE} is no array (clusters, dim) of at least two centres of finite numbers")
    return centres


def _array(found: Any) -> NDArray[Any]:
    """An array out of the file: joblib's, or one that pickle kept as bytes within the program."""
    if isinstance(found, Inert) and found.items and isinstance(found.items[0], LazyTensor):
        return found.items[0].load().numpy()
    if isinstance(found, Inert) and found.name.endswith("._reconstruct") and isinstance(found.state, tuple):
        _, shape, kind, fortran, content = found.state
    elif isinstance(found, Inert) and found.name.endswith("._frombuffer") and found.args is not None:
        content, kind, shape, fortran = found.args[0], *found.args[1:3], found.args[3] == "F"
    else:
        refuse(f"its {ATTRIBUTE} is no array")
    if not isinstance(content, bytes | bytearray):
        raise TypeError
    flat = np.frombuffer(content, torch.empty(0, dtype=_dtype(kind)).numpy().dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
