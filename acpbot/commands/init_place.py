"""What `acpbot init` asks of the place where agents run, and what it writes of the answer."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from acpbot.commands.questions import Invalid, ask
from acpbot.config.values import show, to_toml
from acpbot.runtimes.bubblewrap.probe import sandbox_works

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL: Final = "local"
BUBBLEWRAP: Final = "bubblewrap"
CONTAINER: Final = "container"

_ENGINES: Final = {"podman": "Podman", "docker": "Docker"}
_IMAGE: Final = re.compile(r"[A-Za-z0-9][!-~]{0,399}")


class Place(NamedTuple):
    """Where agents run. ``image``: of their containers."""

    runtime: str = LOCAL
    image: str | None = None


def ask_place(environ: Mapping[str, str]) -> Place:
    """Ask where agents run, where there is a choice on this machine; without one it is ``local``."""
    choices = _choices(environ)
    if len(choices) == 1:
        return Place()
    typer.echo("\nWhere do agents run?")
    for name, meaning in choices.items():
        typer.echo(f"  {name:10}  {meaning}")

    def parse(text: str) -> str:
        if text and text not in choices:
            raise Invalid(f"{show(text)} isn't one of {', '.join(choices)}.")
        return text or LOCAL

    runtime = ask("Place (empty: local): ", parse)
    return (
        Place(runtime, ask("Image that holds the agent, such as localhost/agent:1: ", _image))
        if (runtime == CONTAINER)
        else Place(runtime)
    )


def _choices(environ: Mapping[str, str]) -> dict[str, str]:
    found = {LOCAL: "as programs of this machine: they can read and change what acpbot can"}
    if sandbox_works(environ):
        found[BUBBLEWRAP] = "each thread in a sandbox, which shows nothing of other threads or of acpbot"
    search = environ.get("PATH", os.defpath)
    engine = next((title for name, title in _ENGINES.items() if shutil.which(name, path=search)), None)
    if engine is not None:
        found[CONTAINER] = f"each thread in a container of {engine}, whose image holds the agent"
    return found


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise Invalid("An image has a name such as localhost/agent:1 or docker.io/me/agent:latest.")
    return text


def key_lines(place: Place) -> list[str]:
    """Return what ``[agent]`` says of the place."""
    if place.runtime == LOCAL:
        return []
    return [
        "# It runs apart from other threads, with a HOME of its own: see 'Keep agents apart' in the README.",
        f"runtime = {to_toml(place.runtime)}",
    ]


def table_lines(place: Place) -> list[str]:
    """Return the table of the place, which follows the keys of ``[agent]``."""
    return [] if place.image is None else ["", "[agent.container]", f"image = {to_toml(place.image)}"]
