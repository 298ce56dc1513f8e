"""Processes of agents that are started before a thread needs them: ``[agents.NAME] warm``.

Each is a session in the table like others, of a thread that nobody can write in, and in state ``warm`` once its agent
is initialized. So it is counted, shown, ended and proven to have ended as every session is. A new session of a thread
takes the process of one of them, where its agent has the same settings; the next look at them starts another one.

Only places that are the same for all threads can be entered before there is a thread: where each thread has a HOME of
its own, none is started. The process begins in ``[pool] workspace``, or in the agent's ``working_dir``, and learns of
the thread's folder by ACP's ``session/new``. In a cluster places wait without a process in them: see
`acpbot.runtimes.kubernetes.warm_pods`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgspec import structs

from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.sessions.workspace import WARM
from acpbot.storage.records import ThreadRecord
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.in_force import SettingsInForce
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.views import Reason

log = get_logger(__name__)

OLDEST_SECONDS: Final = 86_400.0
"""An older process is replaced: its program may have been updated, and it may have grown."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 300.0
_WANTED_ENDS: Final = frozenset({"evicted", "expired", "killed", "suspended", "stopped"})


class WarmAgents:
    """Looks after them. ``make`` makes the session of such a thread; ``clock``: monotonic, ``wall``: Unix seconds."""

    def __init__(
        self,
        settings: SettingsInForce,
        runtimes: Runtimes,
        table: SessionTable,
        make: Callable[[ThreadRecord, AgentSettings], Session],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._runtimes = runtimes
        self._table = table
        self._make = make
        self._clock = clock
        self._wall = wall
        self._begun: dict[Session, float] = {}
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}

    def take(self, agent: AgentSettings) -> Session | None:
        """The session of a process that waits for a thread with these settings, out of the table; ``None``: none."""
        wanted = _launched_with(agent)
        for session in self._begun:
            is_there = session.state == "warm" and session.process is not None and session.process.alive is True
            if is_there and _launched_with(session.agent_settings) == wanted:
                del self._begun[session], self._table.current[session.thread.thread_id]
                self._failures.pop(agent.name, None)
                return session
        return None

    def put_back(self, session: Session | None) -> None:
        """What was taken is not needed."""
        if session is None:
            return
        self._begun[session] = self._clock()
        self._table.current[session.thread.thread_id] = session

    def look(self) -> None:
        """End those that are not wanted any more, and start those that are missing. Called about once a second.

        Where no process can wait, the runtime may have places wait in which none runs yet.
        """
        self._runtimes.hold_places()
        now, wanted = self._clock(), self._wanted()
        count = dict.fromkeys(wanted, 0)
        for session, begun in list(self._begun.items()):
            agent = wanted.get(session.agent_settings.name)
            is_same = agent is not None and _launched_with(agent) == _launched_with(session.agent_settings)
            if agent is None or not is_same or now - begun >= OLDEST_SECONDS or count[agent.name] >= agent.warm:
                session.end("evicted")
            else:
                count[agent.name] += 1
        for name, agent in wanted.items():
            if now < self._retry_at.get(name, now):
                continue
            for _ in range(agent.warm - count[name]):
                if len(self._table.current) + len(self._table.closing) >= self._settings.now.pool.max_sessions:
                    return
                self._start(agent)

    def ended(self, session: Session, reason: Reason, detail: str | None) -> None:
        """One has ended. Where nobody wanted that, the next one of its agent waits, longer each time."""
        self._begun.pop(session, None)
        name = session.agent_settings.name
        if reason in _WANTED_ENDS:
            return
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        seconds = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures - 1, 20))
        self._retry_at[name] = self._clock() + seconds
        log.warning("warm_agent_failed", agent=name, reason=detail or reason, failures=failures, retry_in=seconds)

    def _wanted(self) -> dict[str, AgentSettings]:
        """The agents of which some are to be kept warm, by name."""
        agents = self._settings.now.agents
        return {name: agent for name, agent in agents.items() if agent.warm and self._may_be_warm(agent)}

    def _may_be_warm(self, agent: AgentSettings) -> bool:
        try:
            return not self._runtimes.of(agent.runtime).gives_home
        except AgentStartError:  # threads of this agent read why
            return False

    def _start(self, agent: AgentSettings) -> None:
        thread_id = f"warm.{secrets.token_hex(4)}"  # nobody can name a thread so: see check_thread_id
        now = self._wall()
        thread = ThreadRecord(thread_id, WARM, agent.name, None, None, rfc3339(now), now)
        session = self._table.current[thread_id] = self._make(thread, agent)
        self._begun[session] = self._clock()
        session.open()


def _launched_with(agent: AgentSettings) -> AgentSettings:
    """The settings as far as a process is started with them: the others are applied to its ACP session."""
    return structs.replace(agent, mode=None, model=None, options={}, warm=0)
