"""`acpbot check`: show the settings in force, and start every agent once."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.commands.check_online import try_token
from acpbot.config import loader
from acpbot.config.describe import describe
from acpbot.errors import AgentError
from acpbot.runtimes.local.launcher import choose_launcher
from acpbot.sessions.launch import launch, start_error
from acpbot.sessions.terminate import terminate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acpbot.acp.agent import Agent
    from acpbot.config.settings import AgentSettings, Settings
    from acpbot.runtimes.runtime import Launcher


def check(path: Path | None, environ: Mapping[str, str], say: Callable[[str], None], *, online: bool) -> bool:
    """Show the settings in force and try each agent, with ``online`` also the bot token; whether all is well.

    ``path`` is --config or ``None``. ``say`` prints one line or several. Raises ``ConfigError``.
    """
    return asyncio.run(_check(loader.load(path, environ), environ, say, online=online))


async def _check(settings: Settings, environ: Mapping[str, str], say: Callable[[str], None], *, online: bool) -> bool:
    say(describe(settings).rstrip())
    for warning in settings.warnings:
        say(f"warning: {warning}")
    socket = loader.socket_path(settings, None, environ)
    say(f"\nsocket: {socket if settings.management.enabled else 'off'}")
    launcher, reason = choose_launcher("auto", owns_children=True)
    say(f"containment: {launcher.kind} ({reason})")
    try:
        results = [await _try_agent(launcher, agent, environ, say) for agent in settings.agents.values()]
    finally:
        await launcher.aclose()
    if online:
        results.append(await try_token(settings, say))
    return all(results)


async def _try_agent(
    launcher: Launcher, settings: AgentSettings, environ: Mapping[str, str], say: Callable[[str], None]
) -> bool:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="acpbot-check-") as folder:
        cwd = Path(folder) if settings.working_dir is None else settings.working_dir
        try:
            process, agent = await launch(launcher, settings, environ, cwd, f"check-{settings.name}")
        except AgentError as error:
            say(f"agent {settings.name}: {error}")
            return False
        try:
            await agent.initialize()
            await agent.open(cwd)
            say(f"agent {settings.name}: ok in {time.monotonic() - started:.2f} s; {_advertised(agent)}")
            for limit in process.limits_not_held:
                say(f"agent {settings.name}: {limit}")
        except AgentError as error:
            say(f"agent {settings.name}: {await start_error(settings, process, error)}")
            return False
        finally:
            ending = await terminate(agent, process, grace=2.0)
    if process.elsewhere is not None:
        say(
            f"warning: agent {settings.name}: {process.elsewhere} runs it elsewhere, where acpbot can't see it: "
            "a kill can't verify that nothing is left there"
        )
    elif ending.processes_left != 0:
        left = "some processes may be" if ending.processes_left is None else f"{ending.processes_left} processes are"
        say(f"agent {settings.name}: cannot end it: {left} left")
        return False
    return ending.ended


def _advertised(agent: Agent) -> str:
    capabilities = agent.capabilities
    name = "no name" if agent.info is None else f"{agent.info.name} {agent.info.version}".strip()
    sessions = sorted(key for key, value in capabilities.session_capabilities.items() if value is not None)
    if capabilities.load_session:
        sessions.append("load")
    prompts = [key for key in ("image", "audio", "embedded_context") if getattr(capabilities.prompt_capabilities, key)]
    return f"{name}; sessions: {', '.join(sessions) or 'none'}; prompts: {', '.join(['text', *prompts])}"
