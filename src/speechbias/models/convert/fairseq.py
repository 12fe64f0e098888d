"""The settings in fairseq-like checkpoints: plain dicts, whatever classes held them in the file.

``cfg`` (since hydra) or ``args`` (before), S3PRL's ``model_cfg`` and ``task_cfg``, the distiller's ``Config``,
MelHuBERT's ``Upstream_Config``. A model fine-tuned for recognition keeps the settings of its encoder in ``w2v_args``.
"""

import ast
from collections.abc import Mapping
from typing import Any

from speechbias.models.config import Family
from speechbias.models.convert.shapes import Hints

Settings = Mapping[str, Any]
FIXED = {"activation_fn": "gelu", "attention_type": "original"}  # what no tensor shows, and our network has fixed
MOST_CONVS = 64
LONGEST_TEXT = 64 * MOST_CONVS


def hints_of(model: Settings, task: Settings) -> Hints:
    """What the settings of a model and of its task say. ValueError for a model or convolutions that we cannot make."""
    inner = model.get("w2v_args")
    if isinstance(inner, Mapping):  # fine-tuned: the encoder's own settings lie inside
        task = {**_section(inner, "task"), **task}
        model = {**model, **_section(inner, "model")}
    convs = model.get("conv_feature_layers") or model.get("extractor_conv_feature_layers")
    for setting, ours in FIXED.items():
        if model.get(setting, ours) != ours:
            raise ValueError(f"{setting} {str(model[setting])[:60]!r}, where our network has {ours!r}")
    return Hints(
        family=_family(model),
        layers=_number(model.get("encoder_layers")),
        heads=_number(model.get("encoder_attention_heads")),
        pre_norm=_flag(model.get("layer_norm_first")),
        normalise=_flag(task.get("normalize", model.get("normalize"))),
        strides=None if not convs else tuple(stride for _, _, stride in conv_layers(str(convs))),
    )


def _section(settings: Settings, name: str) -> Settings:
    section = settings.get(name, settings)
    return section if isinstance(section, Mapping) else settings


def _family(model: Settings) -> Family | None:
    name = str(model.get("_name") or model.get("arch") or "")
    if name.startswith("hubert") or "label_rate" in model or "untie_final_proj" in model:
        return "hubert"
    if name.startswith("wav2vec") or "quantize_targets" in model or "latent_vars" in model:
        return "wav2vec2"
    return None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def conv_layers(text: str) -> list[tuple[int, int, int]]:
    """(channels, kernel, stride) per convolution from fairseq's notation, ``[(512,10,5)] + [(512,3,2)] * 4``.

    fairseq and S3PRL evaluate this text as Python; here it may hold lists of numbers, + and *. ValueError else.
    """
    try:
        return [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in _value(_parsed(text))]
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"conv_feature_layers {text[:60]!r} are not lists of (channels, kernel, stride)") from None


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST_TEXT:  # the parser itself takes a thousand times the memory
        raise ValueError(text[:60])
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int(number)) if number >= 1 and number is not True:
            return number
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_value(left), *_value(right)]
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))):
            items = _value(left)
            if len(items) * times <= MOST_CONVS:  # before they are made
                return items * times
    raise ValueError(ast.dump(node)[:60])
