"""The `acpbot` command: init, run, check, demo, install-service."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acpbot import __version__
from acpbot.errors import AcpbotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.settings import Settings

app = typer.Typer(
    name="acpbot",
    help="Coding agents in Discord threads, run like a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration; see README for where it is looked for."),
]


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"acpbot {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Coding agents in Discord threads, run like a service."""


@app.command()
def init(*, config: ConfigOption = None) -> None:
    """Make a configuration by a few questions; it is never written over another file."""
    from acpbot.commands.init import init as make  # noqa: PLC0415 - the help must not load the configuration

    _guarded(lambda: make(config, os.environ))


@app.command()
def run(
    *,
    config: ConfigOption = None,
    socket: Annotated[
        str | None, typer.Option("--socket", metavar="PATH", help="The management socket, over all other settings.")
    ] = None,
    stop_at_eof: Annotated[
        bool, typer.Option("--stop-at-eof", help="End, as at SIGTERM, when stdin is closed.")
    ] = False,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    from acpbot import logs  # noqa: PLC0415 - the same
    from acpbot.config import loader as configuration  # noqa: PLC0415 - the help must not load the daemon
    from acpbot.config.paths import find  # noqa: PLC0415 - the same
    from acpbot.daemon.daemon import Daemon  # noqa: PLC0415 - the same

    def start() -> None:
        found = find(config, os.environ)
        settings = configuration.load(found, os.environ)
        path = configuration.socket_path(settings, socket, os.environ) if settings.management.enabled else None
        token = () if settings.discord is None else (str(settings.discord.bot_token),)
        logs.configure(settings.log.level, settings.log.format, secrets=token)
        daemon = Daemon(settings, path, os.environ, reload=lambda: configuration.load(found, os.environ))
        asyncio.run(daemon.run(stop_at_eof=stop_at_eof))

    _guarded(start)


@app.command()
def check(
    *,
    config: ConfigOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also try the bot token: what Discord takes, and what is missing.")
    ] = False,
) -> None:
    """Check the configuration: show what is in force and start every agent once."""
    from acpbot.commands.check import check as check_all  # noqa: PLC0415 - the same
    from acpbot.commands.check_online import try_token  # noqa: PLC0415 - the same
    from acpbot.config import loader as configuration  # noqa: PLC0415 - the help must not load the daemon

    async def well(settings: Settings) -> bool:
        started = await check_all(settings, os.environ, typer.echo)
        return (not online or await try_token(settings, typer.echo)) and started

    def look() -> None:
        if not asyncio.run(well(configuration.load(config, os.environ))):
            raise typer.Exit(1)

    _guarded(look)


@app.command()
def demo(
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="COMMAND", help="Any ACP agent in place of the demo agent.")
    ] = None,
) -> None:
    """Talk to an agent now, in a temporary folder; without a terminal, see a short guided tour."""
    from acpbot.demo.demo import play  # noqa: PLC0415 - the help must not load the demo

    _guarded(lambda: sys.exit(play(agent)))


@app.command()
def install_service(
    *,
    user: Annotated[bool, typer.Option("--user", help="A service of your own, without root.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write what is shown, without asking.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also write over files that are there and differ.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="PATH", help="Write below this folder, the root of an image.")
    ] = None,
) -> None:
    """Make acpbot a service of systemd's: show the files, ask, write them, say what to run next."""
    from acpbot.commands.install_service import install_service as install  # noqa: PLC0415 - the help must not load it

    if user and root is not None:
        raise typer.BadParameter("a user's service has no other root", param_hint="--root")
    _guarded(lambda: install(os.environ, user=user, root=root, yes=yes, replace=replace))


def _guarded(work: Callable[[], None]) -> None:
    """Run a command's work: errors of ours are one line on stderr and an exit status."""
    try:
        work()
    except AcpbotError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
