"""docs/agents.md says which methods and updates of the protocol acpbot uses: as the code does."""

from __future__ import annotations

import ast
import re

from acp.meta import AGENT_METHODS, CLIENT_METHODS

from tests.support.module_tree import ROOT

PAGE = (ROOT / "docs" / "agents.md").read_text()
METHODS = dict(re.findall(r"^\| `([a-z_/$]+)` \| (?:acpbot|agent|both) \| (yes|no) \|", PAGE, re.MULTILINE))
UPDATES = {
    kind: used
    for kinds, used in re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| (yes|no) \|", PAGE, re.MULTILINE)
    for kind in re.findall(r"`([a-z_]+)`", kinds)
}
UNSTABLE = re.compile(r"(?:providers|mcp|nes|document)/.*|session/fork")


def strings(*packages: str) -> set[str]:
    """The string literals of a package's code; a docstring is longer than a name."""
    return {
        node.value
        for package in packages
        for path in (ROOT / "acpbot" / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_page_has_every_stable_method():
    stable = {name for name in {*AGENT_METHODS.values(), *CLIENT_METHODS.values()} if not UNSTABLE.fullmatch(name)}
    assert stable - METHODS.keys() == set()


def test_the_methods_that_the_page_says_are_used_are_those_in_the_code():
    written = strings("acp", "sessions", "runtimes", "commands")
    looks_like_one = re.compile(
        r"initialize|authenticate|logout|(?:session|fs|terminal|elicitation)/[a-z_]+|\$/[a-z_]+"
    )
    used = {name for name, answer in METHODS.items() if answer == "yes"}
    assert {text for text in written if looks_like_one.fullmatch(text)} == used


def test_the_updates_that_the_page_says_are_used_are_those_in_the_code():
    written = strings("sessions", "chat")
    assert {kind for kind in UPDATES if kind in written and kind != "notice"} == {
        kind for kind, answer in UPDATES.items() if answer == "yes"
    }
