"""From settings to what the floors below take: the same at the start, at a reload, and for `acpbot check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.sessions.launch import Profile, environment
from acpbot.sessions.observer import Limits
from acpbot.sessions.pool import AgentChoice, PoolLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.config.settings import AgentSettings, Settings


def profile(settings: AgentSettings, environ: Mapping[str, str]) -> Profile:
    """How an agent of the configuration is started."""
    return Profile(
        name=settings.name,
        argv=(settings.command, *settings.args),
        env=environment(environ, settings.inherit_env, settings.env),
        start_timeout=settings.start_timeout_seconds,
        memory_max=settings.memory_max,
        pids_max=settings.pids_max,
    )


def agent_choices(settings: Settings, environ: Mapping[str, str]) -> dict[str, AgentChoice]:
    """The agents that threads may use, by name."""
    return {
        agent.name: AgentChoice(profile=profile(agent, environ), working_dir=agent.working_dir)
        for agent in settings.agents.values()
    }


def pool_limits(settings: Settings) -> PoolLimits:
    """What sessions are held to."""
    pool = settings.pool
    return PoolLimits(
        max_sessions=pool.max_sessions,
        idle_seconds=pool.idle_timeout_seconds,
        ttl_seconds=pool.session_ttl_hours * 3600,
        turn_timeout_seconds=pool.turn_timeout_seconds,
        on_stuck=pool.on_stuck,
        session=Limits(
            policy=settings.permissions.policy,
            permission_seconds=settings.permissions.timeout_seconds,
            grace_seconds=pool.grace_seconds,
            stuck_after_seconds=pool.stuck_after_seconds,
            max_queued=pool.max_queued,
        ),
    )
