from __future__ import annotations

import io
import logging

import pytest

from acpbot import logs
from acpbot.management import audit
from acpbot.management.access import PeerCredentials
from acpbot.storage.store import DENIED, Store

PEER = PeerCredentials(pid=4711, uid=1000, gid=1000)


@pytest.fixture
def written():
    """The log of a daemon whose level is `error`."""
    root, acpbot = logging.getLogger(), logging.getLogger("acpbot")
    handlers, levels = root.handlers[:], (root.level, acpbot.level)
    stream = io.StringIO()
    logs.configure("error", "text", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    acpbot.setLevel(levels[1])


def test_an_entry_is_one_line_at_any_log_level(written):
    audit.Audit(Store()).record(PEER, "sessions.kill", "17/s-1", "ended")
    (line,) = written.getvalue().splitlines()
    assert line.split(maxsplit=1)[1] == (
        "info    audit uid=1000 pid=4711 method=sessions.kill target=17/s-1 outcome=ended"
    )


def test_a_denial_is_a_warning(written):
    audit.Audit(Store()).record(None, "connect", "", DENIED)
    (line,) = written.getvalue().splitlines()
    assert line.split(maxsplit=1)[1] == 'warning audit uid=null pid=null method=connect target="" outcome=denied'


def test_a_target_cannot_forge_a_line(written):
    audit.Audit(Store()).record(PEER, "chat.open", "x\nuid=0 outcome=ended" + "y" * 5000, DENIED)
    (line,) = written.getvalue().splitlines()
    assert len(line) < 400
    assert r'target="x\nuid=0 outcome=ended' in line


@pytest.mark.parametrize(
    ("params", "target"),
    [
        ({}, ""),
        ({"thread": "demo"}, "demo"),
        ({"thread": 7}, ""),
        ({"targets": [1, 2]}, "2 sessions"),
        ({"targets": "all"}, ""),
        ({"on": True}, ""),
    ],
)
def test_the_target_of_a_refused_request_is_read_from_its_parameters(params, target):
    assert audit.target_of(params) == target


class Clock:
    """Moves when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(written) -> list[str]:
    return [line.split(maxsplit=2)[2] for line in written.getvalue().splitlines()]


def test_denials_that_are_alike_are_one_line_and_their_number_follows(written):
    clock = Clock()
    entries = audit.Audit(Store(), clock=clock)
    for number in range(1000):
        entries.record(PEER, "sessions.kill", f"{number} sessions", DENIED)
    entries.record(PEER, "sessions.cancel", "17", DENIED)
    entries.flush()
    first = 'audit uid=1000 pid=4711 method=sessions.kill target="0 sessions" outcome=denied'
    other = "audit uid=1000 pid=4711 method=sessions.cancel target=17 outcome=denied"
    assert lines_of(written) == [first, other]
    clock.now += audit.MERGE_SECONDS
    entries.flush()
    assert lines_of(written) == [first, other, f"{first} repeated=999"]
    entries.record(PEER, "sessions.cancel", "17", DENIED)
    assert lines_of(written)[3:] == [other], "a new time begins"


def test_the_end_of_the_daemon_writes_the_number_of_denials_too(written):
    entries = audit.Audit(Store())
    for _ in range(3):
        entries.record(PEER, "connect", "", DENIED)
    entries.flush(everything=True)
    assert [line.partition("outcome=")[2] for line in lines_of(written)] == ["denied", "denied repeated=2"]


def test_what_was_done_is_never_merged(written):
    entries = audit.Audit(Store())
    for _ in range(3):
        entries.record(PEER, "sessions.kill", "17/s-1", "ended")
    assert len(lines_of(written)) == 3


def test_denials_of_many_processes_are_merged_by_user_and_those_of_many_users_altogether(written):
    entries = audit.Audit(Store())
    for number in range(5000):
        entries.record(PeerCredentials(pid=number, uid=1000, gid=1000), "connect", "", DENIED)
    assert len(lines_of(written)) == audit.MERGED_MOST + 1
    assert "uid=1000 pid=null method=connect" in lines_of(written)[-1]
    for number in range(5000):
        entries.record(PeerCredentials(pid=number, uid=2000 + number, gid=1000), "connect", "", DENIED)
    assert len(lines_of(written)) == 2 * audit.MERGED_MOST + 1
    assert "uid=null pid=null method=connect" in lines_of(written)[-1]
