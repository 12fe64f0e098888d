"""From one wave to what a Hugging Face encoder takes in: the waveform, or log-mel features of its own extractor.

One wave at a time and no padding, so no attention mask either, except where a model's own extractor pads: Whisper
fills windows of 30 s, W2V-BERT stacks frames in twos. Such an input says how many of its frames are valid.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechbias.encoder import Wave
from speechbias.errors import InputError
from speechbias.models.huggingface.families import Config, Family, conv_stride, receptive_field

SAMPLE_RATE = 16_000
WHISPER_HOP, WHISPER_FFT = 320, 400  # samples per encoder frame (10 ms mel frames, one stride of 2); mel window
BERT_HOP, BERT_WINDOW = 160, 400


@dataclass(frozen=True)
class ModelInput:
    """What one forward call takes, and how many of the frames it gives are no padding (None: all)."""

    arguments: Mapping[str, Tensor]
    valid: int | None = None


@dataclass(frozen=True)
class Frontend:
    """How one loaded model is fed: an iterator over the inputs of a wave, and what it promises of them."""

    inputs: Callable[[Wave], Iterator[ModelInput]]
    sample_rate: int
    stride: int  # samples per frame
    min_samples: int  # that make a frame worth the name
    shortest: int  # that can be run at all
    recipe: Mapping[str, object]
    window: int | None = None  # samples of one input; None: a wave is one input, however long


def frontend(family: Family, config: Config, preprocessor: Mapping[str, Any], *, states: str) -> Frontend:
    """The front end of a family for one model's config and preprocessor settings (empty: the folder has none)."""
    if family.input == "whisper log-mel":
        return _whisper(config, preprocessor)
    if family.input == "stacked log-mel":
        return _stacked(config, preprocessor)
    return _waveform(family, config, preprocessor, states)


def _waveform(family: Family, config: Config, preprocessor: Mapping[str, Any], states: str) -> Frontend:
    source = "preprocessor file" if "do_normalize" in preprocessor else "model config"
    normalise = bool(preprocessor.get("do_normalize", family.normalise(config)))
    if states == "speat-2023" and family.speat_normalise is not None:
        normalise, source = family.speat_normalise, "speat-2023"

    def inputs(wave: Wave) -> Iterator[ModelInput]:
        if normalise:  # transformers' Wav2Vec2FeatureExtractor; fairseq adds 1e-5 instead of 1e-7
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        yield ModelInput({"input_values": torch.tensor(wave)[None]})

    field = receptive_field(config)
    recipe = {
        "input": "waveform",
        "normalisation": "zero mean, unit variance, eps 1e-7" if normalise else "none",
        "normalisation_from": source,
        "padding": "none",
    }
    rate = int(preprocessor.get("sampling_rate", SAMPLE_RATE))
    return Frontend(inputs, rate, conv_stride(config), field, field, recipe)


def _whisper(config: Config, preprocessor: Mapping[str, Any]) -> Frontend:
    from transformers.models.whisper.feature_extraction_whisper import WhisperFeatureExtractor  # noqa: PLC0415

    settings = dict(preprocessor) or {"feature_size": config.num_mel_bins}
    extractor = WhisperFeatureExtractor.from_dict(settings)
    _check_bins("feature_size", extractor.feature_size, config.num_mel_bins)
    window = config.max_source_positions * WHISPER_HOP  # 1500 positions: 480,000 samples

    def inputs(wave: Wave) -> Iterator[ModelInput]:
        for start in range(0, len(wave), window):
            piece = wave[start : start + window]
            features = extractor(piece, sampling_rate=extractor.sampling_rate, max_length=window, return_tensors="pt")
            yield ModelInput({"input_features": features["input_features"]}, valid=-(-len(piece) // WHISPER_HOP))

    recipe = {
        "input": "whisper log-mel",
        "mel_bins": int(extractor.feature_size),
        "window_samples": window,
        "padding": "zeros to whole windows; valid frames = ceil(samples / 320), those of all windows in one mean",
    }
    return Frontend(inputs, int(extractor.sampling_rate), WHISPER_HOP, WHISPER_FFT, 1, recipe, window)


def _stacked(config: Config, preprocessor: Mapping[str, Any]) -> Frontend:
    from transformers.models.seamless_m4t.feature_extraction_seamless_m4t import (  # noqa: PLC0415
        SeamlessM4TFeatureExtractor,
    )

    bins = config.feature_projection_input_dim // 2
    settings = dict(preprocessor) or {"feature_size": bins, "num_mel_bins": bins, "stride": 2}
    extractor = SeamlessM4TFeatureExtractor.from_dict(settings)
    stride = int(extractor.stride)
    _check_bins("num_mel_bins x stride", extractor.num_mel_bins * stride, config.feature_projection_input_dim)

    def inputs(wave: Wave) -> Iterator[ModelInput]:
        features = extractor(wave, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        mask = features["attention_mask"]
        yield ModelInput({"input_features": features["input_features"], "attention_mask": mask}, int(mask.sum()))

    recipe = {
        "input": "stacked log-mel",
        "mel_bins": int(extractor.num_mel_bins),
        "stacked": stride,
        "normalisation": "per utterance and mel bin",
        "padding": f"to {stride} frames of 10 ms, masked and left out",
    }
    shortest = BERT_WINDOW + (stride - 1) * BERT_HOP
    return Frontend(inputs, int(extractor.sampling_rate), stride * BERT_HOP, shortest, shortest, recipe)


def _check_bins(setting: str, given: int, needed: int) -> None:
    if given != needed:
        raise InputError(
            f"preprocessor_config.json: {setting} is {given}, the model takes {needed}; "
            "use the file that belongs to the model"
        )
