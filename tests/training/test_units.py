"""Features, clustering and labelling of small corpora, against Kaldi, scikit-learn and explicit loops."""

import threading

import joblib
import kaldi_native_fbank as knf
import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

from speechbias.checkpoint import load_encoder
from speechbias.errors import InputError
from speechbias.features.cepstra import kaldi_log_mel
from speechbias.training import clustering, extractors
from speechbias.training.clustering import train_quantiser
from speechbias.training.extractors import LogMel, Mfcc, State, make_extractor
from speechbias.training.frames import extracted, mel_statistics
from speechbias.training.labels import read_labels
from speechbias.training.units import foreign_quantiser, make_units
from utterances import write_corpus

STATS = np.stack([np.linspace(8.0, 14.0, 40), np.linspace(2.0, 5.0, 40)])
FAST = {"passes": 2, "beginnings": 2, "batch_frames": 100, "share": 1.0}


def voice(samples, seed=0):
    """Vowels of changing pitch and colour, in noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    pitch = np.repeat(rng.uniform(90, 250, samples // 3_000 + 1), 3_000)[:samples]
    tone = sum(np.cos(2 * np.pi * k * np.cumsum(pitch) / 16_000) / k for k in range(1, 15))
    return (0.03 * tone * (1.2 + np.sin(11 * t)) + 0.01 * rng.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    lengths = (16_000, 9_999, 24_321, 399, 12_345, 8_000)
    return write_corpus(folder, [voice(samples, seed) for seed, samples in enumerate(lengths)])


@pytest.fixture(scope="module")
def stats(corpus):
    return mel_statistics(corpus)


def waves(corpus):
    return [voice(int(samples), seed) for seed, samples in enumerate(corpus.num_samples)]


# Features


def test_mfcc_is_kaldis_with_regression_deltas():
    wave = voice(20_000)
    options = knf.MfccOptions()
    options.frame_opts.dither = 0.0
    options.use_energy = False
    online = knf.OnlineMfcc(options)
    online.accept_waveform(16_000, wave.tolist())
    online.input_finished()
    statics = np.stack([online.get_frame(i) for i in range(online.num_frames_ready)]).astype(np.float64)

    def slow_deltas(rows):
        """torchaudio's compute_deltas: win_length 5, replicate."""
        at = [rows[np.clip(np.arange(len(rows)) + n, 0, len(rows) - 1)] for n in (-2, -1, 1, 2)]
        return (-2 * at[0] - at[1] + at[2] + 2 * at[3]) / 10

    first = slow_deltas(statics)
    expected = np.hstack([statics, first, slow_deltas(first)])
    frames = Mfcc()(wave)
    assert frames.shape == (123, 39)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, rtol=1e-3, atol=2e-3)


def test_log_mel_is_kaldis_normalised():
    wave = voice(20_000)
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = 40
    online = knf.OnlineFbank(options)
    online.accept_waveform(16_000, (wave * 2**15).tolist())
    online.input_finished()
    raw = np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])
    frames = LogMel(STATS)(wave)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, (raw - STATS[0]) / STATS[1], rtol=1e-3, atol=1e-3)


def test_waves_shorter_than_a_frame_give_none():
    wave = voice(399)
    encoder = load_encoder("random:melhubert-small")
    for extractor in (Mfcc(), LogMel(STATS), State(encoder, 1)):
        assert extractor(wave).shape == (0, extractor.dim)
        assert extractor(wave).dtype == np.float32
        assert len(extractor(voice(400))) == 1


def test_mel_statistics_are_those_of_all_frames(corpus):
    whole = np.concatenate([kaldi_log_mel(wave) for wave in waves(corpus) if len(wave) >= 400]).astype(np.float64)
    for workers in (1, 3):
        mean, std = mel_statistics(corpus, workers=workers)
        np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-10)
        np.testing.assert_allclose(std, whole.std(0), rtol=1e-7)


def test_mel_statistics_need_frames(tmp_path):
    with pytest.raises(InputError, match="long enough for a mel frame"):
        mel_statistics(write_corpus(tmp_path, [voice(399)]))


class Ramp:
    """An encoder of the rate of wav2vec 2.0 whose frames say which samples they saw."""

    name, family, states, dtype, sha256, recipe = "ramp", "test", "s3prl", "float32", "0", {"x": 1}
    num_states, dim, sample_rate, frame_shift = 2, 2, 16_000, 0.02

    def __init__(self, stack=1, min_samples=400):
        self.stack, self.min_samples = (
            stack,
            min_samples,
        )  # stack 2: frames of 10 ms in pairs, the last one perhaps alone

    def hidden_states(self, wave):
        hop = 320 // self.stack
        starts = wave[: len(wave) - 399 : hop]
        missing = -len(starts) % self.stack
        pairs = np.pad(starts, (0, missing), constant_values=-1).reshape(-1, self.stack)
        frames = np.stack([pairs[:, 0], pairs[:, -1]], axis=1)
        return np.stack([frames, -frames])


@pytest.mark.parametrize("stack", [1, 2])
def test_long_waves_in_pieces_lose_no_frame(monkeypatch, stack):
    encoder = Ramp(stack)
    for samples in (400, 3_199, 3_200, 3_279, 3_280, 3_360, 3_599, 3_600, 9_999, 12_800, 12_880):
        wave = np.arange(samples, dtype=np.float32)
        monkeypatch.setattr(extractors, "CHUNK", 1_600_000)
        whole = State(encoder, 1)(wave)
        monkeypatch.setattr(extractors, "CHUNK", 3_300)
        pieces = State(encoder, 1)(wave)
        if stack == 1 or len(whole) == len(pieces):
            np.testing.assert_array_equal(pieces, whole)
        else:  # the half of a pair that is left beyond a piece
            assert (len(whole) - len(pieces), whole[-1, 1]) == (1, 1)
        np.testing.assert_array_equal(whole, encoder.hidden_states(wave)[1])


def test_a_state_is_that_of_the_encoder():
    extractor = make_extractor("state", model="random:melhubert-small:3", state=2)
    wave = voice(16_000)
    np.testing.assert_array_equal(extractor(wave), load_encoder("random:melhubert-small:3").hidden_states(wave)[2])
    assert (extractor.rate, extractor.dim) == (50, extractor.encoder.dim)
    assert extractor.features["model_sha256"] == extractor.encoder.sha256
    assert extractor.features["state"] == 2
    with pytest.raises(InputError, match="has no state 13; give one from 0 to"):
        State(extractor.encoder, 13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "plp"}, "'plp' are not known; use one of logmel, mfcc, state"),
        ({"kind": "logmel"}, "logmel need mel_stats"),
        ({"kind": "state", "state": 1}, "state need model"),
        ({"kind": "mfcc", "state": 1}, "mfcc take no state"),
        ({"kind": "logmel", "mel_stats": np.zeros((2, 40))}, "every std above 0"),
    ],
)
def test_extractors_are_asked_for_in_full(options, message):
    with pytest.raises(InputError, match=message):
        make_extractor(**options)


# Running through a corpus


def test_results_come_in_order_and_a_few_ahead(corpus):
    lock, running, most = threading.Lock(), 0, 0

    def work(wave):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return len(wave)

    rows = [5, 0, 2, 1, 4, 3]
    for workers in (1, 4):
        found = list(extracted(corpus, rows, work, "test", workers, progress=False))
        assert found == [(i, int(corpus.num_samples[i])) for i in rows]
        assert most <= workers


def test_a_corpus_is_never_read_ahead_as_a_whole(corpus):
    read = []
    found = extracted(corpus, [0] * 50, lambda wave: read.append(1), "test", 2, progress=False)
    next(found)
    assert len(read) <= 5
    found.close()
    assert len(read) <= 6


# Clustering


def centres_of(corpus, extractor, **options):
    return train_quantiser(corpus, extractor, **{"clusters": 8, **FAST, **options})


def test_the_same_seed_gives_the_same_centres_whatever_the_workers(corpus, stats):
    one = centres_of(corpus, LogMel(stats), seed=5)
    two = centres_of(corpus, LogMel(stats), seed=5, workers=3)
    np.testing.assert_array_equal(one.quantiser.centres, two.quantiser.centres)
    assert one.inertia == two.inertia
    other = centres_of(corpus, LogMel(stats), seed=6)
    assert not np.array_equal(one.quantiser.centres, other.quantiser.centres)


def test_clusters_that_are_there_are_found(corpus):
    """Frames around five points far apart: the centres are the points, and the distance is the noise's."""
    points = 50 * np.random.default_rng(0).normal(size=(5, 4))

    class Points(Mfcc):
        dim = 4

        def __call__(self, wave):
            rng = np.random.default_rng(len(wave))
            return (points[rng.integers(0, 5, 200)] + rng.normal(size=(200, 4))).astype(np.float32)

    made = train_quantiser(corpus, Points(), clusters=5, passes=4, batch_frames=150, share=1.0)
    order = np.argmin(((points[:, None] - made.quantiser.centres) ** 2).sum(-1), axis=1)
    np.testing.assert_allclose(made.quantiser.centres[order], points, atol=0.3)
    assert made.frames == 200 * 6
    assert made.inertia[-1] == pytest.approx(4.0, rel=0.15)  # four dimensions of variance 1


def test_inertia_is_of_frames_before_the_centres_move_and_falls(corpus, stats):
    made = centres_of(corpus, LogMel(stats), passes=5, clusters=16)
    assert len(made.inertia) == 5
    assert made.inertia[-1] < made.inertia[0]
    frames = np.concatenate([LogMel(stats)(wave) for wave in waves(corpus)]).astype(np.float64)
    distances = ((frames[:, None] - made.quantiser.centres) ** 2).sum(-1).min(1)
    assert made.inertia[-1] == pytest.approx(distances.mean(), rel=0.15)
    assert made.frames == len(frames)


def test_as_good_as_scikit_learn_with_all_frames_in_memory(corpus, stats):
    frames = np.concatenate([LogMel(stats)(wave) for wave in waves(corpus)])
    theirs = MiniBatchKMeans(16, batch_size=100, n_init=20, tol=0, reassignment_ratio=0, random_state=0).fit(frames)
    ours = centres_of(corpus, LogMel(stats), clusters=16, passes=10, beginnings=20).quantiser
    distances = ((frames[:, None] - ours.centres) ** 2).sum(-1).min(1).sum()
    assert distances < 1.1 * -theirs.score(frames)


def test_k_means_begins_at_the_best_of_several():
    frames = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    begun = clustering._begin(frames, 6, 5, 100, np.random.default_rng(0)).init
    draws = np.random.default_rng(0)
    tries = [kmeans_plusplus(frames, 6, random_state=int(draws.integers(2**31)))[0] for _ in range(5)]
    distances = [((frames[:, None] - centres) ** 2).sum(-1).min(1).sum() for centres in tries]
    assert np.ptp(distances) > 1
    np.testing.assert_array_equal(begun, tries[int(np.argmin(distances))])


def test_memory_holds_two_lots(corpus, stats, monkeypatch):
    sizes = []
    original = clustering._shuffled

    def watched(found, size, draws):
        for buffer in original(found, size, draws):
            sizes.append(len(buffer))
            yield buffer

    monkeypatch.setattr(clustering, "_shuffled", watched)
    monkeypatch.setattr(clustering, "SHUFFLED", 2)
    made = centres_of(corpus, LogMel(stats), batch_frames=50, passes=1)
    assert sizes == [100] * (made.frames // 100) + [made.frames % 100]


def test_a_lot_is_all_frames_shuffled():
    found = [(0, np.arange(7.0)[:, None]), (1, np.arange(7.0, 30)[:, None]), (2, np.arange(30.0, 33)[:, None])]
    lots = list(clustering._shuffled(iter(found), 10, np.random.default_rng(0)))
    assert [len(lot) for lot in lots] == [10, 10, 10, 3]
    assert [sorted(lot[:, 0].tolist()) for lot in lots] == [list(range(k, min(k + 10, 33))) for k in (0, 10, 20, 30)]
    assert lots[0][:, 0].tolist() != list(range(10))


def test_a_share_of_the_utterances_or_so_many(corpus, stats):
    assert centres_of(corpus, LogMel(stats), share=0.5).utterances == 3
    assert centres_of(corpus, LogMel(stats), utterances=2, seed=1).utterances == 2
    for options, message in (
        ({"share": 0.0}, "share of 0.0"),
        ({"utterances": 7}, "on 7 of 6"),
        ({"clusters": 1}, "at least 2"),
    ):
        with pytest.raises(InputError, match=message):
            centres_of(corpus, LogMel(stats), **options)
    with pytest.raises(InputError, match=r"frames are too few for 450 clusters"):
        centres_of(corpus, LogMel(stats), clusters=450, batch_frames=500)


# Units


@pytest.mark.parametrize("kind", ["logmel", "mfcc", "state"])
def test_units_are_the_nearest_centres_of_every_frame(tmp_path, corpus, stats, kind):
    options = {"logmel": {"mel_stats": stats}, "state": {"model": "random:melhubert-small", "state": 1}}.get(kind, {})
    extractor = make_extractor(kind, **options)
    labels = make_units(corpus, extractor, tmp_path / "units", clusters=8, workers=2, seed=3, **FAST)
    assert labels.rate == (50 if kind == "state" else 100)
    for i, wave in enumerate(waves(corpus)):
        frames = extractor(wave)
        distances = ((frames[:, None] - labels.quantiser.centres) ** 2).sum(-1)
        np.testing.assert_array_equal(labels.of(i), distances.argmin(1))
    assert labels.check(corpus).never_used == 0
    again = read_labels(tmp_path / "units", corpus)
    assert again.quantiser.features["kind"] == kind
    assert again.facts.about["seed"] == 3
    assert len(again.facts.about["inertia"]) == 2
    assert (again.quantiser.mel_stats is not None) == (kind == "logmel")


def test_a_quantiser_is_used_again_and_only_on_its_features(tmp_path, corpus, stats):
    first = make_units(corpus, LogMel(stats), tmp_path / "a", clusters=8, **FAST)
    quantiser = read_labels(tmp_path / "a", corpus).quantiser
    second = make_units(corpus, LogMel(stats), tmp_path / "b", quantiser=quantiser)
    np.testing.assert_array_equal(first.flat, second.flat)
    with pytest.raises(InputError, match=r"made of other features \(they differ in mel_stats\)"):
        make_units(corpus, LogMel(STATS), tmp_path / "c", quantiser=quantiser)
    with pytest.raises(InputError, match="kind"):
        make_units(corpus, Mfcc(), tmp_path / "c", quantiser=quantiser)
    with pytest.raises(InputError, match="not both"):
        make_units(corpus, LogMel(stats), tmp_path / "c", quantiser=quantiser, clusters=8)
    assert not (tmp_path / "c").exists()


def test_a_foreign_k_means_labels_a_corpus(tmp_path, corpus):
    frames = np.concatenate([Mfcc()(wave) for wave in waves(corpus)])
    theirs = MiniBatchKMeans(10, batch_size=100, n_init=2, random_state=0).fit(frames)
    joblib.dump(theirs, tmp_path / "km.bin")
    quantiser = foreign_quantiser(tmp_path / "km.bin", Mfcc())
    labels = make_units(corpus, Mfcc(), tmp_path / "units", quantiser=quantiser)
    np.testing.assert_array_equal(labels.flat, theirs.predict(frames))
    assert labels.describe()["features"]["source"] == "km.bin"
    with pytest.raises(InputError, match="centres of 39 numbers, the features have 40"):
        foreign_quantiser(tmp_path / "km.bin", LogMel(STATS))


def test_units_that_cannot_be_learnt_from_leave_nothing(tmp_path, corpus):
    class Constant(Mfcc):
        def __call__(self, wave):
            return np.zeros((len(super().__call__(wave)), 39), np.float32)

    made = train_quantiser(corpus, Mfcc(), clusters=4, **FAST).quantiser
    with pytest.raises(InputError, match=r"all \d+ labels are class"):
        make_units(corpus, Constant(), tmp_path / "units", quantiser=made)
    assert list(tmp_path.iterdir()) == []


def test_audio_that_is_not_as_long_as_the_manifest_says(tmp_path, corpus):
    longer = type(corpus)(corpus.paths, corpus.num_samples + np.array([0, 0, 8_000, 0, 0, 0]))
    with pytest.raises(InputError, match=r"clip2.wav has \d+ samples at 16000 Hz, and had \d+ when it was scanned"):
        make_units(longer, Mfcc(), tmp_path / "units", clusters=4, **FAST)
    assert list(tmp_path.iterdir()) == []
