"""The table of recipes/README.md: every recipe runs by the command that stands beside it, small (tests/shrunk.py)."""

import re
from itertools import product

import pytest

from printed import ROOT
from sandbox import copy_sandbox
from shell import run
from shrunk import as_toml, shrink

RECIPES = ROOT / "recipes"
PAGE = (RECIPES / "README.md").read_text(encoding="utf-8")
STANDS_FOR = {  # what the capitals of a command stand for
    "LibriSpeech": "LibriSpeech/train-clean-100",
    "CHECKPOINT": "RUN/checkpoints/last",
    "--model A": "--model mel",
    "--model B": "--model RUN/checkpoints/last",
    "--device cuda": "--device cpu",
}


def expanded(path):
    """``a-{b,c}.toml`` -> a-b.toml, a-c.toml."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(chosen) for chosen in product(*parts)]


def named(text):
    return [path for found in re.findall(r"[\w/-]+(?:\{[\w,]+\})?[\w-]*\.toml", text) for path in expanded(found)]


def rows():
    """(recipe, command), in the order of the table; "the same" is the command above."""
    found, command = [], None
    for line in PAGE.splitlines():
        cells = line.split(" | ")
        if len(cells) == 4 and ".toml" in cells[1]:
            command = re.search(r"`(speechbias .*?)`", cells[2])[1] if "`speechbias" in cells[2] else command
            found += [(recipe, command) for recipe in named(cells[1])]
    return found


def test_every_recipe_stands_in_the_table_or_is_the_base_of_others():
    bases = named(PAGE.splitlines()[-1])
    there = {path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.toml")}
    assert {*bases, *(recipe for recipe, _ in rows())} == there
    assert not {recipe for recipe, _ in rows()} & set(bases)


def test_a_shrunk_recipe_keeps_what_costs_nothing():
    given = {
        "base": "b.toml",
        "model": {"family": "hubert", "size": "base"},
        "units": {"features": "state", "state": 6},
    }
    small = shrink(given | {"data": {"train": "x", "seconds": 87.5}})
    assert small["model"] == {"family": "hubert", "layers": 4, "dim": 16, "ffn": 16, "heads": 2, "channels": 8}
    assert small["units"] == {"features": "state", "state": 2, "clusters": 4, "share": 1.0, "passes": 1}
    assert (small["base"], small["data"]["train"], "seconds" in small["data"]) == ("b.toml", "x", False)
    assert as_toml({"base": "b.toml", "run": {"keep": [0, 2]}}) == 'base = "b.toml"\n[run]\nkeep = [0, 2]\n'


@pytest.fixture(scope="module")
def folder(prepared, quick, tmp_path_factory):
    made = copy_sandbox(prepared, tmp_path_factory.mktemp("recipes"))
    assert run("speechbias pretrain recipes/tiny/pretrain-melhubert.toml --out RUN", made).exit_code == 0
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "command"), rows(), ids=[recipe for recipe, _ in rows()])
def test_a_recipe_runs_by_the_command_beside_it(recipe, command, folder):
    for word, stands_for in STANDS_FOR.items():
        command = command.replace(word, stands_for)
    out = "runs/hubert-first" if "hubert-first" in recipe else f"out/{recipe.removesuffix('.toml')}"
    done = run(re.sub(r"\bDIR\b", out, command.replace("RECIPE", f"recipes/{recipe}")), folder)
    assert done.exit_code == 0, f"{command}\n{done.said}"
    assert (folder / out / ("results.jsonl" if "probe" in recipe else "checkpoints/last")).exists()
