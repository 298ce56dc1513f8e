"""The ACP messages that acpbot uses, as msgspec structs (protocol version 1).

What an agent adds to them is kept: an update has its body as decoded JSON, unknown kinds and fields included, and the
typed views below are made from it where they are needed.
Source: https://agentclientprotocol.com/protocol/schema.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

import msgspec

from acpbot.acp import lenient
from acpbot.acp.content import in_words

PROTOCOL_VERSION: Final = 1
CANCELLED_ERROR: Final = -32800
AUTH_REQUIRED: Final = -32000

OptionKind = Literal["allow_once", "allow_always", "reject_once", "reject_always"]

STOP_REASONS: Final = frozenset({"end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"})

CONTENT_KINDS: Final = frozenset(
    {"user_message_chunk", "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan"}
)
"""The update kinds that are a turn's content; all others are about the session itself."""


class Update(msgspec.Struct, frozen=True, gc=False):
    """One ``session/update``: ``kind`` is its ``sessionUpdate``, ``body`` what is kept of it.

    :mod:`acpbot.acp.bounds` says what that is. ``cut``: something of it was left out, since it was too long.
    """

    session_id: str
    kind: str
    body: dict[str, Any]
    cut: bool = False


class Implementation(msgspec.Struct, frozen=True):
    """Who the agent says that it is."""

    name: str = ""
    version: str = ""
    title: str | None = None


class PromptCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """Which content blocks a prompt may carry beside text and links."""

    image: bool = False
    audio: bool = False
    embedded_context: bool = False


class McpCapabilities(msgspec.Struct, frozen=True):
    """Which MCP servers the agent can reach beside those that it starts itself."""

    http: bool = False
    sse: bool = False


class AgentCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """What the agent advertises. It offers ``session/NAME`` where ``session_capabilities`` has NAME and not null."""

    load_session: bool = False
    prompt_capabilities: PromptCapabilities = PromptCapabilities()
    mcp_capabilities: McpCapabilities = McpCapabilities()
    session_capabilities: dict[str, Any] = {}


class InitializeResult(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to ``initialize``."""

    protocol_version: int
    agent_capabilities: AgentCapabilities = AgentCapabilities()
    agent_info: Implementation | None = None
    auth_methods: list[dict[str, Any]] = []


class SessionResult(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to ``session/new``, ``session/load`` and ``session/resume`` (the latter two without an id)."""

    session_id: str | None = None
    modes: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    config_options: list[dict[str, Any]] | None = None


class SessionPage(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to ``session/list``: some of the sessions, and where the next ones begin.

    Source: https://agentclientprotocol.com/protocol/session-list.
    """

    sessions: list[dict[str, Any]] = []
    next_cursor: str | None = None


class PromptResult(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to ``session/prompt``. Unknown stop reasons are passed on; one that names none has ended its turn."""

    stop_reason: str = "end_turn"


class PermissionOption(msgspec.Struct, frozen=True, rename="camel"):
    """One answer that the agent offers; ids are arbitrary, kinds may repeat and may be unknown."""

    option_id: str
    name: str = ""
    kind: str = ""


_NULL: Final = msgspec.Raw(b"null")
_NO_OPTIONS: Final = msgspec.Raw(b"[]")
_NO_MEMBERS: Final = msgspec.Raw(b"{}")


class PermissionParams(msgspec.Struct, frozen=True, rename="camel"):
    """The parameters of ``session/request_permission``."""

    session_id: str
    options: list[PermissionOption] = []
    tool_call: msgspec.Raw = _NO_MEMBERS

    def decoded_call(self) -> dict[str, Any]:
        """The tool call. It is decoded when it is needed, because that takes many times the memory."""
        return _decode_object(self.tool_call)

    def repeats_a_name(self) -> bool:
        """Whether an object of the tool call has a name twice: which value a reader takes is open (RFC 8259, 4)."""
        found = False

        def note(pairs: list[tuple[str, Any]]) -> None:
            nonlocal found
            found = found or len(pairs) != len(dict(pairs))

        try:
            json.loads(bytes(self.tool_call), object_pairs_hook=note)
        except RecursionError:
            return True  # it is nested too deeply to find out
        return found


class _LargeToolCall(msgspec.Struct, frozen=True, rename="camel"):
    tool_call_id: msgspec.Raw = _NULL
    title: msgspec.Raw = _NULL
    kind: msgspec.Raw = _NULL


class _LargePermissionParams(msgspec.Struct, frozen=True, rename="camel"):
    session_id: str
    options: msgspec.Raw = _NO_OPTIONS
    tool_call: _LargeToolCall = _LargeToolCall()


PERMISSION_BYTES_MOST: Final = 1024 * 1024
"""Of the parameters of a permission request that is kept whole."""

_CONTAINERS_MOST: Final = 50_000  # a byte of JSON may become 30 bytes of memory
_OPTIONS_BYTES_MOST: Final = 65_536
_OPTIONS_MOST: Final = 64
_OPTION_ID_MOST: Final = 1000
_OPTION_NAME_MOST: Final = 200
_TITLE_MOST: Final = 1000
_decode_large_permission: Final = msgspec.json.Decoder(_LargePermissionParams).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


def permission_params(params: msgspec.Raw, *, cut: bool = False) -> tuple[PermissionParams, bool]:
    """The parameters of a permission request, and whether they are whole.

    Of those that were ``cut`` before, over :data:`PERMISSION_BYTES_MOST`, or with very many objects and arrays, only
    the options, and the id, title and kind of the tool call are kept. Raises msgspec.MsgspecError, UnicodeDecodeError,
    RecursionError.
    """
    data = bytes(params)
    few = data.count(b"{") + data.count(b"[") <= _CONTAINERS_MOST
    whole = not cut and len(data) <= PERMISSION_BYTES_MOST and few
    if whole:
        found, dropped = lenient.decode(data, PermissionParams)
        if "options" in dropped:  # nobody knows what could be answered
            raise msgspec.ValidationError("options is not a list")
        _decode_object(found.tool_call)  # whether it can be decoded later
        options, call = found.options, found.tool_call.copy()  # without the data around it
    else:
        large = _decode_large_permission(data)
        session_id, raw = large.session_id, large.options
        short = len(bytes(raw)) <= _OPTIONS_BYTES_MOST
        options = lenient.decode(bytes(raw), list[PermissionOption])[0] if short else []
        members = {
            "toolCallId": large.tool_call.tool_call_id,
            "title": large.tool_call.title,
            "kind": large.tool_call.kind,
        }
        known = {key: value for key, value in members.items() if len(bytes(value)) <= _TITLE_MOST}
        found, call = PermissionParams(session_id), msgspec.Raw(msgspec.json.encode(known))
    return msgspec.structs.replace(found, options=_usable_options(options), tool_call=call), whole


def _usable_options(options: list[PermissionOption]) -> list[PermissionOption]:
    """The options without those of which nobody can say what they do: one id for several kinds. 64 at most."""
    kinds: dict[str, set[str]] = {}
    for option in options:
        kinds.setdefault(option.option_id, set()).add(option.kind)
    found: dict[str, PermissionOption] = {}
    for option in options:
        if len(option.option_id) <= _OPTION_ID_MOST and len(kinds[option.option_id]) == 1:
            named = msgspec.structs.replace(option, name=option.name[:_OPTION_NAME_MOST], kind=option.kind[:40])
            found.setdefault(option.option_id, named)
    return list(found.values())[:_OPTIONS_MOST]


class UpdateParams(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The parameters of ``session/update``."""

    session_id: str
    update: dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """A typed view of ``tool_call`` and ``tool_call_update``: ``None`` means that the update does not say."""

    tool_call_id: str
    title: str | None
    kind: str | None
    status: str | None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def tool_call(body: dict[str, Any]) -> ToolCall | None:
    """The tool call that an update or a permission request is about; ``None`` without an id."""
    identity = body.get("toolCallId")
    if not isinstance(identity, str):
        return None
    return ToolCall(identity, _text(body.get("title")), _text(body.get("kind")), _text(body.get("status")))


def chunk_text(body: dict[str, Any]) -> str:
    """The text of a message or thought chunk; a block that isn't text gives a short description of it."""
    content = body.get("content")
    if not isinstance(content, dict):
        return ""
    if isinstance(text := content.get("text"), str):
        return text
    return in_words(content)


def resource_block(uri: str, text: str) -> dict[str, Any]:
    """An embedded resource of a prompt: a text, for an agent with ``embedded_context``."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": text}}


def text_block(text: str) -> dict[str, Any]:
    """A text content block of a prompt."""
    return {"type": "text", "text": text}


def apart(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks of a prompt with a blank line after each text before another block.

    Agents put the blocks of a prompt together without anything in between: the last word of a text would become one
    with what follows.
    """
    return [*map(_with_blank_line, blocks[:-1]), *blocks[-1:]]


def _with_blank_line(block: dict[str, Any]) -> dict[str, Any]:
    text = block.get("text") if block.get("type") == "text" else None
    return {**block, "text": f"{text}\n\n"} if isinstance(text, str) and not text.endswith("\n") else block
