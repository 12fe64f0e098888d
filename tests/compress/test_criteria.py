"""Scores of heads and rows against triple loops, and which of them are the lowest."""

import numpy as np
import pytest
import torch

from compressible import FAMILIES, random_objective
from objectives import SETTINGS
from speechbias import load_encoder
from speechbias.checkpoint.content import of_objective
from speechbias.compress import (
    head_scores,
    lowest,
    lowest_heads,
    lowest_overall,
    lowest_rows,
    random_scores,
    remove_heads,
    row_scores,
)
from speechbias.errors import InputError
from speechbias.models.freeze import freeze


@pytest.fixture(params=FAMILIES)
def model(request):
    return random_objective(request.param)


def looped_head_score(attention, head):
    """Number by number."""
    total = 0.0
    for part in (attention.q_proj, attention.k_proj, attention.v_proj):
        for row in range(head * attention.head_dim, (head + 1) * attention.head_dim):
            total += abs(part.bias[row].item())
            for column in range(part.weight.shape[1]):
                total += abs(part.weight[row, column].item())
    return total


def looped_out_score(attention, head):
    columns = range(head * attention.head_dim, (head + 1) * attention.head_dim)
    return sum(abs(row[column].item()) for row in attention.out_proj.weight for column in columns)


def test_the_output_projection_counts_where_it_is_asked_for(model):
    for layer, plain, more in zip(
        model.encoder.transformer.layers, head_scores(model), head_scores(model, out_proj=True), strict=True
    ):
        wanted = [looped_out_score(layer.attention, head) for head in range(layer.attention.heads)]
        np.testing.assert_allclose(more - plain, wanted, rtol=1e-9)


def looped_row_score(layer, row):
    total = abs(layer.fc1.bias[row].item())
    for column in range(layer.fc1.weight.shape[1]):
        total += abs(layer.fc1.weight[row, column].item()) + abs(layer.fc2.weight[column, row].item())
    return total


def test_scores_are_those_of_triple_loops(model):
    layers = model.encoder.transformer.layers
    heads, rows = head_scores(model), row_scores(model)
    assert [len(each) for each in heads] == [4, 2, 3]
    assert [len(each) for each in rows] == [40, 17, 32]
    for layer, of_heads, of_rows in zip(layers, heads, rows, strict=True):
        assert of_heads.dtype == of_rows.dtype == np.float64
        wanted = [looped_head_score(layer.attention, head) for head in range(layer.attention.heads)]
        np.testing.assert_allclose(of_heads, wanted, rtol=1e-12)
        wanted = [looped_row_score(layer, row) for row in range(len(of_rows))]
        np.testing.assert_allclose(of_rows, wanted, rtol=1e-12)


def test_sums_of_float32_weights_are_float64():
    model = random_objective("melhubert", dtype=torch.float32)
    for layer, of_heads, of_rows in zip(
        model.encoder.transformer.layers, head_scores(model), row_scores(model), strict=True
    ):
        np.testing.assert_allclose(of_heads[-1], looped_head_score(layer.attention, len(of_heads) - 1), rtol=1e-12)
        np.testing.assert_allclose(of_rows[-1], looped_row_score(layer, len(of_rows) - 1), rtol=1e-12)


def test_what_is_not_in_a_score_does_not_change_it(model):
    heads, rows = head_scores(model), row_scores(model)
    with torch.no_grad():
        for layer in model.encoder.transformer.layers:
            for part in (layer.attention.out_proj.weight, layer.attention.out_proj.bias, layer.fc2.bias):
                part.add_(1)
            for part in (layer.attention.q_proj.weight, layer.fc1.bias, layer.fc2.weight):
                part.neg_()  # absolute values
    for before, after in zip(heads + rows, head_scores(model) + row_scores(model), strict=True):
        np.testing.assert_array_equal(before, after)


def test_everything_that_holds_a_network_can_be_scored():
    model = random_objective("melhubert", dtype=torch.float32)
    checkpoint = of_objective("m", model, SETTINGS["melhubert"])
    for subject in (model.encoder, checkpoint, freeze("m", checkpoint.network()), freeze("m", checkpoint.stored())):
        for wanted, scores in zip(head_scores(model), head_scores(subject), strict=True):
            np.testing.assert_array_equal(wanted, scores)
        assert lowest_rows(subject, 3) == lowest_rows(model, 3)


def test_what_has_no_network_is_refused():
    with pytest.raises(InputError, match=r"mel is no network of ours; only wav2vec 2.0, HuBERT and MelHuBERT"):
        head_scores(load_encoder("mel"))
    with pytest.raises(InputError, match="a Linear is no network of ours"):
        row_scores(torch.nn.Linear(2, 2))


def test_float32_orders_as_float64_where_scores_differ_by_more_than_its_rounding():
    """The public code sums in float32."""
    model = random_objective("melhubert", dtype=torch.float32, heads=(12,) * 3, ffn=(300,) * 3)
    for layer, scores in zip(model.encoder.transformer.layers, row_scores(model), strict=True):
        single = layer.fc1.weight.abs().sum(1) + layer.fc1.bias.abs() + layer.fc2.weight.abs().sum(0)
        np.testing.assert_allclose(single.detach(), scores, rtol=1e-6)
        order, gaps = np.argsort(scores), np.diff(np.sort(scores)) / scores.max()
        assert gaps.min() > 0
        theirs = np.argsort(single.detach().numpy())
        assert all(
            a == b or min(gaps[max(i - 1, 0) : i + 1]) < 1e-6
            for i, (a, b) in enumerate(zip(order, theirs, strict=True))
        )


def test_the_lowest_of_each_layer_and_of_equal_ones_the_first():
    scores = [np.array([3.0, 1.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0])]
    assert lowest(scores, 1) == {0: (1,), 1: (0,)}
    assert lowest(scores, 2) == {0: (1, 2), 1: (0, 1)}
    assert lowest(scores, 0) == {0: (), 1: ()}
    assert lowest([np.array([1.0, 9.0, 0.0])], 2) == {0: (0, 2)}
    alternating = np.tile([1.0, 0.0], 500)
    assert lowest([alternating], 50) == lowest_overall([alternating], 50) == {0: tuple(range(1, 100, 2))}
    assert lowest_overall([alternating], 999) == {0: (*range(998), 999)}  # of equal ones, the last is kept


def test_lowest_heads_and_rows_of_a_model(model):
    heads, rows = head_scores(model), row_scores(model)
    for layer, (chosen,) in lowest_heads(model).items():
        assert heads[layer][chosen] == heads[layer].min()
    for layer, chosen in lowest_rows(model, 5).items():
        assert list(chosen) == sorted(np.argsort(rows[layer])[:5])
        assert all(type(row) is int for row in chosen)


def test_the_cut_of_the_paper_is_one_head_and_128_rows():
    model = random_objective("melhubert", ffn=(130, 131, 140))
    assert lowest_heads(model) == lowest(head_scores(model), 1)
    assert lowest_rows(model) == lowest(row_scores(model), 128)
    with pytest.raises(InputError, match="layer 0 has 130 rows, and one must stay; cut 129 or fewer"):
        lowest_rows(model, 130)


def test_a_layer_keeps_one():
    scores = [np.arange(3.0), np.arange(2.0)]
    assert lowest(scores, 1)[1] == (0,)
    with pytest.raises(InputError, match="layer 1 has 2 heads, and one must stay; cut 1 or fewer"):
        lowest(scores, 2)
    with pytest.raises(InputError, match="layer 0 has 3 rows, and one must stay"):
        lowest(scores[:1], 3, what="rows")
    with pytest.raises(InputError, match="-1 heads cannot be cut"):
        lowest(scores, -1)
    with pytest.raises(InputError, match="layer 0 has 1 head, and one must stay; cut none"):
        lowest([np.ones(1)], 1)
    with pytest.raises(InputError, match="layer 0 has 4 heads"):
        lowest_heads(random_objective("melhubert"), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("choose", [lowest, lowest_overall])
def test_scores_of_broken_weights_are_refused(value, choose):
    with pytest.raises(InputError, match="layer 1: scores of heads hold NaN or Inf"):
        choose([np.arange(3.0), np.array([0.0, value, 1.0])], 1)


def test_the_lowest_of_all_layers_leave_each_layer_its_best():
    scores = [np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0]), np.array([0.5])]
    assert lowest_overall(scores, 0) == {}
    assert lowest_overall(scores, 1) == {0: (0,)}
    assert lowest_overall(scores, 2) == {0: (0, 1)}  # 3 is the best of its layer
    assert lowest_overall(scores, 3) == {0: (0, 1), 1: (0,)}
    with pytest.raises(InputError, match="3 heads can be cut if each layer keeps one; cut that many or fewer, not 4"):
        lowest_overall(scores, 4)
    assert list(lowest_overall([np.array([5.0, 6.0]), np.array([1.0, 2.0])], 2)) == [0, 1]  # in the order of layers
    assert lowest_overall([np.ones(3), np.ones(2)], 2) == {0: (0, 1)}  # equal: by layer, then index
    assert lowest_overall([np.array([2.0, 1.0, 0.0]), np.array([3.0, 4.0])], 3) == {0: (1, 2), 1: (0,)}


def test_random_scores_are_a_function_of_seed_and_layer(model):
    first = random_scores(model, "rows", seed=3)
    again, other = random_scores(model.encoder, "rows", seed=3), random_scores(model, "rows", seed=4)
    assert [len(each) for each in first] == [40, 17, 32]
    assert [len(each) for each in random_scores(model, "heads", seed=3)] == [4, 2, 3]
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.isin(a, c).any()
        assert ((a >= 0) & (a < 1)).all()
    assert not np.isin(first[0], first[2]).any()
    assert not np.isin(random_scores(model, "heads", seed=3)[0], first[0]).any()


def test_random_cuts_that_follow_each_other_are_independent():
    """Were the draws of the heads that are left the same as before, neighbours would go one after the other."""
    model = random_objective("melhubert", heads=(4, 4, 4))
    before = random_scores(model, "heads", seed=0)
    assert not np.isin(before[0], before[1]).any()  # nor are layers alike
    after = random_scores(remove_heads(model, lowest(before, 1)), "heads", seed=0)
    assert not np.isin(after[0], before[0]).any()


def test_random_cuts_are_uniform():
    model = random_objective("melhubert", heads=(4, 4, 4))
    chosen = [lowest(random_scores(model, "heads", seed=seed), 1) for seed in range(400)]
    counts = np.bincount([head for each in chosen for (head,) in each.values()], minlength=4)
    assert abs(counts - 300).max() < 60  # 4 standard deviations of 1,200 draws
