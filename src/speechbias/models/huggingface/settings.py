"""What transformers writes beside a model's weights, checked as far as a load could come to harm. No torch here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json

# What a model is made of before its weights are compared: absurd sizes would fill the memory with random ones.
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "d_model", "encoder_ffn_dim")
LAYERS = ("num_hidden_layers", "encoder_layers")
LARGEST, MOST_LAYERS, HIGHEST_RATE = 100_000, 1_000, 1_000_000


def read_preprocessor(path: Path) -> Mapping[str, Any]:
    """Settings of the feature extractor, from either file that transformers writes them to; empty without one."""
    for file, entry in (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor")):
        if (path / file).is_file():
            content = read_json(path / file)
            content = content.get(entry, {}) if entry else content
            if isinstance(content, dict) and content:
                if "sampling_rate" in content:
                    _check_count(path / file, "sampling_rate", content["sampling_rate"], HIGHEST_RATE)
                return content
    return {}


def check_sizes(file: Path, config: Mapping[str, Any]) -> None:
    """InputError for a config.json whose sizes no model has."""
    for names, most in ((SIZES, LARGEST), (LAYERS, MOST_LAYERS)):
        for name in names:
            if name in config:
                _check_count(file, name, config[name], most)


def _check_count(file: Path, name: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(
            f"{file}: {name} is {str(value)[:60]!r}, not a whole number from 1 to {most}; copy the file again"
        )
