"""A progress bar that Rich draws on stderr. Only :meth:`acpctl.render.output.Output.progress` imports this module."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(title: str, *, color: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A function that draws the bar for (done, total, description); the bar disappears at the end."""
    console = Console(
        stderr=True,
        color_system="standard" if color else None,
        no_color=not color,
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    columns = (
        TextColumn(title, markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    progress = Progress(
        *columns,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        task = progress.add_task("", total=None)

        def update(done: int, total: int, description: str) -> None:
            progress.update(task, completed=done, total=total, description=description, refresh=True)

        yield update
