"""Controls: what is planted is of the size asked for and found, shuffled attributes are not, and failures are said."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.controls import control, gather_controls, plant
from speechbias.controls.planted import _drawn, _relabellings, _weights
from speechbias.inference import association_test
from speechbias.inference.designs import relabel, relabel_attributes
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


def stored(folder, sets, *, speakers=None, **options):
    speakers = speakers or {
        name: [f"{name if name in 'XY' else 't'}{k}" for k in range(len(sets[name]))] for name in "XYAB"
    }
    numbers = {name: number for number, name in enumerate(dict.fromkeys(s for ids in speakers.values() for s in ids))}
    codes = {f"speakers_{name}": np.array([numbers[s] for s in ids]) for name, ids in speakers.items()}
    np.savez(folder / "v.npz", **{name: array[:, None] for name, array in sets.items()}, **codes)
    embeddings = read_vectors(folder / "v.npz")
    result = measure_bias(embeddings, **{"permutations": 500, "resamples": 200, **options})
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
    drawn_ = _weights(_drawn(relabelling, 300, np.random.default_rng(0)))
    assert set(np.unique(drawn_)) == {1 / 5, -1 / 4}
    of_t = np.array([True] * 3 + [False] * 2 + [True] + [False] * 3)
    assert ((drawn_ > 0)[:, of_t].sum(1) == 3).all()
    assert ((drawn_ > 0)[:, ~of_t].sum(1) == 2).all()
    np.testing.assert_allclose((drawn_ > 0)[:, of_t].mean(0), 3 / 4, atol=0.1)


def test_few_relabellings_are_all_taken_whole_speakers_together():
    relabelling = relabel("speaker", (["a", "a", "b"], ["c", "d", "d"]))
    every, whole = _relabellings(relabelling, 6, np.random.default_rng(0))
    assert whole
    assert len({tuple(row) for row in every.tolist()}) == len(every) == 6
    assert (every[:, 0] == every[:, 1]).all()
    assert (every[:, 4] == every[:, 5]).all()
    assert not _relabellings(relabelling, 5, np.random.default_rng(0))[1]


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_the_planted_has_the_ps_that_a_measurement_of_it_has(tmp_path, alternative):
    sets = drawn(n=8)
    options = {"alternative": alternative, "permutations": 900, "seed": 3}
    found = control(stored(tmp_path, sets, **options), tmp_path)["planted"]
    target = -1.5 if alternative == "less" else 1.5
    made = plant({name: array.astype(np.float64) for name, array in sets.items()}, target)
    speakers = {name: [f"{name if name in 'XY' else 't'}{k}" for k in range(8)] for name in "XYAB"}
    tested = association_test(**made, resamples=100, speakers=speakers, **options)
    assert found["d"] == pytest.approx(target, abs=1e-6)
    assert (found["p_value"], found["p_attribute"]) == pytest.approx((tested.p_value, tested.p_attribute))
    assert found["associated"] == tested.associated


def test_a_test_with_too_few_relabellings_for_its_alpha_fails(tmp_path):
    sets = drawn(n=20, shift=1.0)
    assert control(stored(tmp_path, sets, confidence=0.99, permutations=2_000), tmp_path)["planted"]["associated"]
    found = control(stored(tmp_path, sets, confidence=0.99, permutations=60), tmp_path)
    assert found["planted"]["permutations"] == 60
    assert not found["passed"]


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_shuffles_are_judged_as_measurements_of_them_would_be(tmp_path, alternative, monkeypatch):
    """The slow way: a test of each shuffle."""
    monkeypatch.setattr("speechbias.controls.planted.DRAWS", 60)
    sets = drawn(n=7, dim=6, shift=1.0)
    result = stored(tmp_path, sets, alternative=alternative, permutations=2_000)
    found = control(result, tmp_path)["shuffled"]
    both, ids = np.concatenate([sets["A"], sets["B"]]), np.array([f"t{k}" for k in range(7)] * 2)
    options = {"alternative": alternative, "permutations": 2_000, "resamples": 100}
    tests = [
        association_test(sets["X"], sets["Y"], both[a], both[~a], speakers={"A": ids[a], "B": ids[~a]}, **options)
        for a in _drawn(_talkers(7), 60, np.random.default_rng([0, 0]))
    ]
    assert found["p_value"] == pytest.approx(np.mean([each.p_value < 0.05 for each in tests]), abs=0.04)
    assert found["associated"] == pytest.approx(np.mean([each.associated for each in tests]), abs=0.04)
    sizes = [-each.d if alternative == "less" else abs(each.d) for each in tests]
    assert found["d"] == pytest.approx(np.quantile(sizes, 0.95), abs=1e-6)


def _talkers(n):
    return relabel_attributes(([f"t{k}" for k in range(n)], [f"t{k}" for k in range(n)]))


def test_the_control_is_of_the_state_that_was_measured(tmp_path):
    result = stored(tmp_path, drawn(n=20))
    single = replace(result, layer=0)
    found = control(single, tmp_path)
    assert found["layer"] == 0
    assert found["of"] == single.measurement != result.measurement


def test_the_command_and_the_page(tmp_path):
    result = stored(tmp_path, drawn())
    path = str(tmp_path / "r.jsonl")
    done = CliRunner().invoke(app, ["controls", path, "-o", path])
    assert done.exit_code == 0, done.output
    assert "passed" in done.output
    (record,) = [each for each in read_records(path) if each["kind"] == "control"]
    assert record["passed"]
    page = write_report([result], tmp_path / "report", others=[record]).page.read_text()
    assert "a planted association of d = 1.5 was found in 1 of 1 measurement;" in page
    assert "A control failed" not in page


def test_a_report_has_the_controls_without_being_asked(tmp_path):
    stored(tmp_path, drawn(n=20))
    path, out = str(tmp_path / "r.jsonl"), tmp_path / "report"
    before = (tmp_path / "r.jsonl").read_bytes()
    assert CliRunner().invoke(app, ["report", path, "-o", str(out)]).exit_code == 0
    page, table = (out / "index.html").read_text(), (out / "table.md").read_text()
    assert "was found in 1 of 1 measurement" in page
    assert "A control failed" not in page
    assert "| found |" in table
    assert (tmp_path / "r.jsonl").read_bytes() == before
    assert CliRunner().invoke(app, ["report", path, "-o", str(out), "--no-controls"]).exit_code == 0
    assert "No association was planted and nothing shuffled for 1 of 1 measurement" in (out / "index.html").read_text()


def test_a_report_says_on_top_what_failed_and_names_each_failure_once(tmp_path):
    results = []
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        results.append(replace(stored(folder, drawn(seed=seed, shift=8.0)), model=f"m{seed}", stimuli_sha256="5" * 64))
    places = {result.identity: tmp_path / str(seed) for seed, result in enumerate(results)}
    made = gather_controls(results, places, [])
    assert [record["passed"] for record in made] == [False] * 6
    written = write_report(results, tmp_path / "report", others=made)
    page = written.page.read_text()
    assert written.card.read_text().count("A control failed: a planted association") == 6
    assert "| **missed** |" in written.markdown.read_text()
    assert page.index("A control failed.") < page.index('<article class="test">')
    assert page.count("would not have been found with these clips") == 1
    assert "v (m0, m1, m2, m3 and 2 more): a planted association" in page


def test_what_has_its_record_is_not_made_again_and_what_has_no_vectors_is_said(tmp_path):
    result = stored(tmp_path, drawn())
    held = control(result, tmp_path)
    places = {result.identity: tmp_path}
    assert gather_controls([result], places, [held]) == []
    other = replace(result, seed=1)
    assert len(gather_controls([result, other], places | {other.identity: tmp_path}, [held])) == 1
    (lost,) = gather_controls([replace(result, vectors=None)], places, [])
    assert lost["passed"] is None
    page = write_report([result], tmp_path / "report", others=[lost]).page.read_text()
    assert "Controls could not be made for 1 of 1 measurement" in page
    assert "no vectors are kept with this record" in page
    assert "A control failed" not in page


def test_gathering_gives_the_same_record_as_the_verb(tmp_path):
    result = stored(tmp_path, drawn())
    assert gather_controls([result], {result.identity: tmp_path}, []) == [control(result, tmp_path)]
