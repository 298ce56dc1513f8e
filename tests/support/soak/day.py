"""A recorded day: people, agents and a daemon on a Discord of the tests, and what becomes of each message."""

from __future__ import annotations

import asyncio
import re
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord.people import is_system

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.discord.interactions import Interaction
    from tests.fakes.discord.people import Author
    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel, Message

Outcome = Literal["answered", "ended", "refused", "denied", "withdrawn"]
DONE, ERROR, DENIED = "🆗", "😱", "🚫"
PATIENCE = 90.0


@dataclass(eq=False)
class Prompt:
    """A message for the bot, and what became of it.

    ``outcome``: ``answered`` (to the end), ``ended`` (its turn was cut short, and a sentence says why), ``refused`` (a
    sentence says why), ``denied`` (by a person without access: 🚫 alone), ``withdrawn`` (deleted by its author).
    ``end``: the message with the last words of its answer.
    """

    message: Message
    text: str
    outcome: Outcome | None = None
    end: Message | None = None
    words: str = ""

    @property
    def place(self) -> Channel:
        """Where its answer is: the thread that it is in, or that was opened from it."""
        return self.message.thread or self.message.channel

    def __str__(self) -> str:
        return f"{self.message.author.name} in #{self.message.channel.name}: {self.text[:60]!r}"


class Day:
    """The server, the people, and the daemon as a process."""

    def __init__(self, server: DiscordServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.guild = server.make_guild("The company")
        names = ("general", "builder", "writer", "helper", "clerk", "project", "alerts")
        self.general, self.builder, self.writer, self.helper, self.clerk, self.project, self.alerts = (
            server.make_channel(self.guild, name) for name in names
        )
        self.forum = server.make_forum(self.guild, "questions")
        people = [server.make_user(name, self.guild) for name in ("ada", "bob", "cleo", "dan", "eve")]
        self.ada, self.bob, self.cleo, self.dan, self.eve = self.people = people
        self.mallory = server.make_user("mallory", self.guild)
        self.webhook = server.make_webhook("grafana")
        self.prompts: list[Prompt] = []
        self.interactions: list[Interaction] = []
        self._daemon: DaemonProcess | None = None

    # The daemon.

    @property
    def daemon(self) -> DaemonProcess:
        """The one that runs."""
        if self._daemon is None:
            raise AssertionError("no daemon runs")
        return self._daemon

    @property
    def log(self) -> str:
        """What all daemons of the day have logged."""
        return (self.folder / "daemon.log").read_text()

    async def start(self, config: str, *, days_later: float = 0) -> None:
        """Start a daemon, and wait until it is connected and its commands are there.

        ``days_later``: as if it were started so many days later.
        """
        later: dict[str, Any] = {"module": "tests.support.wrong_clock_daemon", "AHEAD": str(days_later * 86_400)}
        make = partial(DaemonProcess, self.folder, config, **(later if days_later else {}))
        self._daemon = await asyncio.to_thread(make)
        await self.server.wait_until_connected()
        await self.server.wait_for(self.server.commands, what="the commands")

    async def reload(self, config: str) -> None:
        """Have it read another configuration."""
        self.daemon.config.write_text(config)
        self.forget_reports()
        self.daemon.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(self.daemon.wait_for, b"RELOADING=1")
        await asyncio.to_thread(self.daemon.wait_for, b"READY=1")

    def forget_reports(self) -> None:
        """Forget what the daemon has reported so far: the queue for it is short, and full after a while (unix(7))."""
        self.daemon.messages()

    async def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """End it, and wait for its end; its exit status."""
        daemon, self._daemon = self.daemon, None
        try:
            return await asyncio.to_thread(daemon.stop, signum)
        finally:
            daemon.close()

    def close(self) -> None:
        """Kill what still runs."""
        if self._daemon is not None:
            self._daemon.close()

    # What people do.

    def says(self, who: Author, where: Channel, text: str, *, mention: bool | None = None, **more: Any) -> Prompt:
        """A message for the bot; it mentions the bot in a channel, and in a thread only with ``mention``."""
        mentions = not where.is_thread if mention is None else mention
        message = who.says(where, text, mentions=[self.server.bot] if mentions else [], **more)
        return self.counts(message, text)

    def counts(self, message: Message, text: str) -> Prompt:
        """Count a message among those that the bot must not lose."""
        prompt = Prompt(message, text)
        self.prompts.append(prompt)
        return prompt

    async def asks(self, who: Author, where: Channel, text: str, answer: str, **more: Any) -> Prompt:
        """A message and its whole answer, which ends with these words."""
        prompt = self.says(who, where, text, **more)
        await self.answered(prompt, answer)
        return prompt

    async def gives(
        self, who: Author, where: Channel, name: str, *words: str, options: dict[str, str] | None = None
    ) -> Interaction:
        """A slash command, and its answer, which holds these words."""
        given = who.slash(name, options or {}, channel=where)
        self.interactions.append(given)
        await self.server.wait_for_answer(given, seconds=PATIENCE)
        missing = [word for word in words if word.lower() not in given.answer_text.lower()]
        assert not missing, f"/{name} by {who.name} says {given.answer_text!r}, without {missing}"
        return given

    async def presses(self, who: Author, message: Message, label: str) -> Interaction:
        """Press the first button whose label fits this pattern, and wait for the answer to it."""
        labels = [str(item.get("label")) for item in message.buttons]
        wanted = next((one for one in labels if re.search(label, one, re.IGNORECASE)), None)
        assert wanted is not None, f"no button {label!r} below {message!r}: there are {labels}"
        pressed = who.clicks(message, label=wanted)
        self.interactions.append(pressed)
        await self.server.wait_for(lambda: pressed.answered, seconds=PATIENCE, what=f"an answer to {wanted!r}")
        return pressed

    async def selects(self, who: Author, message: Message, value: str) -> Interaction:
        """Select the first item of a menu whose label holds this, and wait for the answer to it."""
        menus = [item for row in message.components for item in row["components"] if item.get("options")]
        found = [(menu["custom_id"], one) for menu in menus for one in menu["options"] if value in one["label"]]
        assert found, f"no item {value!r} in the menus of {message!r}: {menus}"
        custom_id, item = found[0]
        selected = who.selects(message, custom_id, [item["value"]])
        self.interactions.append(selected)
        await self.server.wait_for(lambda: selected.answered, seconds=PATIENCE, what=f"an answer to {value!r}")
        return selected

    # What people see.

    def bodies(self, place: Channel) -> list[Message]:
        """The bot's messages that everybody sees there."""
        mine = self.server.messages_in(place, by=self.server.bot)
        return [one for one in mine if not is_system(one) and not one.ephemeral]

    async def sees(self, prompt: Prompt, words: str, *, seconds: float = PATIENCE) -> Message:
        """Wait for these words of the bot's, after a prompt and in its place, or in its channel."""

        def found() -> Message | None:
            bodies = self.bodies(prompt.place)
            if prompt.place is not prompt.message.channel:
                bodies = bodies + self.bodies(prompt.message.channel)
            after = (one for one in bodies if one.id > prompt.message.id)
            return next((one for one in after if words.lower() in one.content.lower()), None)

        message = await self.server.wait_for(found, seconds=seconds, what=f"{words!r} after {prompt}")
        assert message is not None
        return message

    async def sees_buttons(self, prompt: Prompt, label: str = "allow") -> Message:
        """Wait for a message with a button whose label fits this pattern."""

        def has_it(one: Message) -> bool:
            return any(re.search(label, str(item.get("label")), re.IGNORECASE) for item in one.buttons)

        def found() -> Message | None:
            after = (one for one in self.bodies(prompt.place) if one.id > prompt.message.id)
            return next((one for one in after if has_it(one)), None)

        message = await self.server.wait_for(found, seconds=PATIENCE, what=f"a button {label!r} after {prompt}")
        assert message is not None
        return message

    async def answered(self, prompt: Prompt, words: str) -> None:
        """Wait for the end of the answer, and for the reaction that says so."""
        prompt.end, prompt.words = await self.sees(prompt, words), words
        message = prompt.message
        what = f"{DONE} on {prompt}"
        await self.server.wait_for(lambda: message.shown_reactions == [DONE], seconds=PATIENCE, what=what)
        prompt.outcome = "answered"

    async def ended(self, prompt: Prompt, words: str) -> None:
        """Wait for the sentence that says why its turn was cut short, and for its last reaction."""
        prompt.end, prompt.words = await self.sees(prompt, words), words
        message = prompt.message
        what = f"the last reaction on {prompt}"
        over: tuple[list[str], ...] = ([], [ERROR])
        await self.server.wait_for(lambda: message.shown_reactions in over, seconds=PATIENCE, what=what)
        prompt.outcome = "ended"

    async def refused(self, prompt: Prompt, words: str) -> None:
        """Wait for the sentence that refuses it."""
        await self.sees(prompt, words)
        prompt.outcome = "refused"

    async def denied(self, prompt: Prompt) -> None:
        """Wait for the reaction that somebody without access gets."""
        message = prompt.message
        what = f"{DENIED} on {prompt}"
        await self.server.wait_for(lambda: message.shown_reactions == [DENIED], seconds=PATIENCE, what=what)
        prompt.outcome = "denied"

    async def thread_of(self, prompt: Prompt) -> Channel:
        """The thread that the bot opens from a message."""
        thread = await self.server.wait_for(lambda: prompt.message.thread, seconds=PATIENCE, what=f"a thread: {prompt}")
        assert thread is not None
        return thread
