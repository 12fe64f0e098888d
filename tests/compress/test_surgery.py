"""A cut model gives what the model with those columns at zero gives, and is an ordinary model afterwards."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressible import FAMILIES, batch_of, inputs_of, random_objective, states, with_columns_zero
from objectives import SETTINGS
from speechbias import describe_model, export_checkpoint, load_encoder, read_checkpoint, save_checkpoint
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.compress import (
    Cut,
    cut_heads,
    cut_rows,
    lowest_heads,
    lowest_rows,
    perform,
    remove_heads,
    remove_rows,
    uncut,
)
from speechbias.errors import InputError
from speechbias.models.config import WaveFrontend, sized
from speechbias.models.freeze import freeze
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import count_parameters, objective, published_settings
from speechbias.models.regularisation import Regularisation
from speechbias.training.step import Trainer

HEADS = {0: (0, 2), 2: (1,)}
ROWS = {0: tuple(range(3, 30)), 1: (16,), 2: (0, 31)}
CUTS = {"heads": (remove_heads, HEADS), "rows": (remove_rows, ROWS)}
STATS = np.stack([np.full(40, 12.0), np.full(40, 3.0)])


def assert_close(ours, theirs, tolerance):
    assert len(ours) == len(theirs) == 5 - 1 + 2  # projection, input, three layers, output
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", CUTS)
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_cut_network_gives_what_the_zeroed_one_gives(family, what, pre_norm):
    remove, removed = CUTS[what]
    model = random_objective(family, pre_norm=pre_norm)
    inputs, lengths = inputs_of(family)
    zeroed = states(with_columns_zero(model, **{what: removed}).encoder, inputs, lengths)
    cut = remove(model, removed)
    assert_close(states(cut.encoder, inputs, lengths), zeroed, 1e-12)
    assert_close(states(remove(model.encoder, removed), inputs, lengths), zeroed, 1e-12)
    whole = states(model.encoder, inputs, lengths)
    assert (whole[-1] - zeroed[-1]).abs().max() > 1e-3  # and it is something else than the whole one


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", CUTS)
def test_a_cut_encoder_gives_what_the_zeroed_one_gives(family, what):
    """On the engine, in float32."""
    remove, removed = CUTS[what]
    model = random_objective(family, dtype=torch.float32).eval()
    encoder = freeze("m", model.encoder, mel_stats=STATS if family == "melhubert" else None)
    zeroed = freeze("z", with_columns_zero(model, **{what: removed}).encoder, mel_stats=encoder.mel_stats)
    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    ours, theirs = remove(encoder, removed), zeroed.pooled(wave)
    assert (ours.engine is None) == (encoder.engine is None)
    difference = np.abs(ours.pooled(wave) - theirs).max(1) / np.abs(theirs).max(1)
    assert difference.max() < 1e-6


@st.composite
def configs_and_cuts(draw):
    heads = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=2)))
    rows = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=2)))

    def some(counts):
        return {
            layer: tuple(
                draw(st.lists(st.integers(0, count - 1), unique=True, max_size=count - 1)) if count > 1 else ()
            )
            for layer, count in enumerate(counts)
            if draw(st.booleans())
        }

    return heads, rows, some(heads), some(rows)


def left(counts, gone):
    """What stays of each layer, in the numbering before."""
    return tuple(
        tuple(each for each in range(count) if each not in gone.get(layer, ())) for layer, count in enumerate(counts)
    )


@given(configs_and_cuts())
@settings(max_examples=20)
def test_random_cuts_of_both_kinds(drawn):
    heads, rows, no_heads, no_rows = drawn
    model = random_objective("melhubert", heads=heads, ffn=rows).encoder
    inputs, lengths = inputs_of("melhubert", (6, 9))
    zeroed = states(with_columns_zero(model, heads=no_heads, rows=no_rows), inputs, lengths)
    for a, b in zip(states(remove_rows(remove_heads(model, no_heads), no_rows), inputs, lengths), zeroed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    config = model.config
    one = cut_heads(config, no_heads).then(cut_rows(cut_heads(config, no_heads).config, no_rows))
    assert (one.heads, one.rows) == (left(config.heads, no_heads), left(config.ffn, no_rows))
    at_once = perform(model, one)
    for name, tensor in remove_rows(remove_heads(model, no_heads), no_rows).state_dict().items():
        assert torch.equal(at_once.state_dict()[name], tensor)


@given(st.data())
@settings(max_examples=20)
def test_a_series_of_cuts_in_the_numbering_of_its_beginning(data):
    config = replace(random_objective("melhubert").encoder.config, heads=(6, 6, 6))
    left, cuts = [list(range(6)) for _ in range(3)], []
    for size in (6, 5, 4, 3):
        gone = {layer: data.draw(st.integers(0, size - 1)) for layer in range(3)}
        cuts.append(cut_heads(cuts[-1].config if cuts else config, {layer: (head,) for layer, head in gone.items()}))
        for layer, head in gone.items():
            del left[layer][head]
    whole = reduce(Cut.then, cuts)
    assert whole.heads == tuple(map(tuple, left))
    assert whole.rows == uncut(config).rows
    assert whole.config.heads == (2, 2, 2)
    assert uncut(config).then(whole) == whole == whole.then(uncut(whole.config))


COUNTS = {  # spec of the public models: all parameters of the pre-training model
    ("melhubert", "heads", 6): 76_061_824,
    ("melhubert", "heads", 11): 64_253_824,
    ("wav2vec2", "heads", 6): 80_875_008,
    ("wav2vec2", "heads", 11): 69_067_008,
    ("melhubert", "rows", 1536): 61_901_440,
    ("melhubert", "rows", 2560): 43_014_784,
    ("wav2vec2", "rows", 1536): 66_714_624,
    ("wav2vec2", "rows", 2560): 47_827_968,
    ("melhubert", "heads", 1): 90_231_424 - 2_361_600,
    ("melhubert", "rows", 128): 90_231_424 - 2_360_832,
}


@pytest.mark.parametrize(("family", "what", "each"), COUNTS)
def test_parameters_of_the_papers_ladders(family, what, each):
    config = sized(family, "base")
    make = cut_heads if what == "heads" else cut_rows
    cut = make(config, {layer: range(each) for layer in range(12)})
    with torch.device("meta"):
        before = objective(config, published_settings(family, "base"))
        after = objective(cut.config, published_settings(family, "base"))
    assert count_parameters(after) == COUNTS[family, what, each]
    shapes = {name: cut.apply(name, tensor).shape for name, tensor in before.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in after.state_dict().items()}


def test_what_a_cut_says_of_a_tensor():
    config = random_objective("melhubert").encoder.config  # heads of 6, dim 24
    cut = cut_heads(config, {1: (0,)})
    assert set(cut.kept) == {
        "transformer.layers.1.attention.out_proj.weight",
        *(f"transformer.layers.1.attention.{part}_proj.{kind}" for part in "qkv" for kind in ("weight", "bias")),
    }
    moment = torch.arange(12.0)
    assert cut.apply("encoder.transformer.layers.1.attention.q_proj.bias", moment).tolist() == [6, 7, 8, 9, 10, 11]
    columns = cut.apply("transformer.layers.1.attention.out_proj.weight", torch.arange(24.0).view(2, 12))
    assert columns.tolist() == [[*range(6, 12)], [*range(18, 24)]]
    for name in (
        "encoder.transformer.layers.0.attention.q_proj.bias",
        "final_proj.bias",
        "transformer.layers.1.fc1.bias",
    ):
        assert cut.apply(name, moment) is moment
    rows = cut_rows(config, {2: (0, 31)})
    assert set(rows.kept) == {f"transformer.layers.2.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight")}
    assert rows.apply("transformer.layers.2.fc1.bias", torch.arange(32)).tolist() == list(range(1, 31))
    assert rows.apply("transformer.layers.2.fc2.weight", torch.arange(64).view(2, 32))[1].tolist() == list(
        range(33, 63)
    )
    with pytest.raises(ValueError, match="of another config"):
        cut.then(cut)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_cut_changes_nothing(family):
    model = random_objective(family, dtype=torch.float32)
    for empty in (
        uncut(model.encoder.config),
        cut_heads(model.encoder.config, {}),
        cut_rows(model.encoder.config, {1: ()}),
    ):
        assert empty.config == model.encoder.config
        assert not empty.kept
        assert (empty.heads, empty.rows) == (left(empty.before.heads, {}), left(empty.before.ffn, {}))
    made = remove_heads(model, {0: ()})
    for name, tensor in model.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor)
    encoder = freeze("m", model.encoder)
    same = remove_rows(encoder, {})
    assert (same.name, same.sha256, same.config) == ("m", encoder.sha256, encoder.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_argument_stays_as_it_was(family):
    model = random_objective(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = remove_heads(remove_rows(model, ROWS), HEADS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.encoder.config.heads == (4, 2, 3)
    shared = perform(model, cut_heads(model.encoder.config, HEADS), share=True)
    assert shared.final_proj.weight.data_ptr() == model.final_proj.weight.data_ptr()


@pytest.mark.parametrize("family", FAMILIES)
def test_how_it_is_trained_goes_along(family):
    model = random_objective(family)
    regularisation = Regularisation(dropout=0.1, layerdrop=0.2)
    model.encoder.regularise(regularisation)
    model.encoder.projection.requires_grad_(requires_grad=False)
    if family != "melhubert":
        model.terms = replace(model.terms, temperature=0.7)
    made = remove_heads(model, HEADS)
    assert made.training
    assert made.encoder.transformer.layers[2].regularisation is regularisation
    assert {name for name, p in made.named_parameters() if not p.requires_grad} == {
        "encoder.projection.weight",
        "encoder.projection.bias",
    }
    if family != "melhubert":
        assert made.terms.temperature == 0.7
    assert not remove_rows(model.eval(), ROWS).training


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_model_is_trained_cut_again_saved_and_loaded(family, tmp_path):
    model = random_objective(family, dtype=torch.float32)
    batch = batch_of(family, (30, 22), dtype=torch.float32)
    for count in (1, 2):
        model = remove_heads(model, lowest_heads(model) if count == 1 else {0: (1,)})
        model = remove_rows(model, lowest_rows(model, 5))
        trainer = Trainer(model, torch.optim.AdamW(model.parameters()), rate=lambda _: 1e-3)
        report = trainer.step([batch])
        assert not report.skipped
    assert model.encoder.config.heads == (2, 1, 2)
    assert model.encoder.config.ffn == (30, 7, 22)
    meta = Meta(step=7, mel_stats=STATS if family == "melhubert" else None)
    save_checkpoint(tmp_path / "cut", of_objective("cut", model.eval(), SETTINGS[family], meta=meta))
    read = read_checkpoint(tmp_path / "cut")
    assert read.config == model.encoder.config
    again = read.objective().state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())
    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    encoder = load_encoder(tmp_path / "cut")
    np.testing.assert_array_equal(
        encoder.pooled(wave), freeze("m", model.encoder, mel_stats=meta.mel_stats).pooled(wave)
    )
    less = remove_rows(encoder, {1: (0,)})
    assert less.config.ffn == (30, 6, 22)
    assert np.isfinite(less.pooled(wave)).all()


def test_a_loaded_encoder_keeps_what_it_was_loaded_with(tmp_path):
    model = random_objective("wav2vec2", dtype=torch.float32).eval()
    run = {"name": "r", "recipe": "0", "seed": 1}
    meta = Meta(step=5, provenance={"run": run, "format": "ours"})
    checkpoint = of_objective("m", model, SETTINGS["wav2vec2"], meta=meta)
    save_checkpoint(tmp_path / "m", checkpoint)
    encoder = load_encoder(tmp_path / "m", states="hf", dtype="bfloat16")
    assert (encoder.step, encoder.run) == (5, run)
    cut = remove_heads(encoder, HEADS)
    assert (cut.states, cut.dtype, cut.device) == ("hf", "bfloat16", "cpu")
    assert (cut.step, cut.run) == (None, None)  # no checkpoint of that run
    assert cut.name == "m-heads-6"
    assert remove_heads(cut, {0: (0,)}).name == "m-heads-5"
    assert remove_rows(cut, {0: (0,)}).name == "m-heads-6-rows-88"
    assert cut.recipe == encoder.recipe
    on_disk = remove_heads(checkpoint, HEADS)
    assert on_disk.name == "m-heads-6"
    assert on_disk.settings == checkpoint.settings
    assert on_disk.objective() is not None
    assert (on_disk.meta.step, on_disk.meta.run) == (None, None)
    assert on_disk.meta.provenance == {"format": "ours", "made_from": "m", "made_from_step": 5}
    save_checkpoint(tmp_path / "cut", on_disk)
    assert load_encoder(tmp_path / "cut", states="hf", dtype="bfloat16").sha256 == cut.sha256


def test_a_checkpoint_without_objective_can_be_cut(tmp_path):
    model = random_objective("melhubert", dtype=torch.float32).eval()
    whole = of_objective("m", model, SETTINGS["melhubert"], meta=Meta(mel_stats=STATS))
    bare = replace(whole, settings=None, objective_tensors={})
    save_checkpoint(tmp_path / "bare", bare)
    cut = remove_rows(read_checkpoint(tmp_path / "bare"), ROWS)
    assert cut.objective() is None
    save_checkpoint(tmp_path / "cut", cut)
    encoder = load_encoder(tmp_path / "cut")
    assert encoder.config.ffn == (13, 16, 30)
    np.testing.assert_array_equal(encoder.mel_stats, STATS)


def test_inspect_shows_the_shapes_of_each_layer(tmp_path):
    model = remove_heads(random_objective("melhubert", dtype=torch.float32), HEADS).eval()
    checkpoint = of_objective("m", model, MelHubertSettings(7), meta=Meta(mel_stats=STATS))
    save_checkpoint(tmp_path / "cut", checkpoint)
    described = describe_model(tmp_path / "cut")
    assert [(layer.heads, layer.head_dim, layer.ffn) for layer in described.layers] == [
        (2, 6, 40),
        (2, 6, 17),
        (2, 6, 32),
    ]
    assert described.parameters_with_objective == count_parameters(model)


def test_what_transformers_has_a_place_for_is_exported(tmp_path):
    """One width in every layer; fewer heads than dim / head size it has not."""
    front = WaveFrontend((24,) * 7)
    model = random_objective("hubert", dtype=torch.float32, heads=(4, 4, 4), ffn=(32, 32, 32), frontend=front).eval()
    uniform = remove_rows(model, lowest_rows(model, 8))
    save_checkpoint(tmp_path / "rows", of_objective("rows", uniform, SETTINGS["hubert"]))
    export_checkpoint(tmp_path / "rows", tmp_path / "hf")
    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    np.testing.assert_allclose(
        load_encoder(tmp_path / "hf").pooled(wave), load_encoder(tmp_path / "rows").pooled(wave)
    )
    for name, made in {
        "heads": remove_heads(model, lowest_heads(model)),
        "uneven": remove_rows(model, {0: (1,)}),
    }.items():
        save_checkpoint(tmp_path / name, of_objective(name, made, SETTINGS["hubert"]))
        with pytest.raises(InputError, match=r"transformers has one feed-forward width and .* heads in every layer"):
            export_checkpoint(tmp_path / name, tmp_path / f"{name}-hf")


@pytest.mark.parametrize(
    ("heads", "problem"),
    [
        ({3: (0,)}, "there is no layer 3; layers are 0 to 2"),
        ({-1: (0,)}, "there is no layer -1"),
        ({0: (4,)}, "layer 0 has no head 4; its heads are 0 to 3"),
        ({0: (-1,)}, "layer 0 has no head -1"),
        ({1: (0, 0)}, "layer 1: head 0 is named twice"),
        ({1: (0, 1)}, "layer 1 has 2 heads, and one must stay; cut 1 or fewer"),
        ({0: (0.5,)}, "layer 0: heads go by whole numbers"),
    ],
)
def test_what_cannot_be_cut_is_refused(heads, problem):
    model = random_objective("melhubert")
    with pytest.raises(InputError, match=problem):
        remove_heads(model, heads)


def test_rows_are_refused_likewise():
    model = random_objective("melhubert")
    with pytest.raises(InputError, match="layer 1 has no row 17; its rows are 0 to 16"):
        remove_rows(model, {1: (17,)})
    with pytest.raises(InputError, match="layer 1 has 17 rows, and one must stay"):
        remove_rows(model, {1: range(17)})
    assert remove_rows(model, {1: np.arange(16)}).encoder.config.ffn == (40, 1, 32)
    with pytest.raises(InputError, match="of another config than this encoder has"):
        perform(remove_rows(model, {1: (0,)}), uncut(model.encoder.config))
    with pytest.raises(InputError, match="is no objective of ours"):
        remove_rows(torch.nn.ModuleDict({"encoder": model.encoder}), {1: (0,)})
