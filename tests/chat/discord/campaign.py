"""Every REST call that the bot makes, met by every fault: what becomes of the turn, as a table.

Run it: ``python -m tests.chat.discord.campaign``. Each column is a Discord of its own in which all rows happen at once,
each in a channel of its own, with its fault on its call there and nowhere else. What a cell can say:

- ``answered``: all stands as it would have without the fault, and once;
- ``told``: the person is told that it does not;
- ``lived``: something that is not the answer is missing (a reaction, a name, a note); the next message is answered;
- ``twice``: it stands twice. In capitals is what must not be.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot.chat.discord.marks import end_marks
from tests.chat.discord.scene import Scene, staged
from tests.chat.discord.test_discord_catch_up import away
from tests.chat.discord.test_discord_turns import digits
from tests.fakes.discord import rest, state
from tests.fakes.discord.state import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.fakes.discord.faults import Fault, Faults
    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Message

FAULTS = ("500 before", "500 after", "503", "dropped", "dropped after", "403", "404", "429")
WAIT_SECONDS = 20.0

AT_START = {("GET", rest.ME), ("GET", rest.APPLICATION), ("PUT", rest.COMMANDS)}
AFTER_AN_OUTAGE = {("GET", rest.MESSAGES)}

Outcome = str
ROWS: dict[str, Callable[[Case], Awaitable[Outcome]]] = {}


def arrange(faults: Faults, fault: str, method: str, route: str, where: Callable[[Call], bool]) -> Fault:
    """The fault of this name, once, on a call that ``where`` accepts."""
    # aiohttp tries these again by itself, once.
    again = 2 if method in {"GET", "PUT", "DELETE"} else 1
    match fault.split():
        case ["dropped", *after]:
            return faults.abort(method, route, times=again, when="after" if after else "before", where=where)
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
        lanes = self.scene.chat.outbox._lanes
        while mine := [lane for key, lane in lanes.items() if key in self.mine]:
            tasks = {task for lane in mine for task in lane.tasks()}
            await asyncio.wait_for(asyncio.wait(tasks) if tasks else asyncio.sleep(0), WAIT_SECONDS)

    def said(self, thread: Channel, text: str) -> Outcome:
        """What became of a text that is to stand in the thread."""
        count = sum(one.content.count(text) for one in self.scene.bodies(thread))
        if count == 1:
            return "answered"
        if count > 1:
            return "TWICE"
        return "told" if "I could not" in self.scene.text(thread) + self.scene.text(self.channel) else "LOST"


def row(function: Callable[[Case], Awaitable[Outcome]]) -> Callable[[Case], Awaitable[Outcome]]:
    """A row of the table, named by its docstring."""
    name = (function.__doc__ or "").rstrip(".")
    ROWS[name[:1].lower() + name[1:]] = function
    return function


def has(text: str) -> Callable[[Call], bool]:
    return lambda call: text in (call.body or {}).get("content", "")


@row
async def opening(case: Case) -> Outcome:
    """Open the thread."""
    case.meets("POST", rest.MESSAGE_THREADS)
    message = case.asks("say opened")
    await case.until(lambda: message.thread or message.shown_reactions == ["😱"], "a thread, or the end of it")
    if message.thread is None:
        return "told"
    await case.over(message.thread)
    return case.said(message.thread, "opened")


@row
async def sending(case: Case) -> Outcome:
    """Send the answer."""
    case.meets("POST", rest.MESSAGES)
    thread = await case.thread(case.asks("say sent"))
    await case.over(thread)
    return case.said(thread, "sent")


async def grown(case: Case) -> Outcome:
    """An answer of which the first part stands before the last one is said."""
    thread, asked = await question(case, "say first; tool true; say last")
    await case.until(lambda: "first" in case.scene.text(thread), "the first part")
    case.scene.ada.clicks(asked, label="✅ Allow once")
    await case.over(thread)
    first = case.said(thread, "first")
    return case.said(thread, "last") if first == "answered" else first


@row
async def editing(case: Case) -> Outcome:
    """Edit it as it grows."""
    case.meets("PATCH", rest.MESSAGE, has("first"))
    return await grown(case)


@row
async def ending(case: Case) -> Outcome:
    """Edit it to its end."""
    case.meets("PATCH", rest.MESSAGE, has("last"))
    return await grown(case)


@row
async def waking(case: Case) -> Outcome:
    """Wake the archived thread."""
    case.meets("PATCH", rest.CHANNEL)
    thread = await case.busy()
    case.scene.ada.archives(thread)
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread)
    return case.said(thread, "first\n⏹️ Cancelled.")


@row
async def attaching(case: Case) -> Outcome:
    """Attach the rest of it."""
    case.meets("POST", rest.MESSAGES, lambda call: bool(call.uploads))
    thread = await case.thread(case.asks("long 12000"))
    await case.over(thread)
    bodies = case.scene.bodies(thread)
    shown = "\n".join(one.content.partition("\n… ")[0] for one in bodies if one.content)
    files = [file for one in bodies for file in one.attachments]
    if len(files) > 1:
        return "TWICE"
    whole = "\n".join([shown, *(file.text.lstrip("\n") for file in files)])
    return "answered" if whole.strip() == digits(12000).strip() else "LOST"


@row
async def showing(case: Case) -> Outcome:
    """Send a diff."""
    case.meets("POST", rest.MESSAGES, has("```diff"))
    thread = await case.thread(case.asks("edit"))
    await case.over(thread)
    return case.said(thread, "```diff")


@row
async def typing(case: Case) -> Outcome:
    """Show that it types."""
    case.meets("POST", rest.TYPING)
    thread = await case.busy()
    await case.until(lambda: case.met[0].hits, "a sign of typing")
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread)
    return case.said(thread, "first\n⏹️ Cancelled.")


async def reacted(case: Case, message: Message) -> Outcome:
    thread = await case.thread(message)
    await case.over(thread)
    if case.said(thread, "reacted") != "answered":
        return case.said(thread, "reacted")
    return "answered" if message.shown_reactions == ["🆗"] else "lived"


@row
async def reacting(case: Case) -> Outcome:
    """React to the message."""
    case.meets("PUT", rest.REACTION)
    return await reacted(case, case.asks("say reacted"))


@row
async def unreacting(case: Case) -> Outcome:
    """Take a reaction off."""
    case.meets("DELETE", rest.REACTION)
    return await reacted(case, case.asks("say reacted"))


@row
async def renaming(case: Case) -> Outcome:
    """Rename the thread."""
    case.meets("PATCH", rest.CHANNEL)
    thread = await case.thread(case.asks("title A better name; say renamed"))
    await case.over(thread)
    rename = case.scene.chat._threads._tasks.get(str(thread.id))
    if rename is not None:
        await asyncio.wait_for(asyncio.wait([rename]), WAIT_SECONDS)
    if case.said(thread, "renamed") != "answered":
        return case.said(thread, "renamed")
    return "answered" if thread.name == "A better name" else "lived"


async def queued(case: Case) -> Outcome:
    thread = await case.busy()
    case.scene.ada.says(thread, "say second")
    await case.until(lambda: case.scene.house.row(str(thread.id)).queued == 1, "a queue")
    unnoted = any(fault.method == "POST" for fault in case.met) and case.fault in {"403", "404"}
    await case.until(lambda: "Queued" in case.scene.text(thread) or (unnoted and case.met[0].hits), "a note")
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread, 2)
    if case.said(thread, "second") != "answered":
        return case.said(thread, "second")
    return "lived" if unnoted or "Queued" in case.scene.text(thread) else "answered"


@row
async def noting(case: Case) -> Outcome:
    """Send a place in the queue."""
    case.meets("POST", rest.MESSAGES, has("Queued"))
    return await queued(case)


@row
async def unnoting(case: Case) -> Outcome:
    """Delete a place in the queue."""
    case.meets("DELETE", rest.MESSAGE)
    return await queued(case)


@row
async def finding(case: Case) -> Outcome:
    """Look up a thread."""
    world = case.server.world
    thread = Channel(world.snowflake(), state.PUBLIC_THREAD, "unheard of", case.scene.guild, case.channel, world.bot)
    world.add_channel(thread)
    case.mine.add(str(thread.id))
    case.meets("GET", rest.CHANNEL)
    case.scene.ada.says(thread, "say found")
    await case.until(lambda: case.met[0].hits, "a look")
    if case.fault in {"403", "404"}:  # it is nothing to us; what comes later is heard
        case.scene.ada.says(thread, "say heard")
        await case.until(lambda: case.scene.turns(thread), "a turn")
        await case.over(thread)
        return "lived" if case.said(thread, "heard") == "answered" else "LOST"
    await case.until(lambda: case.scene.turns(thread), "a turn")
    await case.over(thread)
    return case.said(thread, "found")


@row
async def remembering(case: Case) -> Outcome:
    """Look at an earlier life's message."""
    message = case.asks("say remembered")
    thread = await case.thread(message)
    await case.over(thread)
    case.meets("GET", rest.MESSAGE)
    await end_marks(case.scene.chat.outbox, case.scene.settings.reactions, str(case.channel.id), str(message.id))
    await case.over(thread)
    return "answered" if message.shown_reactions == ["😱"] else "lived"


@row
async def fetching(case: Case) -> Outcome:
    """Fetch a file."""
    case.meets("GET", rest.CDN)
    thread = await case.thread(case.asks("what", attachments={"notes.txt": "the milk"}))
    await case.over(thread)
    if "I did not pass on `notes.txt`: it could not be downloaded" in case.scene.text(thread):
        return "told" if case.said(thread, "I received") == "answered" else "LOST"
    return case.said(thread, "resource attachment:///notes.txt")


async def question(case: Case, text: str = "tool echo permitted") -> tuple[Channel, Message]:
    thread = await case.thread(case.asks(text))
    asked = await case.until(
        lambda: next((one for one in case.scene.bodies(thread) if one.buttons), None), "a question with buttons"
    )
    return thread, asked


async def permitted(case: Case, thread: Channel, asked: Message) -> Outcome:
    await case.over(thread)
    if case.said(thread, "The command completed: permitted") != "answered":
        return case.said(thread, "The command completed: permitted")
    await case.until(
        lambda: asked.content.startswith("✅ Allowed once") and not asked.buttons, "the end of the question"
    )
    return "answered"


@row
async def asking(case: Case) -> Outcome:
    """Ask with buttons."""
    case.meets("POST", rest.MESSAGES, lambda call: bool(call.body["components"]))
    thread, asked = await question(case)
    case.scene.ada.clicks(asked, label="✅ Allow once")
    return await permitted(case, thread, asked)


@row
async def clicking(case: Case) -> Outcome:
    """Answer a click."""
    thread, asked = await question(case)
    click = case.scene.ada.clicks(asked, label="✅ Allow once")
    case.mine.add(click.token)
    case.meets("POST", rest.CALLBACK)
    return await permitted(case, thread, asked)


@row
async def whispering(case: Case) -> Outcome:
    """Tell a clicker no."""
    thread, asked = await question(case)
    click = case.scene.bob.clicks(asked, label="✅ Allow once")
    case.mine.add(click.token)
    case.meets("POST", rest.CALLBACK)
    told = await answered(case, click)
    case.scene.ada.clicks(asked, label="✅ Allow once")
    done = await permitted(case, thread, asked)
    return told if done == "answered" else done


async def answered(case: Case, interaction: Any) -> Outcome:
    """Whether an interaction has been answered; where it can't be, Discord itself says so to the person."""
    await case.until(lambda: interaction.answered or case.met[0].hits, "an answer")
    if case.fault in {"403", "404"} and not interaction.answered:
        return "told"
    await case.until(lambda: interaction.answered, "an answer")
    return "answered"


@row
async def commanding(case: Case) -> Outcome:
    """Answer a command."""
    command = case.scene.ada.slash("status", {}, channel=case.channel)
    case.mine.add(command.token)
    case.meets("POST", rest.CALLBACK)
    return await answered(case, command)


@row
async def proposing(case: Case) -> Outcome:
    """Propose while typing."""
    command = case.scene.ada.autocompletes("agent", "name", "d", channel=case.channel)
    case.mine.add(command.token)
    case.meets("POST", rest.CALLBACK)
    return await answered(case, command)


async def slow(case: Case, method: str, route: str) -> Outcome:
    """A command that takes longer than Discord waits."""
    thread = await case.thread(case.asks("say first; ignore; hang"))
    await case.until(lambda: "I ignore" in case.scene.text(thread), "an agent that ignores all")
    command = case.scene.ada.slash("reset", {}, channel=thread)
    case.mine.add(command.token)
    case.meets(method, route)
    await case.until(lambda: case.met[0].hits, "an answer, or a try")
    await case.until(lambda: command.told or case.fault in {"403", "404"}, "an answer")
    return "answered" if command.told else "told"


@row
async def deferring(case: Case) -> Outcome:
    """Defer a command."""
    return await slow(case, "POST", rest.CALLBACK)


@row
async def completing(case: Case) -> Outcome:
    """Answer a deferred one."""
    return await slow(case, "PATCH", rest.ORIGINAL)


@row
async def explaining(case: Case) -> Outcome:
    """Explain an old button."""
    thread = await case.thread(case.asks("say old"))
    await case.over(thread)
    message = case.scene.bodies(thread)[0]
    click = case.scene.ada.sends_click(message, "acpbot:0123456789abcdef-1:0")
    case.mine.add(click.token)
    case.meets("POST", rest.FOLLOWUPS)
    await case.until(lambda: case.met[0].hits, "an explanation")
    await case.until(lambda: click.answered, "an answer")
    if case.fault in {"500 before", "429"}:
        await case.until(lambda: click.told, "an explanation")
    return "answered" if click.told.count("has ended already") == 1 else "lived"


# The calls that are made once a connection, and the one that takes a long outage.


@asynccontextmanager
async def at_start(tmp_path: Path, fault: str, met: list[Fault]) -> AsyncIterator[Scene]:
    def refuse(server: Any) -> None:
        for method, route in AT_START:
            met.append(arrange(server.faults, fault, method, route, lambda _call: True))

    async with staged(tmp_path, faults=refuse, registered=False) as scene:
        yield scene


async def starting(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """Logging in, and telling Discord of the commands."""
    met: list[Fault] = []
    async with at_start(tmp_path, fault, met) as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        outcome = "answered" if scene.text(thread) == "hello" else "LOST"
        put = scene.server.requests_to
        await scene.server.wait_for(lambda: [c for c in put("PUT", rest.COMMANDS) if c.finished], seconds=WAIT_SECONDS)
        if fault not in {"403", "404"}:
            await scene.server.wait_for(scene.server.commands, seconds=WAIT_SECONDS, what="the commands")
        commands = "answered" if scene.server.commands() else "lived"
        assert all(one.hits for one in met), "each call has met its fault"
    return {"log in": outcome, "learn the application": outcome, "register the commands": commands}


async def looking(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """A message that may stand or not, so long ago that its nonce is forgotten: the channel is looked at."""
    async with staged(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        scene.ada.says(thread, "tool true; edit")
        session = scene.pool.get(str(thread.id))
        await scene.server.wait_for(session.asks.all, what="a question")
        await scene.server.wait_for_message(thread, lambda one: one.buttons)
        lost = scene.server.faults.status(503, "POST", rest.MESSAGES, when="after", held=True)
        look = arrange(scene.server.faults, fault, "GET", rest.MESSAGES, lambda _call: True)
        scene.server.gateway.refuse()  # else it would tell that the message stands
        scene.server.gateway.cut()
        session.asks.all()[0].select("allow-once")
        await asyncio.wait_for(lost.arrived.wait(), WAIT_SECONDS)
        scene.clock.ahead += 200
        scene.server.channels.nonces.clear()
        lost.release()
        await scene.idle(thread, 2)
        assert look.hits, "the call has met its fault"
        scene.server.gateway.accept()
        count = scene.text(thread).count("```diff")
    return {"look for a lost message": ("LOST", "answered", "twice")[count]}


async def missing(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """What was written while there was no gateway session is read in the channel."""
    async with staged(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        here = str(thread.id)
        async with away(scene):
            scene.ada.says(thread, "say missed")
            faults = scene.server.faults
            read = arrange(faults, fault, "GET", rest.MESSAGES, lambda call: call.params["channel_id"] == here)
        scene.ada.says(thread, "say heard")
        await scene.says(thread, "heard", seconds=WAIT_SECONDS)
        assert read.hits, "the call has met its fault"
        said = [one.content for one in scene.bodies(thread) if "Queued" not in one.content]
        in_order = said in (["first", "missed", "heard"], ["first", "heard"])
    return {"read what was missed": ("lived", "answered", "TWICE")[said.count("missed")] if in_order else "LOST"}


async def column(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """Every call, met by this fault."""
    loud = Loud()
    logging.getLogger().addHandler(loud)
    try:
        limits = {"max_sessions": 2 * len(ROWS), "session": {"grace_seconds": 1.0}}
        # Three seconds for an answer are little where all happens at once, on a machine that has other things to do.
        patient = {"prompt": 0.5, "interaction_seconds": WAIT_SECONDS}
        async with staged(tmp_path / "all", unit=0.02, limits=limits, **patient) as scene:
            cases = {name: Case(scene, fault, name) for name in ROWS}
            outcomes = await asyncio.gather(*(ROWS[name](case) for name, case in cases.items()))
            for name, case in cases.items():
                assert sum(fault.hits for fault in case.met), f"{name} has met its fault"
            message = scene.asks("say and on we go")
            thread = await scene.server.wait_for(lambda: message.thread)
            await scene.says(thread, "and on we go")
            made = {(call.method, call.route) for call in scene.server.requests}
            covered = {(fault.method, fault.route) for case in cases.values() for fault in case.met}
            covered |= AT_START | AFTER_AN_OUTAGE
            assert made <= covered, f"calls without a row: {made - covered}"
        found = dict(zip(ROWS, outcomes, strict=True))
        found |= await starting(tmp_path / "start", fault)
        found |= await looking(tmp_path / "look", fault)
        found |= await missing(tmp_path / "miss", fault)
    finally:
        logging.getLogger().removeHandler(loud)
    assert loud.heard == [], f"no defect was logged: {loud.heard}"
    return found


class Loud(logging.Handler):
    """What is logged as a defect: a traceback, or anything of a level above a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno > logging.WARNING:
            self.heard.append(f"{record.name}: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


def table(columns: dict[str, dict[str, Outcome]]) -> str:
    """As plain text: calls down, faults across."""
    names = list(next(iter(columns.values())))
    width = max(map(len, names))
    lines = ["  ".join([" " * width, *(f"{fault:13}" for fault in columns)]).rstrip()]
    for name in names:
        cells = (f"{found[name]:13}" for found in columns.values())
        lines.append("  ".join([f"{name:{width}}", *cells]).rstrip())
    counts = Counter(outcome for found in columns.values() for outcome in found.values())
    return "\n".join([*lines, "", ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())])


async def _main() -> int:
    columns = {}
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            columns[fault] = await column(Path(folder), fault)
    print(table(columns))
    return int(any(outcome.isupper() for found in columns.values() for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
