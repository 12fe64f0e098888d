"""What each kind of Hugging Face speech encoder declares: one row of a frozen table per ``model_type``.

Every row says by what class the encoder is loaded, what it takes in, whether the waveform is normalised when the
folder does not say, and whether a final layer norm follows the last block. That norm is what conventions of states
differ in: transformers v5 returns the last state without it (v4, fairseq and S3PRL: with it) in pre-norm models.
No torch here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from speechbias.encoder import check_convention
from speechbias.errors import InputError

Config = Any  # a transformers configuration
Input = Literal["waveform", "whisper log-mel", "stacked log-mel"]


@dataclass(frozen=True)
class Taps:
    """Where the states of a model are taken: state 0, and whether the last block's state goes through the norm."""

    first: Literal["encoder input", "projected CNN output", "last block"]
    final_norm: bool


@dataclass(frozen=True)
class Family:
    """One kind of encoder: how to load it and how it wants to be fed and read."""

    module: str  # of transformers.models
    encoder_class: str
    final_norm: Callable[[Config], bool]
    normalise: Callable[[Config], bool]  # the waveform, when no preprocessor file says
    input: Input = "waveform"
    speat_first: Literal["encoder input", "projected CNN output", "last block"] | None = None
    speat_normalise: bool | None = None  # None: as under the other conventions

    def check_states(self, name: str, states: str) -> None:
        """InputError for a convention that does not exist, or that this family does not have."""
        check_convention(states)
        if states == "speat-2023" and self.speat_first is None:
            raise InputError(f"{name}: SpEAT (2023) defines no states for {self.module}; use --states s3prl or hf")

    def taps(self, states: str, config: Config) -> Taps:
        """Where the states of a checked convention lie."""
        if states == "speat-2023" and self.speat_first is not None:
            return Taps(self.speat_first, final_norm=False)
        normed = states == "s3prl" or self.hf_ties(config)
        return Taps("encoder input", final_norm=normed and self.final_norm(config))

    def hf_ties(self, config: Config) -> bool:
        """Whether transformers' last hidden state is the normed one: Whisper's is, others' only by their config."""
        tied = getattr(config, "tie_last_hidden_states", None)
        return self.input == "whisper log-mel" if tied is None else bool(tied)


def _by_config(config: Config) -> bool:
    return bool(config.do_stable_layer_norm)


def _by_extractor(config: Config) -> bool:
    return bool(config.feat_extract_norm == "layer")  # fairseq: task.normalize goes with the layer-norm extractor


def _always(_: Config) -> bool:
    return True


def _never(_: Config) -> bool:
    return False


FAMILIES: Mapping[str, Family] = {
    "wav2vec2": Family(
        "wav2vec2", "Wav2Vec2Model", _by_config, _by_extractor, speat_first="projected CNN output"
    ),  # SpEAT: fairseq's post_extract_proj, then layer_results
    "hubert": Family(
        "hubert", "HubertModel", _by_config, _by_extractor, speat_first="last block"
    ),  # SpEAT: output_layer=0 never matches a layer, so fairseq hands back the last block
    "wavlm": Family(
        "wavlm", "WavLMModel", _by_config, _by_extractor, speat_first="encoder input", speat_normalise=False
    ),  # SpEAT: the wave is not normalised even for Large
    "data2vec-audio": Family("data2vec", "Data2VecAudioModel", _never, _always),  # every extractor layer has a norm
    "unispeech": Family("unispeech", "UniSpeechModel", _by_config, _by_extractor),
    "unispeech-sat": Family("unispeech_sat", "UniSpeechSatModel", _by_config, _by_extractor),
    "wav2vec2-conformer": Family("wav2vec2_conformer", "Wav2Vec2ConformerModel", _always, _by_extractor),
    "wav2vec2-bert": Family("wav2vec2_bert", "Wav2Vec2BertModel", _never, _never, input="stacked log-mel"),
    "whisper": Family("whisper", "WhisperEncoder", _always, _never, input="whisper log-mel"),
}


def family_of(name: str, config: Mapping[str, object]) -> str:
    """The ``model_type`` in a config.json, or InputError listing those that can be read."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        kind = f"model_type {model_type!r}" if "model_type" in config else "no model_type"
        raise InputError(f"{name}: its config.json has {kind}; this package reads {known}")
    return model_type


def conv_stride(config: Config) -> int:
    """Samples from one frame of the convolutional extractor to the next."""
    return math.prod(config.conv_stride)


def receptive_field(config: Config) -> int:
    """Samples that one frame of the convolutional extractor sees (wav2vec 2.0: 400)."""
    field, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return field
