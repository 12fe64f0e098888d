"""Checkpoints of fairseq, S3PRL, MelHuBERT and Speech-SSL-Compression, by what is in them, never by their name.

All of them are files of ``torch.save``; ``pickles`` reads these without running anything from them. What kind a file
is shows in its top-level keys:

| keys | written by |
| --- | --- |
| ``model`` and ``Upstream_Config`` | MelHuBERT; Speech-SSL-Compression: plain, pruned in each way, distilled |
| ``model_weight`` and ``model_cfg`` | S3PRL, converted from fairseq |
| ``Distiller`` and ``Config`` | S3PRL's distiller (DistilHuBERT) |
| ``model``, with ``cfg`` or ``args`` | fairseq |
| names of tensors | a bare state dict, of fairseq or of transformers |
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechbias.checkpoint.archives import shown
from speechbias.checkpoint.content import Checkpoint, Meta
from speechbias.checkpoint.mapping import Fresh, Lazy, StoredTensors, as_it_is
from speechbias.checkpoint.pickles import Inert, LazyTensor, plain, read_torch_file
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, Family
from speechbias.models.convert.fairseq import describes_encoder, hints_of
from speechbias.models.convert.hints import Hints
from speechbias.models.convert.names import FAIRSEQ_NAMES, TRANSFORMERS_NAMES, Names, split, unknown_inside
from speechbias.models.convert.shapes import check_shapes, encoder_config, expected_shapes, objective_settings
from speechbias.models.objectives import Settings
from speechbias.models.pruning import Method, Pruning


@dataclass(frozen=True)
class Found:
    """What a file holds: tensors under their own names, what its settings say, and what it calls itself."""

    kind: str
    tensors: Mapping[str, Any]
    hints: Hints
    names: Names = FAIRSEQ_NAMES
    step: int | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    cuts: int | None = None  # how often it was pruned, where it says so


def read_foreign(name: str, path: Path) -> Checkpoint:
    """Read a foreign checkpoint. InputError, one line, for what is none, is not whole, or asks for code to be run."""
    return assemble(name, path, _sniff(path, read_torch_file(path)))


def assemble(name: str, path: Path, found: Found) -> Checkpoint:
    """Tensors under foreign names as a checkpoint: renamed, the config read off their shapes, all of them there."""
    where = str(path)
    renamed, left_out = found.names.rename(_masked(where, found.tensors))
    config = encoder_config(where, renamed, found.hints)
    encoder, rest = split(renamed)
    if unknown := unknown_inside(left_out, found.tensors):
        raise InputError(f"{where}: our network has no {shown(unknown[0])}; it is another model than it says")
    expected = expected_shapes(config)
    check_shapes(where, encoder, expected)
    _check_memory(path, renamed)
    settings = objective_settings(config.family, rest)
    rest = _whole(rest, config, settings)
    provenance = {"format": found.kind, "source": path.name, **found.said, **_pruning(found, config)}
    if found.hints.heads is None:
        provenance["assumed"] = f"heads of {config.head_dim}: the file does not say how many there are"
    if left_out:
        provenance["left_out"] = sorted({key.split(".")[0] for key in left_out})
    return Checkpoint(
        name,
        config,
        _stored(where, {key: encoder[key] for key in expected}),
        settings if rest else None,
        _stored(where, rest),
        Meta(found.step, None, None, provenance),
    )


def _sniff(path: Path, content: object) -> Found:
    if not isinstance(content, Mapping):
        kind = content.name if isinstance(content, Inert) else type(content).__name__
        raise InputError(f"{path} holds no checkpoint but a {kind}; give the file of a model")
    try:
        for recognise in (_compression, _s3prl, _distiller, _fairseq, _bare):
            if found := recognise(content):
                return found
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; get the file again") from None
    keys = ", ".join(shown(key) for key in sorted(map(str, content))[:6])
    raise InputError(f"{path} is no checkpoint that is known here (it holds: {keys}); see docs/checkpoints.md")


def _compression(content: Mapping[Any, Any]) -> Found | None:
    if not (_tensors(content.get("model")) and "Upstream_Config" in content):
        return None
    upstream = _settings(content["Upstream_Config"])
    sections = [_settings(upstream[key]) for key in upstream if key != "teacher"]
    model = _first_encoder([*sections, upstream])
    kind = "MelHuBERT / Speech-SSL-Compression"
    heads = plain(content.get("Pruned_heads"))
    said = {"method": "head pruning", "prunings": len(heads)} if isinstance(heads, list) else {}
    hints = hints_of(model, _settings(upstream.get("task")))
    cuts = len(heads) if isinstance(heads, list) else _step(_settings(content.get("Pruning")).get("pruning_times"))
    return Found(kind, content["model"], hints, step=_step(content.get("Step")), said=said, cuts=cuts)


def _s3prl(content: Mapping[Any, Any]) -> Found | None:
    if not _tensors(content.get("model_weight")):
        return None
    hints = hints_of(_settings(content.get("model_cfg")), _settings(content.get("task_cfg")))
    return Found("S3PRL, converted from fairseq", content["model_weight"], hints)


def _distiller(content: Mapping[Any, Any]) -> Found | None:
    if not _tensors(content.get("Distiller")):
        return None
    settings = _settings(content.get("Config"))
    hints = hints_of(_settings(settings.get("distiller")), {})
    teacher = _settings(settings.get("teacher")).get("model")
    family: Family = "wav2vec2" if str(teacher).startswith("wav2vec") else "hubert"
    hints = replace(hints, family=family, student=True, normalise=False)
    said = {"distillation": {"teacher": teacher}} if isinstance(teacher, str) else {}
    return Found("S3PRL distiller", content["Distiller"], hints, step=_step(content.get("Step")), said=said)


def _fairseq(content: Mapping[Any, Any]) -> Found | None:
    if not _tensors(content.get("model")):
        return None
    cfg, args = _settings(content.get("cfg")), _settings(content.get("args"))
    model = _settings(cfg.get("model"))
    said = _first_encoder([args, model])  # fairseq: args count where there are any
    hints = hints_of(said, _settings(cfg.get("task")) if said is model else args)
    history = plain(content.get("optimizer_history"))
    last = history[-1] if isinstance(history, list) and history else {}
    return Found("fairseq", content["model"], hints, step=_step(_settings(last).get("num_updates")))


def _bare(content: Mapping[Any, Any]) -> Found | None:
    if not _tensors(content):
        return None
    transformers = any("feature_projection." in key or "pos_conv_embed." in key for key in content)
    return Found("state dict", content, Hints(), TRANSFORMERS_NAMES if transformers else FAIRSEQ_NAMES)


def _tensors(value: object) -> bool:
    """Whether a value is a state dict: names and at least one tensor."""
    return (
        isinstance(value, Mapping)
        and all(isinstance(key, str) for key in value)
        and any(isinstance(tensor, LazyTensor) for tensor in value.values())
    )


def _settings(value: object) -> Mapping[str, Any]:
    """Settings of any class as a plain dict; empty where there are none."""
    settings = plain(value)
    return settings if isinstance(settings, dict) else {}


def _first_encoder(sections: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first of some sections that describes an encoder; else the first that says anything at all."""
    sections = list(sections)
    return next(filter(describes_encoder, sections), next(filter(None, sections), {}))


def _step(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@dataclass(frozen=True)
class Masked:
    """A pruned weight as torch.nn.utils.prune keeps it: ``_orig``, which is not zero under it, and ``_mask``."""

    original: LazyTensor
    mask: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return tuple(self.original.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weight."""
        return self.original.dtype

    def load(self, fresh: Fresh = as_it_is) -> Tensor:
        """The weight with its zeros."""
        return torch.where(self.mask.load(fresh).bool(), self.original.load(fresh), 0)


def _masked(where: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """``X_orig`` and ``X_mask`` as one ``X``; all others as they are."""
    settled: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, LazyTensor) or name.endswith("_mask"):
            continue
        base = name.removesuffix("_orig")
        mask = tensors.get(f"{base}_mask")
        if base == name:
            settled[name] = tensor
        elif isinstance(tensor, LazyTensor) and isinstance(mask, LazyTensor) and mask.shape == tensor.shape:
            settled[base] = Masked(tensor, mask)
        else:
            raise InputError(f"{where}: {shown(name)} has no mask of its shape; get the file again")
    return settled


def _pruning(found: Found, config: EncoderConfig) -> dict[str, Any]:
    """How weights or heads were pruned, as ``Meta.pruning`` reads it; of rows a file does not tell how many went."""
    masks = [name.removesuffix("_orig") + "_mask" for name in found.tensors if name.endswith("_orig")]
    if masks:
        return _weight_pruning([found.tensors[mask].load() for mask in masks], found.cuts)
    if found.said.get("method") != "head pruning":
        return {}
    # Not counted from the list of heads that went: a run that goes on from a pruned model lists its own alone.
    whole, left = config.num_layers * (found.hints.heads or config.dim // config.head_dim), sum(config.heads)
    return _as_ours("heads", left, max(whole, left), found.cuts or 0)


def _weight_pruning(masks: Sequence[Tensor], cuts: int | None) -> dict[str, Any]:
    kept, total = sum(int(torch.count_nonzero(mask)) for mask in masks), sum(mask.numel() for mask in masks)
    said = {"method": "weight pruning", "sparsity": round(1 - kept / total, 6)}
    return said | _as_ours("weights", kept, total, int(kept < total) if cuts is None else cuts)


def _as_ours(method: Method, remaining: int, of: int, cuts: int) -> dict[str, Any]:
    """By what units were ranked no file says."""
    said = asdict(Pruning(method, criterion=None, seed=None, cuts=cuts, remaining=remaining, of=of))
    return {"pruning": {key: value for key, value in said.items() if value is not None}}


def _whole(rest: Mapping[str, Any], config: EncoderConfig, settings: Settings | None) -> dict[str, Any]:
    """The objective's tensors where all of them are there and fit; nothing otherwise: measuring needs none."""
    if settings is None:
        return {}
    expected = expected_shapes(config, settings)
    fits = all(key in rest and tuple(rest[key].shape) == shape for key, shape in expected.items())
    return {key: rest[key] for key in expected} if fits else {}


def _check_memory(path: Path, tensors: Mapping[str, Any]) -> None:
    """InputError where the weights would take more memory than their file can hold: many names for one store."""
    files = path.iterdir() if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    needed = sum(4 * math.prod(tensor.shape) for tensor in tensors.values())
    if needed > 2 * size:  # halves of float32 become twice as long; nothing grows more
        raise InputError(
            f"{path}: its weights would take {needed / 1e6:.0f} MB, the file has {size / 1e6:.1f} MB: many of them "
            "are one and the same; get the file from its authors again"
        )


def _stored(where: str, tensors: Mapping[str, Lazy]) -> StoredTensors:
    """Tensors of floating-point numbers, read when they are asked for, float32."""
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise InputError(f"{where}: {name} holds {tensor.dtype}, not floating-point numbers; get the file again")
    return StoredTensors(tensors, torch.float32)
