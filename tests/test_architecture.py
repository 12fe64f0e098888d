"""The import rule of ARCHITECTURE.md: a module imports only from lower lines."""

import ast
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
    ("speat", "paper", "results", "progress", "compiled", "claims", "kept"),
    ("errors", "level"),
)
LINE_OF = {name: len(LINES) - number for number, line in enumerate(LINES) for name in line}
MAKERS = {"training", "compress", "probe"}


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
