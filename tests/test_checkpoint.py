"""``load_encoder``: what a MODEL may be, and one clear line for what it may not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel, WhisperConfig, WhisperModel

from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.features import NAMES
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.huggingface.adapter import HuggingFaceEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random HuBERT, as transformers saves it."""
    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    path = tmp_path_factory.mktemp("home") / "tiny-hubert"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        HubertModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A tiny random Whisper, which only transformers can run."""
    sizes = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 20}
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    tokens = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    path = tmp_path_factory.mktemp("whisper") / "tiny-whisper"
    with torch.random.fork_rng():
        WhisperModel(WhisperConfig(**sizes, **layers, **tokens)).save_pretrained(path)
    return path


@pytest.fixture
def wave():
    return (0.1 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("states", ["s3prl", "hf", "speat-2023"])
def test_features_by_name_under_every_convention(name, states):
    encoder = load_encoder(name, states=states, dtype="bfloat16")
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.num_states, encoder.states, encoder.dtype) == (name, 1, states, "float32")


def test_a_folder_as_string_as_path_and_from_home(folder, wave, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder)
    encoders = [load_encoder(model) for model in (str(folder), folder, "~/tiny-hubert", ".", f"{folder}/")]
    assert {encoder.name for encoder in encoders} == {"tiny-hubert"}
    assert len({encoder.pooled(wave).tobytes() for encoder in encoders}) == 1


def test_options_reach_the_model(folder):
    encoder = load_encoder(folder, states="speat-2023", dtype="bfloat16", device="auto")
    assert (encoder.states, encoder.dtype, encoder.recipe["state_0"]) == ("speat-2023", "bfloat16", "last block")


def test_a_hub_id_is_the_name_of_what_it_loads(folder, monkeypatch):
    monkeypatch.setattr("speechbias.checkpoint.source.find_snapshot", lambda hub_id: folder)
    assert load_encoder("some/model").name == "some/model"


def test_a_folder_of_our_families_is_our_own_network(folder, whisper):
    assert type(load_encoder(folder)) is FrozenNetwork
    assert type(load_encoder(whisper)) is HuggingFaceEncoder
    assert read_checkpoint(folder).config.family == "hubert"
    with pytest.raises(InputError, match="tiny-whisper is an encoder that transformers runs"):
        read_checkpoint(whisper)


def test_a_file_is_read_by_its_content(folder, tmp_path, wave):
    torch.save({"model": 5}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="is no checkpoint that is known here"):
        load_encoder(tmp_path / "a.pt")
    saved = save_checkpoint(tmp_path / "ours", read_checkpoint(folder))
    assert np.array_equal(load_encoder(saved).pooled(wave), load_encoder(folder).pooled(wave))


def test_a_folder_named_like_a_feature_is_reached_by_its_path(folder, monkeypatch, tmp_path):
    (tmp_path / "mel").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert load_encoder("mel").family == "features"
    assert load_encoder("./mel").family == "hubert"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "the name of the model is empty"),
        ("mfc", "'mfc' is no model; did you mean mfcc?"),
        ("mel:cmnv", "did you mean mel:cmvn?"),
        (
            "wav2vec2",
            r"MODEL is a feature .*random:FAMILY-SIZE\[:SEED\], a checkpoint \(folder or file\), or a hub id",
        ),
        ("./no/such/folder", "there is no such file or folder"),
        ("/no/such", "there is no such file or folder"),
        ("model.pt", "there is no such file or folder"),
        ("states-epoch-10.ckpt", "there is no such file or folder"),
        ("organisation/model.pt", "there is no such file or folder"),
        ("random:hubert-bse", "did you mean random:hubert-base?"),
        ("x" * 300, "cannot be looked up"),
        ("a/" * 3000, "cannot be looked up"),
        ("~nobody_of_this_name/model", "cannot be looked up"),
        ("a\0b", "is no model"),
        ("embeddings.npz", "holds embeddings, it is no encoder"),
    ],
)
def test_unknown_models_are_one_line(model, message):
    with pytest.raises(InputError, match=message) as error:
        load_encoder(model)
    assert "\n" not in str(error.value)


def test_files_and_empty_folders(tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"model\.pt is no file of torch\.save"):
        load_encoder(file)
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_encoder(tmp_path)


def test_options_without_meaning_are_errors(folder, whisper):
    for model in ("mel", folder, whisper, "random:hubert-small"):
        with pytest.raises(InputError, match="takes no mel statistics"):
            load_encoder(model, mel_stats=np.ones((2, 40)))


@pytest.mark.parametrize("model", ["mel", Path("anything")])
def test_a_convention_that_does_not_exist(model):
    with pytest.raises(InputError, match="'s4prl' are not known; take one of s3prl, hf, speat-2023"):
        load_encoder(model, states="s4prl")


def test_features_and_wrong_names_import_neither_torch_nor_transformers():
    code = (
        "import sys\n"
        "from speechbias.checkpoint import load_encoder\n"
        "load_encoder('mfcc')\n"
        "try:\n    load_encoder('nothing')\n"
        "except ValueError:\n    pass\n"
        "sys.exit(bool({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_only_what_needs_transformers_names_the_extra(folder, whisper, wave, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tiny-whisper needs transformers; .*pip install 'speechbias\[hf\]'"):
        load_encoder(whisper)
    assert load_encoder(folder).pooled(wave).shape == (3, 16)
