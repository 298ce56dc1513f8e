"""Whether an answer of Discord's is what it documents, as far as acpbot and discord.py read it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class _WithId(msgspec.Struct):
    id: str


class _User(_WithId):
    username: str
    discriminator: str


class _NamedFile(msgspec.Struct):
    filename: str


class _Emoji(msgspec.Struct):
    name: str | None
    id: str | None = None


class _Reaction(msgspec.Struct):
    emoji: _Emoji
    me: bool = False


class _Member(msgspec.Struct):
    """The fields of a member that discord.py needs."""

    user: _User
    roles: list[str]
    flags: int


class _Message(_WithId):
    """The fields of a message that acpbot reads."""

    content: str
    author: _WithId
    attachments: list[_NamedFile]
    reactions: list[_Reaction] = []


def id_in(answer: Any) -> str | None:
    """The id of the object that Discord answers with; ``None`` where there is none."""
    try:
        return msgspec.convert(answer, _WithId).id
    except msgspec.ValidationError:
        return None


def is_message(answer: Any) -> bool:
    """Whether it is a message, with an id that is a number."""
    try:
        return msgspec.convert(answer, _Message).id.isdecimal()
    except msgspec.ValidationError:
        return False


def is_member(answer: Any) -> bool:
    """Whether it is a member of a server."""
    try:
        msgspec.convert(answer, _Member)
    except msgspec.ValidationError:
        return False
    return True
