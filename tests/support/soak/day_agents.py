"""The agents of the recorded day, and the daemon's configuration: what each agent does at which first word."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.scripted_agents import END, chunk, says, updates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel, User

RealAgent = tuple[tuple[str, ...], dict[str, str], str | None]
"""The command of a real agent, what its environment needs, and its mode."""

BY_WORD = Path(__file__).parents[2] / "fakes" / "agents" / "by_word.py"
CAPABILITIES = {
    "loadSession": True,
    "sessionCapabilities": {"resume": {}},
    "promptCapabilities": {"embeddedContext": True},
}

FORGETFUL = {"loadSession": False, "promptCapabilities": {"embeddedContext": True}}

OLD, NEW = "def total(items):\n    return sum(items)\n", "def total(items):\n    return sum(items, start=0)\n"
EDIT = {"toolCallId": "edit-1", "title": "Edit totals.py", "kind": "edit", "rawInput": {"file_path": "totals.py"}}
DIFF = {"type": "diff", "path": "totals.py", "oldText": OLD, "newText": NEW}
SCRIPT_LINES = "set -e\nfor part in api web worker; do\n  make -C $part\ndone"

TABLE = """#### Response times

| route | p50 | p99 |
|---|---:|---:|
| `/login` | 12 ms | 90 ms |
| `a | b` | 1 ms | 2 ms |

- [x] measured
- [ ] explained

---

> quoted
> > twice

<details><summary>Raw numbers</summary>

See [the run](https://ci.example/7) and ![graph](https://ci.example/7.png).

</details>

Press <kbd>Ctrl</kbd>+<kbd>C</kbd>. H~2~O and $x^2$.[^1]

[^1]: Measured at noon.

"""


def prose(paragraphs: int) -> str:
    """Numbered paragraphs of about 430 characters."""
    words = "The cache keeps each result for one hour and then asks the database again, which is slow on Mondays. "
    return "".join(f"**Part {number}.** {words * 4}\n\n" for number in range(1, paragraphs + 1))


def tool(name: str, title: str, kind: str, output: str, **fields: Any) -> list[dict[str, Any]]:
    """Two steps: a tool call that begins, and its end."""
    content = [{"type": "content", "content": {"type": "text", "text": output}}]
    return [
        updates("tool_call", toolCallId=name, title=title, kind=kind, status="in_progress", **fields),
        updates("tool_call_update", toolCallId=name, status="completed", content=content),
    ]


def command(name: str, line: str, output: str) -> list[dict[str, Any]]:
    """Two steps: a command that runs, and its end."""
    return tool(name, line, "execute", output, rawInput={"command": line})


def plan(*states: str) -> dict[str, Any]:
    """A step: a plan of three entries in these states."""
    named = zip(("Look at the code", "Change it", "Run the tests"), states, strict=True)
    return updates("plan", entries=[{"content": name, "priority": "medium", "status": state} for name, state in named])


BUILDER = {
    "fix": [
        says("I'll change how the sum begins.\n\n"),
        {"ask": {**EDIT, "content": [DIFF]}},
        {"answer": True},
        updates("tool_call", **EDIT, status="completed", content=[DIFF]),
        says("\n\nThe sum now begins at zero. REST"),
        END,
    ],
    "build": [
        plan("in_progress", "pending", "pending"),
        *tool("r1", "Read Makefile", "read", "all: api web", locations=[{"path": "Makefile"}]),
        *tool("r2", "Search for TODO", "search", "3 found", rawInput={"pattern": "TODO"}),
        plan("completed", "in_progress", "pending"),
        *command("x1", SCRIPT_LINES, "api ok\nweb ok\nworker ok"),
        *[step for number in range(6) for step in command(f"t{number}", f"pytest part{number}", f"{number} passed")],
        plan("completed", "completed", "completed"),
        chunk("agent_thought_chunk", "All parts are built, so I can answer."),
        says("All three parts build. REST"),
        END,
    ],
}
WRITER = {
    "read": [says("This is what I was given:\n"), {"read": True}, says("REST"), END],
    "table": [says(TABLE), says("That is the table. REST"), END],
    "essay": [*[says(piece) for piece in prose(10).split("  ")], says("That is the essay. REST"), END],
    "book": [says(prose(34)), says("That is the book. REST"), END],
    "harmful": [says("Look at https://harmful.example/x for more. "), says("That is all. REST"), END],
}
CLERK = {
    "note": [says("I note it: REST"), END],
    "look": [says("This is what I see:\n"), {"read": True}, says("REST"), END],
}
"""An agent that takes up no earlier conversation."""
CHOICES = [{"const": "staging", "title": "Staging"}, {"const": "live", "title": "Live", "description": "Customers"}]
FORM = {"type": "object", "properties": {"where": {"type": "string", "title": "Where", "oneOf": CHOICES}}}
HELPER = {
    "deploy": [
        {"elicit": {"mode": "form", "message": "Where should I deploy?", "requestedSchema": FORM}},
        {"answered": True},
        says("It is deployed. REST"),
        END,
    ],
    "crash": [says("I am looking at it"), {"exit": 3}],
    "fail": [{"error": "The model is overloaded"}],
    "mute": [END],
    "decline": [{"end": "refusal"}],
    "cut": [says("The first half of the answer. REST"), {"end": "max_tokens"}],
}


def configuration(
    server: DiscordServer,
    people: Sequence[User],
    admin: User,
    channels: dict[str, Channel],
    *,
    project: tuple[Channel, Path],
    max_sessions: int = 12,
    real: dict[str, RealAgent] | None = None,
) -> str:
    """``config.toml``: ``channels`` are bound to the agents of their names, ``project`` to a folder of its own."""
    discord = {
        "bot_token": server.token,
        "allowed_users": [str(person.id) for person in people],
        "admin_users": [str(admin.id)],
        "allow_all_channels": True,
        "allow_bot_messages": "mentions",
        "allow_resume": True,
        "thoughts": "subtext",
        "notify_after_seconds": 4,
        "api_base": server.api_base,
        "gateway_url": server.gateway_url,
    }
    python, scripts = [sys.executable, "-S"], {"builder": BUILDER, "writer": WRITER, "helper": HELPER, "clerk": CLERK}
    tables: dict[str, dict[str, Any]] = {
        "": {"default_agent": "demo"},
        "discord": discord,
        **{f'discord.channels."{channel.id}"': {"agent": name} for name, channel in channels.items()},
        f'discord.channels."{project[0].id}"': {"agent": "demo", "working_dir": str(project[1])},
        "pool": {
            "max_sessions": max_sessions,
            "max_queued": 3,
            "turn_timeout_seconds": 12,
            "stuck_after_seconds": 5,
            "grace_seconds": 1,
        },
        "permissions": {"timeout_seconds": 5},
        "shutdown": {"drain_seconds": 2},
        "agents.demo": {"command": sys.executable, "args": ["-m", "acpbot.demo.agent"]},
        "agents.demo.env": {"ACPBOT_DEMO_PACE": "0.02"},
    }
    for name, words in scripts.items():
        script = json.dumps({"capabilities": FORGETFUL if name == "clerk" else CAPABILITIES, "words": words})
        tables[f"agents.{name}"] = {"command": python[0], "args": [*python[1:], str(BY_WORD), script]}
    for name, (argv, env, mode) in (real or {}).items():
        table: dict[str, Any] = {"command": argv[0], "args": argv[1:]}
        tables[f"agents.{name}"] = table if mode is None else table | {"mode": mode}
        tables[f"agents.{name}.env"] = env
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]"] if name else []
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join([*lines, ""])
