"""Files that change while a model is read from them: one hash, one model, or one line."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechbias.checkpoint import load_encoder
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.errors import InputError
from speechbias.models import freeze as freeze_module
from speechbias.models import packed as packed_module
from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.convert.names import FAIRSEQ_NAMES
from speechbias.models.network import Network
from speechbias.models.packed import is_supported

CONFIG = EncoderConfig(
    "wav2vec2", WaveFrontend((16,) * 7), 24, 8, (3, 3), (40, 40), position_kernel=16, position_groups=2
)
WAVE = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
CHANGED = r"(encoder\.safetensors|model\.pt) changed while it was read; measure it again$"
needs_engine = pytest.mark.skipif(
    not is_supported(torch.float32), reason="this build of torch has no prepacked products"
)


def checkpoint(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Checkpoint("m", CONFIG, Network(CONFIG).state_dict())


@pytest.fixture(params=["our folder", "file"])
def model(request, tmp_path):
    """What to load, and the file with its weights."""
    if request.param == "our folder":
        folder = save_checkpoint(tmp_path / "m", checkpoint())
        return folder, folder / "encoder.safetensors"
    path = tmp_path / "model.pt"
    args = Namespace(arch="wav2vec2", encoder_attention_heads=3, layer_norm_first=False, normalize=False)
    torch.save({"model": fairseq(checkpoint().tensors), "args": args, "cfg": None}, path)
    return path, path


def fairseq(tensors):
    return {FAIRSEQ_NAMES.theirs(name).replace(".2.1.", ".2."): tensor for name, tensor in tensors.items()}


def overwrite(path: Path):
    """As a program does that writes its next checkpoint into the same file."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(-2000, os.SEEK_END)
        file.write(bytes(1000))
    os.utime(path, ns=(before, before + 10_000_000))  # a clock that ticks slowly would not show it


def shorten(path: Path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)


@needs_engine
@pytest.mark.parametrize("change", [overwrite, shorten])
@pytest.mark.parametrize("when", ["after hashing", "after packing"])
def test_a_file_written_into_is_refused(model, change, when, monkeypatch):
    name, file = model
    engine = freeze_module.Engine

    def packed(*arguments):
        if when == "after hashing":
            change(file)
        made = engine(*arguments)
        if when == "after packing":
            change(file)
        return made

    monkeypatch.setattr(freeze_module, "Engine", packed)
    with pytest.raises(InputError, match=CHANGED):
        load_encoder(name)


@needs_engine
def test_what_is_packed_does_not_care(model):
    name, file = model
    encoder = load_encoder(name)
    before = encoder.pooled(WAVE)
    overwrite(file)
    assert np.array_equal(encoder.pooled(WAVE), before)
    with pytest.raises(InputError, match=CHANGED):
        encoder.network  # noqa: B018 (it maps the file again)


def test_a_network_on_the_pages_of_a_file_gives_nothing_once_they_changed(model, monkeypatch):
    monkeypatch.setattr(packed_module, "is_supported", lambda _: False)
    name, file = model
    encoder = load_encoder(name)
    encoder.pooled(WAVE)
    overwrite(file)
    for compute in (encoder.pooled, encoder.hidden_states):
        with pytest.raises(InputError, match=CHANGED):
            compute(WAVE)


@pytest.mark.parametrize("packed", [pytest.param(True, marks=needs_engine), False])
def test_another_file_of_the_same_name_is_no_change(tmp_path, packed, monkeypatch):
    """Our own folders are replaced whole, and so are files that other programs write beside and rename."""
    if not packed:
        monkeypatch.setattr(packed_module, "is_supported", lambda _: False)
    folder = save_checkpoint(tmp_path / "m", checkpoint())
    expected = load_encoder(folder).pooled(WAVE)
    state_points = freeze_module.state_points

    def replaced(*arguments):
        save_checkpoint(folder, checkpoint(seed=1))
        return state_points(*arguments)

    monkeypatch.setattr(freeze_module, "state_points", replaced)  # between mapping and hashing
    assert np.array_equal(load_encoder(folder).pooled(WAVE), expected)
