"""Comparisons from stored vectors: what is compared with what, what is refused, and what a report shows of it."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import speechbias as sb
from speechbias.cli import app
from speechbias.compare import compare_results
from speechbias.embeddings import Embeddings, Model
from speechbias.errors import InputError
from speechbias.families import judge_states, judge_steps
from speechbias.inference import associate
from speechbias.measure import measure_layers
from speechbias.report.comparisons import find_comparisons, terminal_comparisons, write_comparisons
from speechbias.report.grid import arrange
from speechbias.report.page import render_page
from speechbias.results import SETS, append_records, append_results, read_records, read_results, write_vectors
from speechbias.vectors import stored_vectors, to_arrays

OPTIONS = {"permutations": 200, "resamples": 200, "seed": 1}
N = {"X": 8, "Y": 9, "A": 6, "B": 6}
RUN = {"name": "mine", "recipe": "a", "seed": 0}


def embeddings(name="alpha", *, seed=0, shift=0.0, states=3, test="gender", stimuli="11" * 32, **model):
    """Clips that all models have in common, seen by each with some noise; X lies ``shift`` nearer to A."""
    common = np.random.default_rng(99).normal(size=(sum(N.values()), states, 8)) + 2.0
    array = common + 0.3 * np.random.default_rng(seed).normal(size=common.shape)
    array[: N["X"], :, 0] += shift
    array[N["X"] + N["Y"] : N["X"] + N["Y"] + N["A"], :, 0] += 3.0
    speakers = {set_: tuple(f"{set_ if set_ in 'XY' else 't'}{k}" for k in range(count)) for set_, count in N.items()}
    return Embeddings(
        array=array,
        n=N,
        test=test,
        model=Model(name, "wav2vec2", "s3prl", "float32", f"{seed:02d}" * 32, **model),
        speakers=speakers,
        pairs={"X": ("",) * N["X"], "Y": ("",) * N["Y"]},
        groups={"X": "female", "Y": "male", "A": "positive", "B": "negative"},
        stimuli_sha256=stimuli,
    )


def store(path, *measured, per_layer=False, pruned=None, **changes):
    """Measure and write as ``survey`` does."""
    for each in measured:
        layers = None if per_layer else ["mean"]
        stored = write_vectors(path, to_arrays(each))
        results = [
            replace(r, vectors=stored, **(pruned or {}))
            for r in measure_layers(each, layers=layers, **(OPTIONS | changes))
        ]
        append_results(path, results)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    path = tmp_path_factory.mktemp("three") / "r.jsonl"
    models = [embeddings("alpha"), embeddings("beta", seed=1), embeddings("gamma", seed=2, shift=4.0)]
    return store(path, *models, per_layer=True), models


def read(*paths):
    return {Path(path): read_results(path) for path in paths}


def test_stored_vectors_give_what_embeddings_give(three):
    path, models = three
    direct = sb.compare_models(models, resamples=200, seed=1)
    stored = compare_results(read(path))
    assert [replace(each, n_speakers={}) for each in direct] == [replace(each, n_speakers={}) for each in stored]
    assert [(each.model, each.baseline) for each in stored] == [("beta", "alpha"), ("gamma", "alpha")]
    d = {record.model: record.d for record in read_results(path) if record.layer == "mean"}
    for each in stored:
        assert each.d == pytest.approx(d[each.model])
        assert each.difference == pytest.approx(each.d - each.d_baseline)
        assert each.ci_low <= each.difference <= each.ci_high
        assert each.ci_attributes[0] < each.ci_attributes[1]
        assert each.p_value <= each.p_adjusted
        assert each.p_value <= each.p_bh <= each.p_holm
    assert [each.verdict for each in stored] == ["cannot tell", "differs"]
    assert stored[1].baseline_sha256 == models[0].model.sha256
    assert compare_results({str(path): read_results(path)}) == stored
    assert stored[0].family == "2 comparisons"


def test_layers_of_models_pairs_and_one_family(three):
    path, models = three
    made = compare_results(read(path), all_pairs=True, per_layer=True)
    assert len(made) == 3 * 4
    assert {each.family for each in made} == {"12 comparisons"}
    assert [each.layer for each in made[::3]] == ["mean", 0, 1, 2]
    assert [(each.model, each.baseline) for each in made[:3]] == [
        ("beta", "alpha"),
        ("gamma", "alpha"),
        ("gamma", "beta"),
    ]
    by_call = sb.compare_models(models, baseline=2, layers=[1], resamples=200, seed=1)
    assert by_call[0].d_baseline == pytest.approx(made[4 + 3].d) or by_call[0].baseline == "gamma"
    assert by_call[1].difference == pytest.approx(
        -next(m for m in made if m.layer == 1 and m.baseline == "beta").difference
    )


def test_states_of_one_model(three):
    path, models = three
    direct = sb.compare_layers(models[0], resamples=200, seed=1)
    assert [(each.layer, each.baseline_layer) for each in direct] == [(1, 0), (2, 0)]
    made = compare_results(read(path), layers=True)
    assert len(made) == 6
    assert {each.model == each.baseline for each in made} == {True}
    alone = sb.compare_models([models[0], models[0]], layers=[1])[0]
    assert (alone.difference, alone.p_value) == (0, 1)


def test_the_test_that_both_are_zero_is_max_t_over_the_two(three):
    path, models = three
    found = compare_results(read(path), both_zero=True)
    stacked = [
        np.stack([m.array.mean(axis=1)[at] for m in models[:2]], axis=1)
        for at in np.split(np.arange(29), np.cumsum(list(N.values()))[:-1])
    ]
    tests = associate(*stacked, speakers=models[0].speakers, simultaneous=range(2), **OPTIONS)
    assert found[0].p_both_zero == min(test.p_adjusted for test in tests)
    assert "p_both_zero" not in compare_results(read(path))[0].to_json()


def test_the_baseline_is_the_named_the_unpruned_the_first_step_or_the_first(tmp_path):
    steps = store(tmp_path / "s.jsonl", *(embeddings("mine", seed=k, step=10 * (3 - k), run=RUN) for k in (0, 1, 3)))
    made = compare_results(read(steps))
    assert {(each.baseline, each.baseline_step) for each in made} == {("mine", 0)}
    assert {each.step for each in made} == {30, 20}
    named = compare_results(read(steps), baseline="mine, step 20")
    assert {each.baseline_step for each in named} == {20}
    assert compare_results(read(steps), baseline=("01" * 32)[:8])[0].baseline_step == 20
    with pytest.raises(InputError, match=r"names 3 models\. Take --baseline mine, step 30 or"):
        compare_results(read(steps), baseline="mine")
    cut = tmp_path / "p.jsonl"
    store(cut, embeddings("cut", seed=5), pruned={"pruned_from": "06" * 32, "method": "heads"})
    store(cut, embeddings("whole", seed=6))
    assert [(each.model, each.baseline) for each in compare_results(read(cut))] == [("cut", "whole")]


def test_tests_are_families_of_resamples_and_one_of_holm(three, tmp_path):
    path, _ = three
    other = store(
        tmp_path / "o.jsonl",
        *(embeddings(name, seed=s, test="age", stimuli="22" * 32) for s, name in ((0, "alpha"), (1, "beta"))),
    )
    alone = store(tmp_path / "a.jsonl", embeddings("alpha", test="native", stimuli="33" * 32))
    notes = []
    made = compare_results(read(path, other, alone), note=notes.append)
    assert [(each.test, each.model) for each in made] == [("gender", "beta"), ("gender", "gamma"), ("age", "beta")]
    assert [each.adjusted_over for each in made] == ["2 comparisons on the same clips"] * 2 + ["1 comparison"]
    assert made[2].p_adjusted == made[2].p_value
    assert {each.family for each in made} == {"3 comparisons"}
    assert notes == ["native: only alpha was measured there, nothing to compare"]
    again = compare_results(read(path, other, alone, path.parent / path.name))
    assert again == made  # the same file twice is the same
    with pytest.raises(InputError, match="gamma was not measured on age, native"):
        compare_results(read(path, other, alone), baseline="gamma")


@pytest.mark.parametrize(
    ("other", "changes", "message"),
    [
        ({"stimuli": "99" * 32}, {}, "alpha and delta were measured with different clips. Measure both alike"),
        ({}, {"ddof": 0}, r"with different ddof \(1 and 0\)"),
        ({}, {"design": "speaker"}, r"with different design \(independent and speaker\)"),
        ({}, {"confidence": 0.9}, "different confidence"),
        ({}, {"seed": 4}, "different seed"),
    ],
)
def test_other_clips_and_options_are_refused(tmp_path, other, changes, message):
    path = store(tmp_path / "r.jsonl", embeddings("alpha"))
    store(path, embeddings("delta", seed=3, **other), **changes)
    with pytest.raises(InputError, match=message) as error:
        compare_results(read(path))
    assert len(error.value.problems) == 1


def test_crops_are_compared_with_like_crops_and_shown_as_such(three, tmp_path):
    whole = [embeddings("alpha"), embeddings("beta", seed=1)]
    short = [replace(each, model=replace(each.model, recipe={"crop_seconds": 1.5})) for each in whole]
    mixed = store(tmp_path / "mixed.jsonl", whole[0], short[1])
    with pytest.raises(InputError, match="alpha and beta were measured on different crops of the clips"):
        compare_results(read(mixed))
    alike = compare_results(read(store(tmp_path / "short.jsonl", *short)))
    records = [each.to_json() for each in (*compare_results(read(three[0])), *alike)]
    assert ["crop_seconds" in record for record in records] == [False, False, True]
    shown = find_comparisons(records)
    assert [each.test for each in shown] == ["gender", "gender", "gender, the middle 1.5 s of each clip"]


def test_what_else_is_refused(three, tmp_path):
    path, models = three
    with pytest.raises(InputError, match=r"No model 'gama' was measured here\. Did you mean gamma or alpha\?"):
        compare_results(read(path), baseline="gama")
    single = store(tmp_path / "one.jsonl", embeddings("alpha"))
    with pytest.raises(InputError, match="no two models of one test"):
        compare_results(read(single))
    with pytest.raises(InputError, match="no measurement"):
        compare_results({})
    twice = store(tmp_path / "twice.jsonl", embeddings("alpha"), embeddings("beta", seed=1))
    store(twice, embeddings("alpha"), alternative="greater")
    with pytest.raises(InputError, match="alpha was measured twice, with other alternative"):
        compare_results(read(twice))
    namesakes = store(tmp_path / "names.jsonl", embeddings("alpha"), embeddings("alpha", seed=1))
    (told,) = compare_results(read(namesakes))
    assert (told.model, told.baseline) == ("alpha [01010101]", "alpha [00000000]")
    assert compare_results(read(namesakes), baseline="010101")[0].model == "alpha [00000000]"
    with pytest.raises(InputError, match=r"'alpha' names 2 models\. Take --baseline 000000000000 or 010101010101"):
        compare_results(read(namesakes), baseline="alpha")
    with pytest.raises(InputError, match="--all-pairs has no baseline"):
        compare_results(read(path), baseline="alpha", all_pairs=True)
    with pytest.raises(InputError, match=r"--layers compares .* Leave it or --baseline and --per-layer out"):
        compare_results(read(path), baseline="alpha", per_layer=True, layers=True)
    with pytest.raises(InputError, match="one model only"):
        sb.compare_models(models[:1])
    with pytest.raises(InputError, match="no model 3 among 3"):
        sb.compare_models(models, baseline=3)
    with pytest.raises(InputError, match="alpha has no layer 7"):
        sb.compare_models(models, layers=[7])
    moved = replace(models[1], speakers=models[1].speakers | {"X": ("a",) * 8})
    with pytest.raises(InputError, match="alpha and beta were measured on different clips"):
        sb.compare_models([models[0], moved])
    lonely = [replace(m, speakers=m.speakers | {"X": ("a",) * 8}) for m in models[:2]]
    with pytest.raises(InputError, match="a group is of one speaker"):
        sb.compare_models(lonely)


def test_vectors_that_are_missing_or_damaged(tmp_path):
    path = store(tmp_path / "r.jsonl", embeddings("alpha"), embeddings("beta", seed=1))
    record = read_results(path)[1]
    assert stored_vectors(record, tmp_path).model.name == "beta"
    file = tmp_path / record.vectors["path"]
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"gender, beta: .* was changed since it was written"):
        compare_results(read(path))
    file.unlink()
    with pytest.raises(InputError, match=r"gender, beta: .* is not there; keep the folder"):
        compare_results(read(path))
    with pytest.raises(InputError, match="beta: no vectors are kept with this record"):
        stored_vectors(replace(record, vectors=None), tmp_path)


def test_few_speakers_and_talkers_are_said(three):
    path, models = three
    made = compare_results(read(path))[0]
    assert made.warnings == ["only 6 attribute talkers: the interval over talkers is a rough guide"]
    assert made.leave_one_talker_out[0] <= made.difference <= made.leave_one_talker_out[1]
    by_speaker = [replace(m, speakers=m.speakers | {"X": tuple("aabbccdd")}) for m in models]
    assert (
        sb.compare_models(by_speaker, resamples=200)[0].warnings[0].startswith("only 4 independent units in a group")
    )


def test_a_group_of_one_speaker_does_not_stop_other_tests(three, tmp_path):
    alone = {"speakers": embeddings().speakers | {"X": ("a",) * N["X"]}, "test": "lonely", "stimuli_sha256": "44" * 32}
    lonely = store(tmp_path / "l.jsonl", *(replace(each, **alone) for each in three[1][:2]))
    said = "lonely: a group is of one speaker"
    notes = []
    assert {each.test for each in compare_results(read(lonely, three[0]), note=notes.append)} == {"gender"}
    assert notes[0].startswith(f"left out: {said}")
    for found in (lambda: compare_results(read(lonely)), lambda: compare_results(read(lonely, three[0]))):
        with pytest.raises(InputError, match=said):
            found()
    done = CliRunner().invoke(app, ["plan", str(lonely), str(three[0])])
    assert (done.exit_code, done.output.count("For a 95 % interval")) == (0, 3)
    assert done.stderr.count(f"left out: {said}") == 1
    assert isinstance(CliRunner().invoke(app, ["plan", str(lonely)]).exception, InputError)


def test_other_conventions_of_states_are_said(three):
    named = zip(three[1], ("hf", "s3prl", "hf"), strict=True)
    models = [replace(each, model=replace(each.model, states=states)) for each, states in named]
    made = sb.compare_models(models, resamples=200)
    said = "beta counts states as 's3prl', alpha as 'hf': a difference may be of that"
    assert [said in each.warnings for each in made] == [True, False]
    single = [replace(each, array=each.array[:, :1]) for each in models]
    assert said not in sb.compare_models(single, resamples=200)[0].warnings


def test_the_verb_prints_and_adds_records_once(three, tmp_path):
    path, _ = three
    out = tmp_path / "c.jsonl"
    for added in (2, 0):
        done = CliRunner().invoke(app, ["compare", str(path), "-o", str(out)])
        assert done.exit_code == 0, done.output
        assert f"{added} added" in done.output
    assert "gender: against alpha" in done.output
    assert "cannot tell" in done.output
    records = read_records(out)
    assert [record["kind"] for record in records] == ["comparison"] * 2
    assert records == [each.to_json() for each in compare_results(read(path))]
    assert read_results(out) == []
    wrong = CliRunner().invoke(app, ["compare", str(path), "--baseline", "delta"])
    assert isinstance(wrong.exception, InputError)


def test_reports_show_what_was_compared(three, tmp_path):
    path, _ = three
    records = [each.to_json() for each in compare_results(read(path))]
    measured = [record for record in read_results(path) if record.layer == "mean" and record.model != "beta"]
    written = sb.write_report(measured, tmp_path / "r", others=[*records, *records])
    page, table = written.page.read_text(), written.markdown.read_text()
    assert "A difference was shown in 1 of 2 comparisons." in page
    assert page.count("cannot tell</td>") == 1
    assert "gender: against alpha" in page
    assert "| gamma | alpha | gender | mean |" in table
    assert table.count("cannot tell |") == 1
    assert write_comparisons([]) == ""
    figures = {"forest": next(path for path in written.figures if path.name == "forest.svg").read_bytes()}
    assert "Which encoders differ" not in render_page(
        arrange(measured), figures, captions=dict.fromkeys(("steps", "pruning", "students", "tradeoff"), "")
    )


def test_a_record_is_shown_by_its_last_word_and_only_if_whole():
    record = {
        "kind": "comparison", "schema": 1, "test": "[b]t", "layer": 2, "baseline_layer": 0, "model": "/home/me/m",
        "baseline": "/home/me/m", "d": 0.5, "d_baseline": 0.1, "difference": 0.4, "ci_low": 0.1, "ci_high": 0.7,
        "p_value": 0.001, "p_holm": 0.06, "p_bh": 0.002, "confidence": 0.95, "model_sha256": "a",
        "baseline_sha256": "a", "stimuli_sha256": "b",
    }  # fmt: skip
    later = record | {"p_holm": 0.01}
    broken = [record | {"d": None}, record | {"model": 3}, record | {"layer": [1]}, {"kind": "per"}]
    (found,) = find_comparisons([record, later, *broken])
    assert (found.verdict, found.model, found.baseline) == ("differs", "state 2", "state 0 of m")
    assert find_comparisons([record])[0].verdict == "cannot tell"
    steps = [record | {"layer": 0, "step": step, "baseline_step": 0} for step in (5, 10)]
    assert [each.model for each in find_comparisons(steps)] == ["m, step 5", "m, step 10"]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal_comparisons([later | {"ci_low": -0.001}]))
    text = console.export_text(clear=False)
    assert "+0.00 to +0.70" in text
    assert "both 0" not in text
    console.print(terminal_comparisons([later | {"p_both_zero": 0.0321}]))
    assert "0.032" in console.export_text(clear=False)
    assert "both 0" in console.export_text(clear=False)
    assert "[b]t: against state 0 of m (d = 0.10)" in text
    assert "differs" in text


def test_records_of_other_kinds_are_added_whole_and_once(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"kind": "per", "schema": 1}))  # an editor took the line's end
    records = [{"kind": "comparison", "schema": 1, "x": k} for k in range(2)]
    assert append_records(path, records) == 2
    assert append_records(path, records) == 0
    assert read_records(path)[1:] == records


def test_states_and_sizes_are_families_too(three):
    path, _ = three
    records = read_results(path)
    places = {record.identity: path.parent for record in records}
    states = judge_states(records, places)
    assert {record.layer for record in records if record.identity in states} == {0, 1, 2}
    assert {each.family for each in states.values()} == {"3 states of one model"}
    for record in records:
        if record.layer != "mean":
            assert states[record.identity].p_adjusted == record.p_adjusted
            assert states[record.identity].low < record.ci_low + 0.1
    sizes = judge_steps(records, places, what="sizes of one model")
    assert {each.family for each in sizes.values()} == {"3 sizes of one model"}
    assert len(sizes) == 3 * 4


@pytest.mark.parametrize("arguments", [["--d", "0.5", "--correlation", "0.3"], ["--crossed", "--clips", "3"]])
def test_a_plan_without_a_pilot(arguments):
    done = CliRunner().invoke(app, ["plan", "--width", "0.5", *arguments])
    assert done.exit_code == 0, done.output
    assert "For a 95 % interval no wider than 0.5:" in done.output
    assert ("105 speakers in each group with 1 clip of each (210 clips): width 0.50" in done.output) == (
        "--d" in arguments
    )


def test_a_plan_from_a_pilot(three, tmp_path):
    path, models = three
    done = CliRunner().invoke(app, ["plan", str(path), "--width", "1.5"])
    assert done.exit_code == 0, done.output
    assert done.output.count("Now: 8 clips of 8 and 9 clips of 9 speakers") == 3
    assert done.output.count("with 1 clip of each") == 3
    assert "p not below" in done.output
    several = [replace(m, speakers=m.speakers | {"X": tuple("aabbccdd"), "Y": tuple("eeffgghhi")}) for m in models[:1]]
    repeated = store(tmp_path / "r.jsonl", *several)
    done = CliRunner().invoke(app, ["plan", str(repeated)])
    assert "Correlation of a speaker's clips: " in done.output
    assert "with 8 clips of each" in done.output
    refused = CliRunner().invoke(app, ["plan", str(path), "--d", "1"])
    assert "without a pilot" in str(refused.exception)
    for narrow in ("1e-9", "1e-300"):
        assert "out of reach" in CliRunner().invoke(app, ["plan", "--width", narrow]).output
    assert CliRunner().invoke(app, ["plan", "--width", "3"]).output.count("a rough guide") == 4
    assert "rough" not in CliRunner().invoke(app, ["plan"]).output
    for wrong in (["--width", "0"], ["--clips", "0"], ["--confidence", "2"], ["--d", "3"]):
        assert isinstance(CliRunner().invoke(app, ["plan", *wrong]).exception, InputError)
    assert set(SETS) == set(N)


def test_checkpoints_of_two_runs_that_are_called_alike_are_told_apart(tmp_path):
    """All runs call their checkpoints step-..., at the same steps too."""
    path = tmp_path / "r.jsonl"
    for seed, run in enumerate(("hubert", "melhubert")):
        store(path, embeddings("step-00000100", seed=seed, step=100, run={"name": run}))
    (found,) = compare_results({path: read_results(path)})
    assert (found.model, found.baseline, found.step) == ("melhubert", "hubert", 100)
