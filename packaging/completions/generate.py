"""Write the completions of acpctl into this folder, as Typer generates them: `make completions`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from typer.completion import get_completion_script

FILES: Final = {"acpctl.bash": "bash", "_acpctl": "zsh", "acpctl.fish": "fish"}
# zsh defines a function from its fpath at the first call, which must also complete.
LOADED: Final = 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _acpctl_completion "$@"; fi'


def script(shell: str) -> str:
    """The completion script of a shell."""
    made = get_completion_script(prog_name="acpctl", complete_var="_ACPCTL_COMPLETE", shell=shell)
    return f"{made}\n{LOADED}\n" if shell == "zsh" else f"{made}\n"


def main() -> None:
    """Write the three files."""
    for name, shell in FILES.items():
        Path(__file__).with_name(name).write_text(script(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
