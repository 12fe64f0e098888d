"""Which weights a mask takes, and that a masked model trains, is copied, saved and measured as one with zeros."""

import copy
import io
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.parallel import DistributedDataParallel

import speechbias as sb
from compressible import FAMILIES, batch_of, inputs_of, random_objective, states
from objectives import SETTINGS
from recordings import write_test
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.checkpoint.folder import read_folder, save_checkpoint
from speechbias.compress import head_scores, masks, remove_heads, row_scores
from speechbias.compress.masks import (
    apply_masks,
    install,
    masks_of,
    packed,
    prunable,
    random_masks,
    sparsity_of,
    unpacked,
    weight_masks,
)
from speechbias.errors import InputError
from speechbias.models.config import sized
from speechbias.models.convert.shapes import expected_shapes
from speechbias.models.freeze import freeze
from speechbias.models.masked import plain_tensors
from speechbias.models.regularisation import Regularisation
from speechbias.training.step import Trainer

STATS = np.stack([np.full(40, 12.0), np.full(40, 3.0)])
PARTS = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj", "fc1", "fc2")


def sorted_masks(model, sparsity):
    """All prunable numbers one by one, sorted by absolute value, then by place: the first ones are masked."""
    entries, shapes = [], {}
    for layer, block in enumerate(model.encoder.transformer.layers):
        for part in PARTS:
            for kind in ("weight", "bias"):
                name = f"transformer.layers.{layer}.{part}.{kind}"
                tensor = block.get_submodule(part).get_parameter(kind)
                shapes[name] = tensor.shape
                entries += [
                    (abs(value), len(entries) + i, name, i) for i, value in enumerate(tensor.flatten().tolist())
                ]
    entries.sort()
    wanted = {name: torch.ones(shape.numel(), dtype=torch.bool) for name, shape in shapes.items()}
    for _, _, name, place in entries[: round(sparsity * len(entries))]:
        wanted[name][place] = False
    return {name: mask.view(shapes[name]) for name, mask in wanted.items()}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def masked_count(made):
    return sum(int((~mask).sum()) for mask in made.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_are_those_of_a_full_sort(family, dtype):
    model = random_objective(family, dtype=dtype)
    for sparsity in (0.0, 0.2, 0.675, 0.999):
        wanted = sorted_masks(model, sparsity)
        assert same(weight_masks(model, sparsity), wanted)
        assert sparsity_of(wanted) == pytest.approx(sparsity, abs=1e-4)
    assert list(wanted) == prunable(model.encoder.config)
    shares = [
        sparsity_of({n: m for n, m in weight_masks(model, 0.5).items() if f"layers.{i}." in n}) for i in range(3)
    ]
    assert len({round(share, 3) for share in shares}) == 3  # global: layers differ


def test_equal_values_go_by_place_and_the_count_is_exact():
    model = random_objective("melhubert", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.copy_((8 * parameter).round() / 8)  # a few values, many zeros, zeros of both signs
    for sparsity in (0.01, 0.3, 0.8):
        made = weight_masks(model, sparsity)
        assert same(made, sorted_masks(model, sparsity))
        assert masked_count(made) == round(sparsity * sum(mask.numel() for mask in made.values()))


@given(st.lists(st.sampled_from([-1.0, 0.0, *np.arange(0.5, 9)]), min_size=1, max_size=60), st.data())
@pytest.mark.parametrize(("sample", "slack"), [(100_000, 1_000), (12, 1), (5, 0)])
@settings(max_examples=400)
def test_the_lowest_of_a_list_with_ties(sample, slack, values, data):
    """Also where the sample is small, and brackets something else."""
    count = data.draw(st.integers(0, len(values)))
    wanted = np.zeros(len(values), bool)
    wanted[np.argsort(values, kind="stable")[:count]] = True
    with mock.patch.multiple(masks, SAMPLE=sample, SLACK=slack):
        np.testing.assert_array_equal(masks._lowest(np.array(values, np.float32), count), wanted)


def test_a_threshold_above_a_bracket_of_equal_values():
    values = np.array([*[-1.0] * 9, 0.0, -1.0])
    with mock.patch.multiple(masks, SAMPLE=5, SLACK=0):
        assert masks._lowest(values, 11).all()
        assert masks._lowest(values, 10).tolist() == (values < 0).tolist()


def test_what_is_prunable_of_base():
    for family in FAMILIES:
        config = sized(family, "base")
        shapes = expected_shapes(config)
        assert sum(np.prod(shapes[name]) for name in prunable(config)) == 85_017_600
    assert not {name for name in prunable(config) if "norm" in name or "layers" not in name}


def test_sparsity_is_cumulative():
    model = random_objective("hubert", dtype=torch.float32)
    first = weight_masks(model, 0.3)
    with torch.no_grad():  # training moves what is left, some of it to zero
        for name, parameter in model.encoder.named_parameters():
            if name in first:
                parameter.copy_(torch.randn(parameter.shape).where(first[name], 5.0))
    second = weight_masks(model, 0.5, previous=first)
    assert all((~second[name][~mask]).all() for name, mask in first.items())
    total = sum(mask.numel() for mask in second.values())
    assert masked_count(second) == round(0.5 * total)
    assert same(weight_masks(model, 0.3, previous=first), first)
    # Of what was kept, those that leave are the smallest.
    parameters = dict(model.encoder.named_parameters())
    left = torch.cat([parameters[n][second[n]].abs() for n in first])
    gone = torch.cat([parameters[n][first[n] & ~second[n]].abs() for n in first])
    assert gone.max() <= left.min()
    zeroed = apply_masks(model, first)  # zeros count among the smallest by themselves
    assert all((~weight_masks(zeroed, 0.5)[name][~mask]).all() for name, mask in first.items())
    install(model, first)
    assert same(weight_masks(model, 0.5), second)  # the masks that are installed
    with torch.no_grad():  # training made a kept weight zero, before those that are masked
        model.encoder.transformer.layers[0].attention.q_proj.parametrizations.weight.original[0] = 0
    assert same(weight_masks(model, 0.3), first)


@pytest.mark.parametrize("make", [weight_masks, lambda *a, **k: random_masks(*a, seed=0, **k)])
def test_sparsities_that_cannot_be_are_refused(make):
    model = random_objective("melhubert", dtype=torch.float32)
    for sparsity in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="give a share of the weights from 0 to below 1"):
            make(model, sparsity)
    before = make(model, 0.5)
    with pytest.raises(InputError, match=r"sparsity 0.4 is below the 0.5\d* that is masked already"):
        make(model, 0.4, previous=before)


def test_masks_of_another_network_and_broken_weights_are_refused():
    model = random_objective("melhubert", dtype=torch.float32)
    made = weight_masks(model, 0.5)
    cut = remove_heads(model, {0: (0,)})
    for use in (install, apply_masks, lambda it, m: weight_masks(it, 0.6, m)):
        with pytest.raises(
            InputError, match=r"the mask of .*q_proj.weight is torch.bool of 24 x 24, not bool of 18 x 24"
        ):
            use(cut, made)
        with pytest.raises(
            InputError, match=r"'transformer.norm.weight' is no weight of this encoder that can be masked"
        ):
            use(model, {"transformer.norm.weight": torch.ones(24, dtype=torch.bool)})
        with pytest.raises(InputError, match=r"torch.float32"):
            use(model, {name: mask.float() for name, mask in made.items()})
    with torch.no_grad():
        model.encoder.transformer.layers[1].fc2.bias[0] = float("nan")
    with pytest.raises(InputError, match="hold NaN or Inf"):
        weight_masks(model, 0.5)


def test_random_masks_look_at_no_weight():
    model = random_objective("wav2vec2", dtype=torch.float32)
    first, other = random_masks(model, 0.3, seed=1), random_masks(model, 0.3, seed=2)
    assert same(first, random_masks(random_objective("wav2vec2", seed=9), 0.3, seed=1))
    assert masked_count(first) == masked_count(other) == masked_count(weight_masks(model, 0.3))
    overlap = sum(int((~first[name] & ~other[name]).sum()) for name in first) / masked_count(first)
    assert overlap == pytest.approx(0.3, abs=0.03)
    more = random_masks(model, 0.6, seed=1)
    assert all((~more[name][~mask]).all() for name, mask in first.items())
    after = random_masks(model, 0.6, seed=2, previous=first)
    assert all((~after[name][~mask]).all() for name, mask in first.items())
    assert masked_count(after) == masked_count(more)


def test_packed_masks_go_through_a_file_of_plain_containers():
    made = weight_masks(random_objective("melhubert"), 0.4)
    file = io.BytesIO()
    torch.save({"masks": packed(made)}, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)["masks"]
    assert same(unpacked(read), made)
    assert sum(mask["bits"].numel() for mask in read.values()) < sum(mask.numel() for mask in made.values()) / 7


@pytest.mark.parametrize("family", FAMILIES)
def test_installed_masks_keep_parameters_and_hide_what_is_under_them(family):
    model = random_objective(family)
    names, before = list(model.state_dict()), list(model.parameters())
    made = weight_masks(model, 0.4)
    zeroed = apply_masks(model, made)
    install(model, dict(reversed(made.items())))
    assert [id(p) for p in model.parameters()] == [
        id(p) for p in before
    ]  # in their order: an optimiser's state has no names
    assert same(masks_of(model), made)
    assert list(plain_tensors(model)) == names
    assert same(plain_tensors(model), zeroed.state_dict())
    assert not masks_of(zeroed)
    with torch.no_grad():  # what an optimiser's momentum may do
        for name, mask in made.items():
            model.encoder.get_submodule(name.rpartition(".")[0]).parametrizations[name.rpartition(".")[2]].original[
                ~mask
            ] = float("nan")
    assert same(plain_tensors(model), zeroed.state_dict())
    inputs, lengths = inputs_of(family)
    for a, b in zip(states(model.encoder, inputs, lengths), states(zeroed.encoder, inputs, lengths), strict=True):
        assert torch.equal(a, b)
    for ours, theirs in zip(
        head_scores(model) + row_scores(model), head_scores(zeroed) + row_scores(zeroed), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    more = weight_masks(model, 0.7)
    install(model, more)
    assert {id(p) for p in model.parameters()} == {id(p) for p in before}
    assert same(masks_of(model), more)
    mine = {name: mask.clone() for name, mask in more.items()}
    install(model, mine)
    next(iter(mine.values())).fill_(False)  # the caller's own
    copied = copy.deepcopy(model)
    install(copied, {name: torch.zeros_like(mask) for name, mask in made.items()})
    assert same(masks_of(model), more)  # a copy has masks of its own
    single = model.to(torch.float32)
    assert same(masks_of(single), more)
    assert {mask.device.type for mask in masks_of(single.to("meta")).values()} == {"meta"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_a_masked_model_is_one_with_masked_gradients(family):
    """Against a plain model whose gradients are masked, and whose weights are put back to zero, by hand."""
    ours, plain = random_objective(family), random_objective(family)
    made = weight_masks(ours, 0.5)
    plain = apply_masks(plain, made)
    install(ours, made)
    trainer = Trainer(ours, torch.optim.AdamW(ours.parameters(), weight_decay=0.01), rate=lambda _: 1e-2, clip=1.0)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.01)
    weights = {f"encoder.{name}": mask for name, mask in made.items()}
    for update in range(3):
        batch = batch_of(family, (30, 22), seed=update)
        trainer.step([batch])
        loss = plain(batch, update=update)
        (loss.total / batch.masked).backward()
        for name, parameter in plain.named_parameters():
            parameter.grad *= weights.get(name, 1)
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                parameter.mul_(weights.get(name, 1))
    theirs = plain.state_dict()
    for name, tensor in plain_tensors(ours).items():
        if not name.endswith("k_proj.bias"):  # its gradient is rounding, and Adam makes all gradients equally large
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-9, atol=1e-9)
        if name in weights:
            assert not tensor[~weights[name]].any()
            assert tensor[weights[name]].count_nonzero() == weights[name].sum()


def trained(model, optimiser, updates):
    trainer = Trainer(model, optimiser, rate=lambda _: 1e-2)
    trainer.update = updates.start
    for update in updates:
        trainer.step([batch_of("hubert", (30, 22), seed=update, dtype=torch.float32)])


def test_a_run_that_goes_on_from_a_checkpoint_is_the_run_that_was_not_stopped(tmp_path):
    """Weights are saved with their zeros; masks lie packed beside the optimiser's state."""
    model = random_objective("hubert", dtype=torch.float32)
    model.encoder.regularise(Regularisation(dropout=0.1, layerdrop=0.3))
    optimiser = torch.optim.AdamW(model.parameters())
    trained(model, optimiser, range(2))
    install(model, weight_masks(model, 0.3))
    trained(model, optimiser, range(2, 4))
    saved = save_checkpoint(tmp_path / "m", of_objective("m", model, SETTINGS["hubert"]))
    state = copy.deepcopy({"optimiser": optimiser.state_dict(), "masks": packed(masks_of(model))})

    again = read_folder("m", saved).objective().requires_grad_().train()
    again.encoder.regularise(model.encoder.regularisation)
    install(again, unpacked(state["masks"]))
    resumed = torch.optim.AdamW(again.parameters())
    resumed.load_state_dict(state["optimiser"])
    for each, its in ((model, optimiser), (again, resumed)):
        trained(each, its, range(4, 6))
        install(each, weight_masks(each, 0.5))
        trained(each, its, range(6, 8))
    assert same(plain_tensors(again), plain_tensors(model))
    assert same(masks_of(again), masks_of(model))


def test_gradients_under_a_mask_are_zero_and_layers_left_out_have_some():
    model = random_objective("melhubert", dtype=torch.float32)
    made = weight_masks(model, 0.5)
    install(model, made)
    model.encoder.regularise(Regularisation(layerdrop=0.999))
    model(batch_of("melhubert", (30, 22), dtype=torch.float32), update=0).total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.encoder.regularise(Regularisation())
    model(batch_of("melhubert", (30, 22), dtype=torch.float32), update=0).total.backward()
    for name, mask in made.items():
        owner, _, part = name.rpartition(".")
        gradient = model.encoder.get_submodule(owner).parametrizations[part].original.grad
        assert not gradient[~mask].any()
        assert gradient[mask].any()


def test_distributed_training_sees_the_same_model():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model, alone = (random_objective("melhubert") for _ in range(2))
        made = weight_masks(model, 0.5)
        install(model, made)
        install(alone, made)
        parallel = DistributedDataParallel(model)
        assert not [name for name, _ in parallel.named_buffers() if "parametrizations" in name]  # nothing to send
        batch = batch_of("melhubert", (30, 22))
        for each in (parallel, alone):
            each(batch, update=0).total.backward()
        for (name, ours), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad), name
        more = weight_masks(model, 0.8)
        install(parallel.module, more)
        assert same(masks_of(model), more)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_frozen_and_tracked_has_the_zeros(family, tmp_path):
    model = random_objective(family, dtype=torch.float32)
    stats = STATS if family == "melhubert" else None
    made = weight_masks(model, 0.5)
    zeroed = apply_masks(model, made)
    install(model, made)
    wanted = freeze("m", zeroed.encoder, mel_stats=stats)
    stimuli = write_test(tmp_path / "stimuli", clips=4)
    fast = {"permutations": 200, "resamples": 100}
    tracked = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", mel_stats=stats, name="m", **fast)(0, model)
    assert model.training
    assert {result.model_sha256 for result in tracked} == {wanted.sha256}
    results = sb.measure_layers(sb.embed(wanted, sb.read_stimuli(stimuli)), **fast)
    assert [result.d for result in tracked if result.layer != "mean"] == [r.d for r in results if r.layer != "mean"]
    save_checkpoint(tmp_path / "m", of_objective("m", model, SETTINGS[family], meta=Meta(mel_stats=stats)))
    loaded = sb.load_encoder(tmp_path / "m")
    assert loaded.sha256 == wanted.sha256 == freeze("m", copy.deepcopy(model.encoder)).sha256
    wave = 0.1 * np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    np.testing.assert_array_equal(loaded.pooled(wave), wanted.pooled(wave))
    assert sb.describe_model(tmp_path / "m").sparsity == pytest.approx(0.5, abs=0.1)


def test_a_loaded_encoder_is_masked_into_a_new_one():
    model = random_objective("wav2vec2", dtype=torch.float32).eval()
    encoder = freeze("m", model.encoder)
    before = encoder.sha256
    made = apply_masks(encoder, weight_masks(encoder, 0.25))
    assert made.name == "m-sparsity-0.25"
    assert made.sha256 == freeze("z", apply_masks(model, weight_masks(model, 0.25)).encoder).sha256 != before
    assert encoder.sha256 == freeze("m", model.encoder).sha256 == before
