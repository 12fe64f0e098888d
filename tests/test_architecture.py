"""ARCHITECTURE.md: a module imports only from lower lines, and the page names what is there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "speechbias"

# Highest first. Names on one line do not import each other; modules inside one package may, without cycles.
LINES = (
    ("__main__",),
    ("cli",),
    ("demo", "reproduce"),
    ("launch", "export"),
    ("report",),
    ("probe", "compress"),
    ("training",),
    ("tracking", "removal", "audits"),
    ("leakage", "valence", "students", "controls"),
    ("survey", "families", "explain", "compare", "planning", "adjusted", "contrasts"),
    ("measure", "vectors", "fronts", "inspection"),
    ("embeddings",),
    ("checkpoint",),
    ("models",),
    ("features", "poolings", "corpora", "confounds", "synthetic"),
    ("stimuli",),
    ("audio", "encoder"),
    ("inference", "erasers", "geometry"),
    ("speat", "paper", "results", "progress", "compiled", "claims", "kept", "extras"),
    ("errors", "level"),
)
LINE_OF = {name: len(LINES) - number for number, line in enumerate(LINES) for name in line}
MAKERS = {"training", "compress", "probe"}


PAGE = (PACKAGE.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8")
LISTED = ("models", "checkpoint", "training", "compress", "probe", "reproduce")  # file by file
BESIDE = ("cli", "errors", "progress", "compiled", "claims", "level")  # no station of the path


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield path, tuple(part for part in parts if part != "__init__")


def imported(path):
    """Dotted names under speechbias that a file imports anywhere, in functions too, but not for type checking."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = [node.module] if node.module != "speechbias" else [f"speechbias.{a.name}" for a in node.names]
        else:
            continue
        for name in names:
            if name.startswith("speechbias."):
                yield tuple(name.split(".")[1:])


@pytest.mark.parametrize(("path", "name"), [pytest.param(p, n, id=".".join(n) or "speechbias") for p, n in modules()])
def test_imports_point_down(path, name):
    if not name:  # the public names of speechbias/__init__ resolve lazily
        return
    assert name[0] in LINE_OF, f"{name[0]} stands on no line: give it one here and in ARCHITECTURE.md"
    for target in imported(path):
        if target[0] == name[0] or target[0].startswith("__"):
            continue
        assert LINE_OF[target[0]] < LINE_OF[name[0]], f"{'.'.join(name)} imports {'.'.join(target)} from above"
        if name[0] not in MAKERS | {"__main__", "cli", "demo", "reproduce", "launch"}:
            assert target[0] not in MAKERS, f"{name[0]} measures and must not know the maker {target[0]}"


def test_modules_of_one_package_have_no_cycles():
    graph = {name: {t for t in imported(path) if t[0] == name[0]} for path, name in modules() if name}
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join(".".join(n) for n in (*trail, name))
        if name not in done:
            for target in graph.get(name, ()):
                if target != name:
                    visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "module", ["speat", "inference", "stimuli", "corpora", "confounds", "report", "results", "synthetic", "cli"]
)
def test_light_modules_do_without_torch(module):
    code = f"import sys, speechbias.{module}; print(sorted(set(sys.modules) & {{'torch', 'transformers', 'sklearn'}}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_page_has_the_lines_of_the_import_rule():
    block = PAGE.partition("## The import rule")[2].split("```")[1]
    assert [tuple(line.split()) for line in block.strip().splitlines()] == list(LINES[1:])


@pytest.mark.parametrize("package", LISTED)
def test_the_page_names_every_file_of_what_it_lists(package):
    lines = [line for line in PAGE.splitlines() if line.startswith((f"{package}/", "    "))]
    words = {word for line in lines for word in re.findall(r"\w+", line)}
    files = {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}
    assert files <= words
    left = [re.split(r"  |; ", line.removeprefix(f"{package}/"))[0] for line in lines if line.startswith(package)]
    named = {name.strip().rstrip("/") for line in left for name in line.split(",")}
    assert named <= files | {path.name for path in (PACKAGE / package).iterdir() if path.is_dir()}


def test_the_page_says_of_everything_what_it_takes_and_gives():
    told = {word for line in PAGE.splitlines() if line.startswith("| `") for word in re.findall(r"`(\w+)/?`", line)}
    assert {name for line in LINES for name in line} - told == {"__main__", *BESIDE}
