"""A transformers folder on disk: its settings, its digest, and its encoder's weights, complete or refused.

A load in which weights of the encoder are missing would leave them random, and a measurement of it would look like any
other: it is refused. Heads and decoders that the encoder does not need are left out in silence.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechbias.errors import InputError
from speechbias.extras import MissingExtraError
from speechbias.models.huggingface.families import FAMILIES, family_of
from speechbias.models.huggingface.hub import SETTINGS, weight_files
from speechbias.models.huggingface.settings import check_sizes, read_preprocessor
from speechbias.models.jsonfiles import read_json

# Not used when states are read: the mask of pre-training, and adapters that come after the encoder.
UNUSED = ("masked_spec_embed", "adapter.", "intermediate_ffn.")
WITHOUT_PREFIX = {r"^(model\.)?encoder\.": ""}  # Whisper's encoder inside WhisperModel and WhisperFor...


@dataclass(frozen=True)
class Folder:
    """What a transformers folder says before its weights are read."""

    name: str
    path: Path
    model_type: str
    preprocessor: Mapping[str, Any]  # empty where there is no file
    weights: tuple[str, ...]


def read_folder(name: str, path: Path) -> Folder:
    """Settings of a transformers folder. InputError: no folder, no or broken config.json, unknown type, no weights."""
    if not (path / "config.json").is_file():
        for last in (path / "checkpoints" / "last", path / "last"):
            if (last / "config.json").is_file():
                raise InputError(f"{path} is the folder of a run; give one of its checkpoints, for example {last}")
        raise InputError(f"{path} has no config.json; pass a folder as transformers' save_pretrained writes it")
    config = read_json(path / "config.json")
    model_type = family_of(name, config)
    check_sizes(path / "config.json", config)
    weights = weight_files([file.name for file in path.iterdir() if file.is_file()])
    if not weights:
        raise InputError(f"{path} has no model.safetensors (and no pytorch_model.bin); copy the weights there")
    return Folder(name, path, model_type, read_preprocessor(path), tuple(weights))


def digest(folder: Folder) -> str:
    """SHA-256 over the contents of weights, config and preprocessor, in the order of their names."""
    total = hashlib.sha256()
    for file in sorted({*folder.weights, *(name for name in SETTINGS if (folder.path / name).is_file())}):
        with (folder.path / file).open("rb") as stream:
            total.update(f"{file}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def read_config(folder: Folder) -> Any:
    """The transformers configuration of a folder. InputError for one that transformers does not read."""
    _require_transformers(folder)
    with quiet_transformers():
        from transformers import AutoConfig  # noqa: PLC0415 (a second)

        try:
            return AutoConfig.from_pretrained(folder.path, local_files_only=True)
        except Exception as error:  # as below
            raise InputError(f"{folder.path} cannot be loaded ({_one_line(error)}); copy the folder again") from error


def load_encoder_weights(folder: Folder, *, dtype: torch.dtype) -> Any:
    """The encoder of a folder in eval mode on the CPU. InputError for weights that cannot be read or are missing."""
    _require_transformers(folder)
    with quiet_transformers():
        encoder_class = _encoder_class(folder)
        renaming = {"key_mapping": WITHOUT_PREFIX} if folder.model_type == "whisper" else {}
        try:
            with torch.random.fork_rng(devices=[]):  # transformers draws weights before it reads them
                model, report = encoder_class.from_pretrained(
                    folder.path, dtype=dtype, local_files_only=True, output_loading_info=True, **renaming
                )
        except Exception as error:
            # Whatever transformers, safetensors or torch raise here, they raise about the files of this folder.
            raise InputError(f"{folder.path} cannot be loaded ({_one_line(error)}); copy the folder again") from error
    _refuse_missing(folder, report["missing_keys"])
    model.eval().requires_grad_(requires_grad=False)
    return model


def draw_encoder(folder: Folder, *, seed: int) -> Any:
    """An encoder of the folder's settings, in eval mode on the CPU, with weights as transformers draws them."""
    config = read_config(folder)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):  # it draws from torch's own generator
        torch.manual_seed(seed)
        model = _encoder_class(folder)(config)
    return model.eval().requires_grad_(requires_grad=False)


def _encoder_class(folder: Folder) -> Any:
    family = FAMILIES[folder.model_type]
    module = importlib.import_module(f"transformers.models.{family.module}.modeling_{_last_part(folder)}")
    return getattr(module, family.encoder_class)


def _require_transformers(folder: Folder) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtraError(f"{folder.name} needs transformers; install it with: pip install 'speechbias[hf]'")


def _last_part(folder: Folder) -> str:
    return folder.model_type.replace("-", "_")


def _refuse_missing(folder: Folder, missing: set[str]) -> None:
    lost = sorted(key for key in missing if not key.startswith(UNUSED))
    if lost:
        some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise InputError(f"{folder.path}: weights of the encoder are missing ({some}); copy the folder again")


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No log lines and progress bars of transformers inside: the library never prints."""
    from transformers.utils import logging  # noqa: PLC0415 (a second; wrong names are answered before)

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
