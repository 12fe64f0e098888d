"""Arrays kept on disk between models and runs, one to a file of ``.npz``, which may be damaged or gone."""

from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

# numpy parses a header as Python. CPython before 3.12 counts the depth of that per interpreter, not per thread:
# parsed by several threads at a time it ends in a SystemError now and then (python/cpython issue 106905).
_PARSING = Lock()


def read_kept(path: Path, name: str) -> NDArray[Any] | None:
    """The array of this name, or None where there is no file or it is damaged (zip's CRC tells)."""
    try:
        with _PARSING, path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            array: NDArray[Any] = file[name]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile):  # RuntimeError: flipped flags
        return None
    return array
