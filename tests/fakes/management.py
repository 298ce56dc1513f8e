"""A scripted daemon on a real Unix socket, as far as the management wire goes.

It knows nothing of the real one: what it says is what a test tells it to say.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from acpctl import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Message = dict[str, Any]

METHODS = [
    "audit.list",
    "chat.command",
    "chat.conversations",
    "chat.leave",
    "chat.open",
    "chat.permit",
    "chat.send",
    "config.get",
    "daemon.drain",
    "daemon.reload",
    "events.list",
    "health.get",
    "sessions.cancel",
    "sessions.forget",
    "sessions.get",
    "sessions.kill",
    "sessions.list",
    "sessions.permit",
    "sessions.restart",
    "sessions.send",
    "sessions.suspend",
    "sessions.tail",
    "sessions.watch",
]


def row(thread_id: str, state: str = "idle", **other: Any) -> Message:
    """A row with every key of the wire; the numbers are those of a quiet session."""
    in_turn = state in {"busy", "waiting", "stuck"}
    return {
        "thread_id": thread_id,
        "session_id": None if state == "suspended" else f"s-{thread_id}-1",
        "platform": "discord",
        "agent": "default",
        "runtime": "local",
        "place": None,
        "state": state,
        "alive": state != "suspended",
        "cwd": f"/srv/work/{thread_id}",
        "title": None,
        "owner": "80351110224678912",
        "created_at": "2026-11-24T08:00:00.000Z",
        "idle_seconds": 0.0 if in_turn else 42.5,
        "turn_seconds": 192.0 if in_turn else None,
        "silent_seconds": 12.0 if in_turn else None,
        "activity": None,
        "waiting_for": None,
        "queued": 0,
        "turns": 3,
        "mode": None if state == "suspended" else "ask",
        "model": None if state == "suspended" else "opus",
        "context_used": None if state == "suspended" else 34_000,
        "context_size": None if state == "suspended" else 200_000,
        "cost": {"amount": 0.25, "currency": "USD"},
        "pid": None if state == "suspended" else 4242,
        "processes": None if state == "suspended" else 3,
        "rss_bytes": None if state == "suspended" else 123_731_968,
        "cpu_seconds": None if state == "suspended" else 7.25,
        "acp_session_id": "acp-1",
        "resumable": True,
        "last_end": None,
        **other,
    }


def detail(of: Message, **other: Any) -> Message:
    """What ``sessions.get`` has more than a row."""
    processes = [
        {"pid": 4242, "ppid": 1, "depth": 0, "command": "node agent.js", "state": "S"},
        {"pid": 4250, "ppid": 4242, "depth": 1, "command": "bash -c 'npm run dev'", "state": "S"},
        {"pid": 4251, "ppid": 4250, "depth": 2, "command": "node server.js", "state": "R"},
    ]
    numbers = {"rss_bytes": 41_000_000, "cpu_seconds": 2.5, "age_seconds": 190.0}
    return {
        **of,
        "stderr": ["listening on stdio", "warning: slow disk"],
        "tool_calls": [],
        "process_tree": [{**process, **numbers} for process in processes],
        **other,
    }


def health(*, ready: bool = True, **other: Any) -> Message:
    """An answer of ``health.get``."""
    return {
        "status": "ok" if ready else "not_ready",
        "live": True,
        "ready": ready,
        "checks": [
            {"name": "chat", "ok": ready, "reason": None if ready else "disconnected for 42 s"},
            {"name": "pool", "ok": True, "reason": None},
            {"name": "drain", "ok": True, "reason": None},
            {"name": "loop", "ok": True, "reason": None},
            {"name": "config", "ok": True, "reason": None},
        ],
        "uptime_seconds": 273_600.0,
        "version": "0.1.0",
        "state": "running",
        "chat": {
            "platform": "discord",
            "connected": ready,
            "since": "2026-11-24T08:00:00.000Z",
            "latency_ms": 42.4,
            "last_heartbeat_ack_seconds": 12.0,
        },
        "pool": {
            "sessions": 2,
            "max": 32,
            "starting": 0,
            "idle": 1,
            "busy": 1,
            "waiting": 0,
            "stuck": 0,
            "suspended": 4,
            "queued": 0,
        },
        "loop_lag_ms": 0.4,
        "rss_bytes": 61_000_000,
        **other,
    }


class WireError(Exception):
    """What a handler raises to be answered with an error."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": {"kind": kind}}


class Silence(Exception):
    """What a handler raises so that no answer comes."""


class Raw(Exception):
    """What a handler raises to have exactly these bytes sent, and the connection closed where ``close``."""

    def __init__(self, data: bytes, *, close: bool = False) -> None:
        super().__init__(data)
        self.data = data
        self.close = close


class Client:
    """One connection of acpctl, as a handler sees it. ``afterwards`` is done once its answer has been sent."""

    def __init__(self, stream: socket.socket) -> None:
        self.afterwards: list[Callable[[], None]] = []
        self._socket = stream
        self._lock = threading.Lock()

    def raw(self, data: bytes) -> None:
        """Send bytes; a client that has gone is none of our business."""
        with self._lock:
            try:
                self._socket.sendall(data)
            except OSError:
                return

    def line(self, message: Message) -> None:
        """Send one message."""
        self.raw(json.dumps(message).encode() + b"\n")

    def notify(self, method: str, params: Message) -> None:
        """Send a notification."""
        self.line({"jsonrpc": "2.0", "method": method, "params": params})

    def chat(self, thread: str, name: str, /, **event: Any) -> None:
        """Send a ``chat.event``."""
        self.notify("chat.event", {"thread": thread, "type": name, **event})

    def close(self) -> None:
        """End the connection; the reader of the other thread wakes."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class FakeDaemon:
    """``with FakeDaemon(path) as daemon:`` listens at ``path``; ``rows`` are the sessions, ``on`` answers else.

    ``greeting``: bytes in place of hello (``b""``: never a word); then it answers nothing. ``hello`` is changed by
    keyword.
    """

    def __init__(self, path: Path, *rows: Message, greeting: bytes | None = None, **hello: Any) -> None:
        self.path = path
        self.rows = list(rows)
        self.details: dict[str, Message] = {}
        self.hello = {
            "server": "acpbot",
            "version": __version__,
            "protocol": 1,
            "state": "running",
            "access": "admin",
            "capabilities": METHODS,
            **hello,
        }
        self.greeting = greeting
        self.requests: list[tuple[str, Message]] = []
        self.clients: list[Client] = []
        self._news = threading.Condition()
        self._handlers: dict[str, Callable[[Message, Client], Message]] = {
            "sessions.list": self._list,
            "sessions.get": self._get,
            "sessions.watch": lambda _, client: {**self._list({}, client), "seq": 0},
            "sessions.kill": self._kill,
            "sessions.cancel": lambda _, __: {"outcome": "cancelled"},
            "health.get": lambda _, __: health(),
            "daemon.drain": lambda params, _: {"state": "draining" if params["on"] else "running"},
            "chat.open": lambda params, _: {"session": row(params["thread"], platform="local")},
            "chat.command": lambda params, _: {"text": f"The {params['name']} is now {params.get('value')}."},
            "chat.leave": lambda _, __: {},
        }
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.disconnect()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def on(self, method: str, handler: Callable[[Message, Client], Message]) -> None:
        """Answer ``method`` with what ``handler`` returns; see WireError, Silence, Raw for the rest."""
        self._handlers[method] = handler

    def without(self, *methods: str) -> None:
        """Do not offer these."""
        self.hello["capabilities"] = [method for method in METHODS if method not in methods]
        for method in methods:
            self._handlers.pop(method, None)

    def asked(self, method: str) -> list[Message]:
        """The params of every request for ``method`` so far."""
        return [params for name, params in self.requests if name == method]

    def wait_for(self, method: str, times: int = 1) -> Message:
        """The params of the ``times``-th request for ``method``, once it has come."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.asked(method)) >= times, 10):
                raise AssertionError(f"no {method} came; there were {[name for name, _ in self.requests]}")
        return self.asked(method)[times - 1]

    def notify(self, method: str, params: Message) -> None:
        """Send a notification to whoever is connected."""
        for client in list(self.clients):
            client.notify(method, params)

    def disconnect(self) -> None:
        """End every connection."""
        for client in list(self.clients):
            client.close()

    # What it says by itself.

    def _list(self, params: Message, _: Client) -> Message:
        rows = [one for one in self.rows if params.get("suspended") or one["state"] != "suspended"]
        for name in params.keys() & {"state", "agent", "owner"}:
            rows = [one for one in rows if one[name] == params[name]]
        suspended = sum(one.get("state") == "suspended" for one in self.rows)
        return {"sessions": rows, "max_sessions": 32, "suspended": suspended}

    def _get(self, params: Message, _: Client) -> Message:
        asked = params["thread"]
        found = [one for one in self.rows if one["thread_id"] == asked]
        if not found and len(asked) >= 4:
            found = [one for one in self.rows if one["thread_id"].endswith(asked)]
        if not found:
            raise WireError(-32001, "not_found", f"cannot find thread {asked}")
        if len(found) > 1:
            raise WireError(-32002, "ambiguous", f"cannot tell which thread ends with {asked}: {len(found)} do")
        return {"session": self.details.get(found[0]["thread_id"]) or detail(found[0])}

    def _kill(self, params: Message, _: Client) -> Message:
        return {"results": [ended(target) for target in params["targets"]]}

    # Sockets.

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, stream)

    def _serve(self, stream: socket.socket) -> None:
        client = Client(stream)
        self.clients.append(client)
        with stream, stream.makefile("rb") as lines:
            if self.greeting is None:
                client.line({"jsonrpc": "2.0", "method": "hello", "params": self.hello})
            else:
                client.raw(self.greeting)
            try:
                for line in lines:
                    self._answer(json.loads(line), client)
            except OSError:
                pass  # the client has gone in the middle of something
            finally:
                self.clients.remove(client)

    def _answer(self, request: Message, client: Client) -> None:
        method, params = request["method"], request.get("params", {})
        with self._news:
            self.requests.append((method, params))
            self._news.notify_all()
        if self.greeting is not None:
            return
        answer: Message = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            answer["result"] = self._handlers.get(method, _unknown)(params, client)
        except WireError as error:
            answer["error"] = error.error
        except Silence:
            return
        except Raw as raw:
            client.raw(raw.data)
            if raw.close:
                client.close()
            return
        client.line(answer)
        then, client.afterwards = client.afterwards, []
        for action in then:
            action()


def _unknown(_: Message, __: Client) -> Message:
    raise WireError(-32601, "invalid", "cannot serve this: there is no such method")


def ended(target: Message, outcome: str = "ended", **other: Any) -> Message:
    """One result of ``sessions.kill``."""
    return {
        **target,
        "outcome": outcome,
        "reached": "eof" if outcome == "ended" else None,
        "processes_ended": 3 if outcome == "ended" else 0,
        "processes_left": 0,
        "seconds": 0.04,
        "resumable": True,
        **other,
    }
