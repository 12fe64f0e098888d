"""calibration/: the page is what is stored, runs go on and repeat themselves, rules judge, data are as said."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

run = pytest.importorskip("calibration.run", reason="calibration/ is not on the path")

import calibration.version as versions  # noqa: E402
from calibration.__main__ import main  # noqa: E402
from calibration.cells import Cell  # noqa: E402
from calibration.figures import (  # noqa: E402
    Section,
    Table,
    at_most,
    coverage,
    describe,
    level,
    paragraph,
    power,
    ratio,
)
from calibration.groups import SHAPES, Groups, blocks  # noqa: E402
from calibration.inferences import INFERENCES, all_cells  # noqa: E402
from calibration.p_value import exact_level  # noqa: E402
from calibration.page import render  # noqa: E402
from calibration.worlds import World  # noqa: E402

from speechbias.inference.designs import resolve_design  # noqa: E402
from speechbias.speat import effect_size  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_what_the_program_writes_from_the_stored_numbers():
    found = run.found_in(DOCS / "validity.json")
    assert render(found) == (DOCS / "validity.md").read_text(encoding="utf-8")


def test_every_cell_of_the_program_is_stored_and_no_other():
    stored = [
        (row["inference"], row["cell"], row["draws"]) for row in json.loads((DOCS / "validity.json").read_text())
    ]
    cells = [(cell.inference, cell.name, cell.draws) for cell in all_cells()]
    assert stored == cells
    assert len({cell[:2] for cell in cells}) == len(cells)


@pytest.mark.parametrize("name", INFERENCES)
def test_small_cells_of_every_inference_run_and_repeat_themselves(name):
    cells = [cell for cell in INFERENCES[name].cells() if "768" not in cell.name and "voices" not in cell.name]
    cheap = cells[:1] if name in {"controls", "leakage"} else cells[:: len(cells) // 2]
    for cell in cheap:
        small = replace(cell, draws=2)
        found = INFERENCES[name].run(small.draws, small.rng(), **small.settings)
        assert all(np.isfinite(value) for value in found.values())
        assert found == INFERENCES[name].run(small.draws, small.rng(), **small.settings)
        stored = run.found_in(DOCS / "validity.json")[name][cell.name]
        assert found.keys() == stored.numbers.keys()


class Counting:
    """An inference whose third cell is killed, once."""

    def __init__(self):
        self.ran, self.kill = [], True

    def run(self, draws, rng, *, place):
        if place == 2 and self.kill:
            self.kill = False
            raise KeyboardInterrupt
        self.ran.append(place)
        return {"rate": rng.random() * draws}


CELLS = [Cell("published", f"cell {k}", 10, {"place": k}) for k in range(4)]


def run_quietly(cells, path, said=None):
    run.run_cells(cells, run.Store(path), workers=1, say=(said if said is not None else []).append)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    counting = Counting()
    monkeypatch.setattr(run, "INFERENCES", {"published": counting})
    with pytest.raises(KeyboardInterrupt):
        run_quietly(CELLS, tmp_path / "v.json")
    assert not (tmp_path / "v.json").exists()
    said = []
    run_quietly(CELLS, tmp_path / "v.json", said)
    assert counting.ran == [0, 1, 2, 3]
    assert said[0] == "4 cells, 2 of them finished before"
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]
    run_quietly(CELLS, tmp_path / "whole.json")
    assert (tmp_path / "v.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_only_cells_with_other_settings_are_computed_anew(tmp_path, monkeypatch):
    counting = Counting()
    counting.kill = False
    monkeypatch.setattr(run, "INFERENCES", {"published": counting})
    run_quietly(CELLS, tmp_path / "v.json")
    counting.ran.clear()
    run_quietly([*CELLS[:2], replace(CELLS[2], draws=20)], tmp_path / "v.json")
    assert counting.ran == [2]
    assert len(json.loads((tmp_path / "v.json").read_text())) == 3


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path):
    cells = [replace(cell, draws=20) for cell in INFERENCES["published"].cells()]
    run_quietly(cells, tmp_path / "one.json")
    run.run_cells(cells, run.Store(tmp_path / "two.json"), workers=2, say=[].append)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_cells_have_streams_of_their_own():
    first, other = CELLS[:2]
    assert first.rng().random() == replace(first, draws=99).rng().random()  # more draws begin with the same ones
    assert first.rng().random() != other.rng().random()
    assert [cell.draws for cell in run.with_draws(CELLS, times=2.5)] == [25] * 4
    assert [cell.draws for cell in run.with_draws(CELLS, times=1, most=4)] == [4] * 4


def test_quick_does_not_write_over_the_page(capsys):
    with pytest.raises(SystemExit):
        main(["--quick"])
    assert "--folder" in capsys.readouterr().err


CODE = '''"""Of a cell."""
from calibration import below

def run(draws, rng):
    """Say so."""
    return below.half(draws)  # a comment

def section(found: Found) -> Section:
    return "text"
'''


@pytest.fixture
def version_of(tmp_path, monkeypatch):
    """The version of a file with this text, which imports another."""
    monkeypatch.setattr(versions, "ROOTS", {"calibration": tmp_path})
    (tmp_path / "below.py").write_text("def half(x):\n    return x / 2\n")

    def made(text):
        (tmp_path / "cell.py").write_text(text)
        versions._parsed.cache_clear()
        versions.version.cache_clear()
        return versions.version("calibration.cell")

    yield made
    versions._parsed.cache_clear()
    versions.version.cache_clear()


def test_a_version_knows_code_and_not_words(version_of, tmp_path):
    before = version_of(CODE)
    assert version_of(CODE.replace("a comment", "other words").replace("Say so.", "Other words.")) == before
    assert version_of(CODE.replace('"text"', '"other text"')) == before
    assert version_of(CODE.replace("(draws)  #", "(draws + 1)  #")) != before
    (tmp_path / "below.py").write_text("def half(x):\n    return x / 3\n")
    assert version_of(CODE) != before


def test_versions_reach_into_the_package():
    below = versions._below("calibration.p_value")
    assert {"speechbias.inference.saddlepoint", "calibration.groups"} <= below
    assert "calibration.figures" not in below


def test_levels_and_coverages_are_kept_within_the_rule():
    assert [level(rate, 10_000).side for rate in (0.034, 0.035, 0.05, 0.07, 0.071)] == [-1, 0, 0, 0, 1]
    assert [coverage(rate, 10_000).side for rate in (0.929, 0.931, 0.95, 0.964, 0.966)] == [-1, 0, 0, 0, 1]
    assert [level(rate, 10_000, 0.001).side for rate in (0.0006, 0.001, 0.0015)] == [-1, 0, 1]
    assert [at_most(rate, 10_000).side for rate in (0.0, 0.071)] == [0, 1]
    assert [ratio(value).side for value in (0.89, 1.0, 1.11)] == [-1, 0, 1]
    assert [level(0.02, 100).harmful, level(0.2, 100).harmful] == [False, True]
    assert [coverage(0.8, 100).harmful, coverage(1.0, 100).harmful] == [True, False]
    assert power(0.99, 100).side == 0


def test_what_is_outside_by_chance_is_set_apart():
    assert not level(0.075, 100).clear  # standard error 2.6 points
    assert level(0.075, 100_000).clear
    rows = [("a", [level(0.075, 100)]), ("b", [level(0.2, 100)]), ("c", [level(0.05, 100)])]
    table = Table("Caption.", ["rate"], rows, "which")
    assert table.render() == (
        "Caption. 100 draws a cell: standard error 2.2 points at 5 %.\n\n| which | rate |\n| --- | ---: |\n"
        "| a | **7.5 %** |\n| b | **20.0 %** |\n| c | 5.0 % |\n\n"
        "Kept in 1 of 3 cells. Too often: b (20.0 %). Outside by less than two standard errors, which may be chance: "
        "a (7.5 %)."
    )
    assert describe([level(0.05, 100)] * 3) == "Kept in all 3 cells."
    assert describe([]) == ""


def test_the_summary_counts_what_is_clear_and_names_the_worst():
    def row(*figures):
        return Section("Title of it", "what", "", [Table("", ["x"], [(f"r{k}", [f]) for k, f in enumerate(figures)])])

    found = row(level(0.05, 1000), level(0.06, 1000), level(0.12, 1000)).summary()
    assert found == "| [Title of it](#title-of-it) | what | 6.0 % | 12.0 % (r2) | **not kept** in 1 of 3 cells |"
    assert row(coverage(0.99, 9000), coverage(0.95, 9000)).summary().endswith("| kept; cautious in 1 of 2 cells |")
    assert "| 0.30 % instead of 0.1 % (r1) |" in row(level(0.05, 1000), level(0.003, 1000, 0.001)).summary()
    assert row(ratio(1.02), ratio(0.8)).summary().split(" | ")[2:4] == ["0.91", "0.80 (r1)"]
    assert (
        row(power(0.5, 10)).summary().endswith("| | | not judged |") or "not judged" in row(power(0.5, 10)).summary()
    )


def test_no_line_of_a_paragraph_begins_with_a_plus():
    text = paragraph("word " * 27 + "12 + 8 speakers and 30 + 20 clips " * 9)
    assert "\n" in text
    assert not any(line.startswith(("+", "8")) for line in text.splitlines())


def test_exact_levels_are_counted():
    assert exact_level(Groups(5, 5, 4, "speaker").relabelling) == pytest.approx(12 / 252)
    assert exact_level(Groups(3, 3, 4, "speaker").relabelling) == 0
    groups = Groups(5, 3)
    s = np.random.default_rng(0).normal(size=8)
    sizes = [abs(s[list(x)].mean() - np.delete(s, list(x)).mean()) for x in combinations(range(8), 5)]
    ps = [np.mean([other >= size - 1e-12 for other in sizes]) for size in sizes]
    assert exact_level(groups.relabelling) == pytest.approx(np.mean([p < 0.05 for p in ps]))


@pytest.mark.parametrize(
    "groups",
    [
        Groups(30, 20),
        Groups(6, 4, 5, "speaker"),
        Groups(8, 8, 6, "speaker", ragged=True),
        Groups(6, 6, 3, "within-speaker"),
        Groups(12, 12, 1, "pair"),
    ],
    ids=str,
)
def test_simulated_scores_have_the_design_the_d_and_the_correlation(groups):
    if groups.design != "pair":
        assert resolve_design(groups.labels) == groups.design
    s = groups.scores(np.random.default_rng(0), 40_000, 1.0)
    x, y = s[: groups.n_x], s[groups.n_x :]
    share, within = groups.share, 1.0
    apart = x.mean() - y.mean()
    assert apart / np.sqrt(within + share * (1 - share) * apart**2) == pytest.approx(1.0, abs=0.01)
    assert x.var(axis=1).mean() == pytest.approx(1, abs=0.02)
    people = [*groups.people[0], *groups.people[1]]
    other = next(k for k in range(len(people) - 1, 0, -1) if people[k] != people[0])
    same = next((k for k in range(1, len(people)) if people[k] == people[0]), None)
    if groups.ragged:
        return
    if groups.design != "independent":
        assert np.corrcoef(s[0], s[same])[0, 1] == pytest.approx(0.5, abs=0.02)
    assert np.corrcoef(s[0], s[other])[0, 1] == pytest.approx(0.0, abs=0.02)


def test_skewed_scores_have_mean_0_and_variance_1():
    z = SHAPES["skewed"](np.random.default_rng(0).normal(size=400_000))
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.std() == pytest.approx(1, abs=0.02)
    assert ((z - z.mean()) ** 3).mean() == pytest.approx(2.26, abs=0.3)


def test_the_true_d_of_a_world_is_that_of_many_targets():
    rng = np.random.default_rng(0)
    world = World.draw(rng, 8, apart=1.0, aligned=3.0)
    attributes = Groups(20, 20)
    tests, g = world.test(Groups(10, 10), attributes, np.random.default_rng(1), 1, resamples=2)
    assert len(tests) == 1
    drawn = np.random.default_rng(1)
    world.clips(Groups(10, 10), drawn, 1, world.apart)
    A, B = world.clips(attributes, drawn, 1, world.aligned)
    X, Y = world.clips(Groups(20_000, 20_000), rng, 1, world.apart)
    assert world.true_d(g, rng)[0] == pytest.approx(effect_size(X[:, 0], Y[:, 0], A[:, 0], B[:, 0]), abs=0.03)
    assert world.true_d(world.endless_g(rng), rng)[0] == pytest.approx(
        effect_size(X[:, 0], Y[:, 0], *(w[:, 0] for w in world.clips(Groups(4_000, 4_000), rng, 1, 3.0))), abs=0.03
    )


def test_blocks_make_up_all_draws():
    assert blocks(120) == [50, 50, 20]
    assert blocks(3) == [3]
