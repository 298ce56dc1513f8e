"""The small changes of a module that tests should notice: each replaces one piece of its text.

Left alone is what no test should be about: annotations, docstrings, decorators, the texts of errors and of the log.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

Node = TypeVar("Node", bound=ast.AST)

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
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
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
_EXTREMES = {"min": "max", "max": "min"}
_LOGGERS = {"log", "logger", "_log", "_logger", "logging", "logs"}
_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "type_params", "bases"}
_BARE_VALUE = "None"


@dataclass(frozen=True)
class Mutation:
    """One change: the bytes ``start`` to ``end`` of the module become ``text``; ``lines``: those of its statement."""

    kind: str
    start: int
    end: int
    text: str
    lines: range
    in_function: bool

    def applied(self, source: bytes) -> bytes:
        """The module's text with the change in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutations(source: bytes) -> list[Mutation]:
    """Every change of the module, in the order of its text."""
    return list(_Finder(source).found(ast.parse(source), statement=None, in_function=False))


class _Finder:
    def __init__(self, source: bytes) -> None:
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def found(self, node: ast.AST, statement: ast.stmt | None, *, in_function: bool) -> Iterator[Mutation]:
        if _is_left_alone(node):
            return
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None and isinstance(node, ast.expr | ast.stmt):
            end = node.end_lineno or node.lineno
            lines = range(statement.lineno, end + 1)
            for kind, old, text in _changes(node):
                start, stop = self._place(old)
                yield Mutation(kind, start, stop, text, lines, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name, value in ast.iter_fields(node):
            if name in _SKIPPED_FIELDS:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.found(child, statement, in_function=inside)

    def _place(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Raise() | ast.Assert() | ast.JoinedStr():
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in _LOGGERS:
            return True
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name))) if name in _LOGGERS:
            return True
        case ast.Call(func=ast.Name(id="TypeVar" | "cast" | "field" | "event")):
            return True
    return False


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """The kind, the node that is replaced, and the text in its place."""
    match node:
        case ast.Compare(ops=[operator]) if other := _COMPARISONS.get(type(operator)):
            yield "comparison", node, _text(node, ops=[other()])
        case ast.BoolOp(op=operator):
            yield "and/or", node, _text(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not", node, f"({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            yield "constant", node, str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", node, str(value + 1)
        case ast.BinOp(op=operator) if (changed := _OPERATORS.get(type(operator))) and not _is_of_text(node):
            yield "operator", node, _text(node, op=changed())
        case ast.Call():
            yield from _changes_of_call(node)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None", node, "return None"
        case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call())) if not _is_left_alone(_called(node.value)):
            yield "removed call", node, "pass"
        case ast.AugAssign(op=operator) if changed := _OPERATORS.get(type(operator)):
            yield "counter", node, _text(node, op=changed())
            yield "counter", node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "removed assignment", node, "pass"
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if isinstance(
            test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr
        ):
            yield "condition", test, f"(not ({ast.unparse(test)}))"
        case ast.Break() | ast.Continue():
            yield "removed jump", node, "pass"


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, ast.expr, str]]:
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield "not handed on", node, _text(node, keywords=node.keywords[:index] + node.keywords[index + 1 :])
    match node.args:
        case [first, second, *rest] if not any(isinstance(value, ast.Starred) for value in (first, second)):
            yield "swapped", node, _text(node, args=[second, first, *rest])
    if isinstance(node.func, ast.Name) and node.func.id in _EXTREMES:
        yield "min/max", node, _text(node, func=ast.Name(id=_EXTREMES[node.func.id], ctx=ast.Load()))


def _called(value: ast.expr) -> ast.AST:
    return value.value if isinstance(value, ast.Await) else value


def _is_of_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in (node.left, node.right)
    )


def _text(node: ast.expr | ast.stmt, **fields: object) -> str:
    """The node's source with other fields, in parentheses where it is an expression that may stand in another."""
    names = dict(ast.iter_fields(node))
    text = ast.unparse(ast.copy_location(type(node)(**{**names, **fields}), node))
    return f"({text})" if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp) else text
