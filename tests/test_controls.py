"""Controls: what is planted is of the size asked for and found, shuffled attributes are not, and failures are said."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.controls import _weights, control, plant
from speechbias.inference.designs import relabel_attributes
from speechbias.measure import measure_bias
from speechbias.report import write_report
from speechbias.results import append_results, read_records, write_vectors
from speechbias.speat import effect_size
from speechbias.vectors import read_vectors, to_arrays


def drawn(seed=0, n=12, dim=16, shift=0.0):
    rng = np.random.default_rng(seed)
    sets = {name: rng.standard_normal((n, dim)) + 1.0 for name in "XYAB"}
    sets["A"][:, 0] += 3.0
    sets["X"][:, 5] += shift  # apart, but not along A against B
    return sets


def stored(folder, sets, *, speakers=None):
    speakers = speakers or {
        name: [f"{name if name in 'XY' else 't'}{k}" for k in range(len(sets[name]))] for name in "XYAB"
    }
    numbers = {name: number for number, name in enumerate(dict.fromkeys(s for ids in speakers.values() for s in ids))}
    codes = {f"speakers_{name}": np.array([numbers[s] for s in ids]) for name, ids in speakers.items()}
    np.savez(folder / "v.npz", **{name: array[:, None] for name, array in sets.items()}, **codes)
    embeddings = read_vectors(folder / "v.npz")
    result = measure_bias(embeddings, permutations=500, resamples=200)
    result = replace(result, vectors=write_vectors(folder / "r.jsonl", to_arrays(embeddings)))
    append_results(folder / "r.jsonl", [result])
    return result


@pytest.mark.parametrize("target", [-0.5, 0.3, 1.0, 1.7])
def test_what_is_planted_has_the_size_asked_for(target):
    sets = drawn()
    made = plant(sets, target)
    assert effect_size(**made) == pytest.approx(target, abs=1e-6)
    np.testing.assert_array_equal(made["A"], sets["A"])
    moves = made["X"] - sets["X"]
    np.testing.assert_allclose(moves, np.broadcast_to(moves[0], moves.shape), atol=1e-12)
    np.testing.assert_allclose(made["Y"] - sets["Y"], -moves[: len(sets["Y"])], atol=1e-12)


def test_what_no_data_can_have_is_not_planted():
    assert plant(drawn(), 2.5) is None


def test_with_many_speakers_the_planted_is_found_and_the_shuffled_are_not(tmp_path):
    found = control(stored(tmp_path, drawn(shift=1.5, n=20)), tmp_path)
    assert found["passed"]
    assert found["planted"]["d"] == pytest.approx(1.5, abs=1e-6)
    assert found["planted"]["associated"]
    assert found["shuffled"]["associated"] <= 0.07
    assert found["shuffled"]["p_value"] > 0.1  # groups that differ do so along many directions


def test_groups_that_lie_far_apart_along_another_direction_hide_what_is_planted(tmp_path):
    found = control(stored(tmp_path, drawn(shift=4.0)), tmp_path)
    assert found["planted"]["p_value"] < 0.001
    assert found["planted"]["p_attribute"] > 0.05
    assert not found["passed"]
    assert found["shuffled"]["p_value"] > 0.3
    assert found["shuffled"]["associated"] <= 0.08


def test_with_so_few_speakers_that_no_p_can_be_small_the_control_fails(tmp_path):
    speakers = {"X": [f"x{k % 3}" for k in range(12)], "Y": [f"y{k % 3}" for k in range(12)]}
    speakers |= {name: [f"t{k}" for k in range(12)] for name in "AB"}
    result = stored(tmp_path, drawn(), speakers=speakers)
    assert result.p_min > 0.05
    found = control(result, tmp_path)
    assert not found["passed"]
    assert not found["planted"]["associated"]
    page = write_report([result], tmp_path / "report", others=[found]).page.read_text()
    assert "A control failed." in page
    assert "would not have been found with these clips" in page


def test_relabellings_keep_counts_within_talkers():
    ids = (["t", "t", "t", "u", "u"], ["t", "u", "u", "u"])
    relabelling = relabel_attributes(ids)
    rng = np.random.default_rng(0)
    drawn_ = np.array([_weights(relabelling, 9, rng) for _ in range(300)])
    assert set(np.unique(drawn_)) == {1 / 5, -1 / 4}
    of_t = np.array([True] * 3 + [False] * 2 + [True] + [False] * 3)
    assert ((drawn_ > 0)[:, of_t].sum(1) == 3).all()
    assert ((drawn_ > 0)[:, ~of_t].sum(1) == 2).all()
    np.testing.assert_allclose((drawn_ > 0)[:, of_t].mean(0), 3 / 4, atol=0.1)


def test_the_command_and_the_page(tmp_path):
    result = stored(tmp_path, drawn())
    path = str(tmp_path / "r.jsonl")
    done = CliRunner().invoke(app, ["controls", path, "-o", path])
    assert done.exit_code == 0, done.output
    assert "passed" in done.output
    (record,) = [each for each in read_records(path) if each["kind"] == "control"]
    assert record["passed"]
    page = write_report([result], tmp_path / "report", others=[record]).page.read_text()
    assert "was found in 1 of 1 measurements" in page
    assert "A control failed" not in page
