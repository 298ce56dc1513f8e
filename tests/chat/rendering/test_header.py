from __future__ import annotations

from acpbot.chat.rendering.header import Header
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.text import units
from tests.support.message_bodies import check, feed


def test_tools_are_lines_above_the_text():
    live = LiveMessage()
    live.tool("1", title="Read `a.py`", kind="read", status="pending")
    assert live.bodies() == ["🔧 `Read 'a.py'`"]
    live.append("Text.")
    live.tool("1", title=None, kind=None, status="completed")
    live.tool("2", title=None, kind="execute", status=None)
    live.tool("3", title="**rm**\n -rf", kind="execute", status="in_progress")
    live.tool("3", title=None, kind=None, status="failed")
    assert live.bodies() == ["✅ `Read 'a.py'`\n🔧 `execute`\n❌ `**rm** -rf`\nText."]
    live.tool("4", title=None, kind=None, status="in_progress")
    assert live.bodies() == ["✅ 1 tool · ❌ 1\n🔧 `execute`\n🔧 `tool`\nText."]
    for number in range(5, 9):
        live.tool(str(number), title=f"t{number}", kind=None, status="in_progress")
    assert live.bodies() == ["✅ 1 tool · ❌ 1\n🔧 3 more\n🔧 `t6`\n🔧 `t7`\n🔧 `t8`\nText."]
    for number in (2, 4, 5, 6, 7, 8):
        live.tool(str(number), title=None, kind=None, status="completed")
    assert live.bodies() == ["✅ 7 tools · ❌ 1\nText."]
    live.tool("8", title=None, kind=None, status="failed")
    assert live.bodies() == ["✅ 6 tools · ❌ 2\nText."]
    assert live.text == "Text."


def test_tools_are_one_line_if_compact_and_absent_if_none():
    compact, none = LiveMessage(tool_display="compact"), LiveMessage(tool_display="none")
    for live in (compact, none):
        live.append("Text.")
        live.tool("1", title="one", kind=None, status="failed")
        live.tool("2", title="two", kind=None, status="pending")
        live.tool("3", title="three", kind=None, status="pending")
    assert compact.bodies() == ["🔧 `three` · 🔧 1 more · ❌ 1 tool\nText."]
    assert none.bodies() == ["Text."]


def test_a_plan_is_a_checklist_replaced_in_place():
    live = LiveMessage(tool_display="none")
    live.plan([{"content": "Look at *it*", "status": "in_progress"}, {"content": "Do", "status": "pending"}])
    assert live.bodies() == ["▶ Look at \\*it\\*\n☐ Do"]
    live.append("Text.")
    live.plan([{"content": "Look", "status": "completed"}, {"content": "Do", "status": "completed"}, {}])
    assert live.bodies() == ["☑ Look\n☑ Do\n☐ \nText."]
    live.plan([])
    assert live.bodies() == ["Text."]


def test_a_long_plan_is_one_line():
    live = LiveMessage()
    entries = [{"content": "w" * 200, "status": "completed"} for _ in range(20)]
    live.plan(entries)
    assert live.bodies() == ["☑ Plan (20/20)"]
    live.plan([*entries, {"content": "Last", "status": "in_progress"}])
    assert live.bodies() == ["▶ Last (20/21)"]


def test_a_header_that_grows_late_changes_no_text():
    live = feed(["some words and more\n" * 300])
    before = live.parts()
    for number in range(10):
        live.tool(str(number), title="t" * 90, kind=None, status="in_progress")
        live.plan([{"content": f"step {number} " * 10, "status": "in_progress"}] * 5)
        after = live.parts()
        assert [(part.shown, part.raw, part.after) for part in after] == [(p.shown, p.raw, p.after) for p in before]
        assert after[1:] == before[1:]
        assert units(after[0].text) <= 2000
        assert after[0].text.startswith("🔧")


def test_a_header_that_grows_moves_text_of_a_body_that_is_not_full():
    live = feed(["some words and more\n" * 89])
    assert len(live.bodies()) == 1
    live.plan([{"content": "w" * 100, "status": "pending"}] * 8)
    first, second = live.bodies()
    assert first.startswith("☐ www")
    assert second.startswith("some words")
    check(live, "some words and more\n" * 89)


def test_a_late_header_in_the_only_body_leaves_the_notices_their_budget():
    live = feed(["w" * 9000], limit=400, max_bodies=1)
    live.tool("1", title="t`t" * 50, kind=None, status="pending")
    live.plan([{"content": "p" * 200, "status": "in_progress"}])
    (body,) = live.bodies()
    assert units(body) <= 400
    head, shown, tail = body.split("\n")
    assert head.startswith("🔧 t't")
    assert "`" not in head, "half of inline code would turn the text into code"
    assert set(shown) == {"w"}
    assert tail == "… The rest is in the attached file."


def test_a_header_that_closes_the_only_body_keeps_the_white_space_after_it():
    text = "some words and more\n" * 60 + "\n\n"
    live = feed([text], max_bodies=1)
    live.plan([{"content": "w" * 100, "status": "pending"}] * 8)
    live.append("the rest")
    assert live.overflow() is not None
    check(live, f"{text}the rest", max_bodies=1)


def test_notices_are_at_the_end():
    live = LiveMessage()
    live.notice("  Cancelled\nby you. ")
    assert live.bodies() == ["Cancelled by you."]
    live.append("```py\ncode")
    assert live.bodies() == ["```py\ncode\n```\nCancelled by you."]
    live.append("\n```\n" + "words\n" * 400)
    assert [body.count("Cancelled") for body in live.bodies()] == [0, 1]
    assert live.bodies()[1].endswith("\nCancelled by you.")
    assert "Cancelled" not in live.text
    for number in range(9):
        live.notice(f"n{number}")
    assert live.bodies()[-1].endswith("words\nn4\nn5\nn6\nn7\nn8")


def test_a_notice_that_does_not_fit_gets_its_own_body_or_is_cut():
    text = "w" * 1750
    live = feed([text])
    live.notice("n" * 299)
    assert live.bodies() == [text, "n" * 299]
    last = feed(["w" * 9000], max_bodies=1)
    for _ in range(3):
        last.notice("n" * 299)
    (body,) = last.bodies()
    assert units(body) <= 2000
    assert "The rest is in the attached file.\nnnn" in body
    assert body.endswith("…")


def test_of_many_calls_the_latest_are_kept_and_the_others_counted():
    header = Header("full")
    for number in range(5000):
        header.tool(str(number), title=f"call {number}", kind=None, status="pending")
    assert header.render(1000).split("\n") == [
        "🔧 4997 more",
        *(f"🔧 `call {number}`" for number in (4997, 4998, 4999)),
    ]
    for number in range(5000):
        header.tool(str(number), title=None, kind=None, status="completed")
    assert header.render(1000) == "✅ 5000 tools"
