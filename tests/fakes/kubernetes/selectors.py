"""Label and field selectors (kubernetes.io/docs/concepts/overview/working-with-objects/labels)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes.errors import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.kubernetes.resources import Kind

SET: Final = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
EQUALITY: Final = re.compile(r"^([^!=\s]+)\s*(==|=|!=)\s*(\S*)$")
NAME: Final = re.compile(r"^!?\s*[\w./-]+$")


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    if found := SET.match(text):
        key, operator, listed = found.groups()
        values = {one.strip() for one in listed.split(",")}
        return lambda labels: (labels.get(key) in values) == (operator == "in")
    if found := EQUALITY.match(text):
        key, operator, value = found.groups()
        return lambda labels: (labels.get(key) == value) == (operator != "!=")
    if NAME.match(text):
        key = text.lstrip("! ")
        return lambda labels: (key in labels) != text.startswith("!")
    raise bad_request(f"unable to parse requirement: found '{text}', expected: a requirement")


def labels(selector: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an object has the labels; ApiError 400 for a selector that cannot be parsed."""
    parts = [one.strip() for one in re.split(r",(?![^(]*\))", selector) if one.strip()]
    tests = [_requirement(part) for part in parts]
    return lambda one: all(test(one["metadata"].get("labels") or {}) for test in tests)


def value_at(one: dict[str, Any], path: str) -> str:
    """The value of a field as a selector compares it: text, empty where there is none."""
    value: Any = one
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if path == "source" and isinstance(value, dict):
        value = value.get("component")
    return "" if value is None else str(value)


def fields(kind: Kind, selector: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an object has these values; ApiError 400 for a field that this kind cannot be selected by."""
    known = {"metadata.name", "metadata.namespace", *kind.fields}
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, selector.split(",")):
        found = EQUALITY.match(part.strip())
        if found is None:
            raise bad_request(f'invalid field selector: "{part}"; can\'t understand')
        path, operator, value = found.groups()
        if path not in known:
            raise bad_request(
                f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label selector "", '
                f'field selector "{selector}": field label not supported: {path}'
            )
        tests.append((path, operator != "!=", value))
    return lambda one: all((value_at(one, path) == value) == same for path, same, value in tests)
