"""A unit file as systemd reads it, and its service run as systemd.exec(5) says, on a machine without systemd."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple, Self

LIMIT: Final = 20.0
FOLDER: Final = Path(__file__).parents[3] / "packaging" / "systemd"
_SECONDS: Final = {"": 1, "s": 1, "min": 60, "h": 3600}
# The pid is known only when the process of the program exists; execve(2) keeps it.
_EXEC: Final = 'export WATCHDOG_PID=$$ SYSTEMD_EXEC_PID=$$; exec "$@"'


class Unit:
    """The settings of one file, by section; an empty assignment resets those before it (systemd.syntax(7))."""

    def __init__(self, text: str) -> None:
        self._settings: dict[tuple[str, str], list[str]] = defaultdict(list)
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                if value:
                    self._settings[section, key].append(value)
                else:
                    self._settings[section, key].clear()

    def all(self, key: str, section: str = "Service") -> list[str]:
        """All values of a setting."""
        return self._settings.get((section, key), [])

    def one(self, key: str, section: str = "Service") -> str:
        """Its last value, or nothing."""
        return next(reversed(self.all(key, section)), "")

    def seconds(self, key: str) -> float:
        """A time span of one number and one unit (systemd.time(7))."""
        number, unit = re.fullmatch(r"(\d+)([a-z]*)", self.one(key)).groups()  # type: ignore[union-attr]
        return float(number) * _SECONDS[unit]


class Channels(NamedTuple):
    """Where the specifiers of systemd.unit(5) and a service's own folders lead."""

    configuration: str = "/etc"
    state: str = "/var/lib"
    runtime: str = "/run"

    @classmethod
    def below(cls, folder: Path) -> Channels:
        """The same, below a folder."""
        return cls(*(str(folder / place.lstrip("/")) for place in cls()))

    def expand(self, text: str) -> str:
        """``text`` without its specifiers."""
        known = {"E": self.configuration, "S": self.state, "t": self.runtime, "%": "%"}
        return re.sub("%(.)", lambda match: known[match[1]], text)


class Service:
    """What systemd makes of a service unit, as far as its processes see it."""

    def __init__(self, unit: Unit, places: Channels) -> None:
        self.unit = unit
        self.places = places
        self.name = "acpbot.service"
        self.credentials = f"{places.runtime}/credentials/{self.name}"

    def folders(self) -> dict[str, tuple[str, int]]:
        """The folders that the service manager creates: (path, mode) by the name of the variable that has its path."""
        found = {}
        for kind, place in (("Runtime", self.places.runtime), ("State", self.places.state)):
            if name := self.unit.one(f"{kind}Directory"):
                mode = int(self.unit.one(f"{kind}DirectoryMode") or "0755", 8)
                found[f"{kind.upper()}_DIRECTORY"] = (f"{place}/{name}", mode)
        return found

    def argv(self) -> list[str]:
        """The command line, which begins with what sets the variables that hold its pid."""
        words = [self.places.expand(word) for word in shlex.split(self.unit.one("ExecStart"))]
        return ["/bin/sh", "-c", _EXEC, "sh", *words]

    def environ(self, notify: str, home: str) -> dict[str, str]:
        """The variables: what the manager sets, then ``Environment=``, then the file of ``EnvironmentFile=``."""
        user = self.unit.one("User")
        environ = {
            "LANG": "C.UTF-8",
            "USER": user,
            "LOGNAME": user,
            "HOME": home,
            "SHELL": "/usr/sbin/nologin",
            "INVOCATION_ID": "0" * 32,
            "NOTIFY_SOCKET": notify,
            "WATCHDOG_USEC": str(int(self.unit.seconds("WatchdogSec") * 1_000_000)),
            "CONFIGURATION_DIRECTORY": f"{self.places.configuration}/{self.unit.one('ConfigurationDirectory')}",
            "CREDENTIALS_DIRECTORY": self.credentials,
            **{name: path for name, (path, _) in self.folders().items()},
        }
        for line in self.unit.all("Environment"):
            for word in shlex.split(self.places.expand(line)):
                name, _, value = word.partition("=")
                environ[name] = value
        file = Path(self.places.expand(self.unit.one("EnvironmentFile").removeprefix("-")))
        if file.is_file():
            for line in file.read_text().splitlines():
                name, separator, value = line.partition("=")
                if separator and not line.startswith("#"):
                    environ[name] = value
        return environ

    def script(self, uid: int, secrets: dict[str, str]) -> str:
        """For a shell that is root and alone in its mount namespace: all that systemd does before and with execve(2).

        The user is made of ``uid``; the file system is read-only but for the service's folders and /tmp. The shell ends
        with the service, and with its status.
        """
        unit = self.unit
        user, home = unit.one("User"), f"{self.places.state}/{unit.one('StateDirectory')}"
        own = f"{uid}:{uid}"
        lines = [
            "set -e",
            f"echo {shlex.quote(f'{user}:x:{own}::{home}:/usr/sbin/nologin')} >> /etc/passwd",
            f"echo {shlex.quote(f'{user}:x:{uid}:')} >> /etc/group",
            f"mkdir -p {self.credentials}",
        ]
        for credential in unit.all("LoadCredential"):
            name, _, source = credential.partition(":")
            if source in secrets:
                lines.append(f"printf %s {shlex.quote(secrets[source])} > {self.credentials}/{name}")
        lines += [f"chown -R {own} {self.credentials}", f"chmod -R u=rX,go= {self.credentials}"]
        for path, mode in self.folders().values():
            lines += [
                f"mkdir -p {path}",
                f"chown {own} {path}",
                f"chmod {mode:o} {path}",
                f"mount --bind {path} {path}",
            ]
        environ = [f"{name}={value}" for name, value in self.environ("", home).items() if value]
        drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
        start = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *drop, "env", "-i", *environ]
        lines += [
            f"chown -R {own} {self.places.configuration}/{unit.one('ConfigurationDirectory')}",
            "for place in / /run /opt /var/lib /etc/systemd/system; do mount -o remount,bind,ro $place; done",
            f"cd {self.places.expand(unit.one('WorkingDirectory'))}",
            f"umask {unit.one('UMask')}",
            f'{shlex.join(start)} NOTIFY_SOCKET="$NOTIFY_SOCKET" {shlex.join(self.argv())} & wait $!',
        ]
        return "\n".join(lines)


class Running:
    """The service as a process of this user, with its folders where ``places`` says; ready after construction."""

    def __init__(self, service: Service, folder: Path, secrets: dict[str, str]) -> None:
        self.state = Path(service.folders()["STATE_DIRECTORY"][0])
        self.log = folder / "service.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        self._notify.settimeout(LIMIT)
        for path, mode in service.folders().values():
            Path(path).mkdir(parents=True)
            Path(path).chmod(mode)
        credentials = Path(service.credentials)
        credentials.mkdir(parents=True, mode=0o700)
        for credential in service.unit.all("LoadCredential"):
            name, _, source = credential.partition(":")
            if source in secrets:
                (credentials / name).write_text(secrets[source])
                (credentials / name).chmod(0o400)
        environ = service.environ(str(folder / "notify"), str(self.state))
        # Not part of the unit: its own place for the socket is /run/acpbot, which a test must not use.
        self.socket = Path(environ["RUNTIME_DIRECTORY"], "acpbot.sock")
        environ["ACPBOT_SOCKET"] = str(self.socket)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                service.argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=service.places.expand(service.unit.one("WorkingDirectory")),
                umask=int(service.unit.one("UMask"), 8),
                start_new_session=True,
            )
        self.pid = self.process.pid
        try:
            self.wait_for("READY=1")
        except BaseException:
            self.close()
            raise

    def wait_for(self, state: str) -> None:
        """Wait until the service has sent this state."""
        while True:
            try:
                states = self._notify.recv(4096).decode().split("\n")
            except TimeoutError:
                raise AssertionError(f"no {state}; it says:\n{self.log.read_text(errors='replace')}") from None
            if state in states:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, where it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(LIMIT)
        self._notify.close()
