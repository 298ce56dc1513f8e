"""The chat in Discord: makes all parts of this package and hands them to each other."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs

from acpbot.aio import Backoff
from acpbot.chat.discord import compat
from acpbot.chat.discord.access import Channels, CurrentSettings
from acpbot.chat.discord.discord_platform import DiscordPlatform, PendingMessages
from acpbot.chat.discord.gateway.client import Bot
from acpbot.chat.discord.gateway.places import PlacesCheck
from acpbot.chat.discord.gateway.presence import PRESENCE_SECONDS, Presence
from acpbot.chat.discord.gateway.supervisor import SILENCE_SECONDS, GatewayStatus, IdentifyLimiter, Supervisor
from acpbot.chat.discord.inbound.agent_choice import NextAgents
from acpbot.chat.discord.inbound.backfill import Backfill
from acpbot.chat.discord.inbound.continued import ContinueButtons
from acpbot.chat.discord.inbound.intake import Intake
from acpbot.chat.discord.inbound.read_cursor import ReadCursor
from acpbot.chat.discord.interactions.commands import PROMPT_SECONDS, SlashCommands
from acpbot.chat.discord.interactions.gate import InteractionGate
from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
from acpbot.chat.discord.interactions.send_now_button import SendNowButtons
from acpbot.chat.discord.interactions.stop_button import StopButtons
from acpbot.chat.discord.interactions.tool_output import ToolOutputs
from acpbot.chat.discord.last_prompts import LastPrompts
from acpbot.chat.discord.operator_prompts import OperatorPrompts
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.chat.discord.outbound.rest import Rest
from acpbot.chat.discord.outbound.threads import Threads
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.outbound.throttle import Throttle
    from acpbot.chat.platform import ChatFacts, IncomingMessage
    from acpbot.config.settings import Settings
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

FLUSH_SECONDS: Final = 1.0
"""How long a stop waits for the delivery of what is to be said; the rest is delivered after the next start."""


class DiscordChat:
    """Threads of Discord. Everything runs in the loop that called :meth:`run`.

    ``delivery`` and ``reconnect`` are the waits between tries of requests and of connections; ``patience`` and
    ``silence`` as :class:`Supervisor`'s, ``prompt`` as :class:`SlashCommands`'; ``throttle`` keeps to the global limit.
    ``presence``: seconds between two updates of the status that Discord shows.
    ``identify_seconds``: between two new sessions of the gateway. ``on_crash`` is called with the first error that ends
    a background task of the chat.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        delivery: Backoff | None = None,
        reconnect: Backoff | None = None,
        patience: float = 60.0,
        identify_seconds: float = 5.0,
        silence: float = SILENCE_SECONDS,
        prompt: float = PROMPT_SECONDS,
        presence: float = PRESENCE_SECONDS,
        throttle: Throttle | None = None,
        on_crash: Callable[[BaseException], object] = lambda _error: None,
    ) -> None:
        self._crashed = False
        self._report_crash = on_crash
        self.settings = current = CurrentSettings(settings)
        discord = current.discord
        self._pool = pool
        self._rest = Rest(throttle, wall, lambda: current.discord.link_previews)
        self.outbox = Outbox(
            self._rest,
            delivery or Backoff(),
            store=pool.store,
            clock=clock,
            wall=self._rest.now,
            own_id=self._own_id,
            on_crash=self._on_crash,
        )
        self._status = GatewayStatus(clock)
        self._places = PlacesCheck(current, clock)
        self.cursor = ReadCursor(pool.store, self._rest.now)
        messages, channels, next_agents = PendingMessages(pool), Channels(pool, self._rest.now.of), NextAgents()
        self._threads = Threads(self.outbox, clock, self._on_crash, lambda: current.discord.auto_archive_minutes)
        prompts = PermissionPrompts(current, channels, self.outbox)
        questions = QuestionPrompts(current, channels, self.outbox)
        outputs = ToolOutputs(clock)
        last_prompts = LastPrompts(pool.store)
        stops = StopButtons(current, channels, pool)
        send_now = SendNowButtons(current, channels, pool, messages.asker_of)
        self._commands = SlashCommands(
            settings=current,
            pool=pool,
            channels=channels,
            outbox=self.outbox,
            threads=self._threads,
            asker_of=messages.asker_of,
            next_agents=next_agents,
            last_prompts=last_prompts,
            run_again=self._run_again,
            prompt=prompt,
            on_crash=self._on_crash,
        )
        self._platform = DiscordPlatform(
            settings=current,
            pool=pool,
            messages=messages,
            channels=channels,
            threads=self._threads,
            commands=self._commands,
            prompts=prompts,
            questions=questions,
            outputs=outputs,
            last_prompts=last_prompts,
            stops=stops,
            send_now=send_now,
            outbox=self.outbox,
            on_crash=self._on_crash,
        )
        self.operator = OperatorPrompts(
            settings=current,
            platform=self._platform,
            channels=channels,
            threads=self._threads,
            outbox=self.outbox,
            ends=self._commands.ends,
        )
        intake = Intake(
            settings=current,
            pool=pool,
            platform=self._platform,
            messages=messages,
            cursor=self.cursor,
            channels=channels,
            threads=self._threads,
            outbox=self.outbox,
            next_agents=next_agents,
            prompts=(prompts, questions),
            clock=clock,
        )
        continues = ContinueButtons(
            settings=current,
            pool=pool,
            platform=self._platform,
            messages=messages,
            channels=channels,
            outbox=self.outbox,
        )
        self._backfill = Backfill(
            settings=current,
            pool=pool,
            channels=channels,
            outbox=self.outbox,
            cursor=self.cursor,
            intake=intake,
            on_crash=self._on_crash,
        )
        self._presence = Presence(pool, self._rest, self._status, presence, self._on_crash)
        make_client = partial(
            Bot,
            dms=discord.allow_dm,
            status=self._status,
            # Discord allows one new session in five seconds, whichever client begins it.
            identifies=IdentifyLimiter(1, identify_seconds),
            cursor=self.cursor,
            backfill=self._backfill,
            intake=intake,
            gate=InteractionGate(current, channels, clock),
            commands=self._commands,
            prompts=prompts,
            questions=questions,
            outputs=outputs,
            stops=stops,
            send_now=send_now,
            continues=continues,
            threads=self._threads,
            presence=self._presence,
            outbox=self.outbox,
        )
        self._supervisor = Supervisor(
            make_client, discord.bot_token, self._status, backoff=reconnect, patience=patience, silence=silence
        )

    def watch_requests(self, on_answer: Callable[[str, int], None]) -> None:
        """Have ``on_answer`` told the method and the HTTP status of each answer of Discord's API."""
        self._rest.on_answer = on_answer

    def recover(self) -> None:
        """Go on with what was open when the daemon ended last; messages are sent once Discord is there."""
        self.outbox.recover(self._pool.store.restored.posts)
        self._platform.conversations.recover()

    async def run(self) -> None:
        """Stay connected until :meth:`close`. Raises ConfigError, and nothing else."""
        compat.configure(self.settings.discord.api_base, self.settings.discord.gateway_url)
        self._presence.start()
        await self._supervisor.run()

    def reconfigure(self, settings: Settings) -> None:
        """Hold to other settings from now on; those of the connection must be the same."""
        self.settings.replace(settings)

    def go_on(self) -> None:
        """The pool takes turns again: look for what people wrote while it did not."""
        client = self._rest.client
        if client is not None and self._status.connected:
            self._backfill.begin(client)
            for guild in client.guilds:
                self._backfill.start(guild)

    async def close(self) -> None:
        """Deliver what is to be said, for a second at most, and end :meth:`run`. May be called again."""
        if not await self.outbox.flush(FLUSH_SECONDS if self._status.connected else 0):
            log.warning("discord_messages_undelivered")
        await self._presence.close()
        await self._backfill.close()
        await self._platform.close()
        await self._threads.close()
        await self._commands.close()
        await self.outbox.close()
        self._supervisor.close()

    def facts(self) -> ChatFacts:
        """The connection, and what keeps the bot from its work, for health."""
        facts = self._status.facts(self._supervisor.client)
        places = self._places.problem(self._supervisor.client) if facts.connected else None
        return structs.replace(facts, channels_problem=places, commands_problem=self._commands.problem)

    def _run_again(self, message: IncomingMessage) -> int:
        return self._platform.run_again(message)

    def _on_crash(self, error: BaseException) -> None:
        if not self._crashed:
            self._crashed = True
            self._report_crash(error)

    def _own_id(self) -> str:
        client = self._rest.client
        return "" if client is None or client.user is None else str(client.user.id)
