"""The Typer application: the options before the command; a command's module is imported when the command is called."""

import importlib
import math
import os
import sys
from typing import Annotated, Any, Final, cast

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # 0.26 to 0.28 have no public name for it
from typer.core import TyperCommand

from acpctl import __version__
from acpctl.command_group import CONTEXT_SETTINGS, CommandGroup, defect_line, usage_problem
from acpctl.errors import CliError
from acpctl.examples import examples_text
from acpctl.exit_codes import DONE, FAILED, USAGE
from acpctl.options import GlobalOptions, seconds
from acpctl.render.output import Output
from acpctl.socket_paths import SYSTEM_PATH
from acpctl.standard_streams import WRITE_ERRORS, redirect_to_null, write_error, write_problem, write_stderr

COMMANDS: Final = (
    "sessions",
    "show",
    "kill",
    "cancel",
    "send",
    "permit",
    "suspend",
    "restart",
    "forget",
    "health",
    "chat",
    "drain",
    "reload",
    "config",
    "tail",
    "events",
    "audit",
    "top",
    "doctor",
)
_MAX_TIMEOUT: Final = 86_400.0
_GLOBAL_OPTIONS: Final = ("--socket", "--timeout", "--no-color", "--version")


class LazyGroup(CommandGroup):
    """Imports the modules of all commands for the help, and that of one command to run it."""

    other_names = {  # noqa: RUF012 - the class declares it as a ClassVar
        "ls": "acpctl sessions",
        "list": "acpctl sessions",
        "ps": "acpctl sessions",
        "status": "acpctl health",
        "logs": "acpctl tail THREAD",
        "log": "acpctl tail THREAD",
        "attach": "acpctl chat THREAD",
        "get": "acpctl sessions",
        "describe": "acpctl show THREAD",
        "inspect": "acpctl show THREAD",
        "stop": "acpctl kill THREAD` or `acpctl cancel THREAD",
        "rm": "acpctl kill THREAD",
        "delete": "acpctl kill THREAD",
        "end": "acpctl kill THREAD",
        "exec": "acpctl send THREAD",
        "run": "acpctl send THREAD",
        "new": "acpctl chat",
        "create": "acpctl chat",
        "start": "acpctl chat",
        "pause": "acpctl suspend THREAD",
        "rollout": "acpctl restart THREAD",
        "prompt": "acpctl send THREAD",
        "say": "acpctl send THREAD",
        "ask": "acpctl send THREAD",
        "watch": "acpctl sessions --watch",
        "resume": "acpctl send THREAD",
        "allow": "acpctl permit THREAD",
        "approve": "acpctl permit THREAD",
        "info": "acpctl health",
        "version": "acpctl --version",
    }

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """The names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002 - the same
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"acpctl.commands.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        kind = getattr(module, "COMMAND_CLASS", TyperCommand)
        epilog = "\n\n".join(filter(None, (getattr(module, "EPILOG", ""), examples_text(cmd_name))))
        single.command(cmd_name, cls=kind, epilog=epilog, context_settings=CONTEXT_SETTINGS)(module.run)
        return cast("TyperCommand", typer.main.get_command(single))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT_SETTINGS,
    epilog="Data goes to stdout, all else to stderr. Exit status: 0 done, 1 failed or declined, 2 usage, 3 not ready, "
    "4 denied, 5 not found or conflict, 6 acpbot unreachable, 7 timed out, 130 interrupted.",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the value
    if wanted:
        typer.echo(f"acpctl {__version__}")
        raise typer.Exit


@app.callback()
def read_global_options(
    context: typer.Context,
    *,
    socket: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="acpbot's socket. [default: $ACPBOT_SOCKET, else the usual places]"),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", parser=seconds, help="How long to wait for an answer; a kill also waits its grace."
        ),
    ] = 10.0,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colors (like NO_COLOR=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """See and control the sessions of an acpbot daemon."""
    del version
    if not (math.isfinite(timeout) and 0 < timeout <= _MAX_TIMEOUT):
        raise CliError(f"cannot wait {timeout:g} seconds: --timeout takes more than 0 and up to 86,400", USAGE)
    out = Output(color=not no_color, environ=os.environ)
    context.obj = GlobalOptions(socket, timeout, out, context.obj or SYSTEM_PATH)


def run(arguments: list[str], *, system_path: str = SYSTEM_PATH) -> int:
    """Run one command and return its exit code. Prints every error on stderr, in one line.

    ``system_path``: the first default path of the daemon's socket.
    """
    try:
        command = typer.main.get_command(app)
        status = command.main(arguments, prog_name="acpctl", standalone_mode=False, obj=system_path)
    except NoArgsIsHelpError as error:
        write_stderr(error.message.rstrip() + "\n")
        return USAGE
    except UsageError as error:
        write_problem(usage_problem(error, arguments, "acpctl", _GLOBAL_OPTIONS))
        return USAGE
    except CliError as error:
        write_problem(error.message)
        return error.exit_code
    except typer.Abort:
        write_problem("cannot go on: the input ended")
        return FAILED
    except BrokenPipeError:  # nobody reads stdout any more
        redirect_to_null(sys.stdout)
        return DONE
    except Exception as error:  # noqa: BLE001 - broad: no traceback may reach the terminal; the line says where the defect is
        if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
            write_problem(write_error(error).message)
        else:
            write_problem(defect_line(error, "acpctl", __version__))
        return FAILED
    return status if isinstance(status, int) else DONE
