"""docs/compare_criteria.py: rows of every criterion at every size, and the points that the scored half chooses."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recordings import write_test
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from training_runs import log_of, write_corpus, write_recipe


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "docs" / "compare_criteria.py"
    spec = importlib.util.spec_from_file_location("compare_criteria", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_criterion_at_every_size(script, tmp_path, monkeypatch, capsys):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", write_corpus(tmp_path / "clips"), steps=2, keep=[])
    ended = pretrain(read_recipe(recipe), tmp_path / "run")
    stimuli = write_test(tmp_path / "stimuli", clips=4)
    unheard = write_corpus(tmp_path / "unheard", clips=3, seed=1)
    begun = ["x", str(ended.checkpoint), "--stimuli", str(stimuli), "--audio", str(unheard), "--splits", "2"]
    out = tmp_path / "rows.jsonl"
    monkeypatch.setattr(sys, "argv", [*begun, "--heads", "1", "--rows", "8", "4", "--seeds", "2", "-o", str(out)])
    script.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    rows = [script.Row(**line) for line in lines if "criterion" in line]
    rows_left = {(r.criterion, r.left) for r in rows if r.what == "rows"}
    criteria = ("l1", "random", "bias 0.5", "bias 1")
    assert rows_left == {("whole", 16), *((criterion, left) for criterion in criteria for left in (8, 4))}
    assert {(r.half, r.split) for r in rows} == {(half, split) for half in ("scored", "held-back") for split in (0, 1)}
    assert all(np.isfinite([r.d, r.low, r.high]).all() and r.low <= r.high for r in rows)
    whole = {r.loss for r in rows if r.criterion == "whole"}
    assert len(whole) == 1
    assert whole.pop() == pytest.approx(log_of(tmp_path / "run")[-1]["cross_entropy"], rel=0.2)
    assert [line["what"] for line in lines if "criterion" not in line] == ["heads", "rows"]
    monkeypatch.setattr(sys, "argv", ["x", "--tables", str(out)])
    script.main()
    assert "| run | 4 rows | bias 1 |" in capsys.readouterr().out


def test_a_point_is_chosen_by_the_scored_half_among_those_whose_loss_is_allowed(script):
    def rows(left, d_scored, d_held_back, loss, criterion="l1"):
        return [
            script.Row("m", "heads", left, criterion, 0, 0, half, d, d - 1, d + 1, loss)
            for half, d in (("scored", d_scored), ("held-back", d_held_back))
        ]

    made = (
        rows(4, 1.0, 1.1, 2.0, "whole") + rows(3, -0.5, 1.3, 2.05) + rows(2, 0.6, 0.1, 2.05) + rows(1, 0.0, 0.0, 9.0)
    )
    made += rows(3, 0.0, 0.0, 2.2, "bias 1")
    (l1, bias) = script.chosen_table(made)[2:]
    assert l1 == "| m | 0 | l1 | 3 heads | 2.050 | -0.50 | +1.30 (+0.30 to +2.30) | +1.10 (+0.10 to +2.10) |"
    assert bias.startswith("| m | 0 | bias 1 | none |")
