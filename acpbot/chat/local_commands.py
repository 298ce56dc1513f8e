"""The commands of the terminal's chat: ``chat.command`` of the management protocol. Their answers are plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.thread_commands import (
    FRESH,
    NO_OPTIONS,
    NOT_WHILE_DRAINING,
    NOW_USED,
    RESET,
    SWITCHED,
    UNASKED,
    USED_ALREADY,
    CommandedEnds,
    choose,
    choose_later,
    chosen_text,
    find_option,
    no_choice_text,
    started_session,
    status_text,
    typed_value,
)
from acpbot.errors import AgentError, AgentTimeout, Conflict, Draining, InvalidParams, NotFound, TimedOut
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.options import Option
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session

PLATFORM: Final = "local"
SENT_NOW: Final = {
    "interrupted": "Stopping the current answer to send the message that waits.",
    "next": "Nothing is running that could be stopped; the message goes next.",
    "gone": "No message is waiting here.",
}
_SHOWN: Final = 100
_LISTED_MAX: Final = 100


class LocalCommands:
    """Answers commands of people who may give all. ``announce`` tells a thread what concerns all its readers."""

    def __init__(self, pool: Pool, announce: Callable[[str, str], None]) -> None:
        self.ends = CommandedEnds(pool)
        self._pool = pool
        self._announce = announce

    async def run(self, thread_id: str, name: str, value: str | None, user: str) -> str:
        """Do what ``/name value`` asks for in the thread; its answer, of one line or many.

        Waits for a session that starts; where there is none, what is set is kept for the next one. Raises NotFound (no
        thread), InvalidParams, Conflict (the agent
        refuses it), TimedOut, Draining, TooMany.
        """
        known = self._pool.thread(thread_id)
        if known is None:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}: it was forgotten; send a message to start again")
        value = (value or "").strip()
        if value and name in {"status", "reset", "now"}:
            raise InvalidParams(f"cannot give /{name} a value: it takes none")
        match name:
            case "status":
                session = self._pool.get(thread_id)
                options = None if session is None else session.options
                return status_text(self._pool.row(thread_id), options, one_line, known.chosen)
            case "now":
                return SENT_NOW[self._pool.send_now(thread_id, by=user)]
            case "reset":
                return await self._start_over(thread_id, None, user)
            case "agent":
                return await self._agent(thread_id, value, user)
        session = await started_session(self._pool, thread_id)
        if session is None:
            option, _, wanted = value.rpartition(" ") if name == "options" else (name, "", value)
            shown = (value or None) if name == "options" else name
            if not (option and wanted):
                return chosen_text(known.chosen, shown, one_line)
            return choose_later(self._pool, thread_id, option.strip(), wanted, by=user, quote=one_line)
        if name == "options":
            return await self._options(session, value, user)
        return await self._set(session, name, value, user) if value else _choices(session, name)

    async def _options(self, session: Session, value: str, user: str) -> str:
        if not value:
            lines = [_option_line(option) for option in session.options.listed()[:_LISTED_MAX]]
            return "\n".join([*lines, "Set one with /options NAME VALUE."]) if lines else NO_OPTIONS
        if find_option(session, value) is not None:
            return _choices(session, value)
        # Ids and names of options, and values, may hold spaces: the longest name that fits is meant.
        words = value.split(" ")
        for count in range(len(words) - 1, 0, -1):
            name, rest = " ".join(words[:count]).strip(), " ".join(words[count:]).strip()
            if rest and find_option(session, name) is not None:
                return await self._set(session, name, rest, user)
        offered = ", ".join(one_line(option.key, 40) for option in session.options.listed()[:20]) or "none"
        raise InvalidParams(f"cannot find the option {one_line(value, 40)!r}: this agent has {offered}")

    async def _set(self, session: Session, name: str, typed: str, user: str) -> str:
        option = find_option(session, name)
        key = name if option is None else option.key
        try:
            answer = await choose(session, key, typed_value(session, key, typed), by=user, quote=one_line, name=str)
        except AgentTimeout as error:
            raise TimedOut(str(error)) from None
        except AgentError as error:
            raise Conflict(str(error)) from None
        if key == "mode" and session.options.unasked is not None:
            self._announce(session.thread.thread_id, f"{user} switched the mode. {UNASKED}")
        return answer

    async def _agent(self, thread_id: str, name: str, user: str) -> str:
        thread, names = self._pool.thread(thread_id), sorted(self._pool.agents)
        current = None if thread is None else thread.agent
        if not name:
            lines = [f"{'▶️' if name == current else '▫️'} {name}" for name in names]
            return "\n".join([*lines, "Switch with /agent NAME. This thread then starts fresh."])
        if name not in names:
            raise InvalidParams(f"cannot use agent {name[:40]!r}: the agents are {', '.join(names)}")
        if name == current:
            return USED_ALREADY.format(name)
        return await self._start_over(thread_id, name, user)

    async def _start_over(self, thread_id: str, agent: str | None, user: str) -> str:
        """Forget the conversation and start another one: whoever has the thread open has a session, as at first."""
        thread = self._pool.thread(thread_id)
        if self._pool.draining:  # the old session would be gone, and no new one could be started
            raise Draining(NOT_WHILE_DRAINING.format(action="change the agent" if agent else "start over"))
        used, owner = (agent, user) if thread is None else (agent or thread.agent, thread.owner)
        text = SWITCHED.format(user, agent) if agent else RESET.format(user)
        if not await self.ends.start_over(thread_id, text, agent):
            self._announce(thread_id, text)
        # An agent that is no longer in the configuration gives way to the default one.
        self._pool.ensure(thread_id, platform=PLATFORM, owner=owner, agent=used if used in self._pool.agents else None)
        return NOW_USED.format(agent) if agent else FRESH


def _choices(session: Session, name: str) -> str:
    option = find_option(session, name)
    if option is None:
        return no_choice_text(name)
    lines = [
        f"{'▶️' if choice.current else '▫️'} {one_line(choice.name, 80)} ({one_line(choice.value, _SHOWN)})"
        for choice in option.choices[:_LISTED_MAX]
    ]
    left = len(option.choices) - _LISTED_MAX
    command = option.key if option.key in {"model", "mode"} else f"options {one_line(option.key, 40)}"
    return "\n".join([*lines, *([f"… and {left} more."] if left > 0 else []), f"Set it with /{command} VALUE."])


def _option_line(option: Option) -> str:
    now = "unknown" if option.current is None else one_line(option.current.name, 80)
    return f"{one_line(option.name, 80)} ({one_line(option.key, 40)}): {now}"
