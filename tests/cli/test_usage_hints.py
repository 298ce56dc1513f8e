"""What `acpctl` answers to options and values of other tools."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from acpctl.command_line import COMMANDS, app
from acpctl.usage_hints import _OPTIONS, _VALUES


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("sessions --json", "use -o json"),
        ("sessions --format=json", "use -o json"),
        ("sessions -A", "use --all"),
        ("sessions -a", "use --all"),
        ("sessions -w", "use --watch"),
        ("sessions -v", "use -o wide"),
        ("show 1234 -v", "use -o json"),
        ("events --watch", "use --follow"),
        ("events --json", "use -o json"),
        ("tail 1234 -t", "use -n"),
        ("kill 1234 --force", "use --yes"),
        ("kill 1234 -f", "use --yes"),
        ("kill -9 1234", "use --grace 0"),
        ("health --host x", "use --socket, before the command"),
        ("-v", "use --version"),
        ("--json sessions", "use -o json, after the command"),
        ("-o json sessions", "options of a command go after the command"),
        ("sessions --sort rss", "use memory"),
        ("sessions --sort name", "use title"),
        ("sessions --state running", "use busy"),
        ("sessions -o yaml", "use json"),
    ],
)
def test_options_and_values_of_other_tools_lead_to_ours(acpctl, words, advice):
    result = acpctl(*words.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("cannot run `acpctl")
    assert f"; {advice}; see `" in result.err
    assert "Possible options" not in result.err


def test_every_hint_names_an_option_or_a_value_that_there_is():
    group: Any = typer.main.get_command(app)
    context = group.make_context("acpctl", ["health"])
    commands = [group, *(group.get_command(context, name) for name in COMMANDS)]
    parameters = [one for command in commands for one in command.params]
    context.close()
    for meant in {one.split(" | ")[0] for ways in _OPTIONS.values() for one in ways}:
        name, _, value = meant.partition(" ")
        found = [one for one in parameters if name in one.opts]
        assert found, meant
        assert name != "-o" or any(value in one.type.choices for one in found if hasattr(one.type, "choices")), meant
    for option, values in _VALUES.items():
        taken = {value for one in parameters if option in one.opts for value in getattr(one.type, "choices", ())}
        assert set(values.values()) <= taken
        assert not values.keys() & taken
