"""Log lines: one event a line, as text or JSON, with secrets removed.

A module has ``log = get_logger(__name__)`` and calls ``log.info("session_opened", thread="17")``: an event name and
its fields. A traceback is one field, so that each event is one line.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, TextIO

from acpbot.text import escaped
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Format = Literal["text", "json"]


class EventLogger:
    """A standard logger that takes an event name and fields in place of a format string and its arguments."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        """Log what only a developer needs."""
        self._logger.log(logging.DEBUG, event, extra={"fields": fields}, stacklevel=2)

    def info(self, event: str, /, **fields: Any) -> None:
        """Log what happens as intended."""
        self._logger.log(logging.INFO, event, extra={"fields": fields}, stacklevel=2)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Log what an operator should look at."""
        self._logger.log(logging.WARNING, event, extra={"fields": fields}, stacklevel=2)

    def failed_try(self, event: str, failures: int, /, **fields: Any) -> None:
        """Log a failed attempt that is retried: the first of several in a row as a warning, the others as debug."""
        level = logging.WARNING if failures == 1 else logging.DEBUG
        self._logger.log(level, event, extra={"fields": {**fields, "failures": failures}}, stacklevel=2)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        """Log what has failed."""
        self._logger.log(logging.ERROR, event, exc_info=exc_info, extra={"fields": fields}, stacklevel=2)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Log what has failed, with the traceback of the exception that is being handled."""
        self._logger.log(logging.ERROR, event, exc_info=sys.exception(), extra={"fields": fields}, stacklevel=2)


class SeldomLogger:
    """Logs what others can cause as often as they like: each event once in ``seconds``, with the number left out."""

    def __init__(
        self, logger: EventLogger, seconds: float = 60.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._seconds = seconds
        self._clock = clock
        self._events: dict[str, tuple[float, int]] = {}  # when it may be logged again, and how many were left out

    def warning(self, event: str, /, **fields: Any) -> None:
        """Log what an operator should look at."""
        now = self._clock()
        again, left_out = self._events.get(event, (now, 0))
        if now < again:
            self._events[event] = again, left_out + 1
            return
        self._events[event] = now + self._seconds, 0
        self._logger.warning(event, **fields, **({"left_out": left_out} if left_out else {}))


# A command without log lines prints its errors itself; without this handler, Python would print the events as well.
logging.getLogger("acpbot").addHandler(logging.NullHandler())


def get_logger(name: str) -> EventLogger:
    """The event logger of a module; ``name`` is its ``__name__``."""
    return EventLogger(logging.getLogger(name))


class EventFormatter(logging.Formatter):
    """Formats a record as one line; every occurrence of a secret is replaced.

    Whatever a field holds, nothing in the line acts on a terminal: see :func:`acpbot.text.escaped`.
    """

    def __init__(self, form: Format, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._form = form
        self._secrets = tuple(filter(None, secrets))

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its newline."""
        at = rfc3339(record.created)
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._form == "json":
            members = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
            line = json.dumps(members | fields, ensure_ascii=False, default=str)
        else:
            line = f"{at} {record.levelname.lower():<7} {record.getMessage()}"
            for name, value in fields.items():
                line += f" {name}={_quoted(value)}"
        line = escaped(line)
        for secret in self._secrets:
            line = line.replace(secret, "[secret]")
        return line


def _quoted(value: Any) -> str:
    """A plain value as it is, any other as a JSON string, so that a line can be parsed."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    plain = text.isprintable() and not set(text) & set(' "=\\') and text != ""
    return text if plain or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def configure(level: str, form: Format, *, secrets: Sequence[str] = (), stream: TextIO | None = None) -> None:
    """Write all log lines of ``level`` and above to ``stream`` (stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(EventFormatter(form, secrets))
    logging.getLogger().handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Log ``level`` and above; libraries log ``warning`` and above, whatever ``level`` is."""
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("acpbot").setLevel(level.upper())
