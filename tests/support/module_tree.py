"""Writes the list of modules in docs/architecture.md, from their docstrings: `python -m tests.support.module_tree`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- modules: made by `python -m tests.support.module_tree` -->\n"
END: Final = "<!-- end of modules -->\n"


def module_tree() -> str:
    """A block of text with one line for each module below acpbot/ and cli/acpctl/: its name, and what it is for."""
    lines: list[str] = []
    for package in (ROOT / "acpbot", ROOT / "cli" / "acpctl"):
        lines += _lines(package, 0)
    return "```text\n" + "\n".join(lines) + "\n```\n"


def _lines(folder: Path, depth: int) -> list[str]:
    indent = "  " * depth
    name = str(folder.relative_to(ROOT)) if depth == 0 else folder.name
    lines = [f"{indent}{name}/"]
    modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    lines += [f"{indent}  {path.name:<{28 - 2 * depth}} {_purpose(path)}" for path in modules]
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        lines += _lines(inner, depth + 1)
    return lines


def _purpose(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("`", "").removesuffix(".")


def page_with(tree: str) -> str:
    """The text of docs/architecture.md with this list in place of the one that is in it."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + tree + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(module_tree()), encoding="utf-8")
    print(f"written: {PAGE}")
