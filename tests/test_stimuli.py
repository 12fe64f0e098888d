"""Stimuli: the CSV, what is refused and warned about, and the audio of a test as a whole."""

import csv
import hashlib
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechbias.errors import InputError
from speechbias.results import SETS
from speechbias.stimuli import (
    Stimulus,
    StimulusSet,
    check_audio,
    make_stimulus_set,
    read_stimuli,
    stimuli_sha256,
    summarise,
    write_stimuli,
)

HEADER = ["path", "set", "group", "speaker"]
GROUPS = {"X": "female", "Y": "male", "A": "positive", "B": "negative"}
RATE = 16_000


def good_rows(per_set=2):
    """[path, set, group, speaker], every clip by a speaker of its own."""
    return [[f"{key}{n}.wav", key, GROUPS[key], f"{key}{n}"] for key in SETS for n in range(per_set)]


def write_csv(path, rows, header=HEADER, encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def write_tone(path, seed=0, seconds=0.1, rate=RATE, gain=0.3, **options):
    samples = gain * np.random.default_rng(seed).uniform(-1, 1, round(seconds * rate))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.fixture
def lay(tmp_path):
    """Write a CSV with audio for each of its rows, and read it."""

    def write(rows, header=HEADER, name="gender.csv"):
        for seed, path in enumerate(sorted({row[0] for row in rows})):
            write_tone(tmp_path / path, seed)
        return read_stimuli(write_csv(tmp_path / name, rows, header))

    return write


def problems_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_stimuli(path, **options)
    return caught.value.problems


def check(*sets, min_samples=400, **options):
    return check_audio(sets, sample_rate=RATE, min_samples=min_samples, **options)


# ---- Reading ----


def test_reads_the_contract(tmp_path):
    rows = [[*row, "p1" if row[1] in "XY" and row[0][1] == "0" else "", "calm, slow"] for row in good_rows()]
    stimuli = read_stimuli(str(write_csv(tmp_path / "gender.csv", rows, [*HEADER, "pair", "emotion"])))
    assert stimuli.name == "gender"
    assert [len(members) for members in (stimuli.X, stimuli.Y, stimuli.A, stimuli.B)] == [2, 2, 2, 2]
    first = stimuli.X[0]
    assert first == Stimulus(tmp_path / "X0.wav", "X", "female", "X0", "p1", 2, "X0.wav", {"emotion": "calm, slow"})
    assert [s.row for s in stimuli.stimuli] == list(range(2, 10))
    assert stimuli.groups == GROUPS
    assert stimuli.speakers["B"] == ("B0", "B1")
    assert stimuli.pairs == {"X": ("p1", ""), "Y": ("p1", "")}
    assert stimuli.warnings == ()


def test_order_of_columns_and_rows_is_free(tmp_path):
    rows = [row[::-1] for row in good_rows()[::-1]]
    stimuli = read_stimuli(write_csv(tmp_path / "t.csv", rows, HEADER[::-1]))
    assert [s.written for s in stimuli.X] == ["X1.wav", "X0.wav"]
    assert [s.row for s in stimuli.stimuli] == [8, 9, 6, 7, 4, 5, 2, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_unicode_byte_order_mark_blank_lines_and_spaces(tmp_path, encoding):
    rows = good_rows()
    rows[0][3] = "Zoë 김"
    rows.insert(1, [])
    rows.insert(2, ["", " ", "", ""])
    rows[3] = [f" {value} " for value in rows[3]]
    stimuli = read_stimuli(write_csv(tmp_path / "t.csv", rows, [" path ", *HEADER[1:]], encoding))
    assert stimuli.X[0].speaker == "Zoë 김"
    assert [(s.row, s.written) for s in stimuli.X] == [(2, "X0.wav"), (5, "X1.wav")]


def test_rows_are_lines_even_where_text_has_line_breaks(tmp_path):
    rows = [[*row, "two\nlines" if row[0] == "X0.wav" else ""] for row in good_rows()]
    stimuli = read_stimuli(write_csv(tmp_path / "t.csv", rows, [*HEADER, "text"]))
    assert [s.row for s in stimuli.X] == [2, 4]


def test_paths_are_relative_to_the_csv(tmp_path):
    rows = good_rows()
    rows[0][0], rows[1][0] = "../clips/a.wav", str(tmp_path / "b.wav")
    (tmp_path / "lists").mkdir()
    stimuli = read_stimuli(write_csv(tmp_path / "lists" / "t.csv", rows))
    assert stimuli.X[0].path.resolve() == tmp_path.resolve() / "clips" / "a.wav"
    assert stimuli.X[1].path == tmp_path / "b.wav"


# ---- Refused: the CSV ----


def test_no_such_csv(tmp_path):
    assert "does not exist" in problems_of(tmp_path / "none.csv")[0]
    assert "is a folder" in problems_of(tmp_path)[0]


@pytest.mark.parametrize("text", ["", "\n\n", "path,set,group,speaker\n", "path,set,group,speaker\n\n,,,\n"])
def test_empty_csv(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    (problem,) = problems_of(tmp_path / "t.csv")
    assert problem.startswith("t.csv ")
    assert "path,set,group,speaker" in problem


def test_nul_characters(tmp_path):
    (tmp_path / "t.csv").write_text("path,set,group,speaker\nX\0.wav,X,g,s\n")
    assert "NUL characters" in problems_of(tmp_path / "t.csv")[0]


def test_not_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path,set\xff\xfe\n")
    assert "UTF-8" in problems_of(tmp_path / "t.csv")[0]


@pytest.mark.parametrize("column", HEADER)
def test_missing_column(tmp_path, column):
    keep = [index for index, name in enumerate(HEADER) if name != column]
    rows = [[row[index] for index in keep] for row in good_rows()]
    (problem,) = problems_of(write_csv(tmp_path / "t.csv", rows, [HEADER[index] for index in keep]))
    assert f"t.csv has no column `{column}`" in problem


def test_wrong_separator_and_repeated_column(tmp_path):
    (tmp_path / "t.csv").write_text("path;set;group;speaker\na.wav;X;f;s\n")
    assert "Separate columns by commas" in problems_of(tmp_path / "t.csv")[0]
    path = write_csv(tmp_path / "u.csv", [[*row, "1"] for row in good_rows()], [*HEADER, "set"])
    assert "column `set` 2 times" in problems_of(path)[0]


def test_all_problems_at_once_with_row_what_and_remedy(tmp_path):
    rows = good_rows()
    rows[0][1] = "x"
    rows[2][0] = ""
    rows[4] += ["too", "many"]
    rows[7][0] = "A1.wav"
    problems = problems_of(write_csv(tmp_path / "gender.csv", rows))
    assert len(problems) == 4
    assert problems[0] == "gender.csv, row 2: unknown set 'x'. `set` is X or Y (targets), A or B (attributes)."
    assert problems[1].startswith("gender.csv, row 4: `path` is blank. Write the path")
    assert problems[2].startswith("gender.csv, row 6: 6 fields under 4 columns.")
    assert problems[-1] == "gender.csv, row 9: A1.wav stands in sets A (row 7) and B (row 9). Keep it in one set."


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("key", SETS)
def test_a_set_below_two(tmp_path, key, size):
    rows = [row for row in good_rows() if row[1] != key or int(row[0][1]) < size]
    (problem,) = problems_of(write_csv(tmp_path / "t.csv", rows))
    assert problem == f"t.csv: set {key} has {size} of the 2 or more stimuli that it needs. Add clips."


@pytest.mark.parametrize("other", ["./X0.wav", "sub/../X0.wav", "link.wav", "X0.wav"])
@pytest.mark.parametrize("key", ["Y", "A"])
def test_one_file_in_two_sets(tmp_path, other, key):
    (tmp_path / "sub").mkdir()
    (tmp_path / "X0.wav").touch()
    (tmp_path / "link.wav").symlink_to("X0.wav")
    rows = good_rows(3)
    next(row for row in rows if row[1] == key)[0] = other
    (problem,) = problems_of(write_csv(tmp_path / "t.csv", rows))
    assert f"stands in sets X (row 2) and {key}" in problem


def test_skip_bad_leaves_out_rows_without_a_path(tmp_path):
    rows = [[*row, row[0][1] if row[1] in "XY" else ""] for row in good_rows(3)]
    rows[0][0] = ""
    stimuli = read_stimuli(write_csv(tmp_path / "t.csv", rows, [*HEADER, "pair"]), skip_bad=True)
    assert len(stimuli.X) == 2
    assert stimuli.skipped == ({"row": 2, "path": "", "why": "has no path"},)
    rows[1][1] = "Z"
    assert "unknown set" in problems_of(write_csv(tmp_path / "t.csv", rows, [*HEADER, "pair"]), skip_bad=True)[0]


# ---- Warned about: the CSV ----


def test_duplicate_path_within_a_set(tmp_path):
    rows = good_rows(3)
    rows[1][0] = "./X0.wav"
    (warning,) = read_stimuli(write_csv(tmp_path / "t.csv", rows)).warnings
    assert warning.startswith("set X holds 1 clip(s) more than once")


def test_unequal_groups(tmp_path):
    rows = [row for row in good_rows(3) if row[0] not in ("X2.wav", "B2.wav")]
    assert read_stimuli(write_csv(tmp_path / "t.csv", rows)).warnings == (
        "unequal groups: 2 clips in X, 3 in Y",
        "unequal groups: 3 clips in A, 2 in B",
    )


def test_one_speaker_only(tmp_path):
    rows = good_rows()
    rows[1][3] = "X0"
    rows[2][3] = rows[3][3] = ""  # unknown speakers are their own
    (warning,) = read_stimuli(write_csv(tmp_path / "t.csv", rows)).warnings
    assert warning == "set X (female) is of one speaker only: a voice, not a group"


def test_several_groups_in_a_set(tmp_path):
    rows = good_rows()
    rows[1][2], rows[6][2] = "women", ""
    stimuli = read_stimuli(write_csv(tmp_path / "t.csv", rows))
    assert stimuli.warnings == (
        "set X holds 2 groups: female, women",
        "set B holds 2 groups: (blank), negative",
    )
    assert stimuli.groups == {"X": "female / women", "Y": "male", "A": "positive", "B": "negative"}


def test_incomplete_pairs(tmp_path):
    pairs = {"X0.wav": "1", "Y0.wav": "1", "X1.wav": "2", "Y1.wav": "3", "X2.wav": "3"}
    rows = [[*row, pairs.get(row[0], "")] for row in good_rows(3)]
    (warning,) = read_stimuli(write_csv(tmp_path / "t.csv", rows, [*HEADER, "pair"])).warnings
    assert warning == "1 of 3 pair ids do not stand once in X and once in Y (2)"


# ---- Leaving out ----


def test_without_drops_pair_partners(lay):
    rows = [[*row, row[0][1] if row[1] in "XY" else ""] for row in good_rows(4)]
    stimuli = lay(rows, [*HEADER, "pair"])
    left = stimuli.without([stimuli.X[1].row, stimuli.A[0].row])
    assert [s.written for s in left.X] == ["X0.wav", "X2.wav", "X3.wav"]
    assert [s.written for s in left.Y] == ["Y0.wav", "Y2.wav", "Y3.wav"]
    assert len(left.A) == 3
    assert left.warnings == ("unequal groups: 3 clips in A, 4 in B",)
    assert stimuli.without([]) == stimuli


# ---- Writing ----


def test_written_and_read_again(tmp_path, lay):
    rows = [[*row, "p" if row[1] in "XY" and row[0][1] == "1" else "", "32", "x, y"] for row in good_rows()]
    stimuli = lay(rows, [*HEADER, "pair", "age", "text"])
    write_stimuli(stimuli, tmp_path / "elsewhere" / "gender.csv")
    again = read_stimuli(tmp_path / "elsewhere" / "gender.csv")
    assert [s.path.resolve() for s in again.stimuli] == [s.path.resolve() for s in stimuli.stimuli]
    assert again.X[0].written == "../X0.wav"
    for one, other in zip(again.stimuli, stimuli.stimuli, strict=True):
        assert (one.set, one.group, one.speaker, one.pair) == (other.set, other.group, other.speaker, other.pair)
        assert one.columns == other.columns
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["gender.csv"]
    mode = stat.S_IMODE((tmp_path / "elsewhere" / "gender.csv").stat().st_mode)
    assert mode & 0o400


def test_failed_write_leaves_the_old_file(tmp_path, lay, monkeypatch):
    stimuli = lay(good_rows())
    target = tmp_path / "out" / "t.csv"
    target.parent.mkdir()
    target.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left"):
        write_stimuli(stimuli, target)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_write_into_a_file_as_folder(tmp_path, lay):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_stimuli(lay(good_rows()), tmp_path / "file" / "t.csv")


def test_made_in_python_gets_rows_and_checks(tmp_path):
    clips = [Stimulus(tmp_path / row[0], *row[1:]) for row in good_rows()]
    stimuli = make_stimulus_set("t", clips[::-1])
    assert [s.row for s in stimuli.stimuli] == list(range(2, 10))
    with pytest.raises(InputError, match="set B has 1"):
        make_stimulus_set("t", clips[:-1])


# ---- Hash ----


def test_hash_depends_on_what_is_measured_and_nothing_else(lay):
    stimuli = lay(good_rows(), name="a.csv")
    audio = {s.path: f"sha of {s.written}" for s in stimuli.stimuli}
    lines = "".join(json.dumps([s.set, s.group, s.speaker, s.pair, audio[s.path]]) + "\n" for s in stimuli.stimuli)
    value = stimuli_sha256(stimuli, audio)
    assert value == hashlib.sha256(lines.encode()).hexdigest()
    renamed = lay([[*row, "more"] for row in good_rows()], [*HEADER, "text"], name="b.csv")
    assert stimuli_sha256(renamed, audio) == value
    assert stimuli_sha256(stimuli, audio | {stimuli.X[0].path: "other"}) != value
    for column in (2, 3):
        rows = good_rows()
        rows[0][column] = "other"
        assert stimuli_sha256(lay(rows, name="c.csv"), audio) != value


# ---- Audio ----


def test_good_audio(lay):
    stimuli = lay(good_rows())
    calls = []
    found = check(stimuli, progress=lambda done, total: calls.append((done, total)))
    assert found.sets == (stimuli,)
    assert set(found.facts) == {s.path for s in stimuli.stimuli}
    assert found.skipped == {"gender": []}
    assert found.warnings == {"gender": []}
    assert calls == [(n, 8) for n in range(1, 9)]
    assert found.facts[stimuli.X[0].path].path == stimuli.X[0].path


BAD = {
    "does not exist": lambda path: path.unlink(),
    "is not audio that can be decoded": lambda path: path.write_text("no audio"),
    "is truncated": lambda path: path.write_bytes(path.read_bytes()[:-99]),
    "has no samples": lambda path: soundfile.write(path, np.zeros(0), RATE),
    "lasts 24.9 ms; this model needs 25.0 ms or more": lambda path: write_tone(path, 0, 399 / RATE),
    "holds NaN or infinite samples": lambda path: soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT"),
    "is digital silence": lambda path: soundfile.write(path, np.zeros(RATE), RATE),
}


@pytest.mark.parametrize("why", BAD)
def test_bad_audio_is_refused_or_skipped_with_its_partner(lay, why):
    stimuli = lay([[*row, row[0][1] if row[1] in "XY" else ""] for row in good_rows(4)], [*HEADER, "pair"])
    BAD[why](stimuli.X[1].path)
    BAD[why](stimuli.A[3].path)
    with pytest.raises(InputError) as caught:
        check(stimuli)
    assert len(caught.value.problems) == 2
    for problem, where in zip(caught.value.problems, ("row 3: X1.wav", "row 13: A3.wav"), strict=True):
        assert problem.startswith(f"gender.csv, {where} {why}")
        assert problem.endswith("emove the row, or measure with --skip-bad.")
    found = check(stimuli, skip_bad=True)
    (left,) = found.sets
    assert [len(members) for members in left.sets.values()] == [3, 3, 3, 4]
    assert [(each["row"], each["path"]) for each in found.skipped["gender"]] == [
        (3, "X1.wav"),
        (7, "Y1.wav"),
        (13, "A3.wav"),
    ]
    assert found.skipped["gender"][0]["why"].startswith(why)
    assert found.skipped["gender"][1]["why"] == "its pair partner (row 3) is left out"
    assert "unequal groups: 3 clips in A, 4 in B" in left.warnings
    assert set(found.facts) == {s.path for s in left.stimuli}


def test_exactly_the_receptive_field_is_enough(lay, tmp_path):
    stimuli = lay(good_rows())
    write_tone(tmp_path / "X0.wav", 99, 400 / RATE)
    assert check(stimuli).facts[stimuli.X[0].path].frames == 400
    with pytest.raises(InputError, match=r"row 2: X0.wav lasts 25.0 ms; this model needs 25.1 ms"):
        check(stimuli, min_samples=401)
    write_tone(tmp_path / "X0.wav", 99, 0.025, rate=8_000)
    assert check(stimuli).facts[stimuli.X[0].path].frames == 200


def test_a_set_that_falls_below_two_is_refused(lay):
    stimuli = lay(good_rows())
    stimuli.B[0].path.unlink()
    with pytest.raises(InputError, match=r"gender.csv: set B has 1 of the 2 .*--skip-bad"):
        check(stimuli, skip_bad=True)


def test_problems_of_all_tests_together_and_each_file_once(lay, tmp_path, monkeypatch):
    first, second = lay(good_rows(), name="a.csv"), lay(good_rows(), name="b.csv")
    seen = []
    from speechbias.stimuli import checks  # noqa: PLC0415

    original = checks.inspect_audio
    monkeypatch.setattr(checks, "inspect_audio", lambda path: seen.append(path) or original(path))
    assert len(check(first, second).facts) == len(seen) == 8
    (tmp_path / "Y1.wav").unlink()
    with pytest.raises(InputError) as caught:
        check(first, second)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["a.csv, row 5", "b.csv, row 5"]


def test_two_tests_of_one_name(lay):
    stimuli = lay(good_rows())
    with pytest.raises(InputError, match=r"gender\.csv is given twice"):
        check(stimuli, stimuli)


def test_sets_without_row_numbers(tmp_path):
    clips = {key: tuple(Stimulus(tmp_path / f"{key}{n}.wav", key, "g") for n in range(2)) for key in SETS}
    with pytest.raises(InputError) as caught:
        check(StimulusSet("t", **clips))
    assert len(caught.value.problems) == 8


def test_audio_warnings_are_aggregated(lay, tmp_path):
    stimuli = lay(good_rows(3))
    for seed, name in enumerate(("X0", "X1", "A0")):
        write_tone(tmp_path / f"{name}.wav", 100 + seed, rate=8_000 if name != "A0" else 11_025)
    for name in ("Y0", "Y1"):
        write_tone(tmp_path / f"{name}.wav", ord(name[1]), gain=9)
    (tmp_path / "B2.wav").write_bytes((tmp_path / "B1.wav").read_bytes())
    assert check(stimuli).warnings == {
        "gender": [
            "recorded below the model's 16 kHz: 2 in X (8 kHz), 1 in A (11.025 kHz)",
            "clipped at full scale: 2 in Y",
            "2 clips hold the same audio as another one under a different name",
        ]
    }


def test_a_duplicate_row_is_not_the_same_audio_under_another_name(lay):
    rows = good_rows(3)
    rows[1][0] = "X0.wav"
    stimuli = lay(rows)
    assert stimuli.warnings
    assert check(stimuli).warnings == {"gender": []}


# ---- Summary ----


def test_summary(lay, tmp_path):
    ages = {"X0.wav": "20", "X1.wav": "40"}
    rows = [[*row, row[2] if row[1] in "XY" else "", ages.get(row[0], "")] for row in good_rows()]
    rows[2][3] = ""
    stimuli = lay(rows, [*HEADER, "gender", "age"])
    write_tone(tmp_path / "X0.wav", seconds=0.5)
    x, y, a, _ = summarise(stimuli, check(stimuli).facts).sets
    assert (x.set, x.group, x.clips, x.speakers, x.sex, x.age) == ("X", "female", 2, 2, {"female": 2}, (20, 30, 40))
    assert x.seconds == pytest.approx(0.6)
    assert x.mean_seconds == pytest.approx(0.3)
    assert (y.speakers, y.unknown_speakers) == (1, 1)
    assert a.sex == {}
    text = str(summarise(stimuli))
    assert [line.split()[0] for line in text.splitlines()] == ["set", "X", "Y", "A", "B"]
    assert "20-40, mean 30.0" in text
    assert "1 + 1 unknown" in text
    assert summarise(stimuli).sets[0].seconds is None


def test_the_shared_manifest_sets_can_be_checked(shared, tmp_path):
    with (shared / "data" / "speech" / "manifest.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    libri = [row for row in rows if row["corpus"].startswith("LibriSpeech")]
    women = [row for row in libri if row["gender"] == "female"]
    men = [row for row in libri if row["gender"] == "male"]
    folder = shared / "data" / "speech"
    parts = [
        *([folder / row["file"], "X", "female", row["speaker"]] for row in women),
        *([folder / row["file"], "Y", "male", row["speaker"]] for row in men),
        *([folder / row["file"], "A", "positive", row["speaker"]] for row in rows if row["valence"] == "positive"),
        *([folder / row["file"], "B", "negative", row["speaker"]] for row in rows if row["valence"] == "negative"),
    ]
    stimuli = read_stimuli(write_csv(tmp_path / "gender.csv", parts))
    found = check(stimuli)
    assert {key: len(members) for key, members in found.sets[0].sets.items()} == {"X": 20, "Y": 20, "A": 32, "B": 64}
    assert stimuli.warnings == ("unequal groups: 32 clips in A, 64 in B",)
    assert found.warnings == {"gender": []}
    assert Path(stimuli.X[0].path).is_absolute()
