"""Agents that misbehave: one table of quirks and what the pool makes of each (tests/fakes/agents/faulty.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from acpbot.acp import bounds
from acpbot.sessions.permission_requests import MOST_OPEN
from tests.fakes.agents.garbage import MALFORMED
from tests.sessions.test_pool import exists, kill
from tests.support.for_people import of_operators
from tests.support.turn_listener import AnyListener, grows_less_than, send, settled, turn

IMPATIENCE = 0.5
MEGABYTE = 1024 * 1024
PERMISSIVE = {"policy": "allow"}
HASTY = {"grace_seconds": 0.2}
DENYING = {"policy": "deny"}
OPTIONS = "reject_always:x allow_always:y odd:z reject_once:0 allow_once:1 reject_once:2 allow_once:3"

NEVER_CAME = ("start_failed",)


@dataclass(frozen=True)
class Case:
    """A fault, and how two turns ('one', then 'two') end with it. ``ended``: why sessions ended meanwhile.

    ``error`` is a part of the first turn's sentence; ``then`` the second turn's text (``None``: there is none).
    """

    quirk: str
    text: str = "one"
    stop: str = "end_turn"
    error: str | None = None
    then: str | None = "two"
    ended: tuple[str, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        policy = self.limits.get("policy")
        return self.quirk[:60] + (f" ({policy})" if policy else "")


def failed(quirk: str, error: str, **members: Any) -> Case:
    """The turn fails with that error; the agent goes on."""
    return Case(quirk, **{"text": "", "stop": "error", "error": error, **members})


def crashed(quirk: str, error: str = "ended (exit code 3)", **members: Any) -> Case:
    """The agent goes down in the turn; another one takes the next turn."""
    return failed(quirk, error, **{"text": "up", "ended": ("crashed",), **members})


def unusable(quirk: str, error: str, **members: Any) -> Case:
    """The agent can't be started."""
    return failed(quirk, error, **{"then": None, "ended": NEVER_CAME, **members})


CASES = [
    Case("sound"),
    # What the lines look like.
    Case("commands_before_new"),
    Case("late_update", text="one LATE", then="two LATE"),
    Case("string_ids"),
    Case("answers_without_id"),
    Case("answers_twice"),
    Case("garbage"),
    Case("odd_text", text="ab", then="ab"),
    Case("long_line 200000", text="x" * 200_000),
    Case("unending_line 40 ends"),
    crashed("unending_line 40 exits", text=""),
    Case("noisy_stderr 10"),
    Case("meta_with_session_id"),
    Case("sub_agents", text="one selected go", then="two selected go", limits=PERMISSIVE),
    # Permissions.
    Case("asks allow_once:a", text="selected a", then="selected a", limits=PERMISSIVE),
    Case(f"asks {OPTIONS}", text="selected 1", then="selected 1", limits=PERMISSIVE),
    Case(f"asks {OPTIONS}", text="selected 0", then="selected 0", limits=DENYING),
    Case("asks reject_once:n allow_always:y", text="selected y", then="selected y", limits=PERMISSIVE),
    Case("asks reject_always:n allow_once:y", text="selected n", then="selected n", limits=DENYING),
    Case("asks reject_once:a reject_always:b", text="cancelled", then="cancelled", limits=PERMISSIVE),
    Case("asks allow_once:a allow_always:b", text="cancelled", then="cancelled", limits=DENYING),
    Case("asks odd:a", text="cancelled", then="cancelled", limits=PERMISSIVE),
    Case("asks_barely", text="selected 7", then="selected 7", limits=PERMISSIVE),
    Case("withdraws", text="cancelled", then="cancelled"),
    Case("permission_storm 999", text="asked: 999 selected a", then="asked: 999 selected a", limits=PERMISSIVE),
    Case("permission_storm 999", text="asked: 999 selected b", then="asked: 999 selected b", limits=DENYING),
    Case("calls_back fs/read_text_file fs/write_text_file", text="-32601 -32601", then="-32601 -32601"),
    Case("calls_back terminal/create terminal/output x", text="-32601 -32601 -32601", then="-32601 -32601 -32601"),
    # Answers.
    Case('answers session/prompt {"stopReason":"lunch"}', text="", stop="lunch", then=""),
    Case('answers session/prompt {"stopReason":"refusal","_meta":[]}', text="", stop="refusal", then=""),
    Case("answers session/prompt {}", text="", then=""),
    Case("answers session/prompt null", text="", then=""),
    Case("answers session/prompt nothing", text="", then=""),
    unusable("answers session/new nothing", "answer to session/new names no session"),
    Case('answers session/prompt {"stopReason":4}', text="", then=""),
    Case("answers session/prompt [7]", text="", then=""),
    failed("refuses 400 session/prompt", "The agent reported an error: it said no", then=""),
    failed("refuses -32000 session/prompt", "The agent isn't signed in. Ask your admin.", then=""),
    failed("errs_oddly", "The agent reported an error: boom", then=""),
    unusable('answers initialize {"protocolVersion":2}', "it speaks ACP version 2, acpbot speaks 1"),
    unusable('answers initialize {"protocolVersion":"one"}', "cannot use the agent's answer to initialize"),
    Case('answers initialize {"protocolVersion":1,"agentCapabilities":7}'),
    Case('answers initialize {"protocolVersion":1,"agentCapabilities":null,"authMethods":null,"agentInfo":3}'),
    Case('answers session/new {"sessionId":"acp-1","modes":[],"models":4,"configOptions":[null,{},{"id":"a"}]}'),
    Case("begins_with_a_mark"),
    unusable("answers initialize [1]", "cannot use the agent's answer to initialize"),
    unusable("answers initialize null", "cannot use the agent's answer to initialize"),
    unusable("answers session/new {}", "answer to session/new names no session"),
    unusable("answers session/new null", "answer to session/new names no session"),
    unusable('answers session/new {"sessionId":8}', "answer to session/new names no session"),
    unusable("refuses -32000 session/new", "The agent isn't signed in. Ask your admin."),
    unusable("refuses -32000 initialize", "The agent isn't signed in. Ask your admin."),
    unusable("refuses 400 session/new", "it said no (400)"),
    unusable(
        "deaf_to initialize", "did not answer initialize within 0.5 s", limits={"start_timeout_seconds": IMPATIENCE}
    ),
    unusable(
        "deaf_to session/new", "did not answer session/new within 0.5 s", limits={"start_timeout_seconds": IMPATIENCE}
    ),
    # How they end.
    failed("dies born", "it ended (exit code 3) before it answered; it wrote: it broke", ended=NEVER_CAME),
    failed("dies initialize", "it ended (exit code 3) before it answered", ended=NEVER_CAME),
    failed("dies session/new", "it ended (exit code 3) before it answered", ended=NEVER_CAME),
    crashed("dies turn"),
    crashed("dies permission"),
    crashed("dies turn 0", "ended (exit code 0)"),
    crashed("leaves_its_stdout"),
    crashed("closes_its_stdout", "closed its output"),
    Case("closes_its_stdin 1", ended=("crashed",), limits=HASTY),
    failed("closes_its_stdin 2", "it has closed its stdin", ended=("crashed",) * 2, limits=HASTY),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_fault_of_an_agent_has_the_documented_result_and_the_pool_goes_on(faulty_harness, case):
    harness = faulty_harness(case.quirk, **case.limits)
    one = await turn(harness, "one")
    assert (one.text, one.end.stop_reason) == (case.text, case.stop)
    if case.error is None:
        assert one.end.error is None
    else:
        assert case.error in f"{one.end.error} {one.error}"
        assert one.error.startswith(("cannot ", "The agent "))
        assert "\n" not in one.error
        assert of_operators(str(one.end.error)) == []
    if case.then is not None:
        assert (await turn(harness, "two")).text == case.then
    await settled(harness)
    assert tuple(reason for _, reason, _ in harness.events.endings) == case.ended
    assert len(harness.pool.rows()) == (case.then is not None)


# What the lines look like.


async def test_commands_that_an_agent_sends_before_its_session_are_kept(faulty_harness):
    harness = faulty_harness("commands_before_new")
    await turn(harness, "one")
    assert harness.session("1001").options.commands == ("compact",)


@pytest.mark.parametrize("quirk", ["late_update", "late_update apart"])
async def test_an_update_after_the_end_of_a_turn_belongs_to_that_turn(faulty_harness, quirk):
    harness = faulty_harness(quirk)
    one, two = send(harness, "one"), send(harness, "two")
    await two.ends()
    assert (one.text, two.text) == ("one LATE", "two LATE")


async def test_an_update_after_a_cancelled_turn_belongs_to_that_turn(faulty_harness):
    harness = faulty_harness("late_update_after_cancel")
    one, two = send(harness, "one"), send(harness, "two")
    await one.sees("up")
    await harness.pool.cancel("1001")
    await two.ends()
    assert (one.end.stop_reason, one.text, two.text) == ("cancelled", "up LATE", "up")


async def test_malformed_lines_are_counted_and_skipped(faulty_harness):
    harness = faulty_harness("garbage")
    await turn(harness, "one")
    assert harness.session("1001").agent.malformed == 3 * len(MALFORMED)


async def test_of_a_line_of_30_megabytes_the_beginning_is_kept_and_nothing_of_one_of_100_without_sense(faulty_harness):
    harness = faulty_harness("long_line 31457280")
    with grows_less_than(16 * MEGABYTE):
        assert (await turn(harness, "one")).text == "x" * bounds.STRING_MOST
    harness = faulty_harness("unending_line 100 ends")
    with grows_less_than(48 * MEGABYTE):
        assert (await turn(harness, "one")).text == "one"
    assert harness.session("1001").agent.malformed == 1


async def test_100_000_updates_are_complete_and_in_order(faulty_harness):
    harness = faulty_harness("flood 100000")
    with grows_less_than(64 * MEGABYTE):
        one = await turn(harness, "one")
    assert one.pieces == [f"{number} " for number in range(100_000)]


async def test_stderr_is_a_ring_of_readable_lines(faulty_harness):
    harness = faulty_harness("noisy_stderr 1")
    await turn(harness, "one")
    lines = (await harness.pool.detail("1001")).stderr
    assert len(lines) == 200
    assert lines[0] == "turn" * 20


async def test_updates_of_sub_agents_are_not_part_of_the_conversation(faulty_harness):
    harness = faulty_harness("sub_agents")
    one = send(harness, "one")
    await one.wants_permission.wait()
    assert (harness.row("1001").activity, harness.row("1001").title) == (None, "one")
    one.asks[0].select("go")
    await one.ends()
    assert (one.text, set(one.kinds)) == ("one selected go", {"agent_message_chunk"})


async def test_an_agent_gets_one_prompt_at_a_time(faulty_harness):
    harness = faulty_harness("wants_one_prompt")
    turns = [send(harness, word) for word in ("one", "two", "three")]
    for number, listener in enumerate(turns):
        await listener.wants_permission.wait()
        assert harness.row("1001").queued == 2 - number
        listener.asks[0].select("a")
    await turns[-1].ends()
    assert [listener.text for listener in turns] == ["one", "two", "three"]


async def test_a_listener_that_fails_ends_the_session_and_not_the_daemon(faulty_harness):
    class Failing(AnyListener):
        def on_update(self, update) -> None:
            raise RuntimeError(update.kind)

    harness = faulty_harness("sound")
    failing, after = send(harness, "one", Failing()), send(harness, "two")
    await after.ends()
    assert failing.error == "cannot go on: internal error (RuntimeError), see the log"
    assert after.text == "two"


# Permissions and cancels.


@pytest.mark.parametrize("quirk", ["asks_deaf_to_cancel", "asks_deaf_to_cancel -32603"])
async def test_a_cancel_answers_the_permission_that_the_agent_waits_for(faulty_harness, quirk):
    harness = faulty_harness(quirk)
    one = send(harness, "one")
    await one.wants_permission.wait()
    before = harness.row("1001").session_id
    await harness.pool.cancel("1001")
    await one.ends()
    assert (one.text, one.end.stop_reason, one.end.error) == ("cancelled", "cancelled", None)
    assert one.outcomes == ["cancelled"]
    assert (await turn(harness, "two")).text == "two"
    assert harness.row("1001").session_id == before


async def test_a_permission_that_the_agent_requests_after_a_cancel_is_not_asked(faulty_harness):
    harness = faulty_harness("asks_again_after_cancel")
    one = send(harness, "one")
    await one.sees("up")
    await harness.pool.cancel("1001")
    await one.ends()
    assert (one.end.stop_reason, one.asks) == ("cancelled", [])
    two = send(harness, "two")
    await two.sees("up")
    assert (await kill(harness, "1001")).reached == "eof"
    assert two.asks == []


async def test_many_permission_requests_at_once_are_rejected_beyond_a_limit(faulty_harness):
    harness = faulty_harness("permission_storm 1000")
    one = send(harness, "one")
    await one.sees("asked")
    await harness.pool.cancel("1001")
    await one.ends()
    assert len(one.asks) == len(one.outcomes) == MOST_OPEN
    assert one.text == f"asked: {MOST_OPEN} cancelled, {1000 - MOST_OPEN} selected b"


async def test_a_withdrawn_permission_is_closed(faulty_harness):
    harness = faulty_harness("withdraws")
    one = await turn(harness, "one")
    assert (len(one.asks), one.outcomes) == (1, ["cancelled"])


@pytest.mark.parametrize(("quirk", "answer"), [("poisoned", "two in acp-1"), ("poisoned resumed", "two in acp-3")])
async def test_a_session_that_answers_empty_after_a_cancel_is_replaced_and_its_prompt_answered(
    faulty_harness, quirk, answer
):
    harness = faulty_harness(quirk)
    ask = send(harness, "ask")
    await ask.wants_permission.wait()
    before = harness.row("1001").session_id
    await harness.pool.cancel("1001")
    await ask.ends()
    assert harness.row("1001").session_id == before
    two, three = send(harness, "two"), send(harness, "three")
    await three.ends()
    assert (two.text, three.text) == (answer, answer.replace("two", "three"))
    assert (two.end.stop_reason, two.starts) == ("end_turn", 1)
    assert harness.row("1001").session_id != before
    assert harness.events.endings == []


async def test_an_agent_that_always_answers_empty_is_not_replaced_again_and_again(faulty_harness):
    harness = faulty_harness("silent")
    starts = harness.tmp_path / "workspaces" / "1001" / "starts"
    for word in ("one", "two"):
        assert (await turn(harness, word)).end.stop_reason == "end_turn"
    assert starts.read_text() == "x"
    waiting = send(harness, "wait")
    await waiting.sees("up")
    await harness.pool.cancel("1001")
    await waiting.ends()
    for word in ("three", "four"):
        assert (await turn(harness, word)).end.stop_reason == "end_turn"
    assert starts.read_text() == "xx"


# How they end.


async def test_an_agent_that_exits_after_its_answer_costs_no_turn(faulty_harness):
    harness = faulty_harness("dies idle 0")
    one, two = send(harness, "one"), send(harness, "two")
    await two.ends()
    assert (one.text, one.end.stop_reason, two.text) == ("up", "end_turn", "two")
    assert harness.events.endings == [("1001", "crashed", True)]


async def test_turns_that_waited_in_a_crashed_session_run_before_later_ones(faulty_harness):
    class Runner(AnyListener):
        def on_started(self) -> None:
            order.append(self)

    harness = faulty_harness("dies turn")
    order: list[Runner] = []
    runners = [Runner() for _ in range(4)]
    for runner in runners[:3]:
        send(harness, "word", runner)

    def send_another(_, row) -> None:
        if row.state == "closing" and harness.pool.get("1001") is None:
            send(harness, "word", runners[3])

    leave = harness.pool.subscribe(send_another)
    await runners[3].ends()
    leave()
    assert order == runners


async def test_the_exit_of_an_idle_agent_is_reported_at_once(faulty_harness):
    harness = faulty_harness("dies idle")
    one = await turn(harness, "one")
    assert one.end.stop_reason == "end_turn"
    await harness.events.ended.wait()
    assert harness.events.endings == [("1001", "crashed", True)]
    assert (harness.row("1001").state, harness.row("1001").alive) == ("suspended", False)


async def test_an_agent_that_exits_on_a_cancel_ends_its_turn_with_an_error(faulty_harness):
    harness = faulty_harness("dies session/cancel")
    one = send(harness, "one")
    await one.sees("up")
    await harness.pool.cancel("1001")
    await one.ends()
    assert "exit code 3" in one.error
    assert (await turn(harness, "two")).text == "two"


async def test_an_agent_that_exits_closes_its_open_permission_request(faulty_harness):
    harness = faulty_harness("dies permission")
    one = await turn(harness, "one")
    assert (len(one.asks), one.outcomes) == (1, ["cancelled"])


@pytest.mark.parametrize(("step", "text"), [("close", "one"), ("cancel", "up")])
async def test_an_agent_that_exits_while_it_is_ended_is_not_waited_for(faulty_harness, step, text):
    harness = faulty_harness(f"dies session/{step}")
    one = send(harness, "one")
    await (one.sees(text) if step == "cancel" else one.ends())
    assert one.text == text
    result = await kill(harness, "1001", grace_seconds=20)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert result.reached in {step, "close", "eof"}  # its stdout ends a moment before its exit is seen
    assert result.seconds < 4


async def test_an_agent_that_reads_nothing_blocks_nobody_and_is_ended_in_time(faulty_harness):
    harness = faulty_harness("reads_nothing 1001", turn_timeout_seconds=100, grace_seconds=0.2)
    one, two = send(harness, "x" * 12 * MEGABYTE), send(harness, "two")
    await one.running.wait()
    assert (await turn(harness, "one", thread="1002")).text == "one"
    for seconds in (101, 31):
        harness.clock.move(seconds)
        harness.pool.tick()
    await two.ends()
    limit = "Stopped after 2 minutes, the limit for one turn."
    assert one.end.error == f"{limit} The agent didn't stop when asked, so I ended its session."
    assert two.text == "two"


async def test_a_kill_ends_the_child_that_a_wrapper_leaves(faulty_harness):
    harness = faulty_harness("wraps")
    await turn(harness, "one")
    pids = [process.pid for process in (await harness.pool.detail("1001")).process_tree]
    result = await kill(harness, "1001", grace_seconds=0.3)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert result.reached in {"sigkill", "container"}
    assert len(pids) == 2
    assert not any(map(exists, pids))
