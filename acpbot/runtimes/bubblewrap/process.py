"""An agent in a sandbox: a process of this machine below bwrap(1), which is its leader here.

bwrap is two processes: the leader, and below it the first process of the sandbox's process namespace, which starts a
Unix session and in it the agent, as its first child. Both end together with the agent.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local.process import LocalProcess

if TYPE_CHECKING:
    from acpbot.runtimes.runtime import ProcessInfo

_SIGNALLED: Final = 128
_SIGNALS: Final = frozenset(map(int, signal.Signals))


class SandboxedProcess(LocalProcess):
    """A `LocalProcess` whose leader is bwrap. When bwrap ends, the kernel ends all that is in the sandbox."""

    def terminate(self) -> None:
        """Send SIGTERM to the agent's process group. bwrap must not get it: it ends at once then, and the agent too."""
        if self.settled:
            return
        first = _first_child(self._leader)
        agent = None if first is None else _first_child(first)
        if first is None or agent is None:
            super().terminate()  # the sandbox is not made yet
            return
        # The first process ignores it: it has no handler (pid_namespaces(7)). The agent may have begun its own session.
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            own = os.getpgid(agent)
            os.killpg(first, signal.SIGTERM)
            if own != first:
                os.killpg(own, signal.SIGTERM)

    def _with_mains(self, found: list[ProcessInfo]) -> list[ProcessInfo]:
        """Return them with ``is_main``, the agent first: it is the oldest child of the sandbox's first process."""
        first = next((info.pid for info in found if info.ppid == self._leader), None)
        inside = [info for info in found if first is not None and info.ppid == first]
        if not inside:  # the sandbox is being made, or it ends
            return super()._with_mains(found)
        agent = min(inside, key=lambda info: (info.start_time, info.pid))
        mains = [
            replace(info, is_main=True)
            for info in found
            if info.pid not in (self._leader, first) and info.pgid == agent.pgid
        ]
        pids = {info.pid for info in mains}
        return [
            *sorted(mains, key=lambda info: info.pid != agent.pid),
            *(info for info in found if info.pid not in pids),
        ]

    def _on_exit(self, returncode: int) -> None:
        """Note the exit; bwrap's exit code is 128 and the number of the signal that has ended the agent."""
        number = returncode - _SIGNALLED
        super()._on_exit(-number if number in _SIGNALS else returncode)


def _first_child(pid: int) -> int | None:
    """Return the process that this one has started first, of those that run; ``None`` where there is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None
