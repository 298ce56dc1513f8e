"""Slash commands: their definitions, who may use them, and the answer to each within Discord's three seconds.

Only the user of a command sees its answer. A command that takes longer is deferred, and answered when it is done.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands

from acpbot.aio import TaskSet, retry
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, author_of
from acpbot.chat.discord.interactions.command_text import (
    AGENT_HELP,
    HELP,
    NO_SESSION,
    NOT_HERE,
    UNASKED,
    choices_text,
    sessions_text,
    status_text,
)
from acpbot.chat.discord.interactions.respond import complete, respond, whisper
from acpbot.chat.discord.outbound.rest import RequestRefused, Unreachable
from acpbot.errors import AcpbotError, Draining, InvalidParams
from acpbot.logs import get_logger
from acpbot.sessions.views import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session

log = get_logger(__name__)

PROMPT_SECONDS: Final = 1.5
"""An answer that takes longer is deferred; Discord waits 3 s for the first response."""

_CHOICES_MAX: Final = 25
_CHOICE_LENGTH: Final = 100
_ANSWER_LENGTH: Final = 2000
_INTERNAL: Final = "I could not do that: internal error, see the log."


_COMMANDS: Final = {
    "status": "What the agent in this thread is doing",
    "cancel": "Stop the running turn; the session stays",
    "reset": "End this thread's session and forget it; the next message starts a new one",
    "model": "Show the agent's models, or choose one",
    "mode": "Show the agent's modes, or choose one",
    "agent": "Show the agents, or start this thread over with another one",
    "sessions": "Your sessions",
    "help": "What I can do, and the agent's own commands",
}
_CHOICES: Final = {"model": "The model", "mode": "The mode", "agent": "The agent"}
"""The description of the option ``name``, by commands that have one."""


def definitions(*, dms: bool) -> list[dict[str, Any]]:
    """The commands as Discord registers them (https://discord.com/developers/docs/interactions/application-commands).

    Options and contexts: type 3 is a string; context 0 is a server, 1 a direct message with the bot.
    """
    made: list[dict[str, Any]] = []
    for name, description in _COMMANDS.items():
        command: dict[str, Any] = {"name": name, "description": description, "type": 1, "options": []}
        if name in _CHOICES:
            option = {"name": "name", "description": _CHOICES[name], "type": 3, "required": False, "autocomplete": True}
            command["options"].append(option)
        made.append({**command, "contexts": [0, 1] if dms else [0], "integration_types": [0]})
    return made


class SlashCommands:
    """Registers and answers them. Each command must pass the same access checks as a message.

    ``prompt``: seconds after which an answer is deferred.
    """

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        channels: Channels,
        outbox: Outbox,
        prompt: float = PROMPT_SECONDS,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._channels = channels
        self._outbox = outbox
        self._prompt = prompt
        self._ending: dict[str, str] = {}
        self._registering = TaskSet("discord commands")
        self._registered = False
        self._handlers: dict[str, Callable[[_Call], Awaitable[str]]] = {
            "status": self._status,
            "cancel": self._cancel,
            "reset": self._reset,
            "model": self._choose,
            "mode": self._choose,
            "agent": self._agent,
            "sessions": self._sessions,
            "help": self._help,
        }

    def end_text(self, thread_id: str) -> str | None:
        """The text about a session's end, in place of the usual one, where a command has ended it; given once."""
        return self._ending.pop(thread_id, None)

    # Registering.

    def register(self, client: discord.Client) -> None:
        """Register the commands with Discord in the background, once for the process if Discord takes them."""
        if client.application_id is not None and not self._registered and not self._registering:
            self._registering.start(self._register(str(client.application_id)), name="register")

    async def _register(self, application_id: str) -> None:
        body = definitions(dms=self._settings.discord.allow_dm)
        path = "/applications/{application_id}/commands"
        put = partial(self._outbox.rest.call, "PUT", path, body, application_id=application_id)
        try:
            await retry(put, on=(Unreachable,), backoff=self._outbox.retries)
        except RequestRefused as error:
            log.warning("commands_refused", error=str(error))
        else:
            self._registered = True

    async def close(self) -> None:
        """Stop registering."""
        await self._registering.cancel()

    # Answering.

    async def on_command(self, interaction: discord.Interaction) -> None:
        """Somebody has given a command, or is typing one and wants proposals."""
        me = interaction.client.user
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        call = _Call(interaction, source.channel_id)
        allowed = access.is_allowed(self._settings.discord, author_of(interaction.user), source)
        if interaction.type is discord.InteractionType.autocomplete:
            proposals = self._proposals(call) if allowed else []
            await respond(interaction, lambda: interaction.response.autocomplete(proposals))
        elif not allowed:
            log.info("command_denied", **call.fields)
            await whisper(interaction, NOT_HERE)
        else:
            await self._answer(call)

    async def _answer(self, call: _Call) -> None:
        log.info("command", **call.fields)
        interaction = call.interaction
        work = asyncio.create_task(self._work(call), name=f"discord /{call.name}")
        await asyncio.wait([work], timeout=self._prompt)
        if work.done():
            await whisper(interaction, work.result())
        elif await respond(interaction, lambda: interaction.response.defer(ephemeral=True, thinking=True)):
            await complete(interaction, await work, self._outbox.retries)
        else:
            await work

    async def _work(self, call: _Call) -> str:
        handler = self._handlers.get(call.name)
        if handler is None:
            return f"I do not know /{call.name[:40]}; see /help."
        try:
            words = await handler(call)
        except AcpbotError as error:
            words = f"{error}."
        except Exception:
            # Broad, because the person must get an answer whatever has failed; the log has the traceback.
            log.exception("command_failed", **call.fields)
            words = _INTERNAL
        return words if len(words) <= _ANSWER_LENGTH else words[: _ANSWER_LENGTH - 1] + "…"

    def _proposals(self, call: _Call) -> list[app_commands.Choice[str]]:
        if call.name == "agent":
            offered = [(name, name) for name in sorted(self._pool.agents)]
        else:
            session = self._pool.get(call.thread_id)
            choices = [] if session is None else session.options.choices(call.name)
            offered = [(choice.name, choice.value) for choice in choices]
        typed = (call.option or "").lower()
        fits = [(name, value) for name, value in offered if typed in name.lower() or typed in value.lower()]
        return [
            app_commands.Choice(name=name[:_CHOICE_LENGTH], value=value)
            for name, value in fits[:_CHOICES_MAX]
            if len(value) <= _CHOICE_LENGTH
        ]

    # The commands.

    def _known(self, thread_id: str) -> bool:
        thread = self._pool.thread(thread_id)
        return thread is not None and thread.platform == PLATFORM

    def _session(self, call: _Call) -> Session | None:
        return self._pool.get(call.thread_id) if self._known(call.thread_id) else None

    async def _status(self, call: _Call) -> str:
        if not self._known(call.thread_id):
            counts = self._pool.counts()
            return f"I am here. {counts.sessions} of {counts.max} sessions run, {counts.busy} busy. {NO_SESSION}"
        session = self._session(call)
        return status_text(self._pool.row(call.thread_id), None if session is None else session.options)

    async def _cancel(self, call: _Call) -> str:
        if not self._known(call.thread_id):
            return NO_SESSION
        outcome = await self._pool.cancel(call.thread_id)
        return "⏹️ The agent was asked to stop." if outcome == "cancelled" else "Nothing is running here."

    async def _reset(self, call: _Call) -> str:
        if not self._known(call.thread_id):
            return NO_SESSION
        text = f"<@{call.user_id}> has reset this session. The next message starts a new one."
        ended = await self._end(call.thread_id, text)
        return "Done: the session was ended and forgotten." if ended else "Done: nothing is remembered."

    async def _end(self, thread_id: str, text: str) -> bool:
        """End the thread's session and forget it; whether there was one."""
        session = self._pool.get(thread_id)
        if session is None:
            self._pool.forget(thread_id)
            return False
        self._ending[thread_id] = text
        try:
            await self._pool.kill([Target(thread_id=thread_id, session_id=session.session_id)], forget=True)
        finally:
            self._ending.pop(thread_id, None)
        return True

    async def _choose(self, call: _Call) -> str:
        session = self._session(call)
        if session is None:
            return f"No agent runs here now, so there is no {call.name} to choose; send a message first."
        if call.option is None:
            return choices_text(call.name, session.options.choices(call.name))
        choices = session.options.choices(call.name)
        value = next((c.value for c in choices if call.option in {c.value, c.name}), call.option)
        await session.choose(call.name, value)
        if call.name == "mode" and session.options.unasked is not None:  # it concerns everybody in the thread
            self._outbox.post(call.thread_id, f"<@{call.user_id}> switched the mode to `{value[:100]}`. {UNASKED}")
        return f"The {call.name} is `{value[:200]}` now."

    async def _agent(self, call: _Call) -> str:
        thread = self._pool.thread(call.thread_id)
        names = sorted(self._pool.agents)
        if call.option is None:
            current = None if thread is None else thread.agent
            lines = [f"{'▶️' if name == current else '▫️'} {name}" for name in names]
            return "\n".join([*lines, AGENT_HELP])
        if call.option not in names:
            raise InvalidParams(f"cannot use agent {call.option[:40]!r}: the agents are {', '.join(names)}")
        if not self._known(call.thread_id):
            return NO_SESSION
        if thread is not None and thread.agent == call.option:
            return f"This thread uses `{call.option}` already."
        if self._pool.draining:  # the old session would be gone, and no new one could be started
            raise Draining("cannot change the agent: acpbot is about to stop or restart; try again in a moment")
        text = f"<@{call.user_id}> has changed the agent to `{call.option}`: it starts afresh."
        owner = None if thread is None else thread.owner
        if not await self._end(call.thread_id, text):
            self._outbox.post(call.thread_id, text)
        self._pool.ensure(call.thread_id, platform=PLATFORM, owner=owner, agent=call.option)
        return f"Done: `{call.option}` works in this thread from now on."

    async def _sessions(self, call: _Call) -> str:
        rows = self._pool.rows(suspended=True)
        return sessions_text([row for row in rows if row.platform == PLATFORM and row.owner == call.user_id])

    async def _help(self, call: _Call) -> str:
        session = self._session(call)
        own = [] if session is None else [str(command.get("name", "")) for command in session.options.commands]
        names = ", ".join(f"`/{name[:40]}`" for name in own[:40] if name)
        return f"{HELP}\nThe agent's own commands, as plain messages: {names}" if names else HELP


class _Call:
    """One command, as it was given."""

    def __init__(self, interaction: discord.Interaction, thread_id: str) -> None:
        data: Any = interaction.data or {}
        options: list[dict[str, Any]] = data.get("options") or []
        self.interaction = interaction
        self.thread_id = thread_id
        self.user_id = str(interaction.user.id)
        self.name = str(data.get("name", ""))
        self.option: str | None = next((str(option.get("value")) for option in options), None)

    @property
    def fields(self) -> dict[str, str]:
        """For the log."""
        return {"command": self.name, "user": self.user_id, "thread": self.thread_id}
