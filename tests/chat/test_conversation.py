"""The sentences that threads read about their sessions, and what a conversation adds to the live message."""

from __future__ import annotations

import pytest

from acpbot.acp.schema import Update
from acpbot.chat import conversation
from acpbot.chat.conversation import INCOMPLETE, Conversation, end_text, stuck_text
from acpbot.chat.platform import TurnView
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.errors import AgentGone, AgentStartError
from acpbot.sessions.ending import KILLED
from acpbot.sessions.turn import TurnEnd


@pytest.mark.parametrize(
    ("reason", "detail", "resumable", "words"),
    [
        ("killed", KILLED, True, "An admin stopped this session. Send a message to carry on where you left off."),
        ("killed", KILLED, False, "An admin stopped this session. Your next message starts a new conversation."),
        ("start_failed", AgentStartError.for_people, True, "The agent couldn't be started. An admin can check"),
        ("start_failed", "cannot start agent 'x': y; z", False, "Cannot start agent 'x': y; z. Send a message to try"),
        ("crashed", "cannot go on: it ended", True, "Cannot go on: it ended. Send a message to carry on"),
        ("crashed", AgentGone.for_people, False, "The agent crashed. Your next message starts a new conversation."),
        ("expired", None, True, None),
        ("evicted", None, True, None),
    ],
)
def test_a_thread_reads_why_its_session_ended_and_what_comes_next(reason, detail, resumable, words):
    sentence = end_text(reason, detail, resumable=resumable)
    if words is None:
        assert sentence is None
    else:
        assert sentence is not None
        assert sentence.startswith(words)


def test_a_thread_reads_which_tool_its_silent_agent_waits_for():
    assert stuck_text("npm run dev", 600) == (
        "No output for 10 minutes; still running npm run dev. Wait, or stop it with /cancel."
    )
    assert "running" not in stuck_text(None, 45)


def test_a_thread_reads_when_its_folder_is_deleted():
    assert conversation.removal_text(86_400) == (
        "If nobody writes here in the next 24 hours, I'll forget this conversation and delete its folder "
        "with all the files in it. Push or copy anything you want to keep."
    )


def test_a_thread_reads_which_choice_no_longer_holds():
    assert conversation.choice_dropped_text("model", "large") == (
        "I couldn't set the agent's model to large again, so it uses its default."
    )
    assert conversation.option_not_set_text("model", "large") == (
        "The agent doesn't accept large as its model, so it uses its default. An admin can change that."
    )


class Silent(TurnView):
    """A view that shows nothing."""

    def on_queued(self, place) -> None:
        pass

    def on_started(self) -> None:
        pass

    def on_update(self, live, update) -> None:
        pass

    def on_permission_request(self, ask) -> None:
        pass

    def on_permission_resolved(self, ask) -> None:
        pass

    def on_question(self, question) -> None:
        pass

    def on_question_closed(self, question) -> None:
        pass

    def on_permission_note(self, live, note) -> None:
        pass

    def on_ended(self, live, end, on_persisted) -> None:
        pass

    def on_deferred(self) -> None:
        pass

    def on_refused(self) -> None:
        pass


def text(words: str) -> Update:
    body = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": words}}
    return Update("s", "agent_message_chunk", body)


def test_text_tools_and_plan_reach_the_live_message():
    shown = Conversation(Silent(), LiveMessage())
    shown.on_update(Update("s", "tool_call", {"toolCallId": "t", "title": "ls", "status": "in_progress"}))
    shown.on_update(Update("s", "plan", {"entries": [{"content": "look", "status": "pending"}, "garbage"]}))
    shown.on_update(Update("s", "tool_call_update", {"title": "no id"}))
    shown.on_update(Update("s", "of_tomorrow", {"anything": 1}))
    shown.on_update(text("done"))
    (body,) = shown.live.bodies()
    assert "ls" in body
    assert "look" in body
    assert body.endswith("done")
    assert shown.live.text == "done"


def test_an_endless_answer_is_cut_and_says_so():
    shown = Conversation(Silent(), LiveMessage())
    piece = "x" * (conversation.TEXT_LIMIT // 4)
    for _ in range(6):
        shown.on_update(text(piece))
    assert len(shown.live.text) == conversation.TEXT_LIMIT
    assert "cut" in shown.live.bodies()[-1]


class Broken(Silent):
    """A view with a defect in one place."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.ended = 0

    def _fail(self, place: str) -> None:
        if place == self.place:
            raise RuntimeError("a defect")

    def on_started(self) -> None:
        self._fail("start")

    def on_update(self, live, update) -> None:
        del live, update
        self._fail("update")

    def on_ended(self, live, end, on_persisted) -> None:
        del live, end
        self.ended += 1
        self._fail("end")
        on_persisted()


@pytest.mark.parametrize("place", ["start", "update", "end"])
def test_a_defect_in_a_view_ends_no_turn_and_is_reported_once_in_the_thread(place, caplog):
    view = Broken(place)
    settled: list[int] = []
    reports: list[str] = []
    shown = Conversation(view, LiveMessage(), lambda: settled.append(1), reports.append)
    shown.on_started()
    shown.on_update(text("one"))
    shown.on_update(text("two"))
    shown.on_ended(TurnEnd("end_turn"))
    assert shown.live.text == "onetwo"
    assert (view.ended, settled, reports) == (1, [1], [INCOMPLETE])
    assert [record.message for record in caplog.records] == ["answer_incomplete"]


class Unreadable(LiveMessage):
    """A live message that can't read any text."""

    def append(self, _text: str) -> None:
        raise ValueError("a defect")


def test_a_defect_in_the_live_message_is_reported_in_the_thread():
    reports: list[str] = []
    shown = Conversation(Silent(), Unreadable(), report=reports.append)
    shown.on_update(text("one"))
    shown.on_ended(TurnEnd("end_turn"))
    assert reports == [INCOMPLETE]
