"""What an agent shows beside text: links, names of files, and characters that come in halves."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.acp.connection import AgentConnection
from acpbot.acp.content import attachments, file_name, link
from acpbot.acp.schema import chunk_text
from acpbot.chat.rendering.live_message import LiveMessage


@pytest.mark.parametrize(
    ("name", "uri", "shown"),
    [
        ("notes", "https://example.org/a", "[notes](<https://example.org/a>)"),
        ("a](https://evil.example)[b", "https://e.org/", r"[a\]\(https\://evil.example\)\[b](<https://e.org/>)"),
        ("x", "https://e.org/a(b) <c>", "[x](<https://e.org/a%28b%29%20%3Cc%3E>)"),
        ("x", "https://e.org/(b)>[c]\\", "[x](<https://e.org/%28b%29%3E%5Bc%5D%5C>)"),
        ("@everyone <@123> <#1>", "https://e.org", r"[\@everyone \<\@123\> \<#1\>](<https://e.org>)"),
        ("two\nlines `code`", "https://e.org", r"[two lines \`code\`](<https://e.org>)"),
        ("main.py", "file:///srv/a`b.py", "main.py (`file:///srv/a'b.py`)"),
        ("x", "javascript:alert(1)", "x (`javascript:alert(1)`)"),
        ("x", "discord://-/settings", "x (`discord://-/settings`)"),
        ("x", "https://", "x (`https://`)"),
        ("x", "https://[", "x (`https://[`)"),
        ("", "https://e.org/@here", r"[https\://e.org/\@here](<https://e.org/%40here>)"),
        (None, None, "link"),
        ({"a": 1}, ["https://e.org"], "link"),
        ("x" * 500, "", "x" * 79 + "…"),
    ],
)
def test_a_resource_link_is_valid_markdown_whatever_it_holds(name, uri, shown):
    assert link(name, uri) == shown
    assert chunk_text({"content": {"type": "resource_link", "name": name, "uri": uri}}) == shown


@pytest.mark.parametrize(
    ("uri", "media_type", "name"),
    [
        ("file:///srv/plot.png", "image/png", "plot.png"),
        ("file:///etc/../..", "image/png", "image.png"),
        ("C:\\dir\\a b.png", "", "a b.png"),
        ("https://e.org/x.png?y=1#z", "", "x.png"),
        ("file:///a%2Fb%00%0a.txt", "", "b.txt"),
        ("..", "image/png", "image.png"),
        ("@everyone", "image/gif", "_everyone.gif"),
        ("data:image/png;base64,AAAA", "image/png", "image.png"),
        ("a." + "b" * 50, "image/png", "a." + "b" * 50),
        ("x" * 5000, "image/png", "x" * 80 + ".png"),
        (None, "", "image"),
        (7, "image/webp", "image.webp"),
    ],
)
def test_a_file_has_a_short_name_without_a_path(uri, media_type, name):
    assert file_name(uri, "image", media_type) == name


def test_content_of_any_form_gives_no_error():
    odd: list[Any] = [
        None,
        7,
        "x",
        [],
        {},
        {"type": "image"},
        {"type": "image", "data": 5},
        {"type": "resource", "resource": []},
    ]
    for block in odd:
        assert list(attachments("agent_message_chunk", {"content": block})) == []
        assert list(attachments("tool_call_update", {"content": [{"type": "content", "content": block}]})) == []
    assert list(attachments("tool_call", {"content": {"type": "image"}})) == []
    assert list(attachments("plan", {"content": {"type": "image", "data": "AAAA"}})) == []


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image", "data": "AAAA", "mimeType": "image/png"}, "[image.png]"),
        ({"type": "image", "mimeType": "image/png", "uri": "https://a.b/c.png"}, r"[https\://a.b/c.png](<https://a.b/c.png>)"),
        ({"type": "image"}, "[image]"),
        ({"type": "resource", "resource": {"uri": "file:///srv/notes.md", "text": "x"}}, "[notes.md]"),
        ({"type": "resource", "resource": {"uri": "file:///srv/notes.md"}}, r"file\:///srv/notes.md (`file:///srv/notes.md`)"),
        ({"type": "resource", "resource": None}, "[resource]"),
        ({"type": "text"}, ""),
        ({"type": "video"}, "[video]"),
        ({"type": 7}, ""),
    ],
)  # fmt: skip
def test_what_is_no_text_is_told_in_words(block, words):
    assert chunk_text({"content": block}) == words


async def chunks(*texts: bytes) -> str:
    agent = AgentConnection()
    for text in texts:
        update = b'{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"%b"}}' % text
        params = b'{"sessionId":"s","update":%b}' % update
        agent.data_received(b'{"jsonrpc":"2.0","method":"session/update","params":%b}\n' % params)
    agent.close()
    live = LiveMessage()
    while True:
        for item in await agent.next_batch():
            if not hasattr(item, "body"):
                return live.text
            live.append(chunk_text(item.body))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ((rb"a \ud83d", rb"\ude00 b"), "a 😀 b"),
        ((rb"\ud83d", rb"\ude00"), "😀"),
        ((rb"\ud83d", b"", rb"\ude00"), "😀"),
        ((rb"\uD83D\uDC68\u200d\ud83d", rb"\udc69\u200d\ud83d", rb"\udc67."), "👨‍👩‍👧."),
        ((rb"\ud83d\udc68\u200d", rb"\ud83d\udc69"), "👨‍👩"),
        ((rb"\ud83d\udc4d", rb"\ud83c\udffd"), "👍🏽"),
        ((rb"\ud83d\udc4d\ud83c", rb"\udffd"), "👍🏽"),
        ((rb"\ud83c\udde9\ud83c", rb"\uddea"), "🇩🇪"),
        ((rb"a \ud83d", b"b"), "a \ufffdb"),
        ((rb"\ude00", rb"\ud83d", rb"x"), "\ufffd\ufffdx"),
        ((rb"a\ud83d\ud83d", rb"\ude00"), "a\ufffd😀"),
        ((rb"\\ud83d", rb"\\ude00"), r"\ud83d\ude00"),
    ],
)
async def test_a_character_that_comes_in_two_chunks_arrives_whole(sent, text):
    assert await chunks(*sent) == text
