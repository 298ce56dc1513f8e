"""Slash commands: their definitions, and the answer to each within Discord's three seconds.

Only the user of a command sees its answer. A command that takes longer is deferred, and answered when it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import discord
import msgspec
from discord import app_commands

from acpbot.aio import TaskSet, retry
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, author_of
from acpbot.chat.discord.inbound.agent_choice import unknown_text
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.interactions import registration
from acpbot.chat.discord.interactions.call import Call
from acpbot.chat.discord.interactions.close_command import CloseCommand
from acpbot.chat.discord.interactions.command_text import (
    AGENT_HELP,
    HELP,
    LEFT_LINE,
    NEXT_AGENT_HELP,
    THREAD_LEFT_LINE,
    not_yours_text,
    nothing_here_text,
    sessions_text,
)
from acpbot.chat.discord.interactions.export_command import ExportCommand
from acpbot.chat.discord.interactions.file_command import FileCommand
from acpbot.chat.discord.interactions.menus import Menu
from acpbot.chat.discord.interactions.option_commands import OptionCommands
from acpbot.chat.discord.interactions.respond import complete, defer, respond, show
from acpbot.chat.discord.interactions.resume_command import ResumeCommand
from acpbot.chat.discord.interactions.retry_command import RetryCommand
from acpbot.chat.discord.interactions.upload_slots import UploadSlots
from acpbot.chat.discord.outbound.rest import RequestRefused, Unreachable
from acpbot.chat.rendering.markdown import code
from acpbot.chat.thread_commands import (
    FRESH,
    NOT_WHILE_DRAINING,
    NOW_USED,
    RESET,
    SWITCHED,
    USED_ALREADY,
    CommandedEnds,
    status_text,
)
from acpbot.errors import SOMETHING_WRONG, AcpbotError, Draining, TooMany
from acpbot.logs import get_logger
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.inbound.agent_choice import NextAgents
    from acpbot.chat.discord.interactions.menus import Pressed
    from acpbot.chat.discord.last_prompts import LastPrompts
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.chat.platform import IncomingMessage
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session

log = get_logger(__name__)

PROMPT_SECONDS: Final = 1.5
"""An answer that takes longer is deferred; Discord waits 3 s for the first response."""

_CHOICES_MAX: Final = 25
_CHOICE_LENGTH: Final = 100
_ANSWER_LENGTH: Final = 2000

_REQUIRED: Final = frozenset({"file"})
"""The commands that say nothing without their options."""

_COMMANDS: Final = {
    "status": "See what the agent in this thread is doing",
    "cancel": "Stop the current answer",
    "close": "Stop the agent here and archive the thread; the conversation is kept",
    "reset": "Forget this conversation; the next message starts a new one",
    "model": "Show the agent's models, or pick one",
    "mode": "Show the agent's modes, or pick one",
    "options": "Show all the agent's options, such as effort, or set one",
    "agent": "Show the agents, or pick one for this thread or your next one",
    "retry": "Have the agent answer the last message again",
    "file": "Show a file from this thread's folder, only to you",
    "export": "Get this thread as a Markdown file, only for you",
    "sessions": "List your sessions",
    "help": "See what I can do, and the agent's own commands",
}
_RESUME: Final = {"resume": "Continue a conversation here that started elsewhere (admins only)"}
_CHOICES: Final = {
    "model": {"name": "The model"},
    "mode": {"name": "The mode"},
    "options": {"name": "The option", "value": "Its new value"},
    "agent": {"name": "The agent"},
    "file": {"path": "The file's path in this thread's folder"},
}
"""The options of commands that have some, with their descriptions."""


def definitions(*, dms: bool, resume: bool = False) -> list[dict[str, Any]]:
    """The commands as Discord registers them (https://discord.com/developers/docs/interactions/application-commands).

    Options and contexts: type 3 is a string; context 0 is a server, 1 a direct message with the bot.
    """
    made: list[dict[str, Any]] = []
    for name, description in (_COMMANDS | (_RESUME if resume else {})).items():
        options = [
            {"name": option, "description": what, "type": 3, "required": name in _REQUIRED, "autocomplete": True}
            for option, what in _CHOICES.get(name, {}).items()
        ]
        command = {"name": name, "description": description, "type": 1, "options": options}
        made.append({**command, "contexts": [0, 1] if dms else [0], "integration_types": [0]})
    return made


class SlashCommands:
    """Registers and answers them, for people who may use the bot in the channel.

    ``asker_of`` says who asked for the turn that runs in a thread, ``run_again`` queues a message as a turn.
    ``prompt``: seconds after which an answer is deferred. ``problem``: why the commands are not registered.
    """

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        channels: Channels,
        outbox: Outbox,
        threads: Threads,
        asker_of: Callable[[str], str | None],
        next_agents: NextAgents,
        last_prompts: LastPrompts,
        run_again: Callable[[IncomingMessage], int],
        prompt: float = PROMPT_SECONDS,
        on_crash: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._channels = channels
        self._outbox = outbox
        self._asker_of = asker_of
        self._next_agents = next_agents
        self._prompt = prompt
        self._options = OptionCommands(pool, outbox)
        self.ends = CommandedEnds(pool)
        self._closing = CloseCommand(pool, threads, self.ends)
        slots = UploadSlots()
        self._files = FileCommand(settings, pool, slots)
        self._exporting = ExportCommand(outbox, slots)
        self._retrying = RetryCommand(pool, last_prompts, run_again)
        self._resuming = ResumeCommand(settings, pool, outbox, self.ends)
        self._registering = TaskSet("discord commands", on_crash)
        self._answering = TaskSet("discord answers", on_crash)
        self._registered = False
        self.problem: str | None = None
        self._handlers: dict[str, Callable[[Call], Awaitable[str | Menu]]] = {
            "status": self._status,
            "cancel": self._cancel,
            "close": self._close,
            "reset": self._reset,
            "model": self._choose,
            "mode": self._choose,
            "options": self._choose,
            "agent": self._agent,
            "file": self._file,
            "retry": self._retry,
            "export": self._export,
            "sessions": self._sessions,
            "help": self._help,
            "resume": self._resume,
        }

    # Registering.

    def register(self, client: discord.Client) -> None:
        """Register the commands with Discord in the background, once for the process if Discord takes them."""
        if client.application_id is not None and not self._registered and not self._registering:
            self._registering.keep(partial(self._register, str(client.application_id)), name="register")

    async def _register(self, application_id: str) -> None:
        register = partial(registration.register, self._outbox.rest, application_id)
        body = definitions(dms=self._settings.discord.allow_dm, resume=self._settings.discord.allow_resume)
        try:
            await retry(partial(register, body), on=(Unreachable,), backoff=self._outbox.retries)
        except RequestRefused as error:
            self.problem = f"Discord refuses the slash commands: {operator_line(str(error))}; see the log, and restart"
            log.warning("commands_refused", error=str(error))
        else:
            self._registered, self.problem = True, None

    async def close(self) -> None:
        """Stop registering and answering."""
        await self._registering.cancel()
        await self._answering.cancel()

    # Answering.

    async def on_command(self, interaction: discord.Interaction) -> None:
        """Somebody has given a command, or is typing one and wants proposals."""
        call = self._call(interaction)
        if interaction.type is discord.InteractionType.autocomplete:
            proposals = await self._proposals(call)
            await respond(interaction, lambda: interaction.response.autocomplete(proposals))
        else:
            await self._answer(call, partial(self._run, call))

    async def on_menu(self, interaction: discord.Interaction, pressed: Pressed) -> None:
        """Somebody has selected something in a menu of an earlier answer, or pressed a button below it."""
        call = self._call(interaction)
        data: Any = interaction.data or {}
        values = [str(value) for value in data.get("values") or []]

        async def answer() -> str | Menu:
            if pressed.verb == "resume":
                refusal = self._resuming.refusal(call)
                if refusal is None and not self._known(call.thread_id):
                    return self._nothing_here(call)
                return refusal or await self._resuming.pressed(call, pressed, next(iter(values), ""))
            refusal = self._not_yours(call)
            return refusal or await self._options.pressed(call.thread_id, pressed, values, call.user_id)

        await self._answer(call, answer)

    def _call(self, interaction: discord.Interaction) -> Call:
        me = interaction.client.user
        return Call(interaction, self._channels.source_of(interaction.channel, "" if me is None else str(me.id)))

    async def _answer(self, call: Call, answer: Callable[[], Awaitable[str | Menu]]) -> None:
        """Send what ``answer`` returns: as a new message, or in the place of the menu that was used."""
        log.info("command", **call.fields)
        interaction = call.interaction
        work = self._answering.start(self._work(call, answer), name=call.name[:40])
        try:
            await asyncio.wait([work], timeout=self._prompt)
            if work.done():
                await show(interaction, work.result())
            elif await defer(interaction):
                await complete(interaction, await asyncio.shield(work), self._outbox.retries)
            else:
                await asyncio.wait([work])
        finally:
            if call.after_answer is not None:
                call.after_answer()

    async def _run(self, call: Call) -> str | Menu:
        handler = self._handlers.get(call.name)
        if handler is None:
            return f"I don't know /{call.name[:40]}. Try /help."
        if call.name == "cancel" and self._pool.withdraw_from_line(call.thread_id, call.user_id, by=call.user_id):
            return LEFT_LINE
        return (call.changes_session and self._not_yours(call)) or await handler(call)

    async def _work(self, call: Call, answer: Callable[[], Awaitable[str | Menu]]) -> Menu:
        try:
            answered = await answer()
        except AcpbotError as error:
            log.info("command_refused", **call.fields, reason=str(error))
            answered = refusal_text(error, call.user_id)
        except (Exception, asyncio.CancelledError):
            # Broad, because the person must get an answer whatever has failed, also where what the command waits for is
            # cancelled; the log has the traceback.
            log.exception("command_failed", **call.fields)
            answered = SOMETHING_WRONG
        menu = answered if isinstance(answered, Menu) else Menu(answered)
        if len(menu.text) <= _ANSWER_LENGTH:
            return menu
        return msgspec.structs.replace(menu, text=menu.text[: _ANSWER_LENGTH - 1] + "…")

    def _not_yours(self, call: Call) -> str | None:
        """Why the person may not change the thread's session; ``None`` where they may."""
        if not self._known(call.thread_id):
            return None
        asker_id = self._asker_of(call.thread_id)
        if access.may_control(self._settings.discord, author_of(call.interaction.user), call.source, asker_id):
            return None
        if call.changes_session or call.is_menu:
            log.info("command_denied", **call.fields)
        return not_yours_text(call.source.owner_id, asker_id)

    async def _proposals(self, call: Call) -> list[app_commands.Choice[str]]:
        if call.name == "file":
            may_see = self._known(call.thread_id) and self._not_yours(call) is None
            return _choices(await self._files.proposals(call) if may_see else [])
        if call.name == "agent":
            offered = [(name, name) for name in sorted(self._pool.agents)]
        elif call.name == "options":
            offered = self._options.proposals(call.thread_id, call.option if call.focused == "value" else None)
        else:
            offered = self._options.proposals(call.thread_id, call.name)
        typed = call.options.get(call.focused, "").lower()
        fits = [(name, value) for name, value in offered if typed in name.lower() or typed in value.lower()]
        return _choices(fits)

    # The commands.

    def _known(self, thread_id: str) -> bool:
        thread = self._pool.thread(thread_id)
        return thread is not None and thread.platform == PLATFORM

    @staticmethod
    def _is_ours(call: Call) -> bool:
        """Whether it is a thread that the bot takes part in, also one whose conversation is forgotten."""
        return call.source.is_thread and call.source.ours

    def _session(self, call: Call) -> Session | None:
        return self._pool.get(call.thread_id) if self._known(call.thread_id) else None

    def _nothing_here(self, call: Call) -> str:
        """The answer where the place has no conversation."""
        return nothing_here_text(self._settings.discord, call.source, call.name)

    async def _status(self, call: Call) -> str:
        if not self._known(call.thread_id):
            counts = self._pool.counts()
            return f"I'm online ({counts.sessions} of {counts.max} in use). {self._nothing_here(call)}"
        session, thread = self._session(call), self._pool.thread(call.thread_id)
        options = None if session is None else session.options
        return status_text(self._pool.row(call.thread_id), options, code, None if thread is None else thread.chosen)

    async def _cancel(self, call: Call) -> str:
        if not self._known(call.thread_id):
            return self._nothing_here(call)
        if self._pool.withdraw_from_line(call.thread_id, by=call.user_id):
            return THREAD_LEFT_LINE
        outcome = await self._pool.cancel(call.thread_id, by=call.user_id)
        return "⏹️ Stopping…" if outcome == "cancelled" else "Nothing is running here."

    async def _close(self, call: Call) -> str:
        thread = self._pool.thread(call.thread_id)
        if thread is None or not self._known(call.thread_id):
            return self._closing.archive(call) if self._is_ours(call) else self._nothing_here(call)
        return await self._closing.run(call, thread)

    async def _reset(self, call: Call) -> str:
        if not self._known(call.thread_id):
            if not self._is_ours(call):
                return self._nothing_here(call)
            self._channels.begin_anew(call.thread_id, call.interaction.id)  # its conversation has expired
            return FRESH
        text = RESET.format(f"<@{call.user_id}>")
        self._channels.begin_anew(call.thread_id, call.interaction.id)
        thread = self._pool.thread(call.thread_id)
        await self.ends.start_over(call.thread_id, text)
        if thread is not None and thread.agent != self._settings.now.agent_of(call.source.bound_id):
            self._next_agents.keep(call.thread_id, thread.agent)
        return FRESH

    async def _choose(self, call: Call) -> str | Menu:
        if not self._known(call.thread_id):
            return self._nothing_here(call)
        name = call.option if call.name == "options" else call.name
        value = call.value
        if value is None:
            return await self._options.show(call.thread_id, name, may_set=self._not_yours(call) is None)
        if name is None:
            return "Name the option too: `/options name: value:`"
        return await self._options.set(call.thread_id, name, value, call.user_id)

    async def _agent(self, call: Call) -> str:
        thread = self._pool.thread(call.thread_id)
        names = sorted(self._pool.agents)
        if call.option is None:
            current = thread.agent if thread is not None else self._next_agent(call)
            lines = [f"{'▶️' if name == current else '▫️'} {name}" for name in names]
            return "\n".join([*lines, AGENT_HELP if self._known(call.thread_id) else NEXT_AGENT_HELP])
        if call.option not in names:
            return unknown_text(call.option, names)
        if not self._known(call.thread_id):
            self._next_agents.choose(call.thread_id, call.user_id, call.option)
            is_channel = not (call.source.is_thread or call.source.is_dm)
            return f"Your next {'thread in this channel' if is_channel else 'message here'} will use `{call.option}`."
        if thread is not None and thread.agent == call.option:
            return USED_ALREADY.format(code(call.option))
        if self._pool.draining:  # the old session would be gone, and no new one could be started
            raise Draining(NOT_WHILE_DRAINING.format(action="change the agent"))
        text = SWITCHED.format(f"<@{call.user_id}>", code(call.option))
        if not await self.ends.start_over(call.thread_id, text, call.option):
            self._outbox.post(call.thread_id, text)
        with contextlib.suppress(TooMany):  # then the next message waits in line
            self._pool.ensure(call.thread_id, platform=PLATFORM, channel=call.source.bound_id)
        return NOW_USED.format(code(call.option))

    def _next_agent(self, call: Call) -> str:
        """The agent of the next conversation that the person begins here."""
        chosen = self._next_agents.get(call.thread_id, call.user_id)
        is_there = chosen is not None and chosen in self._pool.agents
        return str(chosen) if is_there else self._settings.now.agent_of(call.source.bound_id)

    async def _resume(self, call: Call) -> str | Menu:
        if (refusal := self._resuming.refusal(call)) is not None:
            return refusal
        return await self._resuming.show(call) if self._known(call.thread_id) else self._nothing_here(call)

    async def _retry(self, call: Call) -> str:
        return await self._retrying.run(call) if self._known(call.thread_id) else self._nothing_here(call)

    async def _file(self, call: Call) -> str | Menu:
        return await self._files.run(call) if self._known(call.thread_id) else self._nothing_here(call)

    async def _export(self, call: Call) -> str | Menu:
        is_ours = self._known(call.thread_id) or self._is_ours(call)
        return await self._exporting.run(call) if is_ours else self._nothing_here(call)

    async def _sessions(self, call: Call) -> str:
        rows = self._pool.rows(suspended=True)
        return sessions_text([row for row in rows if row.platform == PLATFORM and row.owner == call.user_id])

    async def _help(self, call: Call) -> str:
        session = self._session(call)
        own = () if session is None else session.options.commands
        names = ", ".join(f"`/{name[:40]}`" for name in own[:40])
        return f"{HELP}\nThe agent's own commands (send them as ordinary messages): {names}" if names else HELP


def _choices(proposals: list[tuple[str, str]]) -> list[app_commands.Choice[str]]:
    """The names and values that Discord proposes."""
    return [
        app_commands.Choice(name=name[:_CHOICE_LENGTH], value=value)
        for name, value in proposals[:_CHOICES_MAX]
        if len(value) <= _CHOICE_LENGTH
    ]
