"""What threads are told, in words."""

from __future__ import annotations

import pytest

from acpbot.acp.schema import Update
from acpbot.chat import conversation
from acpbot.chat.conversation import Conversation, ending_words, stuck_words
from acpbot.chat.rendering.live_message import LiveMessage


@pytest.mark.parametrize(
    ("reason", "detail", "resumable", "words"),
    [
        ("killed", "x", True, "An operator ended this session. Your next message picks the conversation up again."),
        ("killed", None, False, "An operator ended this session. Your next message starts a new one."),
        ("crashed", "exit code 3", True, "The agent ended unexpectedly: exit code 3. Your next message picks the"),
        ("crashed", "cannot go on: it ended", True, "Cannot go on: it ended. Your next message picks the"),
        ("crashed", None, False, "The agent ended unexpectedly. Your next message starts a new one."),
        ("expired", None, True, None),
        ("evicted", None, True, None),
    ],
)
def test_an_ending_in_words(reason, detail, resumable, words):
    told = ending_words(reason, detail, resumable=resumable)
    assert told is words if words is None else told.startswith(words)


def test_stuck_names_the_tool():
    assert stuck_words("npm run dev", 600) == (
        "The agent has said nothing for 10 minutes. It is waiting for: npm run dev. You can wait, or cancel the turn."
    )
    assert "waiting" not in stuck_words(None, 45)


def test_a_thread_reads_which_folder_is_deleted_and_when():
    assert conversation.removal_text("/srv/work/1001", 86_400) == (
        "If nobody writes here in the next 24 hours, I forget this conversation and delete its folder `/srv/work/1001` "
        "with all files in it. Push or copy what you want to keep."
    )


def test_a_thread_reads_which_choice_no_longer_holds():
    assert conversation.choice_dropped_text("model", "large") == (
        "The agent did not answer when I set its model to large again, so it keeps its own model."
    )


class Silent:
    """A surface that shows nothing."""

    def on_update(self, live, update) -> None: ...


def text(words: str) -> Update:
    body = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": words}}
    return Update("s", "agent_message_chunk", body)


def test_the_live_message_takes_everything_in():
    talk = Conversation(Silent(), LiveMessage())
    talk.on_update(Update("s", "tool_call", {"toolCallId": "t", "title": "ls", "status": "in_progress"}))
    talk.on_update(Update("s", "plan", {"entries": [{"content": "look", "status": "pending"}, "garbage"]}))
    talk.on_update(Update("s", "tool_call_update", {"title": "no id"}))
    talk.on_update(Update("s", "of_tomorrow", {"anything": 1}))
    talk.on_update(text("done"))
    (body,) = talk.live.bodies()
    assert "ls" in body
    assert "look" in body
    assert body.endswith("done")
    assert talk.live.text == "done"


def test_an_endless_answer_is_cut_and_said_to_be():
    talk = Conversation(Silent(), LiveMessage())
    piece = "x" * (conversation.TEXT_LIMIT // 4)
    for _ in range(6):
        talk.on_update(text(piece))
    assert len(talk.live.text) == conversation.TEXT_LIMIT
    assert "cut" in talk.live.bodies()[-1]
