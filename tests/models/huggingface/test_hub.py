"""Hub ids: the cache first, one quick line without cache and network. No test here needs the network."""

import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, errors

from speechbias.errors import InputError
from speechbias.models.huggingface import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache, for huggingface_hub in this process."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache, *files):
    """A cached snapshot of org/name, as huggingface_hub lays it out."""
    repository = cache / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("facebook/wav2vec2-base", True),
        ("openai/whisper-tiny.en", True),
        ("mel", False),
        ("a/b/c", False),
        ("./folder/x", False),
        ("/abs/path", False),
        ("out/file.npz", False),
        ("../x", False),
    ],
)
def test_what_looks_like_a_hub_id(name, is_id):
    assert hub.is_hub_id(name) is is_id


def test_weights_are_safetensors_before_pickles():
    files = ["pytorch_model.bin", "model.safetensors", "config.json", "tf_model.h5", "optimizer.bin"]
    assert hub.weight_files(files) == ["model.safetensors"]
    assert hub.weight_files(files[:1] + files[2:]) == ["pytorch_model.bin"]
    shards = ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    assert hub.weight_files(shards) == sorted(shards)
    assert hub.weight_files(["adapter.eng.safetensors"]) == []


def test_a_cached_snapshot_needs_no_network(cache):
    snapshot = put(cache, "config.json", "model.safetensors")
    assert hub.find_snapshot("org/name") == snapshot


def test_a_broken_off_download_is_none(cache):
    put(cache, "config.json")
    with pytest.raises(InputError, match="hf download org/name"):
        hub.find_snapshot("org/name")


def run_offline(tmp_path, **environment):
    code = "from speechbias.checkpoint import load_encoder\nload_encoder('facebook/wav2vec2-base')"
    settings = {**os.environ, "HF_HOME": str(tmp_path / "empty"), **environment}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
    return time.perf_counter() - start, done


@pytest.fixture
def silent_server():
    """A port that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("network", ["offline by choice", "refusing", "silent"])
def test_without_network_and_cache_one_line_in_under_five_seconds(tmp_path, silent_server, network):
    environment = {
        "offline by choice": {"HF_HUB_OFFLINE": "1"},
        "refusing": {"HF_ENDPOINT": "http://127.0.0.1:9"},
        "silent": {"HF_ENDPOINT": silent_server},
    }[network]
    seconds, done = run_offline(tmp_path, **environment)
    assert seconds < 5
    last = done.stderr.strip().splitlines()[-1]
    assert "facebook/wav2vec2-base is neither a folder here nor in the Hugging Face cache" in last
    assert "hf download facebook/wav2vec2-base" in last
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "is no public model on the Hugging Face hub"),
        ("GatedRepoError", "is gated; accept its terms"),
    ],
)
def test_what_the_hub_says_is_passed_on(cache, monkeypatch, error, message):
    def refuse(self, hub_id, timeout):
        kind = getattr(errors, error)
        raise kind.__new__(kind)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(InputError, match=f"org/name {message}"):
        hub.find_snapshot("org/name")


def test_a_download_takes_settings_and_weights_only(cache, monkeypatch):
    names = ["config.json", "model.safetensors", "pytorch_model.bin", "README.md", "tokenizer.json", "train.py"]
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in names])
    asked = {}

    def download(hub_id, **options):
        if options.get("local_files_only"):
            raise errors.LocalEntryNotFoundError("nothing")
        asked.update(options)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, hub_id, timeout: info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.find_snapshot("org/name") == cache
    assert asked["allow_patterns"] == ["config.json", "model.safetensors"]
    assert asked["revision"] == COMMIT
