"""A daemon that is killed and started again: a person in Discord sees a pause, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from acpbot.chat.conversation import INTERRUPTED
from acpbot.chat.platform import IncomingMessage
from acpbot.storage.records import TurnRecord
from acpbot.storage.store import Store
from tests.daemon.test_daemon_discord import config
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, marked_processes
from tests.fakes.discord.rest import TYPING
from tests.fakes.discord.server import DiscordServer
from tests.support.pool_restarts import rows

pytestmark = pytest.mark.service

AGAIN = "Send a message to carry on where you left off."
MESSAGES = "/channels/{channel_id}/messages"
MESSAGE = "/channels/{channel_id}/messages/{message_id}"


def digits(count: int) -> str:
    """What the agent says to `long COUNT`."""
    return "".join(f"{first:09d}\n" for first in range(0, count, 10))[:count]


class Town:
    """A Discord with one person, and the daemon's folder."""

    def __init__(self, server: DiscordServer, folder) -> None:
        self.server = server
        self.folder = folder
        self.guild = server.make_guild("home")
        self.channel = server.make_channel(self.guild, "general")
        self.ada = server.make_user("ada", self.guild)
        self.settings: dict[str, Any] = {"allow_user_messages": "involved"}
        self.more = ""

    @asynccontextmanager
    async def daemon(self):
        text = config(self.server, self.ada, **self.settings) + self.more
        daemon = await asyncio.to_thread(DaemonProcess, self.folder, text)
        with daemon:
            await self.server.wait_until_connected()
            yield daemon
            if daemon.process.poll() is None:
                assert await asyncio.to_thread(daemon.stop) == 0
        assert "Traceback" not in daemon.log.read_text()

    async def kill(self, daemon, signum=signal.SIGKILL) -> None:
        await asyncio.to_thread(daemon.stop, signum)
        await self.server.wait_for(lambda: not self.server.gateway.connected, what="the end of the gateway")

    def asks(self, text: str):
        return self.ada.says(self.channel, text, mentions=[self.server.bot])

    async def opens(self, text: str):
        before = set(self.server.threads_of(self.channel))
        self.asks(text)
        return await self.server.wait_for(
            lambda: next((one for one in self.server.threads_of(self.channel) if one not in before), None)
        )

    def said(self, thread) -> list[str]:
        mine = self.server.messages_in(thread, by=self.server.bot)
        return [one.content for one in mine if not one.deleted and not one.ephemeral and one.content]

    async def says(self, thread, text: str) -> None:
        await self.server.wait_for(lambda: text in self.said(thread), what=f"{text!r} in the thread")

    async def says_part(self, thread, text: str) -> None:
        await self.server.wait_for(lambda: text in "\n".join(self.said(thread)), what=f"{text!r} in the thread")

    def sessions(self) -> list[str]:
        return [row["session_id"] for row in rows(self.folder / "state/acpbot/acpbot.sqlite3", "places")]

    async def written(self, daemon, thread, turns: int) -> None:
        """Return once the thread has had so many turns, and all that followed from the last one is on disk."""

        def wait() -> None:
            with daemon.wire() as wire:
                found = wire.call("sessions.watch")["sessions"]
                while not any(row["thread_id"] == str(thread.id) and row["turns"] >= turns for row in found):
                    found = [wire.read()["params"]["session"]]
            with daemon.wire() as wire:
                wire.call("chat.open", thread="written")
                wire.turn("written", "say a turn begins when all before it is on disk")

        await asyncio.to_thread(wait)

    def left(self) -> list[dict]:
        """What an orderly stop leaves to be done."""
        path = self.folder / "state/acpbot/acpbot.sqlite3"
        return rows(path, "turns") + rows(path, "posts")


@pytest.fixture
async def town(tmp_path):
    async with DiscordServer(unit=0.01) as server:
        yield Town(server, tmp_path / "d")
        assert server.unserved == []


async def test_an_interrupted_answer_is_reported_once_and_the_conversation_goes_on(town):
    async with town.daemon() as daemon:
        thread = await town.opens("remember the blue door")
        await town.says_part(thread, "the blue door")
        asked = town.ada.says(thread, "say half of it; sleep 60")
        await town.says_part(thread, "half of it")
        waits = town.ada.says(thread, "say the second")
        town.ada.says(thread, "recall")
        await town.says_part(thread, "2 ahead of you")
        sessions = town.sessions()
        assert len(marked_processes(sessions)) >= 1
        await town.kill(daemon)
    async with town.daemon() as daemon:
        assert marked_processes(sessions) == []
        await town.says(thread, f"{INTERRUPTED} {AGAIN}")
        await town.says(thread, "the second")
        await town.server.wait_for(lambda: "the blue door" in town.said(thread)[-1])
        await town.server.wait_for(lambda: asked.shown_reactions == ["😱"], what="the reactions")
        await town.server.wait_for(lambda: waits.shown_reactions == ["🆗"], what="the reactions")
        await town.written(daemon, thread, 3)
        await town.kill(daemon)
    async with town.daemon():
        town.ada.says(thread, "say the last")
        await town.says(thread, "the last")
    said = town.said(thread)
    assert [one for one in said if "Queued" in one] == []
    assert sum(INTERRUPTED in one for one in said) == 1
    assert [said.count(one) for one in ("the second", "the last")] == [1, 1]


async def test_messages_during_the_absence_are_answered_once_and_older_ones_never(town):
    town.asks("say before the first start")
    async with town.daemon() as daemon:
        thread = await town.opens("say one")
        await town.says(thread, "one")
        await town.written(daemon, thread, 1)
        await town.kill(daemon)
    town.ada.says(thread, "say two")
    town.ada.says(thread, "say three")
    town.asks("say four")
    async with town.daemon() as daemon:
        await town.says(thread, "three")
        await town.server.wait_for(lambda: len(town.server.threads_of(town.channel)) == 2)
        other = next(one for one in town.server.threads_of(town.channel) if one is not thread)
        await town.says(other, "four")
        await town.written(daemon, thread, 3)
        await town.written(daemon, other, 1)
        await town.kill(daemon)
    async with town.daemon():
        town.ada.says(thread, "say five")
        await town.says(thread, "five")
        assert town.said(other) == ["four"]
    assert town.said(thread) == ["one", "two", "three", "five"]


async def test_a_finished_answer_is_delivered_after_the_restart(town):
    async with town.daemon() as daemon:
        thread = await town.opens("say one")
        await town.says(thread, "one")
        down = [
            town.server.faults.status(503, "POST", MESSAGES, times=10**6),
            town.server.faults.status(503, "PATCH", MESSAGE, times=10**6),
        ]
        town.ada.says(thread, "long 6000")
        await asyncio.wait_for(down[0].arrived.wait(), 10)
        await town.written(daemon, thread, 2)
        await town.kill(daemon)
    town.server.faults.clear()
    async with town.daemon():
        await town.says_part(thread, digits(6000).split()[-1])
    assert town.left() == []
    assert "\n".join(town.said(thread)[1:]) == digits(6000).strip()


async def test_a_partly_delivered_answer_is_completed_and_not_repeated(town):
    """The request was answered too late: what it made stays, and says less than it should."""
    async with town.daemon() as daemon:
        thread = await town.opens("say one")
        await town.says(thread, "one")
        lost = town.server.faults.hold("POST", MESSAGES, when="after")
        town.ada.says(thread, "say begun; stall 0.2; say and ended")
        await asyncio.wait_for(lost.arrived.wait(), 10)
        await town.written(daemon, thread, 2)
        await town.kill(daemon)
        lost.release()
    town.server.faults.clear()
    async with town.daemon():
        await town.says_part(thread, "and ended")
    assert town.left() == []
    assert town.said(thread) == ["one", "begunand ended"]


async def test_buttons_from_before_the_restart_are_removed(town):
    async with town.daemon() as daemon:
        thread = await town.opens("tool echo hello")
        await town.says_part(thread, "🔐 **Run this command?** `echo hello`")
        await town.kill(daemon)
    (asked,) = [one for one in town.server.messages_in(thread, by=town.server.bot) if one.asks]
    async with town.daemon():
        await town.says(thread, f"{INTERRUPTED} {AGAIN}")
        await town.server.wait_for(lambda: not asked.components, what="no buttons")
    assert "I was restarted, so this is no longer needed" in asked.content


async def test_the_stop_button_of_an_interrupted_answer_is_removed_and_its_text_stays(town):
    async with town.daemon() as daemon:
        thread = await town.opens("say begun; stall 60")
        answer = await town.server.wait_for_message(thread, lambda one: one.buttons)
        # The next sign that it is typing comes after the daemon knows that its message is there.
        await town.server.wait_for(lambda: len(town.server.requests_to("POST", TYPING)) > 1, what="typing again")
        await town.kill(daemon)
    async with town.daemon():
        await town.says(thread, f"{INTERRUPTED} {AGAIN}")
        await town.server.wait_for(lambda: not answer.components, what="no button")
    assert answer.content == "begun"


async def test_a_message_edited_during_the_absence_runs_as_edited(town):
    async with town.daemon() as daemon:
        thread = await town.opens("say first; sleep 60")
        await town.says_part(thread, "first")
        edited, deleted, _ = (town.ada.says(thread, f"say {word}") for word in ("wrong", "never", "last"))
        await town.says_part(thread, "3 ahead of you")
        await town.kill(daemon)
    town.ada.edits(edited, "say right")
    town.ada.deletes(deleted)
    async with town.daemon():
        await town.says(thread, "last")
    assert town.said(thread)[-2:] == ["right", "last"]
    assert town.left() == []


async def test_a_failed_start_keeps_queued_turns_and_leaves_no_process(tmp_path):
    path = tmp_path / "d/state/acpbot/acpbot.sqlite3"
    store = Store.open(path)
    incoming = IncomingMessage(thread_id="demo", text="sleep 60", owner="ada")
    store.turn_queued(TurnRecord("a1", "demo", "local", "queued", msgspec.json.encode(incoming)))
    await asyncio.to_thread(store.close)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = "{}:{}".format(*taken.getsockname())
        text = f'{DEMO_AGENT}[management.probes]\nenabled = true\nbind = "{bind}"\n'
        with DaemonProcess(tmp_path / "d", text, ready=False) as daemon:
            assert await asyncio.to_thread(daemon.process.wait, 20) == 1
            log = daemon.log.read_text()
    assert "reason=stopped" in log, "its session was ended in order"
    assert "processes_left=0" in log
    assert [row["state"] for row in rows(path, "turns")] == ["queued"]
    assert rows(path, "places") == []


async def test_a_stop_keeps_queued_turns(town):
    town.more = "\n[shutdown]\ndrain_seconds = 0\n"
    async with town.daemon() as daemon:
        thread = await town.opens("sleep 60")
        await town.says_part(thread, "sleep 60")
        town.ada.says(thread, "say later")
        await town.says_part(thread, "Queued")
        await town.kill(daemon, signal.SIGTERM)
    assert [one for one in town.said(thread) if "Queued" in one] == []
    assert "later" not in town.said(thread)
    assert f"I'm restarting, so this answer is incomplete. {AGAIN}" in town.said(thread)
    async with town.daemon():
        await town.says(thread, "later")
    assert town.said(thread)[-1] == "later"
