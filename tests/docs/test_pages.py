"""Every command and block of Python in the documents runs as it is printed, or stands here with the reason why not.

A page is typed from top to bottom in a folder that has, in small, whatever the page names (tests/sandbox.py).
"""

import contextlib
import re
import shutil
import subprocess
import tomllib

import numpy as np
import pytest
import torch

import speechbias as sb
from printed import PAGES, ROOT, name_of, read_page
from shell import outputs, run

TYPED = [page for page in PAGES if name_of(page) != "recipes/README.md"]  # its table: test_recipes.py
SLOW = {  # they train, or probe
    "README.md",
    "docs/compression.md",
    "docs/pretraining.md",
    "docs/probe.md",
    "docs/results.md",
    "docs/tracking.md",
}

# Printed -> typed, and why: what a command shows stays the same.
CHANGED = (
    (r"--device cuda", "--device cpu", "no GPU is needed to run tests"),
    (r"--workers \d+", "--workers 1", "processes that measure clips start with an interpreter each"),
    (r"^(speechbias measure (?!.*\.npz).*)$", r"\1 --permutations 500 --resamples 200", "fewer draws"),
    (r"MODEL\.\.\. --stimuli CSV", "MODEL --stimuli gender.csv", "any of them"),
    (r"--crop 2\b", "--crop 0.5", "recordings of a second"),
    (r"^(speechbias reproduce table3 --accent.*)$", r"\1 --dry-run", "the models would come from the hub"),
)

# Typed before a page: what it takes as made, by commands of other pages or of its own prose.
MEASURED = "speechbias measure MODEL mfcc --stimuli gender.csv --per-layer -o results.jsonl"
ACCENTS = "--x accent=usa --y accent!=usa --each accent --count 6 --a valence=positive --b valence=negative"
BEFORE = {
    "README.md": (  # docs/groups.md
        f"speechbias stimuli csv=manifest.csv {ACCENTS} -o accents.csv",
        "speechbias measure mfcc --stimuli accents.csv -o results.jsonl",
    ),
    "docs/comparing.md": (MEASURED,),
    "docs/compression.md": (  # docs/pretraining.md, docs/probe.md; students of other layers are others by their seed
        "speechbias pretrain recipes/tiny/pretrain-melhubert.toml --out runs/melhubert",
        "speechbias export runs/melhubert/checkpoints/last --format speechbias -o base",
        *(
            f"speechbias distill recipes/tiny/distill.toml --model base --seed {n} --out student-{n}"
            for n in (6, 4, 2)
        ),
        "speechbias probe recipes/tiny/probe.toml --model base --model student-2/checkpoints/last --out per",
    ),
    "docs/probe.md": ("speechbias distill recipes/tiny/distill.toml --out student",),
    "docs/questions.md": (MEASURED,),
    "docs/reading-a-report.md": (MEASURED,),
    "docs/reproducing.md": (MEASURED,),
    "docs/tracking.md": ("speechbias pretrain recipes/tiny/pretrain-melhubert.toml --out run",),
}

# Not typed here, by how it begins (` is its end), and why.
NO_NETWORK = "downloads"
MADE_BY_MAKE = "the environment of `make`, in which the tests run"
GERMAN = "tests/contrasts/test_documented.py types it, and looks at what it finds"
ELSEWHERE = {
    "git clone": NO_NETWORK,
    "cd speechbias": NO_NETWORK,
    "wget ": NO_NETWORK,
    "tar xf": NO_NETWORK,
    ". .venv/bin/activate": MADE_BY_MAKE,
    "torchrun ": "many GPUs; tests/training/test_ranks_runs.py starts processes as torchrun does",
    "speechbias measure runs/*/checkpoints/step-* --stimuli gender.csv age.csv -o results.jsonl --launcher slurm": (
        "a cluster; tests/launch/test_launch.py has local jobs"
    ),
    "speechbias pretrain recipes/pretrain/melhubert-slim.toml --out runs/slim --device cuda --launcher slurm": (
        "a cluster; tests/launch/test_launch.py has local jobs"
    ),
    "python docs/compare_criteria.py": "tests/test_compare_criteria.py runs it; a page's sizes take minutes",
    "python docs/make_": "writes docs/results.md from the real runs",
    "python -m benchmarks": "minutes to hours, of a quiet machine; tests/docs looks whether it is there",
    "python -m mutation": "an hour or two, of a quiet machine; tests/test_mutation.py runs it on a module",
    "make ": "what it would run is asked of make below",
    "pip install ": "the tests run in an environment that has it; the extras are looked up below",
    "speechbias stimuli csv=de/validated.tsv": GERMAN,
    "speechbias measure mfcc --stimuli dialekte.csv": GERMAN,
    "speechbias groups dialekte.jsonl": GERMAN,
    "speechbias report dialekte.jsonl": GERMAN,
    "speechbias stimuli CORPUS[:CATEGORY]=FOLDER": "a synopsis",
    "speechbias measure MODEL...`": "names what MODEL stands for",
    "speechbias export --format hf": "names an option",
    "speechbias reproduce figure1`": "names a figure",
    "speechbias measure out/checkpoint-*": "of transformers' Trainer; tests/test_tracking.py trains with one",
    "trainer = Trainer(": "tests/test_tracking.py trains with one",
    "trainer = lightning.Trainer(": "lightning is in no extra; tests/test_tracking.py has its hooks",
}


def reason(printed):
    """Why it is not typed here, if it is not."""
    return next((why for begins, why in ELSEWHERE.items() if f"{printed.text}`".startswith(begins)), None)


def typed(command):
    """A command as it is typed."""
    for pattern, instead, _ in CHANGED:
        command = re.sub(pattern, instead, command)
    return command


def given(folder):
    """The names that blocks of Python take as there: arrays, a recording, a model in training."""
    rng = np.random.default_rng(0)
    network = sb.load_encoder(str(folder / "MODEL")).network
    return {
        "sb": sb,
        "torch": torch,
        **{name: rng.normal(size=(6, 4)) for name in "XYAB"},
        "who_speaks": list("aabbcc"),
        "wave": (0.1 * rng.standard_normal(8_000)).astype(np.float32),
        "stimuli": sb.read_stimuli(folder / "gender.csv"),
        "models": ["MODEL", "mfcc"],
        "path": "results.jsonl",
        "model": network,
        "batches": range(2),
        "update": lambda model, batch: None,
    }


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (name_of(page) in SLOW), id=name_of(page)) for page in TYPED],
)
def test_a_page_runs_from_top_to_bottom(page, folder):
    todo = [printed for printed in read_page(page) if reason(printed) is None]
    for command in BEFORE.get(name_of(page), ()) if todo else ():
        type_command(typed(command), folder)
    names = given(folder) if any(printed.python for printed in todo) else {}
    for printed in todo:
        if printed.python:
            with contextlib.chdir(folder), contextlib.redirect_stdout(None):
                exec(compile(printed.text, printed.page, "exec"), names)
        else:
            type_command(typed(printed.text), folder)
    if any("speechbias report " in printed.text for printed in todo):  # what the page says of it is there
        told = re.findall(r"`(report/[\w.-]+)`", page.read_text(encoding="utf-8"))
        assert [name for name in told if not (folder / name).exists()] == []


def test_every_command_is_typed_or_said_not_to_be():
    for page in TYPED:
        for printed in read_page(page):
            known = printed.python or printed.program == "speechbias" or reason(printed)
            assert known, f"{printed}: no command that can be typed here, and not in ELSEWHERE"
    assert SLOW | set(BEFORE) <= {name_of(page) for page in TYPED}


def type_command(command, folder):
    """It ends well, and what it is told to write is there."""
    done = run(command, folder)
    assert done.exit_code == 0, f"{command}\n{done.said}"
    made = re.match(r"speechbias (?:(report)|reproduce (\w+))", command)
    file = "" if not made else "index.html" if made[1] else f"{made[2]}.csv"
    for out in outputs(command):
        assert (folder / out / file).exists() == ("--dry-run" not in command), f"{command}: no {out}/{file}"


@pytest.mark.parametrize("begins", ELSEWHERE)
def test_what_is_not_typed_still_stands_on_a_page(begins):
    assert any(f"{printed.text}`".startswith(begins) for page in PAGES for printed in read_page(page)), begins


@pytest.mark.parametrize("change", CHANGED, ids=lambda change: change[0])
def test_what_is_changed_still_stands_on_a_page(change):
    assert any(re.search(change[0], printed.text) for page in TYPED for printed in read_page(page))


def of_program(*programs):
    return sorted({each.text for page in PAGES for each in read_page(page) if each.program in programs})


def test_scripts_and_modules_are_there_with_their_options():
    for command in of_program("python"):
        _, script, *options = command.split()
        named = ROOT / (options.pop(0).replace(".", "/") + ".py" if script == "-m" else script)
        source = (named if named.exists() else named.with_suffix("") / "__main__.py").read_text(encoding="utf-8")
        for option in (word for word in options if word.startswith("--")):
            assert f'"{option}"' in source, command


def test_make_knows_its_targets():
    if shutil.which("make") is None:
        pytest.skip("no make")
    for command in of_program("make"):
        dry = ["make", "--dry-run", "--always-make", *command.split()[1:]]
        made = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        assert made.stdout


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for command in of_program("pip"):
        for named in re.findall(r"\[(.*)\]", command):
            assert set(named.split(",")) <= set(extras), command
