"""The `acpbot` command: init, run, check, exec, demo, install-service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from acpbot import __version__
from acpbot.errors import AcpbotError


class Commands(TyperGroup):
    """The subcommands. An ``AcpbotError`` becomes one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except AcpbotError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    name="acpbot",
    cls=Commands,
    help="Coding agents in Discord threads, run like a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The configuration file. The README says where acpbot looks for it."),
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
    """Write a configuration from the answers to a few questions; never over another file."""
    from acpbot.commands.init import init as write_config  # noqa: PLC0415 - `acpbot --help` must not load all commands

    write_config(config, os.environ)


@app.command()
def run(
    *,
    config: ConfigOption = None,
    socket: Annotated[
        str | None,
        typer.Option("--socket", metavar="PATH", help="The management socket; overrides all other settings."),
    ] = None,
    stop_at_eof: Annotated[
        bool, typer.Option("--stop-at-eof", help="Stop, as on SIGTERM, when stdin is closed.")
    ] = False,
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    from acpbot.commands.run import run as run_daemon  # noqa: PLC0415 - the same

    run_daemon(config, socket, os.environ, stop_at_eof=stop_at_eof)


@app.command()
def check(
    *,
    config: ConfigOption = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Also check the bot token with Discord, and report what the bot still needs."),
    ] = False,
) -> None:
    """Check the configuration: show what is in force and start every agent once."""
    from acpbot.commands.check import check as check_all  # noqa: PLC0415 - the same

    if not check_all(config, os.environ, typer.echo, online=online):
        raise typer.Exit(1)


@app.command(name="exec")
def exec_command(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="The agent's name in [agents]; the one in [agent] is called default.")
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND]", help="What to run; a shell if omitted.")
    ] = None,
    *,
    config: ConfigOption = None,
) -> None:
    """Run a command, such as a login, with an agent's environment and folder, on this terminal."""
    from acpbot.commands.exec_agent import exec_agent  # noqa: PLC0415 - the same

    exec_agent(config, agent, command or (), os.environ)


@app.command()
def demo(
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="COMMAND", help="Any ACP agent instead of the demo agent.")
    ] = None,
) -> None:
    """Talk to an agent now, in a temporary folder; without a terminal, see a short guided tour."""
    from acpbot.demo.demo import run_demo  # noqa: PLC0415 - the same

    sys.exit(run_demo(agent))


@app.command()
def install_service(
    *,
    user: Annotated[bool, typer.Option("--user", help="Install a service of your own, without root.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write what is shown, without asking.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Also overwrite existing files that differ.")] = False,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="PATH", help="Write below this folder, the root of an image.")
    ] = None,
) -> None:
    """Install acpbot as a systemd service: show the files, ask, write them, say what to run next."""
    from acpbot.commands.install_service import install_service as install  # noqa: PLC0415 - the same

    if user and root is not None:
        raise typer.BadParameter("cannot be used with --user; leave one out", param_hint="--root")
    install(os.environ, user=user, root=root, yes=yes, replace=replace)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
