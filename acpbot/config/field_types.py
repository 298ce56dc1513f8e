"""How one key of config.toml is read: its kind says what it takes, and what to write where it is wrong.

A settings field names its kind beside its type, ``max_sessions: Annotated[int, whole(1, 10_000)] = 10``, so that a
key, its type, its limits and its default stand in one place; ``Reader.table`` walks the fields. Every refusal is a
``ConfigError`` of one line: file, table and key, what is wrong, the mend. A refused value is quoted as it was
written, never as ``${VAR}`` expanded it, and what looks like a Discord token is not quoted at all.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import ipaddress
import json
import os
import pwd
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from acpbot.errors import ConfigError
from acpbot.text import HIDDEN, operator_line

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONLY_REFERENCES = re.compile(r"(?:\$\{[A-Za-z_][A-Za-z0-9_]*\})+")
_SIZE = re.compile(r"([0-9]{1,19})\s?([KMGT]?)(?:iB)?")
_EMOJI = r"<a?:\w{2,32}:[0-9]{1,20}>|(?=.*[^\x00-\x7f])\S{1,16}"
_LONGEST = 60
_HIGHEST_PORT = 65535


class Secret(str):
    """A text that ``repr``, ``describe`` and errors don't show; ``shown`` is what stands in its place.

    ``variables`` are the environment variables that it was made of. ``str()`` and formatting give the value itself.
    """

    __slots__ = ("shown", "variables")

    shown: str
    variables: frozenset[str]

    def __new__(cls, value: str, shown: str = HIDDEN, variables: frozenset[str] = frozenset()) -> typing.Self:
        """As ``str``, with what else there is to know of it."""
        made = super().__new__(cls, value)
        made.shown = shown
        made.variables = variables
        return made

    def __repr__(self) -> str:
        return repr(self.shown)


def refuse(source: str, problem: str) -> ConfigError:
    """The error to raise: 'cannot use SOURCE: PROBLEM', on one line."""
    return ConfigError(operator_line(f"cannot use {source}: {problem}"))


def to_toml(value: object) -> str:
    """Write a setting as TOML; a ``Secret`` as its ``shown`` text."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return repr(value)
        case Secret():
            return to_toml(value.shown)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Path():
            return to_toml(str(value))
        case Mapping():
            pairs = (f"{bare(key)} = {to_toml(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
        case tuple() | list():
            return "[" + ", ".join(map(to_toml, value)) + "]"
        case _:
            raise TypeError(type(value).__name__)


def show(value: object) -> str:
    """Say in a few words what was found where something else was wanted."""
    match value:
        case bool() | float():
            return to_toml(value)
        case int():  # repr of one with over 4300 digits raises (sys.set_int_max_str_digits)
            return repr(value) if abs(value) < 10**_LONGEST else "a very large number"
        case str():
            return to_toml(value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "...")
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def bare(key: str) -> str:
    """A key's name as TOML writes it: quoted only where it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else show(key)


def nearest(name: str, known: typing.Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be."""
    close = difflib.get_close_matches(name[:_LONGEST].lower(), list(known), n=1, cutoff=0.7)
    return close[0] if close else None


def home_directory(environ: Mapping[str, str]) -> Path | None:
    """``$HOME``, else the home in the password database, else ``None``; always absolute."""
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # a container may run under a uid that has no entry
            return None
    return Path(home) if home.startswith("/") else None


def split_bind(text: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port"; ``ValueError`` where it is neither."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _HIGHEST_PORT:
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if re.fullmatch(r"[0-9.]+", host):
        return str(ipaddress.IPv4Address(host)), int(port)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
        raise ValueError(text)
    return host, int(port)


class Unfit(Exception):
    """A value is not of a kind; ``got`` and ``mend`` say it better than the general words, where they are given."""

    def __init__(self, got: str | None = None, mend: str | None = None) -> None:
        super().__init__(got)
        self.got = got
        self.mend = mend


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    """Where a value stands, such as '[pool] max_sessions': it words refusals and expands the text there."""

    source: str
    where: str
    environ: Mapping[str, str]

    def error(self, problem: str) -> ConfigError:
        """The error to raise for this key."""
        return refuse(self.source, f"{self.where} {problem}")

    def expand(self, text: str) -> str:
        """Replace each ``${VAR}``; ``$${`` stands for ``${``. A ``Secret`` where a variable was used."""
        used: set[str] = set()

        def value(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return "${"
            if not match["end"] or not _VARIABLE.fullmatch(name):
                raise self.error(
                    "holds ${ without a variable's name and }; write ${NAME}, or $${ for the characters ${"
                )
            if name not in self.environ:
                raise self.error(
                    f"needs the environment variable {name}, which is not set; set it, or write $${{{name}}}"
                )
            used.add(name)
            return self.environ[name]

        expanded = _REFERENCE.sub(value, text)
        return Secret(expanded, text, frozenset(used)) if used else expanded

    def text(self, value: object) -> str:
        """``value`` as expanded text; ``Unfit`` where it is no text or holds a NUL (no system call takes one)."""
        if not isinstance(value, str):
            raise Unfit
        text = self.expand(value)
        if "\0" in text:
            raise Unfit("one with a NUL character")
        return text


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What a key takes: ``want`` completes 'must be ...', ``sample`` would do, ``take`` makes the setting."""

    want: str
    sample: str
    take: Callable[[object, Spot], Any]

    def read(self, value: object, spot: Spot, key: str, default: object) -> Any:
        """The setting made of ``value``; refused with the whole sentence where it is of another kind."""
        try:
            return self.take(value, spot)
        except Unfit as unfit:
            got = unfit.got or show(value)
            sample = to_toml(default) if isinstance(default, (bool, int, float, str)) else self.sample
            mend = unfit.mend or f"write for example {key} = {sample}"
            raise spot.error(f"must be {self.want}, not {got}; {mend}") from None


def conceal(value: str, written: object, expanded: str) -> Secret:
    """``value`` as a ``Secret``, shown as it was ``written`` where that is nothing but variables."""
    shown = written if isinstance(written, str) and _ONLY_REFERENCES.fullmatch(written) else HIDDEN
    return Secret(value, shown, expanded.variables if isinstance(expanded, Secret) else frozenset())


def quoted(value: object, expanded: str) -> str:
    """How to name a text that doesn't fit: as it was written."""
    return f"the value of {show(value)}" if isinstance(expanded, Secret) else show(value)


def flag() -> Kind:
    """``true`` or ``false``: neither 1 nor "yes"."""

    def take(value: object, _: Spot) -> bool:
        if isinstance(value, bool):
            return value
        raise Unfit

    return Kind("true or false", "true", take)


def number(low: float, high: float, unit: str) -> Kind:
    """A number within limits, as ``float``; neither ``true`` nor nan nor inf."""

    def take(value: object, _: Spot) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise Unfit

    return Kind(f"a number of {unit} from {to_toml(low)} to {to_toml(high)}", to_toml(high), take)


def whole(low: int, high: int) -> Kind:
    """A whole number within limits; ``true`` is none."""

    def take(value: object, _: Spot) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Unfit

    return Kind(f"a whole number from {low} to {high}", str(high), take)


def size(low: int, high: int) -> Kind:
    """Bytes: a whole number, or text such as "512M" (powers of 1024, as in systemd's ``MemoryMax=``)."""

    def take(value: object, spot: Spot) -> int:
        count = value
        if isinstance(value, str) and (match := _SIZE.fullmatch(spot.text(value).strip())):
            count = int(match[1]) * 1024 ** " KMGT".index(match[2] or " ")
        if not isinstance(count, int) or isinstance(count, bool):
            raise Unfit
        if not low <= count <= high:
            raise Unfit(mend=f"choose one from {low} to {high} bytes")
        return count

    return Kind('a number of bytes or a text such as "512M" (K, M, G, T: powers of 1024)', '"512M"', take)


def text(
    want: str, sample: str, pattern: str = r"(?s:.*\S.*)", *, check: Callable[[str], object] = str, masked: bool = False
) -> Kind:
    """A text that fits ``pattern`` and for which ``check`` raises no ``ValueError``.

    With ``masked`` it is a ``Secret`` where it came from the environment.
    """

    def take(value: object, spot: Spot) -> str:
        made = spot.text(value)
        try:
            fits = re.fullmatch(pattern, made) is not None
            check(made)
        except ValueError:
            fits = False
        if not fits:
            raise Unfit(quoted(value, made))
        return made if masked else str(made)

    return Kind(want, to_toml(sample), take)


def choice(names: tuple[str, ...]) -> Kind:
    """One of some names; beside a ``Literal`` without arguments: ``Annotated[Literal["a", "b"], choice]``."""

    def take(value: object, spot: Spot) -> str:
        made = spot.text(value)
        if made in names:
            return str(made)
        meant = nearest(made, names)
        raise Unfit(quoted(value, made), f"did you mean {to_toml(meant)}?" if meant else None)

    listed = [to_toml(name) for name in names]
    return Kind(f"{', '.join(listed[:-1])} or {listed[-1]}", listed[0], take)


def discord_id() -> Kind:
    """A Discord id: digits in quotes; a whole number is taken too."""
    digits = text("a Discord id, digits in quotes", "123456789012345678", r"[1-9][0-9]{0,19}")

    def take(value: object, spot: Spot) -> Any:
        plain = isinstance(value, int) and not isinstance(value, bool)
        try:
            return digits.take(show(value) if plain else value, spot)
        except Unfit as unfit:
            inside = re.findall(r"[0-9]{15,20}", value) if isinstance(value, str) else []
            mend = f"write {to_toml(inside[0])}" if len(inside) == 1 else None
            raise Unfit(None if plain else unfit.got, mend) from None

    return dataclasses.replace(digits, take=take)


def token_in(made: str) -> str:
    """The bot token in a text, without the whitespace around it; ``Unfit`` says what else there is."""
    if not (found := made.strip()):
        raise Unfit("is empty")
    if not re.fullmatch(r"[!-~]+", found):
        raise Unfit("holds spaces or other characters that no token has")
    return found


def token() -> Kind:
    """A bot token; shown as it is written where it is nothing but variables."""

    def take(value: object, spot: Spot) -> Secret:
        if not isinstance(value, str):
            raise Unfit("something else")
        made = spot.text(value)
        try:
            return conceal(token_in(made), value, made)
        except Unfit as unfit:
            raise spot.error(f"{unfit.got}; put only the token there, as the developer portal shows it") from None

    return Kind("a bot token", '"${DISCORD_BOT_TOKEN}"', take)


def url(sample: str, *schemes: str, base: bool = True) -> Kind:
    """A URL; a ``Secret`` where it holds credentials or came from the environment.

    ``base``: paths are put behind it, so its last slash is cut off; else it is used as it stands.
    """

    def take(value: object, spot: Spot) -> str:
        made = spot.text(value)
        try:
            parts = urlsplit(made)
            fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits or not re.fullmatch(r"[!-~]+", made):
            raise Unfit("what is there")  # not quoted: there may be a password in it
        whole = made.rstrip("/") if base else str(made)
        if isinstance(made, Secret):
            return Secret(whole, made.shown)
        return Secret(whole, f"{parts.scheme}://{HIDDEN}") if "@" in parts.netloc or parts.query else whole

    return Kind(f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}", to_toml(sample), take)


def location(sample: str, *, relative: bool = False) -> Kind:
    """A path, absolute or under ``~/``; with ``relative`` also one that the caller resolves. Nothing is looked up."""

    def take(value: object, spot: Spot) -> Path:
        made = spot.text(value)
        if made == "~" or made.startswith("~/"):
            if (home := home_directory(spot.environ)) is None:
                raise spot.error("begins with ~, but HOME is not set; set HOME or write an absolute path")
            return home / made[2:].lstrip("/")
        if not made.startswith("/") and not (relative and made.strip()):
            raise Unfit(quoted(value, made))
        return Path(made)

    return Kind("the path of a file" if relative else "an absolute path (or begin with ~/)", to_toml(sample), take)


def program() -> Kind:
    """A name that is looked up on PATH, or an absolute path; a relative one would change with each session's folder."""
    path = location("/usr/bin/python3")

    def take(value: object, spot: Spot) -> str:
        made = spot.text(value)
        if "/" in made:
            return str(path.take(value, spot))
        if not (words := made.split()):
            raise Unfit
        if words[1:]:
            mend = f"write command = {to_toml(words[0])} and args = {to_toml(words[1:])}"
            raise Unfit("a whole line", "put the rest into args" if isinstance(made, Secret) else mend)
        return words[0]

    return Kind("the name of a program on PATH or its absolute path", '"claude-agent-acp"', take)


def bind() -> Kind:
    """A TCP address to listen at; ``split_bind`` takes it apart."""
    return text('"host:port" or "[IPv6 address]:port"', "127.0.0.1:8090", check=split_bind)


def emoji() -> Kind:
    """A Unicode emoji, or a custom one as Discord writes it."""
    return text("an emoji such as 👀, or a custom one as <:name:id>", "👀", _EMOJI)


def many(items: str, kind: Kind, *, unique: bool = True) -> Kind:
    """A list, each item at most once where ``unique``; a tuple of settings."""

    def take(value: object, spot: Spot) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unfit
        taken: list[Any] = []
        for item in value:
            try:
                made = kind.take(item, spot)
            except Unfit as unfit:
                raise Unfit(f"one with {unfit.got or show(item)}", unfit.mend) from None
            if unique and made in taken:
                raise spot.error(f"names {show(item)} twice; leave one out")
            taken.append(made)
        return tuple(taken)

    return Kind(f"a list of {items}", f"[{kind.sample}]", take)


def variables() -> Kind:
    """A table of environment variables, read-only; every value is a ``Secret`` and may be empty."""

    def take(value: object, spot: Spot) -> Mapping[str, str]:
        if not isinstance(value, dict):
            raise Unfit
        taken: dict[str, str] = {}
        for name, item in value.items():
            if not name or "=" in name or "\0" in name:
                raise Unfit(f"one with the name {show(name)}")
            try:
                made = spot.text(item)
            except Unfit as unfit:
                raise Unfit(
                    f"one where {bare(name)} is {unfit.got or 'no text'}", f'write {bare(name)} = "..."'
                ) from None
            taken[name] = conceal(made, item, made)
        return types.MappingProxyType(taken)

    return Kind("a table of texts", '{ NAME = "text" }', take)


@functools.cache
def keys_of(cls: type[msgspec.Struct]) -> dict[str, Kind | type[msgspec.Struct]]:
    """The keys of a table and their kinds, in order; a struct is a table below it. Other fields are no keys."""
    found: dict[str, Kind | type[msgspec.Struct]] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            found[name] = hint
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Kind):
                found[name] = extra
            elif extra is choice:
                found[name] = choice(typing.get_args(hint.__origin__))
    return found
