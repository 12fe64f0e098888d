"""The packed engine against the plain network: every state, kind of front end, norm and shape; and its absence."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import write_test
from speechbias import effect_size
from speechbias.embeddings import embed
from speechbias.models import packed as packed_module
from speechbias.models import packed_blocks
from speechbias.models.config import EncoderConfig, MelFrontend, WaveFrontend, sized
from speechbias.models.engine import Engine
from speechbias.models.freeze import freeze
from speechbias.models.network import Network
from speechbias.models.objectives import untrained
from speechbias.models.packed import PACKED, PLAIN, Linear, is_supported, windows
from speechbias.models.packed_frontend import PIECE
from speechbias.stimuli import read_stimuli

needs_engine = pytest.mark.skipif(
    not is_supported(torch.float32), reason="this build of torch has no prepacked products"
)
WAVE = WaveFrontend((16,) * 7)
TINY = EncoderConfig("wav2vec2", WAVE, 24, 8, (3, 3, 3), (40, 40, 40), position_kernel=16, position_groups=2)
CONFIGS = {
    "group norm": TINY,
    "group norm, conv bias": replace(TINY, frontend=replace(WAVE, bias=True)),
    "layer norm": replace(TINY, frontend=replace(WAVE, norm="layer", bias=True, wave_norm_eps=1e-5), pre_norm=True),
    "pre-norm": replace(TINY, pre_norm=True),
    "pruned": replace(TINY, heads=(1, 3, 2), ffn=(7, 40, 1)),
    "odd kernel": replace(TINY, position_kernel=9, position_groups=4),
    "kernel of 1": replace(TINY, position_kernel=1),
    "no projection": replace(TINY, frontend=WaveFrontend((24,) * 7), projection=False),
    "no feature norm": replace(TINY, family="hubert", frontend=replace(WAVE, feature_norm=False), student=True),
    "other strides": replace(TINY, frontend=WaveFrontend((8, 12, 16), (6, 4, 3), (4, 3, 1))),
    "mel, 20 ms": replace(TINY, family="melhubert", frontend=MelFrontend()),
    "mel, 10 ms": replace(TINY, family="melhubert", frontend=MelFrontend(stack=1)),
}


def random_network(config, seed=0):
    """No parameter at its default."""
    network = Network(config).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 or "original0" in name:
            parameter.normal_(1.0 if "norm" in name or "original0" in name else 0.0, 0.2, generator=generator)
        else:
            parameter.normal_(0.0, 1.4 / parameter[0].numel() ** 0.5, generator=generator)
    return network


NETWORKS = {name: random_network(config) for name, config in CONFIGS.items()}


def states(compute, inputs):
    seen = {}
    with torch.inference_mode():
        compute(inputs[None], read=lambda point, hidden: seen.update({point: hidden.double().clone()}))
    return seen


def inputs_of(config, frames, *, extra=0, seed=0, level=0.1):
    """A wave that gives so many frames, ``extra`` samples of the next one; or mel frames."""
    generator = torch.Generator().manual_seed(seed)
    front = config.frontend
    if isinstance(front, MelFrontend):
        return torch.randn(frames, front.dim, generator=generator)
    samples = (frames - 1) * front.hop + front.receptive_field + extra % front.hop
    return level * (0.3 + torch.randn(samples, generator=generator))


def error(ours, plain):
    assert list(ours) == list(plain)
    assert all(ours[point].shape == plain[point].shape for point in plain)
    return max(((ours[point] - plain[point]).norm() / plain[point].norm()).item() for point in plain)


@needs_engine
@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=12, deadline=None)
@given(frames=st.integers(8, 3 * PIECE), extra=st.integers(0, 319), level=st.sampled_from([0.01, 0.1]))
def test_every_state_is_that_of_the_network(name, frames, extra, level):
    network = NETWORKS[name]
    inputs = inputs_of(network.config, frames, extra=extra, level=level)
    ours = states(Engine(network, torch.float32), inputs)
    assert error(ours, states(network, inputs)) <= 5e-6  # tiny networks; the next test has the paper's sizes


@needs_engine
@pytest.mark.parametrize("name", ["group norm", "layer norm", "mel, 20 ms"])
@pytest.mark.parametrize("frames", [1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1])
def test_pieces_meet_without_a_seam(name, frames):
    network = NETWORKS[name]
    inputs = inputs_of(network.config, frames)
    ours, plain = states(Engine(network, torch.float32), inputs), states(network, inputs)
    assert ours["projection"].shape[1] == frames
    np.testing.assert_allclose(ours["projection"], plain["projection"], rtol=1e-4, atol=2e-5)
    if frames > 2:  # of one or two frames the blocks make states in which rounding is large
        assert error(ours, plain) <= 5e-6


@needs_engine
@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
@pytest.mark.parametrize("size", ["small", "slim"])
def test_pooled_vectors_move_by_less_than_a_millionth(family, size, monkeypatch):
    network = untrained(family, size, seed=1).encoder
    stats = np.array([[14.0] * 40, [4.0] * 40]) if family == "melhubert" else None
    wave = inputs_of(sized("wav2vec2", size), 250).numpy()
    packed = freeze("packed", network, mel_stats=stats)
    monkeypatch.setattr("speechbias.models.packed.is_supported", lambda _: False)
    plain = freeze("plain", network, mel_stats=stats)
    assert (packed.recipe["engine"], plain.recipe["engine"]) == (PACKED, PLAIN)
    ours, theirs = packed.pooled(wave).astype(np.float64), plain.pooled(wave).astype(np.float64)
    assert np.linalg.norm(ours - theirs) <= 1e-6 * np.linalg.norm(theirs)


@pytest.mark.skipif(not is_supported(torch.bfloat16), reason="this processor has no bfloat16 products")
@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
def test_bfloat16_is_within_a_hundredth(family):
    network = untrained(family, "small", seed=1).encoder
    stats = np.array([[14.0] * 40, [4.0] * 40]) if family == "melhubert" else None
    wave = inputs_of(sized("wav2vec2", "small"), 250).numpy()
    exact, coarse = (freeze("x", network, mel_stats=stats, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert coarse.recipe["engine"] == PACKED
    assert exact.sha256 == coarse.sha256
    ours, theirs = coarse.pooled(wave).astype(np.float64), exact.pooled(wave).astype(np.float64)
    assert 0 < np.linalg.norm(ours - theirs) <= 1e-2 * np.linalg.norm(theirs)


@needs_engine
def test_a_quiet_wave_keeps_the_epsilon_of_the_group_norm():
    network = NETWORKS["group norm"]
    wave = inputs_of(network.config, 40, level=1e-5)
    assert error(states(Engine(network, torch.float32), wave), states(network, wave)) <= 5e-6


@needs_engine
@pytest.mark.parametrize("name", ["group norm", "group norm, conv bias"])
def test_a_constant_beneath_quiet_speech_costs_no_digits(name):
    """Against float64, since the plain network in float32 loses three digits to it."""
    network = random_network(CONFIGS[name])
    wave = inputs_of(CONFIGS[name], 60, level=1e-4) + 0.1
    ours = states(Engine(network, torch.float32), wave)
    exact = states(copy.deepcopy(network).double(), wave.double())
    assert error(ours, exact) < 2e-6


@needs_engine
def test_two_threads_do_not_mix_their_states():
    encoder = freeze("tiny", NETWORKS["group norm"])
    waves = [inputs_of(encoder.config, 60, seed=seed).numpy() for seed in range(2)]
    alone = [encoder.hidden_states(wave) for wave in waves]
    start = threading.Barrier(2, timeout=30)

    def many(wave):
        start.wait()
        return [encoder.hidden_states(wave) for _ in range(20)]

    with ThreadPoolExecutor(2) as threads:
        for once, again in zip(alone, threads.map(many, waves), strict=True):
            assert all(np.array_equal(once, hidden) for hidden in again)


@needs_engine
@pytest.mark.parametrize(("frames", "channels", "kernel", "stride"), [(20, 3, 4, 2), (9, 1, 9, 5), (50, 16, 3, 2)])
def test_a_convolution_is_a_product_over_windows(frames, channels, kernel, stride):
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(frames, channels, generator=generator),
        torch.randn(5, channels, kernel, generator=generator),
    )
    bias = torch.randn(5, generator=generator)
    ours = Linear(weight.transpose(1, 2).flatten(1), bias, torch.float32)(windows(x, kernel, stride))
    conv = torch.nn.functional.conv1d(x.T[None], weight, bias, stride=stride)[0].T
    np.testing.assert_allclose(ours, conv, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lack", ["missing", "wrong"])
def test_without_the_products_the_network_computes_and_says_so(monkeypatch, lack):
    is_supported.cache_clear()

    class Ops:
        def __getattr__(self, name):
            raise AttributeError(name)

    if lack == "missing":
        monkeypatch.setattr(packed_module.torch.ops, "mkldnn", Ops())
    else:
        monkeypatch.setattr(Linear, "__call__", lambda self, x, gelu=False: torch.zeros(len(x), 16))
    try:
        encoder = freeze("tiny", NETWORKS["group norm"])
    finally:
        is_supported.cache_clear()
    assert encoder.engine is None
    assert encoder.recipe["engine"] == PLAIN
    assert encoder.pooled(inputs_of(encoder.config, 30).numpy()).shape == (4, 24)


def test_half_precision_is_the_networks_own():
    assert not is_supported(torch.float16)
    assert not is_supported(torch.float64)


@pytest.mark.skipif(not is_supported(torch.bfloat16), reason="this processor has no bfloat16 products")
@pytest.mark.parametrize("frames", [1, 255, 256, 257, 600])
def test_attention_in_bfloat16_goes_row_by_row(frames):
    q, k, v = torch.randn(3, frames, 16, generator=torch.Generator().manual_seed(frames)).bfloat16()
    plain = torch.nn.functional.scaled_dot_product_attention(*(part.float()[None, None] for part in (q, k, v)))[0, 0]
    torch.testing.assert_close(packed_blocks._head(q, k, v).float(), plain, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("packed", [pytest.param(True, marks=needs_engine), False])
def test_autocast_around_a_call_changes_nothing(packed, monkeypatch):
    if not packed:
        monkeypatch.setattr(packed_module, "is_supported", lambda _: False)
    encoder = freeze("x", untrained("wav2vec2", "small", seed=0).encoder)
    assert encoder.recipe["engine"] == (PACKED if packed else PLAIN)
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    exact = encoder.pooled(wave)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(encoder.pooled(wave), exact)


@needs_engine
def test_d_of_a_base_model_moves_by_less_than_a_hundred_thousandth(tmp_path, monkeypatch):
    stimuli = read_stimuli(write_test(tmp_path, clips=4))
    network = untrained("wav2vec2", "base", seed=0).encoder
    packed = freeze("base", network)
    monkeypatch.setattr(packed_module, "is_supported", lambda _: False)
    plain = freeze("base", network)
    assert (packed.recipe["engine"], plain.recipe["engine"]) == (PACKED, PLAIN)
    ours, theirs = (embed(encoder, stimuli).sets() for encoder in (packed, plain))
    for state in range(13):
        d, expected = (effect_size(*(sets[name][:, state] for name in "XYAB")) for sets in (ours, theirs))
        assert d == pytest.approx(expected, abs=1e-5)
        assert abs(d) > 0.01
