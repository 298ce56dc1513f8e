"""How an agent is started in its pod: the script of the exec, what it reads, and the marks that it writes. Pure.

The address of an exec is written into the logs of API servers. So it holds this script alone, which never changes; the
environment, the folder and the command come as the first lines of stdin, and what follows is the agent's own.

The script stays as the parent of the agent and tells its exit code on stderr: a container runtime reports the end of an
exec only once nobody has its stdout open any more, which a grandchild may have for hours. A mark is a line with a word
that the agent does not know. Needed in the image: /bin/sh, of any kind. Sources: POSIX sh, read (a shell reads no
further than the line), exec.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BEGIN_OF_MARK: Final = "\x1e"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK_BYTES: Final = 256
_LAST_CODE: Final = 255

_AGENT: Final = r"""
acpbot_tell() { printf '\036%s %s\n' "$acpbot_mark" "$*" >&2; }
acpbot_mark=$1
cd -- "$2" 2>/dev/null || { acpbot_tell folder; exit 126; }
shift 2
case $1 in
    */*) [ -e "$1" ] || { acpbot_tell missing; exit 127; }
         [ -f "$1" ] && [ -x "$1" ] || { acpbot_tell denied; exit 126; } ;;
    *) command -v -- "$1" >/dev/null 2>&1 || { acpbot_tell missing; exit 127; } ;;
esac
acpbot_tell begin $$ $PPID
trap 'acpbot_tell denied' EXIT
[ -z "$BASH_VERSION" ] || shopt -s execfail
exec "$@"
exit
"""
# `exec` returns, or runs the trap, only where the program can't be run.

_SCRIPT: Final = r"""
IFS= read -r acpbot_mark || exit 1
acpbot_code=
while IFS= read -r acpbot_line && [ "$acpbot_line" != "$acpbot_mark" ]; do acpbot_code="$acpbot_code$acpbot_line
"; done
trap : TERM INT HUP QUIT
exec 3>&2 2>/dev/null
eval "$acpbot_code"
/bin/sh -c "$0" acpbot "$acpbot_mark" "$@" 2>&3 3>&-
acpbot_status=$?
printf '\036%s exit %s\n' "$acpbot_mark" "$acpbot_status" >&3
exit "$acpbot_status"
"""

COMMAND: Final = ("/bin/sh", "-c", _SCRIPT, _AGENT)
"""What is started by exec."""


class Begin(NamedTuple):
    """The agent's own process, as its pod numbers it, and the script above it."""

    pid: int
    parent: int


def head(mark: str, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> bytes:
    """Return the first lines of stdin. Raises ValueError for what no program can have as its environment.

    ``mark`` is a word of letters and digits that nobody can guess.
    """
    lines = []
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"the environment variable {name!r} has a name that a shell can't set")
        lines.append(f"export {name}={shlex.quote(str(value))}")
    lines.append(shlex.join(["set", "--", cwd, *argv]))
    text = "\n".join([mark, *lines, mark, ""])
    if "\0" in text:
        raise ValueError("the command or its environment has a NUL character")
    return text.encode(errors="surrogateescape")


class Marks:
    """Takes the marks out of what comes on stderr; the rest is passed on to ``feed``."""

    def __init__(self, mark: str, feed: Callable[[bytes], None], on_mark: Callable[[list[str]], None]) -> None:
        self._mark = f"{_BEGIN_OF_MARK}{mark} ".encode()
        self._feed = feed
        self._on_mark = on_mark
        self._held = b""

    def feed(self, data: bytes) -> None:
        """Take what was read; ``on_mark`` gets the words of each mark."""
        data = self._held + data
        self._held = b""
        while (at := data.find(self._mark)) >= 0:
            end = data.find(b"\n", at)
            if end < 0:
                if len(data) - at < _MARK_BYTES:
                    self._pass(data[:at])
                    self._held = data[at:]
                    return
                break
            self._pass(data[:at])
            self._on_mark(data[at + len(self._mark) : end].decode(errors="replace").split())
            data = data[end + 1 :]
        at = data.rfind(_BEGIN_OF_MARK.encode())
        if at >= 0 and len(data) - at < len(self._mark) and self._mark.startswith(data[at:]):
            self._held = data[at:]
            data = data[:at]
        self._pass(data)

    def flush(self) -> None:
        """Pass on what is held: nothing follows."""
        held, self._held = self._held, b""
        self._pass(held)

    def _pass(self, data: bytes) -> None:
        if data:
            self._feed(data)


def read_begin(words: Sequence[str]) -> Begin | None:
    """Return what the mark of a begin says, ``None`` where it is another mark."""
    match words:
        case ["begin", pid, parent] if pid.isdecimal() and parent.isdecimal():
            return Begin(int(pid), int(parent))
    return None


def read_exit(words: Sequence[str]) -> int | None:
    """Return the exit code that a mark tells, 128 + n for signal n, ``None`` where it is another mark."""
    match words:
        case ["exit", code] if code.isdecimal() and int(code) <= _LAST_CODE:
            return int(code)
    return None


def why_not_started(words: Sequence[str], program: str, cwd: str) -> str | None:
    """Return why the program could not be run, and the way out, ``None`` where the mark says something else."""
    match words:
        case ["folder"]:
            return f"its pod has no folder {cwd}; check the volumes in pod_template"
        case ["missing"]:
            return f"its image has no program {program}; correct its command, or install it in the image"
        case ["denied"]:
            return f"{program} can't be run in its image; correct its command, or make the program executable"
    return None
