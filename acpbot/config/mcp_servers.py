"""``mcp_servers`` of an agent: the MCP servers that it is given with each session.

Source: https://agentclientprotocol.com/protocol/session-setup#mcp-servers.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence  # noqa: TC003 - read at run time, through typing.get_type_hints
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from acpbot.config import field_types as ft
from acpbot.config.values import nearest, quoted_key, show, to_toml

_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_STDIO: Final = ("args", "env")
_REMOTE: Final = ("type", "headers")


def header_fields(value: object, location: ft.KeyLocation) -> dict[str, str]:
    """A table of HTTP header fields (RFC 9110, section 5); every value is a ``Secret``."""
    made = ft.variables(value, location)
    seen: set[str] = set()
    for name, item in made.items():
        if not _FIELD_NAME.fullmatch(name):
            raise ft.InvalidValue(f"one with the name {show(name)}")
        if name.lower() in seen:
            raise ft.InvalidValue(f"one with {quoted_key(name)} twice", "remove one")
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", item):
            raise ft.InvalidValue(f"one where {quoted_key(name)} holds a control character", "write it on one line")
        seen.add(name.lower())
    return made


class McpServer(Struct, frozen=True, kw_only=True):
    """One MCP server: ``command`` with ``args`` and ``env`` is a program, which the agent starts; ``url`` is elsewhere.

    Exactly one of ``command`` and ``url`` is set. ``type`` is how the agent speaks with ``url``.
    """

    name: Annotated[
        str,
        ft.text,
        Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z", description="1 to 64 of a-z, A-Z, 0-9, _ and -", examples=["docs"]),
    ]
    command: (
        Annotated[
            str,
            ft.program,
            Meta(description="the name of a program on the agent's PATH or its absolute path", examples=["npx"]),
        ]
        | None
    ) = None
    args: Annotated[
        tuple[Annotated[str, ft.masked_text, Meta(examples=["--stdio"])], ...], Meta(description="a list of strings")
    ] = ()
    env: Annotated[
        Mapping[str, str], ft.variables, Meta(description="a table of strings", examples=[{"NAME": "text"}])
    ] = types.MappingProxyType({})
    type: Literal["http", "sse"] = "http"
    url: (
        Annotated[
            str,
            ft.http_url,
            Meta(description="a URL that begins with https:// or http://", examples=["https://mcp.example/mcp"]),
        ]
        | None
    ) = None
    headers: Annotated[
        Mapping[str, str],
        header_fields,
        Meta(description="a table of HTTP headers", examples=[{"Authorization": "Bearer ${TOKEN}"}]),
    ] = types.MappingProxyType({})

    @property
    def transport(self) -> Literal["stdio", "http", "sse"]:
        """How the agent reaches it."""
        return "stdio" if self.url is None else self.type

    def keys(self) -> dict[str, object]:
        """The keys that mean something for such a server, with their values."""
        names = ("name", "command", *_STDIO) if self.url is None else ("name", "url", *_REMOTE)
        return {name: getattr(self, name) for name in names}


def mcp_server(value: object, location: ft.KeyLocation) -> McpServer:
    """One item of ``mcp_servers``. Raises ``ConfigError``, which names the server; ``InvalidValue`` for no table."""
    if not isinstance(value, dict):
        raise ft.InvalidValue
    if "name" not in value:
        raise location.error('has a server without a name; add for example name = "docs"')
    name = _read("name", value["name"], _below(location, ": the server"))
    here = _below(location, f": the server {to_toml(name)}")
    fields = {key: _read(key, item, here) for key, item in value.items()}
    if ("command" in fields) == ("url" in fields):
        has = "has both command and url" if "url" in fields else "has neither command nor url"
        raise here.error(f'{has}; write command = "PROGRAM" for one that the agent starts, or url = "https://..."')
    misplaced = next((key for key in (_STDIO if "url" in fields else _REMOTE) if key in fields), None)
    if misplaced is not None:
        raise here.error(f"has {misplaced}, which belongs to a server with {'command' if 'url' in fields else 'url'}")
    return McpServer(**fields)


def _below(location: ft.KeyLocation, more: str) -> ft.KeyLocation:
    return ft.KeyLocation(location.source, f"{location.where}{more}", location.environ)


def _read(key: str, value: object, location: ft.KeyLocation) -> Any:
    """The value of one key of a server; ``location`` is the server's."""
    known = ft.keys_of(McpServer)
    field_type = known.get(key)
    if not isinstance(field_type, ft.FieldType):
        meant = nearest(key, known)
        fix = f"did you mean {meant}?" if meant else f"its keys are {', '.join(known)}"
        raise location.error(f"has no key {quoted_key(key)}; {fix}")
    made = field_type.read(value, _below(location, f" {key}"))
    return types.MappingProxyType(made) if isinstance(made, dict) else made


def repeated_name(servers: Sequence[McpServer]) -> str | None:
    """The first name that two servers have; agents may not tell upper and lower case apart."""
    seen: set[str] = set()
    for server in servers:
        if server.name.lower() in seen:
            return server.name
        seen.add(server.name.lower())
    return None
