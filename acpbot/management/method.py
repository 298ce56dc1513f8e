"""What a method of the wire is made of: its access, its parameters, its handler; and what handlers are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from acpbot.management.access import AccessRule, Peer
    from acpbot.management.health_report import HealthReport
    from acpbot.management.protocol import Access
    from acpbot.management.readiness import State
    from acpbot.management.stream import Event, Stream
    from acpbot.sessions.views import Detail, KillResult, Row, Target


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parameters: unknown names are refused before any effect."""


class NoParams(Params, frozen=True):
    """Takes nothing."""


class SessionsView(Protocol):
    """What the wire needs of the pool (:class:`acpbot.sessions.pool.Pool`)."""

    @property
    def max_sessions(self) -> int:
        """How many sessions may have a process."""

    def rows(self, *, suspended: bool = False) -> list[Row]:
        """Snapshots."""

    def resolve(self, thread: str) -> str:
        """The thread id that is meant. Raises NotFound, Ambiguous."""

    async def detail(self, thread_id: str) -> Detail:
        """One session whole. Raises NotFound."""

    async def kill(
        self, targets: Sequence[Target], *, grace_seconds: float | None = None, forget: bool = False
    ) -> list[KillResult]:
        """End exactly these."""

    async def cancel(self, thread_id: str, session_id: str | None = None) -> str:
        """Stop a turn. Raises NotFound, Conflict."""

    def subscribe(self, callback: Callable[[Any, Row], None], /) -> Callable[[], None]:
        """Be told of changes; returns what ends it."""

    def tail(self, thread_id: str, callback: Callable[[Event], None], /) -> tuple[list[Event], Callable[[], None]]:
        """Recent output, then more. Raises NotFound."""


class ChatHub(Protocol):
    """What the wire needs of the terminal's chat; ``emit`` takes the params of one ``chat.event``, and never blocks."""

    async def open(self, thread: str, agent: str | None, owner: str, emit: Callable[[Event], None]) -> Row:
        """Open a thread; its events go to ``emit`` from now on."""

    async def send(self, thread: str, text: str, owner: str) -> int:
        """Queue a prompt; how many turns are before it."""

    def permit(self, thread: str, request: str, option: str) -> None:
        """Answer a permission request. Raises NotFound, Conflict, InvalidParams."""

    def leave(self, thread: str, emit: Callable[[Event], None]) -> None:
        """Send nothing more; nothing happens where nothing was sent."""

    def snapshot(self, thread: str) -> list[Event]:
        """Events in place of those that a reader missed."""


class DrainControl(Protocol):
    """What the wire needs for ``daemon.drain``."""

    async def drain(self, *, on: bool, deadline_seconds: float | None) -> str:
        """Begin or end draining; the daemon's state after it."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the daemon lends to the wire. Methods whose service is ``None`` are not served.

    ``is_of_an_agent``: whether a process was started by an agent, which must not manage the daemon that it runs in.
    """

    version: str
    state: Callable[[], State]
    health: Callable[[], HealthReport]
    rule: AccessRule
    pool: SessionsView
    chat: ChatHub | None = None
    drain: DrainControl | None = None
    is_of_an_agent: Callable[[int], bool] = lambda _pid: False


class Client(Protocol):
    """The connection that a call came on."""

    @property
    def peer(self) -> Peer:
        """Who is there."""

    @property
    def in_order(self) -> asyncio.Lock:
        """Held by methods whose effects must come in the order of their requests."""

    async def user(self) -> str:
        """The peer's user name, or the uid."""

    def stream(
        self,
        key: str,
        method: str,
        snapshot: Callable[[], list[Event]],
        leave: Callable[[], None],
        missed: Callable[[Event], None] | None = None,
    ) -> Stream:
        """Open a stream of notifications, replacing one of the same ``key``. Raises TooMany.

        See :class:`acpbot.management.stream.Stream`.
        """

    def find_stream(self, key: str) -> Stream | None:
        """The open stream of that key."""

    def end_stream(self, key: str) -> None:
        """End a stream, if there is one."""


@dataclass(frozen=True)
class Call:
    """One request, as its handler gets it."""

    services: Services
    client: Client
    notes: list[tuple[str, str]] = field(default_factory=list)
    opened: list[Stream] = field(default_factory=list)

    def note(self, target: str, outcome: str) -> None:
        """Say what became of ``target``: one line of the audit, written once the handler is done."""
        self.notes.append((target, outcome))


@dataclass(frozen=True)
class Method:
    """One method. ``served``: whether these services carry it. A coroutine handler runs beside other requests."""

    access: Access
    params: type[Params]
    handler: Callable[[Call, Any], Any | Awaitable[Any]]
    served: Callable[[Services], bool] = lambda _: True
