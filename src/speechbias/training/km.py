"""fairseq's labels: ``train.km``, one line of numbers per row of the ``.tsv``, with ``dict.km.txt`` beside it.

The text is read once, into one flat array of two bytes a label: as Python lists the labels of 960 hours would fill the
memory. A label's class is the position of its line in the dictionary, as in fairseq, which shifts it further by 4, the
special symbols of its dictionary; no such shift is here.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError, os_reason

NOT_A_LABEL = np.iinfo(np.uint16).max
MOST_DIGITS = 18  # of a label that is looked at: Python refuses to read thousands
DIGITS = b"0123456789 \t\r\n"

Flat = NDArray[np.uint16]
Offsets = NDArray[np.int64]


def read_km(path: Path, *, clusters: int | None = None) -> tuple[Flat, Offsets, int]:
    """Classes of all rows in one array, where each row begins (rows + 1,), and how many classes there are.

    ``clusters`` is needed where no dictionary lies beside the file. InputError for what is no list of labels.
    """
    known, clusters = _classes(path, clusters)
    try:
        flat = np.empty(path.stat().st_size // 2 + 1, np.uint16)  # a label and its space are two bytes at least
        ends = [0]
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                classes = _row(line, known, f"{path}, line {number}")
                flat[ends[-1] : ends[-1] + len(classes)] = classes
                ends.append(ends[-1] + len(classes))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({os_reason(error)}); check the path") from None
    return flat[: ends[-1]], np.array(ends, np.int64), clusters


def _row(line: bytes, known: Flat, where: str) -> Flat:
    """The classes of one line."""
    if line.translate(None, DIGITS):
        raise InputError(f"{where} holds more than whole numbers from 0; give a list of k-means labels")
    labels = np.fromstring(line.decode("ascii"), np.int64, sep=" ") if line.strip() else np.empty(0, np.int64)
    if len(labels) and labels.max() >= len(known):
        raise InputError(
            f"{where}: label {labels.max()} is not below {len(known)}; give the dictionary of these labels"
        )
    classes = known[labels]
    if (classes == NOT_A_LABEL).any():
        unknown = labels[classes == NOT_A_LABEL][0]
        raise InputError(f"{where}: label {unknown} is not in the dictionary, so it would be unknown; write it anew")
    return classes


def _classes(path: Path, clusters: int | None) -> tuple[Flat, int]:
    """The class of each label (labels,), and the number of classes, from the dictionary or by ``clusters``."""
    dictionary = path.with_name(f"dict{path.suffix}.txt")
    if not dictionary.is_file():
        if clusters is None:
            raise InputError(
                f"{path} has no {dictionary.name} beside it; write it, or say how many clusters there are"
            )
        _check_count(str(path), clusters)
        return np.arange(clusters, dtype=np.uint16), clusters
    try:
        lines = dictionary.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{dictionary} cannot be read as text; write it anew, a line 'label count' each") from None
    symbols = [line.split()[0] for line in lines if line.strip()]
    if clusters is not None and clusters != len(symbols):
        raise InputError(
            f"{dictionary} has {len(symbols)} labels, not {clusters}; give the dictionary of these labels"
        )
    # fairseq PR 4521: with an empty dictionary every label is unknown, one class, and the loss falls to zero.
    _check_count(str(dictionary), len(symbols))
    numbers = ((symbol, rank) for rank, symbol in enumerate(symbols) if symbol.isascii() and symbol.isdigit())
    place = {int(symbol) if len(symbol) <= MOST_DIGITS else NOT_A_LABEL: rank for symbol, rank in numbers}
    if not place or max(place) >= NOT_A_LABEL or len(set(symbols)) != len(symbols):
        raise InputError(f"{dictionary} does not name each label 0, 1, ... once; write it anew, 'label count' a line")
    known = np.full(max(place) + 1, NOT_A_LABEL, np.uint16)
    known[list(place)] = list(place.values())
    return known, len(symbols)


def _check_count(where: str, clusters: int) -> None:
    if not 2 <= clusters < NOT_A_LABEL:
        raise InputError(f"{where}: {clusters} labels, where 2 to {NOT_A_LABEL - 1} can be; write it anew")
