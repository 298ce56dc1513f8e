"""The sessions of the demo agent: each is stored in a JSON file, so that another process can load it."""

from __future__ import annotations

import json
import os
import sys
import time

# importing typing takes a fifth of the start-up time; annotations are strings here (PEP 563).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HISTORY_MAX = 200
"""Messages in a session's history; the oldest are dropped, so that a file does not grow without limit."""

MODES = {
    "ask": "Asks before it runs the command of `tool`",
    "auto": "Runs the command of `tool` without asking",
}
MODELS = {
    "plain": "No model: the echo repeats your words",
    "shout": "No model either: the echo repeats them in capitals",
}
EFFORTS = {
    "low": "Answers at once",
    "high": "Sends thoughts before it answers a text that is no command",
}
_ID_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz-")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class DemoSession:
    """One conversation. ``history`` holds ``[role, text]`` pairs, the role being ``user`` or ``agent``."""

    def __init__(self, session_id: str, cwd: str) -> None:
        self.session_id = session_id
        self.cwd = cwd
        self.title: str | None = None
        self.updated_at = _now()
        self.mode = "ask"
        self.model = "plain"
        self.effort = "low"
        self.footer = False
        self.remembered: list[str] = []
        self.history: list[list[str]] = []
        self.characters = 0

    def add(self, role: str, text: str) -> None:
        """Add one message to the history."""
        self.history.append([role, text])
        del self.history[:-HISTORY_MAX]
        self.characters += len(text)
        self.updated_at = _now()

    def modes(self) -> dict[str, Any]:
        """The ``modes`` of a session answer (ACP, SessionModeState)."""
        available = [{"id": name, "name": name.title(), "description": what} for name, what in MODES.items()]
        return {"currentModeId": self.mode, "availableModes": available}

    def config_options(self, *, boolean: bool = False) -> list[dict[str, Any]]:
        """The ``configOptions`` of a session answer (ACP, SessionConfigOption): the model and the effort, as selects.

        ``boolean``: the client takes options that are on or off too.
        """
        found = [
            {
                "type": "select",
                "id": "model",
                "name": "Model",
                "description": "There is no model behind it; it changes how the echo is written",
                "category": "model",
                "currentValue": self.model,
                "options": _values(MODELS),
            },
            {
                "type": "select",
                "id": "effort",
                "name": "Effort",
                "description": "Whether it sends thoughts",
                "category": "thought_level",
                "currentValue": self.effort,
                "options": _values(EFFORTS),
            },
        ]
        footer: dict[str, Any] = {
            "type": "boolean",
            "id": "footer",
            "name": "Footer",
            "description": "Ends each answer with the mode, the model and the options that are in force",
            "currentValue": self.footer,
        }
        return [*found, footer] if boolean else found

    def models(self) -> dict[str, Any]:
        """The ``models`` of a session answer, which agents sent before ``configOptions`` existed."""
        available = [{"modelId": name, "name": name.title(), "description": what} for name, what in MODELS.items()]
        return {"currentModelId": self.model, "availableModels": available}

    def settings(self, *, boolean: bool = False) -> dict[str, Any]:
        """What the answers to session/new, session/load and session/resume have in common."""
        options = self.config_options(boolean=boolean)
        return {"modes": self.modes(), "models": self.models(), "configOptions": options}


def _values(choices: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": name, "name": name.title(), "description": what} for name, what in choices.items()]


class SessionFiles:
    """The folder of session files. Each write replaces the file as a whole."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._warned = False

    def _path(self, session_id: str) -> str | None:
        return f"{self.folder}/{session_id}.json" if session_id and _ID_CHARACTERS.issuperset(session_id) else None

    def save(self, session: DemoSession) -> None:
        """Write the session. Where that fails, say so on stderr, once, and go on."""
        path = self._path(session.session_id)
        temporary = f"{path}.{os.getpid()}"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib costs start-up time
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123 - the same
                json.dump(vars(session), file)
            os.replace(temporary, str(path))  # noqa: PTH105 - the same
        except OSError as error:
            if not self._warned:
                self._warned = True
                sys.stderr.write(f"cannot keep the history in {self.folder}: {error.strerror}\n")

    def load(self, session_id: str) -> DemoSession | None:
        """Read a session; ``None`` where there is none under this id, or none that can be read."""
        path = self._path(session_id)
        if path is None:
            return None
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs start-up time
                fields = json.load(file)
            session = DemoSession(fields["session_id"], fields["cwd"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        for name, value in fields.items():
            setattr(session, name, value)
        return session

    def all(self) -> list[DemoSession]:
        """All stored sessions, the last used first."""
        sessions = [session for name in self._names() if (session := self.load(name)) is not None]
        return sorted(sessions, key=lambda session: session.updated_at, reverse=True)

    def _names(self) -> Iterator[str]:
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - pathlib costs start-up time
        except OSError:
            return
        for name in names:
            if name.endswith(".json"):
                yield name.removesuffix(".json")
