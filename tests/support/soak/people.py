"""The people of the crash campaign: they write, they click, and they read the answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.soak.daemon_runs import until
from tests.support.soak.prompts import Kind, Prompt, any_kind, draft
from tests.support.soak.transcripts import Page, Reader, Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tests.fakes.discord.interactions import Interaction
    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel, Message
    from tests.support.soak.tally import Tally

UPDATED = 7
"""The type of an answer to an interaction that changes its message (Discord, interaction callback type)."""

_BUTTONS = {"allow": "Allow", "reject": "Reject"}


@dataclass(eq=False)
class PermissionRequest:
    """A message with buttons, and the run of the daemon that sent it. ``allowed``: somebody has pressed the first.

    ``stale_click`` is a press after that run; ``ran``: how often the tool had run by then.
    """

    message: Message
    number: int
    custom_id: str
    run: int
    click: Interaction | None = None
    clicked_in: int = -1
    allowed: bool = False
    stale_click: Interaction | None = None
    ran: int = 0

    @property
    def unanswered(self) -> bool:
        return self.click is None or not self.click.answered


class People:
    """One person in one channel and its threads.

    ``threads`` are in use, ``size`` of them or a few more; ``prompts`` are those of this cycle, ``all`` of all cycles.
    ``run`` is the number of the daemon's run, ``alive`` whether it goes on, ``ends`` how many have ended in this cycle,
    the last of them at ``last_end``, an id of that moment.
    ``generous``: people allow what they otherwise leave unanswered; ``brief``: they leave nothing unanswered.
    """

    def __init__(self, server: DiscordServer, tally: Tally, *, size: int) -> None:
        self.server = server
        self.tally = tally
        self.size = size
        self.guild = server.make_guild("home")
        self.channel = server.make_channel(self.guild, "general")
        self.ada = server.make_user("ada", self.guild)
        self.threads: list[Channel] = []
        self.all: list[Prompt] = []
        self.prompts: list[Prompt] = []
        self.asks: list[PermissionRequest] = []
        self.facts: dict[int, list[str]] = defaultdict(list)
        self.run = 0
        self.alive = False
        self.ends = 0
        self.last_end: int | None = None
        self.generous = False
        self.brief = False
        self.chance = random.Random(0)  # noqa: S311 - it chooses what a test does
        self.reader = Reader(server.bot)
        self._since = 0
        self._seen = 0
        self._views: dict[int, tuple[object, Thread]] = {}

    def next_cycle(self) -> None:
        """Begin a new cycle: all prompts have settled, and threads that were opened are in use."""
        opened = [one.thread for one in self.prompts if not one.message.channel.is_thread]
        self.threads += [thread for thread in opened if thread is not None]
        self._since = self.server.world.snowflake()
        self.last_end = None
        self.prompts, self.ends, self.generous = [], 0, False
        self._views.clear()

    # Writing.

    def write(self, where: Channel, kind: Kind | None = None) -> Prompt:
        """A message in a thread, or one in the channel that mentions the bot."""
        number = len(self.all) + 1
        kind = kind or any_kind(self.chance)
        if kind == "unanswered" and self.brief:
            kind = "tool"
        text, before, answer = draft(kind, number, self.chance)
        message = self.ada.says(where, text, mentions=[] if where.is_thread else [self.server.bot])
        prompt = Prompt(number, kind, text, before, answer, message, self.server.world)
        self.all.append(prompt)
        self.prompts.append(prompt)
        self.tally.prompts[kind] += 1
        self.tally.written_while_stopped += not self.alive
        return prompt

    def load(self) -> list[asyncio.Task[None]]:
        """People begin to write; each thread's script is a task."""
        chance = self.chance
        del self.threads[: max(0, len(self.threads) - self.size + int(chance.random() < 0.3))]
        opening = max(self.size - len(self.threads), int(chance.random() < 0.2))
        scripts: list[Coroutine[Any, Any, None]] = [
            self._script(thread, chance.randint(1, 4)) for thread in self.threads if chance.random() < 0.8
        ]
        scripts += [self._opening(chance.randint(0, 2)) for _ in range(opening)]
        return [asyncio.create_task(script) for script in scripts]

    async def _script(self, thread: Channel, count: int) -> None:
        """Some prompts at once, and perhaps some more while the first is being answered."""
        first, *_ = [self.write(thread) for _ in range(count)]
        for _ in range(self.chance.randint(0, 2)):
            await until(self.server, lambda: self.begun(first) or self.blocked(first))
            self.write(thread)

    async def _opening(self, count: int) -> None:
        """A mention opens a thread, in which more is written as soon as it is there."""
        first = self.write(self.channel)
        await until(self.server, lambda: first.thread)
        if first.thread is not None and count:
            await self._script(first.thread, count)

    def write_while_stopped(self) -> None:
        """Some messages at once, while no daemon runs."""
        chance, threads = self.chance, self.used()
        for _ in range(chance.randint(0, 4) if threads else 0):
            self.write(chance.choice(threads))
        if chance.random() < 0.25:
            self.write(self.channel)

    async def write_while_starting(self) -> None:
        """Some messages at a moment at which a daemon might miss them, or run them twice."""
        server, gateway, before = self.server, self.server.gateway, self.server.gateway.identifies
        moments: list[Callable[[], object]] = [
            lambda: server.requests,
            lambda: gateway.connections,
            lambda: gateway.identifies > before,
            lambda: gateway.connected,
        ]
        moment = self.chance.choice(moments)
        wanted = self.chance.randint(0, 2) if self.threads else 0
        if wanted:
            await until(server, moment)
        for _ in range(wanted):
            self.write(self.chance.choice(self.threads))

    # Clicking.

    async def click_until_cancelled(self) -> None:
        """Press each button that is meant to be pressed, as soon as it is there."""
        while True:
            self.see_asks()
            for ask in self.asks:
                if ask.run == self.run and ask.click is None and ask.message.asks:
                    self.click(ask)
            await self.server.world.change()

    def see_asks(self) -> None:
        """Note the questions that are new."""
        messages = self.server.messages
        for message in messages[self._seen :]:
            number = Page.of(message).asks if message.author is self.server.bot else None
            if number is not None:
                custom_id = message.versions[0].components[0]["components"][0]["custom_id"]
                self.asks.append(PermissionRequest(message, number, custom_id, self.run))
        self._seen = len(messages)

    def click(self, ask: PermissionRequest) -> None:
        """What the person means to do with this question."""
        click = self.all[ask.number - 1].click
        if click == "never" and self.generous:
            click = "allow"
        if click in _BUTTONS:
            ask.allowed, ask.clicked_in = click == "allow", self.run
            ask.click = self.ada.clicks(ask.message, label=_BUTTONS[click])
            self.tally.clicks += 1

    async def press_stale(self, runs: Callable[[int], int], seconds: float) -> list[Interaction]:
        """Press the buttons of earlier runs; returns the clicks that got no visible answer within so many seconds."""
        self.see_asks()
        pressed = []
        for ask in self.asks:
            if ask.run < self.run and ask.stale_click is None and ask.unanswered and not ask.message.deleted:
                ask.ran = runs(ask.number)
                ask.stale_click = self.ada.sends_click(ask.message, ask.custom_id)
                pressed.append(ask.stale_click)
        self.tally.stale_clicks += len(pressed)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until(self.server, lambda: all(map(_answered_visibly, pressed))), seconds)
        return [one for one in pressed if not _answered_visibly(one)]

    # Seeing.

    def used(self) -> list[Channel]:
        """The threads in use, and those that were opened or written in since."""
        written = [one.thread for one in self.prompts if one.thread is not None]
        return list(dict.fromkeys([*self.threads, *written]))

    def view(self, thread: Channel) -> Thread:
        """The thread of this cycle as it is now."""
        prompts = [one for one in self.prompts if one.thread is thread]
        pages = self.reader.pages(thread, since=self._since)
        key = (len(prompts), self.ends, [(page.message.id, len(page.message.versions)) for page in pages])
        known, view = self._views.get(thread.id, (None, None))
        if view is None or known != key:
            view = Thread(pages, prompts, ends=self.ends, last_end=self.last_end, facts=self.facts[thread.id])
            self._views[thread.id] = key, view
        return view

    def begun(self, prompt: Prompt) -> bool:
        """Whether a part of its answer is visible, or the question whether its tool may run."""
        if prompt.thread is None:
            return False
        view = self.view(prompt.thread)
        return bool(view.verdict(prompt).begun) or any(page.asks == prompt.number for page in view.pages)

    def open(self) -> list[Prompt]:
        """The prompts of this cycle that have neither an answer nor a notice."""
        notices = [page for page in self.reader.pages(self.channel, since=self._since) if page.notices]
        replied = [page.message.referenced for page in notices]
        return [
            one
            for one in self.prompts
            if (one.message not in replied if one.thread is None else self.view(one.thread).verdict(one).open)
        ]

    def blocked(self, prompt: Prompt) -> bool:
        """Whether it waits for a click that nobody makes, on its own question or on one before it."""
        waiting = [ask for ask in self.asks if ask.run == self.run and ask.click is None and ask.message.asks]
        never = [self.all[ask.number - 1] for ask in waiting]
        return any(one.thread is prompt.thread and one.message.id <= prompt.message.id for one in never)

    async def loaded(self, scripts: list[asyncio.Task[None]]) -> None:
        """Return when everything is written, and every prompt is answered that people do not leave waiting."""
        if scripts:
            await asyncio.wait(scripts)
        await until(self.server, lambda: all(self.blocked(one) for one in self.open()))

    async def settled(self) -> None:
        """Return when nothing is open."""
        await until(self.server, lambda: not self.open())


def _answered_visibly(interaction: Interaction) -> bool:
    """Whether the person sees an answer: words, or a changed message."""
    return interaction.answered and (interaction.response_type == UPDATED or bool(interaction.answer_text))
