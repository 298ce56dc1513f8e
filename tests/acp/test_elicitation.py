"""The forms of an agent: how they are decoded, bounded and cleaned, and which answers fit."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from acpbot.acp import elicitation, form_values
from acpbot.acp.elicitation import CHOICES_MOST, FIELDS_MOST, Elicitation, Field
from acpbot.acp.form_values import WrongAnswerError


def decoded(**params: Any) -> Elicitation:
    return elicitation.decode(msgspec.Raw(msgspec.json.encode({"sessionId": "s", "message": "Why?", **params})))


def form(properties: Any, **schema: Any) -> Elicitation:
    return decoded(mode="form", requestedSchema={"type": "object", "properties": properties, **schema})


def one(schema: dict[str, Any], *, required: bool = False) -> Field:
    made = form({"it": schema}, required=["it"] if required else [])
    assert made.unusable is None, made.unusable
    return made.fields[0]


def address(url: Any, **more: Any) -> Elicitation:
    return decoded(mode="url", url=url, elicitationId="e-1", **more)


ENUM = {"type": "string", "enum": ["red", "green"]}
TITLED = {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green", "x": [[]]}]}
SEVERAL = {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 2}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "number"}, "number"),
        ({"type": "integer"}, "integer"),
        ({"type": "boolean"}, "boolean"),
        (ENUM, "choice"),
        (TITLED, "choice"),
        (SEVERAL, "choices"),
        ({"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}}, "choices"),
    ],
)
def test_every_type_of_the_protocol_is_a_kind_of_field(schema, kind):
    assert one(schema).kind == kind


def test_a_field_has_what_the_schema_says_of_it():
    field = one(
        {"type": "string", "title": "Mail", "description": "Yours", "minLength": 3, "maxLength": 9, "format": "email"}
        | {"default": "a@b", "pattern": "(a+)+$"},
        required=True,
    )
    assert field == Field(
        name="it",
        label="Mail",
        kind="text",
        description="Yours",
        required=True,
        least=3,
        most=9,
        format="email",
        pattern="(a+)+$",
        default="a@b",
    )


def test_null_members_are_as_if_they_were_left_out():
    nothing = dict.fromkeys(["title", "description", "minLength", "format", "default", "enum", "oneOf", "pattern"])
    assert one({"type": "string", **nothing}) == one({"type": "string"})
    assert form({}, required=None, title=None).unusable is None


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "object", "properties": {}},
        {"type": "array", "items": {"type": "array", "items": {}}},
        {"type": "array"},
        {"type": "string", "enum": []},
        {"type": "string", "enum": [1]},
        {"type": "string", "oneOf": [{"title": "no value"}]},
        {"type": "_later"},
        {"type": ["string", "null"]},
        {},
        [],
        None,
        "string",
        {"type": "string", "enum": [str(number) for number in range(CHOICES_MOST + 1)]},
        {"type": "string", "enum": ["x" * 5000]},
    ],
    ids=range(14),
)
def test_a_form_with_a_field_that_nobody_can_show_can_only_be_declined(bad):
    made = form({"good": {"type": "string"}, "bad": bad})
    assert made.unusable
    assert made.fields == ()


@pytest.mark.parametrize(
    "schema",
    [
        {str(number): {"type": "string"} for number in range(1000)},
        {"n" * 300: {"type": "string"}},
        [],
        "x",
        {"x": {"type": "string", "description": "y" * 300_000}},
        {"x": {"type": "string", "z": [[]] * 10_000}},
    ],
    ids=["1,000 fields", "a long name", "a list", "a text", "300,000 characters", "10,000 lists"],
)
def test_a_form_that_is_too_large_can_only_be_declined(schema):
    assert form(schema).unusable
    assert form(schema).message == "Why?"


def test_as_many_fields_as_the_bound_says_are_shown():
    assert len(form({str(number): {"type": "string"} for number in range(FIELDS_MOST)}).fields) == FIELDS_MOST


def test_texts_are_cleaned_and_cut_and_what_goes_back_stays_as_it_is():
    dirty = "\x1b[31mred\u202e\x00" + "x" * 9000
    made = form(
        {
            "k\u202e": {
                "type": "string",
                "title": dirty,
                "description": dirty,
                "oneOf": [{"const": "\u202ev", "title": dirty}],
            }
        }
    )
    (field,) = made.fields
    (choice,) = field.choices
    assert (field.name, choice.value) == ("k\u202e", "\u202ev")
    for text, most in ((field.label, 200), (field.description, 1000), (choice.label, 200)):
        assert text.startswith("redxx")
        assert len(text) <= most
    assert "\x1b" not in decoded(mode="form", message=dirty, requestedSchema={}).message


@pytest.mark.parametrize("mode", ["_later", "", "FORM"])
def test_a_mode_that_is_not_known_can_only_be_declined(mode):
    made = decoded(mode=mode, requestedSchema={"properties": {"x": {"type": "string"}}}, url="https://example.com")
    assert made.unusable
    assert (made.fields, made.url) == ((), "")


@pytest.mark.parametrize("params", [{}, {"mode": "form"}, {"message": "x"}, {"mode": 1, "message": "x"}, []])
def test_parameters_that_are_not_of_the_protocol_are_an_error(params):
    with pytest.raises(msgspec.MsgspecError):
        elicitation.decode(msgspec.Raw(msgspec.json.encode(params)))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/a?b=c#d", "example.com"),
        ("HTTP://EXAMPLE.com:8080", "example.com"),
        ("http://[::1]:80/x", "::1"),
        ("https://xn--80ak6aa92e.com/", "xn--80ak6aa92e.com"),
    ],
)
def test_an_address_has_its_host(url, host):
    made = address(url)
    assert (made.url, made.host, made.elicitation_id, made.unusable) == (url, host, "e-1", None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https://good.example@bad.example/",
        "https://bad.example\\@good.example/",
        "https://b\u0430d.example/",
        "https://example.com/\u202egpj.exe",
        "https://exa mple.com",
        "https://example.com:99999/",
        "https://[::1/",
        "https://good.example%2f@x/",
        "https://good.example%2ebad/",
        f"https://example.com/{'a' * 3000}",
        None,
        7,
    ],
)
def test_an_address_that_can_mislead_can_only_be_declined(url):
    made = address(url)
    assert made.unusable
    assert made.url == ""


TEXT = {"type": "string", "minLength": 2, "maxLength": 4}


@pytest.mark.parametrize(
    ("schema", "typed", "value"),
    [
        (TEXT, "abc", "abc"),
        ({"type": "integer", "minimum": 1, "maximum": 5}, " 5 ", 5),
        ({"type": "number"}, "2.50", 2.5),
        ({"type": "number"}, "3", 3),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "n", False),
        (TITLED, "green", "g"),
        (TITLED, "g", "g"),
        (TITLED, "2", "g"),
        (SEVERAL, "1, c", ["a", "c"]),
        ({"type": "string", "format": "email"}, "a@b.c", "a@b.c"),
        ({"type": "string", "format": "uri"}, "mailto:a@b", "mailto:a@b"),
        ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-28"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T23:59:59Z", "2026-02-28T23:59:59Z"),
        ({"type": "string", "format": "later"}, "x", "x"),
        ({"type": "string"}, "  ", None),
    ],
)
def test_what_somebody_types_is_a_value_of_the_field(schema, typed, value):
    assert form_values.read(one(schema), typed) == value


@pytest.mark.parametrize(
    ("schema", "typed", "why"),
    [
        (TEXT, "a", "it must have at least 2 characters"),
        (TEXT, "abcde", "it must have at most 4 characters"),
        ({"type": "integer"}, "1.5", "it must be a whole number"),
        ({"type": "integer"}, "9" * 5000, "it must be a whole number"),
        ({"type": "integer", "minimum": 1}, "0", "it must be at least 1"),
        ({"type": "number", "maximum": 1.5}, "2", "it must be at most 1.5"),
        ({"type": "number"}, "nan", "this number is too large"),
        ({"type": "number"}, "1e999", "this number is too large"),
        ({"type": "number"}, "many", "it must be a number"),
        ({"type": "boolean"}, "perhaps", "it must be yes or no"),
        (TITLED, "3", "'3' isn't one of the choices"),
        (SEVERAL, "a,b,c", "it must have at most 2 choices"),
        (SEVERAL, ",", "it must have at least 1 choice"),
        ({"type": "string", "format": "email"}, "me", "it must be an e-mail address"),
        ({"type": "string", "format": "date"}, "2026-02-30", "it must be a date, such as 2026-01-31"),
        ({"type": "string", "format": "date"}, "20260228", "it must be a date, such as 2026-01-31"),
        (
            {"type": "string", "format": "date-time"},
            "2026-02-28T10:00:00",
            "it must be a date and time with its zone, such as 2026-01-31T08:00:00Z",
        ),
        ({"type": "string"}, "x" * 20_000, "it has more than 16,384 characters"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(schema, typed, why):
    with pytest.raises(WrongAnswerError) as error:
        form_values.read(one(schema), typed)
    assert error.value.why == why


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, 1),
        ({"type": "string"}, None),
        ({"type": "integer"}, True),
        ({"type": "integer"}, 1.0),
        ({"type": "integer"}, 10**30),
        ({"type": "number"}, "1"),
        ({"type": "number"}, float("inf")),
        ({"type": "boolean"}, "true"),
        (ENUM, "blue"),
        (ENUM, ["red"]),
        (SEVERAL, "a"),
        (SEVERAL, ["a", "a"]),
        (SEVERAL, ["a", ["b"]]),
        (SEVERAL, ["d"]),
        (SEVERAL, []),
        (SEVERAL, ["a"] * 100_000),
    ],
    ids=range(16),
)
def test_a_value_over_the_wire_is_checked_too(schema, value):
    with pytest.raises(WrongAnswerError):
        form_values.checked([one(schema)], {"it": value})


def test_a_required_field_needs_an_answer_and_an_unknown_name_is_refused():
    fields = [one({"type": "string"}, required=True)]
    with pytest.raises(WrongAnswerError, match="it needs an answer"):
        form_values.checked(fields, {})
    with pytest.raises(KeyError):
        form_values.checked(fields, {"it": "x", "other": 1})
    assert form_values.checked(fields, {"it": ""}) == {"it": ""}


def test_a_pattern_of_the_agent_is_never_run():
    field = one({"type": "string", "pattern": "(a|a)*(b|a+)+$"})
    begun = time.perf_counter()
    assert form_values.read(field, "a" * 4000 + "!") is not None
    assert time.perf_counter() - begun < 0.5


def test_the_names_that_servers_of_mcp_give_to_values_are_labels():
    field = one({**ENUM, "enumNames": ["Red", "Green"]})
    assert [(choice.value, choice.label) for choice in field.choices] == [("red", "Red"), ("green", "Green")]
    assert one({**ENUM, "enumNames": ["Red"]}).choices == one(ENUM).choices


@pytest.mark.parametrize(
    ("meta", "secret"), [({"codex": {"isSecret": True}}, True), ({"codex": 1}, False), (None, False)]
)
def test_an_answer_may_be_a_secret(meta, secret):
    assert one({"type": "string", "_meta": meta}).secret is secret


def test_a_default_that_does_not_fit_is_left_out():
    assert one({**ENUM, "default": "blue"}).default is None
    assert one({**ENUM, "default": "red"}).default == "red"
    assert one({"type": "integer", "default": 1.5}).default is None
    assert one({"type": "boolean", "default": "yes"}).default is None
    assert one({"type": "number", "default": 10**400}).default is None
    assert one({**SEVERAL, "default": ["a", "x", 1, "a"]}).default == ["a"]
