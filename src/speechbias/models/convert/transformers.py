"""transformers' config.json of wav2vec 2.0 and HuBERT, to our config and back.

What our network does not have (other activations, adapters, batch-normalised positions) is for the adapter in
``models.huggingface``, which runs transformers' own code.
"""

from collections.abc import Mapping
from typing import Any

from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.convert.hints import Hints

Config = Mapping[str, Any]
MODEL_TYPES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel"}
# What our network is, under transformers' names, and what transformers assumes where the config is silent.
FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
}
OURS = "speechbias"  # a key of config.json with settings of ours
EPSILON = 1e-7  # of transformers' Wav2Vec2FeatureExtractor


def hints_of(config: Config, preprocessor: Config) -> Hints | None:
    """What a folder's settings say; None where our network is not this model. ValueError for what is no setting."""
    if config.get("model_type") not in MODEL_TYPES:
        return None
    if any(config.get(name, value) != value for name, value in FIXED.items()):
        return None
    if _count(preprocessor.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
        return None
    own = config.get(OURS) or {}
    extractor_norm = config.get("feat_extract_norm", "group")
    return Hints(
        family=config["model_type"],
        layers=_count(config.get("num_hidden_layers", 12)),
        heads=_count(config.get("num_attention_heads", 12)),
        pre_norm=_flag(config, "do_stable_layer_norm", default=False),
        normalise=_flag(preprocessor, "do_normalize", default=extractor_norm == "layer"),
        normalise_eps=_epsilon(own),
        strides=tuple(map(_count, config.get("conv_stride", WaveFrontend().strides))),
        # DistilHuBERT, and nobody else, has no norm before its projection.
        student=_flag(own, "student", default=not _flag(config, "feat_proj_layer_norm", default=True)),
    )


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{str(value)[:60]!r} is not a whole number from 1")
    return value


def _flag(settings: Config, name: str, *, default: bool) -> bool:
    value = settings.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {str(value)[:60]!r}, neither true nor false")  # noqa: TRY004 (a file's value)
    return value


def _epsilon(own: Config) -> float:
    value = own.get("wave_norm_eps", EPSILON)
    if type(value) is not float or not 0 <= value < 1:
        raise ValueError(f"wave_norm_eps is {str(value)[:60]!r}, not a number from 0 to 1")
    return value


def to_transformers(config: EncoderConfig, *, mask_embedding: bool) -> dict[str, Any]:
    """Our config as transformers' config.json. ValueError where transformers has no such model."""
    front = config.frontend
    if isinstance(front, MelFrontend):
        raise ValueError("transformers has no MelHuBERT")  # noqa: TRY004 (the value of a config, not a type)
    if len(set(config.ffn)) > 1 or set(config.heads) != {config.dim // config.head_dim}:
        raise ValueError("transformers has one feed-forward width and dim / head size heads in every layer")
    if config.family == "wav2vec2" and not front.feature_norm:
        raise ValueError("transformers' wav2vec 2.0 always normalises features before the projection")
    made: dict[str, Any] = {
        "model_type": config.family,
        "architectures": [MODEL_TYPES[config.family]],
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.heads[0],
        "intermediate_size": config.ffn[0],
        "do_stable_layer_norm": config.pre_norm,
        "conv_dim": list(front.channels),
        "conv_kernel": list(front.kernels),
        "conv_stride": list(front.strides),
        "conv_bias": front.bias,
        "num_feat_extract_layers": len(front.channels),
        "feat_extract_norm": front.norm,
        "num_conv_pos_embeddings": config.position_kernel,
        "num_conv_pos_embedding_groups": config.position_groups,
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "layer_norm_eps": 1e-5,
        "layerdrop": 0.0,
    }
    if config.family == "hubert":
        made["feat_proj_layer_norm"] = front.feature_norm
    own: dict[str, Any] = {}  # what transformers has no setting for and does not read; we do
    if front.wave_norm_eps is not None:
        own["wave_norm_eps"] = front.wave_norm_eps
    if config.student == front.feature_norm:
        own["student"] = config.student
    if own:
        made[OURS] = own
    if not mask_embedding:
        made |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}  # else transformers draws an embedding at random
    return made


def to_preprocessor(config: EncoderConfig) -> dict[str, Any]:
    """preprocessor_config.json: whether the wave is normalised."""
    front = config.frontend
    normalise = isinstance(front, WaveFrontend) and front.wave_norm_eps is not None
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": normalise,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": isinstance(front, WaveFrontend) and front.norm == "layer",
        "sampling_rate": 16_000,
    }
