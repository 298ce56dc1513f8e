"""Starts an agent: its process in a runtime, ACP over its stdin and stdout, and the error text where that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.acp import schema
from acpbot.acp.agent import Agent
from acpbot.errors import AgentError, AgentGone, AgentRefused, AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.runtime import LaunchSpec, exit_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from acpbot.runtimes.runtime import AgentProcess, Launcher

log = get_logger(__name__)

INHERITED: Final = ("HOME", "PATH", "USER", "LANG", "TERM", "TMPDIR")

_EXIT_SECONDS: Final = 0.5


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of agent is started. ``start_timeout``: seconds for each of initialize and opening the session."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    start_timeout: float = 60.0
    memory_max: int | None = None
    pids_max: int | None = None


def environment(environ: Mapping[str, str], inherit: tuple[str, ...], own: Mapping[str, str]) -> dict[str, str]:
    """What an agent inherits: a few plain variables, those named in ``inherit``, and its ``own``; nothing else."""
    variables: dict[str, str] = {}
    for name in (*INHERITED, *inherit):
        if name in environ:
            variables[name] = environ[name]
    variables.update(own)
    return variables


async def launch(launcher: Launcher, profile: Profile, cwd: Path, session_id: str) -> tuple[AgentProcess, Agent]:
    """Start the process of an agent; nothing has been sent to it yet. Raises AgentStartError.

    A limit that does not hold is logged, once for this session.
    """
    agent = Agent(profile.name, start_timeout=profile.start_timeout)
    spec = LaunchSpec(
        argv=profile.argv,
        cwd=cwd,
        env=profile.env,
        session_id=session_id,
        memory_max=profile.memory_max,
        pids_max=profile.pids_max,
    )
    process = await launcher.launch(spec, agent)
    agent.stream = process
    for missing in process.limits_not_held:
        log.warning(
            "limit_not_held", session=session_id, agent=profile.name, limit=missing.limit, reason=missing.reason
        )
    return process, agent


async def describe_exit(process: AgentProcess) -> str:
    """How the leader ended, for people; its stdout can end a moment before its exit is seen."""
    try:
        async with asyncio.timeout(_EXIT_SECONDS):
            code = await process.wait()
    except TimeoutError:
        return "closed its output"
    return f"ended ({exit_text(code)})"


async def start_error(profile: Profile, process: AgentProcess, error: AgentError) -> AgentStartError:
    """Why an agent could not be started, with the last line of its stderr where there is one."""
    if isinstance(error, AgentStartError):
        return error
    if isinstance(error, AgentGone):
        reason = f"it {await describe_exit(process)} before it answered"
    elif isinstance(error, AgentRefused) and error.code == schema.AUTH_REQUIRED:
        reason = f"it wants you to sign in ({error})"
    else:
        reason = str(error).removeprefix("cannot go on: ")
    line = next((line for line in reversed(process.stderr.lines()) if line.strip()), "")
    quoted = f"; its last words: {line.strip()[:200]}" if line else ""
    return AgentStartError(f"cannot start agent {profile.name!r} ({profile.argv[0]}): {reason}{quoted}")
