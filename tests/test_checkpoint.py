"""``load_encoder``: what a MODEL may be, and one clear line for what it may not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel

from speechbias.checkpoint import load_encoder
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.features import NAMES


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
    monkeypatch.setattr("speechbias.checkpoint.find_snapshot", lambda hub_id: folder)
    assert load_encoder("some/model").name == "some/model"


def test_a_folder_named_like_a_feature_is_reached_by_its_path(folder, monkeypatch, tmp_path):
    (tmp_path / "mel").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert load_encoder("mel").family == "features"
    assert load_encoder("./mel").family == "hubert"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mfc", "'mfc' is no model; did you mean mfcc?"),
        ("mel:cmnv", "did you mean mel:cmvn?"),
        ("wav2vec2", "MODEL is a feature .*a transformers folder, or a hub id"),
        ("./no/such/folder", "there is no such folder"),
        ("/no/such", "there is no such folder"),
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
    with pytest.raises(InputError, match="is a file; pass the folder"):
        load_encoder(file)
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("model", ["mel", Path("anything")])
def test_options_without_meaning_are_errors(model):
    with pytest.raises(InputError, match="takes no mel statistics"):
        load_encoder(model, mel_stats=np.zeros((2, 40)))
    with pytest.raises(InputError, match="'s4prl' is none of s3prl, hf, speat-2023"):
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


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'speechbias\[hf\]'"):
        load_encoder(folder)
