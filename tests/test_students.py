"""Students compared with their teacher from stored vectors: against loops over the vectors, and what is left out."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.compare import compare_models
from speechbias.measure import measure_bias
from speechbias.results import append_results, read_results, write_vectors
from speechbias.students import compare_students
from speechbias.vectors import read_vectors, stored_vectors, to_arrays
from statistics_reference import effect_size_loop

OPTIONS = {"permutations": 200, "resamples": 300, "seed": 4}
SPEAKERS = {"X": [0, 0, 1, 2, 2], "Y": [3, 4, 4, 5, 5], "A": [6, 7, 8], "B": [6, 7, 8]}
TEACHER = "a" * 64


def write_record(folder, name, arrays, *, speakers=None, **changes):
    """A record measured on arrays (stimuli, states, dim), with its vectors beside ``folder/r.jsonl``."""
    codes = {f"speakers_{key}": np.array(ids) for key, ids in (speakers or SPEAKERS).items()}
    np.savez(folder / f"{name}.npz", **arrays, **codes)
    embeddings, results = read_vectors(folder / f"{name}.npz"), folder / "r.jsonl"
    stored = write_vectors(results, to_arrays(embeddings))
    made = replace(measure_bias(embeddings, **OPTIONS), vectors=stored, test="gender", stimuli_sha256="5" * 64)
    record = replace(made, family="hubert", states="s3prl", **changes)
    append_results(results, [record])
    return record


@pytest.fixture
def pair(tmp_path):
    """A student, its teacher, and the arrays of both."""
    rng = np.random.default_rng(0)
    teacher = {name: rng.normal(size=(len(ids), 3, 6)) for name, ids in SPEAKERS.items()}
    teacher["X"] += 0.6 * teacher["A"].mean(axis=0)
    student = {name: array[:, :2] + 0.4 * rng.normal(size=(len(array), 2, 6)) for name, array in teacher.items()}
    said = {"distilled_from": TEACHER, "student_layers": 1, "teacher_layers": 2, "parameters": 10}
    records = (
        write_record(tmp_path, "student", student, model_sha256="b" * 64, **said),
        write_record(tmp_path, "teacher", teacher, model_sha256=TEACHER, parameters=20),
    )
    return records, (student, teacher)


def places(folder, records):
    return {record.identity: folder for record in records}


def test_the_difference_is_the_comparison_of_the_two_models(pair, tmp_path):
    records, arrays = pair
    found = compare_students([records], places(tmp_path, records))[records[0].identity]
    d = [effect_size_loop(*(of[name].mean(axis=1) for name in "XYAB")) for of in arrays]
    assert found.difference == pytest.approx(d[0] - d[1])
    opened = [stored_vectors(record, tmp_path) for record in records]
    (made,) = compare_models(opened, baseline=1, resamples=OPTIONS["resamples"], seed=OPTIONS["seed"])
    assert (found.low, found.high, found.p) == (made.ci_low, made.ci_high, made.p_value)
    assert found.low < found.difference < found.high
    other = compare_students([records[::-1]], places(tmp_path, records))[records[1].identity]
    assert (other.difference, other.p) == (pytest.approx(-found.difference), pytest.approx(found.p, abs=0.01))


def test_pairs_whose_vectors_are_not_theirs_are_left_out(pair, tmp_path):
    records, _ = pair
    here = places(tmp_path, records)
    assert compare_students([records], dict.fromkeys(here, tmp_path / "nowhere")) == {}
    assert compare_students([(replace(records[0], vectors=None), records[1])], here) == {}
    (tmp_path / records[1].vectors["path"]).write_bytes(b"others")
    assert compare_students([records], here) == {}


def test_of_one_speaker_in_a_group_no_interval_is_given(tmp_path):
    rng = np.random.default_rng(0)
    alone = SPEAKERS | {"X": [0] * 5}
    arrays = [{name: rng.normal(size=(len(ids), 2, 6)) for name, ids in alone.items()} for _ in range(2)]
    records = [
        write_record(tmp_path, f"m{n}", each, speakers=alone, model_sha256=f"{n}" * 64)
        for n, each in enumerate(arrays)
    ]
    found = compare_students([tuple(records)], places(tmp_path, records))[records[0].identity]
    assert found.difference == pytest.approx(records[0].d - records[1].d)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_figure3_from_the_command_line(pair, tmp_path):
    records, _ = pair
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["reproduce", "figure3", str(tmp_path / "r.jsonl"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {f"figure3.{kind}" for kind in ("svg", "pdf", "png", "csv", "md")}
    found = compare_students([records], places(tmp_path, records))[records[0].identity]
    teacher, student = csv.DictReader((out / "figure3.csv").read_text().splitlines())
    assert (teacher["model"], teacher["parameters"], teacher["difference"]) == ("teacher", "20", "")
    assert (student["model"], student["student_layers"], float(student["d"])) == ("1 layer", "1", records[0].d)
    numbers = [float(student[name]) for name in ("difference", "difference_low", "difference_high", "difference_p")]
    assert numbers == [found.difference, found.low, found.high, found.p]
    alone = tmp_path / "alone" / "r.jsonl"  # without vectors d is drawn, and no difference
    alone.parent.mkdir()
    alone.write_text("".join(json.dumps(r.to_json()) + "\n" for r in read_results(tmp_path / "r.jsonl")))
    assert CliRunner().invoke(app, ["reproduce", "figure3", str(alone), "-o", str(out)]).exit_code == 0
    assert [row["difference"] for row in csv.DictReader((out / "figure3.csv").read_text().splitlines())] == ["", ""]
    assert CliRunner().invoke(app, ["report", str(tmp_path / "r.jsonl"), "-o", str(out)]).exit_code == 0
    (_, shown) = csv.DictReader((out / "students.csv").read_text().splitlines())
    assert float(shown["difference_low"]) == found.low
