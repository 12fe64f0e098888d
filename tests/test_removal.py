"""Removal as a model: fitted on some speakers, saved, loaded, measured on others, refused where that would mislead."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import speechbias as sb
from recordings import read_rows, tone, write_csv, write_test
from speechbias.cli import app
from speechbias.confounds import Cropped
from speechbias.erasers import fit_eraser
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.inspection import describe_model
from speechbias.models.erased import ErasedEncoder
from speechbias.removal import fit_removal, remove
from speechbias.survey import Survey

MODEL = "random:melhubert-small"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two tests of different speakers: one to fit on, one to measure."""
    folder = tmp_path_factory.mktemp("clips")
    tests = {}
    for seed, name in enumerate(("fit", "held")):
        path = write_test(folder, name=name, seed=seed, clips=8)
        rows = [
            row | {"speaker": f"{name}-{row['speaker']}", "accent": f"a{n % 3}"}
            for n, row in enumerate(read_rows(path))
        ]
        tests[name] = sb.read_stimuli(write_csv(path, rows))
    return tests


@pytest.fixture(scope="module")
def erased(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("erased") / "without"
    return folder, remove(MODEL, clips["fit"], folder)


def class_gap(array, n):
    """The largest distance between the means of X and Y, by state."""
    return np.abs(array[: n["X"]].mean(0) - array[n["X"] : n["X"] + n["Y"]].mean(0)).max(1)


def test_on_what_was_fitted_the_groups_have_one_mean_in_every_state(clips):
    fitted = fit_removal(sb.load_encoder(MODEL), clips["fit"]).encoder
    free = replace(fitted, fitted_on=frozenset())
    before, after = sb.embed(fitted.base, clips["fit"]), sb.embed(free, clips["fit"])
    assert (class_gap(after.array, after.n) < 1e-4 * class_gap(before.array, before.n)).all()
    assert (
        abs(sb.measure_bias(after, permutations=100, resamples=100).d)
        < 0.05
        < abs(sb.measure_bias(before, permutations=100, resamples=100).d)
    )


def test_erasers_are_those_of_the_pooled_vectors_of_x_and_y(clips):
    encoder = sb.load_encoder("mfcc")
    fitted = fit_removal(encoder, clips["fit"], method="mean-projection").encoder
    array = sb.embed(encoder, clips["fit"]).array
    expected = fit_eraser(array[:16, 0], ["X"] * 8 + ["Y"] * 8, method="mean-projection")
    wave = tone(140, seed=3)
    np.testing.assert_allclose(fitted.pooled(wave)[0], expected(encoder.pooled(wave)[0].astype(float)), rtol=1e-6)
    frames = fitted.hidden_states(wave)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames.mean(1), fitted.pooled(wave), rtol=1e-4, atol=1e-4)


def test_a_saved_model_gives_the_same_and_needs_no_other_file(clips, tmp_path):
    base = tmp_path / "base"
    sb.save_checkpoint(base, sb.read_checkpoint(MODEL))
    fitted = remove(base, clips["fit"], tmp_path / "without").encoder
    shutil.rmtree(base)
    moved = (tmp_path / "without").rename(tmp_path / "elsewhere")
    loaded = sb.load_encoder(moved)
    wave = tone(150, seed=5)
    np.testing.assert_array_equal(loaded.pooled(wave), fitted.pooled(wave))
    np.testing.assert_array_equal(loaded.hidden_states(wave), fitted.hidden_states(wave))
    assert (loaded.name, loaded.sha256, loaded.family) == ("elsewhere", fitted.sha256, "melhubert")
    assert loaded.sha256 != loaded.base.sha256
    assert isinstance(loaded, sb.Encoder)


def test_the_record_says_what_was_removed_and_no_speaker(clips, erased):
    folder, fitted = erased
    result = sb.measure_bias(sb.embed(sb.load_encoder(folder), clips["held"]), permutations=100, resamples=100)
    said = result.recipe["removal"]
    assert (said["method"], said["classes"], said["speakers"]) == ("leace", {"female": 8, "male": 8}, 16)
    assert said["base_sha256"] == fitted.encoder.base.sha256
    assert result.model_sha256 == fitted.encoder.sha256
    assert result.parameters > fitted.encoder.base.parameters
    written = (folder / "removal.json").read_text()
    assert not any(clip.speaker in written for clip in clips["fit"].X)


def test_the_classes_may_be_a_column(clips):
    fitted = fit_removal(sb.load_encoder("mfcc"), clips["fit"], column="accent").encoder
    assert fitted.erasers[0].rank == 2
    assert set(fitted.facts["classes"]) == {"a0", "a1", "a2"}
    with pytest.raises(InputError, match=r"no clip of X or Y has a value of 'age'; there are accent"):
        fit_removal(sb.load_encoder("mfcc"), clips["fit"], column="age")


def test_a_class_of_one_speaker_is_refused(clips):
    """Its mean is that of a voice, so the voice would be removed and called a group."""
    X = tuple(replace(clip, speaker="one") for clip in clips["fit"].X)
    with pytest.raises(InputError, match=r"fit\.csv: one speaker alone is of X, so that voice would be removed"):
        fit_removal(sb.load_encoder("mfcc"), replace(clips["fit"], X=X))
    blank = tuple(replace(clip, speaker="") for clip in clips["fit"].X)
    assert fit_removal(sb.load_encoder("mfcc"), replace(clips["fit"], X=blank)).encoder.erasers[0].rank == 1


def test_the_refusal_comes_before_anything_is_embedded(clips, monkeypatch, tmp_path):
    fitted = fit_removal(sb.load_encoder("mfcc"), clips["fit"]).encoder
    monkeypatch.setattr(ErasedEncoder, "pooled", lambda *_: pytest.fail("a clip was embedded"))
    with pytest.raises(InputError, match="was fitted on 16 speakers"):
        sb.embed(fitted, clips["fit"])
    survey = Survey(models=["mfcc"], tests=[clips["fit"]], out=tmp_path / "r.jsonl")
    monkeypatch.setattr("speechbias.survey.load_encoder", lambda *_, **__: fitted)
    with pytest.raises(InputError, match="was fitted on 16 speakers"):
        list(survey.measure())


def test_a_test_with_speakers_or_files_of_the_fit_is_refused(clips, erased, tmp_path):
    encoder = sb.load_encoder(erased[0])
    with pytest.raises(InputError, match=r"fitted on 16 speakers and 16 files of fit\.csv"):
        sb.embed(encoder, clips["fit"])
    with pytest.raises(InputError, match=r"fitted on 16 speakers and 16 files of fit\.csv"):
        sb.embed(Cropped(encoder, 0.1), clips["fit"])
    one = replace(clips["held"].X[0], speaker=clips["fit"].X[0].speaker)
    with pytest.raises(InputError, match=r"fitted on 1 speakers and 0 files of held\.csv"):
        sb.embed(encoder, replace(clips["held"], X=(one, *clips["held"].X[1:])))
    csv = clips["fit"].X[0].path.parent.parent / "fit.csv"
    done = CliRunner().invoke(app, ["measure", str(erased[0]), "--stimuli", str(csv), "-o", str(tmp_path / "r.jsonl")])
    assert "speechbias stimuli split" in str(done.exception)


def test_the_command_line(clips, tmp_path):
    csv = clips["fit"].X[0].path.parent.parent / "fit.csv"
    out = str(tmp_path / "plain")
    done = CliRunner().invoke(app, ["remove", "mel", "--fit", str(csv), "-o", out, "--method", "mean-projection"])
    assert done.exit_code == 0, done.output
    assert "mean-projection of 1 of" in done.output
    assert sb.load_encoder(out).recipe["removal"]["method"] == "mean-projection"
    described = describe_model(out)
    assert (described.name, described.family) == ("plain", "features")
    assert described.provenance["removed"].startswith("mean-projection of female, male")
    again = CliRunner().invoke(app, ["remove", out, "--fit", str(csv), "-o", str(tmp_path / "twice")])
    assert "has had something removed already" in str(again.exception)
    assert not (tmp_path / "twice").exists()


def test_as_onnx_it_runs_without_this_package_and_is_known_again(clips, erased, tmp_path):
    out = export_checkpoint(erased[0], tmp_path / "x.onnx", format="onnx", latency=False)
    wave = tone(150, seed=5)
    encoder = sb.load_encoder(erased[0])
    expected = encoder.hidden_states(wave)
    states, last = onnxruntime.InferenceSession(str(out)).run(None, {"wave": wave[None]})
    np.testing.assert_allclose(states, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(last, states[-1])
    assert np.abs(states - encoder.base.hidden_states(wave)).max() > 1e-3 * np.abs(expected).max()
    loaded = sb.load_encoder(out)
    assert loaded.recipe["removal"] == dict(encoder.facts)
    assert (loaded.parameters, loaded.step) == (encoder.parameters, None)
    with pytest.raises(InputError, match="fitted on 16 speakers and 16 files"):
        sb.embed(loaded, clips["fit"])
    card = (tmp_path / "x.md").read_text()
    assert "removal: method | leace" in card
    assert encoder.sha256 in card
    with pytest.raises(InputError, match="a hf folder has no place for; use --format onnx"):
        export_checkpoint(erased[0], tmp_path / "hf", format="hf")


def test_what_is_no_checkpoint_is_not_trained_on(erased):
    with pytest.raises(InputError, match="neither trained on, pruned nor read"):
        sb.read_checkpoint(erased[0])


def test_other_states_than_the_fitted_ones_are_refused(clips, tmp_path):
    remove("mel", clips["fit"], tmp_path / "w", states="hf")
    assert sb.load_encoder(tmp_path / "w", states="hf").states == "hf"
    for ask in (sb.load_encoder, sb.checkpoint.check_model):
        with pytest.raises(InputError, match="erases the states 'hf', not 's3prl'"):
            ask(tmp_path / "w")


def broken(folder, **changes):
    said = json.loads((folder / "removal.json").read_text()) | changes
    (folder / "removal.json").write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda f: broken(f, schema=2), "another schema"),
        (lambda f: broken(f, facts=None), "does not say what was removed"),
        (lambda f: broken(f, base="../base"), "leads out of the folder"),
        (lambda f: broken(f, base="random:melhubert-small:7"), "has other weights than those that were fitted"),
        (lambda f: broken(f, base="mel"), "has other weights|erasers are for 4 states of 640"),
        (lambda f: (f / "removal.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "removal.safetensors").unlink(), "cannot be read as erasers"),
        (lambda f: (f / "removal.safetensors").write_bytes(b"x"), "cannot be read as erasers"),
        (lambda f: save_file({"mean": np.ones((4, 640))}, f / "removal.safetensors"), "cannot be read as erasers"),
        (lambda f: halved(f / "removal.safetensors"), "erasers are for 2 states of 640, random:melhubert-small has 4"),
    ],
)
def test_a_broken_folder_is_one_line(erased, tmp_path, damage, match):
    folder = tmp_path / "copy"
    shutil.copytree(erased[0], folder)
    damage(folder)
    with pytest.raises(InputError, match=match) as caught:
        sb.load_encoder(folder)
    assert len(caught.value.problems) == 1


def halved(path):
    save_file({name: array[:2].copy() for name, array in load_file(path).items()}, path)


def test_a_lost_base_is_named(clips, tmp_path):
    base = tmp_path / "base"
    sb.save_checkpoint(base, sb.read_checkpoint(MODEL))
    remove(base, clips["fit"], tmp_path / "without")
    shutil.rmtree(tmp_path / "without" / "model")
    with pytest.raises(InputError, match="has lost its model; copy the folder again"):
        sb.load_encoder(tmp_path / "without")


def test_what_is_there_already_stays(clips, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("no")
    with pytest.raises(InputError, match="is there already and is no model with a removal of ours"):
        remove("mel", clips["fit"], tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "no"


def test_erasers_of_another_encoder_are_refused(clips):
    fitted = fit_removal(sb.load_encoder("mel"), clips["fit"]).encoder
    with pytest.raises(InputError, match="mfcc has 1 of"):
        ErasedEncoder("x", sb.load_encoder("mfcc"), fitted.erasers, fitted.facts)
