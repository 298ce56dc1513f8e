"""Discord as a :class:`~acpbot.chat.platform.ChatPlatform`: what the conversations of its threads need."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from discord.abc import PrivateChannel

from acpbot.aio import TaskSet
from acpbot.chat.conversation import Conversations
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, own_role_id
from acpbot.chat.discord.discord_time import time_of
from acpbot.chat.discord.gateway.places import missing_permissions
from acpbot.chat.discord.inbound import agent_choice, content
from acpbot.chat.discord.inbound.content import defuse
from acpbot.chat.discord.inbound.reader import MessageReader
from acpbot.chat.discord.inbound.recheck import RECHECK_SECONDS, AccessRecheck
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.interactions.turn_buttons import TurnButtons
from acpbot.chat.discord.outbound.diff_poster import DiffPoster
from acpbot.chat.discord.outbound.file_poster import FilePoster
from acpbot.chat.discord.outbound.queue_note import QueueNote
from acpbot.chat.discord.outbound.reactions import ReactionEvent, ReactionUpdater, end_reactions
from acpbot.chat.discord.outbound.rest import FORBIDDEN, LOCKED, NOT_FOUND, RequestRefused
from acpbot.chat.discord.turn_view import LIMIT, DiscordTurnView
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.header import LINES_MAX
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.markdown import plain
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import discord

    from acpbot.acp.schema import PromptCapabilities
    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.inbound.recheck import AskedBy
    from acpbot.chat.discord.interactions.commands import SlashCommands
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
    from acpbot.chat.discord.interactions.send_now_button import SendNowButtons
    from acpbot.chat.discord.interactions.stop_button import StopButtons
    from acpbot.chat.discord.interactions.tool_output import ToolOutputs, TurnOutput
    from acpbot.chat.discord.last_prompts import LastPrompts
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.errors import WireError
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.views import Reason

log = get_logger(__name__)

NO_IMAGES: Final = "This agent can't read images, and there's nothing else in this message."
_DELETED_MAX: Final = 200


class Stage(enum.Enum):
    """How far a message is: it passes these stages in this order, but may leave some out."""

    PREPARING = enum.auto()
    """Its thread is opened and its files are downloaded."""
    QUEUED = enum.auto()
    """Its turn waits: an edit or a deletion still changes it."""
    RUNNING = enum.auto()
    ENDED = enum.auto()
    """Its turn is over, run or not."""


class PendingMessage:
    """All that is known of one message.

    ``key``: the message's id. ``text``: what it says, edits included. ``view`` is there from QUEUED on.
    ``refused``: it may not run. ``interrupted``: its turn was cut short because the daemon stops. ``missed``: it was
    found in a channel's history. ``asked_by`` is ``None`` after a restart.
    """

    __slots__ = ("asked_by", "deleted", "interrupted", "key", "missed", "reactions", "refused", "stage", "text", "view")

    def __init__(self, key: str, text: str, *, missed: bool = False) -> None:
        self.key = key
        self.text = text
        self.missed = missed
        self.stage = Stage.PREPARING
        self.asked_by: AskedBy | None = None
        self.deleted = False
        self.interrupted = False
        self.refused = False
        self.reactions: ReactionUpdater | None = None
        self.view: DiscordTurnView | None = None


class PendingMessages:
    """People's messages from when the bot accepts them until their turns have ended: ``by_key``, by their ids.

    ``recently_deleted``: the ids of messages of anybody that were deleted; of more than 200 the first are forgotten.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.by_key: dict[str, PendingMessage] = {}
        self.recently_deleted: deque[str] = deque(maxlen=_DELETED_MAX)

    def discard(self, message: PendingMessage) -> None:
        """Forget a message; one whose turn was interrupted is kept for :meth:`was_interrupted`."""
        if not message.interrupted and self.by_key.get(message.key) is message:
            del self.by_key[message.key]

    @staticmethod
    def on_started(message: PendingMessage, _view: DiscordTurnView) -> None:
        """The message's turn runs."""
        message.stage = Stage.RUNNING

    def on_over(self, message: PendingMessage, view: DiscordTurnView) -> None:
        """The message's turn is over. It is pending until this step of the event loop ends, for :meth:`report_end`."""
        message.stage = Stage.ENDED
        stopped = view.end is not None and view.end.stop_reason in {"cancelled", "error"}
        message.interrupted = self._pool.stopping and stopped
        asyncio.get_running_loop().call_soon(self.discard, message)

    def report_end(self, thread_id: str, usual: str, text: str) -> bool:
        """Whether the view of a turn that has just ended posts ``text``; see :meth:`DiscordTurnView.takes_report`."""
        views = [message.view for message in self.by_key.values() if message.stage is Stage.ENDED]
        here = [view for view in views if view is not None and view.thread_id == thread_id]
        taken = [view.takes_report(usual, text) for view in here]
        return any(taken)

    def asker_of(self, thread_id: str) -> str | None:
        """Who asked for the turn that runs in a thread; ``None`` where none runs, or nobody of Discord asked for it."""
        for message in self.by_key.values():
            if message.stage is Stage.RUNNING and message.view is not None and message.view.thread_id == thread_id:
                return message.view.incoming.owner or None
        return None

    def was_interrupted(self, thread_id: str) -> bool:
        """Whether the stop of the daemon has cut a turn of this thread short."""
        return any(
            message.interrupted and message.view is not None and message.view.thread_id == thread_id
            for message in self.by_key.values()
        )


def undelivered_text(thread_id: str, asker_id: str, error: RequestRefused, missing: Sequence[str]) -> str:
    """What a channel says of an answer in one of its threads that Discord refuses there.

    ``missing``: the permissions that the bot lacks in the thread, by name.
    """
    if error.code in LOCKED:
        why = "it's locked. Unlock it and ask again"
    elif missing:
        names = ", ".join(f"**{name}**" for name in missing)
        noun, it = ("this permission", "it") if len(missing) == 1 else ("these permissions", "them")
        why = f"I need {noun}: {names}. Grant {it} and ask again"
    else:
        why = "I'm not allowed to write there. Ask an admin of this server to check my permissions"
    who = f"<@{asker_id}> " if asker_id else ""
    return f"😱 {who}I couldn't post my whole answer in <#{thread_id}> because {why}."


class _Conversations(Conversations):
    """A thread learns of a stop of the daemon only where it interrupts a turn: there are too many idle threads."""

    def __init__(self, pool: Pool, port: DiscordPlatform, settings: CurrentSettings, messages: PendingMessages) -> None:
        super().__init__(pool, port, new_message=self._new_message, attaches_files=True)
        self._settings = settings
        self._messages = messages
        self.started_fresh: set[str] = set()
        """Threads whose conversation could not be resumed, until the next turn of each."""

    def session_started_fresh(self, thread_id: str) -> None:
        """Say so in the thread; the agent gets what was written there."""
        self.started_fresh.add(thread_id)
        super().session_started_fresh(thread_id)

    def _new_message(self, full_bodies: int) -> LiveMessage:
        """A live message of an answer that has so many full messages already."""
        discord, markdown = self._settings.discord, self._settings.markdown
        return LiveMessage(
            limit=LIMIT,
            max_bodies=max(discord.answer_messages - full_bodies, 1),
            tool_display=discord.tool_display,
            tables=markdown.tables,
            clock=time.monotonic,
            thoughts=discord.thoughts == "subtext",
        )

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """Say in the thread how its session ended, where that matters there."""
        if reason != "stopped" or self._messages.was_interrupted(thread_id):
            super().session_ended(thread_id, reason, detail, resumable=resumable)


class DiscordPlatform:
    """Makes the views of turns, and revises or withdraws messages whose turns do not run yet."""

    platform = PLATFORM
    limits_people = True

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        messages: PendingMessages,
        channels: Channels,
        threads: Threads,
        commands: SlashCommands,
        prompts: PermissionPrompts,
        questions: QuestionPrompts,
        outputs: ToolOutputs,
        last_prompts: LastPrompts,
        stops: StopButtons,
        send_now: SendNowButtons,
        outbox: Outbox,
        on_crash: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._messages = messages
        self._channels = channels
        self._threads = threads
        self._commands = commands
        self._prompts = prompts
        self._questions = questions
        self._outputs = outputs
        self._last_prompts = last_prompts
        self._stops = stops
        self._send_now = send_now
        self._outbox = outbox
        self._access = AccessRecheck(settings, outbox)
        self._reader = MessageReader(settings, pool, channels, outbox)
        self._on_crash = on_crash
        self._tasks = TaskSet("discord platform", on_crash)
        self.conversations = _Conversations(pool, self, settings, messages)

    async def close(self) -> None:
        """Cancel what runs in the background."""
        await self._tasks.cancel()

    # ChatPlatform.

    def turn_view(self, incoming: IncomingMessage) -> DiscordTurnView:
        """The view of this message's turn."""
        message = self._messages.by_key.setdefault(incoming.key, PendingMessage(incoming.key, incoming.text))
        is_operators = bool(incoming.operator)
        # It was queued before a restart. The key of an operator's prompt, also of one repeated, is no message's.
        recovered = message.reactions is None and incoming.key.isdecimal()
        if recovered:
            channel_id = incoming.origin or incoming.thread_id
            settings = self._settings.reactions
            message.reactions = ReactionUpdater(self._outbox, settings, channel_id, incoming.key, again=True)
        message.stage = Stage.QUEUED
        output = self._output()
        message.view = DiscordTurnView(
            incoming,
            outbox=self._outbox,
            reactions=message.reactions,
            prompts=self._prompts,
            questions=self._questions,
            diffs=self._diffs(incoming.thread_id),
            files=FilePoster(self._outbox, incoming.thread_id),
            output=output,
            buttons=TurnButtons(self._stops.of_turn(incoming.thread_id, incoming.owner), output),
            note=None if is_operators else QueueNote(incoming, self._outbox, self._send_now),
            footer=self._settings.discord.footer,
            pings=self._pings(message, incoming),
            notify_after=lambda: self._settings.discord.notify_after_seconds,
            deleted=self._messages.recently_deleted,
            turn_started=partial(self._on_started, message),
            turn_over=partial(self._on_over, message),
            undelivered=self._report_undelivered,
            on_crash=self._on_crash,
        )
        if recovered:
            message.view.answer_by_reply()
        if is_operators:  # whoever may answer an agent's requests
            thread = self._pool.thread(incoming.thread_id)
            message.view.asker_id = (None if thread is None else thread.owner) or ""
        return message.view

    @staticmethod
    def _pings(message: PendingMessage, incoming: IncomingMessage) -> str | None:
        """Whom the turn may notify: not a program, and nobody where an operator asks."""
        by_program = message.asked_by is not None and message.asked_by.author.is_program
        return None if by_program or incoming.operator else incoming.owner

    def unprompted_view(self, thread_id: str) -> DiscordTurnView:
        """What shows a text, or a request, of the agent while no turn runs: to the thread's owner."""
        thread = self._pool.thread(thread_id)
        owner = None if thread is None else thread.owner
        output = self._output()
        return DiscordTurnView(
            IncomingMessage(thread_id=thread_id, text="", owner=owner or ""),
            outbox=self._outbox,
            reactions=None,
            prompts=self._prompts,
            questions=self._questions,
            diffs=self._diffs(thread_id),
            files=FilePoster(self._outbox, thread_id),
            output=output,
            buttons=TurnButtons(None, output),
            note=None,
            footer=False,
            pings=owner,
            notify_after=lambda: 0.0,
            deleted=self._messages.recently_deleted,
            turn_started=lambda _view: None,
            turn_over=lambda _view: None,
            undelivered=self._report_undelivered,
            on_crash=self._on_crash,
        )

    def _output(self) -> TurnOutput | None:
        display = self._settings.discord.tool_display
        return None if display == "none" else self._outputs.of_turn(lines=LINES_MAX if display == "full" else 0)

    def _on_started(self, message: PendingMessage, view: DiscordTurnView) -> None:
        self._messages.on_started(message, view)
        self._last_prompts.keep(view.incoming)

    def _on_over(self, message: PendingMessage, view: DiscordTurnView) -> None:
        failed = view.end is not None and view.end.stop_reason == "error"
        if failed and message.stage is Stage.QUEUED and not (message.deleted or message.refused):
            self._last_prompts.keep(view.incoming)  # its agent could not start, for instance
        self._messages.on_over(message, view)

    def _diffs(self, thread_id: str) -> DiffPoster | None:
        show = self._settings.discord.tool_display == "full"
        return DiffPoster(self._outbox, self._pool, thread_id) if show else None

    def _report_undelivered(self, view: DiscordTurnView, error: RequestRefused) -> None:
        """Say in the parent channel that a thread takes no messages, unless the thread is gone."""
        client = self._outbox.rest.client
        thread = None if client is None else client.get_channel(int(view.thread_id))
        missing = missing_permissions(thread)
        fields = {"thread": view.thread_id, "user": view.asker_id, "missing": ", ".join(missing) or "-"}
        log.warning("answer_undelivered", **fields, error=str(error))
        parent = self._channels.parent_of(view.thread_id)
        if parent is not None and (error.status == FORBIDDEN or error.code in LOCKED):
            self._outbox.post(parent, undelivered_text(view.thread_id, view.asker_id, error, missing))

    def adapt_blocks(
        self, incoming: IncomingMessage, blocks: list[dict[str, Any]], capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """The prompt's blocks as far as the agent takes them; the thread learns what is left out."""
        taken = content.fit(blocks, capabilities)
        if taken.notes:
            self._outbox.post(incoming.thread_id, "\n".join(taken.notes)[:2000])
        return taken.blocks

    async def recheck(self, incoming: IncomingMessage, *, recovered: bool) -> str | None:
        """Why a message whose turn has come may not run; one that waited over a restart is revised or withdrawn."""
        if incoming.operator:
            return None
        found = await self._changed(incoming) if recovered and incoming.key.isdecimal() else None
        message = self._messages.by_key.get(incoming.key)
        if message is not None and message.deleted:
            return None
        refusal = await self._access.refusal(incoming, None if message is None else message.asked_by, found)
        current = incoming if message is None or message.view is None else message.view.incoming
        refusal = refusal or self._unreadable(current)
        if message is not None:
            message.refused = refusal is not None
        if refusal is None and current.thread_id in self.conversations.started_fresh:
            self.conversations.started_fresh.discard(current.thread_id)
            past = await self._reader.past_of(current)
            if message is not None and message.view is not None and current.context and past:
                current = message.view.incoming  # an edit may have come meanwhile
                context = content.with_more(current.context, past)
                message.view.incoming = self.conversations.revise(current, current.text, context=context) or current
        return refusal

    def _unreadable(self, incoming: IncomingMessage) -> str | None:
        """Why there is nothing to do: the message has only images, and the agent that has started takes none."""
        session = self._pool.get(incoming.thread_id)
        if not incoming.only_files or incoming.text or session is None or session.agent is None:
            return None
        taken = content.fit(incoming.blocks, session.agent.capabilities.prompt_capabilities)
        return None if taken.blocks else NO_IMAGES

    async def lost_access(self, incoming: IncomingMessage) -> str | None:
        """A sentence where the message's author may not use the bot here any more, by the settings in force."""
        if incoming.operator:
            return None
        message = self._messages.by_key.get(incoming.key)
        return await self._access.lost(incoming, None if message is None else message.asked_by)

    async def _changed(self, incoming: IncomingMessage) -> dict[str, Any] | None:
        """Revise or withdraw a message if its author edited or deleted it meanwhile; the message as it is now.

        It runs as it was queued where Discord does not answer in time.
        """
        channel_id = incoming.origin or incoming.thread_id
        try:
            async with asyncio.timeout(RECHECK_SECONDS):
                found = await self._outbox.message(channel_id, incoming.key)
        except TimeoutError:
            log.info("message_recheck_timed_out", thread=incoming.thread_id, message=incoming.key)
            return None
        except RequestRefused as error:
            if error.status == NOT_FOUND:
                self.withdraw(incoming.key)
            return None
        message, client = self._messages.by_key.get(incoming.key), self._outbox.rest.client
        if message is not None and client is not None and client.user is not None and found.get("edited_timestamp"):
            channel = client.get_channel(int(channel_id))
            guild = None if channel is None or isinstance(channel, PrivateChannel) else channel.guild
            self.revise(message, str(found.get("content", "")), client.user, guild)
        return found

    def refusal_text(self, incoming: IncomingMessage, error: WireError) -> str:
        """Friendly, and with the way out."""
        return refusal_text(error, incoming.owner)

    def interrupted(self, incoming: IncomingMessage, text: str) -> None:
        """Post ``text`` in the thread, and show on the message that its turn failed."""
        notified = self._notified(incoming)
        self._outbox.post(incoming.thread_id, f"<@{notified}> {text}" if notified else text, pings=notified)
        message = self._messages.by_key.get(incoming.key)
        if message is not None and message.reactions is not None:  # the pool has refused its turn
            self._messages.discard(message)
            message.reactions.on(ReactionEvent.ERROR)
            return
        if not incoming.key.isdecimal():
            return
        channel_id = incoming.origin or incoming.thread_id
        work = end_reactions(self._outbox, self._settings.reactions, channel_id, incoming.key)
        self._tasks.start(work, name=f"reactions on {incoming.key}")

    def _notified(self, incoming: IncomingMessage) -> str | None:
        """Whom the end of a turn notifies that an earlier daemon began: a person who has written long ago."""
        after = self._settings.discord.notify_after_seconds
        if incoming.operator or incoming.by_program or not incoming.key.isdecimal() or after <= 0:
            return None
        waited = self._outbox.rest.now() - time_of(int(incoming.key))
        return incoming.owner or None if waited >= after else None

    def plain(self, text: str) -> str:
        """The text with its markup escaped."""
        return plain(text)

    def notice(self, thread_id: str, text: str) -> None:
        """Post one plain sentence of the bot's own in the thread."""
        usual, text = text, self._commands.ends.text(thread_id) or text
        if not self._messages.report_end(thread_id, usual, text):
            self._outbox.post(thread_id, text)

    def session_changed(self, thread_id: str) -> None:
        """The agent may have given its session another title."""
        session = self._pool.get(thread_id)
        if session is not None and session.turns.titles.last is not None:
            self._threads.title(thread_id, session.turns.titles.last)

    def run_again(self, incoming: IncomingMessage) -> int:
        """Queue a message once more whose turn has ended; how many turns are before it. Raises as `Pool.submit`."""
        before = self.conversations.receive(incoming)
        emojis = self._settings.reactions.emojis
        for emoji in {emojis.done, emojis.error} if self._settings.reactions.enabled else ():
            self._outbox.react(incoming.origin or incoming.thread_id, incoming.key, emoji, add=False)
        return before

    # Messages whose turns do not run yet.

    def revise(
        self, message: PendingMessage, content: str, me: discord.ClientUser, guild: discord.Guild | None
    ) -> None:
        """The message says ``content`` now; ``me`` and ``guild`` say which mentions are the bot's."""
        message.text = content
        text = defuse(access.without_mention(content, str(me.id), own_role_id=own_role_id(guild)))
        view = message.view
        if view is not None and view.incoming.agent is not None:
            text = agent_choice.split(text)[1]
        if view is not None and message.stage is Stage.QUEUED and text not in {"", view.incoming.text}:
            view.incoming = self.conversations.revise(view.incoming, text) or view.incoming

    def withdraw(self, message_id: str) -> None:
        """Somebody has deleted this message, or the bot's own: its turn is not to run."""
        self._messages.recently_deleted.append(message_id)
        message = self._messages.by_key.get(message_id)
        if message is None:
            return
        message.deleted = True
        if message.stage is Stage.QUEUED and message.view is not None:
            self._pool.withdraw(message.view.thread_id, message_id)
