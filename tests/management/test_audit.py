from __future__ import annotations

import io
import logging

import pytest

from acpbot import logs
from acpbot.management import audit
from acpbot.management.access import PeerCredentials
from acpbot.storage.store import Store

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
    audit.Audit(Store()).record(None, "connect", "", audit.DENIED)
    (line,) = written.getvalue().splitlines()
    assert line.split(maxsplit=1)[1] == 'warning audit uid=null pid=null method=connect target="" outcome=denied'


def test_a_target_cannot_forge_a_line(written):
    audit.Audit(Store()).record(PEER, "chat.open", "x\nuid=0 outcome=ended" + "y" * 5000, audit.DENIED)
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
