"""The folder of labels on disk: written row by row, whole or not at all, and mapped when read.

``labels.npy`` is one flat array of the smallest unsigned type, ``offsets.npy`` (rows + 1) says where each row begins,
``labels.json`` the rate, the clusters, the manifest's hash and that of the quantiser, whose files lie beside it, and
those of both arrays: a label that a disk gives back wrong is a label all the same.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from speechbias.checkpoint.folder import replaced_whole
from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json
from speechbias.results import file_sha256
from speechbias.training.quantiser import DESCRIPTION, Quantiser, label_type, load_quantiser

SCHEMA = 1
FLAT, OFFSETS, ABOUT = "labels.npy", "offsets.npy", "labels.json"


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """What is known of labels beside the numbers. ``about``: of their making, JSON values."""

    rate: int  # Hz
    clusters: int
    manifest_sha256: str | None = None
    quantiser: Quantiser | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Writer:
    """Appends rows to ``labels.npy``, whose header has room for any length."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.ends, self._dtype = [0], dtype
        self._file = path.open("w+b")
        self._header()

    def append(self, labels: NDArray[np.unsignedinteger]) -> None:
        """The labels of the next row."""
        self._file.write(np.ascontiguousarray(labels, self._dtype).tobytes())
        self.ends.append(self.ends[-1] + len(labels))

    def close(self) -> None:
        """Write the final length into the header."""
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        said = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.ends[-1],)}
        npy.write_array_header_1_0(self._file, said)


@contextmanager
def written_labels(folder: Path, facts: LabelFacts) -> Iterator[Writer]:
    """A writer of the rows of a new folder."""
    with replaced_whole(folder, ours=is_labels, what="folder of labels") as written:
        writer = Writer(written / FLAT, np.dtype(label_type(facts.clusters)))
        try:
            yield writer
        finally:
            writer.close()
        if not writer.ends[-1]:
            raise InputError("no utterance is long enough for a label; give longer audio")
        np.save(written / OFFSETS, np.array(writer.ends, np.int64))
        about = {
            "schema": SCHEMA,
            "rate": facts.rate,
            "clusters": facts.clusters,
            "manifest_sha256": facts.manifest_sha256,
            "quantiser_sha256": facts.quantiser.sha256 if facts.quantiser else None,
            "about": dict(facts.about),
            "files": {name: file_sha256(written / name) for name in (FLAT, OFFSETS)},
        }
        (written / ABOUT).write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if facts.quantiser:
            facts.quantiser.save(written)


def is_labels(folder: Path) -> bool:
    """Whether a folder is one of ours."""
    return (folder / ABOUT).is_file() and (folder / FLAT).is_file()


def read_folder(folder: Path) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64], LabelFacts]:
    """A folder of ours: its labels, mapped; its offsets; the rest. InputError, one line, for a broken one."""
    if not is_labels(folder):
        raise InputError(
            f"{folder} is no folder of units: {ABOUT} or {FLAT} is missing; make it with speechbias units"
        )
    said = read_json(folder / ABOUT)
    _check_files(folder, said.get("files"))
    try:
        flat = np.load(folder / FLAT, mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / OFFSETS, allow_pickle=False)
    except Exception as error:  # noqa: BLE001 (numpy lets out whatever parsing a damaged header raises)
        raise InputError(f"{folder}: its labels cannot be read ({type(error).__name__}); make them anew") from None
    rate, clusters = said.get("rate"), said.get("clusters")
    if said.get("schema") != SCHEMA or type(rate) is not int or type(clusters) is not int:
        raise InputError(f"{folder / ABOUT} is not that of units; make them anew")
    if flat.dtype.kind != "u" or flat.ndim != 1 or offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
        raise InputError(f"{folder}: {FLAT} and {OFFSETS} are not those of units; make them anew")
    if offsets[0] or offsets[-1] != len(flat) or (np.diff(offsets) < 0).any():
        raise InputError(f"{folder}: {OFFSETS} does not divide {FLAT}; make units anew")
    quantiser = load_quantiser(folder) if (folder / DESCRIPTION).is_file() else None
    if said.get("quantiser_sha256") != (quantiser.sha256 if quantiser else None):
        raise InputError(f"{folder}: labels and quantiser are not of one making; make units anew")
    facts = LabelFacts(rate, clusters, said.get("manifest_sha256"), quantiser, said.get("about") or {})
    return flat, offsets, facts


def _check_files(folder: Path, written: object) -> None:
    """InputError where an array is not what was written. Folders of before there were hashes are taken as they are."""
    for name, sha256 in written.items() if isinstance(written, dict) else ():
        if name in {FLAT, OFFSETS} and (folder / name).is_file() and file_sha256(folder / name) != sha256:
            raise InputError(f"{folder / name} is damaged: it is not what was written; make units anew")
