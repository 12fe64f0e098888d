"""Surveys and the command line: what is refused, what is resumed, what is written."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from recordings import RATE, read_rows, tone, write_csv, write_test
from speechbias.cli import spread
from speechbias.results import read_records, read_results

FAST = ("--permutations", "2000", "--resamples", "500", "--no-audit")  # which has tests of its own


def speechbias(*arguments, cwd, check=None, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "speechbias", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160", **environment}, timeout=300,
        check=False,
    )  # fmt: skip
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


def refused(*arguments, cwd):
    """Run what must be refused: exit code 2, no traceback, no results; returns the lines of the message."""
    done = speechbias(*arguments, cwd=cwd, check=2)
    assert "Traceback" not in done.stderr
    assert not (cwd / "results.jsonl").exists()
    return done.stderr.strip().splitlines()


def test_measure_writes_records_and_vectors(tmp_path):
    write_test(tmp_path)
    done = speechbias(
        "measure", "mel", "mfcc", "--stimuli", "gender.csv", "-o", "results.jsonl", *FAST, cwd=tmp_path, check=0
    )
    assert re.search(r"gender +mel +\+\d", done.stdout)
    records = read_records(tmp_path / "results.jsonl")
    assert [record["model"] for record in records] == ["mel", "mfcc"]
    first = records[0]
    wanted = [
        "schema",
        "test",
        "model",
        "family",
        "layer",
        "states",
        "d",
        "p_value",
        "p_method",
        "p_min",
        "p_attribute",
        "p_adjusted",
        "alternative",
        "ci_low",
        "ci_high",
        "confidence",
        "ci_attributes",
        "design",
        "n",
        "n_speakers",
        "groups",
        "ddof",
        "permutations",
        "resamples",
        "seed",
        "dtype",
        "model_sha256",
        "stimuli_sha256",
        "vectors",
        "skipped",
        "warnings",
        "versions",
    ]
    assert set(wanted) <= set(first)
    assert first["groups"] == {"X": "female", "Y": "male", "A": "positive", "B": "negative"}
    assert str(tmp_path) not in json.dumps(records)
    with np.load(tmp_path / first["vectors"]["path"]) as stored:
        assert stored["X"].shape == (6, 1, 80)
    assert not re.search("[0-9]{2}:[0-9]{2}:[0-9]{2}", json.dumps(records))


def test_the_same_run_gives_the_same_bytes_and_adds_only_what_is_new(tmp_path):
    write_test(tmp_path)
    command = ("measure", "mel", "--stimuli", "gender.csv", *FAST)
    for out in ("a/r.jsonl", "b/r.jsonl"):
        speechbias(*command, "-o", out, cwd=tmp_path, check=0)
    content = (tmp_path / "a" / "r.jsonl").read_bytes()
    assert content == (tmp_path / "b" / "r.jsonl").read_bytes()
    again = speechbias(*command, "-o", "a/r.jsonl", cwd=tmp_path, check=0)
    assert (tmp_path / "a" / "r.jsonl").read_bytes() == content
    assert "mel" in again.stdout
    speechbias(*command, "--seed", "1", "-o", "a/r.jsonl", cwd=tmp_path, check=0)
    assert [r.seed for r in read_results(tmp_path / "a" / "r.jsonl")] == [0, 1]


def test_two_tests_and_vectors_as_a_model(tmp_path):
    write_test(tmp_path, name="gender")
    write_test(tmp_path, name="age", seed=5)
    out = ("-o", "results.jsonl")
    speechbias("measure", "mfcc", "--stimuli", "gender.csv", "age.csv", *out, *FAST, cwd=tmp_path, check=0)
    first = read_results(tmp_path / "results.jsonl")
    assert [r.test for r in first] == ["gender", "age"]
    speechbias("measure", first[0].vectors["path"], *out, *FAST, cwd=tmp_path, check=0)
    again = read_results(tmp_path / "results.jsonl")[2]
    assert (again.d, again.p_value) == (first[0].d, first[0].p_value)
    assert again.family == "embeddings"


def slow_copy(folder, seconds):
    """Enough audio for a kill in the middle."""
    path = write_test(folder, clips=20)
    for number, clip in enumerate(sorted((folder / "clips").glob("*.wav"))):
        soundfile.write(clip, tone(100 + number, seconds=seconds, seed=number), RATE)
    return path


def test_killed_and_run_again_gives_the_record_of_an_unbroken_run(tmp_path):
    slow_copy(tmp_path, seconds=6)
    arguments = ["measure", "mel", "mfcc", "--stimuli", "gender.csv", *FAST]
    speechbias(*arguments, "-o", "whole.jsonl", cwd=tmp_path, check=0)
    killed = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-m", "speechbias", *arguments, "-o", "killed.jsonl"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        stored = len(list(tmp_path.glob("killed.jsonl.cache/*/*.npz")))
        deadline = time.monotonic() + 60
        while child.poll() is None and len(list(tmp_path.glob("killed.jsonl.cache/*/*.npz"))) < stored + 15:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    assert killed >= 2
    speechbias(*arguments, "-o", "killed.jsonl", cwd=tmp_path, check=0)
    text = (tmp_path / "killed.jsonl").read_text().replace("killed.jsonl.vectors", "whole.jsonl.vectors")
    assert text == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_it_at_once_and_says_how_to_go_on(tmp_path, workers):
    slow_copy(tmp_path, seconds=6)
    child = subprocess.Popen(
        [sys.executable, "-m", "speechbias", "measure", "mfcc", "--stimuli", "gender.csv", "--workers", workers],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads here
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("results.jsonl.cache/*/*.npz"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (1, "speechbias: interrupted. The same command goes on from here.\n")
    assert not (tmp_path / "results.jsonl").exists()


def test_everything_wrong_is_said_at_once_before_anything_runs(tmp_path):
    path = write_test(tmp_path)
    rows = read_rows(path)
    (tmp_path / rows[0]["path"]).unlink()
    (tmp_path / rows[1]["path"]).write_bytes(b"not audio")
    soundfile.write(tmp_path / rows[2]["path"], np.zeros(RATE), RATE)
    lines = refused("measure", "mel", "--stimuli", "gender.csv", cwd=tmp_path)
    assert len(lines) == 3
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), start=2):
        assert f"row {number}" in line
        assert row["path"] in line
        assert "--skip-bad" in line


def test_skip_bad_goes_on_and_says_so(tmp_path):
    path = write_test(tmp_path)
    rows = read_rows(path)
    (tmp_path / rows[0]["path"]).unlink()
    write_csv(path, [rows[0], {**rows[1], "path": ""}, *rows[2:]])
    done = speechbias(
        "measure", "mel", "--stimuli", "gender.csv", "--skip-bad", "-o", "results.jsonl", *FAST, cwd=tmp_path, check=0
    )
    result = read_results(tmp_path / "results.jsonl")[0]
    assert result.n == {"X": 4, "Y": 6, "A": 6, "B": 6}
    assert [(clip["row"], clip["path"]) for clip in result.skipped] == [(2, rows[0]["path"]), (3, "")]
    assert f"gender: row 2 is left out: {rows[0]['path']} does not exist" in done.stderr
    assert "gender: row 3 is left out: has no path" in done.stderr


def test_a_clip_too_short_for_the_second_model_stops_the_first(tmp_path):
    path = write_test(tmp_path)
    row = read_rows(path)[0]
    soundfile.write(tmp_path / row["path"], tone(150, seconds=0.02), RATE)  # mel takes 12.6 ms, mfcc a window of 25
    (line,) = refused("measure", "mel", "mfcc", "stft", "--stimuli", "gender.csv", cwd=tmp_path)
    assert "lasts 20.0 ms; this model needs 25.0 ms or more" in line
    assert not (tmp_path / "results.jsonl.cache").exists()


def test_a_model_named_twice_is_measured_and_shown_once(tmp_path):
    write_test(tmp_path)
    done = speechbias(
        "measure", "mel", "mel", "--stimuli", "gender.csv", "-o", "my results.jsonl", *FAST, cwd=tmp_path, check=0
    )
    assert "1 result. Next: speechbias report 'my results.jsonl'" in done.stdout
    assert len(read_results(tmp_path / "my results.jsonl")) == 1


def test_mel_statistics_go_to_those_models_that_take_them(tmp_path):
    write_test(tmp_path)
    np.save(tmp_path / "stats.npy", np.array([[10.0] * 40, [4.0] * 40]))
    measure = ("measure", "mel", "random:melhubert-small", "--stimuli", "gender.csv", "-o", "r.jsonl", *FAST)
    speechbias(*measure, cwd=tmp_path, check=0)
    speechbias(*measure, "--mel-stats", "stats.npy", cwd=tmp_path, check=0)
    results = read_results(tmp_path / "r.jsonl")
    assert [result.model for result in results] == ["mel", "random:melhubert-small", "random:melhubert-small"]
    assert results[1].recipe["mel_stats"] != results[2].recipe["mel_stats"]


@pytest.mark.parametrize("models", [["mel"], ["mel", "mel"], ["mel", "random:hubert-small"]])
def test_mel_statistics_that_no_model_takes_are_refused(tmp_path, models):
    write_test(tmp_path)
    np.save(tmp_path / "stats.npy", np.array([[10.0] * 40, [4.0] * 40]))
    (line,) = refused("measure", *models, "--stimuli", "gender.csv", "--mel-stats", "stats.npy", cwd=tmp_path)
    assert "No model here takes the mel statistics" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["measure", "mle", "--stimuli", "gender.csv"], ["mle", "mel"]),
        (["measure", "mel"], ["--stimuli"]),
        (["measure", "mel", "--stimuli", "nobody.csv"], ["nobody.csv"]),
        (["measure", "nothing.npz"], ["nothing.npz"]),
        (["measure", "mel", "--stimuli", "gender.csv", "gender.csv"], ["named gender"]),
        (["measure", "mel", "--stimuli", "gender.csv", "-o", "clips"], ["clips", "-o"]),
        (["measure", "mel", "--stimuli", "gender.csv", "-o", "/dev/full"], ["/dev/full", "-o"]),
        (["measure", "mel", "--stimuli", "gender.csv", "-o", "."], ["-o"]),
        (["measure", "mel", "--stimuli", "gender.csv", "-o", "n" * 300], ["name too long", "-o"]),
        (["measure", "mel:cmvn", "--stimuli", "gender.csv"], ["mel:cmvn", "rounding"]),
        (["measure", "mel", "--stimuli", "gender.csv", "--design", "pair"], ["pair"]),
        (["measure", "mel", "--stimuli", "gender.csv", "--states", "speat"], ["speat-2023"]),
        (["report", "nobody.jsonl"], ["nobody.jsonl"]),
        (["report", "gender.csv"], ["gender.csv", "line 1"]),
        (["stimuli", "check", "nobody.csv"], ["nobody.csv"]),
        (["stimuli", "librispech=clips", "-o", "x.csv"], ["librispeech"]),
        (["stimuli", "csv=gender.csv"], ["-o"]),
    ],
)
def test_wrong_input_is_refused_with_what_where_and_remedy(tmp_path, arguments, words):
    write_test(tmp_path)
    lines = refused(*arguments, cwd=tmp_path)
    for word in words:
        assert any(word in line for line in lines), lines


def test_one_model_that_cannot_be_measured_stops_no_other(tmp_path):
    write_test(tmp_path)
    done = speechbias(
        "measure", "mel:cmvn", "mel", "--stimuli", "gender.csv", "-o", "results.jsonl", *FAST, cwd=tmp_path, check=2
    )
    assert "mel:cmvn" in done.stderr
    assert [r.model for r in read_results(tmp_path / "results.jsonl")] == ["mel"]


def test_warnings_reach_terminal_and_record(tmp_path):
    path = write_test(tmp_path)
    rows = read_rows(path)
    for row in rows[:3]:
        soundfile.write(tmp_path / row["path"], tone(150, seconds=0.5)[::2], RATE // 2)
    write_csv(path, rows[:-1])
    done = speechbias("measure", "mel", "--stimuli", "gender.csv", "-o", "results.jsonl", *FAST, cwd=tmp_path, check=0)
    warnings = " ".join(read_results(tmp_path / "results.jsonl")[0].warnings)
    for text in (done.stderr, warnings):
        assert "8000" in text.replace(",", "").replace("8 kHz", "8000")
        assert re.search(r"\b5\b.*\b6\b|\b6\b.*\b5\b", text)


def test_check_and_build_from_a_table(tmp_path):
    path = write_test(tmp_path, corpus="made")
    done = speechbias("stimuli", "check", path.name, cwd=tmp_path, check=0)
    assert "female" in done.stdout
    select = ["--x", "group=female", "--y", "group=male", "--a", "group=positive", "--b", "group=negative"]
    speechbias("stimuli", f"csv={path.name}", *select, "-o", "built/again.csv", cwd=tmp_path, check=0)
    speechbias(
        "measure", "mel", "--stimuli", "built/again.csv", "gender.csv", "-o", "r.jsonl", *FAST, cwd=tmp_path, check=0
    )
    again, gender = read_results(tmp_path / "r.jsonl")
    assert (again.test, again.d) == ("again", gender.d)


def test_report_from_the_command_line(tmp_path):
    write_test(tmp_path)
    speechbias("measure", "mel", "mfcc", "--stimuli", "gender.csv", "-o", "r.jsonl", *FAST, cwd=tmp_path, check=0)
    done = speechbias("report", "r.jsonl", "-o", "out", "--paper-layout", cwd=tmp_path, check=0)
    assert "index.html" in done.stdout
    page = (tmp_path / "out" / "index.html").read_text()
    assert str(tmp_path) not in page
    assert (tmp_path / "out" / "table.tex").read_text().count("toprule") == 1


def test_stimuli_option_takes_several_files():
    assert spread(["measure", "mel", "--stimuli", "a.csv", "b.CSV", "-o", "x"]) == [
        "measure", "mel", "--stimuli", "a.csv", "--stimuli", "b.CSV", "-o", "x",
    ]  # fmt: skip
    assert spread(["measure", "--stimuli", "a.csv", "mel", "b.csv"]) == [
        "measure",
        "--stimuli",
        "a.csv",
        "mel",
        "b.csv",
    ]
    assert spread(["measure", "--stimuli", "odd", "b.csv"]) == ["measure", "--stimuli", "odd", "--stimuli", "b.csv"]
    assert spread(["measure", "mel", "--stimuli", "a.csv", "--stimuli", "b.csv"])[2:] == [
        "--stimuli", "a.csv", "--stimuli", "b.csv",
    ]  # fmt: skip


def test_help_is_quick_and_light():
    code = (
        "import sys, time; t = time.perf_counter(); from speechbias.cli import app; import typer.main; "
        "typer.main.get_command(app).get_help(__import__('click').Context(typer.main.get_command(app))); "
        "print('torch' in sys.modules, 'numba' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["measure", "--help"], ["stimuli", "--help"]])
def test_help_answers(arguments, tmp_path):
    assert speechbias(*arguments, cwd=tmp_path, check=0).stdout
