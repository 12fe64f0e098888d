"""The tiny recipes run alone, make what they need, and what they train learns."""

import json
from pathlib import Path

import pytest

from speechbias.checkpoint import load_encoder
from speechbias.models.config import FAMILIES
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe

TINY = Path(__file__).parents[2] / "recipes" / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_recipe_makes_its_corpus_its_labels_and_a_model_that_learns(family, tmp_path):
    ended = pretrain(read_recipe(TINY / f"pretrain-{family}.toml"), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    assert (tmp_path / "run" / "synthetic" / "clips").is_dir()
    assert (tmp_path / "run" / "units").is_dir() == (family != "wav2vec2")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")) == [
        f"step-{step:08d}" for step in (0, 10, 20, 40, 60)
    ]
    assert load_encoder(str(ended.checkpoint)).num_states == 3
