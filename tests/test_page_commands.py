"""Every command of the pages is run by a test, or has a reason why not; and what they name exists.

tests/packaging/test_page_commands.py runs them.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
import typer

from acpbot.__main__ import app as acpbot_app
from acpbot.config import loader
from acpctl.command_line import app as acpctl_app
from tests.support.page_commands import NOT_RUN, PAGES, ROOT, RUN, Command, blocks, commands

PROGRAMS = {"acpbot": acpbot_app, "acpctl": acpctl_app}
AGENTS = '[agents.claude]\ncommand = "c"\n[agents.opencode]\ncommand = "o"\n'
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def undecided(found: list[Command]) -> list[Command]:
    """The commands that neither a test runs nor a reason excuses, or that have both, or two."""
    return [one for one in found if len(one.matches(RUN)) + len(one.matches(NOT_RUN)) != 1]


def test_every_command_of_a_page_is_run_by_a_test_or_has_a_reason_why_not():
    assert len(commands()) > 100
    assert undecided(commands()) == []


def test_a_command_without_a_test_and_without_a_reason_is_found():
    assert undecided([Command("x.md", "rsync a b")])
    assert undecided([Command("x.md", "acpctl sessions")]) == []


@pytest.mark.parametrize("table", [RUN, NOT_RUN], ids=["run", "not run"])
def test_every_entry_of_the_tables_is_about_a_command_of_a_page(table):
    used = {pattern for one in commands() for pattern in one.matches(table)}
    assert [pattern for pattern in table if pattern not in used] == []


def named_in_text() -> set[str]:
    """The command lines of acpbot and acpctl in the running text of the pages."""
    texts = [FENCED.sub("", page.read_text(encoding="utf-8")) for page in PAGES if page.name != "commands.md"]
    lines = {line for text in texts for line in re.findall(r"`((?:sudo )?(?:acpbot|acpctl) [^`]+)`", text)}
    return lines | {one.bare for one in commands()}


def words_of(line: str) -> list[str]:
    """The words of a line from the program's name on, up to a pipe, an end or a redirection."""
    line = re.sub(r"^sudo (-u \w+ )?", "", line)
    match = re.search(r"(?:^|[\s/])(acp(?:bot|ctl)) ([^|&;>]*)", line)
    if match is None or re.match(r"(docker|kubectl|helm|ln|git clone|python3 -m)\b", line):
        return []
    return [match[1], *shlex.split(match[2].replace("[", "").replace("]", ""))]


def options_of(program: str, name: str) -> set[str] | None:
    """The options of a command, or ``None`` where there is no such command."""
    group: Any = typer.main.get_command(PROGRAMS[program])
    context = group.context_class(group, info_name=program, **group.context_settings)
    if name.startswith("-"):
        return {"-h", "--help", *(option for one in group.params for option in one.opts)}
    command = group.get_command(context, name)
    if command is None:
        return None
    return {"-h", "--help", *(option for one in command.params for option in [*one.opts, *one.secondary_opts])}


def test_every_acpbot_and_acpctl_command_of_a_page_exists_with_its_options():
    wrong = []
    lines = {line: words for line in sorted(named_in_text()) if len(words := words_of(line)) > 1}
    assert len(lines) > 80
    for line, (program, name, *rest) in lines.items():
        options = options_of(program, name)
        own = rest[: rest.index("--")] if "--" in rest else rest
        used = {word for word in [name, *own] if word.startswith("-") and word != "-"}
        if options is None or not used <= options:
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_of_a_page_can_be_used(page, tmp_path):
    for text in blocks(page, "toml"):
        tables = tomllib.loads(text)
        whole = text if "agents" in tables or "agent" in tables else text + AGENTS
        lines = ['default_agent = "claude"'] if "default_agent" not in tables and "claude" in whole else []
        if "discord" in tables or "schedule" in tables:
            (tmp_path / "token").write_text("a.b.c")
            whole += '[discord]\nbot_token_file = "token"\nallowed_users = ["1"]\n'
        # What it names of a machine is made here.
        whole = "\n".join([*lines, whole]).replace('"/srv/project"', f'"{tmp_path}"')
        environ = {"HOME": str(tmp_path), "DOCS_KEY": "k", "WIKI_TOKEN": "w"}
        assert loader.parse(whole, str(tmp_path / "config.toml"), environ).agents, text


def test_the_readme_is_short_and_has_its_sections():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 250
    section = readme.partition("\n### Keep agents apart\n")[2].partition("\n### ")[0]
    assert 0 < len(section.splitlines()) <= 30
    assert [
        title for title in ("Try it", "Set it up for a team", "Operate it") if f"\n## {title}\n" not in readme
    ] == []
