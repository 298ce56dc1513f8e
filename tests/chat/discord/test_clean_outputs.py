"""The same hostile texts through every output of the daemon: nothing hidden, no live link, no live mention.

A new output is one more entry in ``OUTPUTS`` (or in ``MARKDOWN`` where Discord renders it).
"""

from __future__ import annotations

import json
import logging
import re
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from acpbot.acp.bounds import UpdateBounds, reason
from acpbot.acp.connection import PermissionAsked
from acpbot.acp.schema import PermissionOption, PermissionParams
from acpbot.chat import conversation
from acpbot.chat.discord.interactions import buttons, menus
from acpbot.chat.discord.outbound import threads
from acpbot.chat.rendering import diffs, markdown
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.daemon.systemd import ServiceManager
from acpbot.logs import EventFormatter
from acpbot.runtimes.pipes import StderrRing
from acpbot.sessions.options import Choice, Option
from acpbot.sessions.output import OutputRing
from acpbot.sessions.permission_action import action_of
from acpbot.sessions.turn import PermissionRequest
from acpbot.text import operator_line
from tests.support.hidden_text import HIDDEN, ORDINARY, hides_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

MARKED = (
    "[text](http://evil.example)",
    "see http://evil.example",
    "<https://evil.example> <@1> <#2> <@&3>",
    "@everyone @here",
    "`code` ``` [a](http://b) ```",
    "**bold** ||spoiler|| ~~x~~ \\[a](http://b)",
    "# heading\n> quote\n- list\n[a](http://b)",
)
_CODE = re.compile(r"`[^`\n]*`")
_LIVE = re.compile(r"(?<!\\)(?:\]\(|\w+://|<[@#/:\w]|@(?:everyone|here))")


def log_line(form) -> Callable[[str], str]:
    def written(text: str) -> str:
        record = logging.LogRecord("acpbot", logging.INFO, "", 0, text, None, None)
        record.fields = {"field": text, "list": [text]}
        line = EventFormatter(form).format(record)
        if form == "json":
            assert json.loads(line)["field"] == text
        return line

    return written


def service_status(text: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # an abstract address of the kernel's choice
        address = "@" + manager.getsockname()[1:].decode()
        ServiceManager({"NOTIFY_SOCKET": address}, lambda: text).ready()
        return manager.recv(65_536).decode()


def recorded(text: str) -> str:
    ring = OutputRing("1", "s", lambda _lines: None)
    ring.line("tool", text)
    (line,), _ = ring.follow(lambda _: None)
    return line["text"]


def stderr(text: str) -> str:
    ring = StderrRing()
    ring.feed(text.encode(errors="replace") + b"\n")
    return "\n".join(ring.lines())


def live(*, tool: str | None = None, plan: str | None = None, notice: str | None = None) -> str:
    message = LiveMessage()
    if tool is not None:
        message.tool("1", title=tool, kind=None, status=None)
    if plan is not None:
        message.plan([{"content": plan, "status": "in_progress"}, {"content": plan, "status": "pending"}])
    if notice is not None:
        message.append("words")
        message.notice(notice)
    return "\n".join(message.bodies())


def answer(text: str) -> str:
    body = {"content": {"type": "text", "text": text}}
    UpdateBounds().bound("s", "agent_message_chunk", body, cut=False)
    message = LiveMessage()
    message.append(body["content"]["text"])
    return "\n".join(message.bodies())


def decoded(of: str, /, **members) -> Callable[[str], str]:
    def kept(text: str) -> str:
        body = json.loads(json.dumps(members).replace('"TEXT"', json.dumps(text)))
        UpdateBounds().bound("s", of, body, cut=False)
        return "\n".join(texts(body))

    return kept


def texts(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for member in members for text in texts(member)]


def permission(text: str) -> str:
    text = text.encode("utf-8", "ignore").decode()  # the decoder refuses a request with a lone surrogate
    call = {"title": text, "kind": "execute", "rawInput": {"command": text, text: text}}
    params = PermissionParams("1", [PermissionOption("a", text, "allow_once")], msgspec.Raw(json.dumps(call).encode()))
    ask = PermissionRequest(
        "1",
        PermissionAsked(1, params, whole=True, size=1),
        action_of(call, {}, None),
        tool_call_id="1",
        timeout_seconds=60,
        expires_at=60,
        on_resolved=lambda *_: None,
    )
    shown = buttons.shown(ask.action)
    return buttons.ask_text(ask, shown, "1").replace("<@1>", "").replace("<t:60:R>", "")


def option(text: str) -> Option:
    return Option("mode", text, (Choice(text, text, current=True, description=text),))


def labels(text: str) -> str:
    """What a select menu shows beside the text of its message."""
    menu = menus.choices_menu("demo", option(text))
    return f"{menu.placeholder}\n{menu.items[0].label}\n{menu.items[0].description}"


OUTPUTS = {
    "select menu": labels,
    "log, text": log_line("text"),
    "log, JSON": log_line("json"),
    "systemd status": service_status,
    "operator's line": operator_line,
    "thread title": threads.name_for,
    "recorded line": recorded,
    "stderr": stderr,
    "answer": answer,
    "file change": lambda text: diffs.diff(text, "old\n", f"{text}\n").shown,
    "decoded title": decoded("tool_call", toolCallId="1", title="TEXT", kind="TEXT", status="TEXT"),
    "decoded plan": decoded("plan", entries=[{"content": "TEXT", "status": "TEXT", "priority": "TEXT"}]),
    "decoded command": decoded(
        "available_commands_update", availableCommands=[{"name": "TEXT", "description": "TEXT"}]
    ),
    "decoded option": decoded("config_option_update", configOptions=[{"id": "1", "name": "TEXT"}]),
    "decoded session title": decoded("session_info_update", title="TEXT"),
    "decoded stop reason": reason,
}
MARKDOWN = {
    "tool line": lambda text: live(tool=text),
    "plan": lambda text: live(plan=text),
    "error": lambda text: live(notice=f"😱 {markdown.plain(text)}"),
    "stop reason": lambda text: live(notice=f"The agent stopped: {markdown.code(text)}."),
    "end of a session": lambda text: live(
        notice=str(conversation.end_text("crashed", markdown.plain(text), resumable=False))
    ),
    "silent agent": lambda text: live(notice=conversation.stuck_text(markdown.code(text), 60)),
    "permission request": permission,
    "names of modes": lambda text: menus.choices_menu("demo", option(text)).text,
    "names of options": lambda text: menus.list_menu("demo", [option(text)]).text,
}


@pytest.mark.parametrize("name", [*OUTPUTS, *MARKDOWN])
def test_nothing_that_is_written_hides_anything(name):
    write = {**OUTPUTS, **MARKDOWN}[name]
    for text in HIDDEN:
        assert hides_nothing(write(text)), ascii(text)
    for text in ORDINARY:
        assert text in write(text).replace("\\", ""), ascii(text)


@pytest.mark.parametrize("name", MARKDOWN)
def test_no_link_or_mention_of_an_agent_is_live_in_our_own_words(name):
    for text in MARKED:
        written = MARKDOWN[name](text)
        assert _LIVE.search(_CODE.sub("", re.sub(r"```.*?```", "", written, flags=re.DOTALL))) is None, written
