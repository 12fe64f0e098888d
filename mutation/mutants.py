"""The mutants of a module: its text with one fault each, named so that the name outlives moved lines."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mutation.faults import faults_of, turned_round


@dataclass(frozen=True)
class Mutant:
    """One fault. ``compiled``: numba's machine code of the unharmed module would hide it."""

    name: str  # FILE FUNCTION: the line before -> the line after
    lines: tuple[bytes, ...]
    compiled: bool

    @property
    def source(self) -> str:
        """The module's text with the fault in it."""
        return b"".join(self.lines).decode()


def mutants_of(file: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text; each keeps the lines where they are."""
    tree, lines = ast.parse(source), source.encode().splitlines(keepends=True)
    numba = any(_is_compiled(node) for node in ast.walk(tree))
    seen: Counter[str] = Counter()
    mutants = []
    for node, function, fault in _walk(tree, ()):
        place = _Place(lines, node)
        faulty = place.with_fault(fault)
        before, after = place.line(place.lines), place.line(faulty)
        name = f"{file} {'.'.join(part.name for part in function) or 'module'}: {before} -> {after}"
        seen[name] += 1
        hidden = numba and (not function or any(map(_is_compiled, function)))
        number = f" #{seen[name]}" if seen[name] > 1 else ""
        mutants.append(Mutant(name + number, (*lines[: place.first], *faulty, *lines[place.last + 1 :]), hidden))
    return mutants


Function = ast.FunctionDef | ast.ClassDef


def _walk(node: ast.AST, within: tuple[Function, ...]) -> Iterator[tuple[ast.AST, tuple[Function, ...], str]]:
    """Every node that may carry a fault, the functions and classes around it, and the fault."""
    if isinstance(node, Function):
        within = (*within, node)
    for fault in faults_of(node):
        yield node, within, fault
    for condition, fault in turned_round(node):
        yield condition, within, fault
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_alone(node, field, child):
                yield from _walk(child, within)


def _is_left_alone(parent: ast.AST, field: str, node: ast.AST) -> bool:
    if field in {"annotation", "returns", "decorator_list", "bases"}:
        return True
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # docstring
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True
    if isinstance(parent, ast.Module) and isinstance(node, ast.Assign):
        name = ast.unparse(node.targets[0])
        return name == "__all__" or (name[0].isupper() and not name.isupper())  # a type
    return False


def _is_compiled(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and "compiled" in map(ast.unparse, node.decorator_list)


class _Place:
    """Where a node stands in a text, in bytes as ``ast`` counts."""

    def __init__(self, lines: list[bytes], node: ast.AST) -> None:
        self.first, self.last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        self.start, self.end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        self.lines = lines[self.first : self.last + 1]

    def with_fault(self, fault: str) -> list[bytes]:
        """The node's lines with the fault in its place, and as many as before."""
        lost = b"\n" * (self.last - self.first - fault.count("\n"))
        text = self.lines[0][: self.start] + fault.encode() + self.lines[-1][self.end :] + lost
        return text.splitlines(keepends=True)

    @staticmethod
    def line(lines: list[bytes]) -> str:
        """The lines as one."""
        return " ".join(b"".join(lines).decode().split())
