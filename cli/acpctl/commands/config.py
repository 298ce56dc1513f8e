"""`acpctl config`: the configuration that is in force, without its secrets."""

import typer

from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, global_options
from acpctl.render.toml import toml_lines
from acpctl.text import clean


def run(context: typer.Context, *, output: OutputFormat = "table") -> int:
    """Show the configuration in force.

    As TOML, with every default. Secrets are masked.
    """
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("config.get", "show the configuration")
        connection.require_admin("show the configuration")
        answer = connection.call("config.get")
    if output == "json":
        out.json(answer)
        return DONE
    config = answer.get("config")
    source = clean(answer.get("path") or "built in")
    out.lines([f"# {source}", *(toml_lines(config) if isinstance(config, dict) else [])])
    return DONE
