"""Questions on the terminal: each answer is checked at once, and an invalid one is asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Invalid(Exception):
    """An answer is not valid: one line that says what would be."""


def ask(prompt: str, parse: Callable[[str], T], read: Callable[[str], str] = input) -> T:
    """Ask until ``parse`` accepts the answer; print what it says of each invalid one."""
    while True:
        try:
            return parse(read_line(prompt, read))
        except Invalid as problem:
            typer.echo(operator_line(f"  {problem}"))


def read_line(prompt: str, read: Callable[[str], str] = input) -> str:
    """Read one line, without the blanks around it."""
    while True:
        try:
            return read(prompt).strip()
        except UnicodeDecodeError:
            typer.echo("  That isn't text in this terminal's encoding. Enter it again.")
