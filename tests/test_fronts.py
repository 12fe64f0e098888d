"""Two stages of an encoder, and front ends computed once for the models of a command."""

import dataclasses
import errno

import numpy as np
import pytest
import torch

from recordings import write_test
from speechbias import fronts as fronts_module
from speechbias.checkpoint import find_front, load_encoder
from speechbias.checkpoint.content import Checkpoint, Meta
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.encoder import Staged
from speechbias.features import FeatureEncoder
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.network import Network
from speechbias.models.packed import is_supported
from speechbias.stimuli import read_stimuli
from speechbias.survey import Survey

WAVE = WaveFrontend((16,) * 7)
TINY = EncoderConfig("wav2vec2", WAVE, 24, 8, (3, 3), (40, 40), position_kernel=16, position_groups=2)
LAYER = dataclasses.replace(WAVE, norm="layer", bias=True, wave_norm_eps=1e-5)
CONFIGS = {
    "group norm": TINY,
    "layer norm": dataclasses.replace(TINY, frontend=LAYER, pre_norm=True),
    "mel": dataclasses.replace(TINY, family="melhubert", frontend=MelFrontend()),
}
STATS = np.array([[14.0] * 40, [4.0] * 40])
OPTIONS = {"permutations": 200, "resamples": 50}


def save(folder, config, *, seed, front_seed=0, stats=STATS):
    """A random checkpoint whose front end has a seed of its own."""
    drawn = {}
    for kind, number in (("front", front_seed), ("rest", seed)):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            drawn[kind] = Network(config).state_dict()
    tensors = {name: drawn["front" if name.startswith("frontend.") else "rest"][name] for name in drawn["rest"]}
    meta = Meta(mel_stats=stats if config.family == "melhubert" else None)
    return save_checkpoint(folder, Checkpoint(folder.name, config, tensors, meta=meta))


@pytest.fixture
def wave():
    return (0.1 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("how", ["float32", "bfloat16", "float16", "plain"])
def test_two_stages_are_the_whole_bit_for_bit(name, how, tmp_path, wave, monkeypatch):
    if how == "plain":
        monkeypatch.setattr("speechbias.models.frozen.is_supported", lambda _: False)
    encoder = load_encoder(save(tmp_path / "m", CONFIGS[name], seed=1), dtype="float32" if how == "plain" else how)
    assert isinstance(encoder, Staged)
    front = encoder.front(wave)
    assert (front.dtype, front.shape[1]) == (np.float32, encoder.config.frontend.dim)
    assert encoder.pooled_from(front).tobytes() == encoder.pooled(wave).tobytes()
    states = encoder.hidden_states(wave).mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(encoder.pooled(wave), states, rtol=1e-5, atol=1e-6)


def test_features_have_no_stages():
    assert not isinstance(FeatureEncoder("mfcc"), Staged)
    assert find_front("mfcc") is None
    assert find_front("random:wav2vec2-base") is None


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_found_before_loading_is_what_is_loaded(name, tmp_path):
    saved = save(tmp_path / "m", CONFIGS[name], seed=1)
    for dtype in ("float32", "float16"):
        assert find_front(saved, dtype=dtype) == load_encoder(saved, dtype=dtype).front_sha256


def test_a_front_end_is_known_by_all_that_changes_its_digits(tmp_path):
    layer = CONFIGS["layer norm"]
    unlike = {
        "one": find_front(save(tmp_path / "a", layer, seed=1)),
        "weights": find_front(save(tmp_path / "b", layer, seed=1, front_seed=2)),
        "wave norm": find_front(
            save(
                tmp_path / "c",
                dataclasses.replace(layer, frontend=dataclasses.replace(LAYER, wave_norm_eps=None)),
                seed=1,
            )
        ),
        "dtype": find_front(tmp_path / "a", dtype="float16"),
        "mel": find_front(save(tmp_path / "d", CONFIGS["mel"], seed=1)),
        "mel statistics": find_front(save(tmp_path / "e", CONFIGS["mel"], seed=1, stats=STATS + 1)),
    }
    if is_supported(torch.bfloat16):
        unlike["bfloat16"] = find_front(tmp_path / "a", dtype="bfloat16")
    assert len(set(unlike.values())) == len(unlike)
    pruned = dataclasses.replace(layer, heads=(1, 2), ffn=(5, 40))
    assert find_front(save(tmp_path / "f", pruned, seed=3)) == unlike["one"]
    assert find_front(save(tmp_path / "g", CONFIGS["mel"], seed=9)) == unlike["mel"]


@pytest.fixture
def models(tmp_path):
    """Three of one front end, one of another, two on mel frames; pruned or not."""
    pruned = dataclasses.replace(TINY, heads=(1, 2), ffn=(5, 40))
    made = [
        save(tmp_path / "a", TINY, seed=1),
        save(tmp_path / "alone", TINY, seed=1, front_seed=5),
        save(tmp_path / "b", pruned, seed=2),
        save(tmp_path / "mel1", CONFIGS["mel"], seed=1),
        save(tmp_path / "mel2", CONFIGS["mel"], seed=2),
        save(tmp_path / "c", TINY, seed=3),
    ]
    return [str(path) for path in made]


@pytest.fixture
def computed(monkeypatch):
    """How often a front end computed."""
    names = []
    plain = FrozenNetwork._features

    def counted(self, inputs):
        names.append(self.name)
        return plain(self, inputs)

    monkeypatch.setattr(FrozenNetwork, "_features", counted)
    return names


def survey(folder, models, name, *, cache=True):
    tests = [read_stimuli(folder / "gender.csv")]
    out = folder / name
    return Survey(models, tests, out, OPTIONS, per_layer=True, cache=folder / f"{name}.cache" if cache else None)


def measured(folder, models, name, **options):
    list(survey(folder, models, name, **options).measure())
    return (folder / name).read_text().replace(name, "NAME")


def test_records_are_the_same_bytes_and_front_ends_run_once(tmp_path, models, computed):
    write_test(tmp_path)
    plain = measured(tmp_path, models, "plain.jsonl", cache=False)
    assert {name: computed.count(name) for name in computed} == dict.fromkeys(
        ("a", "alone", "b", "mel1", "mel2", "c"), 24
    )
    computed.clear()
    assert measured(tmp_path, models, "shared.jsonl") == plain
    assert {name: computed.count(name) for name in computed} == dict.fromkeys(("a", "alone", "mel1"), 24)
    assert not (tmp_path / "shared.jsonl.cache" / "fronts").exists()


def test_nothing_is_kept_for_one_model(tmp_path, models, monkeypatch):
    write_test(tmp_path)
    monkeypatch.setattr(fronts_module.Fronts, "_write", lambda *_: pytest.fail("kept"))
    measured(tmp_path, models[1:3], "two.jsonl")


@pytest.mark.parametrize("damage", ["none", "cut", "flipped"])
def test_broken_off_work_goes_on_from_what_was_kept(tmp_path, models, computed, damage):
    write_test(tmp_path)
    plain = measured(tmp_path, models, "plain.jsonl", cache=False)
    computed.clear()
    broken = survey(tmp_path, models, "broken.jsonl").measure()
    next(broken)
    broken.close()
    kept = sorted((tmp_path / "broken.jsonl.cache" / "fronts").glob("*/*.npz"))
    assert len(kept) == 24
    for path in kept if damage != "none" else ():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[:-30] if damage == "cut" else content)
    computed.clear()
    assert measured(tmp_path, models, "broken.jsonl") == plain
    assert computed.count("a") == 0  # its vectors are in the cache, or its results on file
    assert computed.count("b") == (0 if damage == "none" else 24)
    assert not (tmp_path / "broken.jsonl.cache" / "fronts").exists()


def test_a_full_disk_ends_the_keeping_and_not_the_work(tmp_path, models, computed, monkeypatch):
    write_test(tmp_path)
    plain = measured(tmp_path, models, "plain.jsonl", cache=False)
    computed.clear()
    written = []
    whole = fronts_module.write_whole

    def full(path, content, **options):
        written.append(path)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, content, **options)

    monkeypatch.setattr(fronts_module, "write_whole", full)
    assert measured(tmp_path, models, "full.jsonl") == plain
    assert len(written) == 6
    assert not list((tmp_path / "full.jsonl.cache").glob("fronts/*/*"))


def test_no_flipped_bit_gets_out_as_an_error(tmp_path):
    """Flags of a zip that ask for another version or a password raise RuntimeError in the reader."""
    path = tmp_path / "x.npz"
    np.savez(path, front=np.ones((2, 3), np.float32))
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        front = fronts_module._read(path)
        assert front is None or front.shape in {(2, 3), (3, 2), (1, 6), (6, 1)}
