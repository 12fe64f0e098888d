"""A transformers folder of wav2vec 2.0 or HuBERT, read into our own network: no transformers needed, nothing drawn.

Weights come from safetensors, or from ``pytorch_model.bin`` through the reader that runs nothing; weight norm may have
its old or its new names; heads (``ForCTC``, ``ForPreTraining``) may lie around the encoder. Other model types, and
variants that our network is not, are for the adapter in ``models.huggingface``. A folder that we exported, and whose
weights nobody trained on, still says how it was made smaller.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.foreign import Found, assemble
from speechbias.checkpoint.pickles import read_torch_file
from speechbias.checkpoint.safe import read_safetensors
from speechbias.errors import InputError
from speechbias.models.convert.hints import Hints
from speechbias.models.convert.names import TRANSFORMERS_NAMES
from speechbias.models.convert.transformers import hints_of
from speechbias.models.huggingface.hub import weight_files
from speechbias.models.huggingface.settings import read_preprocessor
from speechbias.models.jsonfiles import read_json
from speechbias.results import file_sha256

EXPORT, EXPORTED = "export.json", "model.safetensors"  # as ``export.transformers`` writes them
KEPT = ("pruning", "distillation")  # of the provenance: what a record says


def read_hints(folder: Path) -> Hints | None:
    """What the folder's settings say; None where its model is not one of our networks."""
    try:
        return hints_of(read_json(folder / "config.json"), read_preprocessor(folder))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} has no such settings ({error}); copy the file again") from None


def read_transformers(name: str, folder: Path) -> Checkpoint:
    """The encoder of a folder, with its objective where ``ForPreTraining`` saved one. InputError for a broken one."""
    hints = read_hints(folder)
    if hints is None:
        raise InputError(
            f"{folder} holds another encoder than our network; only wav2vec 2.0 and HuBERT are read into it"
        )
    found = Found("transformers", _tensors(folder), hints, TRANSFORMERS_NAMES, said=_said(folder))
    return assemble(name, folder, found)


def _said(folder: Path) -> dict[str, Any]:
    """How an exported model was made smaller; nothing of a folder of other people, or of other weights by now."""
    try:
        written = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
        provenance, weights = written["provenance"], written["weights_sha256"]
        said = {key: provenance[key] for key in KEPT if isinstance(provenance.get(key), dict)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return said if said and weights == file_sha256(folder / EXPORTED) else {}


def _tensors(folder: Path) -> dict[str, Any]:
    """All tensors of a folder's weight files, shards too."""
    files = [file for file in weight_files([path.name for path in folder.iterdir()]) if not file.endswith(".json")]
    if not files:
        raise InputError(f"{folder} has no model.safetensors (and no pytorch_model.bin); copy the weights there")
    tensors: dict[str, Any] = {}
    for file in files:
        if file.endswith(".safetensors"):
            tensors |= read_safetensors(folder / file)
        else:
            content = read_torch_file(folder / file)
            if not isinstance(content, Mapping):
                raise InputError(f"{folder / file} holds no weights by their names; copy the file again")
            tensors |= {name: tensor for name, tensor in content.items() if isinstance(name, str)}
    return tensors
