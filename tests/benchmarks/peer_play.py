"""What one gateway is asked to do on the loopback Discord, and what is measured of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks import gateways
from tests.fakes.discord import rest
from tests.fakes.discord.people import is_system

if TYPE_CHECKING:
    from tests.benchmarks.gateways import Gateway, Play
    from tests.fakes.discord.people import Author
    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Channel, Message

NEVER = 120.0
"""Seconds that stand for never."""
KILLED_SECONDS = 60.0
"""So long is waited for what becomes of an answer after a kill."""
QUIET = 2.0
"""An answer is over once nothing was asked of Discord for so many seconds."""
SIGNS = {("POST", rest.TYPING), ("PUT", rest.REACTION), ("POST", rest.MESSAGES), ("POST", rest.MESSAGE_THREADS)}
FENCE = "```"


def answer(number: int, lines: int) -> str:
    """Return an answer of so many lines, each of them unlike all others, with two blocks of code in it."""
    told = [
        f"Line {at} of answer {number}: a sentence of about ninety characters, which is as long." for at in range(lines)
    ]
    code = [f"    value_{number}_{at} = compute({at})  # kept as it is" for at in range(lines // 4)]
    half = len(told) // 2
    block = [f"{FENCE}python", *code, FENCE]
    again = [line.replace("value", "second") for line in block]
    return "\n".join([*told[:half], *block, *told[half:], *again, f"The end of answer {number}."])


@dataclass
class Answer:
    """What became of one message; seconds since it was written, but ``after``: since the model's last piece."""

    sign: float = NEVER
    text: float = NEVER
    whole: float = NEVER
    after: float = NEVER
    requests: int = 0
    limited: int = 0
    wrong_lines: int = 0
    open_fences: int = 0


@dataclass
class Figures:
    """All that is measured of one gateway in one round."""

    start: float = NEVER
    idle: float = 0.0
    first: Answer = field(default_factory=Answer)
    second: Answer = field(default_factory=Answer)
    another: Answer = field(default_factory=Answer)
    ten: list[Answer] = field(default_factory=list)
    ten_requests: int = 0
    ten_limited: int = 0
    busy: float = 0.0
    after_cut: float = NEVER
    after_kill: float = NEVER
    while_dead: float = NEVER
    orphans: int = 0


class Scene:
    """One gateway, one channel, one person. ``texts`` are the answers that the model knows, by their names."""

    def __init__(self, gateway: Gateway, play: Play, channel: Channel, person: Author) -> None:
        self.gateway = gateway
        self.server = play.discord
        self.model = play.model
        self.channel = channel
        self.person = person

    async def start(self) -> float:
        """Start it; the seconds until Discord has its session."""
        began = time.monotonic()
        self.gateway.start()
        await self.server.wait_until_connected(seconds=NEVER)
        return time.monotonic() - began

    def says(self, name: str, thread: Channel | None = None) -> Message:
        """Ask for an answer in the thread, or in a new one."""
        return self.person.says(thread or self.channel, f"please\ntell {name}", mentions=[self.server.bot])

    async def warm_up(self) -> None:
        """Have one short answer: what a gateway does once in its life, or once in a process, is not measured."""
        message = self.person.says(self.channel, "please\nsay hello there", mentions=[self.server.bot])
        await self.seen(message, "hello there", time.monotonic())
        await self.quiet()

    def place(self, message: Message) -> Channel:
        """Where the answer to a message comes: in the thread that it began, or where it is."""
        return message.thread or message.channel

    def told(self, message: Message) -> list[Message]:
        """What the gateway has said there since."""
        mine = self.server.messages_in(self.place(message), by=self.server.bot)
        return [one for one in mine if one.id > message.id and not is_system(one) and not one.deleted]

    def shown(self, message: Message) -> str:
        return "\n".join(one.content for one in self.told(message))

    async def seen(self, message: Message, words: str, began: float, limit: float = NEVER) -> float:
        """Wait until the answer holds these words; the seconds since ``began``."""
        try:
            await self.server.wait_for(lambda: words in self.shown(message), seconds=limit, what=words)
        except AssertionError:
            return NEVER
        return time.monotonic() - began

    async def quiet(self) -> None:
        """Wait until nothing is asked of Discord any more."""
        count = -1
        while count != len(self.server.requests):
            count = len(self.server.requests)
            await asyncio.sleep(QUIET)

    async def answered(self, name: str, thread: Channel | None = None) -> tuple[Answer, Message]:
        """Ask for an answer, and wait until it is over."""
        before = len(self.server.requests)
        began = time.monotonic()
        message = self.says(name, thread)
        found = Answer()
        await self._follow(message, name, began, found)
        await self.quiet()
        calls = self.server.requests[before:]
        found.sign = _first_sign(calls, began)
        found.requests = len(calls)
        found.limited = sum(call.status == 429 for call in calls)
        found.wrong_lines, found.open_fences = compare(
            self.model.texts[name], [one.content for one in self.told(message)]
        )
        return found, message

    async def _follow(self, message: Message, name: str, began: float, found: Answer) -> None:
        lines = self.model.texts[name].splitlines()
        found.text = await self.seen(message, lines[0][:6], began)
        found.whole = await self.seen(message, lines[-1], began)
        last = max((one.last_piece_at for one in self.model.requests if one.words == ("tell", name)), default=began)
        found.after = NEVER if found.whole == NEVER else max(0.0, began + found.whole - last)

    async def ten(self, names: list[str], figures: Figures) -> None:
        """Ask for ten answers at once, each in a thread of its own."""
        before = len(self.server.requests)
        asked = []
        for name in names:
            began = time.monotonic()
            asked.append((self.says(name), name, began, Answer()))
        await asyncio.gather(*(self._follow(*one) for one in asked))
        figures.busy = gateways.memory(self.gateway.pid)
        await self.quiet()
        calls = self.server.requests[before:]
        figures.ten_requests = len(calls)
        figures.ten_limited = sum(call.status == 429 for call in calls)
        for message, name, _, found in asked:
            contents = [one.content for one in self.told(message)]
            found.wrong_lines, found.open_fences = compare(self.model.texts[name], contents)
            figures.ten.append(found)

    async def cut(self, name: str, thread: Channel, seconds: float) -> float:
        """Cut the gateway for so long, and write meanwhile; the seconds from its return to the whole answer."""
        self.server.gateway.refuse()
        self.server.gateway.cut()
        message = self.says(name, thread)
        await asyncio.sleep(seconds)
        self.server.gateway.accept()
        return await self.seen(message, self.model.texts[name].splitlines()[-1], time.monotonic())

    async def killed(self, name: str, other: str, figures: Figures) -> None:
        """Kill it in an answer, write meanwhile, and start it again.

        Measured from the new start: when the thread shows anything new of the interrupted answer, and when the message
        that was written meanwhile is answered.
        """
        message = self.says(name)
        await self.seen(message, self.model.texts[name].splitlines()[0][:6], time.monotonic())
        thread, processes = self.place(message), gateways.tree(self.gateway.pid)
        self.gateway.kill()
        await asyncio.sleep(1.0)
        figures.orphans = sum(alive(pid) for pid in processes)
        before = self.shown(message)
        later = self.says(other, thread)
        began = time.monotonic()
        self.gateway.start()
        last = self.model.texts[other].splitlines()[-1]

        def changed() -> bool:
            return self.shown(message).removeprefix(before).replace(self.shown(later), "") != "" or (
                not self.shown(message).startswith(before)
            )

        async def told() -> float:
            try:
                await self.server.wait_for(changed, seconds=KILLED_SECONDS, what="a word about the interrupted answer")
            except AssertionError:
                return NEVER
            return time.monotonic() - began

        answered = self.seen(later, last, began, KILLED_SECONDS)
        figures.after_kill, figures.while_dead = await asyncio.gather(told(), answered)


def alive(pid: int) -> bool:
    """Whether a process runs. Source: proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123 - one line
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _first_sign(calls: list[Call], began: float) -> float:
    times = [call.at - began for call in calls if (call.method, call.route) in SIGNS and (call.status or 500) < 400]
    return min(times, default=NEVER)


def compare(text: str, contents: list[str]) -> tuple[int, int]:
    """Return how many lines of an answer are not shown once, or not in their order or kind; and unclosed fences.

    The kind of a line: within a block of code, or not. A block may be closed at the end of a message and opened again
    in the next one.
    """
    wanted = [(line, code) for line, code in kinds(text.splitlines()) if line.strip()]
    shown = [pair for content in contents for pair in kinds(content.splitlines())]
    at, wrong = 0, 0
    for pair in wanted:
        later = next((index for index in range(at, len(shown)) if shown[index] == pair), None)
        if later is None or shown.count(pair) != 1:
            wrong += 1
        if later is not None:
            at = later + 1
    unclosed = sum(sum(line.startswith(FENCE) for line in content.splitlines()) % 2 for content in contents)
    return wrong, unclosed


def kinds(lines: list[str]) -> list[tuple[str, bool]]:
    """Return each line that is no fence, and whether it is in a block of code."""
    found, code = [], False
    for line in lines:
        if line.lstrip().startswith(FENCE):
            code = not code
        else:
            found.append((line.rstrip(), code))
    return found
