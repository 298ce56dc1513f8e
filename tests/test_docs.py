"""The pages in docs/ and the README match the code that they describe."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.module_tree import PAGE, ROOT, module_tree, page_with

if TYPE_CHECKING:
    from pathlib import Path

SECURITY = ROOT / "SECURITY.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", SECURITY, *sorted((ROOT / "docs").glob("*.md"))]


def modules_of(package: str) -> list[Path]:
    return list((ROOT / package).rglob("*.py"))


def test_the_list_of_modules_in_the_architecture_page_is_current():
    assert PAGE.read_text() == page_with(module_tree()), "run: python -m tests.support.module_tree"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_of_a_page_leads_to_a_file(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_that_a_link_names_exists(page: Path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        text = (page.parent / target if target else page).read_text()
        headings = {
            re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        assert anchor in headings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][a-z-]*)", page.read_text()))
    assert named <= targets


def test_every_module_that_the_architecture_page_names_exists():
    text = PAGE.read_text()
    named = set(re.findall(r"`([a-z_/]+\.py)`", text))
    modules = {
        str(path.relative_to(ROOT)) for folder in ("acpbot", "cli", "tests") for path in (ROOT / folder).rglob("*.py")
    }
    missing = [
        name for name in sorted(named) if not any(module == name or module.endswith(f"/{name}") for module in modules)
    ]
    assert missing == []


def promises() -> list[str]:
    """What SECURITY.md promises, an item of a list each."""
    section = SECURITY.read_text().partition("\n## Promises\n")[2].partition("\n## ")[0]
    return re.findall(r"^- .*(?:\n  .*)*", section, re.MULTILINE)


def named_tests(text: str) -> list[tuple[str, str]]:
    """The tests that a text names, each as file and function."""
    return re.findall(r"`(tests/[^`:]*)::([^`]*)`", text)


def test_every_promise_of_the_security_page_names_its_test():
    assert len(promises()) > 20
    assert [promise for promise in promises() if not named_tests(promise)] == []


def test_every_test_that_the_security_page_names_exists():
    missing = []
    for file, name in named_tests(SECURITY.read_text()):
        path = ROOT / file
        tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
        functions = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        if name not in functions:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_the_security_page_says_where_to_report():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"<{project['urls']['Source']}/security/advisories/new>" in SECURITY.read_text()
