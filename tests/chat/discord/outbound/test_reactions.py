from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.chat.discord.outbound.reactions import (
    QUEUED_SECONDS,
    STOP_EVENTS,
    Change,
    ReactionEvent,
    Reactions,
    tool_event,
)
from acpbot.config.settings import EmojiSettings, ReactionSettings, TimingSettings

E = EmojiSettings()


def add(emoji: str) -> Change:
    return Change("add", emoji)


def swap(new: str, old: str) -> list[Change]:
    return [Change("add", new), Change("remove", old)]


def reactions(*, queued_before: bool = False, **keys: Any) -> Reactions:
    return Reactions(ReactionSettings(**keys), queued_before=queued_before)


def test_one_turn_shows_one_emoji_after_the_other():
    state = reactions()
    assert state.due(0) == []
    assert state.next_wakeup() is None
    state.on(ReactionEvent.QUEUED, 1)
    assert state.due(1) == []
    assert state.next_wakeup() == 1 + QUEUED_SECONDS
    assert state.due(1 + QUEUED_SECONDS) == [add("👀")]
    assert state.next_wakeup() is None
    state.on(ReactionEvent.THINKING, 5)
    assert state.due(5) == []
    assert state.next_wakeup() == 5.7
    assert state.due(5.7) == swap("🤔", "👀")
    state.update("tool_call", {"toolCallId": "1", "kind": "edit", "title": "x"}, 6)
    assert state.due(6) == []
    assert state.due(6.7) == swap("👨‍💻", "🤔")
    state.update("tool_call_update", {"toolCallId": "1", "status": "completed"}, 7)
    state.on(ReactionEvent.DONE, 7.1)
    assert not state.finished
    assert state.due(7.1) == swap("🆗", "👨‍💻")
    assert state.next_wakeup() is None
    assert state.finished
    state.on(ReactionEvent.TOOL, 8)
    state.update("agent_message_chunk", {}, 9)
    assert state.due(99) == []


def test_a_turn_that_begins_at_once_never_shows_that_it_waits():
    state = reactions()
    state.on(ReactionEvent.QUEUED, 1)
    assert state.due(1) == []
    state.on(ReactionEvent.THINKING, 1.01)
    assert state.due(1.01) == [add("🤔")]
    state.on(ReactionEvent.DONE, 3)
    assert state.due(3) == swap("🆗", "🤔")


def test_an_end_may_turn_out_to_be_an_error():
    state = reactions()
    for event in (ReactionEvent.QUEUED, ReactionEvent.DONE):
        state.on(event, 0)
        state.due(0)
    state.on(ReactionEvent.ERROR, 1)
    assert state.due(1) == swap("😱", "🆗")
    state.on(ReactionEvent.ERROR, 2)
    state.on(ReactionEvent.DONE, 2)
    assert state.due(2) == []


def test_a_state_shorter_than_the_debounce_is_not_shown():
    state = reactions()
    state.on(ReactionEvent.THINKING, 0)
    assert state.due(0) == [add("🤔")]
    for number in range(20):
        now = 1 + number / 2
        state.on(ReactionEvent.WEB if number % 2 else ReactionEvent.CODING, now)
        assert state.due(now) == []
        assert state.next_wakeup() == pytest.approx(now + 0.7)
    # It was gone for a moment, and is back before that would have shown.
    state.on(ReactionEvent.THINKING, 11)
    assert state.due(12) == []


def test_a_silent_turn_is_slow_then_very_slow_until_the_next_update():
    state = reactions()
    state.on(ReactionEvent.THINKING, 0)
    state.due(0)
    assert state.next_wakeup() == 10
    assert state.due(10) == swap("⏳", "🤔")
    assert state.next_wakeup() == 30
    assert state.due(30) == swap("😨", "⏳")
    assert state.next_wakeup() is None
    state.update("agent_message_chunk", {"content": {}}, 40)
    assert state.due(40) == swap("🤔", "😨")
    assert state.next_wakeup() == 50
    assert state.due(50) == swap("⏳", "🤔")
    # What comes after silence may be something else: that shows once it lasts.
    state.on(ReactionEvent.WEB, 51)
    assert state.due(51) == swap("🤔", "⏳")
    assert state.due(51.7) == swap("⚡", "🤔")


def test_a_turn_is_not_very_slow_while_a_tool_runs():
    state = reactions()
    state.update("tool_call", {"toolCallId": "1", "kind": "execute", "status": "in_progress"}, 0)
    state.due(0)
    assert state.due(10) == swap("⏳", "👨‍💻")
    assert state.next_wakeup() is None
    assert state.due(10_000) == []
    state.update("tool_call_update", {"toolCallId": "1", "status": "completed"}, 10_001)
    assert state.due(10_001) == swap("👨‍💻", "⏳")
    assert state.due(10_002) == swap("🤔", "👨‍💻")
    assert state.due(10_032) == swap("😨", "🤔")


def test_a_turn_is_never_slow_in_the_queue_or_while_it_waits_for_a_person():
    state = reactions(queued_before=True)
    state.on(ReactionEvent.QUEUED, 0)
    state.due(0)
    assert state.due(10_000) == []
    state.on(ReactionEvent.CODING, 10_000)
    assert state.due(10_000.7) == swap("👨‍💻", "👀")
    state.on(ReactionEvent.ASKED, 10_001)
    state.on(ReactionEvent.ASKED, 10_001)
    assert state.next_wakeup() is None
    state.on(ReactionEvent.ANSWERED, 10_100)
    # Another tool goes on meanwhile.
    state.update("tool_call_update", {"toolCallId": "2", "kind": "execute"}, 10_101)
    assert state.due(20_000) == []
    state.on(ReactionEvent.ANSWERED, 20_000)
    assert state.next_wakeup() == 20_010
    assert state.due(20_010) == swap("⏳", "👨‍💻")
    state.on(ReactionEvent.ANSWERED, 20_011)
    assert state.due(20_011) == swap("👨‍💻", "⏳")
    assert state.next_wakeup() == 20_021


def test_a_slow_turn_that_asks_is_not_slow_any_more():
    state = reactions()
    state.on(ReactionEvent.TOOL, 0)
    state.due(0)
    assert state.due(12) == swap("⏳", "🔥")
    state.on(ReactionEvent.ASKED, 13)
    assert state.due(13) == swap("🔥", "⏳")


@pytest.mark.parametrize(
    ("event", "hold", "emoji"), [(ReactionEvent.DONE, 1.5, "🆗"), (ReactionEvent.ERROR, 2.5, "😱")]
)
def test_the_emoji_is_removed_after_the_reply_where_set(event, hold, emoji):
    state = reactions(remove_after_reply=True)
    state.on(ReactionEvent.THINKING, 0)
    state.due(0)
    state.on(event, 100)
    assert state.due(100) == swap(emoji, "🤔")
    assert state.next_wakeup() == 100 + hold
    assert not state.finished
    assert state.due(100 + hold) == [Change("remove", emoji)]
    assert state.finished
    assert state.next_wakeup() is None


def test_a_cancelled_turn_leaves_no_emoji():
    state = reactions(queued_before=True)
    state.on(ReactionEvent.QUEUED, 0)
    state.due(0)
    state.on(ReactionEvent.CANCELLED, 1)
    assert state.due(1) == [Change("remove", "👀")]
    assert state.finished
    assert state.next_wakeup() is None
    unseen = reactions()
    unseen.on(ReactionEvent.CANCELLED, 1)
    assert unseen.due(1) == []
    assert unseen.finished


def test_without_reactions_nothing_happens():
    state = reactions(enabled=False)
    for event in ReactionEvent:
        state.on(event, 1)
        assert state.due(2) == []
        assert state.next_wakeup() is None
    assert state.finished


def test_states_that_look_alike_change_nothing():
    same = msgspec.structs.replace(E, tool="🔥", coding="🔥", done="🔥")
    state = reactions(emojis=same)
    state.on(ReactionEvent.TOOL, 0)
    state.due(0)
    state.on(ReactionEvent.CODING, 1)
    assert state.due(5) == []
    state.on(ReactionEvent.DONE, 6)
    assert state.due(6) == []
    assert state.finished


def test_zero_means_at_once_and_for_stalls_never():
    zero = TimingSettings(debounce_ms=0, stall_soft_ms=0, stall_hard_ms=0, done_hold_ms=0)
    state = reactions(timing=zero, remove_after_reply=True, queued_before=True)
    state.on(ReactionEvent.QUEUED, 0)
    state.due(0)
    state.on(ReactionEvent.THINKING, 0)
    assert state.due(0) == swap("🤔", "👀")
    assert state.next_wakeup() is None
    assert state.due(1e6) == []
    state.on(ReactionEvent.DONE, 1e6)
    assert state.due(1e6) == [Change("remove", "🤔")]
    assert state.finished


def test_the_tool_that_started_last_counts():
    state = reactions(timing=TimingSettings(debounce_ms=0))
    state.update("tool_call", {"toolCallId": "1", "kind": "execute", "status": "in_progress"}, 0)
    assert state.due(0) == [add("👨‍💻")]
    state.update("tool_call", {"toolCallId": "2", "kind": "fetch"}, 1)
    assert state.due(1) == swap("⚡", "👨‍💻")
    state.update("tool_call_update", {"toolCallId": "2", "status": "failed"}, 2)
    assert state.due(2) == swap("👨‍💻", "⚡")
    state.update("tool_call_update", {"toolCallId": "1", "status": "completed"}, 3)
    assert state.due(3) == swap("🤔", "👨‍💻")
    # Updates without a usable id, and of calls that never began.
    state.update("tool_call", {"toolCallId": 7}, 4)
    state.update("tool_call_update", {"toolCallId": "9", "status": "completed"}, 4)
    state.update("something_new", {}, 4)
    assert state.due(4) == []


def test_an_agent_that_never_ends_its_calls_costs_bounded_memory():
    state = reactions()
    for number in range(10_000):
        state.update("tool_call", {"toolCallId": str(number), "title": "t"}, number)
    assert len(state._running) == 256


@pytest.mark.parametrize(
    ("kind", "title", "event"),
    [
        *((kind, None, ReactionEvent.CODING) for kind in ("read", "edit", "delete", "move", "execute", "search")),
        *(
            ("fetch", None, ReactionEvent.WEB),
            ("think", "web", ReactionEvent.THINKING),
            ("switch_mode", None, ReactionEvent.TOOL),
        ),
        *(
            (None, None, ReactionEvent.TOOL),
            ("other", "", ReactionEvent.TOOL),
            ("invented", "Deploy", ReactionEvent.TOOL),
        ),
        *(("search", "Search the web for x", ReactionEvent.WEB), ("execute", "curl https://a", ReactionEvent.CODING)),
        *(
            (None, "webSearch", ReactionEvent.WEB),
            ("other", "web_fetch", ReactionEvent.WEB),
            (None, "Open https://a.b", ReactionEvent.WEB),
        ),
        *(
            (None, "read_file", ReactionEvent.CODING),
            ("other", "Bash", ReactionEvent.CODING),
            (None, "runCommand", ReactionEvent.CODING),
        ),
        *((None, "Cobweb research", ReactionEvent.TOOL), (None, "x" * 100_000 + " web", ReactionEvent.TOOL)),
    ],
)
def test_a_tool_is_classified_by_kind_then_by_title(kind, title, event):
    assert tool_event(kind, title) is event


def test_stop_reasons_are_done_cancelled_or_error():
    ends = {
        "end_turn": ReactionEvent.DONE,
        "max_tokens": ReactionEvent.DONE,
        "new_reason": ReactionEvent.DONE,
        "cancelled": ReactionEvent.CANCELLED,
    }
    ends |= {"error": ReactionEvent.ERROR, "refusal": ReactionEvent.ERROR}
    assert {reason: STOP_EVENTS.get(reason, ReactionEvent.DONE) for reason in ends} == ends


_steps = st.lists(st.tuples(st.sampled_from(list(ReactionEvent)), st.floats(0, 40), st.booleans()), max_size=30)
_timings = st.builds(
    TimingSettings,
    **dict.fromkeys(("debounce_ms", "stall_soft_ms", "stall_hard_ms", "done_hold_ms"), st.integers(0, 30_000)),
)


@given(_steps, _timings, st.booleans())
def test_never_two_emojis_and_every_wakeup_has_a_cause(steps, timing, remove):
    state = Reactions(ReactionSettings(timing=timing, remove_after_reply=remove))
    shown: set[str] = set()
    now = 0.0

    def apply() -> int:
        changes = state.due(now)
        for action, emoji in changes:
            if action == "add":
                assert emoji not in shown
                shown.add(emoji)
            else:
                shown.remove(emoji)
        assert len(shown) <= 1
        assert state.due(now) == []
        return len(changes)

    for event, pause, wake in steps:
        until = now + pause
        while wake and (wakeup := state.next_wakeup()) is not None and wakeup <= until:
            now = wakeup
            assert apply() > 0
        now = until
        state.on(event, now)
        apply()
    for _ in range(5):
        if (wakeup := state.next_wakeup()) is None:
            break
        assert wakeup > now
        now = wakeup
        assert apply() > 0
    assert state.next_wakeup() is None


def test_an_end_that_looks_like_the_work_is_held_from_the_end():
    state = reactions(remove_after_reply=True, emojis=msgspec.structs.replace(E, thinking="🆗"))
    state.on(ReactionEvent.THINKING, 0)
    state.due(0)
    state.on(ReactionEvent.DONE, 5)
    assert state.due(5) == []
    assert state.next_wakeup() == 6.5
    assert state.due(6.5) == [Change("remove", "🆗")]
