"""Tiny random models of every family, saved as transformers saves them, with a waveform to run them on."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 20,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
PRE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}

# name: (model class, config class, settings, does a final norm follow the last block)
MODELS = {
    "wav2vec2-post": ("Wav2Vec2Model", "Wav2Vec2Config", {}, False),
    "wav2vec2-pre": ("Wav2Vec2Model", "Wav2Vec2Config", PRE, True),
    "wav2vec2-adapter": ("Wav2Vec2Model", "Wav2Vec2Config", {"add_adapter": True, "num_adapter_layers": 1}, False),
    "hubert-post": ("HubertModel", "HubertConfig", {}, False),
    "hubert-pre": ("HubertModel", "HubertConfig", PRE, True),
    "wavlm-post": ("WavLMModel", "WavLMConfig", {}, False),
    "wavlm-pre": ("WavLMModel", "WavLMConfig", PRE, True),
    "data2vec": ("Data2VecAudioModel", "Data2VecAudioConfig", {"num_conv_pos_embeddings": 2}, False),
    "unispeech-post": ("UniSpeechModel", "UniSpeechConfig", {}, False),
    "unispeech-pre": ("UniSpeechModel", "UniSpeechConfig", PRE, True),
    "unispeech-sat": ("UniSpeechSatModel", "UniSpeechSatConfig", {}, False),
    "unispeech-sat-pre": ("UniSpeechSatModel", "UniSpeechSatConfig", PRE, True),
    "conformer": ("Wav2Vec2ConformerModel", "Wav2Vec2ConformerConfig", {}, True),
    "bert": ("Wav2Vec2BertModel", "Wav2Vec2BertConfig", {"feature_projection_input_dim": 40}, False),
    "whisper": ("WhisperModel", "WhisperConfig", WHISPER, True),
}


def build(name, class_name=None, **changes):
    """A random model with every parameter moved off its default, so that no norm is the identity."""
    model_class, config_class, settings, _ = MODELS[name]
    base = {} if name == "whisper" else TINY | ({} if name == "bert" else CONVOLUTIONS)
    config = getattr(transformers, config_class)(**{**base, **settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, class_name or model_class)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """saved(name, class_name=None, extractor=None, **config): the model and the folder it was saved to, made once."""
    made: dict[object, tuple[torch.nn.Module, Path]] = {}

    def save(name, class_name=None, *, extractor=None, **changes):
        key = (name, class_name, str(extractor), str(changes))
        if key not in made:
            folder = tmp_path_factory.mktemp("models") / (class_name or name)
            model = build(name, class_name, **changes)
            model.save_pretrained(folder)
            if extractor is not None:
                extractor.save_pretrained(folder)
            made[key] = model, folder
        return made[key]

    return save


@pytest.fixture(scope="session")
def wave():
    """A second and a bit of noise with an offset, so that normalisation shows."""
    rng = np.random.default_rng(0)
    return (0.02 + 0.05 * rng.standard_normal(17_000)).astype(np.float32)
