"""The paths of the configuration, the state and the socket. Nothing is created here.

The environment is an argument everywhere, so that tests can set it.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.config.values import config_error
from acpbot.errors import ConfigError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_CONFIG = Path("/etc/acpbot/config.toml")
RUN_DIRECTORY = Path("/run/acpbot")
SOCKET_PATH_LIMIT = 107  # bytes: sun_path of unix(7) has 108, the last one a NUL
_SOCKET_EXAMPLE = "/run/acpbot/acpbot.sock"


def home_directory(environ: Mapping[str, str]) -> Path | None:
    """``$HOME``, else the home in the password database, else ``None``; always absolute."""
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # a container may run under a uid that has no entry
            return None
    return Path(home) if home.startswith("/") else None


def find(explicit: Path | None, environ: Mapping[str, str], cwd: Path | None = None) -> Path:
    """The path of the configuration, absolute: ``explicit`` > ``ACPBOT_CONFIG`` > the first that exists of several.

    Those are ``CWD/config.toml``, ``$XDG_CONFIG_HOME/acpbot/config.toml`` and
    ``/etc/acpbot/config.toml``.
    ``ConfigError`` where there is none: the error names every path that was tried. For the first of these see
    ``check_not_a_strangers``.
    """
    here = current_directory() if cwd is None else cwd
    named = str(explicit or environ.get("ACPBOT_CONFIG", ""))
    if named:
        if _exists(here / named):
            return here / named
        origin = "--config" if explicit else "ACPBOT_CONFIG"
        raise config_error(
            str(here / named),
            f"there is no such file ({origin}); run `acpbot init`, or write it with `acpbot config --example`",
        )
    candidates = [here / "config.toml"]
    if own := user_config(environ):
        candidates.append(own)
    candidates.append(SYSTEM_CONFIG)
    for candidate in candidates:
        if _exists(candidate):
            return candidate
    tried = f"{', '.join(map(str, candidates[:-1]))} and {candidates[-1]}"
    raise ConfigError(
        operator_line(
            f"cannot find a configuration: there is none at {tried}; "
            "run `acpbot init`, or write one of them with `acpbot config --example`"
        )
    )


def user_config(environ: Mapping[str, str]) -> Path | None:
    """``$XDG_CONFIG_HOME/acpbot/config.toml``, by default in ``~/.config``; ``None`` without a home."""
    if xdg := _absolute(environ.get("XDG_CONFIG_HOME")):
        return xdg / "acpbot" / "config.toml"
    home = home_directory(environ)
    return home / ".config" / "acpbot" / "config.toml" if home else None


def check_not_a_strangers(path: Path, opened: os.stat_result | None = None) -> None:
    """Raise ``ConfigError`` where somebody else may have put ``path`` into the current folder.

    A configuration names commands that are run, so a file that nobody named is used only where it is the caller's or
    root's, and nobody else can write it. The caller's own group counts as the caller: many systems have one for each
    user. ``opened``: the status of the file that was opened; else the path is looked at, and what a symbolic link leads
    to.
    """
    try:
        statuses = [path.lstat(), path.stat()] if opened is None else [opened]
    except OSError:
        return  # reading it raises the error
    way_out = "name it with --config if you trust it"
    for status in statuses:
        if status.st_uid not in {0, os.geteuid()}:
            problem = f"it belongs to uid {status.st_uid}, and was found only because it is in the current folder"
            raise config_error(str(path), f"{problem}; {way_out}")
    groups_write = status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}
    if status.st_mode & stat.S_IWOTH or groups_write:
        problem = "others can write it, and it was found only because it is in the current folder"
        raise config_error(str(path), f"{problem}; run chmod go-w on it, or {way_out}")


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
        raise config_error(
            origin, f"{path} can't be a socket; name a file that acpbot may make, such as {_SOCKET_EXAMPLE}"
        )
    if (length := len(os.fsencode(path))) > SOCKET_PATH_LIMIT:
        problem = f"{path} has {length} bytes, and a socket's path may have {SOCKET_PATH_LIMIT}"
        raise config_error(origin, f"{problem}; choose a shorter one, such as {_SOCKET_EXAMPLE}")
    return path


def read_file(path: Path, limit: int, name: str | None = None) -> tuple[str, os.stat_result]:
    """The text of ``path`` (UTF-8, ``limit`` bytes at most) and its status; ``name`` leads in the ``ConfigError``."""
    source = f"{name} {path}" if name else str(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(limit + 1)
    except IsADirectoryError:
        raise config_error(source, "it is a directory; name a file") from None
    except FileNotFoundError:
        raise config_error(source, "there is no such file; correct the path or create it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise config_error(source, f"it can't be read ({reason}); correct its permissions or its path") from None
    if len(data) > limit:
        raise config_error(source, f"it is larger than {limit} bytes; check that it is the right file")
    try:
        return data.decode("utf-8"), status
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise config_error(source, f"it is not UTF-8 (line {line}); save it as UTF-8") from None


def current_directory() -> Path:
    """The working directory, else ``/``: it may have been removed, and then nothing relative can be found."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _absolute(value: str | None) -> Path | None:
    return Path(value) if value and value.startswith("/") else None


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a folder may not be entered (before 3.12)


def _usable(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - the same
