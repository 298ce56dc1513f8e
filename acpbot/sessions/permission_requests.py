"""The permission requests of a session: policy, time limit, and what an 'Always' remembers."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import bounds, permissions
from acpbot.acp.schema import PERMISSION_BYTES_MOST
from acpbot.errors import NotFound
from acpbot.sessions.permission_action import action_of, has_changes
from acpbot.sessions.turn import PermissionRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from acpbot.acp.connection import PermissionAsked
    from acpbot.acp.schema import PermissionOption, Update
    from acpbot.config.in_force import SettingsInForce
    from acpbot.jsonrpc import Id
    from acpbot.sessions.open_tool_calls import OpenToolCall


MOST_OPEN: Final = 16
"""Requests that may be open at once in a session: a person can't answer more; a faulty agent sends thousands."""

MOST_OPEN_BYTES: Final = 4 * PERMISSION_BYTES_MOST
"""Of the open requests of a session together."""

MOST_WITHDRAWN: Final = 32
"""Requests of one turn that the agent takes back or changes: each of them is a message that people read for nothing."""

_REMEMBERED_MOST: Final = 1000
_TOO_LARGE: Final = "it's larger than 1 MiB, or has too many parts"
_TWO_VALUES: Final = "part of it has two values, and the agent may use the one that isn't shown"
_CUT_BEFORE: Final = "part of what the agent reported was too large to keep"

_Remembered = dict[tuple[str, bytes], tuple[str, ...]]


class PermissionRequests:
    """Decides by policy, or keeps a request open until somebody answers, its time runs out, or the turn ends.

    Beyond :data:`MOST_OPEN` open ones a request is rejected. ``answer`` sends the chosen option to the agent (``None``:
    cancelled); it is called once for each request, before ``on_closed``, which is called for those that were open.
    An 'Always' is remembered by a hash of the whole action, for the person who said so: it answers the same request in
    a turn of that person. What the agent remembers by itself is not known here. ``open`` are the open requests by name,
    oldest first. ``wall``: Unix time.
    """

    def __init__(
        self,
        settings: SettingsInForce,
        *,
        prefix: str,
        wall: Callable[[], float],
        answer: Callable[[PermissionRequest, PermissionOption | None], None],
        on_closed: Callable[[PermissionRequest], None],
    ) -> None:
        self.open: dict[str, PermissionRequest] = {}
        self.folder = ""
        """Where the session works."""
        self._settings = settings
        self._prefix = prefix
        self._wall = wall
        self._answer = answer
        self._on_closed = on_closed
        self._numbers = itertools.count(1)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._remembered: _Remembered = {}
        self._withdrawn = 0

    def add(
        self,
        asked: PermissionAsked,
        earlier: Callable[[str], OpenToolCall | None],
        *,
        owner: str | None,
        refuse: bool,
    ) -> PermissionRequest | None:
        """Decide, or open a request and return it.

        ``earlier``: the tool call of an id as it was reported before. ``owner``: the chat user whose turn it is.
        ``refuse``: there is nobody to ask, the answer is ``cancelled``.
        """
        settings = self._settings.now.permissions
        request = self._make(asked, earlier)
        same_id = [one for one in self.open.values() if one.asked.request_id == asked.request_id]
        for one in same_id:  # an answer to one of them would be taken for an answer to the other
            one.resolve("cancelled", None, "repeated_id")
        if same_id:
            request.resolve("cancelled", None, "repeated_id")
        elif refuse:
            request.resolve("cancelled", None, "no_turn")
        elif not asked.params.options:
            request.resolve("cancelled", None, "no_options")
        elif settings.policy == "allow":
            option = permissions.choose(asked.params.options, permissions.ALLOW)
            request.resolve("selected", option, "no_options" if option is None else "policy")
        elif settings.policy == "deny":
            request.reject("selected", "policy")
        elif (option := self._remembered_answer(request, owner)) is not None:
            request.resolve("selected", option, "always")
        elif not request.options:
            request.resolve("cancelled", None, "unshown")
        elif self._too_many(asked):
            request.reject("selected", "too_many")
        else:
            expire = asyncio.get_running_loop().call_later
            self._timers[request.request] = expire(settings.timeout_seconds, request.reject, "expired", "timeout")
            self.open[request.request] = request
            request.opened = True
            return request
        return None

    def _make(self, asked: PermissionAsked, earlier: Callable[[str], OpenToolCall | None]) -> PermissionRequest:
        call, before, cut = asked.params.decoded_call(), {}, None if asked.whole else _TOO_LARGE
        if asked.params.repeats_a_name():
            cut = _TWO_VALUES
        identity = call.get("toolCallId")
        if not isinstance(identity, str):
            identity = None
        elif (known := earlier(identity)) is not None:
            title = None if known.title == identity else known.title
            before = {"title": title, "kind": known.kind, "rawInput": known.raw_input, "content": known.content}
            if known.cut and not (call.get("rawInput") and call.get("content")):
                cut = cut or _CUT_BEFORE
        seconds = self._settings.now.permissions.timeout_seconds
        return PermissionRequest(
            f"{self._prefix}-{next(self._numbers)}",
            asked,
            action_of(call, before, cut),
            tool_call_id=None if identity is None else bounds.identity(identity),
            timeout_seconds=seconds,
            expires_at=self._wall() + seconds,
            on_resolved=self._resolved,
        )

    def _too_many(self, asked: PermissionAsked) -> bool:
        size = asked.size + sum(request.asked.size for request in self.open.values())
        return len(self.open) >= MOST_OPEN or size > MOST_OPEN_BYTES or self._withdrawn >= MOST_WITHDRAWN

    def get(self, request: str) -> PermissionRequest:
        """The open request of that name. Raises NotFound."""
        if request not in self.open:
            raise NotFound(f"cannot answer: no permission request {request[:80]!r} is open in this session")
        return self.open[request]

    def apply_policy(self) -> None:
        """Reject the open requests where the policy has become ``deny``: nobody may answer them any more."""
        if self._settings.now.permissions.policy == "deny":
            for request in tuple(self.open.values()):
                request.reject("cancelled", "policy")

    def cancel_all(self, but: Container[str] = ()) -> None:
        """Answer every open request ``cancelled``, ``but`` those of these names: their turn is over, or is to end."""
        for request in tuple(self.open.values()):
            if request.request not in but:
                request.resolve("cancelled", None)
        self._withdrawn = 0

    def withdraw(self, request_id: Id) -> None:
        """Close the request to which the agent no longer wants an answer."""
        for request in tuple(self.open.values()):
            if request.asked.request_id == request_id:
                request.resolve("cancelled", None)

    def tool_changed(self, update: Update) -> None:
        """Reject the open requests for this tool call if the update says something else than what was shown.

        Also those of a sub-agent: it has a session of its own, which its requests name.
        """
        identity = update.body.get("toolCallId")
        for request in tuple(self.open.values()):
            if (
                request.tool_call_id is not None
                and request.tool_call_id == identity
                and request.asked.params.session_id == update.session_id
                and _differs(request, update.body, cut=update.cut, folder=self.folder)
            ):
                request.reject("selected", "changed")

    def _remembered_answer(self, request: PermissionRequest, owner: str | None) -> PermissionOption | None:
        digest = request.action.digest if self._remembered else None
        if digest is None or owner is None:
            return None
        return permissions.choose(request.options, self._remembered.get((owner, digest), ()))

    def _remember(self, request: PermissionRequest, option: PermissionOption) -> None:
        kinds = {"allow_always": permissions.ALLOW, "reject_always": permissions.REJECT}.get(option.kind)
        digest = request.action.digest
        if kinds is None or digest is None or request.answered_by is None:
            return
        self._remembered[request.answered_by, digest] = kinds
        if len(self._remembered) > _REMEMBERED_MOST:
            del self._remembered[next(iter(self._remembered))]

    def _resolved(self, request: PermissionRequest, option: PermissionOption | None) -> None:
        if option is not None and request.reason is None:
            self._remember(request, option)
        self._answer(request, option)
        if self.open.pop(request.request, None) is not None:
            self._timers.pop(request.request).cancel()
            self._withdrawn += request.outcome == "cancelled" or request.reason == "changed"
            self._on_closed(request)


def _differs(request: PermissionRequest, body: dict[str, Any], *, cut: bool, folder: str) -> bool:
    """Whether an update changes what a person sees; once a tool runs, its content is its output, but a file change."""
    action, content = request.action, body.get("content")
    raw = _without_folder(body.get("rawInput"), action.raw_input, folder)
    if body.get("status") not in {None, "pending"} and not has_changes(content):
        content = None
    kind_differs = action.kind is not None and isinstance(kind := body.get("kind"), str) and kind != action.kind
    if cut:
        return kind_differs or bool(raw or content)
    pairs = [(raw, action.raw_input), (content, action.content)]
    if action.locations or not (action.raw_input or action.content):
        pairs.append((body.get("locations"), action.locations))
    if not (action.raw_input or action.content):  # then the title is what people decide on
        pairs.append((body.get("title"), action.title))
    return kind_differs or any(msgspec.json.encode(new) != msgspec.json.encode(shown) for new, shown in pairs if new)


def _without_folder(raw: Any, shown: Any, folder: str) -> Any:
    """The raw input without the session's own folder, which some agents add only when the tool is about to run."""
    if isinstance(raw, dict) and isinstance(shown, dict) and "cwd" not in shown and raw.get("cwd") == folder:
        return {key: value for key, value in raw.items() if key != "cwd"}
    return raw
