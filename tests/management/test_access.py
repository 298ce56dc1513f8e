"""Who may do what: real credentials of real processes, and the users and groups of this system."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import socket
import sys
import textwrap
import threading

import pytest

from acpbot.management.access import AccessRule, PeerCredentials, peer_of, user_name
from acpbot.management.protocol import Limits
from tests.support.management_server import LIMIT, THREAD

NOBODY = 65534
STRANGER = 4_123_456_789  # beyond 2^31, and nobody's uid
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def users():
    """A user whose primary group has a name, and one that is listed in a group, where this system has such."""
    for user in pwd.getpwall():
        if user.pw_uid not in {0, os.geteuid()}:
            try:
                yield user, grp.getgrgid(user.pw_gid)
            except KeyError:
                continue


def test_the_kernel_gives_the_peers_credentials():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == PeerCredentials(os.getpid(), os.geteuid(), os.getegid())


def test_a_socket_without_credentials_has_no_peer():
    with socket.socket(socket.AF_UNIX) as unconnected, socket.socket(socket.AF_INET) as inet:
        assert peer_of(unconnected) is None
        assert peer_of(inet) is None


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_daemon_itself_are_admin_at_once(uid):
    assert AccessRule().at_once(PeerCredentials(1, uid, 0)) == "admin"
    assert AccessRule(["@no-such-group"]).at_once(PeerCredentials(1, uid, 0)) == "admin"


def test_others_may_read():
    peer = PeerCredentials(1, STRANGER, STRANGER)
    assert AccessRule().at_once(peer) == "read"
    assert AccessRule(["root"]).at_once(peer) is None, "a look at the users is needed"
    assert AccessRule(["root", "no-such-user", "@no-such-group", "7"]).looked_up(peer) == "read"


def test_a_uid_is_an_admin_by_its_number():
    assert AccessRule([str(STRANGER)]).at_once(PeerCredentials(1, STRANGER, 0)) == "admin"
    assert AccessRule([str(STRANGER)]).looked_up(PeerCredentials(1, STRANGER - 1, 0)) == "read"


def test_a_user_is_an_admin_by_name():
    user, _ = next(users())
    assert AccessRule([user.pw_name]).looked_up(PeerCredentials(1, user.pw_uid, user.pw_gid)) == "admin"
    assert AccessRule([user.pw_name]).looked_up(PeerCredentials(1, STRANGER, user.pw_gid)) == "read"


def test_a_user_is_an_admin_by_its_primary_group():
    user, group = next(users())
    rule = AccessRule([f"@{group.gr_name}"])
    assert rule.looked_up(PeerCredentials(1, user.pw_uid, STRANGER)) == "admin"


def test_the_group_of_the_process_alone_does_not_count():
    _, group = next(users())
    rule = AccessRule([f"@{group.gr_name}"])
    assert rule.looked_up(PeerCredentials(1, STRANGER, group.gr_gid)) == "read"
    other = next(user for user, _ in users() if user.pw_gid != group.gr_gid and user.pw_name not in group.gr_mem)
    assert rule.looked_up(PeerCredentials(1, other.pw_uid, group.gr_gid)) == "read"


def test_a_user_is_an_admin_by_a_group_that_lists_it(monkeypatch):
    user, _ = next(users())
    listed = grp.struct_group(("operators", "x", STRANGER, ["somebody", user.pw_name]))
    monkeypatch.setattr(grp, "getgrnam", {"operators": listed}.__getitem__)  # the system's database
    assert AccessRule(["@operators"]).looked_up(PeerCredentials(1, user.pw_uid, user.pw_gid)) == "admin"
    assert AccessRule(["operators"]).looked_up(PeerCredentials(1, user.pw_uid, user.pw_gid)) == "read", (
        "that is a user's name"
    )


def test_a_name_of_digits_is_a_uid_and_not_a_group():
    assert AccessRule(["@0"]).looked_up(PeerCredentials(1, STRANGER, 0)) == "read"


def test_unknown_admins_are_found():
    user, group = next(users())
    known = [user.pw_name, f"@{group.gr_name}", "123456"]
    assert AccessRule(["no-such-user", *known, "@no-such-group"]).unknown() == ["no-such-user", "@no-such-group"]


def test_a_user_without_a_name_is_its_number():
    assert user_name(STRANGER) == str(STRANGER)
    assert user_name(0) == pwd.getpwuid(0).pw_name


async def test_unknown_admins_are_logged(make_harness, caplog):
    harness = await make_harness(rule=AccessRule(["no-such-user", "root"]))
    assert await harness.server.tasks.wait(LIMIT)
    (warned,) = [record.fields["admin"] for record in caplog.records if record.message == "admin_unknown"]
    assert warned == "no-such-user"


AS_NOBODY = """
    import json, os, socket, sys
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(20)
        try:
            wire.connect(sys.argv[1])
        except OSError as error:
            sys.exit(f"{error.strerror}")
        lines = wire.makefile("rwb")
        print(lines.readline().decode(), end="")
        for number, (method, params) in enumerate(json.loads(sys.argv[2])):
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            lines.write(json.dumps(request).encode() + b"\\n")
            lines.flush()
            print(lines.readline().decode(), end="")
        print(os.getpid())
"""


async def as_nobody(path, *requests) -> tuple[list[dict], int, str]:
    """What the user nobody receives; its pid; its error where it can't connect."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(path), json.dumps(requests),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), LIMIT)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    return lines[:-1], lines[-1] if lines else 0, err.decode().strip()


@pytest.fixture
async def public_harness(make_harness, public_path):
    """A harness whose socket every user may connect to."""

    async def make(**others):
        harness = await make_harness(folder=public_path, **others)
        harness.path.parent.chmod(0o755)
        harness.path.chmod(0o666)
        return harness

    return make


@as_root
async def test_a_user_who_may_only_read_has_fewer_streams(public_harness):
    harness = await public_harness(limits=Limits(reader_streams=1))
    (_, *answers), _, _ = await as_nobody(
        harness.path, ("sessions.watch", {}), ("sessions.tail", {"thread": THREAD}), ("health.get", {})
    )
    assert ["result" in answer for answer in answers] == [True, False, True]
    assert answers[1]["error"]["data"] == {"kind": "too_many"}


@as_root
async def test_another_user_may_only_read(public_harness, audit_log):
    harness = await public_harness()
    target = {"thread_id": THREAD, "session_id": "s-0123"}
    hers, pid, _ = await as_nobody(
        harness.path,
        ("sessions.list", {}),
        ("health.get", {}),
        ("sessions.get", {"thread": THREAD}),
        ("sessions.kill", {"targets": [target]}),
        ("sessions.kill", {"nonsense": 1}),
        ("sessions.cancel", {"thread": THREAD}),
        ("daemon.drain", {"on": True}),
        ("chat.open", {"thread": "demo"}),
        ("chat.send", {"thread": "demo", "text": "x"}),
        ("chat.permit", {"thread": "demo", "request": "p1", "option": "allow"}),
        ("chat.leave", {"thread": "demo"}),
    )
    hello, *answers = hers
    assert hello["params"]["access"] == "read"
    assert "sessions.kill" in hello["params"]["capabilities"], "capabilities are what is served, not what is allowed"
    assert ["result" in answer for answer in answers] == [True] * 3 + [False] * 8
    assert answers[1]["result"]["security"] is None, "what an attacker would look for is for admins"
    for answer in answers[3:]:
        assert (answer["error"]["code"], answer["error"]["data"]) == (-32004, {"kind": "access_denied"})
    assert answers[3]["error"]["message"].startswith(f"cannot call sessions.kill: uid {NOBODY} may only read; ")
    assert (harness.pool.kills, harness.pool.cancels, harness.drain.asked, harness.hub.opened) == ([], [], [], [])
    assert audit_log.outcomes() == [
        ("sessions.kill", "1 sessions", "denied"),
        ("sessions.cancel", THREAD, "denied"),
        ("daemon.drain", "", "denied"),
        ("chat.open", "demo", "denied"),
        ("chat.send", "demo", "denied"),
        ("chat.permit", "demo", "denied"),
        ("chat.leave", "demo", "denied"),
    ]
    assert {(line["uid"], line["pid"]) for line in audit_log.lines} == {(NOBODY, pid)}


@as_root
@pytest.mark.parametrize("admin", [pwd.getpwuid(NOBODY).pw_name, str(NOBODY), f"@{grp.getgrgid(NOBODY).gr_name}"])
async def test_another_user_is_an_admin_where_the_configuration_names_it(public_harness, audit_log, admin):
    harness = await public_harness(rule=AccessRule([admin]))
    (hello, answer, opened), pid, _ = await as_nobody(
        harness.path, ("sessions.cancel", {"thread": THREAD}), ("chat.open", {"thread": "demo"})
    )
    assert hello["params"]["access"] == "admin"
    assert answer["result"] == {"outcome": "cancelled"}
    assert "result" in opened
    assert harness.hub.opened == [("demo", None, pwd.getpwuid(NOBODY).pw_name)]
    assert audit_log.lines[0] == {
        "uid": NOBODY,
        "pid": pid,
        "method": "sessions.cancel",
        "target": THREAD,
        "outcome": "cancelled",
    }


@as_root
async def test_the_file_mode_keeps_others_out(make_harness, public_path):
    harness = await make_harness(folder=public_path)
    hers, _, error = await as_nobody(harness.path)
    assert (hers, error) == ([], "Permission denied")
    harness.path.parent.chmod(0o755)
    hers, _, error = await as_nobody(harness.path)
    assert (hers, error) == ([], "Permission denied")


class SlowRule(AccessRule):
    """A user lookup that never ends."""

    def __init__(self, hold) -> None:
        super().__init__(["somebody"])
        self.hold = hold

    def at_once(self, _peer):
        return None

    def unknown(self):
        return []

    def looked_up(self, _peer):
        self.hold.wait(LIMIT)
        return "admin"


async def test_a_slow_user_lookup_delays_no_other_client(make_harness, caplog):
    hold = threading.Event()
    rule = SlowRule(hold)
    harness = await make_harness(Limits(lookup_seconds=0.1), rule=rule)
    client = await harness.client(hello=False)
    client.send("health.get")
    hello = await client.read()
    assert hello["params"]["access"] == "read", "who can't be looked up is no admin"
    assert (await client.read())["result"]["live"], "what was sent before hello is answered after it"
    (failed,) = [record.fields for record in caplog.records if record.message == "user_lookup_failed"]
    assert failed == {"what": "access", "uid": os.geteuid(), "reason": "no answer in 0.1 s", "failures": 1}
    error = await client.refused("sessions.cancel", thread=THREAD)
    assert error["message"] == (
        f"cannot call sessions.cancel: whether uid {os.geteuid()} is an admin could not be looked up "
        "(no answer in 0.1 s); connect again, or run as root"
    )
    assert "a lookup of a user has not returned" in harness.server.lookups.problem
    hold.set()


async def test_requests_sent_before_hello_are_served_after_it(make_harness):
    hold = threading.Event()
    harness = await make_harness(rule=SlowRule(hold))
    client = await harness.client(hello=False)
    for number in range(500):
        client.send("health.get", {}, number)
    client.writer.write_eof()
    hold.set()
    assert (await client.read())["method"] == "hello"
    assert [answer["id"] for answer in await client.read_many(500)] == list(range(500))
    assert await client.closed()


async def test_a_client_may_leave_during_the_user_lookup(make_harness):
    hold = threading.Event()
    harness = await make_harness(rule=SlowRule(hold))
    client = await harness.client(hello=False)
    await client.close()
    hold.set()
    other = await harness.client()
    assert (await other.call("health.get"))["live"]
