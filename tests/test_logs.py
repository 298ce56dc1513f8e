"""Log lines: one event each, parseable, without secrets."""

from __future__ import annotations

import io
import json
import logging

import pytest

from acpbot import logs


@pytest.fixture
def record():
    def make(event="session_opened", *, exc_info=None, **fields):
        record = logging.LogRecord("acpbot.x", logging.INFO, __file__, 1, event, (), exc_info)
        record.fields = fields
        return record

    return make


def test_text_is_one_line_whatever_the_values(record):
    line = logs.EventFormatter("text").format(record(thread="17", words='two "words"', note="a\nb", n=3, none=None))
    assert line.endswith('info    session_opened thread=17 words="two \\"words\\"" note="a\\nb" n=3 none=null')
    assert "\n" not in line


def test_json_is_one_object(record):
    line = json.loads(logs.EventFormatter("json").format(record(thread="17", path={"a": 1})))
    assert (line["level"], line["event"], line["thread"], line["path"]) == ("info", "session_opened", "17", {"a": 1})


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_a_field_and_secrets_are_removed(record, form):
    error = ValueError("the token is s3cr3t")
    line = logs.EventFormatter(form, ["s3cr3t", ""]).format(
        record("crashed", exc_info=(type(error), error, None), also="xs3cr3tx")
    )
    assert "\n" not in line
    assert "ValueError" in line
    assert "s3cr3t" not in line
    assert line.count("[secret]") == 2


def test_configure_sets_the_level_of_acpbot_and_of_libraries():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("acpbot").level
    try:
        logs.configure("info", "text", stream=stream)
        logging.getLogger("acpbot.pool").info("ours")
        logging.getLogger("acpbot.pool").debug("too_fine")
        logging.getLogger("aiohttp.access").info("theirs")
    finally:
        root.handlers[:], level, ours = before
        root.setLevel(level)
        logging.getLogger("acpbot").setLevel(ours)
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["ours"]


def test_an_event_that_others_cause_without_end_is_logged_once_in_a_while_with_the_number_of_the_others(caplog):
    now = 0.0
    seldom = logs.SeldomLogger(logs.get_logger("acpbot.test"), 60.0, clock=lambda: now)
    for _ in range(100):
        seldom.warning("refused", uid=7)
    seldom.warning("another")
    now = 60.0
    seldom.warning("refused", uid=8)
    logged = [(record.message, record.__dict__["fields"]) for record in caplog.records]
    assert logged == [("refused", {"uid": 7}), ("another", {}), ("refused", {"uid": 8, "left_out": 99})]
