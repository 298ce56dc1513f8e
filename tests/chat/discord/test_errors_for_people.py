"""No error of an agent, the pool, the configuration or a library reaches people in Discord as operators read it."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from acpbot import errors
from acpbot.chat.conversation import end_text
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.errors import AcpbotError, AgentRemoved, TooMany
from acpbot.sessions import ending, turn
from acpbot.sessions.views import Reason
from tests.support.discord_scene import staged
from tests.support.for_people import of_operators
from tests.support.pool import faulty
from tests.support.sentences import sentences

OPERATORS = (
    "cannot start agent 'x' (/home/a/bin/x): internal error (OSError), see the log; set [agents.x] working_dir (-32603)"
)
TOLD = {
    errors.InUse: lambda: errors.InUse(OPERATORS, elsewhere=False),
    errors.AgentRemoved: lambda: AgentRemoved(OPERATORS, "x"),
    errors.AgentRefused: lambda: errors.AgentRefused(OPERATORS, code=-32603),
    errors.AgentNotSignedIn: lambda: errors.AgentNotSignedIn(errors.AgentRefused(OPERATORS, code=-32000), "oauth_x"),
}
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, AcpbotError)]
LIMITS = [
    TooMany(OPERATORS, limit=limit, count=count, person=person)
    for limit in get_args(errors.Limit)
    for count in (1, 3)
    for person in (None, "7", "8")
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_what_people_read_of_an_error_is_a_sentence_without_its_details(kind):
    error = TOLD.get(kind, lambda: kind(OPERATORS))()
    end = turn.failed(error)
    assert end.for_operators == str(error) == OPERATORS
    for text in (refusal_text(error, "7"), str(end.error)):
        assert of_operators(text) == []
        assert text[0].isupper()
        assert text[-1] == "."


@pytest.mark.parametrize("error", LIMITS, ids=lambda error: f"{error.limit}, {error.count}, {error.person}")
def test_what_people_read_of_a_limit_is_a_sentence_without_its_key(error):
    text = refusal_text(error, "7")
    assert of_operators(text) == []
    assert text[-1] == "."


@pytest.mark.parametrize("reason", get_args(Reason))
def test_what_people_read_of_the_end_of_a_session_is_a_sentence(reason):
    details = [one.for_people for one in ERRORS] + [ending.KILLED, ending.SUSPENDED, ending.STOPPED, None]
    for detail in details:
        for resumable in (True, False):
            text = end_text(reason, detail, resumable=resumable)
            assert text is None or (of_operators(text) == [] and text[-1] == ".")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/no/such/agent",), "The agent couldn't be started. An admin can check the log."),
        (faulty("refuses -32603 session/new"), "The agent couldn't be started. An admin can check the log."),
        (faulty("refuses -32603 session/prompt"), "The agent reported an error: it said no"),
        (faulty("answers session/prompt [7]"), "The agent finished without a reply."),
    ],
    ids=["no program", "no session", "refused prompt", "odd answer"],
)
async def test_a_thread_reads_of_a_failure_without_its_details_and_the_log_has_them(tmp_path, caplog, argv, words):
    async with staged(tmp_path, limits={"argv": argv}) as scene:
        thread = await scene.opens("say one")
        assert of_operators(await scene.says(thread, words)) == []
        assert scene.text(thread).count(words) == 1
    logged = " ".join(str(getattr(record, "fields", "")) for record in caplog.records)
    assert "finished" in words or "cannot " in logged


def test_no_sentence_of_the_chat_has_what_only_operators_should_read():
    written = [(place, re.sub(r"{[^{}]*}", "…", text)) for place, text in sentences()]
    # In the log, in a health check, and the message of an error.
    for_operators = ("person: ", "Discord refuses the slash commands: ", "cannot …: internal error")
    assert len(written) > 300
    assert [one for one in written if of_operators(one[1]) and not one[1].startswith(for_operators)] == []
