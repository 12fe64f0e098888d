"""Whisper: windows of 30 s, valid frames, one mean over all windows; and a real model on real speech."""

import json
import shutil

import numpy as np
import pytest
import soundfile as sf
import torch
import transformers

from speechbias.errors import InputError
from speechbias.models.huggingface.adapter import load_huggingface
from speechbias.poolings import POOLINGS, Pooled

WINDOW = 480_000


def windows_of(model, extractor, wave):
    """Transformers' encoder on every window by itself, cut to the frames of the wave: (states, frames, dim)."""
    pieces = []
    for start in range(0, len(wave), WINDOW):
        piece = wave[start : start + WINDOW]
        features = extractor(piece, sampling_rate=16_000, return_tensors="pt")["input_features"]
        with torch.inference_mode():
            out = model.encoder(features, output_hidden_states=True)
        assert torch.equal(out.hidden_states[-1], out.last_hidden_state)  # Whisper's last state is the normed one
        pieces.append(torch.cat(out.hidden_states)[:, : -(-len(piece) // 320)].numpy())
    return np.concatenate(pieces, axis=1)


@pytest.fixture(scope="module")
def noise():
    return (0.05 * np.random.default_rng(1).standard_normal(2 * WINDOW + 700)).astype(np.float32)


@pytest.mark.parametrize("states", ["s3prl", "hf"])
@pytest.mark.parametrize("samples", [16_000, WINDOW, WINDOW + 1, 2 * WINDOW + 700])
def test_windows_against_transformers(saved, noise, samples, states):
    extractor = transformers.WhisperFeatureExtractor(feature_size=20)
    model, folder = saved("whisper", extractor=extractor)
    wave = noise[:samples]
    encoder = load_huggingface("w", folder, states=states)
    assert encoder.parameters == sum(part.numel() for part in model.get_encoder().parameters())  # no decoder
    expected = windows_of(model, extractor, wave)
    actual = encoder.hidden_states(wave)
    assert actual.shape == (4, -(-samples // 320), 16)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encoder.pooled(wave), expected.mean(1, dtype=np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (320, 1), (321, 2), (16_000, 50), (16_001, 51)])
def test_valid_frames_are_the_samples_over_320_rounded_up(saved, noise, samples, frames):
    encoder = load_huggingface("w", saved("whisper")[1])
    assert encoder.hidden_states(noise[:samples]).shape[1] == frames
    assert encoder.min_samples == 400


def test_a_folder_without_preprocessor_file_takes_the_bins_of_its_config(saved, noise):
    model, folder = saved("whisper")
    assert not (folder / "preprocessor_config.json").exists()
    expected = windows_of(model, transformers.WhisperFeatureExtractor(feature_size=20), noise[:16_000])
    actual = load_huggingface("w", folder).hidden_states(noise[:16_000])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_preprocessor_of_another_model_is_refused(saved, tmp_path):
    copy = shutil.copytree(saved("whisper")[1], tmp_path / "w")
    (copy / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    with pytest.raises(InputError, match="feature_size is 80, the model takes 20"):
        load_huggingface("w", copy)


def test_the_decoder_is_not_loaded(saved):
    encoder = load_huggingface("w", saved("whisper")[1])
    assert not any("decoder" in name for name, _ in encoder.model.named_parameters())
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_real_whisper_on_real_speech(shared):
    folder = shared / "models" / "whisper-tiny.en"
    clip = min((shared / "data" / "speech").rglob("*.flac"))
    wave, rate = sf.read(clip, dtype="float32")
    assert rate == 16_000
    model = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).eval()
    expected = windows_of(model, transformers.WhisperFeatureExtractor(feature_size=80), wave)
    encoder = load_huggingface("whisper-tiny.en", folder)
    actual = encoder.hidden_states(wave)
    assert actual.shape == (5, -(-len(wave) // 320), 384)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    mean = expected.mean(1, dtype=np.float64)
    np.testing.assert_allclose(encoder.pooled(wave), mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [16_000, WINDOW + 16_000])
def test_other_poolings_are_of_the_frames_of_all_windows(saved, noise, samples):
    encoder = load_huggingface("w", saved("whisper")[1])
    states = encoder.hidden_states(noise[:samples])
    for pooling in ("max", "median", "first", "last", "std"):
        found = Pooled(encoder, pooling).pooled(noise[:samples])
        np.testing.assert_array_equal(found, [POOLINGS[pooling](state).astype(np.float32) for state in states])
    assert Pooled(encoder, "std").min_samples == 720
