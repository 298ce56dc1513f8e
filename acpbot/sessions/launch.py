"""Starts an agent: its process in a runtime, ACP over its stdin and stdout, and the error text where that fails."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING, Final

from acpbot.acp import schema
from acpbot.acp.agent import Agent
from acpbot.aio import DISK
from acpbot.errors import AgentError, AgentGone, AgentNotSignedIn, AgentRefused, AgentStartError
from acpbot.runtimes.runtime import LaunchSpec
from acpbot.sessions.stderr_cause import find_cause
from acpbot.sessions.turn import NOT_SIGNED_IN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from acpbot.config.mcp_servers import McpServer
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.runtime import AgentProcess, Progress, Runtime

_EXIT_SECONDS: Final = 0.5
# The login of each common agent in a terminal, by its program.
_LOGINS: Final = {
    "auggie": "auggie login",
    "claude-agent-acp": "claude /login",
    "codex-acp": "codex login --device-auth",
    "copilot": "copilot login",
    "gemini": "gemini",
    "hermes-acp": "hermes setup",
    "opencode": "opencode auth login",
    "qwen": "qwen",
}


def find_programs(servers: Sequence[McpServer], env: Mapping[str, str]) -> dict[str, str]:
    """The absolute paths of the servers' commands, by these, as they are found on the agent's own PATH."""
    search = env.get("PATH", os.defpath)
    commands = {str(server.command) for server in servers if server.command is not None}
    return {command: path for command in commands if (path := shutil.which(command, path=search)) is not None}


async def launch(
    runtime: Runtime,
    settings: AgentSettings,
    cwd: Path,
    session_id: str,
    *,
    thread_id: str = "",
    home: Path | None = None,
    logins: Path | None = None,
    progress: Progress = lambda _: None,
) -> tuple[AgentProcess, Agent]:
    """Start the process of an agent; nothing has been sent to it yet. Raises AgentStartError.

    ``home`` and ``logins``: the thread's own HOME and that of the agent's sign-in, where the runtime gives homes.
    """
    env = runtime.environment(settings, home)
    argv = (settings.command, *settings.args)
    programs: dict[str, str] | None = None
    if settings.mcp_servers and runtime.sees_programs(argv):  # elsewhere, they may have other paths
        programs = await DISK.run(find_programs, settings.mcp_servers, env)
    agent = Agent(
        settings.name,
        start_timeout=settings.start_timeout_seconds,
        environ=env,
        auth_method=settings.auth_method,
        mcp_servers=settings.mcp_servers,
        programs=programs,
    )
    spec = LaunchSpec(
        argv=argv,
        cwd=cwd,
        env=env,
        session_id=session_id,
        memory_max=settings.memory_max,
        pids_max=settings.pids_max,
        process_namespace=settings.process_namespace,
        thread_id=thread_id,
        agent=settings.name,
        home=home,
        logins=logins,
        bubblewrap=settings.bubblewrap,
        container=settings.container,
        kubernetes=settings.kubernetes,
    )
    process = await runtime.launch(spec, agent, progress)
    agent.stream = process
    return process, agent


async def exit_cause(process: AgentProcess) -> str | None:
    """Why the agent, whose stdout has ended, has ended, in a few words; ``None``: its exit is not seen at once."""
    try:
        async with asyncio.timeout(_EXIT_SECONDS):
            await process.wait()
    except TimeoutError:
        return None
    return process.end_reason


def ended_text(cause: str | None) -> str:
    """What the agent did, as a clause for operators; ``cause`` as :func:`exit_cause` has it."""
    return "closed its output" if cause is None else f"ended ({cause})"


def not_signed_in(settings: AgentSettings, error: AgentRefused) -> str:
    """What an operator reads: why, which methods the agent offers, and what to run."""
    program = settings.command.rpartition("/")[2]
    offered = f"; it offers {error.methods}" if isinstance(error, AgentNotSignedIn) else ""
    login = _LOGINS.get(program)
    command = f"acpbot exec {settings.name} -- {login}" if login else f"acpbot exec {settings.name}"
    way_out = f"run `{command}` and sign in there, or give it an API key in env, or set auth_method"
    if settings.runtime == "kubernetes":
        way_out = "give it an API key by secrets in its table kubernetes, or in env, or set auth_method"
    problem = f"it isn't signed in ({error.said}){offered}"
    return f"cannot start agent {settings.name!r} ({settings.command}): {problem}; {way_out}"


async def start_error(settings: AgentSettings, process: AgentProcess, error: AgentError) -> AgentStartError:
    """Why an agent could not be started, with what its stderr says of the reason."""
    if isinstance(error, AgentStartError):
        return error
    if isinstance(error, AgentGone):
        reason = f"it {ended_text(await exit_cause(process))} before it answered"
    elif isinstance(error, AgentNotSignedIn) or (
        isinstance(error, AgentRefused) and error.code == schema.AUTH_REQUIRED
    ):
        return AgentStartError(not_signed_in(settings, error), for_people=NOT_SIGNED_IN)
    else:
        reason = str(error).removeprefix("cannot go on: ")
    program = settings.command.rpartition("/")[2]
    cause = find_cause(process.stderr.lines(), program).text
    more = f"; {cause}" if cause else ""
    return AgentStartError(f"cannot start agent {settings.name!r} ({settings.command}): {reason}{more}")
