"""Files that are damaged at random: every reader gives something, or one line that says what is wrong; never a crash.

`make fuzz` runs many more examples (SPEECHBIAS_FUZZ, per reader).
"""

import json
import os
import signal
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.cluster import MiniBatchKMeans

from exportable import saved, tiny
from made_records import make_record
from recordings import write_test
from speechbias.audio import inspect_audio
from speechbias.checkpoint import load_encoder
from speechbias.checkpoint.kmeans import read_kmeans
from speechbias.compress.events import read_events
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.probe.recipe import read_probe_recipe
from speechbias.results import append_results, read_results
from speechbias.stimuli import read_stimuli
from speechbias.training.recipe import read_recipe
from speechbias.training.sharding import write_shards
from speechbias.training.shards import read_shards
from speechbias.vectors import read_vectors
from training_runs import write_corpus, write_recipe

EXAMPLES = int(os.environ.get("SPEECHBIAS_FUZZ", "25"))
PATIENCE = 60  # seconds: a reader that hangs is ended
JUNK = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"nan",
    b"1e999",
    b"-1",
    b"[",
    b"{}",
    b"null",
    b"\xe2\x80\xa8",
]


@contextmanager
def patience():
    def give_up(*_):
        raise TimeoutError("the reader hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damages(draw):
    """A function from whole bytes to damaged ones: parts cut, doubled, changed, put elsewhere; a few times over."""
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(["cut", "double", "flip", "insert", "truncate", "move"]), st.floats(0, 1),
                      st.integers(1, 40), st.sampled_from(JUNK) | st.binary(max_size=12)),
            min_size=1,
            max_size=4,
        )
    )  # fmt: skip

    def damaged(data):
        for kind, where, size, junk in steps:
            at = int(where * len(data))
            part, rest = data[at : at + size], data[at + size :]
            data = {
                "cut": data[:at] + rest,
                "double": data[:at] + part + part + rest,
                "flip": data[:at] + bytes(byte ^ 0x55 for byte in part) + rest,
                "insert": data[:at] + junk + data[at:],
                "truncate": data[:at],
                "move": part + data[:at] + rest,
            }[kind]
        return data

    return damaged


def stimuli(folder):
    return write_test(folder, name="gender", clips=3), read_stimuli


def recipe(folder):
    return write_recipe(folder / "recipe.toml", "hubert", folder), read_recipe


def probe_recipe(folder):
    path = folder / "probe.toml"
    path.write_text('[model]\nmodels = ["mfcc"]\n[probe]\ntrain = ["synthetic"]\n[optim]\nrates = [1e-2]\n')
    return path, read_probe_recipe


def results(folder):
    append_results(folder / "results.jsonl", [make_record(), make_record(layer=1)])
    return folder / "results.jsonl", read_results


def vectors(folder):
    np.savez(folder / "v.npz", **{name: np.ones((3, 2)) for name in "XYAB"}, speakers_X=np.array([0, 1, 2]))
    return folder / "v.npz", read_vectors


def events(folder):
    path = folder / "events.jsonl"
    event = {"step": 1, "kind": "rows", "amount": 2, "criterion": "l1", "cut": {"0": [1]}, "remaining": 3, "of": 4}
    path.write_text(json.dumps(event) + "\n" + json.dumps(event | {"step": 2}) + "\n")
    return path, read_events


def wav(folder):
    soundfile.write(folder / "a.wav", 0.1 * np.sin(np.arange(2000)), 16_000)
    return folder / "a.wav", inspect_audio


def flac(folder):
    soundfile.write(folder / "a.flac", 0.1 * np.sin(np.arange(2000)), 16_000)
    return folder / "a.flac", inspect_audio


def mp3(folder):
    soundfile.write(folder / "a.mp3", 0.1 * np.sin(np.arange(8000)), 16_000, format="MP3")
    return folder / "a.mp3", inspect_audio


def kmeans(folder):
    fitted = MiniBatchKMeans(3, n_init=1).fit(np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    joblib.dump(fitted, folder / "km.bin")
    return folder / "km.bin", read_kmeans


def file_of_torch(folder, **options):
    """A folder of transformers with its weights as torch.save wrote them."""
    export_checkpoint(saved(folder / "model", tiny()), format="hf", out=folder / "hf")
    weights = folder / "hf" / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    torch.save(tensors, folder / "hf" / "pytorch_model.bin", **options)
    return folder / "hf" / "pytorch_model.bin", lambda file: load_encoder(str(file.parent))


def old_file_of_torch(folder):
    return file_of_torch(folder, _use_new_zipfile_serialization=False)


def of_a_checkpoint(name):
    def made(folder):
        path = saved(folder / "model", tiny())
        return path / name, lambda file: load_encoder(str(file.parent))

    made.__name__ = name.replace(".", "_")
    return made


def index_of_shards(folder):
    write_shards([write_corpus(folder / "corpus", clips=3)], folder / "shards", count=2)
    path = min((folder / "shards").glob("*.json*"))
    return path, lambda file: read_shards(file.parent)


READERS = [
    stimuli, recipe, probe_recipe, results, vectors, events, wav, flac, mp3, kmeans, file_of_torch, old_file_of_torch,
    *map(of_a_checkpoint, ("config.json", "meta.json", "encoder.safetensors", "objective.safetensors")),
    index_of_shards,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of libraries, about damage
@pytest.mark.parametrize("made", READERS, ids=lambda made: made.__name__)
def test_a_damaged_file_is_read_or_refused(made, tmp_path):
    path, read = made(tmp_path)
    whole = path.read_bytes()
    read(path)  # is what it should be

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 1000
    )
    @given(damages())
    def one(damage):
        path.write_bytes(damage(whole))
        with patience():
            try:
                read(path)
            except InputError as error:
                assert error.problems  # noqa: PT017
                assert all("\n" not in line for line in error.problems)  # noqa: PT017

    one()
