"""Small faults in a Python expression or statement: what may stand in its place.

Signs, comparisons, constants, axes, bounds of slices, min and max, defaults, keywords, conditions, whole calls and
returns. Not touched: annotations, docstrings, decorators, the wording of messages (f-strings, and strings with a
space), and ``strict`` of ``zip``, which is an assertion.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Div,
    ast.Pow: ast.Mult,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
PARTNERS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("argmin", "argmax"),
    ("floor", "ceil"),
    ("zeros", "ones"),
    ("mean", "sum"),
)
CALLED = {old: new for one, other in PARTNERS for old, new in ((one, other), (other, one))}
PLAIN = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript)


def faults_of(node: ast.AST) -> Iterator[str]:
    """The texts that may stand in the place of ``node`` itself; its parts have faults of their own."""
    for kind, make in MAKERS.items():
        if isinstance(node, kind):
            yield from make(node)


def _with(node: ast.AST, change: Callable[[Any], object]) -> str:
    other = copy.deepcopy(node)
    change(other)
    return ast.unparse(other)


def _binary(node: ast.BinOp) -> Iterator[str]:
    if other := BINARY.get(type(node.op)):
        yield f"({_with(node, lambda n: setattr(n, 'op', other()))})"


def _increment(node: ast.AugAssign) -> Iterator[str]:
    if other := BINARY.get(type(node.op)):
        yield _with(node, lambda n: setattr(n, "op", other()))
    yield f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"


def _unary(node: ast.UnaryOp) -> Iterator[str]:
    operand = ast.unparse(node.operand)
    yield operand if isinstance(node.operand, PLAIN) else f"({operand})"


def _boolean(node: ast.BoolOp) -> Iterator[str]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield f"({_with(node, lambda n: setattr(n, 'op', other))})"


def _comparison(node: ast.Compare) -> Iterator[str]:
    for place, operator in enumerate(node.ops):
        yield _with(node, lambda n, i=place, op=operator: n.ops.__setitem__(i, COMPARED[type(op)]()))  # type: ignore[misc]


def _constant(node: ast.Constant) -> Iterator[str]:
    value = node.value
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        yield from (repr(value + 1), f"({value - 1})" if value < 1 else repr(value - 1))
    elif isinstance(value, float):
        yield repr(value + 1)
    elif isinstance(value, str) and " " not in value:
        yield repr(f"XX{value}XX")


def _slice(node: ast.Slice) -> Iterator[str]:
    for bound in ("lower", "upper"):
        if getattr(node, bound) is not None:
            yield _with(node, lambda n, b=bound: setattr(n, b, None))  # type: ignore[misc]


def _call(node: ast.Call) -> Iterator[str]:
    """A function's opposite; ``abs`` and ``sorted`` left out; each keyword left to its default."""
    name = node.func
    if isinstance(name, ast.Name) and name.id in CALLED:
        yield _with(node, lambda n: setattr(n.func, "id", CALLED[name.id]))
    elif isinstance(name, ast.Attribute) and name.attr in CALLED:
        yield _with(node, lambda n: setattr(n.func, "attr", CALLED[name.attr]))
    elif ast.unparse(name) in {"abs", "np.abs", "sorted"}:
        yield f"({ast.unparse(node.args[0])})"
    for place, keyword in enumerate(node.keywords):
        if keyword.arg not in {None, "strict"}:
            yield _with(node, lambda n, i=place: n.keywords.pop(i))  # type: ignore[misc]


def turned_round(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Conditions of ``node`` without an operator of their own, and their opposites."""
    conditions = node.ifs if isinstance(node, ast.comprehension) else [getattr(node, "test", None)]
    for condition in conditions:
        if isinstance(condition, PLAIN) and not isinstance(node, ast.Assert):
            yield condition, f"(not {ast.unparse(condition)})"


def _statement(node: ast.Expr) -> Iterator[str]:
    if isinstance(node.value, ast.Call):
        yield "pass"


def _return(node: ast.Return) -> Iterator[str]:
    if node.value is not None and ast.unparse(node.value) != "None":
        yield "return None"


MAKERS: dict[type[ast.AST], Callable[[Any], Iterator[str]]] = {
    ast.BinOp: _binary,
    ast.AugAssign: _increment,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _comparison,
    ast.Constant: _constant,
    ast.Slice: _slice,
    ast.Call: _call,
    ast.Expr: _statement,
    ast.Return: _return,
    ast.Continue: lambda _: iter(["break"]),
    ast.Break: lambda _: iter(["continue"]),
}
