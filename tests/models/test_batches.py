"""Batches give every utterance what it gets alone; files come in buckets, decoded here or in other processes."""

import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import RATE, tone, write_test
from speechbias.audio import AudioFacts, inspect_audio, read_audio
from speechbias.embeddings import embed, pool
from speechbias.encoder import BatchEncoder, Encoder
from speechbias.errors import InputError
from speechbias.models import batches as batches_module
from speechbias.models.batches import BATCHED, SECONDS, Batches, BatchMeans, padded
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.freeze import freeze
from speechbias.models.frontend import GroupNorm
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.initialisation import initialise_network
from speechbias.models.loading import Clips, buckets, load, pooled_files
from speechbias.models.network import Network
from speechbias.models.readers import RunningMeans
from speechbias.stimuli import read_stimuli

GROUP = EncoderConfig(
    "wav2vec2", WaveFrontend((16,) * 7), 24, 8, (3, 2), (40, 17), position_kernel=16, position_groups=2
)
LAYER = WaveFrontend((16,) * 7, norm="layer", bias=True, wave_norm_eps=1e-5)
CONFIGS = {
    "wav2vec2, group norm": GROUP,
    "wav2vec2, layer norm": replace(GROUP, frontend=LAYER, pre_norm=True),
    "hubert, group norm": replace(GROUP, family="hubert"),
    "hubert, layer norm": replace(GROUP, family="hubert", frontend=LAYER, pre_norm=True),
    "melhubert": replace(GROUP, family="melhubert", frontend=MelFrontend()),
}
MEL_STATS = np.stack([np.full(40, -5.0), np.full(40, 3.0)])


@cache
def network(name, dtype=torch.float32):
    made = Network(CONFIGS[name]).eval().requires_grad_(requires_grad=False)
    initialise_network(made, torch.Generator().manual_seed(3))
    return made.to(dtype)


@cache
def encoder(name="wav2vec2, group norm", *, batched=True, dtype="float32", states="s3prl"):
    made = Network(CONFIGS[name])
    made.load_state_dict(network(name).state_dict())
    stats = MEL_STATS if name == "melhubert" else None
    return freeze(name, made, batched=batched, dtype=dtype, states=states, mel_stats=stats)


def waves(lengths, seed=0):
    return [tone(90 + 40 * n, seconds=length / RATE, seed=seed + n)[:length] for n, length in enumerate(lengths)]


def error(ours, reference):
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


samples = st.lists(st.integers(400, 9000), min_size=1, max_size=6)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(lengths=samples)
def test_pooled_batch_is_pooled_of_each_alone(name, lengths):
    """Alone, on a CPU: the packed engine, or the plain network where there is none."""
    each = waves(lengths)
    alone = [encoder(name, batched=False).pooled(wave) for wave in each]
    together = encoder(name).pooled_batch(each)
    assert len(together) == len(each)
    for ours, reference in zip(together, alone, strict=True):
        assert ours.shape == reference.shape == (3, 24)
        assert ours.dtype == np.float32
        assert error(ours, reference) <= 1e-5


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(lengths=samples, behind=st.sampled_from([0.0, 1.0, 1000.0]))
def test_in_double_precision_nothing_of_the_padding_is_left(name, lengths, behind):
    made = network(name, torch.float64)
    points = ("input", 1, "output")
    each = [encoder(name).inputs(wave) for wave in waves(lengths)]
    batch = padded(each)
    for row, sequence in zip(batch.inputs, each, strict=True):
        row[len(sequence) :] = behind
    ((means, rms),) = Batches("double", made, points, "cpu", torch.float64).means([batch])
    for sequence, ours, our_rms in zip(each, means, rms, strict=True):
        reader = RunningMeans(3)
        with torch.inference_mode():
            made(
                torch.tensor(sequence, dtype=torch.float64)[None],
                read=lambda point, hidden, r=reader: [
                    r.read(state, hidden[0]) for state, wanted in enumerate(points) if wanted == point
                ],
            )
        expected, expected_rms = reader.means()
        assert error(ours, expected) <= 1e-12
        np.testing.assert_allclose(our_rms, expected_rms, rtol=1e-12)


@pytest.mark.parametrize("states", ["hf", "speat-2023"])
@pytest.mark.parametrize("name", ["wav2vec2, layer norm", "hubert, layer norm"])
def test_every_convention_of_states(name, states):
    each = waves([5000, 3000])
    for ours, wave in zip(encoder(name, states=states).pooled_batch(each), each, strict=True):
        assert error(ours, encoder(name, batched=False, states=states).pooled(wave)) <= 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.05), ("float16", 0.004)])
@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_is_near_single_precision(name, dtype, tolerance):
    each = waves([9000, 3000, 500])
    halves = encoder(name, dtype=dtype).pooled_batch(each)
    for ours, reference in zip(halves, encoder(name).pooled_batch(each), strict=True):
        assert 0 < error(ours, reference) <= tolerance


@pytest.mark.parametrize("name", ["wav2vec2, group norm", "hubert, layer norm"])
def test_the_norms_of_a_loud_long_wave_stay_within_float16(name):
    """Squares summed over its 80,000 samples leave the range of float16 (65,504)."""
    long, short = waves([80_000, 8000])
    loud = [8 * long, short]
    for ours, wave in zip(encoder(name, dtype="float16").pooled_batch(loud), loud, strict=True):
        assert error(ours, encoder(name, batched=False).pooled(wave)) <= 0.01


def test_the_masked_group_norm_of_float16_is_that_of_float32():
    x = 5 + 10 * torch.randn(1, 4, 20_000, generator=torch.Generator().manual_seed(0))
    norm, length = GroupNorm(4).requires_grad_(requires_grad=False), torch.tensor([19_000])
    half = GroupNorm(4).half().requires_grad_(requires_grad=False)(x.half(), length)
    assert half.dtype == torch.float16
    assert error(half.float().numpy(), norm(x, length).numpy()) <= 1e-3


def test_sums_of_half_precision_are_kept_in_double():
    frames = torch.full((2, 5000, 3), 1.0 + 2**-7, dtype=torch.bfloat16)  # the sum needs more digits than bfloat16 has
    means = BatchMeans(1, torch.tensor([5000, 17]), 5000)
    means.read(0, frames)
    mean, rms = means.means()
    assert mean.dtype == np.float64
    assert (mean == 1 + 2**-7).all()
    np.testing.assert_allclose(rms, 1 + 2**-7, rtol=1e-14)


def test_the_padding_may_hold_anything():
    frames = torch.ones(2, 4, 3)
    frames[1, 2:] = torch.nan
    means = BatchMeans(1, torch.tensor([4, 2]), 4)
    means.read(0, frames)
    assert (means.means()[0] == 1).all()


def test_an_encoder_of_batches_says_so_and_one_of_single_utterances_too():
    batched, single = encoder(), encoder(batched=False)
    assert isinstance(batched, BatchEncoder)
    assert isinstance(single, Encoder)
    assert (batched.batch_seconds, single.batch_seconds) == (SECONDS, 0)
    assert batched.recipe["engine"] == BATCHED != single.recipe["engine"]
    assert {**batched.recipe, "engine": single.recipe["engine"]} == single.recipe
    assert batched.sha256 == single.sha256
    each = waves([4000, 700])
    np.testing.assert_array_equal(np.stack(single.pooled_batch(each)), np.stack([single.pooled(w) for w in each]))
    np.testing.assert_array_equal(batched.pooled(each[0]), batched.pooled_batch(each[:1])[0])


def test_a_batch_is_launched_before_the_one_ahead_is_fetched(monkeypatch):
    events = []
    launch, fetched = Batches.launch, batches_module.fetched
    monkeypatch.setattr(Batches, "launch", lambda self, batch: (events.append("launch"), launch(self, batch))[1])
    monkeypatch.setattr(batches_module, "fetched", lambda parts: (events.append("fetch"), fetched(parts))[1])
    each = waves([4000, 3000, 2000])
    made = list(encoder().pooled_batches(padded([wave]) for wave in each))
    assert events == ["launch", "launch", "fetch", "launch", "fetch", "fetch"]
    for (ours,), wave in zip(made, each, strict=True):
        np.testing.assert_array_equal(ours, encoder().pooled(wave))
    assert list(encoder().pooled_batches([])) == []


def memory_for(seconds, monkeypatch):
    forward = Network.forward

    def limited(self, inputs, lengths=None, **options):
        if inputs.numel() > seconds * RATE:
            raise torch.OutOfMemoryError
        return forward(self, inputs, lengths, **options)

    monkeypatch.setattr(Network, "forward", limited)


def test_a_batch_that_memory_does_not_hold_is_halved(monkeypatch):
    each = waves([9000, 8000, 4000, 3000, 1000])
    expected = encoder().pooled_batch(each)
    memory_for(1.2, monkeypatch)
    for ours, reference in zip(encoder().pooled_batch(each), expected, strict=True):
        assert error(ours, reference) <= 1e-5


def test_an_utterance_that_memory_does_not_hold_is_refused(monkeypatch):
    memory_for(0.5, monkeypatch)
    with pytest.raises(InputError, match="memory of cpu does not hold one utterance of 9000 samples"):
        encoder().pooled_batch(waves([9000, 4000]))


def facts(lengths):
    return [
        AudioFacts(f"{n}.wav", length / RATE, RATE, 1, length, f"{n:03}", False) for n, length in enumerate(lengths)
    ]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(400, 40 * RATE), max_size=40), seconds=st.sampled_from([5, 60, 240]), data=st.data()
)
def test_buckets(lengths, seconds, data):
    files = facts(lengths)
    made = buckets(files, sample_rate=RATE, seconds=seconds)
    assert sorted(index for bucket in made for index in bucket) == list(range(len(files)))
    size = [len(bucket) * max(lengths[index] for index in bucket) for bucket in made]
    assert all(total <= seconds * RATE or len(bucket) == 1 for total, bucket in zip(size, made, strict=True))
    in_order = [lengths[index] for bucket in made for index in bucket]
    assert in_order == sorted(lengths, reverse=True)
    for bucket in made[:-1]:  # none could have taken the next file too
        assert (len(bucket) + 1) * lengths[bucket[0]] > seconds * RATE
    shuffled = data.draw(st.permutations(files))
    again = buckets(shuffled, sample_rate=RATE, seconds=seconds)
    assert [[shuffled[i] for i in bucket] for bucket in again] == [[files[i] for i in bucket] for bucket in made]


@pytest.fixture
def clips(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path, clips=3))
    return [inspect_audio(clip.path) for clip in stimuli.stimuli]


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("speechbias.models.frozen.SECONDS", 1.2)  # four clips of 0.2 to 0.4 s each


@pytest.mark.parametrize("name", ["wav2vec2, group norm", "melhubert"])
def test_workers_change_nothing(clips, small_batches, name):
    made = {workers: dict(paths(pooled_files(encoder(name), clips, workers=workers))) for workers in (0, 1, 2)}
    assert made[0].keys() == {str(facts.path) for facts in clips}
    for workers in (1, 2):
        for path, vector in made[0].items():
            np.testing.assert_array_equal(made[workers][path], vector)


def paths(pooled):
    return [(str(facts.path), vector) for facts, vector in pooled]


def test_files_are_decoded_in_other_processes(clips):
    class Process:
        def __call__(self, wave):
            return np.array([os.getpid()], np.float32)

    order = [[0, 1], [2], [3, 4, 5]]
    processes = [set(batch.inputs[:, 0].tolist()) for batch in load(Clips(clips, RATE, Process()), order, workers=2)]
    assert float(os.getpid()) not in set().union(*processes)
    assert all(len(one) == 1 for one in processes)
    assert [len(batch) for batch in load(Clips(clips, RATE, Process()), order)] == [2, 1, 3]


def test_what_workers_get_can_be_pickled_and_holds_no_weights(clips):
    sent = pickle.dumps(Clips(clips, RATE, encoder("melhubert").inputs))
    assert len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent)[2], Clips(clips, RATE, encoder("melhubert").inputs)[2])


def test_loading_draws_no_global_random_numbers(clips):
    before = torch.get_rng_state()
    for workers in (0, 2):
        list(load(Clips(clips, RATE, encoder().inputs), [[0], [1]], workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def _in_a_daemon(files, results):
    results.put(paths(pooled_files(encoder(), files, workers=2)))


def test_a_daemon_that_may_start_no_process_decodes_itself(clips, small_batches):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    process = fork.Process(target=_in_a_daemon, args=(clips, results), daemon=True)
    process.start()
    made = dict(results.get(timeout=60))
    process.join(30)
    for path, vector in paths(pooled_files(encoder(), clips, workers=0)):
        np.testing.assert_array_equal(made[path], vector)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_one_line_and_what_came_before_is_kept(clips, small_batches, workers, tmp_path):
    order = buckets(clips, sample_rate=RATE, seconds=1.2)
    bad = clips[order[1][-1]]
    bad.path.write_bytes(b"no audio")
    with pytest.raises(InputError) as caught:
        pool(encoder(), clips, workers=workers, cache=tmp_path / "cache")
    (line,) = caught.value.problems
    assert line == f"{bad.path} is not audio that can be decoded. Convert it to wav or flac."
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == len(order[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mel_model_without_statistics_is_refused_from_a_worker(clips, workers):
    bare = freeze("bare", Network(CONFIGS["melhubert"]), batched=True)
    with pytest.raises(InputError, match=r"^bare carries no mean and std"):
        pool(bare, clips, workers=workers)


def test_embed_in_batches_equals_embed_one_at_a_time(tmp_path, small_batches):
    stimuli = read_stimuli(write_test(tmp_path, clips=3))
    together = embed(encoder(), stimuli, workers=2)
    alone = embed(encoder(batched=False), stimuli)
    assert together.array.shape == alone.array.shape
    for ours, reference in zip(together.array, alone.array, strict=True):
        assert error(ours, reference) <= 1e-5
    assert together.model.recipe["engine"] == BATCHED


def test_the_order_of_files_changes_no_digit(clips, small_batches):
    forward, backward = pool(encoder(), clips), pool(encoder(), clips[::-1])
    for key, vector in forward.items():
        np.testing.assert_array_equal(backward[key], vector)


def test_non_finite_vectors_are_refused_by_the_name_of_the_clip(clips):
    broken = freeze("broken", Network(CONFIGS["hubert, group norm"]), batched=True)
    broken.network.transformer.norm.bias.data.fill_(torch.nan)
    with pytest.raises(InputError, match=r"broken gives non-finite values for .*gender-\w\d\.wav"):
        pool(broken, clips)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("broken", ["NaN", "zero"])
def test_the_one_bad_clip_of_a_batch_is_named(clips, tmp_path, monkeypatch, batched, broken):
    """A network that gives NaN for one clip of a batch, or frames that cancel, names it and keeps those before it."""
    order = [clips[index] for bucket in buckets(clips, sample_rate=RATE, seconds=1.2) for index in bucket]
    bad = order[5]
    checked = FrozenNetwork._checked
    good = {facts.sha256: encoder(batched=batched).pooled(read_audio(facts.path, RATE)) for facts in clips}

    def spoilt(self, pooled, frame_rms):
        if error(pooled, good[bad.sha256]) < 1e-5:
            pooled = pooled * (np.nan if broken == "NaN" else 0)
        return checked(self, pooled, frame_rms)

    monkeypatch.setattr(FrozenNetwork, "_checked", spoilt)
    with pytest.raises(InputError) as caught:
        pool(encoder(batched=batched), clips, cache=tmp_path / "cache")
    (line,) = caught.value.problems
    assert str(bad.path) in line
    assert ("gives non-finite values" if broken == "NaN" else "the mean over time is zero") in line
    kept = {path.stem for path in (tmp_path / "cache").rglob("*.npz")}
    assert bad.sha256 not in kept
    assert kept >= {facts.sha256 for facts in order[:5]}


def _embed_slowly(clips, cache):
    made = encoder()
    launch = Batches.launch
    Batches.launch = lambda self, batch: (time.sleep(0.3), launch(self, batch))[1]
    pool(made, clips, cache=cache, workers=2)


def test_killed_work_goes_on_from_the_cache(clips, small_batches, tmp_path, monkeypatch):
    stored = tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(target=_embed_slowly, args=(clips, stored))
    process.start()
    deadline = time.monotonic() + 60
    while not list(stored.rglob("*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = {path.stem for path in stored.rglob("*.npz") if not path.name.startswith(".")}
    assert 0 < len(done) < len(clips)
    computed = []
    launch = Batches.launch
    monkeypatch.setattr(Batches, "launch", lambda self, batch: (computed.append(len(batch)), launch(self, batch))[1])
    resumed = pool(encoder(), clips, cache=stored, workers=2)
    assert sum(computed) == len(clips) - len(done)
    for key, vector in pool(encoder(), clips).items():
        assert error(resumed[key], vector) <= 1e-5


def test_a_clip_longer_than_a_batch_is_on_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("speechbias.models.frozen.SECONDS", 0.1)
    soundfile.write(tmp_path / "long.wav", tone(120, seconds=0.5), RATE)
    files = [inspect_audio(tmp_path / "long.wav")]
    (made,) = pool(encoder(), files).values()
    assert error(made, encoder(batched=False).pooled(tone(120, seconds=0.5))) < 1e-2  # 16 bits on disk
