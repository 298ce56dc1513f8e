"""Write the man pages into this folder, and docs/commands.md: `make man`.

They are made of the commands themselves and of config.toml.example. Source of the form: man(7), groff_man(7).
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

from acpbot import __version__
from acpbot.__main__ import app as acpbot_app
from acpctl.command_line import app as acpctl_app

ROOT: Final = Path(__file__).parents[2]
ABOUT: Final = {
    "acpctl": "see and control the sessions of an acpbot daemon",
    "acpbot": "coding agents in Discord threads, run like a service",
    "config.toml": "the configuration of acpbot",
}
EXIT_CODES: Final = {
    "acpctl": {
        "0": "Done; an empty list too.",
        "1": "Failed, or declined.",
        "2": "Wrong usage, or a confirmation is impossible.",
        "3": "acpbot is not ready.",
        "4": "Access denied.",
        "5": "Not found, ambiguous, or a conflict.",
        "6": "acpbot can't be reached.",
        "7": "Timed out.",
        "130": "Interrupted by Ctrl-C.",
    },
    "acpbot": {
        "0": "Done.",
        "1": "Failed, or declined.",
        "2": "Wrong usage, or there is no terminal to ask on.",
        "78": "The configuration can't be used; a restart would not help.",
        "130": "Interrupted by Ctrl-C.",
    },
}
VARIABLES: Final = {
    "acpctl": {
        "ACPBOT_SOCKET": "The socket of acpbot, where --socket is not given.",
        "NO_COLOR": "Where it is set and not empty, there are no colours.",
        "TERM": "With dumb, nothing is drawn.",
    },
    "acpbot": {
        "ACPBOT_CONFIG": "The configuration, where --config is not given.",
        "ACPBOT_SOCKET": "The management socket, where --socket is not given.",
        "XDG_CONFIG_HOME": "Where acpbot/config.toml is looked for; by default ~/.config.",
        "XDG_STATE_HOME": "Where acpbot has its database and workspaces; by default ~/.local/state.",
    },
}
FILES: Final = {
    "acpctl": {
        "/run/acpbot/acpbot.sock": "The socket of a system service.",
        "$XDG_RUNTIME_DIR/acpbot/acpbot.sock": "That of a user's daemon.",
        "<tmp>/acpbot-<uid>/acpbot.sock": "The same, without $XDG_RUNTIME_DIR.",
    },
    "acpbot": {
        "./config.toml": "Where it is yours or root's, and others can't write it.",
        "$XDG_CONFIG_HOME/acpbot/config.toml": "The configuration of a user.",
        "/etc/acpbot/config.toml": "That of the machine's service.",
    },
}
SEE: Final = {
    "acpctl": "acpbot(1), config.toml(5)",
    "acpbot": "acpctl(1), config.toml(5), systemd(1)",
    "config.toml": "acpbot(1), acpctl(1)",
}
_ROFF: Final = {"\\": r"\e", "-": r"\-", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_EXAMPLES: Final = "Examples:"
_SETTING: Final = re.compile(r"#?([a-z_]+) = (.*)")
_TABLE: Final = re.compile(r"#?\[([^\]]+)\]")
_SECTION: Final = re.compile(r"# --- (.+?) -+")


class Page(NamedTuple):
    """What the help of a command says. The pairs are a name and what it means."""

    path: str
    usage: str
    text: list[str]
    arguments: list[tuple[str, str]]
    options: list[tuple[str, str]]
    notes: list[str]
    examples: list[tuple[str, str]]


class Setting(NamedTuple):
    """A key of config.toml; ``default`` is TOML."""

    key: str
    default: str
    text: list[str]


class Table(NamedTuple):
    """A table of config.toml."""

    name: str
    text: list[str]
    settings: list[Setting]


def pages(app: typer.Typer, program: str) -> list[Page]:
    """The program itself, then each of its commands."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name=program, **group.context_settings)
    found = [_page(group, context, program)]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        child = command.context_class(command, info_name=name, parent=context, **command.context_settings)
        found.append(_page(command, child, f"{program} {name}"))
    return found


def _page(command: Any, context: Any, path: str) -> Page:
    pairs: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            pairs[parameter.param_type_name].append((record[0], " ".join(record[1].split())))
    notes, _, examples = (command.epilog or "").partition("\b\n" + _EXAMPLES)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    return Page(
        path,
        " ".join([path, *command.collect_usage_pieces(context)]),
        _paragraphs(command.help or ""),
        pairs["argument"],
        pairs["option"],
        _paragraphs(notes),
        list(zip(lines[::2], lines[1::2], strict=True)),
    )


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n") if part.strip()]


def tables(example: str) -> tuple[list[str], list[Table]]:
    """The introduction of config.toml.example, and its tables in order."""
    found = [Table("", [], [])]
    comment: list[str] = []
    for line in example.splitlines():
        if _SECTION.fullmatch(line):
            comment = []
        elif table := _TABLE.fullmatch(line):
            found.append(Table(table[1], comment, []))
            comment = []
        elif setting := _SETTING.fullmatch(line):
            found[-1].settings.append(Setting(setting[1], setting[2], comment))
            comment = []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").removeprefix(" "))
        elif comment and not found[0].text and len(found) == 1:
            found[0].text.extend(comment)
            comment = []
    return found[0].text, found


def man_of(program: str, commands: list[Page]) -> str:
    """The page of a program in section 1."""
    first, *others = commands
    out = [*_head(program, 1), ".SH SYNOPSIS"]
    for page in others:
        out += [f".B {_roff(page.path)}", _roff(page.usage.removeprefix(page.path).strip()), ".br"]
    out += [".SH DESCRIPTION", *_roff_paragraphs([*first.text, *first.notes])]
    out += [".SH OPTIONS", *_roff_pairs(first.options), ".SH COMMANDS"]
    for page in others:
        out += [f".SS {_roff(page.usage)}", *_roff_paragraphs(page.text)]
        out += _roff_pairs([*page.arguments, *page.options])
        out += _roff_paragraphs(page.notes, again=True)
        for line, meaning in page.examples:
            out += [
                ".PP",
                f"{_roff(meaning[:1].upper() + meaning[1:])}:",
                ".PP",
                ".RS 4",
                ".EX",
                _roff(line),
                ".EE",
                ".RE",
            ]
    for title, pairs in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", VARIABLES), ("FILES", FILES)):
        out += [f".SH {title}", *_roff_pairs(list(pairs[program].items()))]
    return "\n".join([*out, *_foot(program)])


def man_of_config(example: str) -> str:
    """config.toml(5)."""
    introduction, found = tables(example)
    out = [*_head("config.toml", 5), ".SH DESCRIPTION", *_roff_lines(introduction)]
    for table in found:
        if table.name:
            out += [f".SH {_roff(f'[{table.name}]')}", *_roff_lines(table.text)]
        for setting in table.settings:
            out += [".TP", f'.BR {_roff(setting.key)} " = {_roff(setting.default).replace(chr(34), chr(92) + "(dq")}"']
            out += _roff_lines(setting.text) or ["As the key before."]
    return "\n".join([*out, *_foot("config.toml")])


def _head(name: str, section: int) -> list[str]:
    title = f'.TH "{name.upper()}" {section} "" "acpbot {__version__}" "acpbot"'
    return [r".\" Made by `make man`; do not edit.", title, ".SH NAME", rf"{_roff(name)} \- {ABOUT[name]}"]


def _foot(name: str) -> list[str]:
    return [".SH SEE ALSO", SEE[name], ""]


def _roff(text: str) -> str:
    """``text`` with its special characters escaped (groff_char(7))."""
    shown = "".join(_ROFF.get(character) or _ascii(character) for character in text)
    return rf"\&{shown}" if shown.startswith((".", "'")) else shown


def _ascii(character: str) -> str:
    return character if character.isascii() else rf"\[u{ord(character):04X}]"


def _roff_paragraphs(paragraphs: list[str], *, again: bool = False) -> list[str]:
    out: list[str] = []
    for paragraph in paragraphs:
        out += [".PP", _roff(paragraph)] if out or again else [_roff(paragraph)]
    return out


def _roff_pairs(pairs: list[tuple[str, str]]) -> list[str]:
    return [line for name, meaning in pairs for line in (".TP", rf"\fB{_roff(name)}\fR", _roff(meaning))]


def _roff_lines(lines: list[str]) -> list[str]:
    """Prose as it is; indented lines are examples, which are not filled."""
    out: list[str] = []
    for line in lines:
        shown = _roff(line.strip())
        if not line:
            out.append(".sp")
        elif line.startswith("    "):
            out += [".br", shown, ".br"]
        else:
            out.append(shown)
    return out


def commands_page() -> str:
    """docs/commands.md."""
    out = ["# Commands", "", "<!-- Made by `make man`; do not edit. -->", ""]
    for program, app in (("acpctl", acpctl_app), ("acpbot", acpbot_app)):
        first, *others = pages(app, program)
        out += [f"## {program}", "", f"`{first.usage}`", "", *_md_paragraphs([*first.text, *first.notes])]
        out += _md_pairs(first.options)
        for page in others:
            out += [f"### {page.path}", "", f"`{page.usage}`", "", *_md_paragraphs(page.text)]
            out += _md_pairs([*page.arguments, *page.options])
            out += _md_paragraphs(page.notes)
            if page.examples:
                width = max(len(line) for line, _ in page.examples)
                out += ["```sh", *(f"{line:{width}}  # {meaning}" for line, meaning in page.examples), "```", ""]
    return "\n".join(out).rstrip() + "\n"


def _md_paragraphs(paragraphs: list[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in (_md(paragraph), "")]


def _md_pairs(pairs: list[tuple[str, str]]) -> list[str]:
    rows = [f"- `{name}`: {_md(meaning)}" for name, meaning in pairs]
    return [*rows, ""] if rows else []


def _md(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", r"\*")


def made() -> dict[Path, str]:
    """The text of each file."""
    folder = ROOT / "packaging" / "man"
    example = (ROOT / "config.toml.example").read_text(encoding="utf-8")
    return {
        folder / "acpctl.1": man_of("acpctl", pages(acpctl_app, "acpctl")),
        folder / "acpbot.1": man_of("acpbot", pages(acpbot_app, "acpbot")),
        folder / "config.toml.5": man_of_config(example),
        ROOT / "docs" / "commands.md": commands_page(),
    }


def main() -> None:
    """Write the files."""
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
