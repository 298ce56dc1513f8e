"""What an operator does in threads of any platform: prompts, permissions, and the ends of sessions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from acpbot.chat.followed_turn import TurnFollower
from acpbot.chat.local_commands import PLATFORM as LOCAL
from acpbot.errors import Draining, InvalidParams, NotFound
from acpbot.sessions.views import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.thread_commands import CommandedEnds
    from acpbot.chat.turn_events import Event
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.views import Outcome


class OperatorPlatform(Protocol):
    """A chat platform, for an operator. ``user`` is the operator's user name on this machine."""

    @property
    def platform(self) -> str:
        """Its name in rows."""

    @property
    def ends(self) -> CommandedEnds:
        """Ends sessions with a sentence of their own."""

    def ask(
        self,
        thread: str,
        text: str,
        user: str,
        *,
        agent: str | None,
        follower: TurnFollower,
        scheduled: bool = False,
        now: bool = False,
    ) -> int:
        """Queue a prompt and show in the thread that it is an operator's; how many turns are before it.

        ``scheduled``: the configuration has it sent at this time, and nobody has typed it. ``now``: the running turn is
        cancelled for it.
        Raises as :meth:`Pool.submit`.
        """

    def notice(self, thread_id: str, text: str) -> None:
        """Post one plain sentence of the bot's own in the thread."""


class ChannelPlatform(OperatorPlatform, Protocol):
    """A platform with channels, in which threads begin."""

    async def begin(
        self, channel: str, text: str, user: str, *, agent: str | None, follower: TurnFollower, scheduled: bool = False
    ) -> tuple[str, int]:
        """Begin a thread with a prompt, below a message that names the operator; its id, and as :meth:`ask`.

        Raises InvalidParams, NotFound, Conflict, TimedOut beside the errors of :meth:`ask`.
        """


class OperatorActions:
    """All methods belong to the event loop's thread. ``thread`` is a thread's exact id, but in :meth:`find`."""

    def __init__(self, pool: Pool, *platforms: OperatorPlatform) -> None:
        self._pool = pool
        self._platforms = {platform.platform: platform for platform in platforms}
        self._channels: ChannelPlatform | None = None

    def add_channels(self, platform: ChannelPlatform) -> None:
        """Serve this platform too, and begin threads there."""
        self._platforms[platform.platform] = self._channels = platform

    # Prompts.

    def find(self, thread: str) -> str:
        """The thread that is meant, also one whose conversation is forgotten. Raises NotFound, Ambiguous."""
        if self._pool.thread(thread) is None and self._pool.known_threads.get(thread) is not None:
            return thread
        return self._pool.resolve(thread)

    def follow(self, emit: Callable[[Event], None], text: str) -> TurnFollower:
        """What passes the events of the turn of this prompt to ``emit``, which may not block."""
        return TurnFollower(emit, text)

    def send(
        self,
        thread: str,
        text: str,
        user: str,
        *,
        agent: str | None,
        follower: TurnFollower,
        scheduled: bool = False,
        now: bool = False,
    ) -> int:
        """Queue a prompt; how many turns are before it. Raises as :meth:`OperatorPlatform.ask`."""
        follower.thread_id = thread
        platform = self._platform_of(thread)
        return platform.ask(thread, text, user, agent=agent, follower=follower, scheduled=scheduled, now=now)

    async def begin(
        self, channel: str, text: str, user: str, *, agent: str | None, follower: TurnFollower, scheduled: bool = False
    ) -> tuple[str, int]:
        """As :meth:`ChannelPlatform.begin`."""
        if self._channels is None:
            raise InvalidParams("cannot start a thread in a channel: this acpbot has no [discord]; see `acpctl chat`")
        if agent is not None and agent not in self._pool.agents:
            raise InvalidParams(
                f"cannot use agent {agent[:40]!r}: the agents are {', '.join(sorted(self._pool.agents))}"
            )
        self._check_draining("start a thread")
        return await self._channels.begin(channel, text, user, agent=agent, follower=follower, scheduled=scheduled)

    def notice(self, thread: str, text: str) -> None:
        """Post one plain sentence of the bot's own in a thread. Raises NotFound."""
        self._platform_of(thread).notice(thread, text)

    def notice_in_channel(self, channel: str, text: str) -> None:
        """Post one plain sentence of the bot's own in a channel, once the platform can be reached."""
        if self._channels is not None:
            self._channels.notice(channel, text)

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        """Answer a permission request. Raises NotFound, Conflict, InvalidParams."""
        session = self._pool.get(thread)
        if session is None:
            raise NotFound(f"cannot answer: no agent runs for thread {thread[:80]} now")
        # On other platforms an operator is nobody whose 'Always' could answer for later turns.
        by = user if session.thread.platform == LOCAL else None
        session.permission_requests.get(request).select(option, by=by)

    # Ends.

    async def suspend(self, thread: str, session_id: str) -> Outcome:
        """End exactly this session, and keep the conversation; how it went."""
        return (await self._pool.suspend(thread, session_id)).outcome

    async def restart(self, thread: str, session_id: str) -> tuple[Outcome, str | None]:
        """End exactly this session and start the next one; how it went, and the session that the thread has then.

        Raises Draining before anything is ended; and as :meth:`Pool.ensure` where the next one does not start.
        """
        self._check_draining("restart a session")
        platform = self._platform_of(thread)
        text, target = "An admin restarted this session.", Target(thread_id=thread, session_id=session_id)
        result = await platform.ends.end(thread, text, partial(self._pool.ender.restart, target))
        if result.outcome in {"ended", "failed"} and self._pool.get(thread) is None:
            self._pool.ensure(thread, platform=platform.platform)
        return result.outcome, self.session_of(thread)

    def session_of(self, thread: str) -> str | None:
        """The id of the thread's session, where it has one that is not ending."""
        session = self._pool.get(thread)
        return None if session is None else session.session_id

    def forget(self, thread: str) -> None:
        """Forget the conversation of a thread without a session, which reads of it. Raises NotFound, Conflict."""
        platform = self._platform_of(thread)
        self._pool.ender.forget_suspended(thread)
        platform.notice(thread, "An admin reset this conversation. Your next message starts a new one.")

    def _check_draining(self, action: str) -> None:
        if self._pool.draining:
            raise Draining(f"cannot {action}: acpbot takes no new turns now; `acpctl drain --off` ends that")

    def _platform_of(self, thread: str) -> OperatorPlatform:
        known = self._pool.thread(thread) or self._pool.known_threads.get(thread)
        platform = None if known is None else self._platforms.get(known.platform)
        if platform is None:
            raise NotFound(f"cannot reach thread {thread[:80]!r}: its chat is no longer in the configuration")
        return platform
