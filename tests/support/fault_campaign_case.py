"""One cell of the fault campaign: a channel of its own, and the fault that waits there for its call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.discord.faults import Fault, Faults
    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Channel, Message
    from tests.support.discord_scene import Scene

WAIT_SECONDS = 20.0

Outcome = str


def arrange(faults: Faults, fault: str, method: str, route: str, where: Callable[[Call], bool]) -> Fault:
    """The fault of this name, once, on a call that ``where`` accepts."""
    # aiohttp tries these again by itself, once.
    again = 2 if method in {"GET", "PUT", "DELETE"} else 1
    match fault.split():
        case ["dropped", *after]:
            return faults.abort(method, route, times=again, when="after" if after else "before", where=where)
        case ["empty", status]:  # what a proxy in front of Discord sends: a type without the content that belongs to it
            return faults.status(int(status), method, route, body=b"", where=where)
        case ["garbled", "after"]:
            return faults.status(200, method, route, body=b'{"id": "1', when="after", where=where)
        case ["429"]:
            return faults.too_many(method, route, retry_after=0.05, where=where)
        case [status, when]:
            return faults.status(int(status), method, route, when=when, where=where)
        case [status]:
            return faults.status(int(status), method, route, where=where)
    raise AssertionError(fault)


class Case:
    """One cell: a channel, and the fault that waits there for its call."""

    def __init__(self, scene: Scene, fault: str, row: str) -> None:
        self.scene = scene
        self.server = scene.server
        self.fault = fault
        self.channel = scene.server.make_channel(scene.guild, row.replace(" ", "-"))
        self.mine = {str(self.channel.id)}
        self.met: list[Fault] = []

    def meets(self, method: str, route: str, where: Callable[[Call], bool] = lambda _call: True) -> None:
        """Have the next such call of this cell meet the fault."""
        mine = self.mine
        made = arrange(
            self.server.faults,
            self.fault,
            method,
            route,
            lambda call: not mine.isdisjoint(call.params.values()) and where(call),
        )
        self.met.append(made)

    def asks(self, text: str, **more: Any) -> Message:
        """Ada mentions the bot in the cell's channel; a thread from it has the message's id."""
        message = self.scene.ada.says(self.channel, text, mentions=[self.server.bot], **more)
        self.mine.add(str(message.id))
        return message

    async def until(self, predicate: Callable[[], Any], what: str = "") -> Any:
        return await self.server.wait_for(predicate, seconds=WAIT_SECONDS, what=what)

    async def thread(self, message: Message) -> Channel:
        thread: Channel = await self.until(lambda: message.thread, "a thread")
        return thread

    async def busy(self) -> Channel:
        """A thread whose agent works until it is cancelled."""
        thread = await self.thread(self.asks("say first; stall 60"))
        await self.until(lambda: "first" in self.scene.text(thread), "the first word")
        return thread

    async def over(self, thread: Channel, turns: int = 1) -> None:
        """So many turns are over, and nothing more is said of them."""
        await self.until(lambda: self.scene.turns(thread) >= turns, f"{turns} turns")
        queues = self.scene.chat.outbox._queues
        while tasks := [task for key in self.mine if key in queues for task in queues[key].running.values()]:
            await asyncio.wait_for(asyncio.wait(tasks), WAIT_SECONDS)

    def said(self, thread: Channel, text: str) -> Outcome:
        """Whether a text is in the thread, once."""
        count = sum(one.content.count(text) for one in self.scene.bodies(thread))
        if count == 1:
            return "answered"
        if count > 1:
            return "TWICE"
        return "reported" if "I could not" in self.scene.text(thread) + self.scene.text(self.channel) else "LOST"
