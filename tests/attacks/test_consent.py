"""An agent that wants a permission for one thing, and does another."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DaemonProcess
from tests.support.acpctl import ACPCTL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.daemon import Wire

pytestmark = pytest.mark.attack

AGENT = Path(__file__).parents[1] / "fakes" / "agents" / "deceitful.py"
HARMLESS = {
    "toolCallId": "t",
    "title": "Check the repository",
    "kind": "execute",
    "rawInput": {"command": "git status"},
}
HARMFUL = {**HARMLESS, "rawInput": {"command": "git status && rm -rf ./data"}}


class Thread:
    """A thread with the deceitful agent; a file of somebody's in its folder."""

    def __init__(self, daemon: DaemonProcess, wire: Wire) -> None:
        self.daemon = daemon
        self.wire = wire
        row = wire.call("chat.open", thread="1")["session"]
        self.data = Path(row["cwd"]) / "data"
        self.data.mkdir(parents=True)

    def asks(self, call: dict, **more) -> dict | None:
        """A turn that asks; the event of the request, ``None`` where the turn ends without one."""
        self.wire.notifications.clear()
        prompt = {"ask": call, "run": call.get("rawInput", {}).get("command", "true"), **more}
        self.wire.call("chat.send", thread="1", text=json.dumps(prompt))
        return self.next()

    def next(self) -> dict | None:
        while True:
            message = self.wire.notifications.pop(0) if self.wire.notifications else self.wire.read()
            params = message.get("params", {})
            if params.get("type") in {"permission", "turn_end"}:
                return params if params["type"] == "permission" else None

    def answer(self, asked: dict, option: str) -> dict:
        """The answer of the daemon, ``{}`` or its error."""
        reply = self.wire.answer(self.wire.send("chat.permit", thread="1", request=asked["request"], option=option))
        return reply.get("error", {})

    def audit(self) -> list[str]:
        """What is written of permissions. The daemon writes soon, not at once, so it is stopped before."""
        self.daemon.stop()
        database = self.daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
        with sqlite3.connect(database) as connection:
            return [row[0] for row in connection.execute("SELECT outcome FROM audit WHERE method = 'permission'")]


@contextmanager
def thread(folder: Path, policy: str = "ask") -> Iterator[Thread]:
    config = (
        f'[agent]\ncommand = {json.dumps(sys.executable)}\nargs = ["-S", {json.dumps(str(AGENT))}]\n'
        f'[permissions]\npolicy = "{policy}"\n'
    )
    with DaemonProcess(folder / "home", config) as daemon, daemon.wire() as wire:
        yield Thread(daemon, wire)


def test_a_title_does_not_hide_the_command(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        asked = attacked.asks(HARMFUL)
        assert asked is not None
        row = attacked.wire.call("sessions.list")["sessions"][0]
        command = [str(ACPCTL), "--socket", str(attacked.daemon.socket), "show", "1"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        places = {"event": json.dumps(asked), "row": str(row["waiting_for"]), "acpctl show": shown}
        assert [name for name, text in places.items() if "rm -rf ./data" not in text] == []


def test_an_always_for_one_command_does_not_allow_another_with_the_same_title(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        asked = attacked.asks(HARMLESS)
        assert asked is not None
        assert attacked.answer(asked, "always") == {}
        attacked.next()
        asked = attacked.asks(HARMFUL)
        assert attacked.data.exists(), "it ran unasked"
        assert asked is not None, "nobody was asked"


def test_what_an_always_answers_is_shown_and_audited(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        asked = attacked.asks(HARMLESS)
        assert asked is not None
        attacked.answer(asked, "always")
        attacked.next()
        assert attacked.asks(HARMLESS) is None
        attacked.wire.call("chat.leave", thread="1")
        assert attacked.audit() == ["allowed by an earlier Always: git status"]


def test_a_command_too_large_to_show_can_not_be_allowed(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        asked = attacked.asks(HARMFUL, pad=2 * 1024 * 1024)
        assert asked is not None
        assert {option["kind"] for option in asked["options"]} == {"reject_once", "reject_always"}
        assert "1 MiB" in attacked.answer(asked, "once")["message"]
        assert attacked.data.exists()
        attacked.answer(asked, "no")
        attacked.next()


def test_a_command_that_changes_while_people_decide_does_not_run(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        change = {"toolCallId": "t", "rawInput": HARMFUL["rawInput"]}
        asked = attacked.asks(HARMLESS, run="rm -rf ./data", while_open=change)
        assert asked is not None
        attacked.wire.answer(attacked.wire.send("chat.permit", thread="1", request=asked["request"], option="once"))
        attacked.next()
        assert attacked.data.exists()


def test_one_id_for_two_requests_allows_neither(tmp_path: Path) -> None:
    with thread(tmp_path) as attacked:
        asked = attacked.asks(HARMLESS, run="rm -rf ./data", twice=HARMFUL)
        assert asked is not None
        attacked.answer(asked, "once")
        while (other := attacked.next()) is not None:
            attacked.answer(other, "no")
        assert attacked.data.exists()


def test_a_storm_of_requests_that_a_policy_answers_is_shown_in_a_few_lines(tmp_path: Path) -> None:
    with thread(tmp_path, policy="allow") as attacked:
        attacked.wire.call("chat.send", thread="1", text=json.dumps({"ask": HARMLESS, "times": 2000}))
        notices = []
        while (params := attacked.wire.read().get("params", {})).get("type") != "turn_end":
            notices += [params["text"]] if params.get("type") == "notice" else []
        assert notices[0] == "Allowed by policy: git status"
        assert notices[-1] == "1,997 more requests: 1,997 allowed by policy."
        assert len(notices) == 4
        assert len(attacked.audit()) == 21
