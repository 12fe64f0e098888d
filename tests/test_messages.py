"""What is said where the user's input is wrong: one line, what, where and the remedy, in plain words; exit code 2."""

import ast
import gzip
import io
import json
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import speechbias
from made_records import make_record
from recordings import write_test
from shell import call
from speechbias.corpora.morgan import _read_ratings as read_ratings
from speechbias.errors import InputError, os_reason, sentence
from speechbias.launch.settings import read_settings
from speechbias.probe.lexicon import read_lexicon
from speechbias.results import append_results
from speechbias.training.sources import open_corpus
from speechbias.training.tables import tsv
from speechbias.vectors import read_vectors
from training_runs import write_corpus, write_recipe

SOURCE = Path(speechbias.__file__).parent
COMMAND = re.compile(r"\b(pip install|speechbias \w+|torch\.save\()")
REMEDY = re.compile(r"[.?;](?!\w)")  # a second clause or sentence: what to do
UNKIND = re.compile(
    r"\b(invalid|illegal|must|valid|fail\w*|fatal|abort\w*|wrong|bad|please|sorry|directory|exception|dict|str)\b|!",
    re.IGNORECASE,
)
PARTS = {  # of longer messages, which bring the remedy
    "training/states.py": "training/run",
    "training/written_recipe.py": "refuse_another in the same file",
}


def literal(node):
    """The text of a message with {} for what is filled in; None where it is made elsewhere."""
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.GeneratorExp):
        return literal(node.value.elt)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def literals():
    """(file, line, text) of every message that an InputError is given in words."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
                for argument in node.args:
                    if text := literal(argument):
                        yield path.relative_to(SOURCE).as_posix(), node.lineno, text


def test_every_message_is_one_line_in_plain_words_with_a_remedy():
    found = list(literals())
    assert len(found) > 400
    odd = []
    for file, line, text in found:
        words = text.replace("{}", "")
        rules = {
            "a line break": "\n" in text,
            "words that blame or shout": bool(UNKIND.search(re.sub(r"[`'\"].*?[`'\"]|--[\w-]+|\S+\.\w+", "", text))),
            "no remedy": file not in PARTS
            and not (REMEDY.search(text) or COMMAND.search(text))
            and text.rstrip().rpartition("{}")[2] != "",  # what is filled in at the end may bring it
            "spaces at an end": words != "" and text != text.strip(),
            "two stops": bool(re.search(r"(?<!\.)\.\.(?!\.)|\.;|;\.", text)),
        }
        odd += [f"{file}:{line}: {rule}: {text}" for rule, broken in rules.items() if broken]
    assert not odd, "\n".join(odd)


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        ("a is no file; name one", "a is no file; name one."),
        ("a is no file. Name one.", "a is no file. Name one."),
        ("Which groups?", "Which groups?"),
        ("it needs x: pip install 'speechbias[x]'", "it needs x: pip install 'speechbias[x]'"),
        ("x\ny.wav is no audio", r"x\ny.wav is no audio."),
    ],
)
def test_a_line_ends_with_a_full_stop_but_behind_a_command(problem, shown):
    assert sentence(problem) == shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), "it does not exist"),
        (IsADirectoryError(21, "Is a directory"), "it is a folder"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(), "unknown error"),
    ],
)
def test_what_the_system_says_is_told_in_our_words(error, words):
    assert os_reason(error) == words


# --- what people type -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files as people have them, good ones and others."""
    folder = tmp_path_factory.mktemp("made")
    table = write_test(folder, clips=4).read_text()
    files = {
        "empty.csv": "",
        "header.csv": "path,set,group,speaker\n",
        "column.csv": table.replace("path,", "file,", 1),
        "semicolon.csv": table.replace(",", ";"),
        "page.pt": "<!DOCTYPE html><html></html>",
        "lfs.pt": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "other.jsonl": '{"loss": 1.0, "step": 3}\n',
        "digits.jsonl": "9" * 5000 + "\n",
        "typo.toml": '[model]\nfamily = "hubert"\n[data]\ntrian = "x"\n',
        "nothing.toml": "",
        "no-train.toml": '[model]\nfamily = "hubert"\n[data]\nutterances = 3\n',
        "open.toml": "[model\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "latin.csv").write_bytes(table.replace("female", "féminin").encode("latin-1"))
    (folder / "latin.toml").write_bytes(b'[model]\nfamily = "\xe9"\n')
    for name in ("folder.toml", "folder.jsonl", "folder", "run/checkpoints/last"):
        (folder / name).mkdir(parents=True)
    (folder / "run/checkpoints/last/config.json").write_text("{}")
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("model/config.json", "{}")
    with tarfile.open(folder / "tar.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("model/config.json"), io.BytesIO())
    (folder / "gz.pt").write_bytes(gzip.compress(b"model"))
    np.savez(folder / "few.npz", **{name: np.ones((3, 2)) for name in "XYAB"})
    append_results(folder / "results.jsonl", [make_record()])
    return folder


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


MEASURE = "measure {} --stimuli gender.csv -o new.jsonl"
SAID = {
    "measure mfcc --stimuli nothere.csv -o new.jsonl": "nothere.csv: this stimulus list does not exist",
    "measure mfcc --stimuli folder -o new.jsonl": "is a folder, not a CSV",
    "measure mfcc --stimuli empty.csv -o new.jsonl": "empty.csv is empty. It needs the header path,set,group,speaker",
    "measure mfcc --stimuli header.csv -o new.jsonl": "has a header but no rows",
    "measure mfcc --stimuli column.csv -o new.jsonl": "no column `path`",
    "measure mfcc --stimuli semicolon.csv -o new.jsonl": "Separate columns by commas.",
    "measure mfcc --stimuli latin.csv -o new.jsonl": r"UTF-8 text \(byte \d+ is no text\). Save it as CSV UTF-8.",
    "measure mfcc --stimuli gender.csv -o folder": "is a folder or no plain file",
    "measure mfcc --stimuli gender.csv -o other.jsonl": "other.jsonl, line 1 is not a record",
    MEASURE.format("mfc"): "did you mean mfcc",
    MEASURE.format("zip.pt"): "zip.pt is a zip archive, but no file of torch.save; unpack it",
    MEASURE.format("tar.pt"): "tar.pt is a packed archive; unpack it, and give what lies in it.",
    MEASURE.format("gz.pt"): "gz.pt is a packed archive; unpack it",
    MEASURE.format("page.pt"): "page.pt is a web page, not a checkpoint; download the file itself.",
    MEASURE.format("lfs.pt"): "has not fetched; fetch it: git lfs pull$",
    MEASURE.format("few.npz"): "few.npz holds 3 clips of X, .*, gender has 4 clips of X, .* Give the stimuli it was",
    MEASURE.format("mfcc --confidence 95"): "confidence is 95. Take a share",
    MEASURE.format("mfcc --states hff"): "--states: 'hff' is not one of .*; see speechbias measure --help.",
    MEASURE.format("mfcc --cach x"): "no such option: --cach .*; see speechbias measure --help.",
    MEASURE.format("mfcc --seed 1.5"): "--seed: (give a whole number|'1.5' give a whole number); see",
    MEASURE.format("mfcc --permutations 0"): "--permutations: .*1.*; see",
    MEASURE.format("mfcc --launch time=3"): "give --launcher slurm or --launcher local with it",
    "mesure mfcc": "no such command 'mesure'.",
    "measure": "missing argument 'MODEL...'; see speechbias measure --help.",
    "pretrain folder.toml": "missing option -o / --out",
    "pretrain typo.toml -o new": r"typo.toml \[data\]: unknown key 'trian'; the nearest is 'train'.",
    "pretrain nothere.toml -o new": r"nothere.toml cannot be read \(it does not exist\); name a recipe",
    "pretrain folder.toml -o new": r"folder.toml cannot be read \(it is a folder\); name a recipe",
    "pretrain gender.csv -o new": "gender.csv is no TOML",
    "pretrain open.toml -o new": "open.toml is no TOML",
    "pretrain latin.toml -o new": "latin.toml is no TOML: byte 19 is no text",
    "pretrain nothing.toml -o new": r"\[model\] names no family; take one of wav2vec2, hubert, melhubert.",
    "pretrain no-train.toml -o new": r"no-train.toml \[data\] has no train; write train = ... there.",
    "compare nothere.jsonl": r"cannot be read as results \(it does not exist\)",
    "compare folder.jsonl": r"cannot be read as results \(it is a folder\)",
    "compare digits.jsonl": "digits.jsonl, line 1 is not a record",
    "explain other.jsonl": "other.jsonl, line 1 is not a record",
    "groups results.jsonl --stimuli gender.csv --by age:abc": None,
    "report results.jsonl -o gender.csv": r"gender.csv cannot be written \(a file of this name is there\)",
    "plan --d 3": "d is 3. It stays below 2",
    "plan --d nothing": "--d: .*a number; see speechbias plan --help.",
    "reproduce table5": "'table5' is not one of",
    "reproduce table2 --checkpoints nothere": "--checkpoints nothere is no folder. Give the folder",
    "stimuli check": "Name a CSV: speechbias stimuli check FILE.csv.",
    "stimuli check gender.csv -o gender.csv": "gender.csv, line 1 is not a record",
    "stimuli split gender.csv -o gender.csv": "gender.csv is a file. Name a folder with -o",
    "remove mfcc --fit gender.csv --column agge -o new": "no clip of X or Y has a value of 'agge'; there are",
    "inspect run": "run is the folder of a run; give one of its checkpoints, for example run/checkpoints/last.",
    "inspect nothere/at/all": "there is no such file or folder",
    "export tar.pt -o new": "tar.pt is a packed archive",
}


@pytest.mark.parametrize("command", SAID)
def test_a_mistake_is_answered_in_one_line_and_nothing_is_written(command, made, monkeypatch):
    monkeypatch.chdir(made)
    before, out, err = tree(made), io.StringIO(), io.StringIO()
    assert call(["speechbias", *command.split()], out=out, err=err) == 2
    (line,) = err.getvalue().splitlines()
    assert line.startswith("speechbias: ")
    assert line.endswith((".", "?", "git lfs pull"))
    assert "Invalid" not in line
    assert "Traceback" not in line
    if SAID[command] is not None:
        assert re.search(SAID[command], line)
    assert tree(made) == before


def test_a_line_is_shown_as_it_is_without_emoji(made, monkeypatch):
    monkeypatch.chdir(made)
    err = io.StringIO()
    call(["speechbias", "measure", "mfcc", "--stimuli", "age:abc.csv"], out=io.StringIO(), err=err)
    assert "age:abc.csv: this stimulus list does not exist" in err.getvalue()


def test_a_column_that_is_not_there_is_said_once_for_all_models(tmp_path, monkeypatch):
    write_test(tmp_path, clips=4)
    monkeypatch.chdir(tmp_path)
    measure = "measure mfcc mel --stimuli gender.csv -o r.jsonl --permutations 10 --resamples 100 --no-audit"
    assert call(["speechbias", *measure.split()], out=io.StringIO(), err=io.StringIO()) == 0
    err = io.StringIO()
    groups = "groups r.jsonl --stimuli gender.csv --by age"
    assert call(["speechbias", *groups.split()], out=io.StringIO(), err=err) == 2
    assert err.getvalue() == "speechbias: gender.csv: The stimuli have no column 'age'. There are: group, set.\n"


@pytest.mark.parametrize("name", ["recipe.toml", "log.jsonl", "results.jsonl", "checkpoints"])
def test_a_folder_in_the_place_of_a_file_of_a_run_is_said_and_nothing_is_lost(name, tmp_path):
    recipe = write_recipe(tmp_path / "recipe.toml", "hubert", write_corpus(tmp_path / "corpus"), steps=2)
    command = ["speechbias", "pretrain", str(recipe), "-o", str(tmp_path / "run")]
    assert call(command, out=io.StringIO(), err=io.StringIO()) == 0
    place = tmp_path / "run" / name
    if name == "checkpoints":
        place.rename(tmp_path / "aside")
        place.write_text("")
    else:
        place.unlink(missing_ok=True)
        place.mkdir()
    before, err = tree(tmp_path), io.StringIO()
    assert call([*command, "--resume"], out=io.StringIO(), err=err) == 2
    what = (
        "is a file, and a run keeps a folder there" if name == "checkpoints" else "is a folder, and a run keeps a file"
    )
    assert re.fullmatch(rf"speechbias: \S+/{name} {what}.*; move it away, or choose another --out\.\n", err.getvalue())
    assert tree(tmp_path) == before


def test_a_line_break_in_the_name_of_a_file_stays_within_its_line_of_a_list():
    assert tsv([("a\nb.wav", "is\tempty"), ("c\r.wav", 2)]) == b"a\\nb.wav\tis\\tempty\nc\\r.wav\t2\n"


def test_left_out_files_are_a_line_each_whatever_their_names(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    (corpus / "two\nlines.wav").write_bytes(b"no audio")
    recipe = write_recipe(tmp_path / "recipe.toml", "hubert", corpus, steps=2)
    err = io.StringIO()
    assert call(["speechbias", "pretrain", str(recipe), "-o", str(tmp_path / "run")], out=io.StringIO(), err=err) == 0
    (line,) = (tmp_path / "run" / "left-out.tsv").read_text().splitlines()
    assert line.startswith("two\\nlines.wav\t")
    assert sum("two" in line for line in err.getvalue().splitlines()) == 1
    assert "two\\nlines.wav" in err.getvalue()


def test_a_corpus_named_twice_by_a_link_is_refused(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    (tmp_path / "again").symlink_to(corpus)
    with pytest.raises(InputError, match=r"corpus/clip-0.wav stands in the corpus twice\. Name it once\."):
        open_corpus([corpus, tmp_path / "again"])


def test_a_file_that_may_not_be_read_is_said(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = shutil.copy(write_recipe(tmp_path / "a.toml", "hubert", tmp_path), tmp_path / "recipe.toml")
    path.chmod(0)
    err = io.StringIO()
    assert call(["speechbias", "pretrain", str(path), "-o", str(tmp_path / "run")], out=io.StringIO(), err=err) == 2
    assert "permission denied" in err.getvalue()


def test_deep_or_long_json_in_a_corpus_is_a_line(tmp_path):
    for text in ("[" * 100_000, "9" * 5000, json.dumps([1])):
        (tmp_path / "corpus.jsonl").write_text(text + "\n")
        with pytest.raises(InputError, match=r"line 1: not one JSON object. Write an object per line."):
            open_corpus(tmp_path / "corpus.jsonl")


def test_lengths_without_end_in_what_a_scan_kept_are_passed_over(tmp_path):
    corpus, cache = write_corpus(tmp_path / "corpus", clips=2), tmp_path / "scan.jsonl"
    whole = open_corpus(corpus, cache=cache).sha256
    cache.write_text(f'["{corpus}/clip-0.wav", 1, 2, Infinity, true]\n' + cache.read_text())
    assert open_corpus(corpus, cache=cache).sha256 == whole


@pytest.mark.parametrize("value", ["²", "0", "9" * 5000, "1:2:x"])
def test_numbers_of_a_job_are_whole_numbers(value):
    with pytest.raises(InputError, match="is not a whole number above 0 or HH:MM:SS"):
        read_settings("local", [f"time={value}"])


def test_a_remark_alone_in_a_lexicon_is_passed_over(tmp_path):
    (tmp_path / "lexicon.txt").write_text(" # a remark\nCAT K AE1 T\n")
    assert dict(read_lexicon([tmp_path / "lexicon.txt"]).words) == {"CAT": ("K", "AE1", "T")}


def test_an_excel_file_with_broken_xml_is_a_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types")
    with pytest.raises(InputError, match=r"cannot be read as an Excel file \(damaged, or of another kind\)"):
        read_ratings(tmp_path / "a.xlsx")


def test_an_empty_manifest_of_fairseq_names_nothing(tmp_path):
    (tmp_path / "train.tsv").write_text("")
    with pytest.raises(InputError, match=r"names no recordings\. Write the manifest again\."):
        open_corpus(tmp_path / "train.tsv")


def test_vectors_in_a_zip_of_another_version_are_a_line(tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, **{name: np.ones((3, 2)) for name in "XYAB"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 120  # the version that is needed, of the first array
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"v\.npz is no \.npz file of plain arrays"):
        read_vectors(path)
