"""The recipes that are shipped: the tiny one runs alone and learns, those of the paper say the paper's numbers."""

import math
from pathlib import Path

import pytest

from speechbias.paper import PROBING
from speechbias.probe.phones import PhoneSet
from speechbias.probe.recipe import read_probe_recipe
from speechbias.probe.run import probe
from speechbias.probe.splits import open_splits
from speechbias.results import read_records

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.slow
def test_the_tiny_recipe_makes_its_corpus_and_its_model_and_learns(tmp_path):
    ended = probe(read_probe_recipe(RECIPES / "tiny" / "probe.toml"), tmp_path / "run")
    (record,) = read_records(tmp_path / "run" / "results.jsonl")
    assert ended.records == [record]
    assert record["family"] == "melhubert"
    assert record["step"] == 60  # as far as recipes/tiny pre-trains
    assert record["per"] < 0.9  # blanks alone would be 1
    assert (tmp_path / "run" / "pretrained" / "checkpoints" / "last").is_dir()
    assert (tmp_path / "run" / "synthetic" / "phones.csv").exists()


def test_the_recipes_of_the_paper_say_its_numbers():
    paths = [RECIPES / "probe" / f"{name}.toml" for name in ("phonemes", "superb")]
    plain, superb = (read_probe_recipe(path, models=["mel"]) for path in paths)
    assert plain.run.steps == superb.run.steps == PROBING.updates == 100_000
    assert plain.probe.split == superb.probe.split == "test-clean"
    assert len(PhoneSet(superb.probe.phones, superb.probe.eos).outputs) == 74  # S3PRL
    assert superb.probe.utterances * superb.optim.accumulate == 32
    assert all(math.log10(rate).is_integer() or round(math.log10(rate), 9).is_integer() for rate in plain.optim.rates)


def test_the_real_recipe_reads_a_prompts_and_is_tested_on_b_prompts(shared, tmp_path):
    recipe = read_probe_recipe(RECIPES / "real" / "probe.toml", models=["mel"])
    if not Path(recipe.probe.train[0]).exists():
        pytest.skip("no folder with real speech where the recipe looks for it")
    section = recipe.probe.__class__(**{**vars(recipe.probe), "scan": "headers", "train_rows": "path=*arctic_a000*"})
    splits = open_splits(section, tmp_path, seed=0, workers=1)
    assert len(splits.test) == 34
    assert {each.speaker for each in splits.all} == {"cathy"}
    assert all(each.groups == {"gender": "female", "age": "50-70", "accent": "US"} for each in splits.test)
    assert not {each.sentence for each in splits.test} & {each.sentence for each in (*splits.train, *splits.dev)}
    assert splits.test[0].phones == ("AY", "K", "AE", "N", "S", "IY", "DH", "AE", "T", "N", "AY", "F", "N", "AW")
