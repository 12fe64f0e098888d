"""Documents tell the truth: options exist, the README's Python runs, its figures stand in docs/results.md."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import speechbias as sb
from recordings import write_test
from speechbias.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page):
    """Each `speechbias VERB ...` in a code block, continuation lines joined."""
    for block in blocks(page, r"\w*"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("speechbias "):
                yield line.split("#")[0].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_use_verbs_and_options_that_exist(page):
    verbs = get_command(app).commands
    for _, verb, *words in commands(page):
        assert verb in verbs, f"{page.name}: speechbias {verb}"
        options = {name for parameter in verbs[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options | {"--help"}, f"{page.name}: {' '.join((verb, *words))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
    for named in re.findall(
        r"\b(?:docs|src|tests|benchmarks)/[\w/.-]+\.(?:md|py)\b", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / named).exists(), f"{page.name}: {named}"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    write_test(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (code,) = blocks(ROOT / "README.md", "python")
    code = code.replace('"openai/whisper-tiny.en"', '"mfcc"').replace("layer=3", "layer=0")
    exec(code, {"who_speaks": list("aabbcc"), **{name: rng.normal(size=(6, 4)) for name in "XYAB"}})
    assert "d = " in capsys.readouterr().out


def test_figures_of_the_readme_stand_in_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    d, low, high, p = re.search(r"d = (\S+), 95 % interval (\S+) to (\S+), p_value\s+(\S+)\.", text).groups()
    least = re.search(r"p_value can go below (\S+) whatever", text).group(1)
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    row = re.search(r"^\| gender \| whisper-tiny.en .*$", results, re.MULTILINE).group(0)
    assert f"| {d} | {low} to {high} |" in row
    assert f"| {p} |" in row
    assert re.search(rf"can go below\s+{least} ", results)


def test_every_silence_of_the_paper_stands_on_its_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    make_silences = importlib.import_module("make_silences")

    text = make_silences.PAGE.read_text(encoding="utf-8")
    assert text == make_silences.page(text), "run python docs/make_silences.py"


def test_public_names_have_a_home_and_a_docstring():
    assert set(dir(sb)) >= set(sb.__all__)
    for name in sb.__all__:
        if name != "__version__":
            assert getattr(sb, name).__doc__, name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'speechbias[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert "association_test" in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert 'href="method.html"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
