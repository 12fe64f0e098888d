"""The paper's Table 2: our counts beside the printed ones."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.paper import TABLE_2
from speechbias.reproduce.table2 import all_agree, table2


def test_the_nine_counts():
    rows = table2()
    assert {row.size: dict(row.counted) for row in rows} == {
        "small": {"melhubert": 16_461_824, "wav2vec2": 21_252_352, "hubert": 20_905_344},
        "slim": {"melhubert": 15_615_616, "wav2vec2": 20_360_832, "hubert": 20_013_824},
        "base": {"melhubert": 90_231_424, "wav2vec2": 95_044_608, "hubert": 94_697_600},
    }
    assert [(row.size, row.layers, row.dim, row.ffn, row.heads) for row in rows] == [
        ("small", 3, 640, 2048, 8),
        ("slim", 12, 384, 768, 8),
        ("base", 12, 768, 3072, 12),
    ]
    assert all_agree(rows)


def test_from_the_command_line():
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["reproduce", "table2"])
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["base", "12", "768", "3072", "12", "90,231,424", "95,044,608", "94,697,600"] in lines
    assert ["paper", "90.2M", "95.0M", "94.7M"] in lines
    assert "all 9 agree" in done.stdout
    assert "504 label" in done.stdout


def test_a_count_that_does_not_agree_is_named(monkeypatch):
    wrong = replace(TABLE_2[2], parameters={**TABLE_2[2].parameters, "hubert": "94.8M"})
    monkeypatch.setattr("speechbias.reproduce.table2.TABLE_2", (*TABLE_2[:2], wrong))
    done = CliRunner().invoke(app, ["reproduce", "table2"])
    assert done.exit_code == 1
    assert "1 of 9 do not agree" in " ".join(done.stdout.split())
    assert "HuBERT base is 94.7M, printed 94.8M" in " ".join(done.stdout.split())


@pytest.mark.parametrize("item", ["table9", "Table2", ""])
def test_what_cannot_be_reproduced_is_refused(item):
    done = CliRunner().invoke(app, ["reproduce", item])
    assert done.exit_code == 2
    assert "table2" in done.stderr
