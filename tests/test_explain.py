"""Explanations of measured d's: they agree with the record and its vectors, and refuse what does not fit."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from recordings import write_test
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.explain import explain
from speechbias.leakage import probe_groups
from speechbias.results import read_records, read_results, write_vectors
from speechbias.speat import effect_size
from speechbias.vectors import stored_vectors


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    write_test(folder, clips=5)
    command = ["measure", "mel", "random:melhubert-small", "--stimuli", str(folder / "gender.csv"), "--per-layer"]
    options = ["-o", str(folder / "results.jsonl"), "--permutations", "500", "--resamples", "200"]
    done = CliRunner().invoke(app, [*command, *options])
    assert done.exit_code == 0, done.output
    return folder, read_results(folder / "results.jsonl")


def chosen(results, model, layer):
    return next(r for r in results if r.model == model and r.layer == layer)


def test_a_mean_over_states_is_explained(measured):
    folder, results = measured
    result = chosen(results, "random:melhubert-small", "mean")
    found = explain(result, folder)
    assert json.loads(json.dumps(found)) == found
    assert (found["kind"], found["model"], found["d"]) == ("explanation", result.model, result.d)
    sets = {name: array.mean(1) for name, array in stored_vectors(result, folder).sets().items()}
    everything = np.concatenate(list(sets.values())).astype(float)
    moved = {name: array.astype(float) - everything.mean(0) for name, array in sets.items()}
    assert found["alternatives"]["centred"] == pytest.approx(effect_size(**moved), rel=1e-6)
    assert sum(found["state_shares"]) == pytest.approx(1)
    assert set(found["other_measures"]) == {"sc_weat_X", "sc_weat_Y", "rnd_A", "rnd_B", "projection"}
    assert len(found["state_shares"]) == 4
    assert "states of equal length" in found["alternatives"]
    assert found["dim"] == 640
    assert 1 <= found["half_by"] <= 640
    low, high = found["leave_one_speaker_out"]
    assert low < found["d"] < high
    shares = [share for _, share in found["largest"]]
    assert shares == sorted(shares, reverse=True)


def test_a_single_state_and_a_feature_have_no_shares_of_states(measured):
    folder, results = measured
    state = explain(chosen(results, "random:melhubert-small", 2), folder)
    assert state["state_shares"] is None
    vectors = stored_vectors(chosen(results, "random:melhubert-small", 2), folder)
    d = effect_size(**{name: array[:, 2].astype(float) for name, array in vectors.sets().items()})
    assert state["d"] == pytest.approx(d, rel=1e-6)
    feature = explain(chosen(results, "mel", "mean"), folder)
    assert "states of equal length" not in feature["alternatives"]


def test_people_who_are_not_known_are_not_left_out(measured, tmp_path):
    folder, results = measured
    result = chosen(results, "mel", "mean")
    arrays = dict(np.load(folder / result.vectors["path"]))
    for name in "XYAB":
        arrays[f"speakers_{name}"] = np.full(5, -1)
    from speechbias.results import write_vectors  # noqa: PLC0415

    stored = write_vectors(tmp_path / "results.jsonl", arrays)
    found = explain(replace(result, vectors=stored), tmp_path)
    assert found["leave_one_speaker_out"] is None
    assert found["leave_one_talker_out"] is None


def test_the_command(measured, tmp_path):
    folder, _ = measured
    out = tmp_path / "why.jsonl"
    command = ["explain", str(folder / "results.jsonl"), "-o", str(out)]
    for _ in range(2):  # the second time nothing is added
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert re.search(r"gender\s+mel\s+[+-]\d", done.output)
    assert [r["layer"] for r in read_records(out)] == ["mean", "mean"]
    CliRunner().invoke(app, [*command, "--per-layer"])
    assert len(read_records(out)) == 7
    written = out.read_text()
    assert not re.search(r"\bt3\b", written)  # a talker's name
    assert str(folder) not in written


def test_the_command_leakage(measured, tmp_path):
    folder, results = measured
    out = tmp_path / "leaks.jsonl"
    done = CliRunner().invoke(app, ["leakage", str(folder / "results.jsonl"), "-o", str(out), "--seed", "2"])
    assert done.exit_code == 0, done.output
    records = read_records(out)
    assert [(r["kind"], r["model"], r["probe"]) for r in records] == [
        ("leakage", "mel", "linear"),
        ("leakage", "random:melhubert-small", "linear"),
    ]
    sets = stored_vectors(chosen(results, "mel", "mean"), folder).sets()
    vectors = np.concatenate([sets["X"], sets["Y"]]).mean(1)
    speakers = stored_vectors(chosen(results, "mel", "mean"), folder).speakers
    expected = probe_groups(vectors, [True] * 5 + [False] * 5, speakers["X"] + speakers["Y"], seed=2)
    assert records[0]["folds"] == 5
    assert (records[0]["balanced_accuracy"], records[0]["ci_low"]) == (expected.accuracy, expected.low)


def test_what_cannot_be_probed_is_said_and_the_others_are_written(measured, tmp_path):
    """A test in which all speak in both groups has no probe; the other tests of the file have."""
    folder, _ = measured
    first, *_ = read_records(folder / "results.jsonl")
    shutil.copytree(folder / "results.jsonl.vectors", tmp_path / "results.jsonl.vectors")
    with np.load(tmp_path / first["vectors"]["path"]) as file:
        arrays = {name: file[name] for name in file.files} | {f"speakers_{name}": np.arange(5) for name in "XY"}
    both = first | {"test": "crossed", "vectors": write_vectors(tmp_path / "results.jsonl", arrays)}
    lines = [json.dumps(both), json.dumps(first)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(app, ["leakage", str(tmp_path / "results.jsonl"), "-o", str(tmp_path / "l.jsonl")])
    assert (done.exit_code, [r["test"] for r in read_records(tmp_path / "l.jsonl")]) == (0, ["gender"])
    assert "left out: crossed, mel: " in done.stderr
    assert "5 speak in both" in done.stderr
    (tmp_path / "results.jsonl").write_text(lines[0] + "\n")
    done = CliRunner().invoke(app, ["leakage", str(tmp_path / "results.jsonl")])
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda r, f: replace(r, vectors=None), "no vectors are kept"),
        (lambda r, f: replace(r, vectors={"path": "gone.npz", "sha256": "0"}), "is not there; keep the folder"),
        (lambda r, f: replace(r, vectors=r.vectors | {"sha256": "0"}), "was changed since it was written"),
        (lambda r, f: replace(r, n=r.n | {"X": 4}), "holds other clips or states"),
        (lambda r, f: replace(r, d=r.d + 0.01), "the stored vectors give d = "),
    ],
)
def test_what_does_not_fit_is_one_line(measured, damage, match):
    folder, results = measured
    with pytest.raises(InputError, match=match) as caught:
        explain(damage(chosen(results, "mel", "mean"), folder), folder)
    assert len(caught.value.problems) == 1


def test_without_a_measurement_there_is_nothing_to_explain(tmp_path):
    (tmp_path / "r.jsonl").write_text("")
    done = CliRunner().invoke(app, ["explain", str(tmp_path / "r.jsonl")])
    assert "no measurement of the mean over states" in str(done.exception)


@pytest.mark.parametrize("verb", ["explain", "leakage", "valence", "controls"])
def test_no_number_is_cut_in_a_terminal_of_80_columns(measured, verb):
    folder, results = measured
    command = [verb, str(folder / "results.jsonl"), *(["--shuffles", "100"] if verb == "valence" else [])]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    shown = done.stdout.split()
    assert verb == "controls" or all(f"{result.d:+.2f}" in shown for result in results if result.layer == "mean")
    assert not any(re.fullmatch(r"[-+]?\d*\.|ardised", each) for each in shown)  # half of a number, of a word
    assert ("half by: so many of all dimensions" in done.stdout) is (verb == "explain")
    last = {"explain": "talker", "leakage": "d", "valence": "p", "controls": "control"}[verb]
    (head,) = [line for line in done.stdout.splitlines() if line.split()[:2] == ["test", "model"]]
    assert head.split()[-1] == last
