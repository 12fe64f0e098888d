"""Other poolings of frames than their mean: the numbers of numpy over the hidden states, whatever the model is."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import speechbias as sb
from exportable import saved, tiny
from recordings import tone, write_test
from speechbias.cli import app
from speechbias.cli.options import Pooling
from speechbias.compare import compare_results
from speechbias.encoder import Reducing, Sized
from speechbias.errors import InputError
from speechbias.explain import explain
from speechbias.export import export_checkpoint
from speechbias.features import FeatureEncoder
from speechbias.models.freeze import freeze
from speechbias.poolings import MEAN, POOLINGS, Pooled, with_pooling
from speechbias.removal import remove
from speechbias.report.grid import arrange
from speechbias.results import read_results

FAST = ("--permutations", "300", "--resamples", "200", "--no-audit")
ORACLE = {  # of frames (frames, dim), one number at a time
    "max": max,
    "min": min,
    "median": lambda column: np.quantile(column, 0.5),
    "std": lambda column: np.sqrt(sum((x - sum(column) / len(column)) ** 2 for x in column) / len(column)),
    "first": lambda column: column[0],
    "second": lambda column: column[1],
    "q1": lambda column: column[int(len(column) * 0.25)],
    "q2": lambda column: column[int(len(column) * 0.5)],
    "q3": lambda column: column[int(len(column) * 0.75)],
    "penultimate": lambda column: column[len(column) - 2],
    "last": lambda column: column[len(column) - 1],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A MODEL of every kind that runs without transformers; one from which something was removed among them."""
    folder = tmp_path_factory.mktemp("models")
    write_test(folder, name="fit", clips=4)
    made = {family: str(saved(folder / family, tiny(family))) for family in ("wav2vec2", "hubert")}
    remove(made["hubert"], sb.read_stimuli(folder / "fit.csv"), folder / "without")
    made |= {"melhubert": "random:melhubert-small", "without": str(folder / "without"), "mel": "mel"}
    return made | {"onnx": str(export_checkpoint(made["hubert"], folder / "h.onnx", format="onnx", latency=False))}


def oracle(pooling, states):
    """(states, frames, dim) to (states, dim), by loops."""
    return [[ORACLE[pooling](column.astype(np.float64)) for column in state.T] for state in states]


def test_the_command_line_has_all_of_them():
    assert [each.value for each in Pooling] == [MEAN, *POOLINGS]
    assert POOLINGS.keys() == ORACLE.keys()


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "melhubert", "without", "mel", "onnx"])
def test_what_is_pooled_is_of_the_hidden_states(models, kind):
    wave = tone(130, seconds=0.4, seed=3)
    plain = sb.load_encoder(models[kind])
    states = plain.hidden_states(wave)
    for pooling in POOLINGS:
        encoder = with_pooling(plain, pooling)
        found = encoder.pooled(wave)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, ::41], oracle(pooling, states[:, :, ::41]), rtol=1e-6, atol=1e-7)
        assert encoder.recipe == {**plain.recipe, "pooling": pooling}
        assert (encoder.sha256, encoder.name, encoder.num_states) == (plain.sha256, plain.name, plain.num_states)
        assert isinstance(encoder, sb.Encoder)
    np.testing.assert_array_equal(sb.load_encoder(models[kind], pooling="last").pooled(wave), states[:, -1])


def test_the_mean_is_the_encoder_itself():
    feature = FeatureEncoder("mel")
    assert with_pooling(feature, "mean") is feature
    with pytest.raises(InputError, match="pooling 'sum' is unknown; take one of mean, max"):
        sb.load_encoder("mel", pooling="sum")


def test_never_more_than_one_state_is_held(models):
    """A network gives states one at a time, and what is erased too; nothing asks it for all of them."""
    for kind in ("hubert", "without"):
        encoder = sb.load_encoder(models[kind])
        assert isinstance(encoder, Reducing)
        shapes = encoder.reduced(tone(120), lambda state, frames: np.array([state, frames.ndim], np.float32))
        assert shapes.tolist() == [[state, 2] for state in range(4)]
    assert not isinstance(FeatureEncoder("mel"), Reducing)


def test_where_a_network_takes_batches_clips_are_pooled_one_by_one(models):
    """As on a GPU: there the plain network computes, many utterances at a time."""
    from speechbias.checkpoint import read_checkpoint  # noqa: PLC0415

    batched = freeze("b", read_checkpoint(models["hubert"]).stored(), batched=True)
    assert batched.batch_seconds
    wave = tone(150, seconds=0.4)
    assert not hasattr(Pooled(batched, "max"), "batch_seconds")
    expected = sb.load_encoder(models["hubert"], pooling="max").pooled(wave)
    np.testing.assert_allclose(Pooled(batched, "max").pooled(wave), expected, rtol=1e-4, atol=1e-4)


def test_what_is_known_of_a_model_stays_known(models):
    plain, encoder = sb.load_encoder(models["without"]), sb.load_encoder(models["without"], pooling="last")
    assert encoder.fitted_on == plain.fitted_on
    assert encoder.fitted_on
    assert isinstance(encoder, Sized)
    assert encoder.parameters == plain.parameters


@pytest.mark.parametrize("pooling", ["std", "second", "penultimate"])
def test_what_takes_two_frames_refuses_a_wave_of_one(pooling):
    plain, encoder = sb.load_encoder("mel"), sb.load_encoder("mel", pooling=pooling)
    wave = tone(120)
    assert plain.hidden_states(wave[: encoder.min_samples]).shape[1] >= 2
    assert encoder.pooled(wave[: encoder.min_samples]).shape == (1, 80)
    with pytest.raises(InputError, match="one frame needs"):
        encoder.pooled(wave[: encoder.min_samples - 1])
    assert sb.load_encoder("mel", pooling="max").min_samples == plain.min_samples


def test_frames_that_are_all_alike_have_no_spread():
    class Constant(FeatureEncoder):
        def hidden_states(self, wave):
            return np.full((1, 40, 80), 0.1, np.float32)

    with pytest.raises(InputError, match="the frames of state 0 are all alike"):
        Pooled(Constant("mel"), "std").pooled(tone(120))


def test_with_cmvn_there_is_no_mean_but_a_maximum():
    wave = tone(120)
    with pytest.raises(InputError, match="CMVN"):
        sb.load_encoder("mel:cmvn").pooled(wave)
    assert np.isfinite(sb.load_encoder("mel:cmvn", pooling="max").pooled(wave)).all()


def measure(folder, *options):
    command = ["measure", "mel", "random:melhubert-small", "--stimuli", str(folder / "gender.csv"), *FAST]
    done = CliRunner().invoke(app, [*command, "-o", str(folder / "r.jsonl"), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Mean, then max twice (the second adds nothing), then max with two workers and no cache onto another file."""
    folder = tmp_path_factory.mktemp("pooled")
    write_test(folder, clips=5)
    measure(folder)
    before = (folder / "r.jsonl").read_bytes()
    measure(folder, "--pooling", "max", "--per-layer")
    once = (folder / "r.jsonl").read_bytes()
    measure(folder, "--pooling", "max", "--per-layer")
    assert once.startswith(before)
    assert (folder / "r.jsonl").read_bytes() == once
    return folder, read_results(folder / "r.jsonl")


def of(results, model, pooling, layer="mean"):
    return next(r for r in results if (r.model, r.pooling, r.layer) == (model, pooling, layer))


def test_another_pooling_is_another_measurement_with_vectors_and_a_cache_of_its_own(measured):
    folder, results = measured
    assert [(r.model, r.pooling) for r in results if r.layer == "mean"] == [
        ("mel", "mean"), ("random:melhubert-small", "mean"), ("mel", "max"), ("random:melhubert-small", "max"),
    ]  # fmt: skip
    first = of(results, "mel", "mean")
    assert "pooling" not in first.to_json()["recipe"]
    assert first.about.keys() == {"model_sha256", "stimuli_sha256"}
    assert of(results, "mel", "max").about["pooling"] == "max"
    stimuli = sb.read_stimuli(folder / "gender.csv")
    found = sb.measure_bias(sb.embed(sb.load_encoder("mel", pooling="max"), stimuli), permutations=300, resamples=200)
    assert found.d == of(results, "mel", "max").d != first.d
    assert found.identity == of(results, "mel", "max").identity
    assert len([each for each in (folder / "r.jsonl.cache").iterdir() if len(each.name) == 32]) == 4


def test_workers_and_the_cache_change_no_digit(measured, tmp_path):
    folder, _ = measured
    stimuli, encoder = sb.read_stimuli(folder / "gender.csv"), sb.load_encoder("mel", pooling="median")
    once = sb.embed(encoder, stimuli, workers=2, cache=tmp_path).array
    np.testing.assert_array_equal(once, sb.embed(encoder, stimuli).array)
    np.testing.assert_array_equal(once, sb.embed(encoder, stimuli, cache=tmp_path).array)
    assert not np.array_equal(once, sb.embed(sb.load_encoder("mel"), stimuli, cache=tmp_path).array)


def test_a_crop_and_a_pooling_go_together(measured, tmp_path):
    folder, _ = measured
    command = ["measure", "mel", "--stimuli", str(folder / "gender.csv"), *FAST, "--crop", "0.2", "--pooling", "last"]
    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "r.jsonl")])
    assert done.exit_code == 0, done.output
    (record,) = read_results(tmp_path / "r.jsonl")
    assert (record.recipe["crop_seconds"], record.recipe["pooling"]) == (0.2, "last")


def test_vectors_are_pooled_already(measured, tmp_path):
    folder, results = measured
    vectors = str(folder / results[0].vectors["path"])
    done = CliRunner().invoke(app, ["measure", vectors, "--pooling", "max", "-o", str(tmp_path / "r.jsonl")])
    assert isinstance(done.exception, InputError)
    assert "pooled already. Leave --pooling out." in str(done.exception)


def test_the_table_has_a_row_for_each(measured):
    _, results = measured
    labels = [row.label for row in arrange(results).rows]
    assert "mel (pooling mean)" in labels
    assert "mel (pooling max)" in labels
    assert [row.label for row in arrange([of(results, "mel", "max")]).rows] == ["mel (pooling max)"]
    assert [row.label for row in arrange([of(results, "mel", "mean")]).rows] == ["mel"]


def test_explain_shows_d_under_the_other_pooling(measured, tmp_path):
    folder, results = measured
    first, other = of(results, "mel", "mean"), of(results, "mel", "max")
    assert explain(first, folder, beside=results)["poolings"] == {"max": other.d}
    assert explain(other, folder, beside=results)["poolings"] == {"mean": first.d}
    assert explain(other, folder, beside=results)["pooling"] == "max"
    alone = explain(first, folder, beside=[first])
    assert alone == explain(first, folder)
    assert {"poolings", "pooling"}.isdisjoint(alone)
    state = of(results, "random:melhubert-small", "max", 1)
    assert "poolings" not in explain(state, folder, beside=results)  # the mean of that state was not measured
    out = tmp_path / "e.jsonl"
    done = CliRunner().invoke(app, ["explain", str(folder / "r.jsonl"), "-o", str(out)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert f"max {other.d:+.2f}" in done.stdout
    assert "mel, max over time" in done.stdout
    from speechbias.report import write_report  # noqa: PLC0415

    others = [json.loads(line) for line in out.read_text().splitlines()]
    page = write_report(results, tmp_path / "report", others=others).page.read_text()
    assert "<td>max " in page
    assert "pooled over time by mean, max" in page


def test_compare_keeps_them_apart(measured):
    folder, results = measured
    means = [r for r in results if r.layer == "mean"]
    found = compare_results({folder / "r.jsonl": means}, baseline="mel, max over time")
    assert [each.model for each in found] == ["mel", "random:melhubert-small", "random:melhubert-small, max over time"]
    assert found[0].difference == pytest.approx(of(results, "mel", "mean").d - of(results, "mel", "max").d)
