"""Runs a command, such as a login, in an agent's sandbox on this terminal, with the HOME for logins."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from acpbot.errors import ExecError
from acpbot.runtimes.bubblewrap.command import OPTIONS_AT, Place, inside
from acpbot.runtimes.bubblewrap.hidden import hidden_files
from acpbot.runtimes.bubblewrap.probe import can_scope_sockets, find_bwrap, probe
from acpbot.runtimes.bubblewrap.runtime import environment
from acpbot.runtimes.bubblewrap.sandbox import Refused
from acpbot.runtimes.homes import make_login_home
from acpbot.runtimes.local.spawn_server import scope_sockets
from acpbot.runtimes.local.spawner import memory_file
from acpbot.runtimes.login_programs import way_to
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.config.settings import AgentSettings, Settings


def exec_inside(
    settings: Settings, agent: AgentSettings, argv: Sequence[str], environ: Mapping[str, str], socket: Path | None
) -> NoReturn:
    """Replace this process by bwrap, whose exit status is the command's. Raises ExecError.

    The folder is the agent's working_dir, else HOME. ``socket``: the daemon's, which stays hidden.
    """
    try:
        home = make_login_home(settings.store.path.parent, agent.name)
        env = environment(environ, agent, home)
        search = env.get("PATH", os.defpath)
        program = shutil.which(argv[0], path=search)
        if program is None:
            problem = f"cannot run {argv[0][:200]}: it was not found in {search}; {way_to(argv[0])}"
            raise ExecError(operator_line(problem), not_found=True)
        bwrap = find_bwrap(environ)
        probe(bwrap)
        sources = (home, *([Path(environ["HOME"])] if "HOME" in environ else []))
        hidden = hidden_files(settings, socket, environ)
        folder = agent.working_dir or home
        place = Place(folder, home, agent.bubblewrap, sources, agent.command.rpartition("/")[2], hidden)
        own = shutil.which(agent.command, path=search)
        command = inside(bwrap, [program, *argv[1:]], env, place, terminal=True, also=own)
        files = [memory_file(content) for content in command.files]
        high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, OPTIONS_AT + len(files)) for file in files]
        for number, file in enumerate(high, OPTIONS_AT):
            os.dup2(file, number)
        if agent.bubblewrap.network and can_scope_sockets(bwrap):
            scope_sockets(ctypes.CDLL(None, use_errno=True))
        os.execve(bwrap, command.argv, env)  # noqa: S606 - a shell is started only where nothing else was asked for
    except Refused as refused:
        raise ExecError(operator_line(f"cannot run a command in bubblewrap: {refused}")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ExecError(operator_line(f"cannot run a command in bubblewrap: {reason}; see [store] path")) from None
