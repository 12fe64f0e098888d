"""Files that are damaged at random: every reader gives something, or one line that says what is wrong; never a crash.

`make fuzz` runs many more examples (SPEECHBIAS_FUZZ, per reader).
"""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

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
from laid_corpora import lay_morgan
from made_records import make_record
from recordings import write_test
from speechbias.audio import inspect_audio, read_audio
from speechbias.checkpoint import load_encoder
from speechbias.checkpoint.kmeans import read_kmeans
from speechbias.compress.events import read_events
from speechbias.compress.start import read_distill_recipe, read_prune_recipe
from speechbias.corpora.librispeech import read_speakers
from speechbias.corpora.morgan import _read_ratings as read_ratings
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.kept import read_kept
from speechbias.launch.settings import read_settings
from speechbias.models.mel import read_mel_stats
from speechbias.models.onnx.runtime import open_onnx
from speechbias.probe.lexicon import read_lexicon
from speechbias.probe.recipe import read_probe_recipe
from speechbias.removal import remove
from speechbias.results import append_results, read_results
from speechbias.stimuli import read_stimuli
from speechbias.training.km import read_km
from speechbias.training.label_files import LabelFacts, written_labels
from speechbias.training.label_files import read_folder as read_units
from speechbias.training.log import Log
from speechbias.training.manifest import Manifest
from speechbias.training.quantiser import Quantiser
from speechbias.training.recipe import read_recipe
from speechbias.training.sharding import write_shards
from speechbias.training.shards import read_shards
from speechbias.training.sources import open_corpus
from speechbias.training.states import read_state, write_state
from speechbias.training.written_recipe import refuse_another
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


def shard(folder):
    """A shard whose size is right and whose bytes are not: what is in it is read, clip by clip, or refused."""
    write_shards([write_corpus(folder / "corpus", clips=3)], folder / "shards", count=3)

    def read(path):
        manifest = open_corpus(path.parent)
        return [read_audio(manifest.path(row), 16_000) for row in range(len(manifest))]

    return next((folder / "shards").glob("*.tar")), read


def manifest(folder):
    open_corpus(write_corpus(folder / "corpus", clips=3)).save(folder / "corpus.npz")
    return folder / "corpus.npz", lambda path: Manifest.load(path).sha256


def of_transformers(name):
    def made(folder):
        hf = export_checkpoint(
            saved(folder / "model", tiny("wav2vec2")), format="hf", out=folder / "hf", latency=False
        )
        return Path(hf) / name, lambda file: load_encoder(str(file.parent))

    made.__name__ = f"transformers_{name.replace('.', '_')}"
    return made


def of_units(name):
    def made(folder):
        centres = np.arange(6, dtype=np.float32).reshape(3, 2)
        quantiser = Quantiser(centres, {"kind": "mfcc"}, 50)
        facts = LabelFacts(50, 3, None, quantiser, {})
        with written_labels(folder / "units", facts) as writer:
            writer.append(np.array([0, 1, 2, 2], np.uint8))
        return folder / "units" / name, lambda file: read_units(file.parent)

    made.__name__ = f"units_{name.replace('.', '_')}"
    return made


def of_state(name):
    def made(folder):
        path = saved(folder / "model", tiny())
        write_state(path, {"step": 3, "moments": [torch.ones(2)]}, kept=True)
        return path / name, lambda file: read_state(file.parent)

    made.__name__ = f"state_{name.replace('.', '_')}"
    return made


def of_a_removal(name):
    def made(folder):
        fit = read_stimuli(write_test(folder, name="fit", clips=4))
        remove("mfcc", fit, folder / "without")
        return folder / "without" / name, lambda file: load_encoder(str(file.parent))

    made.__name__ = f"removal_{name.replace('.', '_')}"
    return made


def of_a_corpus(name, text):
    """A table, or what lies beside the audio of LibriSpeech."""

    def made(folder):
        corpus = folder / "1" / "10"
        corpus.mkdir(parents=True)
        for clip in range(2):
            soundfile.write(corpus / f"1-10-{clip}.wav", 0.1 * np.sin(np.arange(2000)), 16_000)
        path = folder / name
        path.write_text(text)
        return path, lambda file: open_corpus(file if file.parent == folder else folder).sha256

    made.__name__ = f"corpus_{Path(name).name.replace('.', '_')}"
    return made


def scan(folder):
    """What a scan of a corpus found out, kept in a run folder."""
    corpus = write_corpus(folder / "corpus", clips=3)
    open_corpus(corpus, cache=folder / "scan.jsonl")
    return folder / "scan.jsonl", lambda path: open_corpus(corpus, cache=path)


def speakers(folder):
    path = folder / "SPEAKERS.TXT"
    path.write_text("; ID | SEX | SUBSET\n14 | F | train-clean-360 | 25.03 | Name\n16 | M | dev-clean | 8.0 | Name\n")
    return path, read_speakers


def km(folder):
    (folder / "dict.km.txt").write_text("0 2\n1 2\n2 1\n")
    (folder / "train.km").write_text("0 1 1 2\n0 0 1\n\n2 1 0 0\n")
    return folder / "train.km", read_km


def dictionary_of_km(folder):
    km(folder)
    return folder / "dict.km.txt", lambda file: read_km(file.parent / "train.km")


def lexicon(folder):
    (folder / "lexicon.txt").write_text(";;; words\nCAT  K AE1 T\nCAT(2)  K AH0 T\nDOG D AO1 G # animal\n")
    return folder / "lexicon.txt", lambda path: read_lexicon([path])


def mel_stats(folder):
    np.save(folder / "stats.npy", np.ones((2, 40)))
    return folder / "stats.npy", read_mel_stats


def kept(folder):
    np.savez(folder / "kept.npz", front=np.ones((3, 2)))
    return folder / "kept.npz", lambda path: read_kept(path, "front")


def jobs(folder):
    (folder / "jobs.toml").write_text('time = "01:30:00"\ngpus = 2\npartition = "main"\n')
    return folder / "jobs.toml", lambda path: read_settings("slurm", [str(path)])


def prune_recipe(folder):
    saved(folder / "model", tiny())
    path = folder / "prune.toml"
    path.write_text(
        '[model]\ncheckpoint = "model"\n[data]\ntrain = "synthetic"\nseconds = 9.0\n'
        '[prune]\nmethod = "weights"\ntargets = [0.2, 0.4]\ntrain = false\n'
    )
    return path, lambda path: read_prune_recipe(path, folder / "run")


def distill_recipe(folder):
    saved(folder / "model", tiny())
    path = folder / "distill.toml"
    path.write_text(
        '[model]\ncheckpoint = "model"\n[data]\ntrain = "synthetic"\nseconds = 9.0\n[distill]\ntargets = [1, 2]\n'
    )
    return path, lambda path: read_distill_recipe(path, folder / "run")


def log(folder):
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 1.5, "lr": 1e-3}) + "\n" for step in (2, 4, 6)))
    return path, lambda path: Log(path, every=2, step=4)


def written(folder):
    run = read_recipe(write_recipe(folder / "recipe.toml", "hubert", folder))
    (folder / "run").mkdir()
    (folder / "run" / "recipe.toml").write_text(run.to_toml())
    return folder / "run" / "recipe.toml", lambda path: refuse_another(path.parent, run, [], warn=str)


def ratings(folder):
    """The Excel file of the Morgan Emotional Speech Set."""
    lay_morgan(folder / "mess")
    return next((folder / "mess").rglob("*.xlsx")), read_ratings


def onnx_file(folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = saved(folder / "model", tiny())
    return Path(export_checkpoint(model, format="onnx", out=folder / "m.onnx", latency=False)), open_onnx


READERS = [
    stimuli, recipe, probe_recipe, results, vectors, events, wav, flac, mp3, kmeans, file_of_torch, old_file_of_torch,
    *map(of_a_checkpoint, ("config.json", "meta.json", "encoder.safetensors", "objective.safetensors")),
    index_of_shards, shard, manifest, *map(of_transformers, ("config.json", "model.safetensors")),
    *map(of_units, ("labels.json", "labels.npy", "offsets.npy", "quantiser.json", "quantiser.safetensors")),
    *map(of_state, ("trainer.pt", "trainer.json")), *map(of_a_removal, ("removal.json", "removal.safetensors")),
    of_a_corpus("table.csv", "path,text,speaker\n1/10/1-10-0.wav,he said,1\n1/10/1-10-1.wav,she said,1\n"),
    of_a_corpus("table.jsonl", '{"path": "1/10/1-10-0.wav", "text": "a"}\n{"path": "1/10/1-10-1.wav", "text": "b"}\n'),
    of_a_corpus("fairseq.tsv", "1/10\n1-10-0.wav\t2000\n1-10-1.wav\t2000\n"),
    of_a_corpus("1/10/1-10.trans.txt", "1-10-0 HE SAID\n1-10-1 SHE SAID\n"),
    speakers, scan, km, dictionary_of_km, lexicon, mel_stats, kept, jobs, prune_recipe, distill_recipe, log, written,
    ratings, onnx_file,
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
