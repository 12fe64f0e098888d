"""Two stages of an encoder, and front ends computed once for the models of a command."""

import dataclasses
import errno
import multiprocessing
import os
import signal
import threading
from argparse import Namespace

import numpy as np
import pytest
import torch

from recordings import write_test
from speechbias import fronts as fronts_module
from speechbias.checkpoint import find_front, load_encoder, read_checkpoint
from speechbias.checkpoint.content import Checkpoint, Meta
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.encoder import Staged
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.features import FeatureEncoder
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.convert.names import FAIRSEQ_NAMES
from speechbias.models.inputs import Inputs
from speechbias.models.network import Network
from speechbias.models.packed import is_supported
from speechbias.results import read_results
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
        monkeypatch.setattr("speechbias.models.packed.is_supported", lambda _: False)
    encoder = load_encoder(save(tmp_path / "m", CONFIGS[name], seed=1), dtype="float32" if how == "plain" else how)
    assert isinstance(encoder, Staged)
    front = encoder.front(wave)
    assert (front.dtype, front.shape) == (np.float32, encoder.front_shape(len(wave)))
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
    }
    if is_supported(torch.bfloat16):
        unlike["bfloat16"] = find_front(tmp_path / "a", dtype="bfloat16")
    assert len(set(unlike.values())) == len(unlike)
    pruned = dataclasses.replace(layer, heads=(1, 2), ffn=(5, 40))
    assert find_front(save(tmp_path / "f", pruned, seed=3)) == unlike["one"]


def test_all_melhuberts_share_their_log_mel(tmp_path):
    """Whatever normalises and stacks it: weights, statistics, 10 or 20 ms, trained or not."""
    mel = CONFIGS["mel"]
    ten = dataclasses.replace(mel, frontend=MelFrontend(stack=1))
    fronts = {
        find_front(save(tmp_path / "a", mel, seed=1)),
        find_front(save(tmp_path / "b", mel, seed=9)),
        find_front(save(tmp_path / "c", mel, seed=1, stats=STATS + 1)),
        find_front(save(tmp_path / "d", ten, seed=1)),
        find_front(tmp_path / "a", dtype="float16"),
        find_front("random:melhubert-small:3"),
        load_encoder("random:melhubert-small:3").front_sha256,
    }
    assert len(fronts) == 1
    assert fronts != {None}


@pytest.fixture
def models(tmp_path):
    """Three of one front end, one of another, two on mel frames; pruned or not."""
    pruned = dataclasses.replace(TINY, heads=(1, 2), ffn=(5, 40))
    made = [
        save(tmp_path / "a", TINY, seed=1),
        save(tmp_path / "alone", TINY, seed=1, front_seed=5),
        save(tmp_path / "b", pruned, seed=2),
        save(tmp_path / "mel1", CONFIGS["mel"], seed=1),
        save(tmp_path / "mel2", CONFIGS["mel"], seed=2, stats=STATS + 1),
        save(tmp_path / "c", TINY, seed=3),
    ]
    return [str(path) for path in made]


@pytest.fixture
def computed(monkeypatch):
    """How often a front end computed."""
    names = []
    plain = Inputs.begun  # with which both kinds of front end begin

    def counted(self, wave):
        names.append(self.name)
        return plain(self, wave)

    monkeypatch.setattr(Inputs, "begun", counted)
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
        front = fronts_module._read(path, (2, 3))
        assert front is None or front.shape == (2, 3)


def kill(folder, models, name):
    """A command of which nothing is left but what it wrote."""
    broken = survey(folder, models, name).measure()
    next(broken)
    broken.close()
    kept = folder / f"{name}.cache" / "fronts"
    assert len(list(kept.glob("*/*.npz"))) == 24
    return kept


@pytest.mark.parametrize("next_models", [["mfcc"], ["alone"], ["mel1", "mel2"], ["mfcc", "a"]])
def test_what_a_killed_command_left_goes_with_the_next_one(tmp_path, models, computed, next_models):
    write_test(tmp_path)
    kept = kill(tmp_path, models[:1] + models[2:3], "r.jsonl")
    by_name = {path.rpartition("/")[2]: path for path in models}
    others = [by_name.get(name, name) for name in next_models]
    computed.clear()
    measured(tmp_path, others, "r.jsonl")
    assert not kept.exists()
    assert "b" not in computed


def test_another_command_at_work_keeps_its_own(tmp_path, models, computed):
    write_test(tmp_path)
    first = survey(tmp_path, models[:1] + models[2:3], "r.jsonl").measure()
    next(first)
    kept = tmp_path / "r.jsonl.cache" / "fronts"
    list(survey(tmp_path, models[3:5], "r.jsonl").measure())
    assert len(list(kept.glob("*/*.npz"))) == 24
    computed.clear()
    list(first)
    assert computed == []
    assert not kept.exists()


def fairseq_file(path, folder):
    """The checkpoint of one of our folders as fairseq writes it."""
    tensors = read_checkpoint(folder).tensors
    args = Namespace(arch="wav2vec2", encoder_attention_heads=3, layer_norm_first=False, normalize=False)
    model = {FAIRSEQ_NAMES.theirs(name).replace(".2.1.", ".2."): tensor.clone() for name, tensor in tensors.items()}
    torch.save({"model": model, "args": args, "cfg": None}, path)
    return str(path)


def test_a_transformers_folder_and_a_fairseq_file_share_their_front_end(tmp_path, computed):
    write_test(tmp_path)
    first, second = save(tmp_path / "first", TINY, seed=1), save(tmp_path / "second", TINY, seed=2)
    folder = str(export_checkpoint(first, tmp_path / "hf", format="hf"))
    formats = [folder, fairseq_file(tmp_path / "same.pt", first), fairseq_file(tmp_path / "other.pt", second)]
    assert len({load_encoder(path).sha256 for path in (first, *formats)}) == 2
    fronts = {find_front(path) for path in (first, *formats)}
    assert fronts == {load_encoder(first).front_sha256}
    plain = measured(tmp_path, formats, "plain.jsonl", cache=False)
    computed.clear()
    assert measured(tmp_path, formats, "shared.jsonl") == plain
    assert computed == ["hf"] * 24


def test_two_workers_change_no_byte(tmp_path, models, computed):
    write_test(tmp_path)
    plain = measured(tmp_path, models, "plain.jsonl", cache=False)
    computed.clear()
    two = dataclasses.replace(survey(tmp_path, models, "two.jsonl"), workers=2)
    list(two.measure())
    assert (tmp_path / "two.jsonl").read_text().replace("two.jsonl", "NAME") == plain.replace("plain.jsonl", "NAME")
    assert {name: computed.count(name) for name in computed} == dict.fromkeys(("a", "alone", "mel1"), 24)


def test_a_killed_process_is_followed_by_another_list_of_models(tmp_path, models, computed):
    """What SIGKILL leaves: fronts, no result yet, no lock. One model goes on, one is new, one is gone."""
    write_test(tmp_path)
    a, alone, b, *_, c = models
    plain = measured(tmp_path, [c, alone, b], "plain.jsonl", cache=False)
    process = multiprocessing.get_context("fork").Process(target=_measure_until_killed, args=(tmp_path, [a, b, c]))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    kept = tmp_path / "r.jsonl.cache" / "fronts"
    assert len(list(kept.glob("*/*.npz"))) == 24
    assert not (tmp_path / "r.jsonl").exists()
    computed.clear()
    assert measured(tmp_path, [c, alone, b], "r.jsonl") == plain
    assert computed == ["alone"] * 24
    assert not kept.exists()


def _measure_until_killed(folder, models):
    def kill_me(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    Survey._store = kill_me  # with all of the first model's clips embedded
    list(survey(folder, models, "r.jsonl").measure())


def test_many_commands_may_come_and_go(tmp_path):
    """The folder is made and deleted under each other's feet."""
    folder = tmp_path / "fronts"
    errors = []

    def many(number):
        try:
            for turn in range(12):
                of = {"x": f"front {number}", "y": f"front {number}"}
                with fronts_module.Fronts(folder, of) as fronts:
                    fronts._write(fronts._place(of["x"]) / f"{turn}.npz", np.ones((2, 3), np.float32))
                    assert len(fronts.of) == 2  # or it could not be written
                    fronts.done("x")
                    fronts.done("y")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=many, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not folder.exists()


def written_fronts(monkeypatch):
    names = []
    plain = fronts_module.Fronts._write
    monkeypatch.setattr(
        fronts_module.Fronts, "_write", lambda self, path, front: (names.append(path.stem), plain(self, path, front))
    )
    return names


def test_nothing_is_written_for_a_model_whose_results_are_there(tmp_path, models, monkeypatch):
    write_test(tmp_path)
    measured(tmp_path, models[2:3], "r.jsonl")
    written = written_fronts(monkeypatch)
    a, _, b, *_, c = models
    for together in ([a, b], [c, a, b, b]):
        assert len(list(survey(tmp_path, together, "r.jsonl").measure())) == 4 * len(set(together))
    assert written == []


def test_only_the_clips_that_the_other_model_lacks_are_written(tmp_path, models, monkeypatch):
    write_test(tmp_path)
    measured(tmp_path, models[2:3], "r.jsonl")
    (tmp_path / "r.jsonl").unlink()
    vectors = sorted((tmp_path / "r.jsonl.cache").glob("*/*.npz"))
    for path in vectors[:5]:
        path.unlink()
    written = written_fronts(monkeypatch)
    measured(tmp_path, models[:1] + models[2:3], "r.jsonl")
    assert sorted(written) == [path.stem for path in vectors[:5]]


def test_a_stored_front_of_another_shape_is_computed_anew(tmp_path, models, computed):
    """For instance of other audio, whole and sound."""
    write_test(tmp_path)
    two = models[:1] + models[2:3]
    plain = measured(tmp_path, two, "plain.jsonl", cache=False)
    for path in kill(tmp_path, two, "r.jsonl").glob("*/*.npz"):
        with np.load(path) as stored:
            front = stored["front"]
        np.savez(path, front=front[:-1])
    computed.clear()
    assert measured(tmp_path, two, "r.jsonl") == plain
    assert computed.count("b") == 24


@pytest.mark.parametrize("front", [np.ones((2, 3)), np.ones((3, 2), "f4"), np.ones(6, "f4"), np.ones((0, 3), "f4")])
def test_what_is_no_such_front_is_not_read(tmp_path, front):
    np.savez(tmp_path / "x.npz", front=front)
    assert fronts_module._read(tmp_path / "x.npz", (2, 3)) is None
    np.savez(tmp_path / "x.npz", front=np.ones((2, 3), np.float32))
    assert fronts_module._read(tmp_path / "x.npz", (2, 3)).all()


def test_a_model_that_vanishes_ends_no_other(tmp_path, models, monkeypatch):
    write_test(tmp_path)
    whole = survey(tmp_path, models[:3], "r.jsonl")
    check = Survey.check

    def then_delete(self):
        demands = check(self)
        (tmp_path / "a" / "encoder.safetensors").unlink()
        return demands

    monkeypatch.setattr(Survey, "check", then_delete)
    with pytest.raises(InputError) as caught:
        list(whole.measure())
    (line,) = caught.value.problems
    assert "a has no encoder.safetensors" in line
    assert {result.model for result in read_results(tmp_path / "r.jsonl")} == {"alone", "b"}
