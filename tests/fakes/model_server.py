"""A model without a model: three interfaces of model servers on loopback, scripted by the words of the prompt.

It answers by the last line of the newest user message that begins with one of these words:

    say TEXT      TEXT, a word at a time
    tell NAME     the text of that name that the server was given
    run COMMAND   a call of the shell tool that the request offers; once its result is there, the result in words
    escalate COMMAND   the same, outside of the agent's own sandbox, where the tool has a parameter for that
    explain COMMAND    a sentence, and then the same as run
    choose QUESTION | A | B   a call of the tool by which claude asks its user, with the choices A and B
    slow          a word, then silence until the client leaves or `ModelServer.release` is called
    fail STATUS   an HTTP error of that status; every time that it is asked
    cut           a word, then silence until `ModelServer.release` is called, and then the connection is cut
    recall        every earlier user message of the conversation that began with 'say': what a resume must keep

Anything else is echoed. Requests that offer no tools are an agent's own (titles, summaries) and get a short line.

The wire formats: https://platform.openai.com/docs/api-reference/chat-streaming and .../responses-streaming, and
https://docs.claude.com/en/api/messages-streaming.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST: Final = "127.0.0.1"
MODEL: Final = "scripted"
_WORDS: Final = re.compile(
    r"^[ \t]*(say|tell|run|explain|escalate|choose|slow|fail|cut|recall)\b[ \t]*(.*?)[ \t]*$", re.MULTILINE
)
_SHELL_TOOLS: Final = (
    "bash",
    "Bash",
    "shell_command",
    "run_shell_command",
    "exec_command",
    "shell",
    "container.exec",
    "execute_command",
    "terminal",
)
_USAGE: Final = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}

_NOT_WRITTEN = ("<system-reminder>", "<context ", "acpbot:///")
"""How the parts of a user's message begin that claude makes: its own notes, and what comes with a prompt."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a conversation. ``role``: system, user, assistant or tool."""

    role: str
    text: str


@dataclass(kw_only=True)
class Request:
    """What an agent asked of the model, whichever of the interfaces it came by. ``tools``: JSON schemas by name.

    ``key``: what it was signed in with. ``answering`` is set once the first word is out; ``over`` once the answer is,
    and then ``left`` tells whether the client went away before its end. ``last_piece_at``: when its newest piece was
    written (CLOCK_MONOTONIC).
    """

    number: int
    api: str
    body: dict[str, Any]
    history: list[Message]
    tools: dict[str, dict[str, Any]]
    key: str = ""
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False
    last_piece_at: float = 0.0

    @property
    def users(self) -> list[str]:
        """What the user said, oldest first."""
        return [message.text for message in self.history if message.role == "user"]

    @property
    def words(self) -> tuple[str, str]:
        """The script's word and what follows it; empty where the user said none."""
        found = _WORDS.findall(self.users[-1]) if self.users else []
        return found[-1] if found else ("", self.users[-1] if self.users else "")

    @property
    def results(self) -> list[str]:
        """The tool results since the newest user message."""
        since = itertools.takewhile(lambda message: message.role != "user", reversed(self.history))
        return [message.text for message in since if message.role == "tool"][::-1]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model says: pieces of text, then perhaps a tool call; or an error. ``hold``: then silence; ``cut``."""

    pieces: tuple[str, ...] = ()
    tool: str | None = None
    arguments: str = ""
    status: int = 200
    hold: bool = False
    cut: bool = False


def pieces(text: str) -> tuple[str, ...]:
    """Return a text in pieces, as a model streams it: each word with the blank before it."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def script(request: Request, texts: Mapping[str, str]) -> Reply:
    """Return what the model says to a request. ``texts``: those that the server was given."""
    if not request.tools:
        return Reply(pieces=pieces("A scripted conversation"))
    if request.results:
        return Reply(pieces=pieces(f"The tool said: {request.results[-1].strip()}"))
    word, rest = request.words
    match word:
        case "run" | "explain" | "escalate":
            tool = next((name for name in _SHELL_TOOLS if name in request.tools), None)
            if tool is None:
                return Reply(pieces=pieces(f"No shell among: {', '.join(sorted(request.tools))}"))
            escalates = word == "escalate" and "sandbox_permissions" in request.tools[tool].get("properties", {})
            extra = {"sandbox_permissions": "require_escalated", "justification": "scripted"} if escalates else {}
            first = pieces("I look at it first.") if word == "explain" else ()
            return Reply(
                pieces=first, tool=tool, arguments=json.dumps(_shell_arguments(request.tools[tool], rest) | extra)
            )
        case "tell":
            return Reply(pieces=pieces(texts.get(rest, f"There is no text {rest}")))
        case "choose":
            question, *labels = (part.strip() for part in rest.split("|"))
            options = [{"label": label, "description": f"About {label}"} for label in labels]
            asked = {"question": question, "header": "Choice", "options": options, "multiSelect": False}
            return Reply(tool="AskUserQuestion", arguments=json.dumps({"questions": [asked]}))
        case "slow":
            return Reply(pieces=("Thinking",), hold=True)
        case "fail":
            return Reply(status=int(rest or 500))
        case "cut":
            return Reply(pieces=("Half",), cut=True)
        case "recall":
            told = [text for said in request.users[:-1] for verb, text in _WORDS.findall(said) if verb == "say"]
            return Reply(pieces=pieces(f"You told me: {'; '.join(told) or 'nothing'}"))
    return Reply(pieces=pieces(rest))


def _shell_arguments(schema: dict[str, Any], command: str) -> dict[str, Any]:
    """Return arguments for a shell tool, by its schema: agents disagree on names, and on a string or a list."""
    properties = schema.get("properties", {})
    name = next(name for name in ("command", "cmd", "script") if name in properties)
    as_list = properties[name].get("type") == "array"
    arguments: dict[str, Any] = {name: ["bash", "-c", command] if as_list else command}
    for other in schema.get("required", []):
        arguments.setdefault(other, "a scripted command" if properties[other].get("type") == "string" else 60_000)
    return arguments


def _text_of(content: Any) -> str:
    """Return the text of a message's content in either interface: a string, or parts that may hold text."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _text_of(content.get("text") or content.get("content") or content.get("output"))
    return "".join(_text_of(part) for part in content or [])


def _chat_history(body: dict[str, Any]) -> list[Message]:
    return [Message(role=item["role"], text=_text_of(item.get("content"))) for item in body["messages"]]


def _responses_history(body: dict[str, Any]) -> list[Message]:
    history = []
    for item in body["input"]:
        if item.get("type", "message") == "message":
            history.append(Message(role=item["role"], text=_text_of(item.get("content"))))
        elif item["type"].endswith("_output"):
            history.append(Message(role="tool", text=_text_of(item.get("output"))))
    return history


def _messages_history(body: dict[str, Any]) -> list[Message]:
    """Messages of several parts; what the agent adds to the user's words, in tags, is no part of them."""
    history = []
    for item in body["messages"]:
        parts = item["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            if part["type"] == "tool_result":
                history.append(Message(role="tool", text=_text_of(part.get("content"))))
            elif part["type"] == "text" and not part["text"].lstrip().startswith(_NOT_WRITTEN):
                history.append(Message(role=item["role"], text=part["text"]))
    return history


class ModelServer:
    """The server; ``async with ModelServer() as model``. ``requests`` holds all that was asked, oldest first.

    ``texts``: what the word ``tell`` answers with. ``pace``: seconds after each piece.
    """

    def __init__(self, texts: Mapping[str, str] | None = None, *, pace: float = 0.0) -> None:
        self.texts = texts or {}
        self.pace = pace
        self.requests: list[Request] = []
        self.base_url = ""
        self.unknown: list[str] = []
        self._arrived = asyncio.Condition()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; ``base_url`` ends in /v1 from now on. A restart keeps its port where it is given."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_get("/v1/responses", self._no_websocket)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_route("*", "/{path:.*}", self._elsewhere)
        # A handler is cancelled when its client leaves: that is how a stopped answer is seen.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        await site.start()
        self.base_url = f"http://{HOST}:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Let go of every client; the port refuses connections."""
        self.release()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def release(self) -> None:
        """End every answer that is held back."""
        self._released.set()
        self._released = asyncio.Event()

    async def asked(self, word: str, *, times: int = 1, limit: float = 60.0) -> Request:
        """Wait until the script's word was asked for so many times; return the last of them. ``limit``: seconds.

        Requests that bring a tool's result are its continuation and don't count.
        """

        def enough() -> bool:
            return len(fits()) >= times

        def fits() -> list[Request]:
            return [asked for asked in self.requests if asked.tools and not asked.results and asked.words[0] == word]

        async with asyncio.timeout(limit), self._arrived:
            await self._arrived.wait_for(enough)
        return fits()[times - 1]

    async def _models(self, _request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "acpbot"}
        return web.json_response({"object": "list", "data": [model]})

    async def _no_websocket(self, _request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "cannot upgrade: only HTTP is served"}}, status=426)

    async def _count(self, _request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 7})

    async def _elsewhere(self, request: web.Request) -> web.Response:
        self.unknown.append(f"{request.method} {request.path}")
        return web.json_response({"error": {"message": f"cannot find {request.path}", "type": "not_found"}}, status=404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in body.get("tools", [])}
        asked = await self._note("chat", request, _chat_history(body), tools)
        return await self._answer(request, asked, _ChatVoice(asked))

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        offered = [tool for tool in body.get("tools", []) if tool.get("name")]
        tools = {tool["name"]: tool.get("parameters", {}) for tool in offered}
        asked = await self._note("responses", request, _responses_history(body), tools)
        return await self._answer(request, asked, _ResponsesVoice(asked))

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        offered = [tool for tool in body.get("tools", []) if tool.get("input_schema")]
        tools = {tool["name"]: tool["input_schema"] for tool in offered}
        asked = await self._note("messages", request, _messages_history(body), tools)
        return await self._answer(request, asked, _MessagesVoice(asked))

    async def _note(self, api: str, request: web.Request, history: list[Message], tools: dict) -> Request:
        body, key = await request.json(), request.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Request(number=len(self.requests) + 1, api=api, body=body, history=history, tools=tools, key=key)
        async with self._arrived:
            self.requests.append(asked)
            self._arrived.notify_all()
        return asked

    async def _answer(self, request: web.Request, asked: Request, voice: _Voice) -> web.StreamResponse:
        reply = script(asked, self.texts)
        try:
            if reply.status != web.HTTPOk.status_code:
                kind = "invalid_request_error" if reply.status < 500 else "server_error"
                error = {"message": "scripted failure", "type": kind, "code": None}
                return web.json_response({"error": error}, status=reply.status)
            if not asked.body.get("stream"):
                error = {
                    "message": "cannot answer: only streams are served; set stream",
                    "type": "invalid_request_error",
                }
                return web.json_response({"error": error}, status=400)
            return await self._stream(request, asked, voice, reply)
        except (asyncio.CancelledError, ConnectionResetError):
            asked.left = True
            raise
        finally:
            asked.answering.set()
            asked.over.set()

    async def _stream(self, request: web.Request, asked: Request, voice: _Voice, reply: Reply) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        released = self._released
        await response.prepare(request)
        for event in voice.begin():
            await response.write(_sse(event))
        for piece in reply.pieces:
            for event in voice.piece(piece):
                await response.write(_sse(event))
            asked.last_piece_at = time.monotonic()
            asked.answering.set()
            await asyncio.sleep(self.pace)
        if reply.hold or reply.cut:
            await released.wait()
        if reply.cut:
            transport = request.transport
            assert transport is not None
            transport.abort()
            return response
        for event in voice.end(reply):
            await response.write(_sse(event))
        await response.write_eof()
        return response


def _sse(event: dict[str, Any] | str) -> bytes:
    """Return one server-sent event; all interfaces but Chat Completions name their events."""
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


class _ChatVoice:
    """An answer in the words of Chat Completions."""

    def __init__(self, asked: Request) -> None:
        self._frame = {"id": f"chatcmpl-{asked.number}", "created": 1_700_000_000, "model": MODEL}
        self._call = f"call_{asked.number}"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self._frame, "object": "chat.completion.chunk", "choices": [choice], **more}

    def _tool(self, reply: Reply) -> dict[str, Any]:
        return {"id": self._call, "type": "function", "function": {"name": reply.tool, "arguments": reply.arguments}}

    def begin(self) -> list[Any]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def piece(self, text: str) -> list[Any]:
        return [self._chunk({"content": text})]

    def end(self, reply: Reply) -> list[Any]:
        call = [self._chunk({"tool_calls": [{"index": 0, **self._tool(reply)}]})] if reply.tool else []
        last = self._chunk({}, "tool_calls" if reply.tool else "stop", usage=_USAGE)
        return [*call, last, "[DONE]"]


class _ResponsesVoice:
    """An answer in the words of Responses: every event is numbered, every item is opened, filled and closed."""

    def __init__(self, asked: Request) -> None:
        self._number = asked.number
        self._events = itertools.count()
        self._text = ""
        self._item = f"msg_{asked.number}"

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(self._events), **fields}

    def _response(self, status: str, output: list[Any]) -> dict[str, Any]:
        usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
        frame = {"id": f"resp_{self._number}", "object": "response", "created_at": 1_700_000_000, "model": MODEL}
        return {**frame, "status": status, "output": output, "usage": usage if status == "completed" else None}

    def _message(self, status: str) -> dict[str, Any]:
        content = [{"type": "output_text", "text": self._text, "annotations": []}] if self._text else []
        return {"type": "message", "id": self._item, "role": "assistant", "status": status, "content": content}

    def _tool(self, reply: Reply) -> dict[str, Any]:
        number = self._number
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
        return {**call, "name": reply.tool, "arguments": reply.arguments}

    def begin(self) -> list[Any]:
        return [self._event("response.created", response=self._response("in_progress", []))]

    def piece(self, text: str) -> list[Any]:
        events = []
        if not self._text:
            events.append(self._event("response.output_item.added", output_index=0, item=self._message("in_progress")))
        self._text += text
        place = {"item_id": self._item, "output_index": 0, "content_index": 0}
        events.append(self._event("response.output_text.delta", delta=text, **place))
        return events

    def end(self, reply: Reply) -> list[Any]:
        items = [self._message("completed")] if self._text else []
        items += [self._tool(reply)] if reply.tool else []
        done = [
            self._event("response.output_item.done", output_index=index, item=item) for index, item in enumerate(items)
        ]
        return [*done, self._event("response.completed", response=self._response("completed", items))]


class _MessagesVoice:
    """An answer in the words of Messages: each block is opened, filled and closed."""

    def __init__(self, asked: Request) -> None:
        self._number = asked.number
        self._model = asked.body.get("model", MODEL)
        self._open = False

    def begin(self) -> list[Any]:
        frame = {"id": f"msg_{self._number}", "type": "message", "role": "assistant", "model": self._model}
        usage = {"input_tokens": 7, "output_tokens": 1}
        message = {**frame, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return [{"type": "message_start", "message": message}]

    def piece(self, text: str) -> list[Any]:
        block = {"type": "text", "text": ""}
        start = [] if self._open else [{"type": "content_block_start", "index": 0, "content_block": block}]
        self._open = True
        delta = {"type": "text_delta", "text": text}
        return [*start, {"type": "content_block_delta", "index": 0, "delta": delta}]

    def end(self, reply: Reply) -> list[Any]:
        events: list[Any] = [{"type": "content_block_stop", "index": 0}] if self._open else []
        if reply.tool:
            index = int(self._open)
            block = {"type": "tool_use", "id": f"toolu_{self._number}", "name": reply.tool, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": reply.arguments}
            events += [
                {"type": "content_block_start", "index": index, "content_block": block},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        stop = {"stop_reason": "tool_use" if reply.tool else "end_turn", "stop_sequence": None}
        return [
            *events,
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]


_Voice = _ChatVoice | _ResponsesVoice | _MessagesVoice


async def _serve() -> None:
    async with ModelServer() as model:
        print(model.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(_serve())
    except KeyboardInterrupt:
        sys.exit(130)
