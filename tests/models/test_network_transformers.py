"""Our wav2vec 2.0 and HuBERT against transformers' own, with the same random weights, state by state."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.models.config import sized
from speechbias.models.convert.names import TRANSFORMERS_NAMES, split
from speechbias.models.convert.shapes import encoder_config
from speechbias.models.convert.transformers import hints_of
from speechbias.models.freeze import freeze
from speechbias.models.network import build
from speechbias.models.packed import is_supported

TOLERANCE = 1e-5
CLASSES = {
    "wav2vec2": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config),
    "hubert": (transformers.HubertModel, transformers.HubertConfig),
}
TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
FAMILIES, NORMS, PRE_NORM, BIAS = ("wav2vec2", "hubert"), ("group", "layer"), (False, True), (False, True)
VARIANTS = [*product(FAMILIES, NORMS, PRE_NORM)]


def theirs(family, norm, pre, bias=False, **changes):
    """transformers' model with no parameter at its default, and none of a scale at which states explode or vanish."""
    model_class, config_class = CLASSES[family]
    layers = {"feat_extract_norm": norm, "do_stable_layer_norm": pre, "conv_bias": bias}
    with torch.device("meta"):
        model = model_class(config_class(**TINY | layers | changes))
    model.to_empty(device="cpu").eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or "original0" in name:
            parameter.normal_(1.0 if "norm.weight" in name or "original0" in name else 0.0, 0.2, generator=generator)
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.4  # attention that is not even
            parameter.normal_(0.0, gain / parameter[0].numel() ** 0.5, generator=generator)
    return model


def converted(model):
    """Config and tensors of our network, by the way a folder of transformers takes."""
    renamed, left_out = TRANSFORMERS_NAMES.rename(model.state_dict())
    encoder, objective = split(renamed)
    assert not left_out
    assert set(objective) <= {"mask_embedding"}
    hints = hints_of(model.config.to_dict(), {})
    return encoder_config("tiny", encoder, hints), encoder


@cache
def pair(*variant, **changes):
    model = theirs(*variant, **changes)
    return model, build(*converted(model))


@cache
def double_pair(*variant, **changes):
    """Both in float64, where only a difference of meaning is one of numbers, whatever the length and the level."""
    model = theirs(*variant, **changes)
    return model.double(), build(*converted(model)).double()


@pytest.fixture(params=["engine", "network"])
def computed(request, monkeypatch):
    """By the packed engine, where this build of torch has its products, and by the network itself."""
    if request.param == "network":
        monkeypatch.setattr("speechbias.models.packed.is_supported", lambda _: False)
    elif not is_supported(torch.float32):
        pytest.skip("this build of torch has no prepacked products")


def noise(samples, *, level=0.1, seed=0):
    """Noise with an offset, so that normalising the wave shows."""
    rng = np.random.default_rng([seed, samples])
    return (level * (0.3 + rng.standard_normal(samples))).astype(np.float32)


def expected(model, wave):
    """Projection, hidden_states as returned, last_hidden_state: (frames, dim) each, of the wave as a user feeds it."""
    normalise = model.config.feat_extract_norm == "layer"
    if model.dtype == torch.float64:
        inputs = torch.tensor(wave, dtype=torch.float64)[None]
        inputs = (inputs - inputs.mean()) / (inputs.var(correction=0) + 1e-7).sqrt() if normalise else inputs
    else:
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
        inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_values
    seen = []
    hook = model.feature_projection.register_forward_hook(lambda _, __, result: seen.append(result))
    with torch.inference_mode():
        result = model(inputs, output_hidden_states=True)
    hook.remove()
    projected = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    return projected[0], [state[0] for state in result.hidden_states], result.last_hidden_state[0]


def under(states, model, wave):
    """What a convention makes of it."""
    projected, hidden, last = expected(model, wave)
    if states == "hf":
        return hidden
    if states == "s3prl":
        return [*hidden[:-1], last]
    first = projected if model.config.model_type == "wav2vec2" else hidden[-1]
    return [first, *hidden[1:]]


def errors(ours, reference):
    """Relative error per state."""
    assert len(ours) == len(reference)
    pairs = [(torch.as_tensor(own).double(), other.double()) for own, other in zip(ours, reference, strict=True)]
    assert all(own.shape == other.shape for own, other in pairs)
    return [((own - other).norm() / other.norm()).item() for own, other in pairs]


def every_point(network, wave):
    seen = {}
    with torch.inference_mode():
        inputs = torch.tensor(wave, dtype=next(network.parameters()).dtype)[None]
        network(inputs, read=lambda point, hidden: seen.update({point: hidden[0].clone()}))
    return seen


def check_points(model, network, wave, *, tolerance=TOLERANCE):
    projected, hidden, last = expected(model, wave)
    points = every_point(network, wave)
    blocks = range(1, len(hidden))
    assert list(points) == ["projection", "input", *blocks, "output"]
    ours = [points["projection"], points["input"], *(points[i] for i in blocks), points["output"]]
    assert max(errors(ours, [projected, *hidden, last])) <= tolerance


@pytest.mark.parametrize("kernel", [16, 9])
@pytest.mark.parametrize("variant", [*product(FAMILIES, NORMS, PRE_NORM, BIAS)], ids=str)
@settings(max_examples=15, deadline=None)
@given(samples=st.integers(400, 6000), level=st.sampled_from([0.001, 0.01, 0.1]))
def test_every_state_equals_that_of_transformers(variant, kernel, samples, level):
    models = double_pair(*variant, num_conv_pos_embeddings=kernel)
    check_points(*models, noise(samples, level=level), tolerance=1e-9)


@pytest.mark.parametrize(("norm", "pre"), [*product(NORMS, PRE_NORM)])
@settings(max_examples=5, deadline=None)
@given(samples=st.integers(400, 6000))
def test_hubert_without_feature_norm_equals_that_of_transformers(norm, pre, samples):
    model, network = double_pair("hubert", norm, pre, feat_proj_layer_norm=False)
    assert network.feature_norm is None
    check_points(model, network, noise(samples), tolerance=1e-9)


def test_other_kernels_and_strides_are_read_from_the_config():
    convs = {"conv_dim": (8, 12, 16), "conv_kernel": (6, 4, 3), "conv_stride": (4, 3, 1)}
    model, network = pair("wav2vec2", "layer", pre=False, **convs)
    assert network.config.frontend.strides == (4, 3, 1)
    check_points(model, network, noise(701))


@pytest.mark.parametrize("states", ["s3prl", "hf", "speat-2023"])
@pytest.mark.parametrize(("family", "norm", "pre"), VARIANTS)
@pytest.mark.usefixtures("computed")
def test_a_frozen_network_gives_the_states_of_its_convention(family, norm, pre, states):
    model, network = pair(family, norm, pre, bias=True)
    encoder = freeze("tiny", network, states=states)
    wave = noise(4321)
    hidden = encoder.hidden_states(wave)
    assert hidden.dtype == np.float32
    assert hidden.shape == (encoder.num_states, 13, encoder.dim) == (4, 13, 24)
    assert max(errors(hidden, under(states, model, wave))) <= TOLERANCE
    np.testing.assert_allclose(encoder.pooled(wave), hidden.mean(axis=1, dtype=np.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_conventions_differ_where_they_should(family):
    """Otherwise the comparisons above could not tell one from another."""
    wave = noise(4000)
    network = pair(family, "layer", pre=True)[1]
    s3prl, hf, speat = (freeze("t", network, states=s).hidden_states(wave) for s in ("s3prl", "hf", "speat-2023"))
    for one, other in pairwise([s3prl, hf, speat, s3prl]):
        assert max(errors(one, list(torch.as_tensor(other)))) > 0.1
    assert np.array_equal(s3prl[:-1], hf[:-1])
    assert np.array_equal(speat[1:], hf[1:])


def test_in_post_norm_models_the_last_state_is_the_last_hidden_state():
    model, network = pair("wav2vec2", "group", pre=False)
    wave = noise(3000)
    ends = [freeze("t", network, states=states).hidden_states(wave)[-1] for states in ("s3prl", "hf", "speat-2023")]
    assert all(np.array_equal(ends[0], end) for end in ends)
    assert max(errors(ends[:1], [expected(model, wave)[2]])) <= TOLERANCE


def test_state_0_of_a_student_is_its_projection():
    model, network = pair("hubert", "group", pre=False, feat_proj_layer_norm=False)
    wave = noise(2500)
    projected, hidden, _ = expected(model, wave)
    assert max(errors(freeze("student", network).hidden_states(wave), [projected, *hidden[1:]])) <= TOLERANCE
    for states in ("hf", "speat-2023"):
        with pytest.raises(InputError, match="use --states s3prl"):
            freeze("student", network, states=states)


def test_two_threads_inside_the_network_do_not_mix_their_states(monkeypatch):
    monkeypatch.setattr("speechbias.models.packed.is_supported", lambda _: False)
    network = build(*converted(theirs("wav2vec2", "layer", pre=True)))
    encoder = freeze("tiny", network)
    waves = [noise(3000, seed=1), noise(5000, seed=2)]
    alone = [(encoder.hidden_states(wave), encoder.pooled(wave)) for wave in waves]
    both_inside = threading.Barrier(2, timeout=30)

    def meet(*_):
        both_inside.wait()

    for layer in network.transformer.layers:
        layer.register_forward_pre_hook(meet)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(encoder.hidden_states, waves))
        pooled = list(threads.map(encoder.pooled, waves))
    for (hidden, mean), hidden_too, mean_too in zip(alone, together, pooled, strict=True):
        np.testing.assert_allclose(hidden_too, hidden, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(mean_too, mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("norm", "pre"), [*product(NORMS, PRE_NORM)])
@pytest.mark.usefixtures("computed")
def test_a_change_of_one_percent_in_any_parameter_is_noticed(norm, pre):
    model = theirs("wav2vec2", norm, pre, bias=True)
    config, tensors = converted(model)
    wave = noise(6000)
    reference = under("s3prl", model, wave)
    generator = torch.Generator().manual_seed(3)

    def error(name):
        tensor = tensors[name]
        change = torch.randn(tensor.shape, generator=generator)
        changed = tensor + 0.01 * tensor.norm() * change / change.norm()
        return max(errors(freeze("t", build(config, tensors | {name: changed})).hidden_states(wave), reference))

    unnoticed = {name for name in tensors if error(name) <= TOLERANCE}
    # A key's bias adds the same to all scores of a query, which the softmax takes away again.
    cannot_matter = {f"transformer.layers.{i}.attention.k_proj.bias" for i in range(3)}
    if norm == "group":  # it takes the mean over time from each channel, and the bias with it
        cannot_matter.add("frontend.convs.0.bias")
    assert unnoticed == cannot_matter


REAL = {
    "wav2vec2-base": ("wav2vec2", "group", False, False, BASE),
    "wav2vec2-large": ("wav2vec2", "group", False, False, LARGE),  # libri960_big
    "wav2vec2-large-lv60k": ("wav2vec2", "layer", True, True, LARGE),
    "hubert-base": ("hubert", "group", False, False, BASE),
    "hubert-large": ("hubert", "layer", True, False, LARGE),
}
OURS = {
    "wav2vec2-base": ("wav2vec2", "base"),
    "wav2vec2-large": ("wav2vec2", "large"),
    "hubert-base": ("hubert", "base"),
    "hubert-large": ("hubert", "large"),
}


@pytest.mark.parametrize("name", REAL)
def test_the_published_shapes_equal_those_of_transformers(name):
    family, norm, pre, bias, shape = REAL[name]
    torch.set_num_threads(2)
    published = {"conv_dim": (512,) * 7, "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16}
    model = theirs(family, norm, pre, bias, **shape, **published)
    config, tensors = converted(model)
    network = build(config, tensors)
    if name in OURS:
        ours = sized(*OURS[name])
        eps = 1e-7 if ours.frontend.wave_norm_eps else None
        assert config == replace(ours, frontend=replace(ours.frontend, wave_norm_eps=eps))
    check_points(model, network, noise(32_000))
    del model, network, tensors
    gc.collect()
    torch.set_num_threads(1)
