"""How one key of config.toml is read: from the type of its field in ``config.settings``.

msgspec checks the type, the bounds, the pattern or the choice that the annotation of a field gives. A function in the
annotation, such as ``size``, prepares the value before: it expands ``${VAR}`` and understands what TOML has no type
for. The same annotation words the error (``Meta.description`` completes 'must be ...') and gives an example. An error
quotes a value as it was written, never as ``${VAR}`` expanded it, and does not quote what looks like a Discord token.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from acpbot.config.paths import home_directory
from acpbot.config.values import Secret, config_error, nearest, quoted_key, show, to_toml
from acpbot.text import HIDDEN

if typing.TYPE_CHECKING:
    from acpbot.errors import ConfigError

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONLY_REFERENCES = re.compile(r"(?:\$\{[A-Za-z_][A-Za-z0-9_]*\})+")
_SIZE = re.compile(r"([0-9]{1,19})\s?([KMGT]?)(?:iB)?")
_HIGHEST_PORT = 65535


class InvalidValue(Exception):
    """A value does not fit its key.

    ``got`` names the value, where it must not be shown as it is; ``fix`` says what to write, where an example would
    not help.
    """

    def __init__(self, got: str | None = None, fix: str | None = None) -> None:
        super().__init__(got)
        self.got = got
        self.fix = fix


@dataclass(frozen=True, slots=True)
class KeyLocation:
    """The key that is read: ``source`` is the file, ``where`` for example '[pool] max_sessions'."""

    source: str
    where: str
    environ: Mapping[str, str]

    def error(self, problem: str) -> ConfigError:
        """The error to raise for this key."""
        return config_error(self.source, f"{self.where} {problem}")

    def expand(self, value: object) -> str:
        """``value``, a text, with each ``${VAR}`` replaced; ``$${`` stands for ``${``.

        It is a ``Secret`` where a variable was used. Raises ``InvalidValue`` where it is no text or holds a NUL, which
        no system call takes, and ``ConfigError`` where a variable is not set.
        """
        if not isinstance(value, str):
            raise InvalidValue
        used: set[str] = set()

        def replace(match: re.Match[str]) -> str:
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

        expanded = _REFERENCE.sub(replace, value)
        if "\0" in expanded:
            raise InvalidValue("one with a NUL character")
        return Secret(expanded, value, frozenset(used)) if used else expanded


Prepare = Callable[[object, KeyLocation], object]


class FieldType(NamedTuple):
    """What a key takes. ``annotation`` is what msgspec checks; ``items`` is the type of a list's items."""

    key: str
    default: object
    annotation: Any
    meta: Meta
    prepare: Prepare | None
    items: FieldType | None

    def read(self, value: object, location: KeyLocation) -> Any:
        """The setting made of ``value``; raises ``ConfigError`` with the whole sentence where it does not fit."""
        try:
            return self.convert(value, location)
        except InvalidValue as invalid:
            got = invalid.got or show(value)
            plain = isinstance(self.default, (bool, int, float, str))
            fix = invalid.fix or f"write for example {self.key} = {to_toml(self.default) if plain else self.example()}"
            raise location.error(f"must be {self.wanted()}, not {got}; {fix}") from None

    def convert(self, value: object, location: KeyLocation) -> Any:
        """The setting made of ``value``; raises ``InvalidValue`` where it does not fit."""
        if self.items is not None:
            return self._convert_items(self.items, value, location)
        prepared = value if self.prepare is None else self.prepare(value, location)
        try:
            return msgspec.convert(prepared, self.annotation)
        except msgspec.ValidationError:
            meant = nearest(prepared, map(str, self.choices())) if isinstance(prepared, str) else None
            raise InvalidValue(_shown(value, prepared), f"did you mean {to_toml(meant)}?" if meant else None) from None

    def _convert_items(self, items: FieldType, value: object, location: KeyLocation) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidValue
        unique = (self.meta.extra_json_schema or {}).get("uniqueItems")
        converted: list[Any] = []
        for item in value:
            try:
                made = items.convert(item, location)
            except InvalidValue as invalid:
                raise InvalidValue(f"one with {invalid.got or show(item)}", invalid.fix) from None
            if unique and made in converted:
                raise location.error(f"names {show(item)} twice; remove one")
            converted.append(made)
        return tuple(converted)

    def choices(self) -> tuple[str, ...] | tuple[int, ...]:
        """The names or numbers that the key takes, where these are the only ones."""
        return typing.get_args(self.annotation) if typing.get_origin(self.annotation) is Literal else ()

    def wanted(self) -> str:
        """What completes 'must be ...'. The unit of a number is the last part of the key's name."""
        if self.annotation is bool:
            return "true or false"
        if names := [to_toml(name) for name in self.choices()]:
            return f"{', '.join(names[:-1])} or {names[-1]}"
        wanted = self.meta.description
        if wanted is None:
            base = self.annotation.__origin__
            wanted = f"a number of {self.key.rpartition('_')[2]}" if base is float else "a whole number"
        if self.meta.ge is None:
            return wanted
        return f"{wanted} from {to_toml(self.meta.ge)} to {to_toml(self.meta.le)}"

    def example(self) -> str:
        """A value that the key takes, as TOML."""
        if self.items is not None:
            return f"[{self.items.example()}]"
        if self.annotation is bool:
            return "true"
        if choices := self.choices():
            return to_toml(choices[0])
        return to_toml(self.meta.examples[0] if self.meta.examples else self.meta.le)


@functools.cache
def keys_of(table: type[msgspec.Struct]) -> dict[str, FieldType | type[msgspec.Struct]]:
    """The keys of a table and their types, in order; a struct is a table below it.

    A field of plain str is no key, and neither is a mapping to structs: the tables of channels are read by themselves.
    """
    found: dict[str, FieldType | type[msgspec.Struct]] = {}
    annotations = typing.get_type_hints(table, include_extras=True)
    for field in msgspec.structs.fields(table):
        annotation = annotations[field.name]
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            found[field.name] = annotation
        elif annotation is not str and typing.get_origin(annotation) is not Mapping:
            found[field.name] = _field_type(field.name, annotation, field.default)
    return found


def _field_type(key: str, annotation: Any, default: object) -> FieldType:
    """What an annotation says: a type alone, or ``Annotated[TYPE, function that prepares, Meta(...)]``."""
    if type(None) in typing.get_args(annotation):  # TYPE | None: only a default can be None
        annotation = typing.get_args(annotation)[0]
    base = getattr(annotation, "__origin__", annotation)
    names = base is Literal and isinstance(typing.get_args(annotation)[0], str)
    meta, prepare = Meta(), text if names else None
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Meta):
            meta = extra
        else:
            prepare = extra
    items = _field_type(key, typing.get_args(base)[0], None) if typing.get_origin(base) is tuple else None
    return FieldType(key, default, annotation, meta, prepare, items)


def _shown(value: object, prepared: object) -> str:
    """How an error names a value: as it was written."""
    expanded = isinstance(value, str) and isinstance(prepared, str) and prepared != value
    return f"the value of {show(value)}" if expanded else show(value)


# The functions that prepare a value: they expand variables and raise InvalidValue.


def text(value: object, location: KeyLocation) -> str:
    """A text; it is shown as it is, even where it came from a variable."""
    return str(location.expand(value))


def masked_text(value: object, location: KeyLocation) -> str:
    """A text; a ``Secret`` where it came from a variable."""
    return location.expand(value)


def size(value: object, location: KeyLocation) -> object:
    """Bytes: a whole number, or a text such as "512M" (powers of 1024, as systemd's ``MemoryMax=`` takes it)."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(location.expand(value).strip())):
        return int(match[1]) * 1024 ** " KMGT".index(match[2] or " ")
    return value


def discord_id(value: object, location: KeyLocation) -> str:
    """A Discord id: digits in quotes; a whole number is taken too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return show(value)
    expanded = text(value, location)
    inside = re.findall(r"[0-9]{15,20}", str(value))
    if len(inside) == 1 and not expanded.isdecimal():  # a mention or a link: name the id in it
        raise InvalidValue(None, f"write {to_toml(inside[0])}")
    return expanded


def token(value: object, location: KeyLocation) -> Secret:
    """A bot token; shown as it is written where that is nothing but variables."""
    if not isinstance(value, str):
        raise InvalidValue("something else")
    expanded = location.expand(value)
    try:
        return conceal(clean_token(expanded), value, expanded)
    except InvalidValue as invalid:
        raise location.error(f"{invalid.got}; put only the token there, as the developer portal shows it") from None


def clean_token(found: str) -> str:
    """The bot token in a text, without the whitespace around it; ``InvalidValue`` says what else there is."""
    cleaned = found.strip()
    if not cleaned:
        raise InvalidValue("is empty")
    if not re.fullmatch(r"[!-~]+", cleaned):
        raise InvalidValue("has a space or an invalid character")
    return cleaned


def conceal(value: str, written: object, expanded: str) -> Secret:
    """``value`` as a ``Secret``, shown as it was ``written`` where that is nothing but variables."""
    shown = written if isinstance(written, str) and _ONLY_REFERENCES.fullmatch(written) else HIDDEN
    return Secret(value, shown, expanded.variables if isinstance(expanded, Secret) else frozenset())


def api_url(value: object, location: KeyLocation) -> str:
    """A URL of HTTP that paths are appended to: without a slash at its end."""
    return _url(value, location, ("https", "http"), "/")


def http_url(value: object, location: KeyLocation) -> str:
    """A URL of HTTP, as it is."""
    return _url(value, location, ("https", "http"), "")


def websocket_url(value: object, location: KeyLocation) -> str:
    """A URL of a WebSocket, as it is."""
    return _url(value, location, ("wss", "ws"), "")


def _url(value: object, location: KeyLocation, schemes: tuple[str, ...], strip: str) -> str:
    """A ``Secret`` where it holds credentials or came from a variable. An error does not quote it: see above."""
    expanded = location.expand(value)
    try:
        parts = urlsplit(expanded)
        fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not re.fullmatch(r"[!-~]+", expanded):
        raise InvalidValue("what is there")
    url = expanded.rstrip(strip)
    if isinstance(expanded, Secret):
        return Secret(url, expanded.shown, expanded.variables)
    return Secret(url, f"{parts.scheme}://{HIDDEN}") if "@" in parts.netloc or parts.query else url


def relative_path(value: object, location: KeyLocation) -> Path:
    """A path: absolute, under ``~/``, or relative to what the caller decides. Nothing is looked up."""
    written = text(value, location)
    if written == "~" or written.startswith("~/"):
        if (home := home_directory(location.environ)) is None:
            raise location.error("begins with ~, but HOME is not set; set HOME or write an absolute path")
        return home / written[2:].lstrip("/")
    if not written.strip():
        raise InvalidValue(_shown(value, written))
    return Path(written)


def path(value: object, location: KeyLocation) -> Path:
    """A path, absolute or under ``~/``. Nothing is looked up."""
    found = relative_path(value, location)
    if not found.is_absolute():
        raise InvalidValue(_shown(value, location.expand(value)))
    return found


def program(value: object, location: KeyLocation) -> str:
    """A name to look up on PATH, or an absolute path; a relative one would change with each session's folder."""
    expanded = location.expand(value)
    if "/" in expanded:
        return str(path(value, location))
    words = expanded.split()
    if not words:
        raise InvalidValue
    if words[1:]:
        fix = f"write command = {to_toml(words[0])} and args = {to_toml(words[1:])}"
        raise InvalidValue("a whole line", "put the rest into args" if isinstance(expanded, Secret) else fix)
    return words[0]


def bind(value: object, location: KeyLocation) -> str:
    """A TCP address to listen at; ``split_bind`` gives its host and port."""
    written = text(value, location)
    try:
        split_bind(written)
    except ValueError:
        raise InvalidValue(_shown(value, written)) from None
    return written


def split_bind(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port"; ``ValueError`` where it is neither."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _HIGHEST_PORT:
        raise ValueError(address)
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    if re.fullmatch(r"[0-9.]+", host):
        return str(ipaddress.IPv4Address(host)), int(port)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
        raise ValueError(address)
    return host, int(port)


def variables(value: object, location: KeyLocation) -> dict[str, str]:
    """A table of environment variables; every value is a ``Secret`` and may be empty."""
    if not isinstance(value, dict):
        raise InvalidValue
    made: dict[str, str] = {}
    for name, item in value.items():
        if not name or "=" in name or "\0" in name:
            raise InvalidValue(f"one with the name {show(name)}")
        try:
            expanded = location.expand(item)
        except InvalidValue as invalid:
            shown = quoted_key(name)
            raise InvalidValue(
                f"one where {shown} is {invalid.got or 'not a string'}", f'write {shown} = "..."'
            ) from None
        made[name] = conceal(expanded, item, expanded)
    return made


def agent_options(value: object, location: KeyLocation) -> dict[str, bool | str]:
    """A table of an agent's config options by id; the mode and the model have keys of their own."""
    if not isinstance(value, dict):
        raise InvalidValue
    made: dict[str, bool | str] = {}
    for name, item in value.items():
        shown = quoted_key(name)
        if name in {"mode", "model"}:
            raise InvalidValue(f"one with {shown}", f'write {shown} = "..." beside it')
        if not name.strip():
            raise InvalidValue("one with an empty name")
        if isinstance(item, bool):
            made[name] = item
            continue
        try:
            made[name] = location.expand(item)
        except InvalidValue as invalid:
            got = invalid.got or show(item)
            raise InvalidValue(f"one where {shown} is {got}", f'write {shown} = "..." or true') from None
    return made
