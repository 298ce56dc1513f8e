"""A socket that is removed or replaced while the daemon serves: noticed, reported, bound again where that is safe."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import shutil
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from acpbot.errors import StartError
from acpbot.management.listener import Listener, PassedSocket
from acpbot.management.socket_watch import SocketWatch

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 20


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def place(tmp_path):
    return tmp_path / "run" / "acpbot.sock"


@pytest.fixture
def listen():
    """Open a listener; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_one(path: Path, **options) -> Listener:
            listener = Listener(path, **options)
            listener.open()
            stack.callback(listener.close)
            return listener

        yield open_one


def bind_again(listener: Listener) -> None:
    """As a server does: the socket before is closed once the new one is served."""
    before = listener.socket
    assert listener.bind_again() is listener.socket
    assert before is not None
    before.close()


def refusal(listener: Listener) -> str:
    with pytest.raises(StartError) as caught:
        listener.bind_again()
    text = str(caught.value)
    assert text.startswith("cannot serve ")
    assert "\n" not in text
    return text


def test_a_socket_in_its_place_is_not_lost(place, listen):
    assert listen(place).lost() is None


def test_a_socket_that_was_removed_is_bound_again(place, listen):
    listener = listen(place)
    place.unlink()
    assert listener.lost() == "it was removed"
    bind_again(listener)
    assert listener.lost() is None
    assert connects(place)
    with pytest.raises(StartError, match="already serves"):
        Listener(place).open()


def test_a_folder_that_was_removed_is_made_and_locked_again(place, listen):
    listener = listen(place)
    shutil.rmtree(place.parent)
    assert listener.lost() == "it was removed"
    bind_again(listener)
    assert connects(place)
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert (place.parent / "acpbot.lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(StartError, match="already serves"):
        Listener(place).open()
    listener.close()
    assert not place.exists()
    listen(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_the_group_may_use_the_socket_that_is_bound_again_too(place, listen):
    listener = listen(place, group=grp.getgrgid(65534).gr_name)
    shutil.rmtree(place.parent)
    bind_again(listener)
    assert [stat.S_IMODE(path.lstat().st_mode) for path in (place.parent, place)] == [0o750, 0o660]
    assert [path.lstat().st_gid for path in (place.parent, place)] == [65534, 65534]


def test_a_folder_that_was_moved_away_is_left_where_it_is(place, listen):
    listener = listen(place)
    place.parent.rename(place.parent.with_name("moved"))
    place.parent.mkdir(mode=0o700)
    assert listener.lost() == "it was removed"
    bind_again(listener)
    assert connects(place)
    assert (place.parent.with_name("moved") / "acpbot.lock").exists()


def test_another_daemon_at_the_place_keeps_it(place, listen):
    listener = listen(place)
    shutil.rmtree(place.parent)
    other = listen(place)
    assert listener.lost() == "something else is in its place"
    assert refusal(listener) == (f"cannot serve {place}: acpbot (pid {os.getpid()}) serves it now; end one of the two")
    assert other.lost() is None
    listener.close()
    assert connects(place), "the other daemon's socket is not removed either"


def test_a_socket_of_another_program_is_left_alone(place, listen):
    listener = listen(place)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        other.listen()
        assert refusal(listener) == f"cannot serve {place}: another program serves it; end it first"
        assert listener.lost() == "something else is in its place"
    bind_again(listener)  # nobody listens there any more


def test_an_agents_socket_in_its_place_is_replaced(place, listen):
    listener = listen(place, is_of_an_agent=lambda pid: pid == os.getpid())
    place.unlink()
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(str(place))
        fake.listen()
        bind_again(listener)
    assert listener.lost() is None
    assert connects(place)


def test_a_socket_whose_listening_process_has_ended_is_replaced(place, listen):
    """An agent's tool could have it listen in a child that ends, so that nobody can tell who listens."""
    listener = listen(place)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(str(place))
        code = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).listen()"
        command = [sys.executable, "-c", code, str(fake.fileno())]
        subprocess.run(command, pass_fds=[fake.fileno()], timeout=LIMIT, check=True)
        bind_again(listener)
    assert listener.lost() is None


def test_a_file_in_its_place_is_left_alone_and_a_link_is_not(place, listen):
    listener = listen(place)
    place.unlink()
    place.write_text("somebody's")
    assert refusal(listener) == f"cannot serve {place}: it is not a socket; move it away, or choose another"
    assert place.read_text() == "somebody's"
    target = place.with_name("target")
    place.rename(target)
    place.symlink_to(target)
    bind_again(listener)
    assert connects(place)
    assert target.read_text() == "somebody's"


def test_no_descriptor_is_left_by_tries_that_fail(place, listen):
    listener = listen(place)
    place.unlink()
    place.write_text("")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    for _ in range(20):
        refusal(listener)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - the same
    assert sorted(os.listdir(place.parent)) == ["acpbot.lock", "acpbot.sock"]  # noqa: PTH208 - the same


def test_a_listener_that_is_closed_binds_nothing(place):
    listener = Listener(place)
    listener.open()
    listener.close()
    assert listener.lost() is None
    assert "acpbot is stopping" in refusal(listener)
    assert not place.exists()


async def test_clients_are_served_at_the_new_socket_and_those_before_stay(harness, caplog):
    watch = SocketWatch(harness.listener, harness.server.serve)
    await watch.look()
    assert (watch.problem, caplog.records) == (None, [])
    before = await harness.client()
    harness.path.unlink()
    await watch.look()
    assert watch.problem is None
    assert [record.message for record in caplog.records] == ["socket_lost", "socket_bound_again"]
    after = await harness.client()
    for client in (before, after):
        assert (await client.call("health.get"))["live"]


async def test_a_socket_that_can_not_be_bound_is_a_problem_until_it_can_and_is_logged_once(harness, caplog):
    watch = SocketWatch(harness.listener, harness.server.serve)
    harness.path.unlink()
    harness.path.write_text("")
    for _ in range(3):
        await watch.look()
    assert watch.problem == (
        f"cannot serve {harness.path}: it is not a socket; move it away, or choose another "
        "(the socket was lost: something else is in its place)"
    )
    assert [record.message for record in caplog.records] == ["socket_lost", "socket_not_bound"]
    harness.path.unlink()
    await watch.look()
    assert watch.problem is None
    assert (await (await harness.client()).call("health.get"))["live"]


async def test_a_folder_that_can_not_be_made_is_a_problem(tmp_path):
    place = tmp_path / "parent" / "run" / "acpbot.sock"
    listener = Listener(place)
    listener.open()
    shutil.rmtree(tmp_path / "parent")
    (tmp_path / "parent").write_text("")
    watch = SocketWatch(listener, lambda _listening: asyncio.sleep(0))
    await watch.look()
    assert watch.problem is not None
    assert watch.problem.startswith(f"cannot serve {place}: Not a directory ")
    listener.close()


async def test_a_socket_of_systemd_is_reported_and_left_to_systemd(tmp_path):
    path = tmp_path / "passed.sock"
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        watch = SocketWatch(PassedSocket(path), lambda _listening: asyncio.sleep(0))
        await watch.look()
        assert watch.problem is None
        path.unlink()
        await watch.look()
        assert watch.problem == (
            f"cannot serve {path}: systemd made it; run `systemctl restart acpbot.socket` "
            "(the socket was lost: it was removed)"
        )
    unseen = SocketWatch(PassedSocket(tmp_path / "elsewhere.sock"), lambda _listening: asyncio.sleep(0))
    await unseen.look()
    assert unseen.problem is None
