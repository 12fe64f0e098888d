"""Every family's states against transformers' own output, for each convention, and what may not be loaded."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.models.device import choose_device
from speechbias.models.huggingface.adapter import draw_huggingface, load_huggingface
from speechbias.models.huggingface.families import FAMILIES
from speechbias.models.readers import RunningMeans
from speechbias.poolings import Pooled

from .conftest import MODELS

WAVEFORM = [name for name in MODELS if name not in {"bert", "whisper"}]


def own_output(model, extractor, wave):
    """What transformers returns for one wave when asked in its own way."""
    inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")
    encoder = getattr(model, "encoder", None) if "Whisper" in type(model).__name__ else model
    with torch.inference_mode():
        return encoder(**inputs, output_hidden_states=True), inputs


def stack(states):
    return torch.cat(list(states)).numpy()


def agree(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", WAVEFORM)
def test_states_are_those_of_transformers(name, saved, wave):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    model, folder = saved(name, extractor=extractor)
    out, _ = own_output(model, extractor, wave)
    as_returned = stack(out.hidden_states)
    agree(load_huggingface(name, folder, states="hf").hidden_states(wave), as_returned)

    encoder = load_huggingface(name, folder)
    expected = as_returned.copy()
    if MODELS[name][3]:
        expected[-1] = out.last_hidden_state[0].numpy()
        assert np.abs(expected[-1] - as_returned[-1]).max() > 0.1  # transformers v5 leaves the final norm out
    agree(encoder.hidden_states(wave), expected)
    agree(encoder.pooled(wave), expected.mean(1, dtype=np.float64))


@pytest.mark.parametrize("samples", [17_000, 17_100, 560])  # 104, 104 and 2 frames of 10 ms
@pytest.mark.parametrize("states", ["s3prl", "hf"])
def test_w2v_bert_leaves_the_padded_frame_out(saved, wave, samples, states):
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20, padding_value=1)
    model, folder = saved("bert", extractor=extractor)
    wave = np.resize(wave, samples)
    out, inputs = own_output(model, extractor, wave)
    valid = int(inputs["attention_mask"].sum())
    assert valid == (1 + (samples - 400) // 160) // 2
    encoder = load_huggingface("bert", folder, states=states)
    assert (encoder.min_samples, encoder.frame_shift) == (560, 0.02)
    agree(encoder.hidden_states(wave), stack(out.hidden_states)[:, :valid])


def test_w2v_bert_with_an_odd_number_of_frames(saved, wave):
    model, folder = saved("bert")  # no preprocessor file
    odd = wave[: 400 + 160 * 8]  # nine frames: four pairs and one that is dropped
    encoder = load_huggingface("bert", folder)
    states = encoder.hidden_states(odd)
    assert states.shape[1] == 4
    features = next(encoder.frontend.inputs(odd)).arguments["input_features"]
    with torch.inference_mode():  # the padded pair changes nothing before it
        out = model(features[:, :4], output_hidden_states=True)
    agree(states, stack(out.hidden_states))


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_the_preprocessor_file_decides_on_normalisation(saved, wave, tmp_path, do_normalize, file):
    model, folder = saved("hubert-post")
    folder = shutil.copytree(folder, tmp_path / "copy")
    settings = {"do_normalize": do_normalize, "sampling_rate": 16_000}
    content = settings if file.startswith("pre") else {"feature_extractor": settings}
    (folder / file).write_text(json.dumps(content))
    out, _ = own_output(model, transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize), wave)
    encoder = load_huggingface("x", folder)
    agree(encoder.hidden_states(wave), stack(out.hidden_states))
    assert encoder.recipe["normalisation_from"] == "preprocessor file"
    assert (encoder.recipe["normalisation"] == "none") is not do_normalize


@pytest.mark.parametrize(("name", "normalised"), [("hubert-post", False), ("hubert-pre", True), ("data2vec", True)])
def test_without_the_file_the_extractor_norm_decides(saved, wave, name, normalised):
    model, folder = saved(name)
    out, _ = own_output(model, transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised), wave)
    encoder = load_huggingface(name, folder)
    agree(encoder.hidden_states(wave)[:-1], stack(out.hidden_states)[:-1])
    assert (encoder.recipe["normalisation"] != "none") is normalised


@pytest.mark.parametrize("name", ["wav2vec2-post", "wav2vec2-pre"])
def test_speat_wav2vec2_starts_with_the_projected_cnn_output(saved, wave, name):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    model, folder = saved(name, extractor=extractor)
    out, inputs = own_output(model, extractor, wave)
    with torch.inference_mode():
        features = model.feature_extractor(inputs["input_values"]).transpose(1, 2)
        projected, _ = model.feature_projection(features)
    states = load_huggingface(name, folder, states="speat-2023").hidden_states(wave)
    agree(states, stack([projected, *out.hidden_states[1:]]))


@pytest.mark.parametrize("name", ["hubert-post", "hubert-pre"])
def test_speat_hubert_starts_with_the_last_block(saved, wave, name):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    model, folder = saved(name, extractor=extractor)
    out, _ = own_output(model, extractor, wave)
    encoder = load_huggingface(name, folder, states="speat-2023")
    agree(encoder.hidden_states(wave), stack([out.hidden_states[-1], *out.hidden_states[1:]]))
    assert encoder.recipe["state_0"] == "last block"


@pytest.mark.parametrize("name", ["wavlm-post", "wavlm-pre"])
def test_speat_wavlm_never_normalises_the_wave(saved, wave, name):
    model, folder = saved(name, extractor=transformers.Wav2Vec2FeatureExtractor(do_normalize=True))
    out, _ = own_output(model, transformers.Wav2Vec2FeatureExtractor(do_normalize=False), wave)
    agree(load_huggingface(name, folder, states="speat-2023").hidden_states(wave), stack(out.hidden_states))


@pytest.mark.parametrize("name", ["data2vec", "unispeech-pre", "conformer", "bert", "whisper"])
def test_speat_states_of_other_families_are_an_error(saved, name):
    with pytest.raises(InputError, match="SpEAT"):
        load_huggingface(name, saved(name)[1], states="speat-2023")


@pytest.mark.parametrize("name", MODELS)
def test_what_an_encoder_promises(saved, wave, name):
    _, folder = saved(name)
    encoder = load_huggingface("some/name", folder)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.num_states, encoder.dim, encoder.sample_rate) == ("some/name", 4, 16, 16_000)
    assert encoder.frame_shift == 0.02
    assert encoder.family in FAMILIES
    json.dumps(encoder.recipe)
    assert str(folder) not in json.dumps(encoder.recipe)
    states, pooled = encoder.hidden_states(wave), encoder.pooled(wave)
    assert (states.dtype, pooled.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(pooled, states.mean(1, dtype=np.float64), rtol=1e-6, atol=1e-6)
    assert encoder.hidden_states(wave[: encoder.min_samples]).shape[1] >= 1
    wave.flags.writeable = False
    np.testing.assert_array_equal(encoder.hidden_states(wave), states)
    wave.flags.writeable = True


def test_shorter_than_the_receptive_field_is_refused(saved, wave):
    encoder = load_huggingface("x", saved("wav2vec2-post")[1])
    assert encoder.min_samples == 400
    assert encoder.hidden_states(wave[:400]).shape[1] == 1
    with pytest.raises(InputError, match="399 samples, one frame needs 400"):
        encoder.pooled(wave[:399])


def test_pooling_keeps_no_frames(saved, wave):
    """What a state's reader keeps does not grow with the frames."""
    encoder = load_huggingface("x", saved("wav2vec2-post")[1])
    reader = RunningMeans(encoder.num_states)
    encoder._run(np.tile(wave, 4), reader)
    assert [tuple(total.shape) for total in reader.sums] == [(16,)] * 4
    assert reader.counts == [(4 * 17_000 - 400) // 320 + 1] * 4


def test_two_threads_do_not_see_each_others_frames(saved, wave):
    encoder = load_huggingface("x", saved("wavlm-pre")[1])
    waves = [wave[: 4_000 + 1_000 * i] for i in range(12)]
    expected = [encoder.pooled(w) for w in waves]
    results = [None] * len(waves)

    def work(part):
        for i in range(part, len(waves), 2):
            results[i] = encoder.pooled(waves[i])

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_and_named(saved, wave, dtype):
    _, folder = saved("wav2vec2-post")
    full, half = load_huggingface("x", folder), load_huggingface("x", folder, dtype=dtype)
    assert half.dtype == dtype
    difference = np.abs(half.pooled(wave) - full.pooled(wave)).max()
    assert 0 < difference < 0.1
    assert half.hidden_states(wave).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("wav2vec2-post", "Wav2Vec2ForCTC"),
        ("wav2vec2-pre", "Wav2Vec2ForPreTraining"),
        ("hubert-post", "HubertForSequenceClassification"),
        ("wavlm-post", "WavLMForXVector"),
        ("data2vec", "Data2VecAudioForCTC"),
        ("unispeech-sat", "UniSpeechSatForPreTraining"),
        ("bert", "Wav2Vec2BertForCTC"),
        ("whisper", "WhisperForConditionalGeneration"),
        ("whisper", "WhisperForAudioClassification"),
    ],
)
def test_an_encoder_saved_under_a_head_is_found(saved, wave, name, head):
    settings = {"codevector_dim": 16, "proj_codevector_dim": 16, "vocab_size": 60}
    model, folder = saved(name, head, **settings)
    inner = model.encoder if head == "WhisperForAudioClassification" else getattr(model, model.base_model_prefix)
    encoder = load_huggingface("x", folder)
    piece = next(encoder.frontend.inputs(wave))
    with torch.inference_mode():
        out = (
            (inner if head == "WhisperForAudioClassification" else getattr(inner, "encoder", inner))(**piece.arguments)
            if name == "whisper"
            else inner(**piece.arguments)
        )
    agree(encoder.hidden_states(wave)[-1], out.last_hidden_state[0, : piece.valid].numpy())


def changed(folder, tmp_path, change):
    """A copy of a saved model whose tensors went through ``change``."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_a_changed_weight_changes_result_and_digest(saved, wave, tmp_path):
    _, folder = saved("wav2vec2-post")
    copy = changed(folder, tmp_path, lambda t: t["encoder.layers.1.attention.q_proj.weight"].add_(0.5))
    one, other = load_huggingface("x", folder), load_huggingface("x", copy)
    difference = np.abs(one.pooled(wave) - other.pooled(wave)).max(axis=1)
    assert (difference[:2] < 1e-6).all()
    assert (difference[2:] > 1e-4).all()
    assert one.sha256 != other.sha256
    assert one.sha256 == load_huggingface("y", folder).sha256


def test_missing_weights_are_refused_not_drawn(saved, tmp_path):
    _, folder = saved("hubert-pre")
    copy = changed(folder, tmp_path, lambda t: t.pop("encoder.layers.2.final_layer_norm.weight"))
    with pytest.raises(InputError, match=r"missing \(encoder.layers.2.final_layer_norm.weight\)"):
        load_huggingface("x", copy)


def test_the_mask_embedding_may_be_missing(saved, tmp_path):
    _, folder = saved("hubert-pre")
    load_huggingface("x", changed(folder, tmp_path, lambda t: t.pop("masked_spec_embed")))


def test_wrong_shapes_are_refused(saved, tmp_path):
    _, folder = saved("wavlm-post")
    name = "feature_projection.projection.bias"
    copy = changed(folder, tmp_path, lambda t: t.update({name: torch.zeros(5)}))
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load_huggingface("x", copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "cannot be loaded"),
        ("model.safetensors", None, "no model.safetensors"),
        ("config.json", b"{ not json", "cannot be read as JSON"),
        ("config.json", b"[1]", "is not a JSON object"),
        ("config.json", None, "no config.json"),
        ("config.json", b'{"model_type": "bert"}', "model_type 'bert'; this package reads wav2vec2, hubert, wavlm"),
        ("config.json", b"{}", "no model_type"),
        ("config.json", b'{"model_type": "wav2vec2", "conv_bias": [], "hidden_act": 3}', "cannot be loaded"),
    ],
)
def test_broken_folders_are_one_line(saved, tmp_path, file, content, message):
    copy = shutil.copytree(saved("wav2vec2-post")[1], tmp_path / "broken")
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_huggingface("x", copy)
    assert "\n" not in str(error.value)


def test_truncated_weights_are_one_line(saved, tmp_path):
    copy = shutil.copytree(saved("wav2vec2-post")[1], tmp_path / "short")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_huggingface("x", copy)


def test_older_files_with_the_old_names_of_weight_norm(saved, wave, tmp_path):
    """What most public wav2vec 2.0 and HuBERT models are: pytorch_model.bin with weight_g and weight_v."""
    _, folder = saved("hubert-post")
    old = shutil.copytree(folder, tmp_path / "old")
    tensors = load_file(old / "model.safetensors")
    name = "encoder.pos_conv_embed.conv."
    tensors[f"{name}weight_g"] = tensors.pop(f"{name}parametrizations.weight.original0")
    tensors[f"{name}weight_v"] = tensors.pop(f"{name}parametrizations.weight.original1")
    torch.save({f"hubert.{key}": value for key, value in tensors.items()}, old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    expected = load_huggingface("x", folder).hidden_states(wave)
    np.testing.assert_array_equal(load_huggingface("x", old).hidden_states(wave), expected)


def test_shards(saved, wave, tmp_path):
    model, folder = saved("hubert-post")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    expected = load_huggingface("x", folder).hidden_states(wave)
    np.testing.assert_array_equal(load_huggingface("x", tmp_path / "shards").hidden_states(wave), expected)


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (type(self.target).touch, (self.target,))


def test_a_pickle_runs_no_code(saved, tmp_path):
    copy = shutil.copytree(saved("hubert-post")[1], tmp_path / "hostile")
    (copy / "model.safetensors").unlink()
    torch.save({"x": Hostile(tmp_path / "pwned")}, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_huggingface("x", copy)
    assert not (tmp_path / "pwned").exists()


def test_loading_prints_nothing_and_leaves_logging_alone(saved, capfd):
    _, folder = saved("wav2vec2-post", "Wav2Vec2ForCTC", vocab_size=60)
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    load_huggingface("x", folder)
    assert capfd.readouterr() == ("", "")
    assert before == (logging.get_verbosity(), logging.is_progress_bar_enabled())


def test_loading_draws_no_random_number(saved):
    _, folder = saved("wav2vec2-post")
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    load_huggingface("x", folder)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_devices_and_dtypes(saved):
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"
    for wrong in ("gpu", "meta", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{wrong}'"):
            choose_device(wrong)
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        load_huggingface("x", saved("wav2vec2-post")[1], dtype="int8")


@pytest.mark.parametrize(
    ("file", "setting", "value"),
    [
        ("config.json", "num_hidden_layers", 2**70),
        ("config.json", "num_hidden_layers", 0),
        ("config.json", "hidden_size", 10**9),
        ("config.json", "num_attention_heads", -2),
        ("config.json", "intermediate_size", "32"),
        ("preprocessor_config.json", "sampling_rate", 0),
        ("preprocessor_config.json", "sampling_rate", "fast"),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_anything_is_built(saved, tmp_path, file, setting, value):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    _, folder = saved("wavlm-post", extractor=extractor)
    folder = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, setting: value}))
    with pytest.raises(InputError, match=f"{setting} is .*, not a whole number from 1") as error:
        load_huggingface("x", folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["wavlm-pre", "bert", "whisper"])
def test_an_untrained_twin_has_the_settings_of_a_folder_and_weights_of_a_seed(name, saved, wave):
    _, folder = saved(name)
    trained, state = load_huggingface(name, folder), torch.random.get_rng_state()
    twins = [draw_huggingface(name, folder, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (twins[0].num_states, twins[0].dim, twins[0].recipe) == (trained.num_states, trained.dim, trained.recipe)
    assert twins[0].sha256 == twins[1].sha256 != twins[2].sha256
    pooled = [each.pooled(wave) for each in (*twins, trained)]
    np.testing.assert_array_equal(pooled[0], pooled[1])
    assert np.abs(pooled[0] - pooled[2]).max() > 1e-3
    assert np.abs(pooled[0] - pooled[3]).max() > 1e-3


@pytest.mark.parametrize("name", ["wavlm-post", "bert"])
def test_other_poolings_are_of_the_hidden_states(saved, wave, name):
    encoder = load_huggingface(name, saved(name)[1])
    expected = [np.median(state.astype(np.float64), axis=0) for state in encoder.hidden_states(wave)]
    np.testing.assert_array_equal(Pooled(encoder, "median").pooled(wave), np.float32(expected))
