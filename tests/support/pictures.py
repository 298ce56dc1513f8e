"""Takes the pictures of the README: `make pictures`. Real screens of acpctl, with a daemon and the demo agent, as SVG.

What they show of times, memory and process ids differs from run to run; a test compares the rest.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.fakes.daemon import DaemonProcess, Wire
from tests.support.acpctl import ACPCTL
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyte.screens import Char

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
COLUMNS: Final = 100
_LINES: Final = 50
_PROJECT: Final = "shop"
_SETTINGS: Final = """
[agent]
command = "{agent}"
[pool]
stuck_after_seconds = 2
workspace = "{workspace}"
[shutdown]
drain_seconds = 0
"""
# In the process table it is called python3, whatever the path on this machine.
_AGENT: Final = "#!/bin/bash\nexec -a python3 {python} -m acpbot.demo.agent\n"
_SECONDS: Final = 30.0
_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
# pyte's names of colours -> Rich's.
_COLORS: Final = {"brown": "yellow", "default": None}

THREADS: Final = {
    "1310203040506071001": ("title Fix the flaky login test; stream 4000", "busy"),
    "1310203040506072002": ("title Remove the old build; tool rm -rf build", "waiting"),
    "1310203040506073003": ("title Upgrade the database driver; hang", "stuck"),
    "1310203040506074004": ("title Explain the cache; say Done.", "idle"),
}


class Picture(NamedTuple):
    """A picture: what is typed, and what the screen must show before it is taken. ``keys`` are pressed before that."""

    name: str
    words: tuple[str, ...]
    shows: str
    keys: str = ""
    leave: str = ""


PICTURES: Final = (
    Picture("sessions", ("sessions",), "idle"),
    Picture("top", ("top",), "RSS", leave="q"),
    Picture("show", ("show", "2002"), "process"),
    Picture("health", ("health",), "memory"),
    Picture("kill", ("kill", "3003"), "processes left", keys="y\n"),
)


def svg(lines: list[Text], title: str) -> str:
    """The lines of a screen as an SVG that loads nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", legacy_windows=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    made = console.export_svg(title=title, unique_id=re.sub(r"\W+", "-", title))
    text = _FONTS.sub("", made).replace(
        "Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def screen_of(terminal: Terminal) -> list[Text]:
    """What a terminal shows, with its colours, without the empty lines at its end."""
    lines = []
    for row in range(terminal.screen.lines):
        line = Text()
        characters = [terminal.screen.buffer[row][column] for column in range(terminal.screen.columns)]
        for style, run in itertools.groupby(characters, _style):
            line.append("".join(character.data for character in run), style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def _style(character: Char) -> Style:
    return Style(
        color=_color(character.fg),
        bgcolor=_color(character.bg),
        bold=character.bold,
        italic=character.italics,
        reverse=character.reverse,
    )


def _color(name: str) -> str | None:
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    bright = re.fullmatch("bright(.+)", name)
    known = bright[1] if bright else name
    shown = _COLORS.get(known, known)
    return f"bright_{shown}" if bright and shown else shown


def take_all() -> Iterator[tuple[str, str, str]]:
    """Each picture's name, its text and its SVG, with a daemon of its own."""
    with tempfile.TemporaryDirectory(prefix="acpbot-") as folder:
        home = Path(folder)
        agent = home / "agent"
        agent.write_text(_AGENT.format(python=sys.executable))
        agent.chmod(0o755)
        settings = _SETTINGS.format(workspace=home / _PROJECT, agent=agent)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with DaemonProcess(home / "daemon", settings, PATH=path) as daemon, daemon.wire() as wire:
            _begin(wire)
            environ = {**daemon.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": folder}
            for picture in PICTURES:
                yield picture.name, *_take(picture, environ)
            daemon.stop()


def _begin(wire: Wire) -> None:
    for thread, (prompt, _) in THREADS.items():
        wire.call("chat.open", thread=thread)
        wire.call("chat.send", thread=thread, text=prompt)
    wanted = {thread: state for thread, (_, state) in THREADS.items()}
    until = time.monotonic() + _SECONDS
    states: dict[str, str] = {}
    while states != wanted:
        if time.monotonic() > until:
            raise TimeoutError(f"cannot take the pictures: the sessions are {states}, not {wanted}")
        time.sleep(0.2)
        states = {row["thread_id"]: row["state"] for row in wire.call("sessions.list")["sessions"]}


def _take(picture: Picture, environ: dict[str, str]) -> tuple[str, str]:
    terminal = Terminal([str(ACPCTL), *picture.words], COLUMNS, _LINES, environ)
    try:
        if picture.keys:
            terminal.wait_for("[y/N]")
            terminal.type(picture.keys)
        terminal.wait_for(picture.shows)
        if not picture.leave:
            terminal.end()
        lines = screen_of(terminal)
        if picture.leave:
            terminal.type(picture.leave)
            terminal.end()
    finally:
        terminal.close()
    title = f"acpctl {' '.join(picture.words)}"
    return "\n".join(line.plain for line in lines), svg(lines, title)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, _text, drawn in take_all():
        path = FOLDER / f"{name}.svg"
        path.write_text(drawn, encoding="utf-8")
        print(f"written: {path}")


if __name__ == "__main__":
    main()
