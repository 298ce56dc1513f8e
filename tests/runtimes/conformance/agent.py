"""The agent of the suite: it does what the lines on its stdin say. It needs Python alone; each workspace has a copy.

Usage: ``python3 agent.py WORD``; everything that it starts has WORD among its arguments, by which it is found from
outside. It answers each line with one line, but for `say`, which writes many.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

STAY = """
import signal
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
signal.pause()
"""


def write(data):
    """All of it: a write to a pipe may be cut short."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def start(word, environ, *, setsid=False, twice=False):
    """Start a process that ignores the usual signals, and return when it is ready."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        if setsid:
            os.setsid()
        if twice and os.fork():
            os._exit(0)
        os.close(reader)
        os.dup2(writer, 1)
        os.execve(sys.executable, [sys.executable, "-S", "-E", "-c", STAY, word], environ)  # noqa: S606 - no shell here
    os.close(writer)
    if twice:
        os.waitpid(child, 0)
    os.read(reader, 1)
    os.close(reader)


def family(word):
    """One process of each kind that a look at the tree, at the group, or at the environment alone would miss."""
    start(word, dict(os.environ))
    start(word, dict(os.environ), setsid=True)
    start(word, dict(os.environ), setsid=True, twice=True)
    start(word, {}, setsid=True, twice=True)


def forks(count):
    """Start so many processes; return how many there were, after they have ended."""
    pids: list[int] = []
    try:
        while len(pids) < count:
            pid = os.fork()
            if not pid:
                signal.pause()
            pids.append(pid)
    except OSError:
        pass
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(pids)


def look_around():
    """What this place is like, for whoever is in it."""
    return {
        "arguments": sys.argv[2:],
        "cwd": str(Path.cwd()),
        "env": dict(os.environ),
        "files": sorted(file.name for file in Path().iterdir()),
        "home_is_writable": os.access(os.environ.get("HOME", ""), os.W_OK),
        "tmp_is_writable": os.access(os.environ.get("TMPDIR", "/tmp"), os.W_OK),
    }


def do(words, word):
    """Do what a line says; return the answer."""
    verb, rest = words[0], words[1:]
    if verb == "say":  # SIZE COUNT: so many numbered lines of so many bytes
        size, count = map(int, rest)
        for number in range(count):
            write(b"%08d" % number + b"x" * (size - 9) + b"\n")
    elif verb == "exit":  # CODE SIZE: output until the very end
        with contextlib.suppress(OSError):  # it may have been told to close its stdout
            write(b"x" * int(rest[1]) + b"\n")
        os._exit(int(rest[0]))
    elif verb == "signal":
        os.kill(os.getpid(), int(rest[0]))
    elif verb == "ignore":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    elif verb == "obey":  # with a handler: the exit code says that SIGTERM came, and SIGKILL did not
        signal.signal(signal.SIGTERM, lambda *_: os._exit(43))
    elif verb == "family":
        family(word)
    elif verb == "stderr":
        os.write(2, " ".join(rest).encode() + b"\n")
    elif verb == "close":
        write(b"closing\n")
        os.close(int(rest[0]))
        return ""
    elif verb == "deaf":  # reads no more
        write(b"deaf\n")
        signal.pause()
    elif verb == "eat":
        held = b"x" * int(rest[0])
        return str(len(held))
    elif verb == "forks":
        return str(forks(int(rest[0])))
    elif verb == "around":
        return json.dumps(look_around())
    elif verb == "touch":
        Path(rest[0]).touch()
    return verb


def main():
    """Answer each line until the end of stdin; then leave, unless told to ignore it."""
    word = sys.argv[1]
    ignores = False
    for line in sys.stdin.buffer:
        if line.startswith(b"echo "):
            write(line)
            continue
        words = line.decode().split()
        ignores = ignores or words[0] in ("ignore", "obey")
        answer = do(words, word)
        if answer:
            write(answer.encode() + b"\n")
    while ignores:
        signal.pause()


if __name__ == "__main__":
    main()
