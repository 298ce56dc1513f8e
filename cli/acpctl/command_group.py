"""The help and the usage errors of a command line with subcommands, for acpctl and acpbot alike."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import typer
from typer._click.exceptions import UsageError  # 0.26 to 0.28 have no public name for it
from typer.core import TyperGroup

from acpctl.text import clean

CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_HELP: Final = "help"


class CommandGroup(TyperGroup):
    """Shows the first sentence of each command's help whole, has ``help [COMMAND]``, and answers usual other names.

    ``other_names``: what people type who know other tools -> what to type here.
    """

    other_names: ClassVar[Mapping[str, str]] = {}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that ``args`` begin with. Raises ``UsageError`` for an unknown one, with the nearest name."""
        names = self.list_commands(ctx)
        if ctx.resilient_parsing or not args or args[0] in names or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        if args[0] == _HELP:
            name = next((word for word in args[1:] if not word.startswith("-")), "")
            if not name:
                typer.echo(ctx.get_help())
                ctx.exit()
            return self.resolve_command(ctx, [name, "--help"])
        raise UsageError(f"there is no command {clean(args[0])!r}{self._hint(args[0], names)}", ctx)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. An option without its value is an error of the command, which the parser does not know."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            command = ctx.invoked_subcommand and self.get_command(ctx, ctx.invoked_subcommand)
            if error.ctx is None and command:
                error.ctx = typer.Context(command, info_name=ctx.invoked_subcommand, parent=ctx)
            raise

    def _hint(self, name: str, names: list[str]) -> str:
        if name in self.other_names:
            return f"; use `{self.other_names[name]}`"
        import difflib  # noqa: PLC0415 - only a mistyped command needs it

        near = difflib.get_close_matches(name, [*names, *self.other_names], n=1)
        return f"; did you mean `{self.other_names.get(near[0], near[0])}`?" if near else ""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands. Click's own cuts their help at the width of the terminal."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(1000)) for name, command in commands if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def usage_problem(error: UsageError, arguments: list[str], program: str, global_options: tuple[str, ...]) -> str:
    """One line that says what is wrong with the ``arguments`` and where the help is.

    ``global_options``: those that belong before the command.
    """
    command = error.ctx.command_path if error.ctx is not None else program
    from acpctl.usage_hints import hint  # noqa: PLC0415 - only a mistake needs it

    advice = hint(error, before_command=command == program)
    advice = f"; {advice}" if advice else ""
    if advice and hasattr(error, "possibilities"):
        error.possibilities = None  # the nearest names by their letters
    message = error.format_message()
    problem = " ".join(clean(message).rstrip(".").split())
    option = str(getattr(error, "option_name", ""))
    if option in global_options and command != program:
        return f"cannot run `{command}`: {option} belongs before the command: `{program} {option} ... {arguments[0]}`"
    return f"cannot run `{command}`: {problem[:1].lower()}{problem[1:]}{advice}; see `{command} --help`"


def defect_line(error: Exception, program: str, version: str) -> str:
    """One line that says where an error was raised that ``program`` does not expect."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    at = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "?"
    return f"cannot go on: {program} {version} has a defect: {clean(repr(error))} at {at}; please report it"
