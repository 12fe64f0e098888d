"""Files that cannot be used, from the corpus to the end of a run: counted, listed, left out; labels stay aligned."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from speechbias import cli
from speechbias.checkpoint import read_checkpoint
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.training.labels import read_labels
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.sources import open_corpus
from training_runs import digest, write_corpus, write_recipe

RATE = 16_000


def spoil(corpus):
    """Three files more that a look at the header takes for sound: NaN, silence, a FLAC broken in the middle."""
    wave = np.concatenate([soundfile.read(corpus / f"clip-{number}.wav")[0] for number in range(4)])
    soundfile.write(corpus / "clip-2b.wav", np.r_[wave, np.nan].astype(np.float32), RATE, subtype="FLOAT")
    soundfile.write(corpus / "clip-0b.flac", np.zeros(8000), RATE)
    soundfile.write(corpus / "clip-9.flac", wave, RATE)
    whole = bytearray((corpus / "clip-9.flac").read_bytes())
    whole[len(whole) // 2] ^= 0x5A
    (corpus / "clip-9.flac").write_bytes(whole)
    return corpus


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_on_a_spoilt_corpus_is_the_run_on_what_is_whole(family, tmp_path):
    clean, spoilt = write_corpus(tmp_path / "clean"), spoil(write_corpus(tmp_path / "spoilt"))
    told = []
    pretrain(read_recipe(write_recipe(tmp_path / "clean.toml", family, clean, steps=2)), tmp_path / "a")
    recipe = read_recipe(write_recipe(tmp_path / "spoilt.toml", family, spoilt, steps=2))
    pretrain(recipe, tmp_path / "b", warn=told.append)
    assert digest(tmp_path / "a", 2) == digest(tmp_path / "b", 2)
    counted = next(text for text in told if "left out" in text)
    assert counted.startswith("3 of 11 files cannot be used and are left out (")
    for reason in ("is digital silence: 1", "holds NaN or infinite samples: 1", "is truncated: 1"):
        assert reason in counted
    listed = [line.split("\t")[0] for line in (tmp_path / "b" / "left-out.tsv").read_text().splitlines()]
    assert listed == ["clip-0b.flac", "clip-2b.wav", "clip-9.flac"]
    assert not (tmp_path / "a" / "left-out.tsv").exists()


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
@pytest.mark.parametrize("bad", ["clip-0b.flac", "clip-2b.wav"])
def test_who_only_believes_headers_is_told_the_file_and_the_remedy(family, bad, tmp_path):
    corpus = spoil(write_corpus(tmp_path / "clips"))
    for name in {"clip-0b.flac", "clip-2b.wav", "clip-9.flac"} - {bad}:
        (corpus / name).unlink()
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=2)
    recipe.write_text(recipe.read_text().replace("[data]", '[data]\nscan = "headers"'))
    with pytest.raises(InputError, match=rf'{bad} (is dig|holds NaN).*scan = "whole"') as error:
        pretrain(read_recipe(recipe), tmp_path / "run")
    assert "\n" not in str(error.value)
    recipe.write_text(recipe.read_text().replace('"headers"', '"whole"'))
    assert pretrain(read_recipe(recipe), tmp_path / "run", resume=True).update == 2


def test_a_file_that_breaks_after_the_scan_ends_training_in_a_line(tmp_path):
    corpus = write_corpus(tmp_path / "clips")
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=4)
    recipe.write_text(recipe.read_text().replace("[data]", '[data]\nscan = "headers"'))
    soundfile.write(corpus / "clip-3.wav", np.full(8000, np.nan, np.float32), RATE, subtype="FLOAT")
    done = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", str(tmp_path / "run")])
    assert isinstance(done.exception, InputError)
    assert (
        'clip-3.wav holds NaN or infinite samples; was it changed since the scan? With [data] scan = "whole"'
        in str(done.exception)
    )


def test_lines_of_km_belong_to_the_rows_of_the_tsv_whatever_is_left_out(tmp_path):
    corpus = spoil(write_corpus(tmp_path / "clips"))
    names = [*sorted(path.name for path in corpus.iterdir()), "missing.wav"]
    frames = {name: soundfile.info(corpus / name).frames if name != "missing.wav" else 9000 for name in names}
    (tmp_path / "train.tsv").write_text(f"{corpus}\n" + "".join(f"{name}\t{frames[name]}\n" for name in names))
    rows = {name: np.arange(frames[name] // 160) * 7 % 5 + place for place, name in enumerate(names)}
    (tmp_path / "train.km").write_text("".join(" ".join(map(str, rows[name])) + "\n" for name in names))
    (tmp_path / "dict.km.txt").write_text("".join(f"{label} 1\n" for label in range(20)))
    manifest = open_corpus(tmp_path / "train.tsv")
    assert manifest.left_out.tolist() == [names.index(name) for name in names if name not in set(keys(manifest))]
    assert len(manifest) == 8
    labels = read_labels(tmp_path / "train.km", manifest)
    labels.check(manifest)
    for row, name in enumerate(keys(manifest)):
        np.testing.assert_array_equal(labels.of(row), rows[name])
    lines = (tmp_path / "train.km").read_text().splitlines(keepends=True)
    (tmp_path / "train.km").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"has 11 lines for 12 utterances \(4 of them left out\)"):
        read_labels(tmp_path / "train.km", manifest)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_may_be_any_bytes(family, tmp_path):
    named, plain = write_corpus(tmp_path / "named"), write_corpus(tmp_path / "plain")
    other = os.fsdecode(b"caf\xe9")
    (named / other).mkdir()
    (named / "clip-1.wav").rename(named / f"clip-1{other}.wav")
    (named / "clip-2.wav").rename(named / other / "clip-2.wav")
    (named / f"{other}.wav").write_bytes(b"")
    out, told = tmp_path / "run-named", []
    for steps in (2, 3):
        recipe = write_recipe(tmp_path / "r.toml", family, named, steps=steps)
        pretrain(read_recipe(recipe), out, resume=steps == 3, warn=told.append)
    assert "is empty (0 bytes): 1" in told[0]
    assert (out / "left-out.tsv").read_bytes() == b"caf\xe9.wav\tis empty (0 bytes)\n"
    pretrain(read_recipe(write_recipe(tmp_path / "r.toml", family, plain, steps=3)), tmp_path / "run")
    assert manifest_hours(out) == manifest_hours(tmp_path / "run")


def manifest_hours(run):
    provenance = read_checkpoint(str(run / "checkpoints" / "last")).meta.provenance
    return provenance["hours"], provenance["utterances"]


def test_what_cannot_stand_in_a_recipe_is_said_in_a_line_and_what_is_printed_has_its_bytes(tmp_path):
    other = os.fsdecode(b"caf\xe9")
    corpus = write_corpus(tmp_path / "clips")
    (tmp_path / other).symlink_to(corpus)
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus, steps=1)
    also = recipe.rename(tmp_path / f"{other}.toml")
    command = [sys.executable, "-m", "speechbias", "units", str(also), "--out"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for more, said in (
        [(tmp_path / "run", "--data", tmp_path / other), b"cannot stand in a recipe"],
        [(tmp_path / f"out-{other}",), b"is not UTF-8; choose another --out"],
    ):
        refused = subprocess.run([*command, *map(str, more)], capture_output=True, check=False, env=environment)
        assert refused.returncode == 2
        assert refused.stderr.count(b"\n") == 1
        assert said in refused.stderr
    made = subprocess.run([*command, str(tmp_path / "run")], capture_output=True, check=True, env=environment)
    assert b"caf\xe9.toml" in made.stdout


def keys(manifest):
    return [manifest.key(row) for row in range(len(manifest))]
