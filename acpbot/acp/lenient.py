"""Decodes answers of agents: a member of a wrong type gets its default, a wrong item of a list is left out.

ACP's schema marks most members so (``x-deserialize-default-on-error``, ``x-deserialize-skip-invalid-items``): one bad
member must not cost the session. Pure.
Source: https://agentclientprotocol.com/protocol/schema.
"""

from __future__ import annotations

import types
import typing
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_DROPPED_MOST: Final = 10


def decode(data: bytes, kind: type[T]) -> tuple[T, list[str]]:
    """``data`` (JSON) as ``kind``, and the paths of what was left out, ten at most.

    Raises msgspec.MsgspecError where a member without a default is missing or is not of its type, or where ``data`` is
    no JSON of that kind at all; UnicodeDecodeError, RecursionError.
    """
    try:
        return msgspec.json.decode(data, type=kind), []
    except msgspec.ValidationError:
        dropped: list[str] = []
        made = _convert(msgspec.json.decode(data), kind, "", dropped)
        return made, dropped[:_DROPPED_MOST]


def _convert(value: Any, kind: Any, path: str, dropped: list[str]) -> Any:
    members = typing.get_args(kind)
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        if value is None and type(None) in members:
            return None
        kind = next(member for member in members if member is not type(None))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(value, kind, path, dropped)
    if typing.get_origin(kind) is list and isinstance(value, list):
        return _items(value, typing.get_args(kind)[0], path, dropped)
    return msgspec.convert(value, kind)


def _struct(value: Any, kind: type[msgspec.Struct], path: str, dropped: list[str]) -> Any:
    if not isinstance(value, dict):
        raise msgspec.ValidationError(f"Expected `object` - at `${path}`")
    hints = typing.get_type_hints(kind)
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in value:
            if field.required:
                raise msgspec.ValidationError(f"Object missing required field `{field.encode_name}` - at `${path}`")
            continue
        below = f"{path}.{field.encode_name}"
        try:
            made[field.name] = _convert(value[field.encode_name], hints[field.name], below, dropped)
        except msgspec.ValidationError:
            if field.required:
                raise
            dropped.append(below.removeprefix("."))
    return kind(**made)


def _items(values: list[Any], kind: Any, path: str, dropped: list[str]) -> list[Any]:
    made: list[Any] = []
    for index, value in enumerate(values):
        try:
            made.append(_convert(value, kind, f"{path}[{index}]", dropped))
        except msgspec.ValidationError:
            dropped.append(f"{path}[{index}]".removeprefix("."))
    return made
