"""The whole screen of a terminal, redrawn until the user leaves: `acpctl top` and the `--watch` options."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from acpctl.terminal.raw_terminal import RawTerminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.client import DaemonConnection

_ENTER: Final = "\x1b[?1049h\x1b[?7l\x1b[?25l"  # the alternate screen, without line wrap and cursor
_LEAVE: Final = "\x1b[?25h\x1b[?7h\x1b[?1049l"
_REDRAW_SECONDS: Final = 1.0
_QUIT_KEYS: Final = frozenset({"q", "ctrl-d"})


class Screen(RawTerminal):
    """The alternate screen; every :meth:`draw` replaces all of it."""

    def __init__(self) -> None:
        super().__init__(begin=_ENTER, end=_LEAVE)

    def draw(self, lines: list[str], footer: str) -> None:
        """Show as many ``lines`` as fit, and ``footer`` in the last row."""
        height = max(1, shutil.get_terminal_size().lines - 1)
        shown = lines if len(lines) <= height else [*lines[: height - 1], f"… {len(lines) - height + 1} more"]
        # Erases each row before writing it: after a row of full width the cursor is on its last character.
        body = "".join(f"\x1b[2K{line}\r\n" for line in [*shown, *[""] * (height - len(shown))])
        self.write(f"\x1b[H{body}\x1b[2K{footer}")


def redraw_until_quit(
    connection: DaemonConnection,
    lines: Callable[[], list[str]],
    refresh: Callable[[], None],
    *,
    footer: str,
    on_key: Callable[[str], None] | None = None,
) -> None:
    """Draw ``lines`` and call ``refresh``, each second and at every message, key and resize, until q or Ctrl-D."""
    with Screen() as screen:
        while True:
            screen.draw(lines(), footer)
            keys = screen.wait(_REDRAW_SECONDS, connection.fileno())
            if _QUIT_KEYS.intersection(keys):
                return
            if on_key is not None:
                for key in keys:
                    on_key(key)
            refresh()
