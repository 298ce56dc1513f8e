"""`acpbot install-service`: make this installation a systemd service. Show the files, ask, write them.

The templates are the files of packaging/systemd; a wheel contains them as ``acpbot/systemd``, next to
config.toml.example, the man pages and the completions. Only two things in them are replaced: the path of the program,
and in a user's unit the PATH where agents are found. A file that differs is replaced only after a yes for that file;
drop-ins are never changed.
Source: systemd.unit(5), systemd.service(5), sysusers.d(5), tmpfiles.d(5).
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from acpbot.config.paths import home_directory
from acpbot.errors import AcpbotError, CannotAsk
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SYSTEM: Final = {
    "systemd/acpbot.service": "systemd/system/acpbot.service",
    "systemd/sysusers.d/acpbot.conf": "sysusers.d/acpbot.conf",
    "systemd/tmpfiles.d/acpbot.conf": "tmpfiles.d/acpbot.conf",
    "systemd/environment.example": "acpbot/environment.example",
    "config.toml.example": "acpbot/config.toml.example",
}
_USER: Final = {
    "systemd/user/acpbot.service": "systemd/user/acpbot.service",
    "systemd/environment.example": "acpbot/environment.example",
    "config.toml.example": "acpbot/config.toml.example",
}
_SHARED: Final = {  # below /usr/local/share, or $XDG_DATA_HOME: there man(1) and the shells look
    "man/acpctl.1": "man/man1/acpctl.1",
    "man/acpbot.1": "man/man1/acpbot.1",
    "man/config.toml.5": "man/man5/config.toml.5",
    "completions/acpctl.bash": "bash-completion/completions/acpctl",
    "completions/_acpctl": "zsh/site-functions/_acpctl",
    "completions/acpctl.fish": "fish/vendor_completions.d/acpctl.fish",
}
_PROGRAM: Final = "ExecStart=/usr/bin/acpbot "
_PATH: Final = re.compile(r'^Environment="PATH=.*"$', re.MULTILINE)
_WORD: Final = re.compile(r"[\w@+.,:=/~ -]+")  # no character that a unit file needs escaped between double quotes
_HIDDEN: Final = {
    "/home": "ProtectHome=",
    "/root": "ProtectHome=",
    "/run/user": "ProtectHome=",
    "/tmp": "PrivateTmp=",  # noqa: S108 - the program must not be there
    "/var/tmp": "PrivateTmp=",  # noqa: S108 - the same
}


class File(NamedTuple):
    """A file to write. ``found`` is the text of the existing file, or ``None``."""

    path: Path
    text: str
    found: str | None

    @property
    def state(self) -> str:
        """``new``, ``same`` or ``differs``."""
        if self.found is None:
            return "new"
        return "same" if self.found == self.text else "differs"


def install_service(environ: Mapping[str, str], *, user: bool, root: Path | None, yes: bool, replace: bool) -> None:
    """Show what would be written, ask, write, and say what to run next.

    ``user``: install a user service; else a system service, with its files below ``root`` (``/``). ``yes``: do not ask,
    and fail where a file differs unless ``replace`` is set too.

    Raises ``CannotAsk`` without a terminal to ask on, ``AcpbotError`` where this installation can't be a service
    or a file can't be written, ``typer.Exit`` (1) after a no.
    """
    program = find_program()
    if not user and root is None and (reason := out_of_reach(_needed(program))):
        fix = "install acpbot where every user may read it (python3 -m venv /opt/acpbot), or add --user"
        raise AcpbotError(operator_line(f"cannot install a system service: {reason}; {fix}"))
    top = (root or Path("/")).absolute()
    configuration = _base(environ, "XDG_CONFIG_HOME", ".config") if user else top / "etc"
    shared = _base(environ, "XDG_DATA_HOME", ".local/share") if user else top / "usr" / "local" / "share"
    files = list(_plan(program, environ, configuration, shared, user=user))
    _show(files, program)
    due = [file for file in files if file.state != "same"]
    if due:
        due = _confirm(due, yes=yes, replace=replace)
        if not due:
            typer.echo("Nothing was written.")
            raise typer.Exit(1)
    for file in due:
        _write(file)
        typer.echo(operator_line(f"written: {file.path}"))
    if root is None and not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        typer.echo("warning: systemd does not run this machine")
    typer.echo("Next:" if root is None else "Next, in the image:")
    made = os.path.exists(configuration / "acpbot" / "config.toml")  # noqa: PTH110 - see acpbot.config.paths
    config = None if made else (configuration if user else Path("/etc")) / "acpbot" / "config.toml"
    for line in _next(program, environ, config, user=user):
        typer.echo(operator_line(f"  {line}"))


def find_program() -> tuple[str, ...]:
    """The command line, with absolute paths, that starts this installation. Raises where no unit can hold it."""
    script = Path(sys.executable).with_name("acpbot")
    if not os.access(script, os.X_OK):
        script = Path(sys.argv[0]).absolute()
    if script.name == "acpbot" and os.access(script, os.X_OK):
        program: tuple[str, ...] = (str(script),)
    else:  # -P: import nothing from the working directory of the service: agents write there
        program = (sys.executable, "-P", "-m", "acpbot")
    if not _WORD.fullmatch(program[0]):
        raise AcpbotError(
            operator_line(
                f"cannot write {program[0]!r} into a unit; install acpbot at a path of letters, digits and ._-"
            )
        )
    return program


def _needed(program: Sequence[str]) -> list[Path]:
    """The files that the service must be able to read: the program, Python, its library, this package."""
    return [Path(program[0]), Path(sys.executable), Path(os.__file__), Path(__file__)]


def out_of_reach(paths: Sequence[Path]) -> str:
    """Why the machine's service can't read one of these files, as a clause; empty where it can read all.

    The service runs as a user of its own, with ``ProtectHome=`` and ``PrivateTmp=``.
    """
    for path in paths:
        for place in dict.fromkeys((path.absolute(), path.resolve())):
            for folder, setting in _HIDDEN.items():
                if place.is_relative_to(folder):
                    return f"{place} is in {folder}, which it does not see ({setting})"
            closed = next((step for step in (*reversed(place.parents), place) if not _readable_by_all(step)), None)
            if closed is not None:
                return f"{closed} is not open to other users"
    return ""


def _readable_by_all(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))


def _plan(
    program: Sequence[str], environ: Mapping[str, str], configuration: Path, shared: Path, *, user: bool
) -> Iterator[File]:
    places = {name: configuration / place for name, place in (_USER if user else _SYSTEM).items()}
    for name, path in (places | {name: shared / place for name, place in _SHARED.items()}).items():
        text = template(name).replace(_PROGRAM, f"ExecStart={_quoted(program)} ")
        if user:
            text = _PATH.sub(lambda line: _path_line(environ) or line[0], text)
        found = _current_text(path)
        folder = next(parent for parent in path.parents if os.path.isdir(parent))  # noqa: PTH112 - see acpbot.config.paths
        if not os.access(folder, os.W_OK | os.X_OK):
            way = "make it yours" if user else "run it as root, or add --user for a service of your own"
            raise AcpbotError(operator_line(f"cannot write {path}: you can't write in {folder}; {way}"))
        yield File(path, text, found)


def template(name: str) -> str:
    """The text of a template, from the wheel or from the source tree."""
    package = Path(__file__).parents[1]
    places = (package, package.parent / "packaging", package.parent)
    found = next(place / name for place in places if (place / name).is_file())
    return found.read_text(encoding="utf-8")


def _quoted(words: Sequence[str]) -> str:
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def _path_line(environ: Mapping[str, str]) -> str:
    """The PATH of this shell: systemd's user manager has a shorter one, without the folders that nvm and others add."""
    folders = dict.fromkeys(environ.get("PATH", "").split(":"))
    usable = [folder for folder in folders if folder.startswith("/") and _WORD.fullmatch(folder)]
    return f'Environment="PATH={":".join(usable)}"' if usable else ""


def _base(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """The folder that the variable names, else the usual one below the home.

    That of ``XDG_CONFIG_HOME`` is ``%E`` in the unit, and where systemd's user manager finds units.
    """
    if (xdg := environ.get(variable, "")).startswith("/"):
        return Path(xdg)
    home = home_directory(environ)
    if home is None:
        raise AcpbotError("cannot find a place for the unit: HOME is not set; set it")
    return home / below_home


def _current_text(path: Path) -> str | None:
    """The text of the file, or ``None``. ``AcpbotError`` where it can't be read, or is a link (`systemctl mask`)."""
    try:
        if path.is_symlink():
            problem = f"it is a symbolic link to {path.readlink()}; unmask or remove it first"
            raise AcpbotError(operator_line(f"cannot write {path}: {problem}"))
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _write_error(path, error) from None


def _show(files: Sequence[File], program: Sequence[str]) -> None:
    typer.echo(f"This installs acpbot as a systemd service, which starts {shlex.join(program)}.")
    for file in files:
        typer.echo(operator_line(f"  {file.state:<8} {file.path}"))
    for file in files:
        if file.state == "differs":
            typer.echo(operator_line(f"What would change in {file.path}:"))
            before, after = (file.found or "").splitlines(), file.text.splitlines()
            for line in difflib.unified_diff(before, after, "as it is", "as it would be", lineterm=""):
                typer.echo(f"  {operator_line(line)}")


def _confirm(due: Sequence[File], *, yes: bool, replace: bool) -> list[File]:
    """The files to write. A file that differs is among them only after a yes for it, or with ``replace``."""
    differing = [file for file in due if file.state == "differs" and not replace]
    if yes and differing:
        paths = ", ".join(str(file.path) for file in differing)
        advice = "move your changes into a drop-in and add --replace"
        raise AcpbotError(operator_line(f"cannot write {paths}: it already exists and differs, as shown; {advice}"))
    if yes:
        return list(due)
    if not (os.isatty(0) and os.isatty(1)):
        raise CannotAsk("cannot ask: there is no terminal; add --yes to write what is shown")
    try:
        plain = [file for file in due if file not in differing]
        agreed = plain if plain and _yes("Write these files? [y/N] ") else []
        return agreed + [file for file in differing if _yes(f"Replace {file.path}? [y/N] ")]
    except KeyboardInterrupt:
        typer.echo("\nNothing was written.")
        raise


def _yes(question: str) -> bool:
    """Ask. Only ``y`` and ``yes`` mean yes; the end of the input means no."""
    try:
        return input(operator_line(question)).strip().lower() in {"y", "yes"}
    except (EOFError, UnicodeDecodeError):
        typer.echo("")
        return False


def _write(file: File) -> None:
    """Write the file atomically. ``AcpbotError`` where it can't be written, or has changed since it was shown."""
    path = file.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".acpbot-", dir=path.parent)
    except OSError as error:
        raise _write_error(path, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(file.text)
            os.fchmod(out.fileno(), 0o644)
        if file.found is None:
            os.link(temporary, path)  # fails where a file has been created in the meantime
        elif _current_text(path) == file.found:
            os.replace(temporary, path)  # noqa: PTH105 - like os.link above
        else:
            raise AcpbotError(operator_line(f"cannot write {path}: it has changed since it was shown; run it again"))
    except OSError as error:
        raise _write_error(path, error) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108 - a plain name


def _write_error(path: Path, error: OSError) -> AcpbotError:
    return AcpbotError(operator_line(f"cannot write {path}: {error.strerror or error}; fix that and run it again"))


def _next(program: Sequence[str], environ: Mapping[str, str], config: Path | None, *, user: bool) -> Iterator[str]:
    """The commands to run next, quoted for a shell; ``config`` is the configuration to create, or ``None``."""
    systemctl = "systemctl --user" if user else "systemctl"
    acpctl = Path(program[0]).with_name("acpctl")
    if shutil.which("acpctl", path=environ.get("PATH")) is not None or not os.access(acpctl, os.X_OK):
        acpctl = Path("acpctl")
    if not user:
        yield "systemd-sysusers acpbot.conf"
    if config is not None:
        yield f"{shlex.join(program)} init --config {shlex.quote(str(config))}"
    if user:
        yield "loginctl enable-linger  # keeps it running while you are logged out"
    else:
        yield "systemd-tmpfiles --create acpbot.conf"
    yield f"{systemctl} daemon-reload"
    yield f"{systemctl} enable --now acpbot.service"
    yield f"{shlex.quote(str(acpctl))} health"
