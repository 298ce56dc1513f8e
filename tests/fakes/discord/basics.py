"""The endpoints about the bot itself, users, guilds and members, and the CDN."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import errors, payloads, rest
from tests.fakes.discord.rest import Call, Endpoint, Upload

if TYPE_CHECKING:
    from tests.fakes.discord.state import Guild
    from tests.fakes.discord.world import World


class Basics:
    """Handlers bound to one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def table(self) -> dict[tuple[str, str], Endpoint]:
        return {
            ("GET", rest.ME): Endpoint(self.me),
            ("GET", rest.APPLICATION): Endpoint(self.application),
            ("GET", rest.MY_GUILDS): Endpoint(self.my_guilds),
            ("POST", "/users/@me/channels"): Endpoint(self.open_dm),
            ("GET", "/users/{user_id}"): Endpoint(self.user),
            ("GET", "/gateway/bot"): Endpoint(self.gateway_bot),
            ("GET", "/guilds/{guild_id}"): Endpoint(self.guild),
            ("GET", "/guilds/{guild_id}/channels"): Endpoint(self.channels),
            ("GET", "/guilds/{guild_id}/roles"): Endpoint(self.roles),
            ("GET", rest.MEMBER): Endpoint(self.member),
            ("GET", "/guilds/{guild_id}/threads/active"): Endpoint(self.active_threads),
            ("GET", rest.CDN): Endpoint(self.download, bot=False),
        }

    def _guild(self, call: Call) -> Guild:
        guild = self.world.guilds.get(call.number("guild_id"))
        if guild is None:
            raise errors.unknown_guild()
        return guild

    async def me(self, _call: Call) -> dict[str, Any]:
        return payloads.user(self.world.bot) | {"verified": True, "mfa_enabled": False, "locale": "en-US"}

    async def application(self, _call: Call) -> dict[str, Any]:
        owner = next((guild.owner for guild in self.world.guilds.values()), self.world.bot)
        return {
            "id": str(self.world.application_id),
            "name": self.world.bot.name,
            "icon": None,
            "description": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "owner": payloads.user(owner),
            "team": None,
            "flags": self.world.application_flags,
        }

    async def gateway_bot(self, _call: Call) -> dict[str, Any]:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
        return {"url": self.world.gateway.url, "shards": 1, "session_start_limit": limit}

    async def open_dm(self, call: Call) -> dict[str, Any]:
        user = self.world.users.get(int(call.json.get("recipient_id", 0)))
        if user is None or user.bot:
            raise errors.ApiError(400, 50033, "Invalid Recipient(s)")
        return payloads.channel(self.world.dm(user))

    async def user(self, call: Call) -> dict[str, Any]:
        user = self.world.users.get(call.number("user_id"))
        if user is None:
            raise errors.unknown_user()
        return payloads.user(user)

    async def my_guilds(self, call: Call) -> list[dict[str, Any]]:
        mine = [one for one in self.world.guilds.values() if self.world.bot.id in one.members]
        return [{"id": str(one.id), "name": one.name} for one in mine[: int(call.query.get("limit", "200"))]]

    async def guild(self, call: Call) -> dict[str, Any]:
        guild = self._guild(call)
        body = payloads.guild(guild, self.world.bot, all_members=False, gateway=False)
        if call.query.get("with_counts") in ("1", "true"):
            body |= {"approximate_member_count": len(guild.members), "approximate_presence_count": len(guild.members)}
        return body

    async def channels(self, call: Call) -> list[dict[str, Any]]:
        return [payloads.channel(one) for one in self._guild(call).channels.values() if not one.is_thread]

    async def roles(self, call: Call) -> list[dict[str, Any]]:
        return [payloads.role(one) for one in self._guild(call).roles.values()]

    async def member(self, call: Call) -> dict[str, Any]:
        guild = self._guild(call)
        user_id = call.number("user_id")
        if user_id not in self.world.users:
            raise errors.unknown_user()
        if user_id not in guild.members:
            raise errors.unknown_member()
        return payloads.member(guild.members[user_id])

    async def active_threads(self, call: Call) -> dict[str, Any]:
        bot = self.world.bot
        threads = [one for one in self._guild(call).channels.values() if one.is_thread and not one.archived]
        seen = [one for one in threads if one.allows(bot, "VIEW_CHANNEL")]
        members = [payloads.thread_member(one, bot.id) for one in seen if bot.id in one.thread_members]
        return {"threads": [payloads.channel(one, bot) for one in seen], "members": members}

    async def download(self, call: Call) -> Upload:
        attachment = self.world.files.get(call.number("attachment_id"))
        if attachment is None or attachment.deleted or str(attachment.channel_id) != call.params["channel_id"]:
            raise errors.not_found()
        if attachment.packed:
            return Upload(attachment.filename, gzip.compress(attachment.data), attachment.content_type, "gzip")
        return Upload(attachment.filename, attachment.data, attachment.content_type)
