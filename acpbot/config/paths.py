"""Where things are: the configuration, the state, the socket (DESIGN sections 4 and 7). Nothing is created here.

The environment is an argument everywhere, so that a test, a unit file and a container are all the same case.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.config.field_types import home_directory, refuse
from acpbot.errors import ConfigError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_CONFIG = Path("/etc/acpbot/config.toml")
RUN_DIRECTORY = Path("/run/acpbot")
SOCKET_PATH_LIMIT = 107  # bytes: sun_path of unix(7) has 108, the last one a NUL
_SOCKET_EXAMPLE = "/run/acpbot/acpbot.sock"


def find(explicit: Path | None, environ: Mapping[str, str], cwd: Path | None = None) -> Path:
    """The configuration, absolute: ``explicit`` > ``ACPBOT_CONFIG`` > the places where it may stand.

    Those are ``CWD/config.toml``, ``$XDG_CONFIG_HOME/acpbot/config.toml`` and ``/etc/acpbot/config.toml``.
    ``ConfigError`` where there is none: it names every place that was tried.
    """
    here = current_directory() if cwd is None else cwd
    named = str(explicit or environ.get("ACPBOT_CONFIG", ""))
    if named:
        if _stands(here / named):
            return here / named
        origin = "--config" if explicit else "ACPBOT_CONFIG"
        raise refuse(
            str(here / named), f"there is no such file ({origin}); run `acpbot init` or copy config.toml.example to it"
        )
    places = [here / "config.toml"]
    if xdg := _absolute(environ.get("XDG_CONFIG_HOME")):
        places.append(xdg / "acpbot" / "config.toml")
    elif home := home_directory(environ):
        places.append(home / ".config" / "acpbot" / "config.toml")
    places.append(SYSTEM_CONFIG)
    for place in places:
        if _stands(place):
            return place
    tried = f"{', '.join(map(str, places[:-1]))} and {places[-1]}"
    raise ConfigError(
        operator_line(
            f"cannot find a configuration: there is none at {tried}; "
            "run `acpbot init`, or copy config.toml.example to one of these places"
        )
    )


def state_directory(environ: Mapping[str, str]) -> Path:
    """The folder of the database and the workspaces, absolute; it may not exist yet.

    ``$STATE_DIRECTORY`` (systemd.exec(5); the first of several) > ``$XDG_STATE_HOME/acpbot`` >
    ``~/.local/state/acpbot``. As the XDG specification asks, a relative path counts as unset.
    """
    if state := _absolute(environ.get("STATE_DIRECTORY", "").split(":")[0]):
        return state
    if state := _absolute(environ.get("XDG_STATE_HOME")):
        return state / "acpbot"
    if home := home_directory(environ):
        return home / ".local" / "state" / "acpbot"
    raise ConfigError("cannot find a place for the state: neither STATE_DIRECTORY nor HOME is set; set one of them")


def default_socket(environ: Mapping[str, str], *, run: Path = RUN_DIRECTORY) -> Path:
    """The daemon's socket where none is named: the first place that this process may use.

    ``/run/acpbot`` where it is writable or can be made, ``$XDG_RUNTIME_DIR/acpbot``, ``<tmp>/acpbot-<uid>``.
    """
    if _usable(run) or (not os.path.lexists(run) and _usable(run.parent)):
        return run / "acpbot.sock"
    runtime = _absolute(environ.get("XDG_RUNTIME_DIR"))
    if runtime and _usable(runtime):
        return runtime / "acpbot" / "acpbot.sock"
    temporary = _absolute(environ.get("TMPDIR")) or Path("/tmp")  # noqa: S108 - the listener refuses a folder that others can write
    return temporary / f"acpbot-{os.getuid()}" / "acpbot.sock"


def check_socket(path: Path, origin: str) -> Path:
    """``path``, where a Unix socket can be bound; ``origin`` leads in the ``ConfigError``: what named the path."""
    if "\0" in str(path) or os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder may not be entered
        raise refuse(origin, f"{path} can't be a socket; name a file that acpbot may make, such as {_SOCKET_EXAMPLE}")
    if (length := len(os.fsencode(path))) > SOCKET_PATH_LIMIT:
        problem = f"{path} has {length} bytes, and a socket's path may have {SOCKET_PATH_LIMIT}"
        raise refuse(origin, f"{problem}; choose a shorter one, such as {_SOCKET_EXAMPLE}")
    return path


def read_file(path: Path, limit: int, name: str | None = None) -> tuple[str, os.stat_result]:
    """The text of ``path`` (UTF-8, ``limit`` bytes at most) and its status; ``name`` leads in the ``ConfigError``."""
    source = f"{name} {path}" if name else str(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise refuse(source, "it is a directory; name a file") from None
    except FileNotFoundError:
        raise refuse(source, "there is no such file; correct the path or create it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse(source, f"it can't be read ({reason}); correct its permissions or its path") from None
    if len(data) > limit:
        raise refuse(source, f"it is larger than {limit} bytes; is it the right file?")
    try:
        return data.decode("utf-8"), status
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise refuse(source, f"it is not UTF-8 (line {line}); save it as UTF-8") from None


def current_directory() -> Path:
    """The working directory, else ``/``: it may have been removed, and then nothing relative can be found."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _absolute(value: str | None) -> Path | None:
    return Path(value) if value and value.startswith("/") else None


def _stands(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a folder may not be entered (before 3.12)


def _usable(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - the same
