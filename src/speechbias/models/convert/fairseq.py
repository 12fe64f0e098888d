"""The settings in fairseq-like checkpoints: plain dicts, whatever classes held them in the file.

``cfg`` (since hydra) or ``args`` (before), S3PRL's ``model_cfg`` and ``task_cfg``, the distiller's ``Config``,
MelHuBERT's ``Upstream_Config``. A model fine-tuned for recognition keeps the settings of its encoder in ``w2v_args``.
"""

import ast
from collections.abc import Mapping
from typing import Any

from speechbias.models.config import Family
from speechbias.models.convert.hints import Hints

Settings = Mapping[str, Any]
FIXED = {"activation_fn": "gelu", "attention_type": "original"}  # what no tensor shows, and our network has fixed
MOST_CONVS, LONGEST_NUMBER = 64, 6
LONGEST_TEXT = 64 * MOST_CONVS


def hints_of(model: Settings, task: Settings) -> Hints:
    """What the settings of a model and of its task say. ValueError for one that we cannot read, or cannot make.

    A setting that is not there, or None, is left to its default; one that is there and means nothing is never.
    """
    inner = model.get("w2v_args")
    if isinstance(inner, Mapping):  # fine-tuned: the encoder's own settings lie inside
        task = {**_section(inner, "task"), **task}
        model = {**model, **_section(inner, "model")}
    convs = model.get("conv_feature_layers") or model.get("extractor_conv_feature_layers")
    for setting, ours in FIXED.items():
        if model.get(setting, ours) not in {ours, None}:
            raise ValueError(f"{setting} {str(model[setting])[:60]!r}, where our network has {ours!r}")
    return Hints(
        family=_family(model),
        layers=_number(model, "encoder_layers"),
        heads=_number(model, "encoder_attention_heads"),
        pre_norm=_flag(model, "layer_norm_first"),
        normalise=_flag(task if task.get("normalize") is not None else model, "normalize"),
        strides=None if not convs else tuple(stride for _, _, stride in conv_layers(str(convs))),
    )


def describes_encoder(settings: Settings) -> bool:
    """Whether some settings are those of an encoder (or of a recogniser that has them inside)."""
    return any(settings.get(key) is not None for key in ("encoder_layers", "encoder_attention_heads", "w2v_args"))


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


def _number(settings: Settings, key: str) -> int | None:
    """A number from 1, however it is written (12, 12.0, "12"); None where there is none."""
    value = settings.get(key)
    if value is None:
        return None
    text = str(value).removesuffix(".0")
    if isinstance(value, bool) or not (
        text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and int(text)
    ):
        raise ValueError(f"{key} {str(value)[:60]!r} is not a whole number from 1")
    return int(text)


def _flag(settings: Settings, key: str) -> bool | None:
    """True or False, however it is written (True, 1, "true"); None where there is none."""
    value = settings.get(key)
    if value is None:
        return None
    flag = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    if flag is None:
        raise ValueError(f"{key} {str(value)[:60]!r} is neither true nor false")
    return flag


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
        case ast.Constant(value=int(number)) if 1 <= number < 10**LONGEST_NUMBER and number is not True:
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
