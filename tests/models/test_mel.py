"""MelHuBERT: its features against Kaldi's, its network against arrays of the public code."""

import re
from types import SimpleNamespace

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.features.cepstra import kaldi_log_mel
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend
from speechbias.models.convert.hints import Hints
from speechbias.models.convert.names import FAIRSEQ_NAMES, split
from speechbias.models.convert.shapes import encoder_config
from speechbias.models.freeze import freeze
from speechbias.models.initialisation import initialise_network
from speechbias.models.mel import mel_features, read_mel_stats, stacked
from speechbias.models.network import Network, build

UTTERANCES = ("100-121669-0000", "1001-134707-0000")
STATS = np.stack([np.linspace(8.0, 14.0, 40), np.linspace(2.0, 5.0, 40)])


def voice(samples, seed=0, level=0.05):
    """A buzz with harmonics, an offset and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16_000
    tone = sum(np.cos(2 * np.pi * 130 * k * t) / k for k in range(1, 20))
    return (level * (tone * (1 + 0.5 * np.sin(20 * t)) + 0.2 * rng.standard_normal(samples) + 0.4)).astype(np.float32)


def kaldi(wave):
    """kaldi-native-fbank with the settings of torchaudio.compliance.kaldi.fbank as MelHuBERT calls it."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.frame_opts.samp_freq = 16_000
    options.mel_opts.num_bins = 40
    options.energy_floor = 1.0
    extractor = knf.OnlineFbank(options)
    extractor.accept_waveform(16_000, (wave * 2.0**15).tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])


def network(stack=2):
    made = Network(
        EncoderConfig("melhubert", MelFrontend(stack=stack), 24, 6, heads=(4, 4), ffn=(32, 32), position_groups=4)
    )
    initialise_network(made, torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 16_079, 40_961])
@pytest.mark.parametrize("level", [0.001, 0.05, 0.3])
def test_log_mel_is_that_of_kaldi(samples, level):
    wave = voice(samples, seed=samples, level=level)
    ours, reference = kaldi_log_mel(wave), kaldi(wave)
    assert ours.shape == reference.shape == (1 + (samples - 400) // 160, 40)
    assert ours.dtype == np.float32
    assert np.abs(ours - reference).max() < 1e-3


def test_digital_silence_has_the_floor_of_kaldi():
    silence = np.zeros(2000, np.float32)
    np.testing.assert_allclose(kaldi_log_mel(silence), kaldi(silence), rtol=1e-6)


@settings(deadline=None)
@given(count=st.integers(1, 9), stack=st.integers(1, 3))
def test_stacking_lays_neighbours_side_by_side_and_fills_up_with_zeros(count, stack):
    frames = np.arange(1.0, 1 + 5 * count).reshape(count, 5)
    result = stacked(frames, stack)
    assert result.shape == (-(-count // stack), 5 * stack)
    assert result.dtype == np.float32
    flat = result.ravel()
    assert np.array_equal(flat[: 5 * count], frames.ravel())
    assert not flat[5 * count :].any()


@pytest.mark.parametrize(("samples", "rows"), [(400, 1), (560, 1), (720, 2), (16_000, 49)])
def test_features_are_normalised_before_they_are_stacked(samples, rows):
    """So that what lacks at the end is the mean, and not a log-mel of zero."""
    wave = voice(samples)
    features = mel_features(wave, MelFrontend(), STATS)
    whole = (kaldi(wave) - STATS[0]) / STATS[1]
    assert features.shape == (rows, 80)
    np.testing.assert_allclose(features[:, :40], whole[::2], atol=1e-3)
    np.testing.assert_allclose(features[: len(whole) // 2, 40:], whole[1::2], atol=1e-3)
    if len(whole) % 2:
        assert not features[-1, 40:].any()


def test_ten_millisecond_frames_are_left_as_they_are():
    wave = voice(1000)
    expected = ((kaldi_log_mel(wave) - STATS[0]) / STATS[1]).astype(np.float32)
    assert np.array_equal(mel_features(wave, MelFrontend(stack=1), STATS), expected)


def test_statistics_are_read_from_an_array_and_from_a_file(tmp_path):
    np.save(tmp_path / "stats.npy", STATS.astype(np.float32))
    for given_as in (tmp_path / "stats.npy", str(tmp_path / "stats.npy"), STATS.astype(np.float32)):
        stats = read_mel_stats(given_as)
        assert stats.dtype == np.float64
        assert np.array_equal(stats, STATS.astype(np.float32))
    assert np.array_equal(read_mel_stats(np.ones((2, 40), int)), np.ones((2, 40)))


def with_value(row, value):
    stats = STATS.copy()
    stats[row, 3] = value
    return stats


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        (STATS.T, "40 x 2; give mean and std of 40 mel bins"),
        (STATS[0], "holds 40; give"),
        (STATS[:, :39], "2 x 39; give"),
        (np.float64(3.0), "no array; give"),
        (with_value(1, 0.0), "every std above 0"),
        (with_value(1, -2.0), "every std above 0"),
        (with_value(0, np.nan), "all are finite"),
        (with_value(1, np.inf), "all are finite"),
        (STATS.astype(complex), "give mean and std"),
        (STATS > 0, "give mean and std"),
        (STATS.astype(str), "give mean and std"),
    ],
)
def test_statistics_without_sense_are_refused_in_one_line(stats, said, tmp_path):
    np.save(tmp_path / "stats.npy", stats)
    for given_as in (np.asarray(stats), tmp_path / "stats.npy"):
        with pytest.raises(InputError, match=re.escape(said)) as error:
            read_mel_stats(given_as)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith("mel_stats" if isinstance(given_as, np.ndarray) else str(tmp_path))


def unreadable(folder):
    """Files that are no arrays of plain numbers."""
    valid = folder / "valid.npy"
    np.save(valid, STATS)
    content = valid.read_bytes()
    files = {
        "empty": b"",
        "text": b"mean,std\n1,2\n",
        "cut-header": content[:20],
        "cut": content[:200],
        "broken-header": content.replace(b"'shape'", b"'shap\xff'"),
        "open-bracket": content.replace(b"(2, 40)", b"(2, 4["),
        "too-large": content.replace(b"(2, 40), }" + 14 * b" ", b"(2, 40000000000000), }  "),
        "overflow": content.replace(b"(2, 40), }" + 24 * b" ", b"(2, 400000000000000000000000), }  "),
    }
    assert content not in files.values()
    for name, data in files.items():
        (folder / f"{name}.npy").write_bytes(data)
    np.save(folder / "objects.npy", np.array([print, STATS], dtype=object), allow_pickle=True)
    return [folder / f"{name}.npy" for name in (*files, "objects", "missing")] + [folder]


def test_files_that_hold_no_numbers_are_refused_in_one_line(tmp_path):
    for path in unreadable(tmp_path):
        with pytest.raises(InputError, match=r"give a \.npy of mean and std") as error:
            read_mel_stats(path)
        assert str(error.value).startswith(f"{path} cannot be read (")
        assert "\n" not in str(error.value)


def test_an_archive_is_not_an_array(tmp_path):
    np.savez(tmp_path / "stats.npz", stats=STATS)
    with pytest.raises(InputError, match="give"):
        read_mel_stats(tmp_path / "stats.npz")


def test_without_statistics_features_are_taken_and_audio_is_refused():
    encoder = freeze("mel", network())
    features = np.random.default_rng(0).standard_normal((7, 80))
    assert encoder.encode_features(features).shape == (3, 7, 24)
    for call in (encoder.hidden_states, encoder.pooled):
        with pytest.raises(InputError, match=r"^mel .*--mel-stats FILE.npy \(mel_stats=\)") as error:
            call(voice(16_000))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(7, 40), (7,), (0, 80), (1, 7, 80)])
def test_features_of_another_shape_are_refused(shape):
    said = " x ".join(map(str, shape))
    with pytest.raises(InputError, match=rf"shape \(frames, 80\), not {said}$"):
        freeze("mel", network()).encode_features(np.zeros(shape, np.float32))


def test_a_model_of_waves_takes_no_features():
    config = EncoderConfig("hubert", WaveFrontend((8,) * 7), 24, 6, heads=(4,), ffn=(32,), position_groups=4)
    with pytest.raises(InputError, match="takes waves"):
        freeze("hubert", Network(config)).encode_features(np.zeros((7, 80), np.float32))


@pytest.mark.parametrize(("stack", "shift", "frames"), [(2, 0.02, 49), (1, 0.01, 98)])
def test_audio_goes_through_its_features(stack, shift, frames):
    encoder = freeze("mel", network(stack), mel_stats=STATS)
    wave = voice(16_000)
    hidden = encoder.hidden_states(wave)
    assert encoder.frame_shift == shift
    assert encoder.min_samples == 400
    assert hidden.shape == (3, frames, 24)
    features = mel_features(wave, MelFrontend(stack=stack), STATS)
    assert np.array_equal(hidden, encoder.encode_features(features))
    np.testing.assert_allclose(encoder.pooled(wave), hidden.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_the_shortest_wave_gives_one_frame():
    encoder = freeze("mel", network(), mel_stats=STATS)
    assert encoder.hidden_states(voice(400)).shape == (3, 1, 24)
    with pytest.raises(InputError, match="399 samples"):
        encoder.hidden_states(voice(399))


def test_state_0_is_the_projection_of_the_features():
    made = network()
    features = np.random.default_rng(1).standard_normal((9, 80)).astype(np.float32)
    projected = features @ made.projection.weight.detach().numpy().T + made.projection.bias.detach().numpy()
    np.testing.assert_allclose(freeze("mel", made).encode_features(features)[0], projected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("states", ["hf", "speat-2023"])
def test_other_conventions_have_no_meaning(states):
    with pytest.raises(InputError, match="MelHuBERT; use --states s3prl"):
        freeze("mel", network(), states=states)


def test_the_recipe_names_the_statistics_by_their_hash():
    plain, other = (freeze("mel", network(), mel_stats=stats).recipe for stats in (STATS, 2 * STATS))
    assert plain["mel_stats"] != other["mel_stats"]
    assert plain["stacked"] == 2
    assert (plain["state_0"], plain["last_state"]) == ("input projection", "last block")
    assert freeze("mel", network()).recipe["mel_stats"] is None


@pytest.fixture(scope="session")
def parity(shared):
    """Arrays of the public code: features of two utterances, and the states of a small model."""
    folder = shared / "parity" / "melhubert"
    if not folder.is_dir():
        pytest.skip("no arrays of the public MelHuBERT code")
    fbank, tiny = (dict(np.load(folder / f"{name}.npz")) for name in ("fbank", "tiny_20ms"))
    waves = {name: soundfile.read(folder / f"{name}.flac", dtype="float32")[0] for name in UTTERANCES}
    return SimpleNamespace(fbank=fbank, tiny=tiny, waves=waves, stats=read_mel_stats(fbank["mean_std_960"]))


@pytest.fixture(scope="session")
def tiny(parity):
    """The small model of the public code as one of ours."""
    weights = {n.removeprefix("w."): torch.tensor(w) for n, w in parity.tiny.items() if n.startswith("w.")}
    renamed, left_out = FAIRSEQ_NAMES.rename(weights)
    encoder, objective = split(renamed)
    assert not left_out
    assert set(objective) == {"final_proj.weight", "final_proj.bias"}
    config = encoder_config("tiny", encoder, Hints(heads=4))
    assert config == EncoderConfig("melhubert", MelFrontend(), 64, 16, heads=(4, 4), ffn=(128, 128))
    return build(config, encoder)


@pytest.mark.parametrize("name", UTTERANCES)
def test_log_mel_is_that_of_the_public_code(parity, name):
    wave, reference = parity.waves[name], parity.fbank[f"fbank_{name}"]
    assert len(wave) == parity.fbank[f"nsamples_{name}"]
    assert kaldi_log_mel(wave).shape == reference.shape
    assert np.abs(kaldi_log_mel(wave) - reference).max() < 1e-3


def test_normalised_features_are_those_of_the_public_code(parity):
    name, long_name = UTTERANCES
    for stack, reference in ((1, f"norm10_{name}"), (2, f"norm20_{name}")):
        features = mel_features(parity.waves[name], MelFrontend(stack=stack), parity.stats)
        assert features.shape == parity.fbank[reference].shape
        assert np.abs(features - parity.fbank[reference]).max() < 1e-4
    features = mel_features(parity.waves[long_name], MelFrontend(), parity.stats)
    tail = parity.fbank[f"norm20_tail_{long_name}"]
    assert features.shape == (791, 80)
    assert np.abs(features[-3:] - tail).max() < 1e-4
    assert not tail[-1, 40:].any()
    assert not features[-1, 40:].any()


def test_states_of_a_padded_batch_are_those_of_the_public_code(parity, tiny):
    mask, seen = torch.tensor(parity.tiny["M"]), {}
    with torch.inference_mode():
        tiny(
            torch.tensor(parity.tiny["X"]),
            mask.sum(1).long(),
            read=lambda point, hidden: seen.update({point: hidden.clone()}),
        )
    own = mask[:, :120].bool()
    assert own.sum() == 101 + 120
    for point, name in (("projection", "pre"), (1, "layer1"), (2, "layer2"), ("output", "hid")):
        difference = seen[point][:, :120][own] - torch.tensor(parity.tiny[name])[own]
        assert difference.abs().max() < 2e-5, name


def test_states_of_one_utterance_are_those_of_the_public_code(parity, tiny):
    encoder = freeze("tiny", tiny, mel_stats=parity.stats)
    features = parity.tiny["X"][0, :101]
    hidden = encoder.encode_features(features)
    assert hidden.shape == (3, 101, 64)
    assert np.abs(hidden[-1] - parity.tiny["single_last"][0]).max() < 2e-5
    assert np.abs(hidden.mean(axis=1) - parity.tiny["hid_meanT"]).max() < 2e-5
    for state, name in enumerate(("pre", "layer1", "layer2")):
        assert np.abs(hidden[state] - parity.tiny[name][0, :101]).max() < 2e-5


def test_pooled_audio_is_the_time_mean_of_the_public_code(parity, tiny):
    pooled = freeze("tiny", tiny, mel_stats=parity.stats).pooled(parity.waves[UTTERANCES[0]])
    assert np.abs(pooled - parity.tiny["hid_meanT"]).max() < 1e-4


@pytest.mark.parametrize("form", [list, torch.tensor, np.float32], ids=["list", "tensor", "float32"])
def test_statistics_come_in_any_form_of_numbers(form):
    stats = np.array([[14.0] * 40, [4.0] * 40])
    read = read_mel_stats(form(stats.tolist()))
    assert read.dtype == np.float64
    assert np.array_equal(read, stats)


@pytest.mark.parametrize("stats", [[[1.0] * 40, [1.0]], object(), [["a"] * 40] * 2, None, 3.0])
def test_what_is_no_array_is_refused_in_one_line(stats):
    with pytest.raises(InputError, match="mel_stats") as error:
        read_mel_stats(stats)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)
