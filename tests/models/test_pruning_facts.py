"""What a checkpoint says of its pruning, in the units of records; parameters that went, counted on real networks."""

from dataclasses import replace

import pytest

from speechbias.checkpoint.content import Meta
from speechbias.models.config import sized
from speechbias.models.network import skeleton
from speechbias.models.pruning import Pruning

SAID = {
    "method": "heads", "criterion": "l1", "seed": None, "cuts": 6, "remaining": 72, "of": 144, "pruned_from": "a" * 64,
}  # fmt: skip


def count(config):
    return sum(tensor.numel() for tensor in skeleton(config).state_dict().values())


def test_what_a_checkpoint_says_is_read():
    assert Meta(provenance={"pruning": SAID | {"more": 1}}).pruning == Pruning(
        "heads", "l1", None, 6, 72, 144, "a" * 64
    )
    short = {"method": "weights", "cuts": 0, "remaining": 5, "of": 5}
    assert Pruning.read(short) == Pruning("weights", None, None, 0, 5, 5)
    assert Meta().pruning is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "distillation"}, {"method": None}, {"cuts": -1}, {"cuts": True}, {"remaining": 145},
        {"remaining": -1}, {"remaining": 72.0}, {"of": None}, {"remaining": 0, "of": 0}, {"criterion": 1},
        {"seed": "0"}, {"seed": True}, {"pruned_from": 3},
    ],
)  # fmt: skip
def test_what_is_not_whole_is_nothing(wrong):
    assert Pruning.read(SAID | wrong) is None
    assert Pruning.read("heads") is None
    assert Pruning.read({key: value for key, value in SAID.items() if key != "of"}) is None


@pytest.mark.parametrize("family", ["melhubert", "wav2vec2"])
def test_removed_parameters_are_those_by_which_the_network_is_smaller(family):
    whole = sized(family, "base")
    heads = replace(whole, heads=(6,) * 11 + (1,))
    rows = replace(whole, ffn=(512,) * 11 + (3000,))
    cut = Pruning("heads", "l1", None, 1, sum(heads.heads), 144)
    assert cut.removed(heads) == count(whole) - count(heads)
    cut = Pruning("rows", "l1", None, 1, sum(rows.ffn), 12 * 3072)
    assert cut.removed(rows) == count(whole) - count(rows)
    # spec of the method: 12 heads, 128 rows of 12 layers, 40 % of 85,017,600 values
    assert Pruning("heads", "l1", None, 1, 132, 144).removed(replace(whole, heads=(11,) * 12)) == 2_361_600
    narrower = replace(whole, ffn=(2944,) * 12)
    assert Pruning("rows", "l1", None, 1, 12 * 2944, 12 * 3072).removed(narrower) == 2_360_832
    assert Pruning("weights", "l1", None, 1, 51_010_560, 85_017_600).removed(whole) == 34_007_040


def test_a_record_counts_rows_per_layer_and_the_others_in_all():
    whole = sized("melhubert", "base")
    config = replace(whole, ffn=(512,) * 12)
    uniform = Pruning("rows", "random", 3, 20, 12 * 512, 12 * 3072, "base").in_record(config)
    assert uniform == {
        "method": "rows", "criterion": "random", "criterion_seed": 3, "remaining": 512, "of": 3072,
        "parameters_removed": 12 * 2560 * 1537, "pruned_from": "base",
    }  # fmt: skip
    assert isinstance(uniform["remaining"], int)
    mean = Pruning("rows", "l1", None, 1, 12 * 512 + 6, 12 * 3072).in_record(replace(config, ffn=(512,) * 11 + (518,)))
    assert mean["remaining"] == 512.5
    heads = Pruning.read(SAID).in_record(replace(whole, heads=(6,) * 12))
    assert (heads["remaining"], heads["of"]) == (72, 144)
    weights = Pruning("weights", "l1", None, 1, 5, 8).in_record(whole)
    assert (weights["remaining"], weights["of"], weights["parameters_removed"]) == (5, 8, 3)


def test_what_the_model_has_goes_before_what_is_said_of_it():
    said, whole = Pruning.read(SAID), sized("melhubert", "base")
    later = said.in_record(replace(whole, heads=(5,) * 12))  # cut once more, by hand
    assert (later["remaining"], later["parameters_removed"]) == (60, 84 * 196_800)
    assert said.in_record(replace(whole, heads=(13,) * 12)) == {}
