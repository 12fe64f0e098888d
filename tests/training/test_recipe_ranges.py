"""Recipes with any value in any key: a recipe, or one line that names the key; never anything else."""

import re
import tomllib
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.models.regularisation import Regularisation
from speechbias.training.masking import Masking
from speechbias.training.recipe import TERMS, Recipe, read_recipe, resolved
from speechbias.training.recipe_sections import DataSection, ModelSection, OptimSection, RunSection, UnitsSection
from speechbias.training.sections import to_toml

SECTIONS = {
    "model": ModelSection,
    "data": DataSection,
    "units": UnitsSection,
    "masking": Masking,
    "regularisation": Regularisation,
    "optim": OptimSection,
    "run": RunSection,
}
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 10, 50, 100, 0.0, -0.0, 0.5, 1.0, 1e-300, 1e14, -1e14, 10**30, float("nan")]),
    st.integers(-(10**20), 10**20),
    st.floats(),
)
WILD = st.one_of(
    NUMBERS,
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(
        ["state", "headers", "slim", "linear", "corpus", "synthetic", "bfloat16", "~nobody/x", "a\0b", ""]
    ),
    st.lists(NUMBERS, max_size=3),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), NUMBERS, max_size=1),
)


@st.composite
def wild_sections(draw):
    """Sections in which one to three keys have a value out of anywhere."""
    family = draw(st.sampled_from(FAMILIES))
    said = {"model": {"family": family}, "data": {"train": "corpus"}}
    kinds = SECTIONS | ({"objective": TERMS[family]} if family in TERMS else {})
    kinds = {name: kind for name, kind in kinds.items() if (name, family) != ("units", "wav2vec2")}  # it has none
    changed = set()
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from(sorted(kinds)))
        key = draw(st.sampled_from([field.name for field in fields(kinds[section]) if field.name != "family"]))
        said.setdefault(section, {})[key] = draw(WILD)
        changed.add((section, key))
    return said, changed


@settings(max_examples=600, deadline=None)
@given(wild_sections())
def test_any_value_makes_a_recipe_or_a_line_that_names_the_key(case):
    said, changed = case
    try:
        made = resolved(said, "r.toml")
    except InputError as error:
        text = str(error)
        assert text.startswith("r.toml [")
        assert "\n" not in text
        named = re.match(r"r\.toml \[(\w+)\]", text)[1]
        assert named in {section for section, _ in changed}
        assert any(re.search(rf"\b{key}\b", text) for section, key in changed if section == named) or "batch" in text
        return
    assert isinstance(made, Recipe)
    assert all(is_dataclass(section) for section in made.sections().values())
    assert resolved(tomllib.loads(to_toml(made.sections())), "again") == made


OUTSIDE = [
    ("hubert", "objective", "temperature", 0),
    ("wav2vec2", "objective", "temperature", -0.1),
    ("wav2vec2", "objective", "gumbel_start", 0),
    ("wav2vec2", "objective", "gumbel_decay", 1.5),
    ("wav2vec2", "objective", "diversity", -1),
    ("hubert", "objective", "features_penalty", -1),
    ("hubert", "masking", "prob", 1.1),
    ("hubert", "masking", "length", 0),
    ("hubert", "masking", "length", 10**9),
    ("hubert", "masking", "min_masks", -1),
    ("hubert", "units", "rate", 0),
    ("hubert", "units", "rate", 33),
    ("hubert", "units", "passes", 0),
    ("hubert", "units", "state", -1),
    ("hubert", "units", "share", 1.5),
    ("hubert", "units", "clusters", 10_001),
    ("hubert", "data", "crop", 0.01),
    ("hubert", "data", "max_seconds", 1),
    ("hubert", "data", "workers", -1),
    ("hubert", "data", "scan", "never"),
    ("hubert", "optim", "lr", 0),
    ("hubert", "optim", "betas", [0.9, 1.0]),
    ("hubert", "optim", "accumulate", 0),
    ("hubert", "run", "log", 0),
    ("hubert", "run", "keep", [3, -1]),
    ("hubert", "run", "wandb", " "),
    ("hubert", "model", "layers", 10**9),
    ("hubert", "model", "mel_stats", "x.npy"),
    ("hubert", "regularisation", "layerdrop", 1.0),
    ("hubert", "distill", "layers", 10**9),
    ("hubert", "distill", "cosine", -1),
    ("hubert", "distill", "targets", [3, 2]),
    ("hubert", "distill", "targets", []),
    ("hubert", "distill", "copied", ["heads"]),
]


@pytest.mark.parametrize(("family", "section", "key", "value"), OUTSIDE)
def test_a_value_outside_of_its_range_is_said_with_its_key(family, section, key, value):
    said = {"model": {"family": family}, "data": {"train": "x"}}
    said[section] = said.get(section, {}) | {key: value}
    with pytest.raises(InputError, match=rf"^r.toml \[{section}\].*{key}") as error:
        resolved(said, "r.toml")
    assert "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["", '[model]\nfamily = "hubert"\n', '[data]\ntrain = "']))
def test_any_file_makes_a_recipe_or_a_line(tmp_path_factory, content, before):
    path = tmp_path_factory.mktemp("any") / "r.toml"
    path.write_bytes(before.encode() + content)
    try:
        made = read_recipe(path)
    except InputError as error:
        made = error.problems
    assert isinstance(made, Recipe) or len(made) == 1
