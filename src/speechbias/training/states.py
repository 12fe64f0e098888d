"""What training needs to go on from a checkpoint, beside its weights: ``trainer.pt`` (optimiser, log, watch).

``trainer.json`` lies beside it, with the SHA-256 of every file of the folder and whether the checkpoint stays: neither
safetensors nor torch notices bytes that a disk gives back wrong, and a run would go on with them.
"""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechbias.errors import InputError, os_reason
from speechbias.models.jsonfiles import read_json
from speechbias.results import file_sha256

TRAINER, SEAL = "trainer.pt", "trainer.json"


def write_state(folder: Path, state: Mapping[str, Any], *, kept: bool) -> None:
    """Write both files into a folder that holds everything else of a checkpoint. OSError where the disk is full."""
    try:
        torch.save(dict(state), folder / TRAINER)
    except RuntimeError as error:  # what a full disk is to its writer of zip files
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / TRAINER)) from error
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    (folder / SEAL).write_text(json.dumps({"kept": kept, "files": files}, indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint. InputError where a file of the folder is missing, or is not what was written."""
    for name, sha256 in _seal(folder)["files"].items():
        path = folder / name
        try:
            whole = file_sha256(path) == sha256
        except OSError as error:
            raise InputError(f"{path} cannot be read ({os_reason(error)})") from None
        if not whole:
            raise InputError(f"{path} is damaged: it is not what was written")
    try:
        state: dict[str, Any] = torch.load(folder / TRAINER, weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001 (torch lets out whatever reading a strange file raises)
        raise InputError(f"{folder / TRAINER} is damaged ({type(error).__name__})") from None
    return state


def has_state(folder: Path) -> bool:
    """Whether a checkpoint was written with a state that was not let go since."""
    return (folder / SEAL).exists()


def stays(folder: Path) -> bool:
    """Whether the checkpoint was to stay when later ones come; also where nobody can tell any more."""
    try:
        return bool(_seal(folder)["kept"])
    except InputError:
        return True


def drop_state(folder: Path) -> None:
    """Leave the checkpoint alone. What is killed in between is done again."""
    (folder / TRAINER).unlink(missing_ok=True)
    (folder / SEAL).unlink(missing_ok=True)


def _seal(folder: Path) -> Mapping[str, Any]:
    said = read_json(folder / SEAL)
    files = said.get("files")
    if (
        not isinstance(files, dict)
        or TRAINER not in files
        or not all(isinstance(each, str) for each in files.values())
    ):
        raise InputError(f"{folder / SEAL} is damaged")
    return said
