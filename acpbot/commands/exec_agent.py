"""`acpbot exec`: run a command, such as a login, as an agent would: with its environment, in its folder."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from acpbot.config import loader
from acpbot.config.values import nearest
from acpbot.errors import AgentStartError, ExecError
from acpbot.runtimes import homes
from acpbot.runtimes.local.runtime import environment
from acpbot.runtimes.login_programs import way_to
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.config.settings import AgentSettings


def exec_agent(path: Path | None, name: str, command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by ``command``, a shell where it is empty, so that its exit status is ours.

    Where the agent runs in containers the command does so too, with the agent's login folder as its HOME. There is none
    for agents in pods: it is refused.

    ``path`` is --config or ``None``; ``name`` is a key of ``[agents]``. The folder is the agent's working_dir, else its
    HOME: the folder of a thread is made by the daemon only. Raises ConfigError, ExecError.
    """
    settings = loader.load(path, environ)
    agent = settings.agents.get(name)
    if agent is None:
        meant = nearest(name, settings.agents)
        hint = f"did you mean {meant}?" if meant else f"the configuration has {', '.join(settings.agents)}"
        raise ExecError(operator_line(f"cannot run a command for agent {name[:80]!r}: there is no such agent; {hint}"))
    if agent.runtime == "bubblewrap":
        from acpbot.runtimes.bubblewrap.terminal import exec_inside  # noqa: PLC0415 - only where it is named

        socket = loader.socket_path(settings, None, environ)
        exec_inside(settings, agent, list(command) or ["/bin/sh"], environ, socket)
    if agent.runtime == "container":
        _exec_in_container(settings.store.path.parent, agent, command, environ)
    if agent.runtime == "kubernetes":
        # It would run on this machine, without what the agent has, and with what it may not have.
        problem = f"cannot run a command for agent {name!r}: it runs in pods; sign it in with secrets in its table "
        problem += "kubernetes, or use `kubectl exec` in a thread's pod (`acpctl show` names it)"
        raise ExecError(operator_line(problem))
    env = environment(environ, agent)
    folder = agent.working_dir or Path(env.get("HOME", "/"))
    argv = list(command) or [environ.get("SHELL") or "/bin/sh"]
    try:
        os.chdir(folder)
    except OSError as error:
        reason = f"{error.strerror}; create it or correct working_dir"
        raise ExecError(operator_line(f"cannot run a command in {folder}: {reason}")) from None
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 - a shell is started only where nothing else was asked for
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"cannot run {argv[0][:200]}: {reason}; {way_to(argv[0])}, or set PATH in env of the agent"
        raise ExecError(operator_line(problem), not_found=isinstance(error, FileNotFoundError)) from None


def _exec_in_container(
    state: Path, agent: AgentSettings, command: Sequence[str], environ: Mapping[str, str]
) -> NoReturn:
    """Become the container engine's client, which runs the command in the agent's image. Raises ExecError."""
    from acpbot.runtimes.container.exec_words import exec_words  # noqa: PLC0415 - only where an agent names it

    try:
        home = homes.make_login_home(state, agent.name)
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        argv, env = asyncio.run(exec_words(agent, home, command, environ, on_terminal=on_terminal))
        os.execve(argv[0], argv, env)  # noqa: S606 - its path is known
    except AgentStartError as error:
        raise ExecError(operator_line(str(error))) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"cannot run a command in a container: {reason}; check [store] path, and that the engine works"
        raise ExecError(operator_line(problem)) from None
