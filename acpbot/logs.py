"""Log lines: one event each, as text or JSON, with secrets struck out.

A call reads ``log.info("session_opened", extra={"fields": {"thread": "17"}})``. A traceback becomes one field, so
that a line stays a line.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

Format = Literal["text", "json"]


class EventFormatter(logging.Formatter):
    """Formats a record as one line; every occurrence of a secret is replaced."""

    def __init__(self, form: Format, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._form = form
        self._secrets = tuple(secret for secret in secrets if secret)

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its newline."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._form == "json":
            members = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
            line = json.dumps(members | fields, ensure_ascii=False, default=str)
        else:
            told = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
            event = record.getMessage().replace("\n", "\\n")
            line = f"{at} {record.levelname.lower():<7} {event}{told}"
        for secret in self._secrets:
            line = line.replace(secret, "[secret]")
        return line


def _shown(value: Any) -> str:
    """A value as it stands where that is plain, else as a JSON string, so that a line can be taken apart again."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = text.isprintable() and not set(text) & set(' "=\\') and text != ""
    return text if plain or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def configure(level: str, form: Format, *, secrets: Sequence[str] = (), stream: TextIO | None = None) -> None:
    """Send all log lines from ``level`` on to ``stream`` (stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(EventFormatter(form, secrets))
    logging.getLogger().handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Leave out what is less than ``level``; libraries speak from ``warning`` on, whatever it is."""
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("acpbot").setLevel(level.upper())
