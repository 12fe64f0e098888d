"""What a MODEL is, as users write it: its kind and where it lies. Weights are not read; wrong names end here.

No torch for features and wrong names, which are answered at once.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechbias.errors import InputError
from speechbias.features import NAMES
from speechbias.models.config import FAMILIES, SIZES, Family
from speechbias.models.huggingface.hub import find_snapshot, is_hub_id
from speechbias.models.jsonfiles import read_json

Kind = Literal["feature", "untrained", "file", "our folder", "transformers folder", "adapter", "onnx", "erased"]
ONNX_FILE = "model.onnx"  # in a folder of an export
REMOVAL = "removal.json"  # in a folder of a model from which something was removed
UNTRAINED = "random:"
UNTRAINED_NAMES = tuple(f"{family}-{size}" for family in FAMILIES for size in SIZES)
LARGEST_SEED = 2**63 - 1  # that a generator takes
MODEL_MAY_BE = (
    f"a feature ({', '.join(NAMES)}), {UNTRAINED}FAMILY-SIZE[:SEED], a checkpoint (folder or file), "
    "or a hub id (organisation/name)"
)
PART_OF_A_FOLDER = {".safetensors", ".json"}
OTHER_FILES = {".npy", ".csv", ".tsv", ".jsonl", ".wav", ".flac", ".mp3"}
CHECKPOINT_FILES = {".pt", ".pth", ".ckpt", ".bin", ".onnx"}


@dataclass(frozen=True)
class Source:
    """A MODEL, looked up. ``path`` is None for features and untrained models.

    "adapter" is a folder of an encoder that is not one of our networks, and runs transformers' own code. "onnx" is a
    file, by its name ``.onnx``; one called model.onnx goes by the name of its folder. "erased" is a folder that
    ``checkpoint.erased`` wrote.
    """

    name: str  # what results call it; never an absolute path
    kind: Kind
    path: Path | None = None


def find_source(model: str | Path) -> Source:
    """Look MODEL up. InputError, one line, for a name that means nothing."""
    if isinstance(model, str) and model in NAMES:
        return Source(model, "feature")
    model = str(model)
    if model.startswith(UNTRAINED):
        parse_untrained(model)
        return Source(model, "untrained")
    if not model.strip():
        raise InputError(f"the name of the model is empty; MODEL is {MODEL_MAY_BE}")
    try:
        path = Path(model).expanduser()
        there, is_folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError) as error:  # too long for a name, the home of nobody
        raise InputError(f"{model[:80]!r} cannot be looked up ({str(error)[:80]}); MODEL is {MODEL_MAY_BE}") from None
    if is_folder:
        return _folder(path)
    if path.suffix == ".npz":
        raise InputError(f"{model} holds embeddings, it is no encoder; give it to: speechbias measure {model}")
    if there:
        return _file(model, path)
    if is_hub_id(model):
        snapshot = find_snapshot(model)
        return Source(model, _kind_of_folder(snapshot), snapshot)
    if "/" in model or path.suffix in CHECKPOINT_FILES:
        raise InputError(f"{model}: there is no such file or folder; MODEL is {MODEL_MAY_BE}")
    near = difflib.get_close_matches(model, NAMES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{model!r} is no model; {hint}MODEL is {MODEL_MAY_BE}")


def parse_untrained(model: str) -> tuple[Family, str, int]:
    """Family, size and seed of ``random:wav2vec2-base:3``. InputError for a name without meaning."""
    name, _, seed = model.removeprefix(UNTRAINED).partition(":")
    if name not in UNTRAINED_NAMES:
        near = UNTRAINED + difflib.get_close_matches(name, UNTRAINED_NAMES, n=1, cutoff=0.0)[0]
        raise InputError(f"{model!r} is no model; did you mean {near}? The form is {UNTRAINED}FAMILY-SIZE[:SEED]")
    example = f"{UNTRAINED}{name}:1"
    digits = seed.isascii() and seed.isdigit() and len(seed) <= len(str(LARGEST_SEED))
    if seed and not (digits and int(seed) <= LARGEST_SEED):
        raise InputError(f"{model[:80]!r}: the seed is no whole number from 0 to {LARGEST_SEED}; write {example}")
    if model.endswith(":"):
        raise InputError(f"{model!r} ends without its seed; write {UNTRAINED}{name} or for example {example}")
    family = next(family for family in FAMILIES if name.startswith(f"{family}-"))
    return family, name.removeprefix(f"{family}-"), int(seed or 0)


def _file(model: str, path: Path) -> Source:
    if not path.is_file():
        raise InputError(f"{model} is neither a file nor a folder; MODEL is {MODEL_MAY_BE}")
    if path.suffix in PART_OF_A_FOLDER or path.name == "pytorch_model.bin":
        raise InputError(f"{model} is one file of a folder; pass the folder that holds config.json and the weights")
    if path.suffix.lower() in OTHER_FILES:
        raise InputError(f"{model} is no model; MODEL is {MODEL_MAY_BE}")
    if path.suffix.lower() == ".onnx":
        return Source(path.resolve().parent.name if path.name == ONNX_FILE else path.name, "onnx", path)
    return Source(path.name, "file", path)


def _folder(path: Path) -> Source:
    name = path.resolve().name
    if (path / REMOVAL).is_file():
        return Source(name, "erased", path)
    if (path / ONNX_FILE).is_file() and not (path / "config.json").is_file():
        return Source(name, "onnx", path / ONNX_FILE)
    return Source(name, _kind_of_folder(path), path)


def _kind_of_folder(path: Path) -> Kind:
    """Ours, one that our network reads, or one for the adapter (which says what is wrong with any other)."""
    if (path / "encoder.safetensors").is_file() and (path / "config.json").is_file():
        return "our folder"
    if not (path / "config.json").is_file():
        return "adapter"
    if "schema" in read_json(path / "config.json"):
        raise InputError(f"{path} has no encoder.safetensors; copy the folder again")
    from speechbias.checkpoint.transformers import read_hints  # noqa: PLC0415 (torch: seconds)

    return "adapter" if read_hints(path) is None else "transformers folder"
