"""What a method of the wire consists of: its access, its parameters, its handler; and what its handler gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from acpbot.management.access import AccessRule
    from acpbot.management.audit import Audit
    from acpbot.management.connection import ClientConnection
    from acpbot.management.protocol import Access
    from acpbot.management.readiness import DaemonState
    from acpbot.management.stream import Event, Stream
    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Detail, KillResult, Row, Target
    from acpbot.sessions.watcher import Watcher
    from acpbot.storage.records import EventRecord


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parameters: unknown names are refused before any effect."""


class NoParams(Params, frozen=True):
    """Takes nothing."""


class Kept(Protocol):
    """The last output of each thread."""

    async def read(self, thread_id: str) -> list[Event]:
        """The lines that are kept of a thread, oldest first."""


class Sessions(Protocol):
    """What methods need of :class:`acpbot.sessions.pool.Pool`; the tests serve a pool in memory in its place."""

    watcher: Watcher

    @property
    def max_sessions(self) -> int:
        """How many sessions may have a process."""

    def rows(self, *, suspended: bool = False) -> list[Row]:
        """Snapshots."""

    @property
    def suspended(self) -> int:
        """How many threads have no session."""

    def resolve(self, thread: str) -> str:
        """The thread id that is meant. Raises NotFound, Ambiguous."""

    async def detail(self, thread_id: str) -> Detail:
        """One session whole. Raises NotFound."""

    @property
    def strays(self) -> int:
        """How many processes of no known session run."""

    async def kill(
        self, targets: Sequence[Target], *, grace_seconds: float | None = None, forget: bool = False
    ) -> list[KillResult]:
        """End exactly these."""

    async def cancel(self, thread_id: str, session_id: str | None = None, *, by: str | None = None) -> str:
        """Cancel the running turn; ``by``: who wants it. Raises NotFound, Conflict."""

    def get(self, thread_id: str) -> Session | None:
        """The thread's session, if it has one."""

    def subscribe(self, callback: Callable[[Any, Row], None], /) -> Callable[[], None]:
        """Call ``callback`` at each change; returns the function that ends it."""

    @property
    def kept(self) -> Kept:
        """What is left of sessions that have ended."""

    def tail(self, thread_id: str, callback: Callable[[Event], None], /) -> tuple[list[Event], Callable[[], None]]:
        """Recent output, then more. Raises NotFound."""


class Chat(Protocol):
    """What methods need of the local chat, which this package may not import: acpbot.chat.local.LocalChat.

    ``emit`` takes the params of one ``chat.event``, and never blocks.
    """

    async def open(
        self, thread: str, agent: str | None, owner: str, emit: Callable[[Event], None], *, resume: str | None = None
    ) -> Row:
        """Open a thread; its events go to ``emit`` from now on. ``resume``: a conversation that it takes up."""

    async def conversations(self, thread: str) -> msgspec.Struct:
        """The conversations that the thread's agent knows for its folder."""

    async def send(self, thread: str, text: str, owner: str, *, now: bool = False) -> int:
        """Queue a prompt; returns how many turns are before it."""

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        """Answer a permission request as ``user``. Raises NotFound, Conflict, InvalidParams."""

    async def command(self, thread: str, name: str, value: str | None, user: str) -> str:
        """Do what ``/name value`` asks for as ``user``; its answer as plain text. Raises WireError."""

    async def recent(self, thread: str, count: int) -> list[Event]:
        """The last lines of the thread's output, as ``sessions.tail`` has them."""

    def leave(self, thread: str, emit: Callable[[Event], None]) -> None:
        """Call ``emit`` no more; nothing happens where it was not in use."""

    def snapshot(self, thread: str) -> list[Event]:
        """Events in place of those that a reader missed."""


class FollowedPrompt(Protocol):
    """The turn of a prompt whose events go to somebody."""

    def snapshot(self) -> list[Event]:
        """Events in place of those that a reader missed."""


class Operator(Protocol):
    """What methods need of :class:`acpbot.chat.operator.OperatorActions`, which this package may not import."""

    def find(self, thread: str) -> str:
        """The thread that is meant. Raises NotFound, Ambiguous."""

    def follow(self, emit: Callable[[Event], None], text: str) -> FollowedPrompt:
        """What passes the events of the turn of this prompt to ``emit``; it is given with the prompt."""

    def send(self, thread: str, text: str, user: str, *, agent: str | None, follower: Any, now: bool = False) -> int:
        """Queue a prompt; how many turns are before it. ``now``: the running turn is cancelled for it."""

    async def begin(self, channel: str, text: str, user: str, *, agent: str | None, follower: Any) -> tuple[str, int]:
        """Begin a thread in a channel with a prompt; its id, and how many turns are before it."""

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        """Answer a permission request. Raises NotFound, Conflict, InvalidParams."""

    async def suspend(self, thread: str, session_id: str) -> str:
        """End exactly this session and keep the conversation; the outcome."""

    async def restart(self, thread: str, session_id: str) -> tuple[str, str | None]:
        """End exactly this session and start the next one; the outcome, and the session that the thread has then."""

    def session_of(self, thread: str) -> str | None:
        """The id of the thread's session, where it has one that is not ending."""

    def forget(self, thread: str) -> None:
        """Forget the conversation of a thread without a session. Raises NotFound, Conflict."""


class Events(Protocol):
    """What methods need of :class:`acpbot.sessions.events.EventLog`."""

    def latest(self, limit: int, since: str = "") -> list[EventRecord]:
        """The last events that are not older than ``since``, oldest first."""

    def follow(self, follower: Callable[[EventRecord], None], /) -> Callable[[], None]:
        """Call ``follower`` with each event from now on; returns the function that ends this."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that the daemon lends to the wire. Methods whose service is ``None`` are not served.

    ``health``: the result of ``health.get``. ``drain``: :meth:`acpbot.daemon.drain.Drain.drain`. ``reload``: read the
    configuration again; the result of ``daemon.reload``. ``config``: that of ``config.get``. ``is_of_an_agent``:
    whether an agent started the process of this pid (such a process must not manage the daemon), ``None`` where nobody
    can tell; it may block.
    """

    version: str
    state: Callable[[], DaemonState]
    health: Callable[[], msgspec.Struct]
    rule: AccessRule
    audit: Audit
    pool: Sessions
    chat: Chat | None = None
    operator: Operator | None = None
    events: Events | None = None
    drain: Callable[..., DaemonState] | None = None
    reload: Callable[[], Awaitable[msgspec.Struct]] | None = None
    config: Callable[[], dict[str, Any]] | None = None
    is_of_an_agent: Callable[[int], bool | None] = lambda _pid: False


@dataclass(frozen=True)
class Call:
    """One request, as its handler gets it. ``opened``: the streams that the handler opened."""

    services: Services
    client: ClientConnection
    method: str
    opened: list[Stream] = field(default_factory=list)

    def audit(self, target: str, outcome: str) -> None:
        """Record what became of ``target``."""
        self.services.audit.record(self.client.peer, self.method, target, outcome)


@dataclass(frozen=True)
class Method:
    """One method. The server answers other requests while a coroutine handler runs."""

    access: Access
    params: type[Params]
    handler: Callable[[Call, Any], Any | Awaitable[Any]]
