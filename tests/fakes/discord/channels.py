"""The endpoints about channels, threads, messages and reactions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import errors, forms, payloads, rest, state
from tests.fakes.discord.limits import CHANNEL_EDITS, EDITS, REACTIONS, RENAMES, SENDS, Rule
from tests.fakes.discord.rest import Call, Endpoint

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message
    from tests.fakes.discord.world import World

NONCE_SECONDS = 300.0  # "the past few minutes" (resources/message, enforce_nonce); never scaled
REACTIONS_MAX = 20
ARCHIVE_MINUTES = (60, 1440, 4320, 10080)


def of_channel(rule: Rule) -> Any:
    return lambda _call: (rule, None)


def channel_patch(call: Call) -> tuple[Rule, Rule | None]:
    """Renames have a limit of their own, which no header announces."""
    renames = isinstance(call.body, dict) and "name" in call.body
    return CHANNEL_EDITS, RENAMES if renames else None


class Channels:
    """Handlers bound to one world. `nonces` maps (channel, nonce) to (time, message)."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nonces: dict[tuple[int, str], tuple[float, Message]] = {}

    def table(self) -> dict[tuple[str, str], Endpoint]:
        sends, edits, reacts = of_channel(SENDS), of_channel(EDITS), of_channel(REACTIONS)
        return {
            ("GET", rest.CHANNEL): Endpoint(self.get_channel),
            ("PATCH", rest.CHANNEL): Endpoint(self.patch_channel, limit=channel_patch),
            ("DELETE", rest.CHANNEL): Endpoint(self.delete_channel),
            ("GET", rest.MESSAGES): Endpoint(self.list_messages),
            ("POST", rest.MESSAGES): Endpoint(self.create_message, limit=sends),
            ("GET", rest.MESSAGE): Endpoint(self.get_message),
            ("PATCH", rest.MESSAGE): Endpoint(self.edit_message, limit=edits),
            ("DELETE", rest.MESSAGE): Endpoint(self.delete_message),
            ("PUT", rest.REACTION): Endpoint(self.add_reaction, limit=reacts),
            ("DELETE", rest.REACTION): Endpoint(self.remove_reaction, limit=reacts),
            ("POST", rest.MESSAGE_THREADS): Endpoint(self.thread_from_message),
            ("POST", rest.THREADS): Endpoint(self.thread_alone),
            ("POST", rest.TYPING): Endpoint(self.type),
            ("PUT", "/channels/{channel_id}/thread-members/{user_id}"): Endpoint(self.join_thread),
            ("DELETE", "/channels/{channel_id}/thread-members/{user_id}"): Endpoint(self.leave_thread),
        }

    # looking up

    def channel(self, call: Call, *permissions: str) -> Channel:
        """The channel of the path, if the bot sees it and has these permissions there."""
        channel = self.world.channels.get(call.number("channel_id"))
        if channel is None:
            raise errors.unknown_channel()
        if not channel.allows(self.world.bot, "VIEW_CHANNEL"):
            raise errors.missing_access()
        if not channel.allows(self.world.bot, *permissions):
            raise errors.missing_permissions()
        return channel

    def message(self, channel: Channel, call: Call) -> Message:
        message = channel.messages.get(call.number("message_id"))
        if message is None or message.ephemeral:
            raise errors.unknown_message()
        return message

    def moderates(self, channel: Channel) -> bool:
        return channel.allows(self.world.bot, "MANAGE_THREADS")

    def writable(self, channel: Channel) -> None:
        """Refuses to change what is in an archived or locked thread."""
        if channel.locked and not self.moderates(channel):
            raise errors.locked()
        if channel.archived:
            raise errors.archived()

    def render(self, message: Message, *, created: bool = False) -> dict[str, Any]:
        world = self.world
        reads = "message_content" in world.gateway.privileged or payloads.reads(message, world.bot)
        return payloads.message(message, world.cdn, world.bot, gateway=False, content=reads, created=created)

    # messages

    async def create_message(self, call: Call) -> dict[str, Any]:
        data = call.json
        channel = self.channel(call)
        world = self.world
        if not channel.allows(world.bot, "SEND_MESSAGES_IN_THREADS" if channel.is_thread else "SEND_MESSAGES"):
            raise errors.missing_permissions()
        if call.uploads and not channel.allows(world.bot, "ATTACH_FILES"):
            raise errors.missing_permissions()
        if channel.locked and not self.moderates(channel):
            raise errors.locked()
        nonce = data.get("nonce")
        key = (channel.id, str(nonce))
        if nonce is not None and data.get("enforce_nonce") and key in self.nonces:
            at, message = self.nonces[key]
            if time.monotonic() - at < NONCE_SECONDS:
                return self.render(message, created=True)
        fields = forms.message_fields(world, call, data, channel, None)
        fields |= self.reference(channel, data.get("message_reference"))
        message = world.post(channel, world.bot, **fields, nonce=None if nonce is None else str(nonce), payload=data)
        if nonce is not None:
            self.nonces[key] = (time.monotonic(), message)
        return self.render(message, created=True)

    def reference(self, channel: Channel, given: dict[str, Any] | None) -> dict[str, Any]:
        """The fields of a reply."""
        if not given or "message_id" not in given:
            return {}
        target = channel.messages.get(int(given["message_id"]))
        if target is None:
            if given.get("fail_if_not_exists", True):
                raise errors.invalid("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
            return {}
        if not channel.allows(self.world.bot, "READ_MESSAGE_HISTORY"):
            raise errors.ApiError(400, 160002, "Cannot reply without permission to read message history")
        if target.type not in (state.DEFAULT, state.REPLY, state.CHAT_INPUT, state.STARTER):
            raise errors.invalid(
                "message_reference", "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE", "Cannot reply to a system message"
            )
        points = {"type": 0, "message_id": str(target.id), "channel_id": str(channel.id)}
        if channel.guild is not None:
            points["guild_id"] = str(channel.guild.id)
        return {"reference": points, "referenced": target}

    async def get_message(self, call: Call) -> dict[str, Any]:
        return self.render(self.message(self.channel(call, "READ_MESSAGE_HISTORY"), call))

    async def list_messages(self, call: Call) -> list[dict[str, Any]]:
        """Newest first."""
        channel = self.channel(call)
        if not channel.allows(self.world.bot, "READ_MESSAGE_HISTORY"):
            return []
        limit = int(call.query.get("limit", "50"))
        if not 1 <= limit <= 100:
            raise errors.invalid("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
        before = int(call.query.get("before", 1 << 63))
        after = int(call.query.get("after", 0))
        ids = sorted(n for n, one in channel.messages.items() if after < n < before and not one.ephemeral)
        chosen = ids[:limit] if "after" in call.query else ids[-limit:]
        return [self.render(channel.messages[n]) for n in reversed(chosen)]

    async def edit_message(self, call: Call) -> dict[str, Any]:
        data = call.json
        channel = self.channel(call)
        message = self.message(channel, call)
        if message.author is not self.world.bot:
            raise errors.not_yours()
        self.writable(channel)
        if message.type not in (state.DEFAULT, state.REPLY, state.CHAT_INPUT):
            raise errors.system_message()
        self.world.edit(message, **forms.message_fields(self.world, call, data, channel, message))
        return self.render(message)

    async def delete_message(self, call: Call) -> None:
        channel = self.channel(call)
        message = self.message(channel, call)
        if message.author is not self.world.bot and not channel.allows(self.world.bot, "MANAGE_MESSAGES"):
            raise errors.missing_permissions()
        if channel.archived and channel.locked and not self.moderates(channel):
            raise errors.locked()
        if message.type in (state.STARTER, state.THREAD_CREATED, state.NAME_CHANGED):
            raise errors.system_message()
        self.world.delete(message)

    # reactions

    def _reaction(self, call: Call) -> tuple[Message, str]:
        channel = self.channel(call, "READ_MESSAGE_HISTORY")
        message = self.message(channel, call)
        if channel.archived:
            self.writable(channel)
        emoji = call.params["emoji"]
        if emoji.isascii() and not emoji.rpartition(":")[2].isdigit():
            raise errors.unknown_emoji()
        return message, emoji

    async def add_reaction(self, call: Call) -> None:
        message, emoji = self._reaction(call)
        if emoji not in message.reactions:
            if not message.channel.allows(self.world.bot, "ADD_REACTIONS"):
                raise errors.missing_permissions()
            if len(message.reactions) >= REACTIONS_MAX:
                raise errors.too_many_reactions()
        self.world.react(message, self.world.bot, emoji)

    async def remove_reaction(self, call: Call) -> None:
        message, emoji = self._reaction(call)
        who = self.world.bot
        if call.params["user_id"] != "@me":
            who = self.world.users.get(call.number("user_id"), who)
        if who is not self.world.bot and not message.channel.allows(self.world.bot, "MANAGE_MESSAGES"):
            raise errors.missing_permissions()
        if emoji not in message.reactions:
            raise errors.unknown_emoji()
        self.world.react(message, who, emoji, added=False)

    # threads and channels

    @staticmethod
    def _auto_archive(data: dict[str, Any]) -> int:
        minutes = data.get("auto_archive_duration") or 1440
        if minutes not in ARCHIVE_MINUTES:
            raise errors.invalid(
                "auto_archive_duration", "BASE_TYPE_CHOICES", f"Value must be one of {ARCHIVE_MINUTES}."
            )
        return int(minutes)

    async def thread_from_message(self, call: Call) -> tuple[int, Any]:
        channel = self.channel(call, "CREATE_PUBLIC_THREADS", "READ_MESSAGE_HISTORY")
        if channel.type != state.TEXT:
            raise errors.wrong_channel_type()
        message = self.message(channel, call)
        if message.thread is not None:
            raise errors.thread_exists()
        if message.type not in (state.DEFAULT, state.REPLY, state.CHAT_INPUT):
            raise errors.system_message()
        name, minutes = forms.thread_name(call.json), self._auto_archive(call.json)
        thread = self.world.start_thread(channel, self.world.bot, name, origin=message, auto_archive=minutes)
        return 201, payloads.channel(thread, self.world.bot)

    async def thread_alone(self, call: Call) -> tuple[int, Any]:
        data = call.json
        private = data.get("type", state.PRIVATE_THREAD) == state.PRIVATE_THREAD
        channel = self.channel(call, "CREATE_PRIVATE_THREADS" if private else "CREATE_PUBLIC_THREADS")
        if channel.type != state.TEXT:
            raise errors.wrong_channel_type()
        name, minutes = forms.thread_name(data), self._auto_archive(data)
        thread = self.world.start_thread(channel, self.world.bot, name, private=private, auto_archive=minutes)
        return 201, payloads.channel(thread, self.world.bot)

    async def get_channel(self, call: Call) -> dict[str, Any]:
        return payloads.channel(self.channel(call), self.world.bot)

    async def patch_channel(self, call: Call) -> dict[str, Any]:
        data = call.json
        channel = self.channel(call)
        if not channel.is_thread:
            raise errors.missing_permissions()
        if channel.owner is not self.world.bot and not self.moderates(channel):
            raise errors.missing_permissions()
        fields: dict[str, Any] = {}
        if "archived" in data:
            fields["archived"] = bool(data["archived"])
        if "locked" in data:
            fields["locked"] = bool(data["locked"])
        if channel.locked and not self.moderates(channel):
            raise errors.locked()
        if channel.archived and fields.get("archived", True):
            raise errors.archived()
        if "name" in data:
            fields["name"] = forms.thread_name(data)
        if "auto_archive_duration" in data:
            fields["auto_archive"] = self._auto_archive(data)
        self.world.update_thread(channel, self.world.bot, **fields)
        return payloads.channel(channel, self.world.bot)

    async def delete_channel(self, call: Call) -> dict[str, Any]:
        channel = self.channel(call)
        if channel.guild is not None:
            needed = "MANAGE_THREADS" if channel.is_thread else "MANAGE_CHANNELS"
            if not channel.allows(self.world.bot, needed):
                raise errors.missing_permissions()
        body = payloads.channel(channel, self.world.bot)
        self.world.delete_channel(channel)
        return body

    async def type(self, call: Call) -> None:
        channel = self.channel(call)
        if not channel.allows(self.world.bot, "SEND_MESSAGES_IN_THREADS" if channel.is_thread else "SEND_MESSAGES"):
            raise errors.missing_permissions()
        channel.typing.append(time.monotonic())

    def _member_of(self, call: Call) -> tuple[Channel, int]:
        thread = self.channel(call)
        if not thread.is_thread:
            raise errors.wrong_channel_type()
        if thread.archived:
            raise errors.archived()
        return thread, self.world.bot.id if call.params["user_id"] == "@me" else call.number("user_id")

    async def join_thread(self, call: Call) -> None:
        thread, user_id = self._member_of(call)
        if user_id not in self.world.users:
            raise errors.unknown_user()
        if user_id not in thread.thread_members:
            thread.thread_members.append(user_id)

    async def leave_thread(self, call: Call) -> None:
        thread, user_id = self._member_of(call)
        if user_id in thread.thread_members:
            thread.thread_members.remove(user_id)
