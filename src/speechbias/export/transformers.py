"""A model as a folder of transformers, whole, with the same hidden states; transformers is not needed to write it.

The objective is left behind, but for its mask embedding; step and provenance stand in ``export.json``, which
transformers does not read.

Where a model was trained on normalised waves with fairseq's epsilon, 1e-5, the folder says so to us, and is measured
as the checkpoint is. The feature extractor of transformers always takes 1e-7: what goes in is then larger by 1e-5 / (2
x variance), 0.2 % at an RMS of 0.05, and states move by some 1e-4 of their size, by several percent if very quiet.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbias.errors import InputError
from speechbias.export.card import CARD, CardOptions, is_edited, write_card
from speechbias.results import file_sha256

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
EXPORT = "export.json"  # what was exported, and the hash of the weights: who trains on is not written over


def write_transformers(out: Path, checkpoint: "Checkpoint", options: CardOptions) -> Path:
    """Write the folder. InputError for shapes that transformers has no place for, with the formats that have."""
    import torch  # noqa: PLC0415 (seconds)

    from speechbias.checkpoint.folder import replaced_whole, save_tensors  # noqa: PLC0415
    from speechbias.models.convert.names import TRANSFORMERS_NAMES  # noqa: PLC0415
    from speechbias.models.convert.transformers import to_preprocessor, to_transformers  # noqa: PLC0415

    mask = checkpoint.objective_tensors.get("mask_embedding")
    tensors = {**checkpoint.tensors, **({} if mask is None else {"mask_embedding": mask})}
    if not checkpoint.config.projection:  # transformers always has one: the identity changes nothing
        dim = checkpoint.config.dim
        tensors |= {"projection.weight": torch.eye(dim), "projection.bias": torch.zeros(dim)}
    try:
        config = to_transformers(checkpoint.config, mask_embedding=mask is not None)
    except ValueError as reason:
        raise InputError(
            f"{checkpoint.name} cannot be a transformers folder: {reason}; "
            "write it with --format onnx, or --format speechbias"
        ) from None
    theirs = {TRANSFORMERS_NAMES.theirs(name): tensor for name, tensor in tensors.items()}
    with replaced_whole(out, ours=is_export, what="export") as written:
        _dump(written / CONFIG, config)
        _dump(written / PREPROCESSOR, to_preprocessor(checkpoint.config))
        save_tensors(written / WEIGHTS, theirs)
        _dump(written / EXPORT, _origin(checkpoint, written / WEIGHTS))
        write_card(written / CARD, written, checkpoint, options, form="hf")
    return out


def _origin(checkpoint: "Checkpoint", weights: Path) -> dict[str, Any]:
    meta = checkpoint.meta
    return {
        "made_by": "speechbias export",
        "model": checkpoint.name,
        "step": meta.step,
        "provenance": dict(meta.provenance),
        "weights_sha256": file_sha256(weights),
    }


def next_use_in_transformers(folder: Path) -> str:
    """What such a folder is, and how to load it."""
    (name,) = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["architectures"]
    return f"for transformers. Next, in Python: transformers.{name}.from_pretrained({str(folder)!r})"


def is_export(folder: Path) -> bool:
    """Whether a folder is for transformers and was written here, nothing added, weights and card as they were."""
    if {path.name for path in folder.iterdir()} - {CARD} != {CONFIG, WEIGHTS, PREPROCESSOR, EXPORT}:
        return False
    try:
        written = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    whole = isinstance(written, dict) and written.get("weights_sha256") == file_sha256(folder / WEIGHTS)
    return whole and not is_edited(folder / CARD)


def _dump(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
