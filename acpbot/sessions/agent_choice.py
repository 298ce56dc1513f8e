"""Which agent a thread uses, also after a reload that changes or removes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.errors import AgentRemoved, InvalidParams
from acpbot.sessions.views import OutdatedSessions, changed_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from acpbot.config.in_force import SettingsInForce
    from acpbot.config.settings import AgentSettings
    from acpbot.sessions.session import Session
    from acpbot.storage.records import ThreadRecord


class AgentChoice:
    """The agents of the settings in force; and those that a reload has removed, which threads that have them keep."""

    def __init__(self, settings: SettingsInForce) -> None:
        self._settings = settings
        self._removed: dict[str, AgentSettings] = {}

    def keep_removed(self, wanted: Collection[str], used: Collection[str]) -> None:
        """Other settings are about to hold, with the agents ``wanted``: keep those that are gone and ``used``."""
        known = self._removed | dict(self._settings.now.agents)
        self._removed = {name: known[name] for name in used if name not in wanted and name in known}

    def of(self, thread_id: str, thread: ThreadRecord | None, agent: str | None, channel: str | None) -> AgentSettings:
        """The agent that a thread is to use: ``agent``, else its own, else that of its channel, else the default.

        Raises InvalidParams.
        """
        settings = self._settings.now
        name = agent or (settings.agent_of(channel) if thread is None else thread.agent)
        choice = settings.agents.get(name)
        if choice is not None:
            return choice
        names = ", ".join(sorted(settings.agents))
        if thread is None or thread.agent != name:
            raise InvalidParams(f"cannot use agent {name[:40]!r}: the agents are {names}")
        if name not in self._removed:
            way_out = f"choose {names} with /agent in Discord, or with `acpctl chat {thread_id} --agent NAME`"
            gone = "it is no longer in the configuration"
            raise AgentRemoved(f"cannot use agent {name[:40]!r} of {thread_id}: {gone}; {way_out}", name)
        return self._removed[name]

    def outdated(self, sessions: Iterable[Session]) -> list[OutdatedSessions]:
        """Those that still use earlier settings of their agents: only their end changes that."""
        found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for session in sessions:
            if session.is_warm:
                continue  # it is replaced
            agent = session.agent_settings.name
            now = self._settings.now.agents.get(agent)
            wanted = None if now is None else self._settings.now.in_channel(now, session.thread.channel)
            if keys := changed_keys(session.agent_settings, wanted):
                found.setdefault((agent, keys), []).append(session.thread.thread_id)
        return [OutdatedSessions(agent, keys, tuple(threads)) for (agent, keys), threads in found.items()]

    def removed(self, used: Mapping[str, int]) -> dict[str, int]:
        """Of the agents that so many threads use, those that are no longer in the configuration."""
        return {name: count for name, count in used.items() if name not in self._settings.now.agents}
