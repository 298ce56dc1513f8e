"""What a bubblewrap sandbox shows of this machine, as the words of bwrap(1).

Nothing is visible but what is named here: the system and the installation of the agent's program (read-only), the
agent's folder, its HOME, and what the operator adds. The daemon's own files are hidden again wherever one of these
would show them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acpbot.runtimes.homes import LoginFile

BIND: Final = "--bind"
READ_ONLY: Final = "--ro-bind"
LINK: Final = "--symlink"
_DEVICE: Final = "--dev-bind"
_EMPTY: Final = "--tmpfs"


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
# What programs need of /etc. Each user of a machine can read all of it.
_ETC: Final = _names(
    "alternatives bash.bashrc ca-certificates ca-certificates.conf crypto-policies debian_version fonts gai.conf group "
    "host.conf hostname hosts inputrc java ld.so.cache ld.so.conf ld.so.conf.d locale.alias locale.conf localtime "
    "magic mime.types networks nsswitch.conf os-release passwd perl pki profile profile.d protocols python3 "
    "resolv.conf services shells ssl static terminfo timezone vimrc xdg"
)
_CERTIFICATES: Final = _names(
    "SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO"
)


# What root may write in a /proc, without any capability (proc(5)); a new one shows these as they are outside. The list
# is that of read-only and masked paths of the OCI runtime specification.
_PROC_OF_ROOT: Final = _names("acpi asound bus dynamic_debug fs irq mtrr pressure scsi sys sysrq-trigger")


class Refused(Exception):
    """A sandbox can't be made as the settings ask for it; the message says why, as a clause, with the way out."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing that is there. ``how``: an option of bwrap; ``source``: its first word, "" where it takes none."""

    how: str
    source: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """The daemon's own files, which no agent may see. All paths are absolute.

    ``state``: the folder of the database. Programs may be installed in it: with the unit that acpbot ships it is also
    the HOME of the daemon's user. ``folders``: what belongs to threads; a session sees only its own of it. ``files``:
    the configuration, the token, the socket.
    """

    state: Path | None = None
    folders: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        """Yield all of them."""
        yield from () if self.state is None else (self.state,)
        yield from self.folders
        yield from self.files


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """One sandbox. ``folder`` and ``home`` can be written. ``logins``: see `homes`.

    ``installed``: see `installation`. ``readable`` and ``writable``: what the operator adds.
    """

    folder: Path
    home: Path
    installed: tuple[Mount, ...] = ()
    logins: tuple[LoginFile, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = True
    hidden: Hidden = field(default_factory=Hidden)


def namespaces(*, root: bool) -> list[str]:
    """Return the options that every sandbox has. With them all its processes end together with bwrap.

    ``root``: the caller is root, and needs no user namespace; the agent gets none of root's capabilities.
    """
    user = ["--cap-drop", "ALL"] if root else ["--unshare-user"]
    return ["--die-with-parent", *user, "--unshare-pid", "--unshare-ipc", "--unshare-uts"]


def words(sandbox: Sandbox, *, root: bool, terminal: bool = False) -> list[str]:
    """Return the options of bwrap. Looks at the disk. Raises `Refused`.

    ``terminal``: the command uses the caller's terminal; without, it gets a Unix session of its own.
    """
    options = namespaces(root=root)
    if not terminal:
        options.append("--new-session")
    if not sandbox.network:
        options.append("--unshare-net")
    for mount in mounts(sandbox):
        options += filter(None, (mount.how, mount.source, mount.path))
    for path in (f"/proc/{name}" for name in _PROC_OF_ROOT) if root else ():
        if Path(path).exists():
            options += [READ_ONLY, path, path]
    return [*options, "--remount-ro", "/", "--chdir", str(sandbox.folder)]


def mounts(sandbox: Sandbox) -> list[Mount]:
    """Return what is there, a folder before what is in it. Looks at the disk. Raises `Refused`."""
    wanted = {mount.path: mount for mount in (*_own(), *system(), *sandbox.installed)}
    for how, paths in ((READ_ONLY, sandbox.readable), (BIND, sandbox.writable)):
        for path in paths:
            _check(path, sandbox.hidden)
            wanted[str(path)] = Mount(_DEVICE if path.is_relative_to("/dev") else how, str(path), str(path))
    if sandbox.hidden.state is not None and sandbox.folder.resolve() == sandbox.hidden.state.resolve():
        raise Refused(f"it works in {sandbox.folder}, where acpbot keeps its database; choose another working_dir")
    own = {str(path): Mount(BIND, str(path), str(path)) for path in (sandbox.folder, sandbox.home)}
    wanted |= own
    masks = {mask.path: mask for mask in _masks(sandbox.hidden, tuple(wanted.values()))}
    logins = {
        str(file.target): Mount(READ_ONLY if file.read_only else BIND, str(file.source), str(file.target))
        for file in sandbox.logins
    }
    return sorted((wanted | masks | own | logins).values(), key=lambda mount: len(Path(mount.path).parts))


def system() -> list[Mount]:
    """Return the programs, libraries and settings of this machine, as far as they are there."""
    found = []
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            found.append(Mount(LINK, str(path.readlink()), str(path)))
        elif path.is_dir():
            found.append(Mount(READ_ONLY, str(path), str(path)))
    etc = (Path("/etc", name) for name in _ETC)
    return found + [Mount(READ_ONLY, str(path.resolve()), str(path)) for path in etc if path.exists()]


def certificates(env: Mapping[str, str]) -> list[Mount]:
    """Return the files of authorities that an agent's environment names."""
    named = (env.get(name, "") for name in _CERTIFICATES)
    return [Mount(READ_ONLY, path, path) for path in named if path.startswith("/") and Path(path).exists()]


def _own() -> list[Mount]:
    """Return what every sandbox has for itself."""
    empty = [Mount(_EMPTY, "", path) for path in ("/tmp", "/var/tmp")]  # noqa: S108 - the sandbox's own
    return [Mount("--proc", "", "/proc"), Mount("--dev", "", "/dev"), Mount("--dir", "", "/run"), *empty]


def _check(path: Path, hidden: Hidden) -> None:
    """Raise `Refused` for what the operator adds where it is not there, or belongs to the daemon."""
    if not path.exists():
        raise Refused(f"{path} does not exist; create it, or take it out of readable and writable")
    real = path.resolve()
    if real in {one.resolve() for one in hidden} or any(real.is_relative_to(one.resolve()) for one in hidden.folders):
        raise Refused(f"{path} is acpbot's own or another thread's; take it out of readable and writable")
    if real == Path("/"):
        raise Refused("/ is the whole machine; name the folders that the agent needs in readable and writable")


def _masks(hidden: Hidden, visible: Iterable[Mount]) -> Iterator[Mount]:
    """Yield what covers the hidden files where something visible would show them, under whatever name."""
    shown = [mount for mount in visible if mount.how in {BIND, READ_ONLY, _DEVICE}]
    for path in hidden:
        real = Path(os.path.realpath(path))
        for mount in shown:
            source = os.path.realpath(mount.source)
            if real.is_relative_to(source) and real.exists():
                place = os.path.normpath(Path(mount.path, real.relative_to(source)))
                yield Mount(_EMPTY, "", place) if real.is_dir() else Mount(READ_ONLY, os.devnull, place)
