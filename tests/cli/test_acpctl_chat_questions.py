"""`acpctl chat` and `acpctl show`: questions of an agent, as a person sees and answers them."""

from __future__ import annotations

from typing import Any

import pytest

from acpctl.chat.questions import Answer, Question
from tests.fakes.management import WireError

CHOICES = [
    {"value": "r", "label": "Red", "description": "As a \x1b[31mrose"},
    {"value": "g", "label": "Green", "description": ""},
]


def field(name: str, kind: str = "text", **changes: Any) -> dict[str, Any]:
    members = {"name": name, "label": name.title(), "kind": kind, "description": "", "hint": None, "required": False}
    return {**members, "choices": [], "default": None, **changes}


COLOR = field("color", "choice", choices=CHOICES, required=True)


def event(*fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    members = {"request": "q1", "message": "Which color?\nAnd why?", "mode": "form", "fields": list(fields)}
    return {**members, "url": None, "host": None, "unusable": None, "timeout_seconds": 300.0, **changes}


@pytest.mark.parametrize(
    ("one", "typed", "value"),
    [
        (COLOR, "2", "g"),
        (COLOR, "green", "g"),
        (field("x", "choices", choices=CHOICES), "2, red", ["g", "r"]),
        (field("x", "choices", choices=CHOICES, default=["r"]), "", ["r"]),
        (field("x", "boolean"), "Y", True),
        (field("x", "boolean", default=False), "", False),
        (field("x", "integer"), "-7", -7),
        (field("x", "number"), "0.5", 0.5),
        (field("x"), " /tmp/x ", "/tmp/x"),
    ],
)
def test_a_typed_line_is_a_value_of_the_field(one, typed, value):
    assert Question(event(one)).take(typed) == Answer("accept", {one["name"]: value})


@pytest.mark.parametrize(
    ("one", "typed", "hint"),
    [
        (COLOR, "3", "answer 1 to 2, or the name of one"),
        (COLOR, "", "an answer is required"),
        (field("x", "boolean"), "perhaps", "answer y or n"),
        (field("x", "integer"), "1.5", "answer a whole number"),
        (field("x", "number"), "inf", "this number is too large"),
        (field("x", "number"), "nan", "this number is too large"),
        (field("x", "number"), "many", "answer a number"),
    ],
)
def test_a_line_that_does_not_fit_gets_a_hint(one, typed, hint):
    with pytest.raises(ValueError, match=hint):
        Question(event(one)).take(typed)


def test_the_fields_are_asked_one_by_one():
    question = Question(event(COLOR, field("note", hint="at most 9 characters")))
    assert question.lines() == [
        "The agent asks:",
        "  Which color?",
        "  And why?",
        "/decline declines. Press Enter to skip what is optional.",
        "Color (required)",
        "  1  Red: As a rose",
        "  2  Green",
    ]
    assert (question.label, question.take("1")) == ("1-2", None)
    assert (question.lines(), question.label) == (["Note: at most 9 characters"], "answer")
    assert question.take("") == Answer("accept", {"color": "r"})


def test_a_question_can_be_declined_at_every_step():
    question = Question(event(COLOR, field("note")))
    question.take("1")
    assert question.take("/decline") == Answer("decline")


def test_an_address_is_shown_whole_and_answered_by_done():
    question = Question(event(mode="url", url="https://example.com/x", host="example.com"))
    assert question.lines()[3:] == [
        "Open this page at example.com, if you trust it:",
        "  https://example.com/x",
        "Type done once you've finished there; /decline declines.",
    ]
    with pytest.raises(ValueError, match="answer done, or /decline"):
        question.take("what?")
    assert question.take("done") == Answer("accept")


def test_what_can_not_be_answered_can_only_be_declined():
    question = Question(event(unusable="its form is too large"))
    assert "It can't be answered here: its form is too large." in question.lines()
    with pytest.raises(ValueError, match="can only decline this question"):
        question.take("done")
    assert question.take("/decline") == Answer("decline")


def answers(daemon, *fields: dict[str, Any], refuse: int = 0) -> list[dict[str, Any]]:
    """Have the agent ask in its turn; what comes in as the answer."""
    given: list[dict[str, Any]] = []

    def turn(params, client):
        def run():
            client.chat("local-1", "turn_start", prompt=params["text"])
            client.chat("local-1", "question", **event(*fields))

        client.afterwards.append(run)
        return {"queued": 0}

    def answer(params, client):
        given.append(params)
        if len(given) <= refuse:
            raise WireError(-32602, "invalid", "cannot accept this answer: Note: it must have at most 9 characters")

        def run():
            outcome = "accepted" if params["action"] == "accept" else "declined"
            client.chat("local-1", "question_end", request="q1", outcome=outcome)
            client.chat("local-1", "text", text="Thanks.")
            client.chat("local-1", "turn_end", stop_reason="end_turn", text="Thanks.", error=None)

        client.afterwards.append(run)
        return {}

    daemon.on("chat.send", turn)
    daemon.on("sessions.answer", answer)
    return given


def test_a_question_is_answered_on_a_terminal(daemon, terminal):
    given = answers(daemon, COLOR, field("note"), refuse=1)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("go\n")
    shown = screen.wait_for("1-2 >")
    assert "The agent asks:\n  Which color?\n  And why?\n" in shown
    assert "Color (required)\n  1  Red: As a rose\n  2  Green\n" in shown
    screen.type("5\n")
    screen.wait_for("answer 1 to 2, or the name of one")
    screen.type("2\n")
    screen.wait_for("Note\nanswer >")
    screen.type("much too long\n")
    screen.wait_for("cannot accept this answer: Note: it must have at most 9 characters")
    screen.wait_for("1-2 >")
    screen.type("2\n")
    screen.wait_for("Note\nanswer >")
    screen.type("short\n")
    screen.wait_for("Thanks.\n>")
    assert given[-1] == {
        "thread": "local-1",
        "request": "q1",
        "action": "accept",
        "content": {"color": "g", "note": "short"},
    }


def test_a_line_that_was_begun_before_the_question_is_no_answer_to_it(daemon, terminal):
    given = answers(daemon, field("note"))
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    daemon.clients[0].chat("local-1", "turn_start", prompt="other")
    screen.type("and then")
    screen.wait_for("and then")
    daemon.clients[0].chat("local-1", "question", **event(field("note")))
    screen.wait_for("answer > and then")
    screen.type(" more\n")
    screen.wait_for("not sent, because you typed it before the question appeared: and then more")
    assert given == []
    screen.type("/decline\n")
    screen.wait_for("Thanks.")
    assert given == [{"thread": "local-1", "request": "q1", "action": "decline"}]


def test_a_question_that_ends_elsewhere_says_so(daemon, terminal):
    answers(daemon, COLOR)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("go\n")
    screen.wait_for("1-2 >")
    daemon.clients[0].chat("local-1", "question_end", request="q1", outcome="expired")
    shown = screen.wait_for("question expired: Which color? And why?")
    assert "1-2 >" not in shown


def test_questions_are_declined_with_a_note_without_a_terminal(daemon, program):
    given = answers(daemon, COLOR)
    result = program("chat", "local-1", text="go\n")
    assert (result.code, result.out) == (0, "Thanks.\n")
    assert "question declined, there is no terminal to ask on: Which color? And why?\n" in result.err
    assert given == [{"thread": "local-1", "request": "q1", "action": "decline"}]
