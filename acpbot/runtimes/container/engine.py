"""A container engine by its client, Podman's or Docker's: each call is bounded in time, and what fails is named.

An engine that hangs or can't be reached raises `EngineUnreachable`: then nothing is known about a container, and it is
never taken for gone. Sources: podman(1), docs.docker.com/reference/cli/docker.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from acpbot.errors import AgentStartError
from acpbot.runtimes.container import engine_errors
from acpbot.runtimes.container.client import Client, Clients, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from acpbot.runtimes.local.spawner import Child

Name = Literal["podman", "docker"]

NAMES: Final[tuple[Name, ...]] = ("podman", "docker")
TITLES: Final = {"podman": "Podman", "docker": "Docker"}

CALL_SECONDS: Final = 20.0
"""How long an engine may take for a call that reads or changes its records."""

_OUTPUT_BYTES: Final = 4 * 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024
# What the clients read. The bot's token and all else of the daemon's environment stays with the daemon.
_VARIABLES: Final = frozenset(
    {
        "HOME",
        "PATH",
        "USER",
        "LOGNAME",
        "LANG",
        "TMPDIR",
        "REGISTRY_AUTH_FILE",
        "DBUS_SESSION_BUS_ADDRESS",
        "SSH_AUTH_SOCK",
    }
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR"}
)
_PREFIXES: Final = ("XDG_", "DOCKER_", "CONTAINER_", "CONTAINERS_", "PODMAN_", "STORAGE_")


class EngineUnreachable(OSError):
    """Nobody can ask the engine now: it hangs, it does not run, or the daemon may not use it."""


class Result(NamedTuple):
    """How a call has ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Info(NamedTuple):
    """What an engine says of itself. ``limits``: which of ``memory``, ``pids`` and ``cpu`` it can hold.

    ``is_podman``: it takes Podman's options, also where its client is called docker (package podman-docker).
    """

    is_podman: bool
    rootless: bool
    limits: frozenset[str]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a client gets of the daemon's environment."""
    return {name: text for name, text in environ.items() if name in _VARIABLES or name.startswith(_PREFIXES)}


def find(wanted: Name | None, environ: Mapping[str, str]) -> tuple[Name, str]:
    """Return the engine's name and the path of its client: the one that is wanted, else the first on PATH.

    Raises AgentStartError.
    """
    search = environ.get("PATH", os.defpath)
    for name in NAMES if wanted is None else (wanted,):
        path = shutil.which(name, path=search)
        if path is not None:
            return name, path
    if wanted is None:
        problem = f"there is neither podman nor docker in {search}; install one of them"
    else:
        problem = f"{wanted} was not found in {search}; install it, or set engine to the one that is there"
    raise AgentStartError(f"cannot run agents in containers: {problem}, or choose another runtime")


class Engine:
    """One engine. ``name`` is podman or docker, ``program`` the path of its client."""

    def __init__(self, name: Name, program: str, environ: Mapping[str, str], *, seconds: float = CALL_SECONDS) -> None:
        self.name: Final = name
        self.program: Final = program
        self.title: Final = TITLES[name]
        self._seconds = seconds
        self._clients = Clients(environment(environ), Path("/"))
        self._info: Info | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of its clients."""
        return self._clients.environ

    async def start(self, words: Sequence[str], more: Mapping[str, str] | None = None) -> Child:
        """Start a client that stays. Raises OSError, ValueError."""
        return await self._clients.start([self.program, *words], more)

    async def start_program(self, argv: Sequence[str]) -> Child:
        """Start another program beside the clients, with their environment. Raises OSError, ValueError."""
        return await self._clients.start(argv)

    async def call(
        self,
        *words: str,
        seconds: float | None = None,
        more: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Result:
        """Run a client until it ends; ``on_line`` gets each line that it writes, of both streams.

        Raises EngineUnreachable where it takes longer than ``seconds`` or can't be started.
        """
        limit = self._seconds if seconds is None else seconds
        out, err = Output(_OUTPUT_BYTES, on_line), Output(_ERROR_BYTES, on_line)
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        client: Client | None = None
        try:
            async with asyncio.timeout(limit):
                child = await self._clients.start([self.program, *words], more)
                client = Client(child, on_stdout=out.feed, on_stderr=err.feed, on_exit=exited.set_result)
                client.stdin.close()
                code = await exited
        except TimeoutError as error:
            raise EngineUnreachable(None, f"{self.title} has not answered `{words[0]}` within {limit:g} s") from error
        except OSError as error:
            if isinstance(error, EngineUnreachable):
                raise
            raise EngineUnreachable(
                error.errno, f"{self.program} can't be started: {error.strerror or error}"
            ) from error
        finally:
            if client is not None:
                client.close()
        return Result(code, out.text(), err.text())

    async def ask(self, *words: str, seconds: float | None = None, more: Mapping[str, str] | None = None) -> str:
        """Return what a call has written. Raises EngineUnreachable where it has failed."""
        result = await self.call(*words, seconds=seconds, more=more)
        if result.code != 0:
            raise EngineUnreachable(None, engine_errors.of_engine(result.err).reason)
        return result.out

    async def info(self) -> Info:
        """Return what the engine says of itself, asked once. Raises EngineUnreachable."""
        if self._info is None:
            facts = _decode(await self.ask("info", "--format", "{{json .}}"))
            self._info = _podman_info(facts) if "host" in facts else _docker_info(facts)
        return self._info

    async def list_ids(self, *filters: str) -> list[str]:
        """Return the ids of the containers that have all these properties, ended ones too. Raises EngineUnreachable."""
        words = [word for one in filters for word in ("--filter", one)]
        return (await self.ask("ps", "--all", "--no-trunc", "--quiet", *words)).split()

    async def remove(self, *ids: str, seconds: float | None = None) -> Result:
        """End containers and remove them, with the volumes that have no name. Raises EngineUnreachable."""
        return await self.call("rm", "--force", "--volumes", *ids, seconds=seconds)

    def close(self) -> None:
        """Start no more clients."""
        self._clients.close()


def _decode(text: str) -> dict[str, Any]:
    try:
        facts = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise EngineUnreachable(None, "the container engine's answer can't be read") from error
    return facts if isinstance(facts, dict) else {}


def _podman_info(facts: dict[str, Any]) -> Info:
    host = facts.get("host") or {}
    rootless = bool((host.get("security") or {}).get("rootless"))
    controllers = frozenset(host.get("cgroupControllers") or ())
    if rootless and host.get("cgroupVersion") == "v1":
        controllers = frozenset()  # podman-run(1): without root it applies no limits with cgroups v1
    return Info(is_podman=True, rootless=rootless, limits=controllers)


def _docker_info(facts: dict[str, Any]) -> Info:
    names = {"memory": "MemoryLimit", "pids": "PidsLimit", "cpu": "CPUCfsQuota"}
    held = frozenset(limit for limit, name in names.items() if facts.get(name, facts.get(name.replace("CPU", "Cpu"))))
    options = facts.get("SecurityOptions") or ()
    return Info(is_podman=False, rootless=any("rootless" in str(option) for option in options), limits=held)
