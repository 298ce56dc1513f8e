"""The Typer application: the options before the command; a command's module is imported when the command is called."""

import importlib
import math
import os
from typing import Annotated, Any, Final, cast

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # 0.26 to 0.28 have no public name for it
from typer.core import TyperCommand, TyperGroup

from acpctl import __version__
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, FAILED, USAGE
from acpctl.options import GlobalOptions
from acpctl.render.output import Output, write_stderr
from acpctl.socket_paths import SYSTEM_PATH
from acpctl.text import clean

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
_CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(TyperGroup):
    """Imports the modules of all commands for the help, and that of one command to run it."""

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
        epilog = getattr(module, "EPILOG", None)
        single.command(cmd_name, cls=kind, epilog=epilog, context_settings=_CONTEXT_SETTINGS)(module.run)
        return cast("TyperCommand", typer.main.get_command(single))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that ``args`` begin with. Raises ``UsageError`` for an unknown one, with the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            import difflib  # noqa: PLC0415 - only a mistyped command needs it

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise UsageError(f"there is no command {clean(args[0])!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT_SETTINGS,
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
        float, typer.Option(metavar="SECONDS", help="For one whole exchange; a kill waits its grace longer.")
    ] = 10.0,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (as NO_COLOR=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
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
        write_stderr(_usage_problem(error, arguments) + "\n")
        return USAGE
    except CliError as error:
        write_stderr(error.message + "\n")
        return error.exit_code
    except typer.Abort:
        write_stderr("cannot go on: the input ended\n")
        return FAILED
    except Exception as error:  # noqa: BLE001 - broad: no traceback may reach the terminal; the line says where the defect is
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        at = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "?"
        write_stderr(
            f"cannot go on: acpctl {__version__} has a defect: {clean(repr(error))} at {at}; please report it\n"
        )
        return FAILED
    return status if isinstance(status, int) else DONE


def _usage_problem(error: UsageError, arguments: list[str]) -> str:
    command = error.ctx.command_path if error.ctx is not None else "acpctl"
    message = error.format_message()
    problem = " ".join(clean(message).rstrip(".").split())
    option = str(getattr(error, "option_name", ""))
    if option in _GLOBAL_OPTIONS and command != "acpctl":
        return f"cannot run `{command}`: {option} belongs before the command: `acpctl {option} ... {arguments[0]}`"
    return f"cannot run `{command}`: {problem[:1].lower()}{problem[1:]}; see `{command} --help`"
