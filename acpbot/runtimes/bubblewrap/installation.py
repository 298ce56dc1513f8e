"""Where an agent's program is installed: what a sandbox must show so that it runs, and no more than that.

A command on PATH is often a link, or a script whose interpreter is somewhere else: in a virtual environment, in a
prefix of npm, in a folder of nvm or uv. Each of these is followed. What lies beside a program in a HOME stays hidden.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.bubblewrap.sandbox import LINK, READ_ONLY, Mount, system

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SHEBANG_BYTES: Final = 4096
_MOST_FILES: Final = 64
_PROGRAM_FOLDERS: Final = frozenset({"bin", "sbin", "libexec"})
_LIBRARIES: Final = ("lib", "lib64", "libexec", "share")


def installation(argv: Sequence[str], search: str, private: Iterable[Path]) -> tuple[Mount, ...]:
    """Return what is to be shown, read-only. Looks at the disk.

    ``argv[0]`` is the program's absolute path; an argument that is the absolute path of a file, such as the script of
    an interpreter, is shown too. ``search``: PATH. ``private``: folders that are never shown as a whole, and neither is
    a folder above one: HOME and the daemon's own.
    """
    visible = [Path(mount.path) for mount in system()]
    closed = tuple(Path(os.path.realpath(path)) for path in private)
    found: dict[str, Mount] = {}
    open_files = [Path(word) for word in argv if word.startswith("/") and Path(word).is_file()]
    seen: set[Path] = set()
    while open_files and len(seen) < _MOST_FILES:
        path = Path(os.path.normpath(open_files.pop(0)))
        if path in seen:
            continue
        seen.add(path)
        open_files += _interpreter(path, search)
        if path.is_symlink():
            open_files.append(path.parent / path.readlink())
        if any(path.is_relative_to(root) for root in visible):
            continue
        root = _root(path, closed)
        if root != path:
            found[str(root)] = Mount(READ_ONLY, str(root), str(root))
        elif path.is_symlink():
            found[str(path)] = Mount(LINK, str(path.readlink()), str(path))
        else:
            found[str(path)] = Mount(READ_ONLY, str(path), str(path))
    return tuple(found.values())


def _root(path: Path, closed: Sequence[Path]) -> Path:
    """Return the folder that holds all of what a program was installed with; the path itself where there is none."""
    candidates = [parent for parent in path.parents if (parent / "pyvenv.cfg").is_file()]
    parts = path.parts
    if "node_modules" in parts:
        candidates.append(Path(*parts[: parts.index("node_modules") + 1]))
    elif path.parent.name in _PROGRAM_FOLDERS:
        prefix = path.parent.parent
        if any((prefix / name).is_dir() for name in _LIBRARIES):
            candidates.append(prefix)
        candidates.append(path.parent)
    else:
        candidates.append(path.parent)
    for folder in candidates:
        real = Path(os.path.realpath(folder))
        if len(real.parts) > 1 and not any(one.is_relative_to(real) for one in (*closed, Path("/tmp"))):  # noqa: S108
            return folder
    return path


def _interpreter(path: Path, search: str) -> Iterator[Path]:
    """Yield the interpreter of a script, also one that env(1) looks up in PATH."""
    try:
        with path.open("rb") as file:
            line = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    except OSError:  # a program that only can be executed has none that anybody could read
        return
    if not line.startswith(b"#!"):
        return
    words = os.fsdecode(line[2:]).split()
    if words and words[0].startswith("/"):
        yield Path(words[0])
        if Path(words[0]).name == "env":
            name = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
            found = shutil.which(name, path=search) if name else None
            if found is not None:
                yield Path(found)
