"""File changes in tool calls: computed once each, in a thread, and posted in their place."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.chat.discord.outbound.diff_poster import DiffPoster
from acpbot.chat.rendering.diffs import Diff, diff
from tests.chat.discord.outbound.test_outbox import Api, api, outbox
from tests.support.pool import Harness

if TYPE_CHECKING:
    from acpbot.chat.discord.outbound.outbox import Outbox

__all__ = ["api", "outbox"]


class Recorder:
    """Computes diffs, and notes of which files and in which threads; each waits until ``gate`` is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, path: str, old: str | None, new: str) -> Diff:
        self.gate.wait(10)
        self.paths.append(path)
        self.threads.add(threading.current_thread())
        return diff(path, old, new)


@pytest.fixture
async def harness(tmp_path):
    made = Harness(tmp_path)
    yield made
    await made.pool.close(grace_seconds=0.5)
    await made.launcher.aclose()


def body(*changes: tuple[str, str | None, str]) -> dict[str, Any]:
    """A tool call with these file changes; equal texts are other objects each time, as off the wire."""
    content = [
        {"type": "diff", "path": path, "oldText": None if old is None else f"{old}\n", "newText": f"{new}\n"}
        for path, old, new in changes
    ]
    return {"toolCallId": "t", "content": content}


async def test_many_updates_with_the_same_changes_cost_one_computation_each(api: Api, outbox: Outbox, harness: Harness):
    recorder = Recorder()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    for _ in range(100):
        poster.show(body(("a", None, "x"), ("b", "y", "z")))
    assert await outbox.flush(5)
    assert sorted(recorder.paths) == ["a", "b"]
    assert [text.splitlines()[0] for _, text in api.log] == ["✏️ `a` +1 −0", "✏️ `b` +1 −1"]  # noqa: RUF001


async def test_a_huge_diff_is_computed_in_another_thread_while_the_loop_goes_on(
    api: Api, outbox: Outbox, harness: Harness
):
    recorder = Recorder()
    recorder.gate.clear()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    lines = [str(number % 7) for number in range(399)]
    poster.show(body(("a", "\n".join(lines), "\n".join(reversed(lines)))))
    for _ in range(100):
        await asyncio.sleep(0)  # the loop has steps to spare although the diff is not there
    assert recorder.paths == []
    recorder.gate.set()
    assert await outbox.flush(5)
    assert threading.current_thread() not in recorder.threads
    assert len(api.log) == 1


async def test_a_diff_keeps_its_place_among_the_messages_while_it_is_computed(
    api: Api, outbox: Outbox, harness: Harness
):
    recorder = Recorder()
    recorder.gate.clear()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    outbox.post("1", "before")
    poster.show(body(("a", None, "x")))
    outbox.post("1", "after")
    assert not await outbox.flush(0.01)
    assert api.log == [("send", "before")]
    recorder.gate.set()
    assert await outbox.flush(5)
    assert [text.split(" ")[0] for _, text in api.log] == ["before", "✏️", "after"]


async def test_ten_diffs_at_most_are_posted_and_unchanged_files_do_not_count(
    api: Api, outbox: Outbox, harness: Harness
):
    recorder = Recorder()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    for number in range(50):
        poster.show(body(("same", "x", "x"), (str(number), None, "x")))
    assert await outbox.flush(5)
    assert len(api.log) == len(recorder.paths) == 10


async def test_a_diff_that_cannot_be_computed_is_left_out(api: Api, outbox: Outbox, harness: Harness):
    def crash(path: str, _old: str | None, _new: str) -> Diff:
        raise ValueError(path)

    DiffPoster(outbox, harness.pool, "1", compute=crash).show(body(("a", None, "x")))
    outbox.post("1", "after")
    assert await outbox.flush(5)
    assert api.log == [("send", "after")]


async def test_a_change_that_comes_again_takes_the_place_of_the_one_before(api: Api, outbox: Outbox, harness: Harness):
    poster = DiffPoster(outbox, harness.pool, "1")
    snippet = {"type": "diff", "path": "a", "oldText": "two", "newText": "2"}
    poster.show({"toolCallId": "t", "content": [snippet]})
    assert await outbox.flush(5)
    whole = {"type": "diff", "path": "a", "oldText": "one\ntwo\nthree\n", "newText": "one\n2\nthree\n"}
    api.entered.clear()
    poster.show({"toolCallId": "t", "content": [whole]})
    poster.show({"toolCallId": "t", "content": [snippet]})
    poster.show({"toolCallId": "t", "content": [whole]})
    await asyncio.wait_for(api.entered.wait(), 5)
    assert await outbox.flush(5)
    assert len(api.log) == 2
    (message,) = api.there.values()
    assert message["content"] == "✏️ `a` +1 −1\n```diff\n--- a\n+++ a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n```"  # noqa: RUF001
    assert "No newline" not in str(api.log)


async def test_of_changes_that_come_before_the_first_is_posted_only_the_newest_is(
    api: Api, outbox: Outbox, harness: Harness
):
    recorder = Recorder()
    recorder.gate.clear()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    poster.show(body(("a", "x", "y"), ("a", "p", "q")))
    poster.show(body(("a", "k\nx", "k\ny")))
    recorder.gate.set()
    assert await outbox.flush(5)
    assert [text.splitlines()[5:-1] for _, text in api.log] == [[" k", "-x", "+y"], ["-p", "+q"]]


async def test_a_newer_change_that_needs_a_file_is_a_message_of_its_own(api: Api, outbox: Outbox, harness: Harness):
    poster = DiffPoster(outbox, harness.pool, "1")
    poster.show(body(("a", "x", "y")))
    assert await outbox.flush(5)
    api.entered.clear()
    poster.show(body(("a", None, "line\n" * 1000)))
    await asyncio.wait_for(api.entered.wait(), 5)
    assert await outbox.flush(5)
    assert len(api.log) == 3
    (message,) = api.there.values()
    assert message["attachments"] == [{"filename": "a.diff"}]


async def test_a_change_that_a_permission_request_has_shown_is_not_posted_again(
    api: Api, outbox: Outbox, harness: Harness
):
    recorder = Recorder()
    recorder.gate.clear()
    poster = DiffPoster(outbox, harness.pool, "1", compute=recorder)
    change = body(("a", "one", "1"))
    poster.show(change)
    poster.shown_by_request("t", change["content"])
    recorder.gate.set()
    poster.show(change)
    outbox.post("1", "after")
    assert await outbox.flush(5)
    assert api.log == [("send", "after")]


async def test_of_a_call_whose_change_a_request_has_shown_only_another_change_is_posted(
    api: Api, outbox: Outbox, harness: Harness
):
    poster = DiffPoster(outbox, harness.pool, "1")
    snippet = {"type": "diff", "path": "a", "oldText": "two\n", "newText": "2\n"}
    whole = {"type": "diff", "path": "a", "oldText": "one\ntwo\nthree\n", "newText": "one\n2\nthree\n"}
    other = {"type": "diff", "path": "a", "oldText": "one\ntwo\n", "newText": "1\n2\n"}
    poster.show({"toolCallId": "t", "content": [snippet]})
    assert await outbox.flush(5)
    api.entered.clear()
    poster.shown_by_request("t", [whole])
    await asyncio.wait_for(api.entered.wait(), 5)  # the message with the snippet is deleted
    for again in (snippet, whole, {**whole, "oldText": "two\nthree\n", "newText": "2\nthree\n"}):
        poster.show({"toolCallId": "t", "content": [again]})
    assert await outbox.flush(5)
    assert api.there == {}
    poster.show({"toolCallId": "t", "content": [other]})
    assert await outbox.flush(5)
    assert len(api.there) == 1
