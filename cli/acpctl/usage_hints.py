"""What people type who know kubectl, docker, gh or ps, and what to type here instead. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

_JSON: Final = ("-o json",)
_YES: Final = ("--yes",)
# An option that a command lacks -> what may be meant: the first one whose option the command has.
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "--json": _JSON,
    "-j": _JSON,
    "--format": _JSON,
    "--template": _JSON,
    "--jq": ("-o json | jq",),
    "-A": ("--all",),
    "-a": ("--all",),
    "--all-namespaces": ("--all",),
    "--show-all": ("--all",),
    "-w": ("--watch", "--follow"),
    "--watch": ("--follow",),
    "-f": ("--follow", "--watch", "--yes"),
    "--follow": ("--watch",),
    "-v": ("--version", "-o wide", "-o json"),
    "-V": ("--version",),
    "--verbose": ("-o wide", "-o json"),
    "--wide": ("-o wide",),
    "-l": ("-o wide", "-n"),
    "--long": ("-o wide",),
    "--force": ("--yes",),
    "--assume-yes": _YES,
    "--confirm": _YES,
    "--no-input": _YES,
    "--now": ("--grace 0",),
    "-9": ("--grace 0",),
    "-s": ("--socket", "--grace", "--sort"),
    "-S": ("--socket",),
    "--server": ("--socket",),
    "--signal": ("--grace",),
    "--grace-period": ("--grace",),
    "--time": ("--grace",),
    "-t": ("--grace", "-n", "--since"),
    "--tail": ("-n",),
    "--limit": ("-n",),
    "-L": ("-n",),
    "--max": ("-n",),
    "--since-time": ("--since",),
    "--sort-by": ("--sort",),
    "--filter": ("--state",),
    "--selector": ("--state",),
    "--status": ("--state",),
    "--user": ("--owner",),
    "-u": ("--owner",),
    "--no-headers": ("-q",),
    "--no-trunc": ("-o wide",),
    "--host": ("--socket",),
    "-H": ("--socket",),
    "--context": ("--socket",),
    "--no-colour": ("--no-color",),
    "--delete": ("--forget",),
    "--rm": ("--forget",),
}
# By option: a value that it does not take -> the one that is meant.
_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "--sort": {
        **dict.fromkeys(("rss", "mem", "ram", "size"), "memory"),
        **dict.fromkeys(("cpu%", "%cpu", "usage"), "cpu"),
        **dict.fromkeys(("id", "thread_id"), "thread"),
        **dict.fromkeys(("status", "stuck"), "state"),
        **dict.fromkeys(("created", "start", "started", "uptime", "oldest", "created_at"), "age"),
        **dict.fromkeys(("turn", "duration", "busy"), "time"),
        **dict.fromkeys(("queued",), "queue"),
        **dict.fromkeys(("user",), "owner"),
        **dict.fromkeys(("dir", "path", "folder", "workdir"), "cwd"),
        **dict.fromkeys(("name",), "title"),
        **dict.fromkeys(("price", "tokens"), "cost"),
    },
    "--state": {
        **dict.fromkeys(("running", "active", "working", "up"), "busy"),
        **dict.fromkeys(("pending", "blocked", "permission", "asking"), "waiting"),
        **dict.fromkeys(("hung", "silent", "unhealthy"), "stuck"),
        **dict.fromkeys(("crashed", "failed", "dead", "exited", "stopped", "paused", "ended"), "suspended"),
        **dict.fromkeys(("ready", "free"), "idle"),
    },
    "--output": {
        **dict.fromkeys(("yaml", "yml", "jsonl", "ndjson", "csv", "jsonpath"), "json"),
        **dict.fromkeys(("text", "plain"), "table"),
    },
}


# What a command does not take as an argument -> what to type for it.
_ARGUMENTS: Final[Mapping[str, str]] = {
    "sessions": "use `acpctl show {0}` for one thread",
    "top": "use `acpctl show {0}` for one thread",
    "events": "use `acpctl tail {0}` for one thread",
    "audit": "use --thread {0}",
    "config": "use `acpctl config -o json | jq .config.{0}`",
}


# A selection that a command does not make -> how to make it.
_SELECTIONS: Final[Mapping[str, str]] = {
    "--stuck": "--stuck",
    "--state": "--state S",
    "--agent": "--agent A",
    "--all": "",
}


def selection_hint(command: str, option: str) -> str:
    """How to give a command the threads that ``option`` would select, if it took the option; or empty."""
    if option not in _SELECTIONS or command not in {"kill", "cancel", "suspend", "restart", "forget"}:
        return ""
    listed = " ".join(["acpctl sessions -q", *filter(None, [_SELECTIONS[option]])])
    return f"use `{listed} | xargs -r acpctl {command}{'' if command == 'cancel' else ' --yes'}`"


def option_hint(option: str, taken: set[str], *, before_command: bool) -> str:
    """What to type in place of ``option``; empty where that is unknown.

    ``taken``: the options that there are at this place, ``-o`` with each of its values; ``before_command``: it is the
    place before the command.
    """
    for meant in _OPTIONS.get(option, ()):
        words = meant.split()
        if " ".join(words[:2] if words[0] == "-o" else words[:1]) in taken:
            return f"use {meant}"
    if not before_command:
        meant = next((one for one in _OPTIONS.get(option, ()) if one in {"--socket", "--version", "--no-color"}), "")
        return f"use {meant}, before the command" if meant else ""
    meant = next(iter(_OPTIONS.get(option, ())), "")
    return f"use {meant}, after the command" if meant else "options of a command go after the command"


def value_hint(options: list[str], value: str) -> str:
    """What to give in place of ``value``, which ``options``, the names of one option, do not take; or empty."""
    for option in options:
        if meant := _VALUES.get(option, {}).get(value.casefold()):
            return f"use {meant}"
        if option == "--state" and "," in value:
            return f"use {' '.join(f'--state {one}' for one in value.split(','))}"
    return ""


def hint(error: Any, *, before_command: bool) -> str:
    """The hint for a usage error of Typer's; empty where there is none."""
    command = error.ctx.command if error.ctx is not None else None
    if option := getattr(error, "option_name", ""):
        parameters = getattr(command, "params", ())
        taken = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
        taken |= {f"-o {value}" for one in parameters if "-o" in one.opts for value in getattr(one.type, "choices", ())}
        if option in taken:
            return ""
        selection = selection_hint(getattr(command, "name", None) or "", option)
        return selection or option_hint(option, taken, before_command=before_command)
    if found := re.search(r"unexpected extra argument.*\(([\w.-]+)", str(error.message)):
        path = error.ctx.command_path if error.ctx is not None else ""  # acpbot has other commands of these names
        return _ARGUMENTS.get(path.removeprefix("acpctl "), "").format(found[1])
    parameter = getattr(error, "param", None)
    quoted = str(error.message).split("'")
    return value_hint(parameter.opts, quoted[1]) if parameter is not None and len(quoted) > 1 else ""
