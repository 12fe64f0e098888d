"""Our checkpoint folder: read to the bit, written whole or not at all; a broken one is named in one line."""

import errno
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechbias.checkpoint import check_model, folder, load_encoder, read_checkpoint
from speechbias.checkpoint.content import Checkpoint, Meta, of_objective
from speechbias.checkpoint.folder import is_checkpoint, read_config, read_folder, save_checkpoint
from speechbias.models.config import sized
from speechbias.models.hubert import HubertSettings
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.wav2vec2 import Wav2Vec2Settings

SETTINGS = {
    "wav2vec2": Wav2Vec2Settings(final_dim=24, groups=2, entries=5, code_dim=12),
    "hubert": HubertSettings(final_dim=24, labels=11),
    "melhubert": MelHubertSettings(clusters=9),
}
STATS = np.random.default_rng(0).uniform(2, 5, (2, 40))
LARGE = {"norm": "layer", "bias": True, "pre_norm": True, "wave_norm_eps": 1e-5, "kernels": (8, 3, 3, 3, 3, 2, 2)}
VARIANTS = [
    ("wav2vec2", {}),
    ("wav2vec2", {"channels": (64,) * 7, "projection": False}),
    ("hubert", LARGE),
    ("hubert", {"feature_norm": False, "student": True}),
    ("melhubert", {"stack": 1}),
    ("melhubert", {"stack": 2}),
]


def checkpoint_of(one, **meta):
    family = one.config.family
    return Checkpoint("any", one.config, one.tensors, SETTINGS[family], one.rest, Meta(**meta))


@pytest.fixture
def saved(original, tmp_path):
    """A whole checkpoint, to be broken."""
    return save_checkpoint(tmp_path / "model", checkpoint_of(original("wav2vec2"), step=7))


def change(path, **changes):
    """Replace values of a JSON file; a key with dots is looked up inside."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split("__")
        place = content
        for name in outer:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(content))


def snapshot(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize(("family", "changes"), VARIANTS)
def test_a_round_trip_is_exact(original, tmp_path, wave, family, changes):
    one = original(family, **changes)
    stats = STATS if family == "melhubert" else None
    provenance = {"format": "test", "method": "head pruning", "nested": {"a": [1, None, "ä"]}}
    meta = {"step": 500, "mel_stats": stats, "provenance": provenance, "quantiser": {"clusters": 9, "layer": 6}}
    path = save_checkpoint(tmp_path / "step-00000500", checkpoint_of(one, **meta))
    read = read_checkpoint(path)
    assert (read.name, read.config, read.settings) == ("step-00000500", one.config, SETTINGS[family])
    for ours, theirs in ((read.tensors, one.tensors), (read.objective_tensors, one.rest)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (read.meta.step, read.meta.provenance) == (500, provenance)
    assert read.meta.quantiser == meta["quantiser"]
    assert read.meta.mel_stats is None if stats is None else np.array_equal(read.meta.mel_stats, stats)
    expected = one.encoder(mel_stats=stats)
    encoder = load_encoder(path)
    np.testing.assert_array_equal(encoder.hidden_states(wave), expected.hidden_states(wave))
    assert (encoder.sha256, encoder.recipe) == (expected.sha256, expected.recipe)
    whole = read.objective()
    assert all(torch.equal(whole.state_dict()[name], tensor) for name, tensor in one.rest.items())
    assert check_model(str(path)).min_samples == one.config.frontend.receptive_field


def test_widths_of_each_layer_come_back(original, tmp_path):
    one = original("hubert")
    config = replace(one.config, heads=(3, 1, 4), ffn=(90, 5, 96))
    tensors = dict(one.tensors)
    for layer, (heads, ffn) in enumerate(zip(config.heads, config.ffn, strict=True)):
        base = f"transformer.layers.{layer}"
        for name in "qkv":
            for kind in ("weight", "bias"):
                tensors[f"{base}.attention.{name}_proj.{kind}"] = torch.ones(heads * 16, 64)[
                    :, : 64 if kind == "weight" else 1
                ].squeeze(1)
        tensors[f"{base}.attention.out_proj.weight"] = torch.ones(64, heads * 16)
        tensors |= {f"{base}.fc1.weight": torch.ones(ffn, 64), f"{base}.fc1.bias": torch.ones(ffn)}
        tensors[f"{base}.fc2.weight"] = torch.ones(64, ffn)
    path = save_checkpoint(tmp_path / "pruned", Checkpoint("x", config, tensors))
    assert read_checkpoint(path).config == config
    assert not (path / "objective.safetensors").exists()
    assert read_checkpoint(path).objective() is None
    assert load_encoder(path).num_states == 4


def test_a_model_in_memory_becomes_a_checkpoint(original, tmp_path):
    one = original("melhubert")
    model = checkpoint_of(one).objective()
    saved = save_checkpoint(tmp_path / "made", of_objective("x", model, SETTINGS["melhubert"], meta=Meta(step=0)))
    read = read_folder("x", saved)
    assert read.tensors.keys() == one.tensors.keys()
    assert read.objective_tensors.keys() == one.rest.keys()
    assert (read.meta.step, read.settings) == (0, SETTINGS["melhubert"])


def test_foreign_tensors_that_share_memory_can_be_saved(original, write, tmp_path):
    one = original("hubert")
    model = one.fairseq()
    model["encoder.layers.1.fc1.weight"] = model["encoder.layers.0.fc1.weight"]
    foreign = read_checkpoint(write("tied.pt", {"model": model, "cfg": one.settings()}))
    read = read_checkpoint(save_checkpoint(tmp_path / "tied", foreign))
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in foreign.tensors.items())


def test_what_the_config_says(saved):
    config = json.loads((saved / "config.json").read_text())
    assert (config["schema"], config["family"], config["dim"]) == (1, "wav2vec2", 64)
    assert (config["heads"], config["ffn"]) == ([4, 4, 4], [96, 96, 96])
    assert config["frontend"]["kind"] == "waveform"
    assert config["objective"] == {"final_dim": 24, "groups": 2, "entries": 5, "code_dim": 12}
    meta = json.loads((saved / "meta.json").read_text())
    assert meta == {"step": 7, "provenance": {}, "mel_stats": None, "quantiser": None}
    names = {file.name for file in saved.iterdir()}
    assert names == {"config.json", "encoder.safetensors", "objective.safetensors", "meta.json"}
    assert is_checkpoint(saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o755


def test_the_same_checkpoint_gives_the_same_bytes(original, tmp_path):
    one = original("hubert")
    first, second = (save_checkpoint(tmp_path / name, checkpoint_of(one)) for name in ("a", "b"))
    assert snapshot(first) == snapshot(second)


def test_weights_stay_on_disk_until_they_are_used(saved):
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc")
    tensors = read_checkpoint(saved).tensors
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    file = str(saved / "encoder.safetensors")
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps if line[-1].strip() == file]
    assert all(any(start <= tensor.data_ptr() < end for start, end in spans) for tensor in tensors.values())


# All or nothing


def test_a_full_disk_leaves_what_was_there(original, saved, monkeypatch):
    before = snapshot(saved)
    real, calls = folder.save_file, []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path, metadata)

    monkeypatch.setattr(folder, "save_file", full)
    for target in (saved, saved.parent / "new"):
        calls.clear()
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(target, checkpoint_of(original("hubert"), step=8))
        assert len(calls) == 2
    assert snapshot(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_what_cannot_be_written_as_json_leaves_nothing(original, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "new", checkpoint_of(original("hubert"), provenance={"loss": float("nan")}))
    assert not list(tmp_path.iterdir())


def test_a_failing_last_step_leaves_what_was_there(original, saved, monkeypatch):
    before, real = snapshot(saved), Path.rename

    def rename(self, target):
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(saved, checkpoint_of(original("hubert")))
    assert snapshot(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from speechbias.checkpoint import folder, read_checkpoint

old, new = read_checkpoint(sys.argv[1]), read_checkpoint(sys.argv[2])
home = Path(sys.argv[3])

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def half_saved(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    die()

def half_deleted(path, **options):
    files = sorted(Path(path).iterdir())
    if files:
        files[0].unlink()
    die()

def stage(number):
    if number == 0:
        folder.save_file = half_saved
    elif number == 1:
        folder._dump = die
    elif number == 2:
        Path.rename = die
    else:
        shutil.rmtree = half_deleted

for number in range(4):
    target = folder.save_checkpoint(home / f"stage-{number}", old)
    child = os.fork()
    if child == 0:
        stage(number)
        folder.save_checkpoint(target, new)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), number
    print(number, read_checkpoint(target).meta.step)
"""


def test_whoever_is_killed_leaves_the_old_checkpoint_or_the_new_one(original, tmp_path):
    one = original("hubert", layers=1)
    for step in (1, 2):
        save_checkpoint(tmp_path / str(step), checkpoint_of(one, step=step))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "1"), str(tmp_path / "2"), str(tmp_path / "home")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.split("\n") == ["0 1", "1 1", "2 1", "3 2", ""]


def test_a_checkpoint_can_replace_the_one_it_was_read_from(saved):
    read = read_checkpoint(saved)
    again = replace(read, meta=replace(read.meta, step=8))
    save_checkpoint(saved, again)
    assert read_checkpoint(saved).meta.step == 8
    assert all(torch.equal(read_checkpoint(saved).tensors[name], tensor) for name, tensor in read.tensors.items())
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_link_stays_a_link(original, saved):
    link = saved.parent / "last"
    link.symlink_to(saved.name)
    save_checkpoint(link, checkpoint_of(original("hubert"), step=9))
    assert link.is_symlink()
    assert read_checkpoint(saved).meta.step == 9
    assert sorted(path.name for path in saved.parent.iterdir()) == ["last", "model"]


def test_nothing_else_is_overwritten(original, tmp_path, refuses):
    checkpoint = checkpoint_of(original("hubert", layers=1))
    file, thesis = tmp_path / "file", tmp_path / "thesis"
    file.write_text("x")
    thesis.mkdir()
    (thesis / "config.json").write_text("{}")
    for target in (file, thesis):
        refuses("is there already and is no checkpoint of ours", save_checkpoint, target, checkpoint)
    refuses("cannot be written", save_checkpoint, file / "below", checkpoint)
    assert (file.read_text(), (thesis / "config.json").read_text()) == ("x", "{}")
    (tmp_path / "empty").mkdir()
    assert is_checkpoint(save_checkpoint(str(tmp_path / "empty"), checkpoint))
    assert is_checkpoint(save_checkpoint(tmp_path / "a" / "b" / "c", checkpoint))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "file", "thesis"]


# Broken folders


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heds": [4, 4, 4]}, "unknown key 'heds'; the nearest is 'heads'"),
        ({"frontend__strids": 5}, "unknown key 'strids'; the nearest is 'strides'"),
        ({"objective__final": 5}, "unknown key 'final'; the nearest is 'final_dim'"),
        ({"dim": "64"}, "dim is '64', not a whole number"),
        ({"dim": True}, "dim is True, not a whole number"),
        ({"dim": 64.0}, r"dim is 64\.0, not a whole number"),
        ({"dim": -64}, "dim is -64, not a whole number from 1"),
        ({"dim": None}, "dim is None"),
        ({"dim": [64]}, "dim is"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"heads": 4}, "heads is 4, not a list"),
        ({"heads": [4, 4]}, "heads are given for 2 layers, ffn for 3"),
        ({"heads": [4, True, 4]}, "heads is"),
        ({"heads": []}, "not 1 or more"),
        ({"heads": [4, 0, 4]}, "heads is"),
        ({"ffn": [96, 96, -96]}, "ffn is"),
        ({"ffn": [96, 96, 97]}, "fc1"),
        ({"heads": [4] * 10**6, "ffn": [96] * 10**6}, "1000000 layers"),
        ({"pre_norm": 1}, "pre_norm is 1, not true or false"),
        ({"projection": False}, "needs a projection"),
        ({"position_groups": 7}, "does not divide"),
        ({"position_kernel": 10**30}, "no network has these sizes"),
        ({"dim": 10**7}, "is 64 x 16, not 10000000 x 16"),
        ({"dim": 2**40}, "sizes"),
        ({"dim": 2**70}, "sizes"),
        ({"head_dim": 2**62}, "sizes"),
        ({"schema": 2}, "another schema than 1; update speechbias"),
        ({"schema": None}, "another schema"),
        ({"family": "hubrt"}, "'hubrt' is none of wav2vec2, hubert, melhubert"),
        ({"family": ["hubert"]}, "is none of"),
        ({"family": "melhubert"}, "a melhubert on a front end of kind 'waveform'"),
        ({"frontend": None}, "frontend.kind"),
        ({"frontend__kind": "vocoder"}, "frontend.kind"),
        ({"frontend__kind": []}, "frontend.kind"),
        ({"frontend__kind": "mel"}, "front end"),
        ({"frontend__norm": "batch"}, "norm is 'batch', not one of group, layer"),
        ({"frontend__norm": ["group"]}, "norm is"),
        ({"frontend__bias": "no"}, "bias is 'no', not true or false"),
        ({"frontend__strides": [5, 2, 2, 2, 2, 2, 0]}, "strides is"),
        ({"frontend__strides": [5, 2]}, "different lengths"),
        ({"frontend__kernels": [10]}, "different lengths"),
        ({"frontend__channels": []}, "not 1 or more"),
        ({"frontend__wave_norm_eps": -1}, "wave_norm_eps is -1"),
        ({"frontend__wave_norm_eps": float("nan")}, "wave_norm_eps is nan"),
        ({"frontend__wave_norm_eps": float("inf")}, "wave_norm_eps is inf"),
        ({"frontend__wave_norm_eps": False}, "wave_norm_eps is False"),
        ({"objective": []}, "no JSON object"),
        ({"objective": "none"}, "no JSON object"),
        ({"objective__groups": 0}, "groups is 0"),
        ({"objective__entries": 6}, "quantizer"),
        ({"objective__final_dim": 2**62}, "sizes"),
        ({"k" * 10_000: 1}, "unknown key"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_is_wrong(saved, refuses, changes, message):
    change(saved / "config.json", **changes)
    refuses(message, load_encoder, saved)
    refuses(message, check_model, str(saved))


@pytest.mark.parametrize("key", ["dim", "heads", "ffn", "family", "frontend", "head_dim", "schema"])
def test_a_config_without_one_of_its_keys(saved, refuses, key):
    content = json.loads((saved / "config.json").read_text())
    del content[key]
    (saved / "config.json").write_text(json.dumps(content))
    refuses("config.json", load_encoder, saved)


def test_keys_with_a_default_may_be_left_out(saved):
    content = json.loads((saved / "config.json").read_text())
    for key in ("pre_norm", "projection", "position_kernel", "position_groups", "student", "objective"):
        del content[key]
    (saved / "config.json").write_text(json.dumps(content))
    assert read_config(saved)[1] is None
    assert load_encoder(saved).num_states == 4


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frontend__bins": 80, "frontend__stack": 1}, "bins"),
        ({"frontend__bins": 20, "frontend__stack": 4}, "bins"),
        ({"frontend__stack": 3}, "stack"),
        ({"frontend__stack": 0}, "stack"),
    ],
)
def test_mel_frames_that_nobody_computes(original, tmp_path, refuses, stack, changes, message):  # noqa: PLR0917
    path = save_checkpoint(tmp_path / "mel", checkpoint_of(original("melhubert", stack=stack), mel_stats=STATS))
    change(path / "config.json", **changes)
    refuses(message, load_encoder, path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00", '{"a": ' * 100_000])
def test_json_that_is_none(saved, refuses, content):
    for name in ("config.json", "meta.json"):
        before = (saved / name).read_bytes()
        (saved / name).write_text(content)
        refuses(name, load_encoder, saved)
        (saved / name).write_bytes(before)
    (saved / "meta.json").write_bytes(b"\xff\xfe")
    refuses("meta.json", load_encoder, saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": "7"}, "step is '7'"),
        ({"step": True}, "step is True"),
        ({"step": 1.5}, r"step is 1\.5"),
        ({"provenance": ["a"]}, "provenance"),
        ({"provenance": "a"}, "provenance"),
        ({"quantiser": 5}, "quantiser"),
        ({"mel_stats": STATS.tolist()}, "mel_stats"),
    ],
    ids=str,
)
def test_a_meta_that_is_wrong(saved, refuses, changes, message):
    change(saved / "meta.json", **changes)
    refuses(message, load_encoder, saved)


@pytest.mark.parametrize(
    "stats",
    [
        *(STATS[:1].tolist(), STATS[:, :39].tolist(), STATS.T.tolist(), -STATS, [[1.0] * 40, [0.0] * 40]),
        *("text", 5, {}, {"mean": 1}, [[1], [1, 2]], [["a"] * 40] * 2, [[None] * 40] * 2, [[float("nan")] * 40] * 2),
    ],
    ids=lambda value: str(value)[:20],
)
def test_statistics_that_are_none(original, tmp_path, refuses, stats):
    path = save_checkpoint(tmp_path / "mel", checkpoint_of(original("melhubert"), mel_stats=STATS))
    change(path / "meta.json", mel_stats=np.asarray(stats).tolist() if isinstance(stats, np.ndarray) else stats)
    refuses("mel_stats", load_encoder, path)


def test_statistics_that_are_given_win(original, tmp_path, wave):
    one = original("melhubert")
    path = save_checkpoint(tmp_path / "mel", checkpoint_of(one, mel_stats=STATS))
    given = load_encoder(path, mel_stats=STATS + 1)
    assert np.array_equal(given.hidden_states(wave), one.encoder(mel_stats=STATS + 1).hidden_states(wave))


def test_without_meta_the_weights_are_enough(saved, wave):
    expected = load_encoder(saved).pooled(wave)
    (saved / "meta.json").unlink()
    assert np.array_equal(load_encoder(saved).pooled(wave), expected)
    assert read_checkpoint(saved).meta == Meta()


@pytest.mark.parametrize("name", ["encoder.safetensors", "objective.safetensors", "config.json"])
def test_a_file_that_is_missing(saved, refuses, name):
    (saved / name).unlink()
    assert name in refuses(name, load_encoder, saved)


@pytest.mark.parametrize("name", ["encoder.safetensors", "objective.safetensors"])
def test_weights_that_are_not_whole(saved, refuses, name):
    whole = (saved / name).read_bytes()
    for content in (b"", whole[:4], whole[:100], whole[: len(whole) // 2], whole[:-1], b"\xff" * 64, b"<html>" * 9):
        (saved / name).write_bytes(content)
        refuses(f"{name} cannot be read as safetensors", load_encoder, saved)


@pytest.mark.parametrize("name", ["encoder.safetensors", "objective.safetensors"])
def test_weights_of_another_model(saved, refuses, name):
    whole = load_file(saved / name)
    key = min(whole)
    for tensors, message in (
        ({n: t for n, t in whole.items() if n != key}, "missing"),
        (whole | {key: torch.ones(3, 3)}, "3 x 3"),
        (whole | {"surplus": torch.ones(3)}, "surplus"),
        (whole | {key: torch.ones(whole[key].shape, dtype=torch.int64)}, "not floating-point"),
        ({}, "missing|0 weights"),
    ):
        save_file(tensors, saved / name, {"format": "pt"})
        refuses(message, load_encoder, saved)


def test_a_size_that_no_memory_holds_is_refused_without_taking_any(saved, refuses):
    change(saved / "config.json", dim=10**7, ffn=[10**7] * 3)
    before = peak()
    refuses("is 64 x 16, not 10000000 x 16", load_encoder, saved)
    assert peak() - before < 100_000


def peak():
    """The most memory that this process has had, in kB."""
    import resource  # noqa: PLC0415 (not everywhere)

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_folder_is_named_by_its_last_part(saved, monkeypatch):
    monkeypatch.chdir(saved)
    names = {load_encoder(model).name for model in (saved, str(saved) + "/", ".", "../model")}
    assert names == {"model"}
    assert "/" not in repr([dict(load_encoder(saved).recipe), read_checkpoint(saved).meta])
    assert os.sep not in read_checkpoint(saved).name


def test_a_published_size_is_written_as_it_is(tmp_path):
    config = sized("hubert", "base")
    made = folder.to_json(config, None)
    (tmp_path / "config.json").write_text(json.dumps(made))
    assert read_config(tmp_path) == (config, None)
