"""Recipes: what they say, what they need not say, and what is refused in one line."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from speechbias.errors import InputError
from speechbias.models.config import FAMILIES, sized
from speechbias.paper import PRETRAINING
from speechbias.probe.recipe import read_probe_recipe
from speechbias.training.recipe import Recipe, read_keys, read_recipe, resolved
from speechbias.training.sections import nearest, read_section, to_toml

RECIPES = Path(__file__).parents[2] / "recipes"


def written(folder, text, name="recipe.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def of(family, **sections):
    return resolved({"model": {"family": family}, "data": {"train": "corpus"}, **sections}, "here")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_recipe_does_not_say_is_the_papers(family):
    recipe, paper = of(family), PRETRAINING[family]
    assert recipe.run.steps == paper.updates
    assert (recipe.data.seconds, recipe.data.utterances) == (paper.seconds, paper.utterances)
    assert recipe.model.config() == sized(family, "base")


def test_defaults_are_those_of_the_public_recipes():
    contrast, predict, mel = (of(family) for family in FAMILIES)
    assert (contrast.masking.prob, contrast.masking.length) == (0.65, 10)
    assert (predict.masking.prob, predict.masking.length) == (0.8, 10)
    assert (mel.masking.prob, mel.masking.length) == (0.7, 5)
    assert (contrast.optim.clip, predict.optim.clip, mel.optim.clip) == (0.0, 10.0, 10.0)
    assert (contrast.optim.lr, contrast.optim.betas, contrast.optim.warmup) == (5e-4, (0.9, 0.98), 32_000)
    assert (mel.optim.lr, mel.optim.schedule, mel.optim.weight_decay) == (1e-4, "constant", 0.0)
    assert (contrast.units, predict.units.clusters, mel.units.clusters) == (None, 100, 512)
    assert (predict.regularisation.layerdrop, mel.regularisation.layerdrop) == (0.05, 0.0)
    assert (contrast.objective.diversity, predict.objective.features_penalty, mel.objective) == (0.1, 10.0, None)


def test_frames_of_10_ms_have_spans_of_10():
    recipe = resolved({"model": {"family": "melhubert", "frame_ms": 10}, "data": {"train": "x"}}, "here")
    assert recipe.masking.length == 10
    assert recipe.model.config().frontend.stack == 1


def test_a_batch_of_utterances_replaces_one_of_seconds():
    recipe = of("wav2vec2", data={"train": "x", "utterances": 3})
    assert (recipe.data.seconds, recipe.data.utterances) == (None, 3)


def test_a_shape_changes_single_numbers_of_a_size():
    model = {"family": "hubert", "size": "slim", "layers": 2, "channels": 64}
    config = resolved({"model": model, "data": {"train": "x"}}, "here").model.config()
    assert (config.num_layers, config.dim, config.heads, config.ffn) == (2, 384, (8, 8), (768, 768))
    assert config.frontend.channels == (64,) * 7


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resolved_recipe_reads_back_as_itself(family, tmp_path):
    recipe = of(family, run={"steps": 7, "keep": []}, data={"train": ["a\\b", 'c"d', "é", "\x7f"], "seconds": 20})
    again = tomllib.loads(recipe.to_toml())
    assert resolved(again, "there") == recipe
    assert again["data"]["train"] == ["a\\b", 'c"d', "é", "\x7f"]


def test_base_is_overridden_key_by_key_and_paths_belong_to_the_file_that_names_them(tmp_path):
    (tmp_path / "below").mkdir()
    written(tmp_path / "below", '[data]\ntrain = "audio"\nseconds = 8\n[run]\nsteps = 5\nlog = 1\n', "base.toml")
    path = written(tmp_path, 'base = "below/base.toml"\n[model]\nfamily = "wav2vec2"\n[run]\nsteps = 6\n')
    recipe = read_recipe(path, seed=9)
    assert (recipe.run.steps, recipe.run.log, recipe.run.seed, recipe.data.seconds) == (6, 1, 9, 8.0)
    assert recipe.data.train == (str(tmp_path / "below" / "audio"),)


def test_a_base_may_lie_at_home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    written(tmp_path / "home", '[data]\ntrain = "audio"\n', "x.toml")
    path = written(tmp_path, 'base = "~/x.toml"\n[model]\nfamily = "wav2vec2"\n')
    assert read_recipe(path).data.train == (str(tmp_path / "home" / "audio"),)


@pytest.mark.parametrize("base", ["~nobody-of-that-name/x.toml", "a\\u0000b", "none.toml", "."])
def test_a_base_that_is_no_file_is_said_in_a_line(base, tmp_path):
    path = written(tmp_path, f'base = "{base}"\n[model]\nfamily = "wav2vec2"\n')
    with pytest.raises(InputError, match=r"base (is|=)|cannot be read") as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


def test_every_key_that_names_files_is_read_relative_to_the_recipe(tmp_path):
    said = {
        "model": {"family": "melhubert", "checkpoint": "start", "mel_stats": "stats.npy"},
        "data": {"train": ["a", "b"]},
        "units": {"labels": "units", "features": "state", "checkpoint": "c", "state": 1, "quantiser": "q"},
        "track": {"stimuli": ["one.csv", "two.csv"]},
    }
    lines = []
    for section, values in said.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    recipe = read_recipe(written(tmp_path, "\n".join(lines)))
    found = [recipe.model.checkpoint, recipe.model.mel_stats, *recipe.data.train]
    found += [recipe.units.labels, recipe.units.checkpoint, recipe.units.quantiser, *recipe.track.stimuli]
    names = ["start", "stats.npy", "a", "b", "units", "c", "q", "one.csv", "two.csv"]
    assert found == [str(tmp_path / name) for name in names]


def test_a_child_that_counts_utterances_leaves_the_seconds_of_its_base(tmp_path):
    written(tmp_path, '[data]\ntrain = "audio"\nseconds = 8\ncrop = 3\n', "base.toml")
    path = written(tmp_path, 'base = "base.toml"\n[model]\nfamily = "hubert"\n[data]\nutterances = 4\n')
    data = read_recipe(path).data
    assert (data.seconds, data.utterances, data.crop) == (None, 4, 3.0)


def test_a_path_that_cannot_be_one_is_said(tmp_path):
    path = written(tmp_path, '[model]\nfamily = "hubert"\n[data]\ntrain = "~nobody-of-that-name/x"\n')
    with pytest.raises(InputError, match="names no file"):
        read_recipe(path)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "step-2").mkdir()
    (tmp_path / "last").symlink_to("step-2")
    path = written(tmp_path, '[model]\nfamily = "hubert"\ncheckpoint = "last"\n[data]\ntrain = "x"\n')
    assert read_recipe(path).model.checkpoint == str(tmp_path / "last")


def test_another_corpus_replaces_the_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, '[model]\nfamily = "wav2vec2"\n[data]\ntrain = "x"\n')
    assert read_recipe(path, data=["a", "synthetic"]).data.train == (str(tmp_path / "a"), "synthetic")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "[model] names no family; take one of"),
        ('[model]\nfamily = "bert"', "family is 'bert'"),
        ("model = 3", "names no family"),
        ('[model]\nfamily = "hubert"\n[optim]\nlearning = 1', "[optim]: unknown key 'learning'; the nearest is"),
        ('[model]\nfamily = "hubert"\n[optimiser]\nlr = 1', "unknown section 'optimiser'; the nearest is 'optim'"),
        ('[model]\nfamily = "hubert"\n[optim]\nlr = "fast"', "lr is 'fast'; give a number"),
        ('[model]\nfamily = "hubert"\n[optim]\nlr = -1', "give a number above 0"),
        ('[model]\nfamily = "hubert"\n[optim]\nbetas = [0.9]', "is a list of 1; give one of 2"),
        ('[model]\nfamily = "hubert"\n[optim]\nschedule = "cosine"', "is 'cosine'; take one of linear, constant"),
        ('[model]\nfamily = "hubert"\n[run]\nsteps = 1.5', "steps is 1.5; give a whole number"),
        ('[model]\nfamily = "hubert"\n[run]\nsteps = true', "steps is true; give a whole number"),
        ('[model]\nfamily = "hubert"\n[run]\nsteps = 0', "give 1 or more"),
        ('[model]\nfamily = "hubert"\nsize = "huge"', "size 'huge' is none of"),
        ('[model]\nfamily = "hubert"\ndim = 100\nheads = 7', "dim 100 does not divide into 7 heads"),
        ('[model]\nfamily = "hubert"\ndim = 100\nheads = 4', "16 position groups"),
        ('[model]\nfamily = "hubert"\nframe_ms = 10', "frames of 10 ms are melhubert's"),
        ('[model]\nfamily = "melhubert"\nchannels = 3', "which melhubert has none of"),
        ('[model]\nfamily = "wav2vec2"\n[units]\nclusters = 5', "wav2vec2 learns no labels"),
        ('[model]\nfamily = "melhubert"\n[objective]\ntemperature = 1', "has no constants"),
        ('[model]\nfamily = "hubert"\n[units]\nfeatures = "state"', "needs a checkpoint and the number"),
        ('[model]\nfamily = "hubert"\n[units]\nclusters = 1', "labels of one class"),
        ('[model]\nfamily = "hubert"\n[masking]\nprob = 0', "give a share of frames above 0"),
        ('[model]\nfamily = "hubert"\n[regularisation]\ndropout = 1.0', "dropout 1.0"),
        ('[model]\nfamily = "hubert"', "[data]"),
        ('[model]\nfamily = "hubert"\n[data]\ntrain = "x"\nseconds = 5\nutterances = 5', "either so many seconds or"),
        ('[model]\nfamily = "hubert"\n[data]\ntrain = []', "names no audio"),
        ("[model", "is no TOML"),
        ('[model]\nfamily = "hubert"\n[optim]\nlr = nan', "lr is nan; give a number below"),
        ('[model]\nfamily = "hubert"\n[optim]\neps = inf', "eps is inf; give a number below"),
        ('[model]\nfamily = "hubert"\n[run]\nseed = 1000000000000000000000', "give a number below"),
        ('[model]\nfamily = "hubert"\nlayers = 0', "layers is 0; give 1 or more"),
        ('[model]\nfamily = "melhubert"\nframe_ms = 20.0', "frame_ms is 20.0; take one of 10, 20"),
        ('data = 5\n[model]\nfamily = "hubert"', "[data] is no section"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, said, tmp_path):
    if "[data]" not in text + said and "[model]" in text:
        text += '\n[data]\ntrain = "x"'
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_recipe_and_a_base_of_a_base_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    written(tmp_path, 'base = "b.toml"', "a.toml")
    written(tmp_path, 'base = "c.toml"', "b.toml")
    with pytest.raises(InputError, match="one level"):
        read_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_of_the_repository_reads(path):
    said = tomllib.loads(path.read_text())
    if "probe" in said:
        assert read_probe_recipe(path, models=["mel"]).model.models == ("mel",)
    elif "prune" in said:  # its family is that of a checkpoint
        assert resolved({**read_keys(path), "model": {"family": "hubert"}}, str(path)).prune is not None
    elif "distill" in said:
        assert resolved({**read_keys(path), "model": {"family": "hubert"}}, str(path)).distill is not None
    elif not any(f'base = "{path.name}"' in other.read_text() for other in path.parent.glob("*.toml")):
        assert isinstance(read_recipe(path), Recipe)


def test_recipes_of_the_paper_say_nothing_that_it_knows():
    """Section 2.1 and Table 2 stand in ``paper``: a recipe names family and size, no widths, updates or batches."""
    for path in (RECIPES / "pretrain").glob("*-s*.toml"):
        said = tomllib.loads(path.read_text())
        assert set(said["model"]) == {"family", "size"}
        assert not said.keys() & {"data", "optim", "run"}


def test_sections_survive_toml(tmp_path):
    recipe = of("wav2vec2")
    values = tomllib.loads(to_toml({"optim": recipe.optim}))["optim"]
    assert read_section(type(recipe.optim), values, "there") == recipe.optim
    assert asdict(recipe.optim).keys() == values.keys()


def test_the_nearest_name_is_named():
    assert "'warmup'" in str(nearest("f.toml [optim]", "key", "warm_up", ["lr", "warmup", "clip"]))
