"""What people's commands do in a thread, and what they read then: the same in Discord and in a terminal.

``quote`` shows somebody else's text in the platform's own way, such as inline code.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from acpbot.chat.rendering.footer import context_text
from acpbot.logs import get_logger
from acpbot.text import one_line
from acpbot.times import short_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from acpbot.sessions.options import Option, Options
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Row

log = get_logger(__name__)
T = TypeVar("T")

UNASKED: Final = "In this mode the agent doesn't always ask before it acts."
NOT_WHILE_DRAINING: Final = "cannot {action}: acpbot is about to stop or restart; try again in a moment"
STATES: Final = {
    "starting": "🚀 starting",
    "idle": "💤 idle",
    "busy": "🔥 working",
    "waiting": "🔐 waiting for permission",
    "stuck": "😨 no output for a while",
    "suspended": "🌙 asleep; send a message to wake it",
    "closing": "🚪 stopping",
    "gone": "🚪 stopped",
}

IN_LINE: Final = "⏳ in line for a free agent"
NO_OPTIONS: Final = "This agent has no options."
SWITCHED: Final = "{} switched to {}. Earlier context isn't carried over."
NOW_USED: Final = "This thread now uses {}."
USED_ALREADY: Final = "This thread already uses {}."
RESET: Final = "{} reset this thread. The next message starts a new conversation."
FRESH: Final = "Done. This thread starts fresh."


def state_text(row: Row) -> str:
    """A thread's state, as people read it."""
    return IN_LINE if row.state == "suspended" and row.queued else STATES[row.state]


def next_text(*, resumable: bool) -> str:
    """What the next message does in a thread whose session has ended."""
    if resumable:
        return "Send a message to carry on where you left off."
    return "Your next message starts a new conversation."


def no_menu_text() -> str:
    """The answer to a menu of an agent that does not run any more."""
    return "No agent is running here. Send a message first, or give the command with a value."


def chosen_text(chosen: Mapping[str, str], name: str | None, quote: Callable[[str, int], str]) -> str:
    """The answer where no agent runs whose option ``name`` could be shown; ``None``: all of them.

    ``chosen``: what is set when the agent starts next.
    """
    lines = [later_text(key, value, quote) for key, value in chosen.items() if name in {None, key}]
    what = f"a {name}" if name in {"model", "mode"} else "an option"
    return "\n".join(
        ["No agent is running here.", *(lines or [f"Pick {what}, and I'll set it when the agent starts."])]
    )


def later_text(key: str, value: str, quote: Callable[[str, int], str]) -> str:
    """What is set when the agent starts next."""
    what = f"the {key}" if key in {"model", "mode"} else quote(key, 100)
    return f"When the agent starts next, I'll set {what} to {quote(value, 100)}."


def choose_later(pool: Pool, thread_id: str, key: str, value: str, *, by: str, quote: Callable[[str, int], str]) -> str:
    """Have the thread's next session set an option; the answer. Raises NotFound, InvalidParams, Conflict."""
    pool.choose_later(thread_id, key, value)
    log.info("option_chosen_for_later", user=by, thread=thread_id, option=key, value=value)
    return later_text(key, value, quote)


def no_choice_text(name: str) -> str:
    """The answer where the agent has no ``model`` or ``mode`` to choose."""
    return f"This agent has no {name}s."


def status_text(
    row: Row, options: Options | None, quote: Callable[[str, int], str], chosen: Mapping[str, str] | None = None
) -> str:
    """One thread's row, one line for each fact. ``chosen``: what is set at its agent's next start."""
    idle = row.idle_seconds if row.state == "idle" else None
    since = f" for {short_duration(idle)}" if idle is not None and idle >= 1 else ""
    lines = [f"{state_text(row)}{since} · agent {quote(row.agent, 100)} · {row.turns} turn{'s' * (row.turns != 1)}"]
    if row.turn_seconds is not None:
        silent = short_duration(row.silent_seconds or 0)
        lines.append(f"Working for {short_duration(row.turn_seconds)}, last output {silent} ago")
    elif row.idle_seconds and row.state != "idle":
        lines.append(f"Idle for {short_duration(row.idle_seconds)}")
    if row.activity:
        lines.append(f"Running: {quote(row.activity, 100)}")
    if row.waiting_for:
        lines.append(f"Waiting for permission: {quote(row.waiting_for, 100)}")
    if row.queued:
        lines.append(f"{row.queued} message{'s' * (row.queued != 1)} queued")
    if options is not None:
        current = [(category, options.current(category)) for category in ("model", "mode")]
        lines += [f"{key.capitalize()}: {quote(choice.name, 100)}" for key, choice in current if choice is not None]
        if options.unasked is not None:
            lines.append(UNASKED)
    else:
        lines += [later_text(key, value, quote) for key, value in (chosen or {}).items()]
    if row.context_used is not None:
        lines.append(f"Context: {context_text(row.context_used, row.context_size)}")
    if row.cost is not None:
        lines.append(f"Cost in this thread: {row.cost}")
    return "\n".join(lines)


async def started_session(pool: Pool, thread_id: str) -> Session | None:
    """The thread's session once it has started; ``None`` where there is none, or it could not be started."""
    changed = asyncio.Event()
    leave = pool.subscribe(lambda _change, _row: changed.set())
    try:
        while (session := pool.get(thread_id)) is not None and session.state == "starting":
            changed.clear()
            await changed.wait()
    finally:
        leave()
    return session


def find_option(session: Session, name: str) -> Option | None:
    """The option that somebody means who typed its id or its name."""
    options = session.options.listed()
    key = session.options.key(name)
    by_key = next((one for one in options if one.key == key), None)
    return by_key or next((one for one in options if one.name.casefold() == name.casefold()), None)


def typed_value(session: Session, key: str, typed: str) -> str:
    """The value that somebody means who typed it, or its name."""
    choice = session.options.find(key, typed)
    return typed if choice is None else choice.value


async def choose(
    session: Session, key: str, value: str, *, by: str, quote: Callable[[str, int], str], name: Callable[[str], str]
) -> str:
    """Set an option for ``by``; what it is now, as a sentence. ``name`` shows an option's name.

    Raises as :meth:`Session.choose`.
    """
    await session.choose(key, value)
    log.info("option_chosen", user=by, thread=session.thread.thread_id, option=key, value=value)
    if key in {"model", "mode"}:
        return f"The {key} is now {quote(value, 200)}."
    option = find_option(session, key)
    now = None if option is None else option.current
    shown = key if option is None else one_line(option.name, 100)
    return f"{name(shown)} is now {quote(value if now is None else now.name, 100)}."


class CommandedEnds:
    """Ends sessions for commands; their threads read another sentence about it than the usual one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._texts: dict[str, str] = {}

    def text(self, thread_id: str) -> str | None:
        """The text about a session's end, in place of the usual one, where a command has ended it; given once."""
        return self._texts.pop(thread_id, None)

    async def end(self, thread_id: str, text: str, end: Callable[[], Awaitable[T]]) -> T:
        """End the thread's session by ``end``, whose result is returned; the thread reads ``text`` about it."""
        self._texts[thread_id] = text
        try:
            return await end()
        finally:
            self._texts.pop(thread_id, None)

    async def start_over(self, thread_id: str, text: str, agent: str | None = None) -> bool:
        """As :meth:`Pool.start_over`; the thread reads ``text`` about the end of its session."""
        return await self.end(thread_id, text, partial(self._pool.start_over, thread_id, agent=agent))

    async def forget(self, thread_id: str, text: str) -> bool:
        """End the thread's session and forget its conversation, which the agent keeps; whether there was a session."""
        session = self._pool.get(thread_id)
        if session is None:
            self._pool.forget(thread_id)
            return False
        await self.end(thread_id, text, partial(self._pool.suspend, thread_id, session.session_id))
        self._pool.forget(thread_id)
        return True
