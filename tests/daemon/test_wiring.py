"""The production wiring hands on every collaborator: no stand-in of a constructor's default is in a running daemon."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

import msgspec
import pytest

from acpbot.chat import local
from acpbot.chat.discord import discord_chat, discord_platform
from acpbot.chat.discord.outbound import outbox
from acpbot.daemon import daemon
from acpbot.management import server
from acpbot.sessions import pool, session, turn_runner

if TYPE_CHECKING:
    from types import ModuleType

WIRING = (daemon, discord_chat, discord_platform, outbox, local, server, pool, session, turn_runner)

# Their defaults are what production uses: the machine's clocks, and waits and limits that tests shorten.
DEFAULTS = {"clock", "wall", "boottime", "wait", "pauses", "backoff", "seconds", "forced_seconds", "interval", "window"}
DEFAULTS |= {"limits"}
DEFAULTS |= {"Supervisor.identifies", "Backoff.first", "Backoff.most", "LiveMessage.max_bodies", "DiffPoster.compute"}
DEFAULTS |= {
    "TaskSet.on_crash",  # given for each task, or the task's end is its owner's to see
    "Store.database",  # in Store.open; a pool or an outbox without a store is one of a test or of a tool
    "Conversations.new_message",  # a plain class
    "Conversations.attaches_files",  # a fact of a platform
    "Post.nonce",  # a new one
    "PendingMessage.missed",  # a fact of a message
}


def omitted(module: ModuleType) -> set[str]:
    """``Class.parameter`` of each parameter with a default that a call in the module does not give."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call):
            continue
        made, given = node.func, list(node.args)
        if isinstance(made, ast.Name) and made.id == "partial":
            made = given.pop(0)
        cls = getattr(module, made.id, None) if isinstance(made, ast.Name) else None
        if not inspect.isclass(cls) or not cls.__module__.startswith("acpbot.") or is_data(cls):
            continue
        parameters = list(inspect.signature(cls).parameters.values())
        names = {parameter.name for parameter in parameters[: len(given)]} | {word.arg for word in node.keywords}
        for parameter in parameters:
            if parameter.default is not parameter.empty and parameter.name not in names:
                found.add(f"{cls.__name__}.{parameter.name}")
    return found


def is_data(cls: type) -> bool:
    return issubclass(cls, (msgspec.Struct, tuple, BaseException)) or hasattr(cls, "__dataclass_fields__")


@pytest.mark.parametrize("module", WIRING, ids=[module.__name__ for module in WIRING])
def test_every_collaborator_is_handed_on(module):
    assert {one for one in omitted(module) if one not in DEFAULTS and one.split(".")[1] not in DEFAULTS} == set()


def test_a_collaborator_that_is_left_out_is_found():
    missing = omitted(pool)
    assert {"Pool.clock"} <= omitted(daemon), "the daemon takes the machine's clock"
    assert missing, "a pool makes a store where none is given"
