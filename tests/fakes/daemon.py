"""A real daemon in a process of its own, and a client of the wire as anyone could write one."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.support.coverage_environ import COVERAGE_ENVIRON

LIMIT = 20
# What systemd does for a unit with a socket: the descriptor is number 3, and the variables name the process itself.
HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}; "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
DEMO_AGENT = f'[agent]\ncommand = {json.dumps(sys.executable)}\nargs = ["-m", "acpbot.demo.agent"]\n'


class Wire:
    """A blocking client: lines out, lines in; notifications that come before an answer are kept."""

    def __init__(self, path: Path | str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        try:
            self.socket.connect(str(path))
        except BlockingIOError:  # a full backlog (unix(7)): a socket that blocks waits for its turn
            self.socket.settimeout(None)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", LIMIT, 0))
            self.socket.connect(str(path))
            self.socket.settimeout(LIMIT)
        self.lines = self.socket.makefile("rb")
        self.notifications: list[dict] = []
        self.last = 0
        self.hello = self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.lines.close()
        self.socket.close()

    def read(self) -> dict:
        line = self.lines.readline()
        assert line.endswith(b"\n"), f"the daemon closed: {line!r}"
        return json.loads(line)

    def send(self, method: str, **params) -> int:
        self.last += 1
        request = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        return self.last

    def answer(self, request_id: int) -> dict:
        while True:
            message = self.read()
            if "method" in message:
                self.notifications.append(message)
            elif message["id"] == request_id:
                return message

    def call(self, method: str, **params):
        answer = self.answer(self.send(method, **params))
        assert "result" in answer, answer
        return answer["result"]

    def refused(self, method: str, **params) -> dict:
        return self.answer(self.send(method, **params))["error"]

    def event(self, kind: str) -> dict:
        """The next chat.event of that type; those before it are dropped."""
        while True:
            message = self.notifications.pop(0) if self.notifications else self.read()
            if message.get("method") == "chat.event" and message["params"]["type"] == kind:
                return message["params"]

    def turn(self, thread: str, text: str) -> dict:
        """Send a prompt and wait for the end of its turn; permissions are given."""
        self.call("chat.send", thread=thread, text=text)
        while True:
            message = self.notifications.pop(0) if self.notifications else self.read()
            params = message.get("params", {})
            if params.get("type") == "permission":
                option = next(o["option_id"] for o in params["options"] if o["kind"] == "allow_once")
                self.call("chat.permit", thread=thread, request=params["request"], option=option)
            if params.get("type") == "turn_end":
                return params


class DaemonProcess:
    """`acpbot run` with a configuration of the test's own; ready when the constructor returns.

    ``handed``: a listening socket that it gets as systemd would hand it over. ``module``: run in acpbot's place.
    """

    def __init__(
        self,
        folder: Path,
        config: str = DEMO_AGENT,
        *,
        ready: bool = True,
        module: str = "acpbot",
        handed: socket.socket | None = None,
        **environ: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.socket = folder / "run" / "acpbot.sock"
        self.config = folder / "config.toml"
        self.config.write_text(config)
        self.log = folder / "daemon.log"
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(folder / "notify"))
        notify.settimeout(LIMIT)
        self.notify = notify
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environ = {
            **keep,
            **COVERAGE_ENVIRON,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "NOTIFY_SOCKET": str(folder / "notify"),
            "ACPBOT_SOCKET": str(self.socket),
            **environ,
        }
        prefix = [] if handed is None else ["-c", HAND_OVER, str(handed.fileno())]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *prefix, "-m", module, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=folder,
                pass_fds=[] if handed is None else [handed.fileno()],
            )
        if ready:
            self.wait_for(b"READY=1")

    def wait_for(self, state: bytes) -> None:
        """Wait until the daemon has reported this to the service manager."""
        name, _, value = state.decode().partition("=")
        while self.reported(name) != value:
            pass

    def reported(self, name: str) -> str:
        """The value in the next message to the service manager that has this name; those before it are dropped."""
        while name not in (message := self.message()):
            pass
        return message[name]

    def message(self) -> dict[str, str]:
        """The next message to the service manager."""
        try:
            lines = self.notify.recv(4096).decode().split("\n")
        except TimeoutError:
            raise AssertionError(f"nothing more is reported; the log says:\n{self.log.read_text()}") from None
        return dict(line.partition("=")[::2] for line in lines)

    def messages(self) -> list[dict[str, str]]:
        """The messages that have come."""
        found = []
        self.notify.setblocking(False)
        try:
            while True:
                found.append(self.message())
        except BlockingIOError:
            return found
        finally:
            self.notify.settimeout(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Kill it where it still runs, and leave the folder ready for another one."""
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)
        self.notify.close()
        (self.folder / "notify").unlink(missing_ok=True)

    def wire(self) -> Wire:
        return Wire(self.socket)

    def stop(self, signum: int = signal.SIGTERM, *, seconds: float = LIMIT) -> int:
        """Signal it and wait for its end, ``seconds`` at most; its exit status."""
        self.process.send_signal(signum)
        return self.process.wait(seconds)


def marked_processes(session_ids) -> list[int]:
    """The living processes that carry one of these session ids in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0] if environ else "Z"
        except OSError:
            continue
        if state != "Z" and any(f"ACPBOT_SESSION={session}".encode() in environ for session in session_ids):
            found.append(int(entry.name))
    return found
