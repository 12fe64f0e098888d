"""Table 2 to the last parameter, and what an encoder's config lets through."""

from dataclasses import replace

import pytest
import torch

from speechbias.models.config import FAMILIES, SIZES, EncoderConfig, MelFrontend, WaveFrontend, sized
from speechbias.models.network import Network
from speechbias.models.objectives import count_parameters, objective, published_settings
from speechbias.paper import TABLE_2

PARAMETERS = {
    "melhubert": {"small": 16_461_824, "slim": 15_615_616, "base": 90_231_424},
    "wav2vec2": {"small": 21_252_352, "slim": 20_360_832, "base": 95_044_608},
    "hubert": {"small": 20_905_344, "slim": 20_013_824, "base": 94_697_600},
}
CELLS = [(family, row.size) for family in FAMILIES for row in TABLE_2]
TINY = EncoderConfig(
    "hubert",
    WaveFrontend((8,) * 7),
    dim=24,
    head_dim=6,
    heads=(4, 1, 2),
    ffn=(40, 1, 17),
    position_kernel=16,
    position_groups=4,
)


def parameters(config, size):
    with torch.device("meta"):
        return count_parameters(objective(config, published_settings(config.family, size)))


@pytest.mark.parametrize(("family", "size"), CELLS)
def test_table_2_to_the_last_parameter(family, size):
    count = parameters(sized(family, size), size)
    assert count == PARAMETERS[family][size]
    printed = {row.size: row.parameters for row in TABLE_2}[size][family]
    assert f"{count / 1e6:.1f}M" == printed


def test_table_2_has_nine_cells():
    assert len(CELLS) == 9
    assert {row.size: (row.layers, row.dim, row.ffn, row.heads) for row in TABLE_2} == {
        "small": (3, 640, 2048, 8),
        "slim": (12, 384, 768, 8),
        "base": (12, 768, 3072, 12),
    }


def test_sizes_have_names():
    assert set(SIZES) == {"small", "slim", "base", "large"}


def test_the_large_wav2vec2_is_that_of_the_paper():
    """fairseq's libri960_big: group norm, post-norm, no bias, waves as they are. 24 x 1024 x 4096 x 16."""
    config = sized("wav2vec2", "large")
    assert config == EncoderConfig("wav2vec2", WaveFrontend(), 1024, 64, heads=(16,) * 24, ffn=(4096,) * 24)
    assert (config.frontend.norm, config.frontend.bias, config.pre_norm) == ("group", False, False)
    assert config.frontend.wave_norm_eps is None
    assert parameters(config, "large") == 317_380_864


def test_the_large_hubert_is_the_published_one():
    config = sized("hubert", "large")
    assert config.pre_norm
    assert (config.frontend.norm, config.frontend.wave_norm_eps) == ("layer", 1e-5)
    assert (config.num_layers, config.dim, config.head_dim) == (24, 1024, 64)


@pytest.mark.parametrize(
    ("family", "change", "left"),
    [
        ("melhubert", {"heads": (6,) * 12}, 76_061_824),
        ("melhubert", {"heads": (1,) * 12}, 64_253_824),
        ("melhubert", {"ffn": (1536,) * 12}, 61_901_440),
        ("melhubert", {"ffn": (512,) * 12}, 43_014_784),
        ("wav2vec2", {"heads": (6,) * 12}, 80_875_008),
        ("wav2vec2", {"heads": (1,) * 12}, 69_067_008),
        ("wav2vec2", {"ffn": (1536,) * 12}, 66_714_624),
        ("wav2vec2", {"ffn": (512,) * 12}, 47_827_968),
    ],
)
def test_pruned_shapes_have_the_parameters_of_the_public_code(family, change, left):
    assert parameters(replace(sized(family, "base"), **change), "base") == left


def test_one_head_fewer_anywhere_is_the_same_number_fewer():
    config = sized("melhubert", "base")
    whole = parameters(config, "base")
    for layer in (0, 5, 11):
        heads = tuple(12 - (i == layer) for i in range(12))
        assert whole - parameters(replace(config, heads=heads), "base") == 2_361_600 // 12


@pytest.mark.parametrize(
    ("front", "shift", "field", "dim"),
    [
        (WaveFrontend(), 320, 400, 512),
        (MelFrontend(), 320, 400, 80),
        (MelFrontend(stack=1), 160, 400, 40),
        (WaveFrontend((4, 6), kernels=(5, 3), strides=(4, 2)), 8, 13, 6),
    ],
)
def test_what_a_front_end_says_of_itself(front, shift, field, dim):
    assert (front.hop, front.receptive_field, front.dim) == (shift, field, dim)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": 0}, "dim is 0, not 1 or more"),
        ({"head_dim": 0}, "head_dim is 0, not 1 or more"),
        ({"position_kernel": 0}, r"position_kernel is .*, not 1 or more"),
        ({"heads": (4, 0, 2)}, r"heads is .*, not 1 or more"),
        ({"ffn": (40, -1, 17)}, r"ffn is .*, not 1 or more"),
        ({"heads": (), "ffn": ()}, r"heads is .*, not 1 or more"),
        ({"heads": (4, 1)}, "heads are given for 2 layers, ffn for 3"),
        ({"position_groups": 0}, r"position_groups is .*, not 1 or more"),
        ({"family": "melhubert"}, "a melhubert with a WaveFrontend"),
        ({"frontend": MelFrontend()}, "with a MelFrontend"),
        ({"family": "wavlm"}, "a wavlm with a WaveFrontend"),
        ({"position_groups": 5}, "dim 24 does not divide into 5 position groups"),
        ({"projection": False}, "a front end of dim 8 needs a projection to 24"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (WaveFrontend, {"channels": (8, 0)}, r"channels is .*, not 1 or more"),
        (WaveFrontend, {"channels": ()}, r"channels is .*, not 1 or more"),
        (WaveFrontend, {"channels": (8, 8)}, "different lengths"),
        (WaveFrontend, {"strides": (5, 2, 2, 2, 2, 2, 0)}, r"strides is .*, not 1 or more"),
        (WaveFrontend, {"norm": "batch"}, "norm 'batch' is none of group, layer"),
        (WaveFrontend, {"wave_norm_eps": -1.0}, "is negative"),
        (MelFrontend, {"stack": 0}, r"stack is .*, not 1 or more"),
    ],
)
def test_a_front_end_that_cannot_be_built_is_refused(kind, settings, said):
    with pytest.raises(ValueError, match=said):
        kind(**settings)


def test_an_encoder_needs_no_projection_where_the_sizes_agree():
    config = replace(TINY, frontend=WaveFrontend((24,) * 7), projection=False)
    network = Network(config)
    assert network.projection is None
    assert network(torch.randn(1, 800)).shape == (1, 2, 24)


def test_layers_of_different_widths_build_and_run():
    network = Network(TINY).eval()
    assert [layer.attention.q_proj.out_features for layer in network.transformer.layers] == [24, 6, 12]
    assert [layer.attention.out_proj.in_features for layer in network.transformer.layers] == [24, 6, 12]
    assert [layer.fc1.out_features for layer in network.transformer.layers] == [40, 1, 17]
    with torch.inference_mode():
        hidden = network(torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)))
    assert hidden.shape == (2, 12, 24)
    assert hidden.isfinite().all()


def test_a_pruned_head_is_a_head_of_zeros():
    """Heads taken away give what the whole model gives with those heads' output weights at zero."""
    whole, pruned = Network(replace(TINY, heads=(4, 4, 4))).eval(), Network(TINY).eval()
    tensors = whole.state_dict()
    with torch.inference_mode():
        for i, heads in enumerate(TINY.heads):
            rows = 6 * heads
            prefix = f"transformer.layers.{i}.attention"
            tensors[f"{prefix}.out_proj.weight"][:, rows:] = 0
        cut = {name: tensor.clone() for name, tensor in tensors.items()}
        for name, tensor in pruned.state_dict().items():
            cut[name] = cut[name][tuple(slice(size) for size in tensor.shape)]
        pruned.load_state_dict(cut)
        wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(pruned(wave), whole(wave), rtol=1e-5, atol=1e-6)


def test_counting_counts_every_parameter_once():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    module.append(module[0])
    assert count_parameters(module) == 16 + 8
