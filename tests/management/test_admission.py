"""Who is let in: a process that could be an agent's must be alive, and proven not to be one. Unknown is a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from acpbot.management.access import PeerCredentials, PeerProcess, may_be_an_agents
from acpbot.management.protocol import Limits
from tests.management.test_access import as_nobody
from tests.support.management_server import LIMIT, THREAD, Client, Harness

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


async def refusal(harness: Harness) -> str:
    """The error in place of hello."""
    client = await harness.client(hello=False)
    error = (await client.read())["error"]
    assert (error["code"], error["data"]) == (-32004, {"kind": "access_denied"})
    assert await client.closed()
    return error["message"]


CONNECT = "import socket, sys; socket.socket(fileno=int(sys.argv[2])).connect(sys.argv[1]); "


def connected_by_an_ended_process(path: Path) -> socket.socket:
    """A connection of ours that another process has made; the event loop sees it only after that has ended."""
    wire = socket.socket(socket.AF_UNIX)
    command = [sys.executable, "-c", CONNECT, str(path), str(wire.fileno())]
    subprocess.run(command, pass_fds=[wire.fileno()], timeout=LIMIT, check=True)
    return wire


class OtherProcess:
    """A process that has made a connection of ours, until :meth:`end`."""

    async def connect(self, path: Path) -> socket.socket:
        wire = socket.socket(socket.AF_UNIX)
        code = CONNECT + "print(flush=True); sys.stdin.read()"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(path), str(wire.fileno()), pass_fds=[wire.fileno()],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        await asyncio.wait_for(self._process.stdout.readline(), LIMIT)
        return wire

    async def end(self) -> None:
        await asyncio.wait_for(self._process.communicate(b""), LIMIT)


async def client_on(harness: Harness, wire: socket.socket) -> Client:
    client = Client(*await asyncio.open_unix_connection(sock=wire, limit=2**24))
    harness.clients.append(client)
    return client


async def test_an_agents_tool_is_refused_and_audited(make_harness, audit_log):
    harness = await make_harness(is_of_an_agent=lambda _pid: True)
    assert await refusal(harness) == "cannot serve you: an agent's tools may not manage acpbot"
    assert audit_log.outcomes() == [("connect", "", "denied")]
    assert (audit_log.lines[0]["uid"], audit_log.lines[0]["pid"]) == (os.geteuid(), os.getpid())


async def test_who_can_be_an_agents_is_refused_where_nobody_can_tell(make_harness, audit_log):
    harness = await make_harness(is_of_an_agent=lambda _pid: None)
    message = await refusal(harness)
    assert message.startswith("cannot serve you: acpbot can't see which process started yours, ")
    assert audit_log.outcomes() == [("connect", "", "denied")]


async def test_a_process_that_has_ended_is_refused(make_harness, audit_log):
    harness = await make_harness()
    client = await client_on(harness, connected_by_an_ended_process(harness.path))
    assert (await client.read())["error"]["message"] == (
        "cannot serve you: the process that connected has ended; connect from one that goes on running"
    )
    assert audit_log.outcomes() == [("connect", "", "denied")]


async def test_a_process_that_ends_during_the_look_is_refused(make_harness):
    looking, go_on = threading.Event(), threading.Event()

    def look(_pid: int) -> bool:
        looking.set()
        go_on.wait(LIMIT)
        return False

    harness = await make_harness(is_of_an_agent=look)
    other = OtherProcess()
    client = await client_on(harness, await other.connect(harness.path))
    await asyncio.to_thread(looking.wait, LIMIT)
    await other.end()
    go_on.set()
    assert "the process that connected has ended" in (await client.read())["error"]["message"]


async def test_once_its_process_has_ended_a_connection_changes_nothing_more(make_harness, audit_log):
    harness = await make_harness()
    other = OtherProcess()
    client = await client_on(harness, await other.connect(harness.path))
    assert (await client.read())["params"]["access"] == "admin"
    await client.call("sessions.cancel", thread=THREAD)
    await other.end()
    error = await client.refused("sessions.cancel", thread=THREAD)
    assert error["data"] == {"kind": "access_denied"}
    assert error["message"] == "cannot call sessions.cancel: the process that connected has ended; connect again"
    assert len(harness.pool.cancels) == 1
    assert (await client.call("health.get"))["live"], "what is only read is still answered"
    assert audit_log.outcomes()[-1] == ("sessions.cancel", THREAD, "denied")


async def test_a_look_that_takes_too_long_is_a_refusal(make_harness):
    go_on = threading.Event()
    harness = await make_harness(Limits(lookup_seconds=0.05), is_of_an_agent=lambda _pid: go_on.wait(LIMIT))
    assert "acpbot can't see which process started yours" in await refusal(harness)
    go_on.set()


async def test_the_event_loop_does_not_wait_for_the_look(make_harness):
    looking, go_on = threading.Event(), threading.Event()

    def look(_pid: int) -> bool:
        looking.set()
        return not go_on.wait(LIMIT)

    harness = await make_harness(is_of_an_agent=look)
    first = await harness.client(hello=False)
    await asyncio.to_thread(looking.wait, LIMIT)
    go_on.set()
    assert (await first.read())["method"] == "hello"


async def test_nothing_more_is_read_from_a_client_while_it_is_looked_at(make_harness):
    go_on = threading.Event()
    harness = await make_harness(is_of_an_agent=lambda _pid: not go_on.wait(LIMIT))
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(str(harness.path))
        sent = 0
        for _ in range(1_000):
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b" " * 65_536)
        go_on.set()
        assert 0 < sent < 2 * client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


async def test_a_client_may_leave_while_it_is_looked_at(make_harness):
    go_on = threading.Event()
    harness = await make_harness(is_of_an_agent=lambda _pid: not go_on.wait(LIMIT))
    client = await harness.client(hello=False)
    await client.close()
    go_on.set()
    assert (await (await harness.client()).call("health.get"))["live"]


async def test_no_descriptor_is_left_of_a_client(make_harness):
    harness = await make_harness()

    async def descriptors_after(clients: int) -> int:
        for _ in range(clients):
            client = await harness.client()
            client.writer.write_eof()
            assert await client.closed()
            await client.close()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough

    assert await descriptors_after(1) == await descriptors_after(20)


AS_ANOTHER_DAEMON = """
    import os
    from acpbot.management.access import PeerCredentials, may_be_an_agents
    os.seteuid(65534)
    print(*(may_be_an_agents(PeerCredentials(pid, uid, 0)) for pid in (7, 0) for uid in (65534, 0, 1000)))
"""


@as_root
def test_who_can_be_an_agents_depends_on_whose_daemon_it_is():
    """Agents have the daemon's uid, and root's can take any; but none leaves its pid namespace."""
    command = [sys.executable, "-c", textwrap.dedent(AS_ANOTHER_DAEMON)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["True", "False", "False", "True", "False", "False"]
    peers = [PeerCredentials(pid, uid, 0) for pid in (7, 0) for uid in (0, 1000)]
    assert [may_be_an_agents(peer) for peer in peers] == [True, True, True, False]


@as_root
async def test_another_user_is_refused_too_where_a_root_tool_could_be_that_user(make_harness, public_path):
    harness = await make_harness(folder=public_path, is_of_an_agent=lambda _pid: None)
    harness.path.parent.chmod(0o755)
    harness.path.chmod(0o666)
    (answer,), _, _ = await as_nobody(harness.path)
    assert "acpbot can't see which process started yours" in answer["error"]["message"]


class BeforeLinux65(socket.socket):
    """A socket of a kernel that gives no pidfd of the peer."""

    def getsockopt(self, level: int, name: int, *size: int):
        if name == 77:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return super().getsockopt(level, name, *size)


def test_before_linux_6_5_the_peer_is_held_by_its_pid():
    with BeforeLinux65(socket.AF_UNIX) as connection, subprocess.Popen(["sleep", "100"]) as child:
        held = PeerProcess(connection, child.pid)
        assert held.alive
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not held.alive, "a process that has ended and was not reaped"
        held.close()
        assert not held.alive
        child.wait()
        assert not PeerProcess(connection, child.pid).alive
        assert not PeerProcess(connection, 0).alive


def test_the_other_end_of_a_socket_pair_is_held():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        held = PeerProcess(ours, os.getpid())
        assert held.alive
        held.close()


def test_without_a_process_nothing_is_alive():
    with socket.socket(socket.AF_UNIX) as unconnected:
        assert not PeerProcess(unconnected, os.getpid()).alive
