"""The server's objects as Discord's JSON (resources/user, guild, channel, message, gateway-events)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.fakes.discord import state

if TYPE_CHECKING:
    from datetime import datetime

    from tests.fakes.discord.state import Attachment, Channel, Guild, Member, Message, Role, User


def stamp(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def user(who: User) -> dict[str, Any]:
    return {
        "id": str(who.id),
        "username": who.name,
        "discriminator": "0000" if who.bot else "0",
        "global_name": None if who.bot else who.name.title(),
        "avatar": None,
        "bot": who.bot,
        "public_flags": 0,
    }


def member(of: Member, *, with_user: bool = True) -> dict[str, Any]:
    body: dict[str, Any] = {
        "roles": [str(role.id) for role in of.roles],
        "nick": of.nick,
        "avatar": None,
        "joined_at": stamp(of.joined),
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
    }
    if with_user:
        body["user"] = user(of.user)
    return body


def role(of: Role) -> dict[str, Any]:
    return {
        "id": str(of.id),
        "name": of.name,
        "permissions": str(of.permissions),
        "position": of.position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": True,
        "flags": 0,
    }


def thread_member(thread: Channel, user_id: int) -> dict[str, Any]:
    return {
        "id": str(thread.id),
        "user_id": str(user_id),
        "join_timestamp": stamp(thread.created),
        "flags": 1,
    }


def channel(of: Channel, bot: User | None = None) -> dict[str, Any]:
    """A text channel, a thread (with `bot`'s own membership) or a DM."""
    last = None if of.last_message_id is None else str(of.last_message_id)
    body: dict[str, Any] = {"id": str(of.id), "type": of.type, "last_message_id": last, "flags": 0}
    if of.guild is None:
        return body | {"recipients": [user(who) for who in of.recipients]}
    body |= {"guild_id": str(of.guild.id), "name": of.name, "rate_limit_per_user": 0}
    if not of.is_thread:
        if of.type in (state.FORUM, state.MEDIA):
            body |= {"available_tags": [], "default_forum_layout": 0, "default_sort_order": None}
        return body | {
            "position": 0,
            "topic": of.topic,
            "nsfw": False,
            "parent_id": None,
            "permission_overwrites": [
                {"id": str(target), "type": kind, "allow": str(allow), "deny": str(deny)}
                for target, (kind, allow, deny) in of.overwrites.items()
            ],
        }
    body |= {
        "parent_id": of.parent and str(of.parent.id),
        "owner_id": of.owner and str(of.owner.id),
        "member_count": min(50, len(of.thread_members)),
        "message_count": sum(1 for one in of.messages.values() if one.type != state.STARTER),
        "total_message_sent": of.sent,
        "thread_metadata": {
            "archived": of.archived,
            "locked": of.locked,
            "auto_archive_duration": of.auto_archive,
            "archive_timestamp": stamp(of.touched),
            "create_timestamp": stamp(of.created),
        },
    }
    if of.type == state.PRIVATE_THREAD:
        body["thread_metadata"]["invitable"] = True
    if bot is not None and bot.id in of.thread_members:
        body["member"] = thread_member(of, bot.id)
    return body


def guild(of: Guild, bot: User, *, all_members: bool, gateway: bool) -> dict[str, Any]:
    """A guild; as GUILD_CREATE has it when `gateway`, with the members and channels that the bot may see."""
    body: dict[str, Any] = {
        "id": str(of.id),
        "name": of.name,
        "owner_id": str(of.owner.id),
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "description": None,
        "roles": [role(one) for one in of.roles.values()],
        "emojis": [],
        "stickers": [],
        "features": [],
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "system_channel_flags": 0,
        "vanity_url_code": None,
    }
    if not gateway:
        return body
    seen = [one for one in of.channels.values() if one.allows(bot, "VIEW_CHANNEL")]
    known = [one for one in of.members.values() if all_members or one.user is bot]
    return body | {
        "joined_at": stamp(of.members[bot.id].joined),
        "large": False,
        "unavailable": False,
        "member_count": len(of.members),
        "members": [member(one) for one in known],
        "channels": [channel(one) for one in seen if not one.is_thread],
        "threads": [channel(one, bot) for one in seen if one.is_thread and not one.archived],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def attachment(of: Attachment, cdn: str) -> dict[str, Any]:
    url = f"{cdn}/attachments/{of.channel_id}/{of.id}/{quote(of.filename)}"
    body: dict[str, Any] = {
        "id": str(of.id),
        "filename": of.filename,
        "size": len(of.data),
        "url": url,
        "proxy_url": url,
        "content_type": of.content_type,
    }
    if of.description is not None:
        body["description"] = of.description
    return body


def emoji(name: str) -> dict[str, Any]:
    """A unicode emoji, or a custom one written ``name:id``."""
    label, _, number = name.partition(":")
    return {"id": number or None, "name": label, "animated": False}


def message(
    of: Message, cdn: str, bot: User, *, gateway: bool, content: bool = True, deep: bool = True, created: bool = False
) -> dict[str, Any]:
    """A message. Without `content` it is what an application sees that lacks the message content intent.

    `created`: as it is sent when it is made, with its nonce. Discord does not keep that: a message that is fetched or
    edited later has none (discord.py issue 2451).
    """
    guild_of = of.channel.guild
    body: dict[str, Any] = {
        "id": str(of.id),
        "channel_id": str(of.channel.id),
        "type": of.type,
        "author": user(of.author),
        "content": of.content if content else "",
        "timestamp": stamp(of.created),
        "edited_timestamp": stamp(of.edited),
        "tts": False,
        "pinned": False,
        "flags": of.flags,
        "mention_everyone": of.mention_everyone,
        "mentions": [mention(who, guild_of) for who in of.mentions],
        "mention_roles": [str(one.id) for one in of.mention_roles],
        "embeds": of.embeds if content else [],
        "components": of.components if content else [],
        "attachments": [attachment(one, cdn) for one in of.attachments] if content else [],
    }
    if of.reactions:
        body["reactions"] = [
            {
                "emoji": emoji(name),
                "count": len(users),
                "me": bot in users,
                "me_burst": False,
                "burst_colors": [],
                "count_details": {"burst": 0, "normal": len(users)},
            }
            for name, users in of.reactions.items()
        ]
    if created and of.nonce is not None:
        body["nonce"] = of.nonce
    body |= more_content(of) if content else {}
    if of.reference is not None:
        body["message_reference"] = of.reference
        if of.unresolved:
            pass
        elif of.type in (state.REPLY, state.STARTER) and deep:
            there = of.referenced if of.referenced is not None and not of.referenced.deleted else None
            body["referenced_message"] = there and message(
                there, cdn, bot, gateway=False, content=content or reads(there, bot), deep=False
            )
    if of.webhook_id is not None:
        body["webhook_id"] = str(of.webhook_id)
    if of.interaction is not None:
        body |= {"webhook_id": of.interaction.application_id, "application_id": of.interaction.application_id}
    if of.thread is not None and not gateway:
        body["thread"] = channel(of.thread, bot)
    if gateway and guild_of is not None:
        body["guild_id"] = str(guild_of.id)
        its_member = guild_of.members.get(of.author.id)
        if its_member is not None:
            body["member"] = member(its_member, with_user=False)
    return body


def more_content(of: Message) -> dict[str, Any]:
    """What few messages have: forwarded ones, stickers, a poll."""
    body: dict[str, Any] = {}
    if of.snapshots:
        body["message_snapshots"] = [{"message": one} for one in of.snapshots]
    if of.stickers:
        body["sticker_items"] = [{"id": str(of.id), "name": name, "format_type": 1} for name in of.stickers]
    if of.poll is not None:
        body["poll"] = of.poll
    return body


def snapshot(of: Message, cdn: str) -> dict[str, Any]:
    """A message as another one forwards it: without its author."""
    return {
        "type": of.type,
        "content": of.content,
        "embeds": of.embeds,
        "attachments": [attachment(one, cdn) for one in of.attachments],
        "timestamp": stamp(of.created),
        "edited_timestamp": stamp(of.edited),
        "flags": of.flags,
        "mentions": [user(who) for who in of.mentions],
        "mention_roles": [str(one.id) for one in of.mention_roles],
        "components": of.components,
    } | more_content(of)


def poll(question: str, answers: dict[str, int | None], *, ends: datetime | None) -> dict[str, Any]:
    """A poll with its answers and how many have chosen each; without results where no answer has a number."""
    listed = list(answers.items())
    body: dict[str, Any] = {
        "question": {"text": question},
        "answers": [{"answer_id": n, "poll_media": {"text": text}} for n, (text, _) in enumerate(listed, 1)],
        "expiry": stamp(ends),
        "allow_multiselect": False,
        "layout_type": 1,
    }
    counts = [
        {"id": n, "count": count, "me_voted": False} for n, (_, count) in enumerate(listed, 1) if count is not None
    ]
    return body | ({"results": {"is_finalized": False, "answer_counts": counts}} if counts else {})


def mention(who: User, guild_of: Guild | None) -> dict[str, Any]:
    body = user(who)
    its_member = None if guild_of is None else guild_of.members.get(who.id)
    if its_member is not None:
        body["member"] = member(its_member, with_user=False)
    return body


def reads(of: Message, bot: User) -> bool:
    """Whether a bot sees this content without the intent for it: its own, in a DM, or where it is mentioned."""
    return of.author is bot or of.channel.guild is None or bot in of.mentions
