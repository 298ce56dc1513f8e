"""An agent in a sandbox: a process of this machine below bwrap(1), which is its leader here."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from acpbot.runtimes.local.process import LocalProcess

_SIGNALLED: Final = 128
_SIGNALS: Final = frozenset(map(int, signal.Signals))


class SandboxedProcess(LocalProcess):
    """A `LocalProcess` whose leader is bwrap. When bwrap ends, the kernel ends all that is in the sandbox."""

    def terminate(self) -> None:
        """Send SIGTERM to the agent's process group. bwrap must not get it: it ends at once then, and the agent too."""
        if self.settled:
            return
        try:
            for first in Path(f"/proc/{self._leader}/task/{self._leader}/children").read_text().split():
                os.killpg(int(first), signal.SIGTERM)  # its first process, which starts the Unix session of the agent
                return
        except (FileNotFoundError, ProcessLookupError):
            pass
        super().terminate()  # the sandbox is not made yet

    def _on_exit(self, returncode: int) -> None:
        """Note the exit; bwrap's exit code is 128 and the number of the signal that has ended the agent."""
        number = returncode - _SIGNALLED
        super()._on_exit(-number if number in _SIGNALS else returncode)
