"""`speechbias reproduce` as a user types it: a dry run, what is missing, what runs without it, and again."""

import io
import re
from types import SimpleNamespace

import pytest

from laid_corpora import lay_archive, lay_morgan
from made_records import make_record
from recordings import read_rows, write_csv, write_test
from shell import call
from speechbias.corpora import build
from speechbias.reproduce.make import published
from speechbias.results import append_results


def run(*arguments, width=100):
    """The whole command: what it says, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    code = call(["speechbias", "reproduce", *map(str, arguments)], out=out, err=err, width=width)
    return SimpleNamespace(exit_code=code, stdout=out.getvalue(), stderr=err.getvalue())


def words(text):
    return " ".join(text.split())


def test_a_dry_run_lists_everything_and_makes_nothing(tmp_path):
    done = run("all", "--dry-run", "-o", tmp_path / "out", width=80)
    assert done.exit_code == 0, done.stderr
    assert not (tmp_path / "out").exists()
    assert max(map(len, done.stdout.split("pieces of work")[0].splitlines())) <= 80
    for name in ("pretrain hubert-first", "prune melhubert-weights", "distill hubert-student-6", "measure features"):
        assert name in done.stdout
    assert "missing 3: LibriSpeech" in done.stdout
    assert "9,722 h" in done.stdout
    (base,) = [line for line in done.stdout.splitlines() if line.strip().startswith("measure MelHuBERT base")]
    assert "lacks 1, 2, 3, 4" in base
    said = words(done.stdout)
    assert "missing 4: weights of MelHuBERT base: from github.com/nervjack2/MelHuBERT" in said
    assert "licence: not stated" in said
    assert "49 pieces of work: 0 done, 0 can be done with what is here, 49 lack data." in said
    assert "table2 nothing more: it can be made" in said
    assert "figure1 7 of 7 pieces, 7 lack data 79,487 h" in said
    assert re.search(r"At 100 TFLOP/s, as a GPU may reach: \d+ days\.", said)
    assert "and 395 GB while a model is probed" in said  # 110 h of 50 frames of 13 states of 768 numbers of 2 bytes
    assert "these come from the hub, unless --no-hub says otherwise: facebook/wav2vec2-base" in said
    assert said.endswith("does what can be done with what is here, and says what cannot.")


def test_a_dry_run_says_what_can_be_done_now(tmp_path):
    stimuli = [
        word
        for name in ("age", "native", "gender")
        for word in ("--stimuli", write_test(tmp_path / "s", name=name, clips=2))
    ]
    said = words(run("table3", "--dry-run", "--no-hub", *stimuli, "-o", tmp_path / "out").stdout)
    assert "measure features to do" in said
    assert "21 pieces of work: 0 done, 1 can be done with what is here, 20 lack data." in said
    assert "from the hub" not in said
    assert " takes " not in said  # of one item the list says it all
    assert "Nothing is left to do." in words(run("table2", "--dry-run").stdout)
    fetched = words(run("table3", "--dry-run", *stimuli, "-o", tmp_path / "out").stdout)
    assert re.search(r"measure Wav2Vec2 base to do \d h .{0,8} 39\d MB", fetched)  # and its weights


def test_all_of_it_with_nothing_says_where_to_look(tmp_path):
    done = run("all", "-o", tmp_path)
    assert done.exit_code == 2
    assert "speechbias reproduce all --dry-run" in done.stderr
    assert "77 statements: 77 not measured." in done.stdout
    assert "verdict \n" not in done.stdout.split("9 agree")[1]  # no table without a row


def test_without_anything_it_says_both_ways(tmp_path):
    done = run("table3", "-o", tmp_path)
    assert done.exit_code == 2
    assert "Name results: speechbias reproduce table3 RESULTS.jsonl; or corpora" in words(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table3", "--morgan", "nowhere"), "--morgan nowhere is no folder"),
        (("table3", "--stimuli", "nowhere.csv"), "nowhere.csv does not exist"),
        (("tradeoff", "--dry-run"), "made from records alone"),
        (("table9",), "table1"),
        (("table3", "--launch", "time=10"), "--launch sets how jobs run; give --launcher"),
        (("table3", "--dry-run", "--launcher", "local", "--launch", "tme=10"), "--launch tme is unknown"),
    ],
    ids=str,
)
def test_wrong_input_is_one_line(arguments, said, tmp_path):
    done = run(*arguments, "-o", tmp_path)
    assert done.exit_code == 2
    assert said in words(done.stderr)
    assert "Traceback" not in done.stderr


def test_table1_needs_nothing(tmp_path):
    done = run("table1", "-o", tmp_path)
    assert done.exit_code == 0
    assert (tmp_path / "table1.md").exists()


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """Table 3 of features, on three small tests, with no models: what is missing is said, the rest is made."""
    folder = tmp_path_factory.mktemp("reproduced")
    tests = [
        write_test(folder / "stimuli", name=name, clips=4, seed=k)
        for k, name in enumerate(("age", "native", "gender"))
    ]
    asked = ("table3", "--no-hub", "-o", folder / "out", *(word for path in tests for word in ("--stimuli", path)))
    return folder / "out", asked, run(*asked)


def test_what_can_be_done_is_done_and_the_rest_is_said(reproduced):
    out, _, done = reproduced
    assert done.exit_code == 2
    assert "12 of 42 cells measured" in words(done.stdout)
    assert (out / "table3.csv").exists()
    text = words(done.stderr)
    assert "not done: measure Wav2Vec2 large: weights of Wav2Vec2 large" in text
    assert "--librispeech" in text
    assert text.count("LibriSpeech (the folder with SPEAKERS.TXT)") == 1


def test_the_same_command_measures_nothing_again(reproduced):
    out, asked, first = reproduced
    before = (out / "results.jsonl").read_bytes()
    again = run(*asked)
    assert (out / "results.jsonl").read_bytes() == before
    assert again.stdout == first.stdout
    assert "measure features" not in again.stderr
    assert "measure features: speechbias measure stft spectrogram mel mfcc --stimuli" in words(first.stderr)


def test_changed_stimuli_are_measured_and_the_old_measurements_left_aside(tmp_path):
    paths = [
        write_test(tmp_path / "stimuli", name=name, clips=3, seed=k)
        for k, name in enumerate(("age", "native", "gender"))
    ]
    asked = ("table3", "--no-hub", "-o", tmp_path / "out", *(word for path in paths for word in ("--stimuli", path)))
    before = words(run(*asked).stdout)
    kept = [row for row in read_rows(paths[2]) if row["path"] != "clips/gender-X2.wav"]
    write_csv(paths[2], kept)
    done = run(*asked)
    assert "12 of 42 cells measured" in words(done.stdout)
    assert done.stdout.count("MFCC") == 1
    assert words(done.stdout) != before
    said = [line for line in done.stderr.splitlines() if "left aside" in line]
    assert len(said) == 1
    assert said[0].startswith("Gender: shown are 4 measurements on the stimuli as they are now; left aside: 4")


def test_records_of_the_users_own_are_taken(reproduced, tmp_path):
    out, _, _ = reproduced
    done = run("table3", out / "results.jsonl", "-o", tmp_path)
    assert done.exit_code == 0
    assert "12 of 42 cells measured" in words(done.stdout)
    by_another_name = out / ".." / out.name / "results.jsonl"
    again = run("table3", by_another_name, "-o", out)
    assert "12 of 42 cells measured" in words(again.stdout)
    assert again.stdout.count("MFCC") == done.stdout.count("MFCC")


def test_what_needs_no_record_reads_none(tmp_path):
    (tmp_path / "results.jsonl").write_text("a file of somebody's\n")
    assert run("table1", "-o", tmp_path).exit_code == 0
    assert "results.jsonl, line 1 is not a record" in words(run("table3", "-o", tmp_path).stderr)


def test_records_below_the_folder_are_read_too_and_said(reproduced, tmp_path):
    out, _, _ = reproduced
    (tmp_path / "one.jsonl").write_text((out / "results.jsonl").read_text())
    done = run("table3", tmp_path / "one.jsonl", "-o", out)
    assert "read too, since they lie below" in done.stderr
    assert "12 of 42 cells measured" in words(done.stdout)
    assert "read too" not in run("table3", tmp_path / "one.jsonl", "-o", tmp_path / "new").stderr


def test_clips_that_are_gone_are_not_speats(tmp_path):
    archive, mess = lay_archive(tmp_path / "saa"), lay_morgan(tmp_path / "mess")
    built = build([f"accent-archive:gender={archive}", f"morgan={mess}"], name="gender").stimuli
    record = make_record(test="gender")
    assert len(published([built], [record])) == 1
    built.X[0].path.unlink()
    assert published([built], [record]) == set()


def test_models_that_are_in_no_row_are_named(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [make_record(model=name, family="features", states="s3prl") for name in ("mfcc", "mel:cmvn")])
    assert "in no row" not in run("table3", path, "-o", tmp_path).stderr
    append_results(path, [make_record(model="whisper-tiny.en", family="whisper", num_states=5)])
    for pruned in ({"method": "heads"}, {"distilled_from": "it"}, {"step": 0}, {"recipe": {"crop_seconds": 1.0}}):
        append_results(path, [make_record(model="none", family="wav2vec2", **pruned)])
    done = run("table3", path, "-o", tmp_path)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.strip().endswith("number of states or width: whisper-tiny.en")
    assert "in no row" not in run("findings", path, "-o", tmp_path).stderr
