"""The Typer application: the options before the command, and commands that are loaded when they are called."""

import importlib
import math
import os
from typing import Annotated, Any, Final, cast

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # 0.26 to 0.28 have no public name for it
from typer.core import TyperCommand, TyperGroup

from acpctl import __version__
from acpctl.exit_codes import DONE, FAILED, USAGE, Failure
from acpctl.options import Globals
from acpctl.render.output import Output, tell
from acpctl.text import clean

COMMANDS: Final = (
    "sessions",
    "show",
    "kill",
    "cancel",
    "health",
    "chat",
    "drain",
    "tail",
    "events",
    "top",
    "doctor",
)
_LONGEST_TIMEOUT: Final = 86_400.0
_GLOBAL: Final = ("--socket", "--timeout", "--no-color", "--version")
_HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(TyperGroup):
    """Imports a command's module when it is named: help names all, a run loads one."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002 - the same
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"acpctl.commands.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(cmd_name, epilog=getattr(module, "EPILOG", None), context_settings=_HELP)(module.run)
        return cast("TyperCommand", typer.main.get_command(single))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that ``args`` begin with. ``UsageError`` names the nearest where there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            import difflib  # noqa: PLC0415 - Typer has loaded it; here it is needed for a typing error only

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise UsageError(f"there is no command {clean(args[0])!r}{meant}", ctx)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
    epilog="Data goes to stdout, all else to stderr. Exit status: 0 done, 1 failed or declined, 2 usage, 3 not ready, "
    "4 denied, 5 not found or conflict, 6 acpbot unreachable, 7 timed out, 130 interrupted.",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the value
    if wanted:
        typer.echo(f"acpctl {__version__}")
        raise typer.Exit


@app.callback()
def before(
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """See and control the sessions of an acpbot daemon."""
    del version
    if not (math.isfinite(timeout) and 0 < timeout <= _LONGEST_TIMEOUT):
        raise Failure(f"cannot wait {timeout:g} seconds: --timeout takes more than 0 and up to 86,400", USAGE)
    context.obj = Globals(socket, timeout, Output(color=not no_color, environ=os.environ))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit status. Whatever goes wrong is told on stderr, in one line."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="acpctl", standalone_mode=False)
    except NoArgsIsHelpError as error:
        tell(error.message.rstrip() + "\n")
        return USAGE
    except UsageError as error:
        tell(_usage(error, arguments) + "\n")
        return USAGE
    except Failure as failure:
        tell(failure.message + "\n")
        return failure.code
    except typer.Abort:
        tell("cannot go on: the input ended\n")
        return FAILED
    except Exception as error:  # noqa: BLE001 - a defect of ours, told in a line as everything else is, and where it is
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "?"
        tell(f"cannot go on: acpctl {__version__} has a defect: {clean(repr(error))} at {at}; please report it\n")
        return FAILED
    return status if isinstance(status, int) else DONE


def _usage(error: UsageError, arguments: list[str]) -> str:
    command = error.ctx.command_path if error.ctx is not None else "acpctl"
    message = error.format_message()
    problem = " ".join(clean(message).rstrip(".").split())
    option = str(getattr(error, "option_name", ""))
    if option in _GLOBAL and command != "acpctl":
        return f"cannot run `{command}`: {option} stands before the command: `acpctl {option} ... {arguments[0]}`"
    return f"cannot run `{command}`: {problem[:1].lower()}{problem[1:]}; see `{command} --help`"
