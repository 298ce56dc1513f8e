"""How the keys of ``[agents.NAME.kubernetes]`` that are tables are read: as the spec of a pod has them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from acpbot.config.field_types import InvalidValue
from acpbot.config.values import quoted_key, show

if TYPE_CHECKING:
    from acpbot.config.field_types import KeyLocation

QUANTITY: Final = r"[0-9]{1,15}(?:\.[0-9]{1,9})?(?:[KMGTPE]i|[munkMGTPE])?"
"""An amount in Kubernetes. Source: kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity."""

_AMOUNT: Final = re.compile(QUANTITY)
_RESOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,316}")
_LABEL_KEY: Final = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_DEPTH_MOST: Final = 24
_LARGEST: Final = 2**63 - 1


def resources(value: object, location: KeyLocation) -> dict[str, dict[str, str]]:
    """``requests`` and ``limits``, each a table of amounts, as a container of a pod has them."""
    if not isinstance(value, dict):
        raise InvalidValue
    made: dict[str, dict[str, str]] = {}
    for kind, amounts in value.items():
        if kind not in {"requests", "limits"}:
            raise InvalidValue(f"one with the key {quoted_key(kind)}")
        if not isinstance(amounts, dict):
            raise InvalidValue(f"one where {kind} is {show(amounts)}")
        made[kind] = {name: _amount(name, amount, location) for name, amount in amounts.items()}
    return made


def _amount(name: str, amount: object, location: KeyLocation) -> str:
    if not _RESOURCE.fullmatch(name):
        raise InvalidValue(f"one with the key {quoted_key(name)}")
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    text = repr(amount) if is_number else None
    try:
        text = str(location.expand(amount)) if text is None else text
    except InvalidValue as invalid:
        raise InvalidValue(f"one where {quoted_key(name)} is {invalid.got or show(amount)}") from None
    if not _AMOUNT.fullmatch(text):
        raise InvalidValue(f"one where {quoted_key(name)} is {show(amount)}", 'write for example cpu = "500m"')
    return text


def labels(value: object, location: KeyLocation) -> dict[str, str]:
    """A table of labels.

    Source: kubernetes.io/docs/concepts/overview/working-with-objects/labels, Syntax and character set.
    """
    if not isinstance(value, dict):
        raise InvalidValue
    made: dict[str, str] = {}
    for key, item in value.items():
        try:
            made[key] = str(location.expand(item))
        except InvalidValue as invalid:
            raise InvalidValue(f"one where {quoted_key(key)} is {invalid.got or show(item)}") from None
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(made[key]):
            raise InvalidValue(f"one with {quoted_key(key)} = {show(item)}")
    return made


def pod_template(value: object, location: KeyLocation) -> dict[str, Any]:
    """The ``metadata`` and ``spec`` of a pod template; whether a cluster takes it is known there."""
    if not isinstance(value, dict):
        raise InvalidValue
    for key, table in value.items():
        if key not in {"metadata", "spec"}:
            raise InvalidValue(f"one with the key {quoted_key(key)}")
        if not isinstance(table, dict):
            raise InvalidValue(f"one where {key} is {show(table)}")
    return {key: _plain(table, location, _DEPTH_MOST) for key, table in value.items()}


def _plain(value: Any, location: KeyLocation, depth: int) -> Any:
    """What JSON can hold, with each ``${VAR}`` replaced."""
    if depth == 0:
        raise InvalidValue("one that is nested too deeply")
    match value:
        case dict():
            return {key: _plain(item, location, depth - 1) for key, item in value.items()}
        case list():
            return [_plain(item, location, depth - 1) for item in value]
        case str():
            return location.expand(value)
        case bool():
            return value
        case int() if abs(value) <= _LARGEST:
            return value
        case float() if math.isfinite(value):
            return value
        case int() | float():
            raise InvalidValue(f"one with {show(value)}")
        case _:
            raise InvalidValue("one with a date or a time", "write it in quotes")
