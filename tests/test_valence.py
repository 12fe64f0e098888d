"""Valence predictors: a planted direction is found, the gap turns with the sets, records say when it means nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ortho_group
from typer.testing import CliRunner

from recordings import write_test
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.inference import Options
from speechbias.measure import measure_bias
from speechbias.results import append_results, read_records, read_results, write_vectors
from speechbias.valence import AT_CHANCE, Corpus, measure_valence, predict_gap
from speechbias.valence.gap import _accuracy_interval
from speechbias.vectors import read_vectors, sets_of_layer, stored_vectors

DIM, TALKERS, EACH, TARGETS = 8, 5, 6, 12
QUICK = {"permutations": 500, "shuffles": 300, "resamples": 300}


def people(prefix, count, each):
    return [f"{prefix}{number}" for number in range(count) for _ in range(each)]


def made(seed=0, *, learnt=4.0, moved=2.0):
    """X, Y, a corpus and the targets' speakers: A lies ``learnt`` from B along dimension 0, X ``moved`` from Y."""
    rng = np.random.default_rng(seed)
    names = people("t", TALKERS, EACH)
    voices = np.repeat(rng.normal(size=(TALKERS, DIM)), EACH, axis=0)
    A, B = (voices + rng.normal(size=voices.shape) for _ in "AB")
    X, Y = rng.normal(size=(2, TARGETS, DIM))
    A[:, 0] += learnt
    X[:, 0] += moved
    speakers = {"X": people("x", TARGETS, 1), "Y": people("y", TARGETS, 1)}
    return X, Y, Corpus(A, B, {"A": names, "B": names}, "made"), speakers


def gap_of(X, Y, corpus, speakers, **options):
    return predict_gap(X, Y, corpus, speakers=speakers, **{**QUICK, **options})


def test_a_planted_direction_is_found():
    gap, predictor = gap_of(*made())
    assert predictor.balanced_accuracy > 0.85
    assert predictor.accuracy_low > 0.6
    assert max(predictor.p_predictor, gap.p_value, gap.p_attribute) < 0.02
    assert gap.gap > 0.2
    assert 0 < gap.ci_low < gap.gap_sd < gap.ci_high


def test_where_a_group_differs_elsewhere_shuffled_labels_give_as_large_a_gap():
    X, Y, corpus, speakers = made(moved=0.0)
    X[:, 3] += 4.0
    gap, predictor = gap_of(X, Y, corpus, speakers)
    assert predictor.p_predictor < 0.02
    assert gap.p_value < 0.05  # some of where they differ shows in any direction
    assert gap.p_attribute > 0.2  # as it would in that of shuffled labels


def test_without_valence_in_the_corpus_the_predictor_guesses():
    found = [gap_of(*made(seed, learnt=0.0))[1] for seed in range(10)]
    assert 0.35 < np.mean([each.balanced_accuracy for each in found]) < 0.65
    assert np.median([each.p_predictor for each in found]) > 0.1


def test_the_gap_turns_with_the_groups_and_with_the_attribute():
    X, Y, corpus, speakers = made(moved=0.7)
    gap, predictor = gap_of(X, Y, corpus, speakers)
    turned, same = gap_of(Y, X, corpus, {"X": speakers["Y"], "Y": speakers["X"]})
    assert (turned.gap, turned.gap_sd) == pytest.approx((-gap.gap, -gap.gap_sd))
    assert same.balanced_accuracy == predictor.balanced_accuracy
    other, _ = gap_of(X, Y, Corpus(corpus.B, corpus.A, corpus.speakers, "made"), speakers)
    assert (other.gap, other.gap_sd) == pytest.approx((-gap.gap, -gap.gap_sd))


def test_rotation_shift_and_scale_change_nothing():
    X, Y, corpus, speakers = made(moved=0.7)
    turn = ortho_group.rvs(DIM, random_state=0)

    def move(array):
        return 7.0 * array @ turn + 3.0

    one = gap_of(X, Y, corpus, speakers)
    other = gap_of(move(X), move(Y), Corpus(move(corpus.A), move(corpus.B), corpus.speakers, "made"), speakers)
    for mine, theirs in zip(one, other, strict=True):
        for name, value in vars(mine).items():
            assert getattr(theirs, name) == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6)), name


def test_accuracy_intervals_are_those_of_a_loop_over_drawn_talkers():
    rng = np.random.default_rng(2)
    names, is_a = np.array(people("t", 6, 8)), np.tile(np.arange(8) < 5, 6)
    right = rng.random(48) < 0.7
    low, high = _accuracy_interval(
        right, is_a, names.tolist(), rng=np.random.default_rng(0), resamples=4000, confidence=0.9
    )
    found = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(names == name) for name in rng.choice(np.unique(names), 6)])
        found.append((right[rows][is_a[rows]].mean() + right[rows][~is_a[rows]].mean()) / 2)
    assert np.quantile(found, (0.05, 0.95)) == pytest.approx([low, high], abs=0.02)


def test_unknown_talkers_are_each_their_own():
    X, Y, corpus, speakers = made()
    unknown = Corpus(corpus.A[::2], corpus.B[::2], {name: [""] * 15 for name in "AB"}, "made")
    gap, predictor = gap_of(X, Y, unknown, speakers)
    assert predictor.balanced_accuracy > 0.8
    assert gap.gap_sd > 0.5


def test_too_few_talkers_and_equal_clips_are_one_line():
    X, Y, corpus, speakers = made()
    two = {name: ["a", "b"] * (TALKERS * EACH // 2) for name in "AB"}
    with pytest.raises(InputError, match=r"A of made has 2 talkers, B 2; .*each needs 3 or more"):
        gap_of(X, Y, Corpus(corpus.A, corpus.B, two, "made"), speakers)
    same = np.ones_like(corpus.A)
    with pytest.raises(InputError, match="the same vector"):
        gap_of(X, Y, Corpus(same, same, corpus.speakers, "made"), speakers)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valence")
    write_test(folder, clips=8)
    options = ["-o", str(folder / "r.jsonl"), "--permutations", "500", "--resamples", "200", "--no-audit"]
    done = CliRunner().invoke(app, ["measure", "mel", "mfcc", "--stimuli", str(folder / "gender.csv"), *options])
    assert done.exit_code == 0, done.output
    return folder, read_results(folder / "r.jsonl")


def test_a_record_is_of_the_stored_vectors_and_json(measured):
    folder, (result, _) = measured
    record = measure_valence(result, folder, shuffles=200)
    assert json.loads(json.dumps(record)) == record
    assert (record["kind"], record["d"], record["trained_on"], record["talkers"]) == ("valence", result.d, "gender", 8)
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, "mean")
    corpus = Corpus(sets["A"], sets["B"], clips.speakers, "gender")
    gap, predictor = predict_gap(
        sets["X"], sets["Y"], corpus, speakers=clips.speakers, shuffles=200, permutations=500, resamples=200
    )
    assert (record["gap"], record["ci_low"], record["p_attribute"]) == (gap.gap, gap.ci_low, gap.p_attribute)
    assert record["balanced_accuracy"] == predictor.balanced_accuracy
    assert any("only 8 attribute talkers" in text for text in record["warnings"])
    assert "gender-" not in json.dumps(record)


def stored(folder, X, Y, corpus, name="made"):
    """A measurement of made-up vectors, as ``measure`` leaves it."""
    codes = {each: number for number, each in enumerate(dict.fromkeys(corpus.speakers["A"]))}
    arrays = {"X": X, "Y": Y, "A": corpus.A, "B": corpus.B}
    arrays |= {f"speakers_{each}": np.array([codes[s] for s in corpus.speakers[each]]) for each in "AB"}
    np.savez(folder / f"{name}.npz", **arrays)
    results = folder / f"{name}.jsonl"
    result = measure_bias(read_vectors(folder / f"{name}.npz"), **Options(permutations=500, resamples=200))
    result = replace(result, vectors=write_vectors(results, arrays), model="m", model_sha256="same", recipe={})
    append_results(results, [result])
    return result


def test_a_predictor_may_be_trained_on_another_test_of_the_same_model(tmp_path):
    X, Y, corpus, _ = made(moved=1.5)
    X2, Y2, empty, _ = made(1, learnt=0.0, moved=1.5)
    here, there = stored(tmp_path, X2, Y2, empty, "here"), stored(tmp_path, X, Y, corpus, "there")
    alone = measure_valence(here, tmp_path, shuffles=200)
    assert AT_CHANCE in alone["warnings"]
    record = measure_valence(here, tmp_path, trained_on=[(there, tmp_path)], shuffles=200)
    assert (record["trained_on"], record["test"]) == ("there", "here")
    assert record["p_predictor"] < 0.02
    assert record["gap_sd"] > 0.5
    assert AT_CHANCE not in record["warnings"]
    same = stored(tmp_path, X2, Y2, corpus, "again")  # another test, but the same A and B
    assert measure_valence(here, tmp_path, trained_on=[(there, tmp_path), (same, tmp_path)], shuffles=200) == record
    other = replace(there, recipe={"pooling": "max"})
    with pytest.raises(InputError, match="no measurement of this model with the same states, precision and pooling"):
        measure_valence(here, tmp_path, trained_on=[(other, tmp_path)])
    twice = [(there, tmp_path), (here, tmp_path)]
    with pytest.raises(InputError, match="holds there, here with different clips of A and B"):
        measure_valence(here, tmp_path, trained_on=twice)


def test_who_was_heard_is_said(tmp_path):
    X, Y, corpus, _ = made()
    result = stored(tmp_path, X, Y, corpus)
    with np.load(tmp_path / result.vectors["path"]) as file:
        arrays = dict(file)
    arrays["speakers_X"], arrays["speakers_Y"] = np.array([0, 1, *range(50, 60)]), np.arange(70, 82)
    known = replace(result, vectors=write_vectors(tmp_path / "made.jsonl", arrays))
    warnings = measure_valence(known, tmp_path, shuffles=50)["warnings"]
    assert any("2 speakers of X and Y speak in A or B too" in text for text in warnings)


def test_the_command(measured, tmp_path):
    folder, results = measured
    out = tmp_path / "v.jsonl"
    command = ["valence", str(folder / "r.jsonl"), "-o", str(out), "--shuffles", "200"]
    done = CliRunner().invoke(app, [*command, "--trained-on", str(folder / "r.jsonl")], env={"COLUMNS": "180"})
    assert done.exit_code == 0, done.output
    records = read_records(out)
    assert [(each["kind"], each["model"]) for each in records] == [("valence", "mel"), ("valence", "mfcc")]
    assert records[0] == measure_valence(results[0], folder, shuffles=200)  # the same clips, named twice
    assert "A told from B" in done.stdout
    assert f"{records[0]['d']:+.2f}" in done.stdout
