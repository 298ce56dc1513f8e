"""One turn of the demo agent: the steps that its commands consist of. A cancel stops each of them at once."""

from __future__ import annotations

import os
import re
import select
import signal
import threading
import time

TYPE_CHECKING = False  # importing typing takes a fifth of the start-up time
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from acpbot.demo.agent_session import DemoSession

    class Host(Protocol):
        """What a turn uses of the agent."""

        pace: float
        children: Children
        ignoring: bool
        silent: bool
        boolean: bool

        def send(self, message: dict[str, Any]) -> None:
            """Write one message."""

        def write(self, data: bytes) -> None:
            """Write bytes as they are."""

        def request(self, method: str, params: dict[str, Any], answered: Callable[[dict[str, Any]], None]) -> None:
            """Send a request; the reading thread calls ``answered`` with the whole answer."""

        def leave(self, code: int) -> None:
            """Exit, and kill the children."""


OUTPUT_MAX = 10_000
"""Bytes of a command's output that are shown."""

SAID_MAX = 200
"""Characters of a command's output that the answer repeats."""

OPTIONS = [
    {"optionId": "allow-once", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "allow-always", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "reject-once", "name": "Reject", "kind": "reject_once"},
    {"optionId": "reject-always", "name": "Always reject", "kind": "reject_always"},
]
_PIECE = re.compile(r"\S+\s*|\s+")


class Cancelled(Exception):
    """The turn was cancelled."""


class Stop(Exception):
    """The turn ends here, with this stop reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Exception):
    """The turn is answered with a JSON-RPC error."""


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child with its process group, and reap it.

    The group is signalled before the leader is reaped: until then no other process can get its id.
    """
    if child.returncode is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


class Children:
    """The subprocesses of all turns, each the leader of a session and group of its own (setsid(2))."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may run while this thread holds it
        self._running: list[subprocess.Popen[bytes]] = []
        self._background: list[subprocess.Popen[bytes]] = []

    def start(self, argv: list[str], cwd: str, *, background: bool = False) -> subprocess.Popen[bytes]:
        """Start a command; stdout and stderr are one pipe; for a background command there is none. Raises `OSError`."""
        import subprocess  # noqa: PLC0415 - 6 ms that only turns with a tool need

        with self._lock:
            # A turn reaps its own children, but not those in the background.
            self._background = [child for child in self._background if child.poll() is None]
            self._running = [child for child in self._running if child.returncode is None]
            child = subprocess.Popen(
                argv,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if background else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.append(child)
            if background:
                self._background.append(child)
        return child

    def end_all(self) -> None:
        """Kill them all. The caller exits at once, so no other is started: the lock stays held."""
        self._lock.acquire()
        for child in self._running:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)


class DemoTurn:
    """One prompt and its answer. All but `cancel` is called by the turn's own thread."""

    def __init__(self, host: Host, session: DemoSession, request_id: Any, blocks: list[dict[str, Any]]) -> None:
        self.host = host
        self.session = session
        self.request_id = request_id
        self.blocks = blocks
        self.said: list[str] = []
        self.after: list[str] = []
        self._cancelled = False
        self._calls = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # Updates.

    def update(self, kind: str, /, **fields: Any) -> None:
        """Send one ``session/update``. Raises Cancelled."""
        self.check()
        self.send_update(kind, **fields)

    def send_update(self, kind: str, /, **fields: Any) -> None:
        """Send one ``session/update``, cancelled or not."""
        params = {"sessionId": self.session.session_id, "update": {"sessionUpdate": kind, **fields}}
        self.host.send({"jsonrpc": "2.0", "method": "session/update", "params": params})

    def chunk(self, text: str, kind: str = "agent_message_chunk") -> None:
        """Send one piece of the answer (or of another kind of message)."""
        self.update(kind, content={"type": "text", "text": text})
        if kind == "agent_message_chunk":
            self.said.append(text)

    def chunks(self, pieces: list[str], kind: str = "agent_message_chunk") -> None:
        """Stream pieces at the agent's pace."""
        for number, piece in enumerate(pieces):
            if number:
                self.pause(self.host.pace)
            self.chunk(piece, kind)

    def stream(self, text: str) -> None:
        """Stream exactly this text, word by word."""
        self.chunks(_PIECE.findall(text))

    def line(self, text: str) -> None:
        """Stream a sentence on a line of its own."""
        begun = self.said and not self.said[-1].endswith("\n")
        self.stream(f"\n{text}" if begun else text)

    # Waiting.

    def cancel(self) -> None:
        """Stop the turn, from any thread."""
        self._cancelled = True
        self.wake()

    def wake(self) -> None:
        """Make a waiting turn check its condition, from any thread."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def check(self) -> None:
        """Raise Cancelled where the turn is cancelled."""
        if self._cancelled:
            raise Cancelled

    def pause(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait ``seconds``, or until ``until()`` is true; whether it is. Raises Cancelled at once."""
        deadline = time.monotonic() + seconds
        for _ in self._wakings(deadline):
            self.check()
            if until():
                return True
        return False

    def _wakings(self, deadline: float) -> Iterator[None]:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        yield
        while (left := deadline - time.monotonic()) > 0:
            # poll(2) counts milliseconds in an int: wait a day at most, the loop waits again.
            if poller.poll(min(left, 86_400) * 1000):
                os.eventfd_read(self._wake)
            yield

    # Tools.

    def tool(self, title: str, kind: str, **fields: Any) -> str:
        """Send a pending tool call; its id."""
        self._calls += 1
        call = f"call-{self.request_id}-{self._calls}"
        self.update("tool_call", toolCallId=call, title=title, kind=kind, status="pending", **fields)
        return call

    def ask(self, call: str, title: str) -> str | None:
        """Ask for permission; the kind of the option that was chosen, ``None`` for none. Raises Cancelled."""
        answers: list[dict[str, Any]] = []

        def answered(answer: dict[str, Any]) -> None:
            answers.append(answer)
            self.wake()

        params = {
            "sessionId": self.session.session_id,
            "toolCall": {"toolCallId": call, "title": title, "kind": "execute", "status": "pending"},
            "options": OPTIONS,
        }
        self.host.request("session/request_permission", params, answered)
        try:
            self.pause(float("inf"), until=lambda: bool(answers))
        except Cancelled:
            self.send_update("tool_call_update", toolCallId=call, status="failed")
            raise
        result = answers[0].get("result")
        outcome = result.get("outcome") if isinstance(result, dict) else None
        chosen = outcome.get("optionId") if isinstance(outcome, dict) else None
        return next((option["kind"] for option in OPTIONS if option["optionId"] == chosen), None)

    def run(self, call: str, argv: list[str]) -> None:
        """Run a command as the body of a tool call until it exits. Raises Cancelled after its group has been killed."""
        self.update("tool_call_update", toolCallId=call, status="in_progress")
        try:
            child = self.start(argv)
        except OSError as error:
            self._finish(call, f"cannot run {argv[0]}: {error.strerror}", None)
            return
        output = bytearray()
        try:
            for piece in self._output(child):
                if len(output) < OUTPUT_MAX:
                    output += piece
                    content = _content(output[:OUTPUT_MAX].decode(errors="replace"))
                    self.update("tool_call_update", toolCallId=call, status="in_progress", content=content)
        except Cancelled:
            self.end_children()
            self.send_update("tool_call_update", toolCallId=call, status="failed")
            raise
        finally:
            end_group(child)
        self._finish(call, output[:OUTPUT_MAX].decode(errors="replace"), child.returncode)

    def _finish(self, call: str, text: str, code: int | None) -> None:
        status = "completed" if code == 0 else "failed"
        fields = {"content": _content(text), "rawOutput": {"exitCode": code}}
        self.update("tool_call_update", toolCallId=call, status=status, **fields)
        said = text.strip()[:SAID_MAX]
        self.line(f"The command {status}{'' if code in {0, None} else f' with status {code}'}: {said or 'no output'}")

    def _output(self, child: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """What the command writes until it exits: a grandchild may keep the pipe open for longer."""
        if child.stdout is None:
            return
        pidfd = os.pidfd_open(child.pid)
        pipe = child.stdout.fileno()
        os.set_blocking(pipe, False)
        poller = select.poll()
        for descriptor in (self._wake, pidfd, pipe):
            poller.register(descriptor, select.POLLIN)
        try:
            while True:
                ready = [descriptor for descriptor, _ in poller.poll()]
                self.check()
                if pipe in ready:
                    piece = os.read(pipe, 65_536)
                    if piece:
                        yield piece
                    else:
                        poller.unregister(pipe)
                elif pidfd in ready:
                    return
        finally:
            os.close(pidfd)

    def start(self, argv: list[str], *, background: bool = False) -> subprocess.Popen[bytes]:
        """Start a subprocess that a cancel of this turn ends. Raises `OSError`."""
        child = self.host.children.start(argv, self.session.cwd, background=background)
        self._started.append(child)
        return child

    def end_children(self) -> None:
        """Kill the process groups of all that this turn started."""
        for child in self._started:
            end_group(child)

    def close(self) -> None:
        """Release the descriptor; the turn has been answered."""
        with self._lock:
            os.close(self._wake)
            self._wake = -1


def _content(text: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": text}}] if text else []
