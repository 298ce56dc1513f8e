"""The sentences that people in a chat can read, found in the source: ``python -m tests.support.sentences`` lists them.

Strings with a space in the modules that write to people; not docstrings, log events, patterns, and messages of errors,
which are for operators. A part that is filled in is shown by its expression in braces.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
# Of sessions, the modules whose sentences reach people. The rest of the chat in a terminal is for operators.
_MODULES: Final = (
    *sorted(path for path in (ROOT / "acpbot/chat").rglob("*.py") if not path.name.startswith("local")),
    *(
        ROOT / f"acpbot/{name}.py"
        for name in (
            "errors",
            "daemon/drain",
            "sessions/after_turn",
            "sessions/ending",
            "sessions/permission_action",
            "sessions/permission_notes",
            "sessions/permission_requests",
            "sessions/turn",
            "sessions/watchdog",
            "acp/elicitation",
            "acp/form_values",
        )
    ),
)
# Parts of these are for operators: checks, health, errors, and the names of tasks.
_FOR_OPERATORS: Final = frozenset({"permissions.py", "supervisor.py", "rest.py", "access.py", "compat.py"})
_ERRORS: Final = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)}
_OPERATORS_CALLS: Final = frozenset({"compile", "TaskSet", "start", "Threads", "keep", "in_thread"})


def sentences() -> list[tuple[str, str]]:
    """Each with its place, as ``path:line``."""
    found = []
    for path in _MODULES:
        if path.name not in _FOR_OPERATORS:
            place = path.relative_to(ROOT)
            found += [(f"{place}:{line}", text) for line, text in _strings(ast.parse(path.read_text("utf-8")))]
    return found


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    if _is_for_operators(node):
        return
    made = node.exc if isinstance(node, ast.Raise) else node
    if made is not node or _is_error(node):
        for word in getattr(made, "keywords", ()):
            if word.arg == "for_people":
                yield from _strings(word.value)
        return
    text = _text(node)
    if text is not None:
        if " " in text.strip() and any(map(str.isalpha, text)):
            assert isinstance(node, ast.expr)
            yield node.lineno, text
        return
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _is_error(node: ast.AST) -> bool:
    """Whether it makes an error of acpbot: its message is for operators."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS


def _is_for_operators(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "log":
        return True
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in _OPERATORS_CALLS


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
        return "".join(map(str, parts))
    return None


if __name__ == "__main__":
    for where, sentence in sentences():
        print(f"{where}: {sentence!r}")
