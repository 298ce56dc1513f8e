"""`/file`: shows a file of the thread's folder to one of those who control the thread, and to nobody else.

Where all threads share a folder, it is a file of that folder: the person can have the agent read it anyway.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from acpbot.chat.discord.interactions.menus import Menu
from acpbot.chat.discord.interactions.upload_slots import BUSY
from acpbot.chat.discord.outbound.rest import FILE_BYTES_MOST, File
from acpbot.chat.rendering.markdown import code
from acpbot.logs import get_logger
from acpbot.sessions import workspace_files
from acpbot.sessions.workspace_files import FileNotRead
from acpbot.text import one_line, size_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.access import CurrentSettings
    from acpbot.chat.discord.interactions.call import Call
    from acpbot.chat.discord.interactions.upload_slots import UploadSlots
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)
T = TypeVar("T")

SECONDS: Final = 20.0
"""How long the file system may take."""

PROPOSAL_SECONDS: Final = 1.0
EMPTY: Final = "That file is empty."
SLOW: Final = "The file system isn't responding right now. Please try again in a moment."
NO_PATH: Final = "Name a file in this thread's folder, e.g. `/file path:README.md`."
_NAME_MAX: Final = 100
_PROPOSALS: Final = 25


class FileCommand:
    """Reads a file of a known thread. Who may give the command is checked before."""

    def __init__(self, settings: CurrentSettings, pool: Pool, slots: UploadSlots) -> None:
        self._settings = settings
        self._pool = pool
        self._slots = slots

    async def run(self, call: Call) -> Menu:
        """The file, or why there is none."""
        path = call.options.get("path", "").strip()
        if not path:
            return Menu(NO_PATH)
        if not self._slots.take(call):
            return Menu(BUSY)
        try:
            content = await self._read(call, path, SECONDS, workspace_files.read_file, FILE_BYTES_MOST)
        except FileNotRead as error:
            return Menu(str(error))
        except TimeoutError:
            log.warning("file_read_timed_out", thread=call.thread_id)
            return Menu(SLOW)
        log.info("file_shown", user=call.user_id, thread=call.thread_id, path=path, size=len(content))
        if not content:
            return Menu(EMPTY)
        name = one_line(path.rstrip("/").rpartition("/")[2], _NAME_MAX) or "file"
        return Menu(f"{code(path, 200)}, {size_words(len(content))}. Only you can see it.", file=File(name, content))

    async def proposals(self, call: Call) -> list[tuple[str, str]]:
        """Paths that begin with what the person has typed; none where that takes too long."""
        typed = call.options.get("path", "")
        try:
            paths = await self._read(call, typed, PROPOSAL_SECONDS, workspace_files.list_paths, _PROPOSALS)
        except (FileNotRead, TimeoutError):
            return []
        return [(path, path) for path in paths]

    async def _read(
        self, call: Call, path: str, seconds: float, read: Callable[[Path, Path, str, int], T], most: int
    ) -> T:
        """Call it for the thread's folder, beside the event loop. Raises FileNotRead, TimeoutError."""
        row = self._pool.row(call.thread_id)
        if row.runtime == "kubernetes":
            raise FileNotRead(workspace_files.ELSEWHERE)
        folder = Path(row.cwd)
        async with asyncio.timeout(seconds):
            return await workspace_files.THREADS.run(read, self._settings.now.pool.workspace, folder, path, most)
