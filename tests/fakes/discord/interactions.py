"""Interactions: what a user's slash command or click sends, and the endpoints by which the bot answers it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import errors, forms, payloads, rest, state
from tests.fakes.discord.rest import Call, Endpoint

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message, User
    from tests.fakes.discord.world import World

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
# What may answer what (interactions/receiving-and-responding, interaction callback type).
ALLOWED = {
    COMMAND: {4, 5, 9},
    COMPONENT: {4, 5, 6, 7, 9},
    AUTOCOMPLETE: {8},
    MODAL_SUBMIT: {4, 5, 6, 7},
}
TOKEN_SECONDS = 900.0
ENTRY_POINT = 4  # the type of a command that starts an application's Activity


@dataclass(eq=False, repr=False)
class Interaction:
    """One interaction. `response_type` is None until the bot answers; `response` is the JSON `data` of the answer."""

    id: int
    token: str
    type: int
    user: User
    channel: Channel
    data: dict[str, Any]
    application_id: str
    message: Message | None = None
    created: float = field(default_factory=time.monotonic)
    response_type: int | None = None
    response: dict[str, Any] | None = None
    responded_at: float | None = None
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)
    expired: bool = False
    event: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        asked = self.data.get("name") or self.data.get("custom_id")
        return f"<{asked} by {self.user.name}, answered by type {self.response_type}: {self.answer_text!r}>"

    @property
    def answered(self) -> bool:
        """Acknowledged: by a message, an update, a modal, choices, or a deferral."""
        return self.response_type is not None

    @property
    def deferred(self) -> bool:
        return self.response_type in (5, 6)

    @property
    def seconds(self) -> float | None:
        """How long the bot took to acknowledge, in real seconds."""
        return None if self.responded_at is None else self.responded_at - self.created

    @property
    def messages(self) -> list[Message]:
        """What the user gets: the answer and its followups."""
        own = [] if self.original is None or self.original is self.message else [self.original]
        return own + self.followups

    @property
    def answer_text(self) -> str:
        """The text of all of that, one message a line; a deferral that nothing followed says nothing."""
        return "\n".join(one.content for one in self.messages if not one.loading)

    def expire(self) -> None:
        """As if the 3 s had passed (an unanswered one is unknown from now on), and the 15 min of an answered one."""
        self.expired = True


class Interactions:
    """Handlers bound to one world. `seconds` is how long an interaction waits for its first answer."""

    def __init__(self, world: World, *, seconds: float) -> None:
        self.world = world
        self.seconds = seconds
        self.all: list[Interaction] = []
        self.commands: dict[int | None, list[dict[str, Any]]] = {}

    def table(self) -> dict[tuple[str, str], Endpoint]:
        return {
            ("GET", rest.COMMANDS): Endpoint(self.list_commands),
            ("PUT", rest.COMMANDS): Endpoint(self.put_commands),
            ("POST", rest.COMMANDS): Endpoint(self.post_command),
            ("GET", rest.GUILD_COMMANDS): Endpoint(self.list_commands),
            ("PUT", rest.GUILD_COMMANDS): Endpoint(self.put_commands),
            ("POST", rest.GUILD_COMMANDS): Endpoint(self.post_command),
            ("POST", rest.CALLBACK): Endpoint(self.callback, bot=False),
            ("GET", rest.ORIGINAL): Endpoint(self.get, bot=False),
            ("PATCH", rest.ORIGINAL): Endpoint(self.edit, bot=False),
            ("DELETE", rest.ORIGINAL): Endpoint(self.delete, bot=False),
            ("POST", rest.FOLLOWUPS): Endpoint(self.follow_up, bot=False),
            ("GET", rest.FOLLOWUP): Endpoint(self.get, bot=False),
            ("PATCH", rest.FOLLOWUP): Endpoint(self.edit, bot=False),
            ("DELETE", rest.FOLLOWUP): Endpoint(self.delete, bot=False),
        }

    # commands

    def _scope(self, call: Call) -> int | None:
        if call.params["application_id"] != str(self.world.application_id):
            raise errors.ApiError(403, 20012, "You are not authorized to perform this action on this application")
        if "guild_id" not in call.params:
            return None
        guild_id = call.number("guild_id")
        if guild_id not in self.world.guilds:
            raise errors.missing_access()
        return guild_id

    async def list_commands(self, call: Call) -> list[dict[str, Any]]:
        return self.commands.get(self._scope(call), [])

    async def put_commands(self, call: Call) -> list[dict[str, Any]]:
        scope = self._scope(call)
        given = forms.commands(call.body)
        entry_points = {one["name"] for one in self.commands.get(scope, []) if one["type"] == ENTRY_POINT}
        if entry_points - {one["name"] for one in given if one.get("type") == ENTRY_POINT}:
            raise errors.entry_point_missing()
        self.commands[scope] = [self._registered(one, scope) for one in given]
        return self.commands[scope]

    async def post_command(self, call: Call) -> tuple[int, dict[str, Any]]:
        """One command more; one of its type and name takes the place of the earlier one."""
        scope = self._scope(call)
        (given,) = forms.commands([call.json])
        new = self._registered(given, scope)
        known = self.commands.get(scope, [])
        others = [one for one in known if (one["type"], one["name"]) != (new["type"], new["name"])]
        self.commands[scope] = [*others, new]
        return (201 if len(others) == len(known) else 200), new

    def _registered(self, command: dict[str, Any], scope: int | None) -> dict[str, Any]:
        about: dict[str, Any] = {"application_id": str(self.world.application_id)}
        if scope is not None:
            about["guild_id"] = str(scope)
        return {"type": 1, "description": "", **command, **about, "id": str(self.world.snowflake()), "version": "1"}

    def command(self, name: str, channel: Channel) -> dict[str, Any]:
        """The command of this name for a user in `channel`: the guild's own first. LookupError if there is none."""
        scopes = [None] if channel.guild is None else [channel.guild.id, None]
        known = [one for scope in scopes for one in self.commands.get(scope, []) if one["type"] == 1]
        for one in known:
            if one["name"] == name:
                return one
        names = ", ".join(sorted({one["name"] for one in known})) or "none"
        raise LookupError(f"cannot run /{name}: the bot has not registered it (it has: {names})")

    # asking

    def send(
        self, kind: int, user: User, channel: Channel, data: dict[str, Any], message: Message | None = None
    ) -> Interaction:
        """Makes the interaction and dispatches it; no intent is needed for these."""
        world = self.world
        one = Interaction(
            world.snowflake(), secrets.token_hex(24), kind, user, channel, data, str(world.application_id), message
        )
        self.all.append(one)
        body: dict[str, Any] = {
            "id": str(one.id),
            "application_id": one.application_id,
            "type": kind,
            "token": one.token,
            "version": 1,
            "data": data,
            "channel_id": str(channel.id),
            "channel": payloads.channel(channel) | {"permissions": str(channel.permissions_of(user))},
            "app_permissions": str(channel.permissions_of(world.bot)),
            "locale": "en-US",
            "entitlements": [],
            "attachment_size_limit": forms.UPLOAD_MAX,
            "context": 1 if channel.guild is None else 0,
            "authorizing_integration_owners": {"0": str(channel.guild.id if channel.guild is not None else 0)},
        }
        if channel.guild is None:
            body["user"] = payloads.user(user)
        else:
            member = payloads.member(channel.guild.members[user.id])
            body["member"] = member | {"permissions": str(channel.permissions_of(user))}
            body |= {"guild_id": str(channel.guild.id), "guild_locale": "en-US"}
            body["guild"] = {"id": str(channel.guild.id), "locale": "en-US", "features": []}
        if message is not None:
            body["message"] = payloads.message(message, world.cdn, world.bot, gateway=False)
        one.event = body
        self.tell(one)
        return one

    def tell(self, one: Interaction) -> None:
        """Dispatches it, for the first time or again."""
        self.world.gateway.dispatch("INTERACTION_CREATE", 0, one.event)

    # answering

    def _fresh(self, call: Call) -> Interaction:
        for one in self.all:
            if str(one.id) == call.params["interaction_id"] and one.token == call.params["token"]:
                if one.answered:
                    raise errors.already_acknowledged()
                if one.expired or time.monotonic() - one.created > self.seconds:
                    raise errors.unknown_interaction()
                return one
        raise errors.unknown_interaction()

    def _by_token(self, call: Call) -> Interaction:
        for one in self.all:
            if one.token == call.params["token"] and one.application_id == call.params["application_id"]:
                if not one.answered:
                    raise errors.unknown_webhook()
                if one.expired or time.monotonic() - one.created > TOKEN_SECONDS:
                    raise errors.token_expired()
                return one
        raise errors.unknown_webhook()

    def _post(self, one: Interaction, call: Call, data: dict[str, Any], *, kind: int) -> Message:
        """A message of the bot's, for the one user when it is ephemeral."""
        fields = forms.message_fields(self.world, call, data, one.channel, None)
        if one.channel.locked and one.channel.archived and not fields["flags"] & state.EPHEMERAL:
            raise errors.locked()
        return self._deliver(one, kind=kind, payload=data, **fields)

    def _deliver(self, one: Interaction, **fields: Any) -> Message:
        seen_by = one.user if fields.get("flags", 0) & state.EPHEMERAL else None
        kind = fields.pop("kind")
        return self.world.post(one.channel, self.world.bot, type=kind, interaction=one, visible_to=seen_by, **fields)

    async def callback(self, call: Call) -> tuple[int, Any] | None:
        one = self._fresh(call)
        kind, data = call.json.get("type"), call.json.get("data") or {}
        if kind not in ALLOWED[one.type] or (kind in (6, 7) and one.message is None):
            raise errors.invalid("type", "BASE_TYPE_CHOICES", f"Value must be one of {sorted(ALLOWED[one.type])}.")
        message_type = state.CHAT_INPUT if one.type == COMMAND else state.DEFAULT
        if kind == 4:
            one.original = self._post(one, call, data, kind=message_type)
        elif kind == 5:
            flags = state.LOADING | (int(data.get("flags") or 0) & state.EPHEMERAL)
            one.original = self._deliver(one, kind=message_type, flags=flags)
        elif kind in (6, 7):
            one.original = one.message
            if kind == 7 and one.message is not None:
                fields = forms.message_fields(self.world, call, data, one.channel, one.message)
                self.world.edit(one.message, **fields)
        elif kind == 9:
            forms.modal(data)
        elif kind == 8 and len(data.get("choices") or []) > forms.OPTIONS_MAX:
            raise errors.bad_length("data.choices", 0, forms.OPTIONS_MAX)
        one.response_type, one.response, one.responded_at = kind, data, time.monotonic()
        if call.query.get("with_response") not in ("1", "true"):
            return None
        return 200, self._callback_body(one)

    def _callback_body(self, one: Interaction) -> dict[str, Any]:
        about: dict[str, Any] = {"id": str(one.id), "type": one.type}
        resource: dict[str, Any] = {"type": one.response_type}
        if one.original is not None:
            about |= {
                "response_message_id": str(one.original.id),
                "response_message_loading": one.original.loading,
                "response_message_ephemeral": one.original.ephemeral,
            }
        if one.original is not None and one.response_type in (4, 5, 7):
            resource["message"] = self._render(one.original)
        return {"interaction": about, "resource": resource}

    def _render(self, message: Message) -> dict[str, Any]:
        return payloads.message(message, self.world.cdn, self.world.bot, gateway=False)

    def _message(self, call: Call) -> tuple[Interaction, Message]:
        one = self._by_token(call)
        wanted = call.params.get("message_id", "@original")
        for message in [one.original, *one.followups]:
            if message is None or message.deleted:
                continue
            if str(message.id) == wanted or (wanted == "@original" and message is one.original):
                return one, message
        raise errors.unknown_message()

    async def get(self, call: Call) -> dict[str, Any]:
        return self._render(self._message(call)[1])

    async def edit(self, call: Call) -> dict[str, Any]:
        _, message = self._message(call)
        self._fill(message, call)
        return self._render(message)

    def _fill(self, message: Message, call: Call) -> None:
        """An edit; the first one of a deferred answer puts the answer in its place."""
        data = call.json
        fields = forms.message_fields(self.world, call, data, message.channel, message)
        if message.loading:
            fields["flags"] = message.flags & ~state.LOADING
            message.payload = data
        self.world.edit(message, **fields)

    async def delete(self, call: Call) -> None:
        self.world.delete(self._message(call)[1])

    async def follow_up(self, call: Call) -> dict[str, Any]:
        """A further message; the first one after "is thinking" takes its place, and with it its visibility."""
        one = self._by_token(call)
        if one.original is not None and one.original.loading and not one.original.deleted:
            self._fill(one.original, call)
            return self._render(one.original)
        message = self._post(one, call, call.json, kind=state.REPLY if one.original is not None else state.DEFAULT)
        one.followups.append(message)
        return self._render(message)
