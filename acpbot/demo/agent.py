"""An ACP agent without a model: it implements the whole protocol, runs real subprocesses, and says what it is.

``python -m acpbot.demo.agent`` serves ACP version 1 (https://agentclientprotocol.com) on stdin and stdout. The
prompt ``help`` lists its commands; see :mod:`acpbot.demo.agent_commands`. It uses threads and only the standard
library, so that it starts as fast as Python does. Environment variables: ``ACPBOT_DEMO_STATE`` is the folder of the
sessions (default ``.demo-agent`` in the working directory), ``ACPBOT_DEMO_PACE`` the seconds between streamed chunks
(default 0.01; 0 for none).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from acpbot import __version__
from acpbot.demo.agent_commands import available_commands, perform, prompt_text
from acpbot.demo.agent_input import lines
from acpbot.demo.agent_session import EFFORTS, MODELS, MODES, DemoSession, SessionFiles
from acpbot.demo.agent_turn import Cancelled, Children, DemoTurn, Failed, Stop

TYPE_CHECKING = False  # importing typing takes a fifth of the start-up time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any, NoReturn

    Params = dict[str, Any]

PROTOCOL_VERSION = 1
CONTEXT_CHARACTERS = 1_000_000
"""The 'context window' of usage updates: there are no tokens here, so they count characters."""
TITLE_MAX = 60

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_FOUND = -32002

USAGE = """\
usage: python -m acpbot.demo.agent [--help | --version]

An ACP agent without a model, for demonstrations and tests. It reads JSON-RPC messages from stdin, one per line, and
writes its own to stdout; an ACP client talks to it. The prompt `help` lists what it can do.

  ACPBOT_DEMO_STATE  folder of the sessions (default: .demo-agent in the working directory)
  ACPBOT_DEMO_PACE   seconds between streamed chunks (default: 0.01)
"""
TERMINAL_HINT = """\
This is acpbot's demo agent: an ACP agent without a model. It expects JSON-RPC messages, one per line, from an ACP
client. You can be the client; Ctrl-D ends it:
{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/tmp","mcpServers":[]}}
{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"...","prompt":[{"type":"text","text":"help"}]}}
"""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RpcError(Exception):
    """A request is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class DemoAgent:
    """The agent: one reading thread, and one thread for each running turn."""

    def __init__(self, stdout: int, store: SessionFiles, pace: float) -> None:
        self.pace = pace
        self.children = Children()
        self.ignoring = False
        self.silent = False
        self.boolean = False
        self._stdout = stdout
        self._writing = threading.Lock()
        self._store = store
        self._sessions: dict[str, DemoSession] = {}
        self._turns: dict[str, tuple[DemoTurn, threading.Thread]] = {}
        self._asked: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._last_id = 0
        self._methods: dict[str, Callable[[Params], dict[str, Any]]] = {
            "initialize": self._initialize,
            "authenticate": lambda _params: {},
            "session/new": self._new,
            "session/load": self._load,
            "session/resume": self._resume,
            "session/list": self._list,
            "session/close": self._close,
            "session/set_mode": self._set_mode,
            "session/set_model": self._set_model,
            "session/set_config_option": self._set_config_option,
        }

    # Writing: called by any thread.

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        # A lone surrogate is written as the JSON escape that it was read from.
        self.write(f"{_encode(message)}\n".encode(errors="backslashreplace"))

    def write(self, data: bytes) -> None:
        """Write all bytes as they are, not mixed with what another thread writes."""
        if self.silent:
            return
        try:
            with self._writing:
                while data:
                    data = data[os.write(self._stdout, data) :]
        except OSError:  # the reader has closed the pipe
            self._input_ended()

    def request(self, method: str, params: Params, answered: Callable[[dict[str, Any]], None]) -> None:
        """Send a request; the reading thread calls ``answered`` with the whole answer."""
        with self._writing:
            self._last_id += 1
            number = self._last_id
        self._asked[number] = answered
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    def _refuse(self, request_id: Any, code: int, message: str) -> None:
        self.send({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})

    # Exiting.

    def leave(self, code: int) -> NoReturn:
        """Exit at once, and kill the process groups of the tools."""
        self.children.end_all()
        os._exit(code)

    def on_terminate(self, signum: int, _frame: FrameType | None) -> None:
        """Exit at SIGTERM, unless the prompt `ignore` has been used."""
        if not self.ignoring:
            self.leave(128 + signum)

    def _input_ended(self) -> None:
        if not self.ignoring:
            self.leave(0)

    # Reading: called by the main thread.

    def serve(self, lines: Iterable[bytes]) -> None:
        """Read until the end of stdin, then exit. Never returns."""
        try:
            for line in lines:
                if not self.silent and line.strip():
                    self._receive(line)
        except OSError as error:  # a terminal that hung up
            sys.stderr.write(f"cannot read stdin: {error.strerror}\n")
        self._input_ended()
        while True:
            signal.pause()

    def _receive(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse(None, PARSE_ERROR, "cannot read this line: it is not JSON")
            return
        if not isinstance(message, dict):
            self._refuse(None, INVALID_REQUEST, "cannot read this line: it is not a JSON object")
            return
        method, request_id = message.get("method"), message.get("id")
        params = message.get("params", {})
        if method is None and ("result" in message or "error" in message):
            answered = self._asked.pop(request_id, None) if isinstance(request_id, int) else None
            if answered is not None:
                answered(message)
            return
        if not isinstance(method, str) or not isinstance(params, dict):
            self._refuse(
                request_id, INVALID_REQUEST, "cannot read this message: it wants a method, and an object as params"
            )
        elif "id" not in message:
            if method == "session/cancel":
                self._cancel(params)
        else:
            self._dispatch(request_id, method, params)

    def _dispatch(self, request_id: Any, method: str, params: Params) -> None:
        if method != "session/prompt" and method not in self._methods:
            problem = f"cannot serve {method[:80]!r}: the demo agent has no such method"
            self._refuse(request_id, METHOD_NOT_FOUND, problem)
            return
        try:
            if method == "session/prompt":
                self._prompt(request_id, params)
                return
            result = self._methods[method](params)
        except RpcError as refused:
            self._refuse(request_id, refused.code, str(refused))
            return
        self.send({"jsonrpc": "2.0", "id": request_id, "result": result})
        if method in {"session/new", "session/load", "session/resume"}:
            session_id = result.get("sessionId") or params["sessionId"]
            update = {"sessionUpdate": "available_commands_update", "availableCommands": available_commands()}
            self._update(session_id, update)

    def _update(self, session_id: str, update: dict[str, Any]) -> None:
        params = {"sessionId": session_id, "update": update}
        self.send({"jsonrpc": "2.0", "method": "session/update", "params": params})

    # The methods. Each takes the params and returns the result, or raises Refused.

    def _initialize(self, params: Params) -> dict[str, Any]:
        if not isinstance(params.get("protocolVersion"), int):
            raise RpcError(INVALID_PARAMS, "cannot initialize: params want a protocolVersion, a number")
        self.boolean = _takes_booleans(params.get("clientCapabilities"))
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "agentInfo": {
                "name": "acpbot-demo-agent",
                "title": "Demo agent (no model)",
                "version": __version__,
            },
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True, "audio": False, "embeddedContext": True},
                "mcpCapabilities": {"http": False, "sse": False},
                "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
            },
            "authMethods": [],
        }

    def _new(self, params: Params) -> dict[str, Any]:
        session = DemoSession(f"demo-{os.urandom(8).hex()}", _cwd(params))
        self._sessions[session.session_id] = session
        self._store.save(session)
        return {"sessionId": session.session_id, **session.settings(boolean=self.boolean)}

    def _reopen(self, params: Params) -> DemoSession:
        session_id, cwd = _text(params, "sessionId"), _cwd(params)
        if session_id in self._turns:
            raise RpcError(INVALID_REQUEST, "cannot load the session: a turn runs in it")
        session = self._store.load(session_id)
        if session is None:
            raise RpcError(NOT_FOUND, f"cannot find session {session_id[:80]!r} in {self._store.folder}")
        session.cwd = cwd
        self._sessions[session_id] = session
        return session

    def _load(self, params: Params) -> dict[str, Any]:
        session = self._reopen(params)
        for role, text in session.history:
            kind = f"{role}_message_chunk"
            self._update(session.session_id, {"sessionUpdate": kind, "content": {"type": "text", "text": text}})
        return session.settings(boolean=self.boolean)

    def _resume(self, params: Params) -> dict[str, Any]:
        return self._reopen(params).settings(boolean=self.boolean)

    def _list(self, params: Params) -> dict[str, Any]:
        cwd = params.get("cwd")
        return {
            "sessions": [
                {
                    "sessionId": session.session_id,
                    "cwd": session.cwd,
                    "title": session.title,
                    "updatedAt": session.updated_at,
                }
                for session in self._store.all()
                if cwd is None or session.cwd == cwd
            ]
        }

    def _close(self, params: Params) -> dict[str, Any]:
        session = self._session(params)
        running = self._turns.get(session.session_id)
        if not self.ignoring:
            if running is not None:
                turn, thread = running
                turn.cancel()
                thread.join()
            del self._sessions[session.session_id]
        return {}

    def _set_mode(self, params: Params) -> dict[str, Any]:
        session = self._session(params)
        session.mode = _choice(params, "modeId", MODES)
        self._store.save(session)
        return {}

    def _set_model(self, params: Params) -> dict[str, Any]:
        session = self._session(params)
        session.model = _choice(params, "modelId", MODELS)
        self._store.save(session)
        return {}

    def _set_config_option(self, params: Params) -> dict[str, Any]:
        session = self._session(params)
        option = _choice(params, "configId", {"model": "", "effort": "", "footer": ""})
        if option == "model":
            session.model = _choice(params, "value", MODELS)
        elif option == "effort":
            session.effort = _choice(params, "value", EFFORTS)
        elif params.get("type") == "boolean" and isinstance(params.get("value"), bool):
            session.footer = params["value"]
        else:
            raise RpcError(INVALID_PARAMS, "cannot set footer: params want type boolean, and true or false as value")
        self._store.save(session)
        return {"configOptions": session.config_options(boolean=self.boolean)}

    def _session(self, params: Params) -> DemoSession:
        session_id = _text(params, "sessionId")
        session = self._sessions.get(session_id)
        if session is None:
            raise RpcError(NOT_FOUND, f"cannot find session {session_id[:80]!r}: it is not open here")
        return session

    # Turns.

    def _cancel(self, params: Params) -> None:
        running = self._turns.get(str(params.get("sessionId")))
        if running is not None and not self.ignoring:
            running[0].cancel()

    def _prompt(self, request_id: Any, params: Params) -> None:
        session = self._session(params)
        blocks = params.get("prompt")
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise RpcError(INVALID_PARAMS, "cannot take the prompt: params want a prompt, an array of content blocks")
        if session.session_id in self._turns:
            raise RpcError(INVALID_REQUEST, "cannot take the prompt: a turn runs in this session")
        turn = DemoTurn(self, session, request_id, blocks)
        thread = threading.Thread(target=self._run, args=(turn,), daemon=True)
        self._turns[session.session_id] = (turn, thread)
        thread.start()

    def _run(self, turn: DemoTurn) -> None:
        session = turn.session
        answer: dict[str, Any]
        try:
            answer = {"result": {"stopReason": self._perform(turn)}}
        except Failed as failed:
            answer = {"error": {"code": INTERNAL_ERROR, "message": str(failed)}}
        except Exception as error:  # noqa: BLE001 - the prompt is answered whatever a command raises
            answer = {"error": {"code": INTERNAL_ERROR, "message": f"cannot finish the turn: {error!r}"}}
        session.add("agent", "".join(turn.said))
        self._store.save(session)
        usage = {"sessionUpdate": "usage_update", "used": session.characters, "size": CONTEXT_CHARACTERS}
        self._update(session.session_id, usage)
        turn.close()
        # Before the answer: the client may send its next prompt as soon as it reads the answer.
        del self._turns[session.session_id]
        self.send({"jsonrpc": "2.0", "id": turn.request_id, **answer})
        for text in turn.after:
            turn.send_update("agent_message_chunk", content={"type": "text", "text": text})

    def _perform(self, turn: DemoTurn) -> str:
        session = turn.session
        text = prompt_text(turn.blocks)
        first = session.title is None
        session.add("user", text)
        if first:
            session.title = text.strip().partition("\n")[0][:TITLE_MAX].strip() or "Without words"
        self._store.save(session)
        try:
            if first:
                turn.update("session_info_update", title=session.title, updatedAt=session.updated_at)
            perform(turn)
            if session.footer:
                turn.line(f"(mode {session.mode}, model {session.model}, effort {session.effort})")
            turn.check()
        except Cancelled:
            turn.end_children()
            return "cancelled"
        except Stop as stop:
            return stop.reason
        return "end_turn"


def _takes_booleans(capabilities: Any) -> bool:
    """Whether a client declares ``session.configOptions.boolean``. Source: ACP, SessionConfigOptionsCapabilities."""
    found = capabilities
    for name in ("session", "configOptions", "boolean"):
        found = found.get(name) if isinstance(found, dict) else None
    return found is not None


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, f"cannot go on: params want {name}, a string")
    return value


def _choice(params: Params, name: str, choices: dict[str, str]) -> str:
    value = _text(params, name)
    if value not in choices:
        raise RpcError(INVALID_PARAMS, f"cannot set {name} to {value[:80]!r}: it is one of {', '.join(choices)}")
    return value


def _cwd(params: Params) -> str:
    cwd = _text(params, "cwd")
    if not cwd.startswith("/"):
        raise RpcError(INVALID_PARAMS, "cannot open the session: cwd must be an absolute path")
    return cwd


def _on_interrupt(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing at SIGINT. A handler, because the tools would inherit an ignored signal (signal(7))."""


def main(arguments: list[str]) -> int:
    """Run the agent on this process's stdio; the exit code where it does not start."""
    if arguments in (["--version"], ["--help"], ["-h"]):
        sys.stdout.write(f"acpbot-demo-agent {__version__}\n" if arguments == ["--version"] else USAGE)
        return 0
    if arguments:
        sys.stderr.write(f"cannot start: unknown argument {arguments[0]!r}; see --help\n")
        return 2
    try:
        pace = max(0.0, float(os.environ.get("ACPBOT_DEMO_PACE") or "0.01"))
    except ValueError:
        sys.stderr.write("cannot start: ACPBOT_DEMO_PACE is not a number of seconds\n")
        return 2
    folder = os.environ.get("ACPBOT_DEMO_STATE") or f"{os.getcwd()}/.demo-agent"  # noqa: PTH109 - pathlib costs start-up time
    agent = DemoAgent(sys.stdout.fileno(), SessionFiles(folder), pace)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, agent.on_terminate)
    signal.signal(signal.SIGINT, _on_interrupt)
    if sys.stdin.isatty():
        sys.stderr.write(TERMINAL_HINT)
    agent.serve(lines(sys.stdin.fileno()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
