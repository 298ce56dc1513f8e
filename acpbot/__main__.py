"""The `acpbot` command: init, run, check, config, exec, demo, install-service."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # 0.26 to 0.28 have no public name for it

from acpbot import __version__
from acpbot.errors import AcpbotError
from acpctl.command_group import CONTEXT_SETTINGS, CommandGroup, defect_line, usage_problem
from acpctl.standard_streams import (
    WRITE_ERRORS,
    open_standard_streams,
    redirect_to_null,
    write_error,
    write_problem,
    write_stderr,
)


class DemoRuntime(StrEnum):
    """Where the agent of the demo runs."""

    LOCAL = "local"
    BUBBLEWRAP = "bubblewrap"


_USAGE = 2
_INTERRUPTED = 130


class Commands(CommandGroup):
    """The subcommands, and what people type who look for another one."""

    other_names = {  # noqa: RUF012 - the class declares it as a ClassVar
        "start": "acpbot run",
        "serve": "acpbot run",
        "setup": "acpbot init",
        "configure": "acpbot init",
        "doctor": "acpbot check` or `acpctl doctor",
        "status": "acpctl health",
        "sessions": "acpctl sessions",
        "chat": "acpctl chat",
        "stop": "systemctl stop acpbot",
        "reload": "systemctl reload acpbot",
        "version": "acpbot --version",
    }


app = typer.Typer(
    name="acpbot",
    cls=Commands,
    help="Coding agents in Discord threads, run like a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog="`acpctl` shows and controls what runs. Exit status: 0 done, 1 failed or declined, 2 usage, 78 the "
    "configuration can't be used, 130 interrupted.",
)


def _examples(*examples: tuple[str, str]) -> str:
    """An epilog of command lines and what they do; Click keeps the lines after a backspace as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}\n      {meaning}" for line, meaning in examples)])


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The configuration file. Default: the first of $ACPBOT_CONFIG, ./config.toml, "
        "~/.config/acpbot/config.toml and /etc/acpbot/config.toml.",
    ),
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


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(
        ("acpbot init", "write ~/.config/acpbot/config.toml, where a service of your own finds it"),
        ("sudo acpbot init --config /etc/acpbot/config.toml", "for the machine's service"),
    ),
)
def init(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="PATH",
            help="The file to write. Default: $ACPBOT_CONFIG, or ~/.config/acpbot/config.toml.",
        ),
    ] = None,
) -> None:
    """Write a configuration from the answers to a few questions; never over another file."""
    from acpbot.commands.init import init as write_config  # noqa: PLC0415 - `acpbot --help` must not load all commands

    write_config(config, os.environ)


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(("acpbot run --config ./config.toml", "in the foreground, until Ctrl-C")),
)
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


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(
        ("acpbot check", "the settings in force, and one start of each agent"),
        ("acpbot check --online", "also the bot token, its intents and its channels"),
    ),
)
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


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(
        ("acpbot config", "what is in force, defaults too"),
        ("acpbot config --example > config.toml", "a file to edit"),
    ),
)
def config(
    *,
    config: ConfigOption = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print config.toml.example: every key, its default, and why.")
    ] = False,
) -> None:
    """Print the settings in force, without secrets; or an example of a configuration with every key."""
    from acpbot.commands.print_config import print_config  # noqa: PLC0415 - the same

    print_config(config, os.environ, typer.echo, example=example)


@app.command(
    name="exec",
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(("acpbot exec claude -- claude /login", "sign in as that agent")),
)
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


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(
        ("acpbot demo", "with an agent that needs no model"),
        ("acpbot demo --agent 'gemini --acp'", "with your own"),
    ),
)
def demo(
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="COMMAND", help="Another ACP agent instead of the demo agent.")
    ] = None,
    runtime: Annotated[
        DemoRuntime, typer.Option("--runtime", help="Where the agent runs; bubblewrap needs the package of that name.")
    ] = DemoRuntime.LOCAL,
) -> None:
    """Talk to an agent now, in a temporary folder; without a terminal, see a short guided tour."""
    from acpbot.demo.demo import run_demo  # noqa: PLC0415 - the same

    sys.exit(run_demo(agent, runtime.value))


@app.command(
    context_settings=CONTEXT_SETTINGS,
    epilog=_examples(
        ("sudo acpbot install-service", "for the machine, as a user of its own"),
        ("acpbot install-service --user", "a service of yours, without root"),
    ),
)
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


def main() -> NoReturn:
    """Entry point of the console script. Prints every error on stderr, in one line."""
    open_standard_streams()
    sys.exit(_status(sys.argv[1:]))


def _status(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="acpbot", standalone_mode=False)
    except NoArgsIsHelpError as error:
        write_stderr(error.message.rstrip() + "\n")
        return _USAGE
    except UsageError as error:
        write_problem(usage_problem(error, arguments, "acpbot", ()))
        return _USAGE
    except AcpbotError as error:
        write_problem(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except typer.Abort:
        write_problem("cannot go on: the input ended")
        return 1
    except BrokenPipeError:  # nobody reads what is printed any more
        redirect_to_null(sys.stdout)
        return 0
    except Exception as error:  # noqa: BLE001 - broad: no traceback may reach the terminal; the line says where the defect is
        if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
            write_problem(write_error(error).message)
        else:
            write_problem(defect_line(error, "acpbot", __version__))
        return 1
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
