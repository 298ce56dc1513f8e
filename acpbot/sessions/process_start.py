"""The start of a session's agent: its folders, its process in its place, and what that does meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from acpbot.errors import StartError
from acpbot.runtimes.homes import make_login_home
from acpbot.sessions import workspace
from acpbot.sessions.launch import launch
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acpbot.acp.agent import Agent
    from acpbot.config.in_force import SettingsInForce
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.runtimes.runtime import AgentProcess

_PROGRESS_LENGTH: Final = 100

T = TypeVar("T")


class ProcessStart:
    """Starts the process of one session. ``on_progress`` is called whenever ``progress`` has changed.

    ``progress``: what the start does now, in a few words for people; empty where that is not worth a word.
    """

    def __init__(
        self,
        settings: SettingsInForce,
        agent_settings: AgentSettings,
        runtimes: Runtimes,
        *,
        on_progress: Callable[[], None],
    ) -> None:
        self.progress = ""
        self._settings = settings
        self._agent_settings = agent_settings
        self._runtimes = runtimes
        self._on_progress = on_progress

    async def launch(self, cwd: Path, session_id: str, thread_id: str) -> tuple[AgentProcess, Agent]:
        """Make the folders, and start the process; nothing has been sent to it yet.

        Raises StartError (a folder can't be made), AgentStartError.
        """
        settings = self._agent_settings
        runtime = self._runtimes.of(settings.runtime)
        home = logins = None
        if not runtime.has_files_here:
            home = workspace.homes(self._settings.now.store) / thread_id
        else:
            await self.make_folder(cwd)
        if runtime.has_files_here and runtime.gives_home:
            home = await self._in_time(workspace.make_home, self._settings.now.store, thread_id)
            logins = await self._in_time(make_login_home, self._settings.now.store.path.parent, settings.name)
        return await launch(
            runtime, settings, cwd, session_id, thread_id=thread_id, home=home, logins=logins, progress=self._report
        )

    async def make_folder(self, cwd: Path) -> None:
        """Make the folder in which the agent is to work. Raises StartError."""
        await self._in_time(workspace.make_folder, self._settings.now.pool, cwd)

    def _report(self, text: str) -> None:
        shown = one_line(text, _PROGRESS_LENGTH)
        if shown != self.progress:
            self.progress = shown
            self._on_progress()

    async def _in_time(self, make: Callable[[Any, Any], T], settings: Any, folder: Any) -> T:
        """Make a folder beside the event loop: a file system may hang for minutes."""
        seconds = self._agent_settings.start_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await workspace.THREADS.run(make, settings, folder)
        except TimeoutError:
            raise StartError(
                f"cannot make the folder of {folder}: its file system has not answered for {seconds:g} s"
            ) from None
        except OSError as error:
            reason = f"{error.filename or folder}: {error.strerror or error}"
            raise StartError(f"cannot make the folder of {folder}: {reason}; see [store] path") from None
