"""Where agents sign in: a HOME for `acpbot exec`, and the login files in it that the HOMEs of threads share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from acpbot.config.settings import StoreSettings

_MODE: Final = 0o700
# By the agent's program: what holds its sign-in, below HOME.
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-agent-acp": (".claude/.credentials.json",),
    "codex-acp": (".codex/auth.json",),
    "gemini": (".gemini/oauth_creds.json", ".gemini/google_accounts.json"),
    "opencode": (".local/share/opencode/auth.json",),
    "qwen": (".qwen/oauth_creds.json",),
}


def folder(settings: StoreSettings, agent: str) -> Path:
    """Return the HOME in which this agent's commands run by `acpbot exec`; it is made with mode 0700. Blocks.

    Raises `OSError`.
    """
    path = settings.path.parent / "logins" / agent
    path.mkdir(mode=_MODE, parents=True, exist_ok=True)
    return path


def shared_files(
    program: str, shared: tuple[str, ...], login: Path, own_home: Path | None
) -> Iterator[tuple[Path, str]]:
    """Yield each login file that is there, with its path below the HOME of a thread. Blocks.

    ``program``: the agent's command; ``shared``: more files, of its settings. A file in ``login``, the folder of
    `acpbot exec`, goes before one in ``own_home``, the HOME of acpbot's own user.
    """
    name = program.rpartition("/")[2]
    for path in dict.fromkeys((*KNOWN.get(name, ()), *shared)):
        for home in (login, own_home):
            if home is not None and (home / path).is_file():
                yield home / path, path
                break
