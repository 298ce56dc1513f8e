"""Which option a typed answer to a permission request means."""

from __future__ import annotations

from acpctl.chat.chat_view import Option, PermissionRequest


def test_yes_and_no_mean_options_by_their_kinds():
    options = (Option("a", "Sure", "allow_always"), Option("b", "Nope", "reject_always"), Option("c", "7", "odd"))
    request = PermissionRequest("r", "t", options, None)
    assert request.match("y") == options[0]
    assert request.match(" No ") == options[1]
    assert request.match("reject_always") == options[1]
    assert request.match("3") == options[2]
    assert [request.match(answer) for answer in ("", "0", "4", "9999", "x")] == [None] * 5
    assert PermissionRequest("r", "t", options[2:], None).match("y") is None
    tricky = (Option("n", "no", "allow_once"), Option("y", "yes", "reject_once"))
    assert PermissionRequest("r", "t", tricky, None).match("n") == tricky[1]
    assert PermissionRequest("r", "t", tricky, None).match("yes") == tricky[0]
    assert PermissionRequest("r", "t", options[2:], None).rejection is None
