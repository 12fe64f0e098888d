"""Which code a cell depends on: a hash of what its file imports of the package and of this folder, however far down.

Comments, docstrings and what only writes the page do not count, so that mending a sentence computes nothing anew.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import speechbias

ROOTS = {"calibration": Path(__file__).parent, "speechbias": Path(speechbias.__file__).parent}
OF_THE_PAGE = "calibration.figures"


@cache
def version(module: str) -> str:
    """Of a module by its full name."""
    digest = hashlib.sha256()
    for name in sorted(_below(module)):
        digest.update(f"{name}\n{ast.dump(_parsed(name))}\n".encode())
    return digest.hexdigest()


def _below(module: str) -> set[str]:
    """The module and all that it imports, by name."""
    found, left = {module}, [module]
    while left:
        for name in _imported(_parsed(left.pop())):
            if name not in found and name != OF_THE_PAGE:
                found.add(name)
                left.append(name)
    return found


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if _file(name)]


def _file(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first not in ROOTS or not rest:  # the package's own public names resolve lazily
        return None
    at = ROOTS[first].joinpath(*rest)
    return next((path for path in (at.with_suffix(".py"), at / "__init__.py") if path.is_file()), None)


@cache
def _parsed(module: str) -> ast.Module:
    """Without docstrings, and without functions of what was found."""
    path = _file(module)
    assert path is not None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if module.startswith("calibration."):
        tree.body = [node for node in tree.body if not _of_the_page(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _of_the_page(node: ast.stmt) -> bool:
    """Whether it is a function that takes ``Found``."""
    if not isinstance(node, ast.FunctionDef):
        return False
    return any(isinstance(each.annotation, ast.Name) and each.annotation.id == "Found" for each in node.args.args)
