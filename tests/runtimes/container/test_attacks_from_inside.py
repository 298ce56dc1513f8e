"""What an agent in a container can reach of the daemon and of other threads: nothing."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from acpbot.config.runtime_settings import ContainerSettings
from acpbot.runtimes.container.runtime import ContainerRuntime
from acpbot.runtimes.runtime import LaunchSpec
from tests.support.container_engine import IMAGE, EngineMissing, podman_engine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.runtimes

LOOK = """
import os, sys
for path in sys.argv[1:]:
    print(path, os.path.exists(path))
print("token", "secret-token" in repr(dict(os.environ)) or any(
    b"secret-token" in open(f"/proc/{pid}/environ", "rb").read() for pid in os.listdir("/proc") if pid.isdigit()))
print("own", os.access(os.getcwd(), os.W_OK) and os.access(os.environ["HOME"], os.W_OK))
try:
    open("/usr/new", "w"); print("root", True)
except OSError:
    print("root", False)
"""


class Collected:
    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof(self) -> None:
        self.ended.set()


async def test_token_socket_state_and_other_threads_are_out_of_reach(tmp_path: Path):
    work, home = tmp_path / "work" / "t1", tmp_path / "homes" / "t1"
    for folder in (work, home):
        folder.mkdir(parents=True)
    hidden = [tmp_path / "work" / "t2", tmp_path / "homes" / "t2", tmp_path / "acpbot.sock", tmp_path / "acpbot.db"]
    for path in hidden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    try:
        with podman_engine() as engine:
            environ = {**os.environ, **engine.environ, "DISCORD_BOT_TOKEN": "secret-token"}
            runtime = ContainerRuntime(daemon_id="daemon", environ=environ)
            sink = Collected()
            spec = LaunchSpec(
                argv=("python3", "-c", LOOK, *map(str, hidden)),
                cwd=work,
                env={"HOME": str(home)},
                session_id="s1",
                thread_id="t1",
                home=home,
                container=ContainerSettings(image=IMAGE, engine="podman", network="none"),
            )
            process = await runtime.launch(spec, sink, lambda _: None)
            await process.wait()
            report = await process.kill_all()
            await runtime.aclose()
    except EngineMissing as missing:
        pytest.skip(str(missing))
    lines = sink.data.decode().splitlines()
    assert lines == [*(f"{path} False" for path in hidden), "token False", "own True", "root False"]
    assert (report.settled, report.proof) == (True, "system")
