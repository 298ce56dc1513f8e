"""What can happen in the world, each with the gateway events that it causes. REST is what refuses."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import gateway as gw
from tests.fakes.discord import payloads, state
from tests.fakes.discord.state import Attachment, Channel, Guild, Member, Message, ReactionEvent, Role, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

USER_MENTION = re.compile(r"<@!?(\d+)>")
ROLE_MENTION = re.compile(r"<@&(\d+)>")
EVERYONE_MENTION = re.compile(r"@(everyone|here)\b")


class World:
    """All the state, and the operations on it."""

    def __init__(self) -> None:
        self.snowflake = state.Snowflakes()
        self.application_id = self.snowflake()
        self.application_flags = 0
        self.bot = User(self.application_id, "acpbot", bot=True)
        self.users: dict[int, User] = {self.bot.id: self.bot}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.messages: list[Message] = []
        self.files: dict[int, Attachment] = {}
        self.cdn = ""
        self.gateway: gw.Gateway
        self._changed: asyncio.Event | None = None

    # waiting

    def notify(self) -> None:
        """Wakes everybody who waits for a change."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def change(self) -> None:
        """Returns after the next change."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    # events

    def _tell(self, channel: Channel, event: str, intents: tuple[int, int], data: Any) -> None:
        """`intents` is the pair (in a guild, in a DM). A channel that the bot cannot see sends it nothing."""
        if channel.allows(self.bot, "VIEW_CHANNEL"):
            self.gateway.dispatch(event, intents[0] if channel.guild is not None else intents[1], data)
        self.notify()

    def render(self, message: Message, *, created: bool = False) -> Callable[[gw.Session], dict[str, Any]]:
        """The message as each session may see it."""

        def for_session(session: gw.Session) -> dict[str, Any]:
            reads = bool(session.intents & gw.MESSAGE_CONTENT) or payloads.reads(message, self.bot)
            return payloads.message(message, self.cdn, self.bot, gateway=True, content=reads, created=created)

        return for_session

    def tell_message(self, event: str, message: Message) -> None:
        if not message.ephemeral:
            data = self.render(message, created=event == "MESSAGE_CREATE")
            self._tell(message.channel, event, (gw.GUILD_MESSAGES, gw.DM_MESSAGES), data)
        self.notify()

    def tell_thread(self, event: str, thread: Channel, **more: Any) -> None:
        self._tell(thread, event, (gw.GUILDS, gw.GUILDS), payloads.channel(thread, self.bot) | more)

    # messages

    def resolve_mentions(self, message: Message) -> None:
        """Whom the message pings: what its text mentions and `allowed_mentions` lets through (absent: everything)."""
        allowed = message.allowed_mentions
        parse = ("users", "roles", "everyone") if allowed is None else tuple(allowed.get("parse") or ())
        listed = {} if allowed is None else {key: set(map(str, allowed.get(key) or ())) for key in ("users", "roles")}

        def passes(kind: str, number: str) -> bool:
            return kind in parse or number in listed.get(kind, ())

        guild = message.channel.guild
        found = dict.fromkeys(USER_MENTION.findall(message.content))
        message.mentions = [self.users[int(n)] for n in found if int(n) in self.users and passes("users", n)]
        replied = message.referenced if message.type == state.REPLY else None
        pings_replied = True if allowed is None else bool(allowed.get("replied_user"))
        if replied is not None and pings_replied and replied.author not in message.mentions:
            message.mentions.append(replied.author)
        roles = dict.fromkeys(ROLE_MENTION.findall(message.content)) if guild is not None else {}
        message.mention_roles = [
            guild.roles[int(n)] for n in roles if guild is not None and int(n) in guild.roles and passes("roles", n)
        ]
        can = message.channel.allows(message.author, "MENTION_EVERYONE")
        message.mention_everyone = can and "everyone" in parse and bool(EVERYONE_MENTION.search(message.content))

    def post(self, channel: Channel, author: User, content: str = "", **fields: Any) -> Message:
        """A new message, at once in the channel; wakes an archived thread first."""
        number = fields.pop("id", None) or self.snowflake()
        message = Message(number, channel, author, content.strip(), **fields)
        reference = message.reference
        if (
            message.type == state.DEFAULT
            and reference is not None
            and reference.get("type", state.TO_REPLY) == state.TO_REPLY
        ):
            message.type = state.REPLY
        if channel.archived:
            self.update_thread(channel, archived=False)
        self.resolve_mentions(message)
        message.keep_version()
        channel.messages[message.id] = message
        channel.sent += 1
        if not message.ephemeral:
            channel.last_message_id = message.id
        self.messages.append(message)
        if channel.is_thread and author.id not in channel.thread_members:
            channel.thread_members.append(author.id)
        self.tell_message("MESSAGE_CREATE", message)
        return message

    def edit(self, message: Message, **fields: Any) -> None:
        """Sets `fields`, keeps the new version and sends it."""
        for name, value in fields.items():
            setattr(message, name, value)
        message.edited = state.now()
        self.resolve_mentions(message)
        message.keep_version()
        self.tell_message("MESSAGE_UPDATE", message)

    def delete(self, message: Message) -> None:
        message.deleted = True
        message.channel.messages.pop(message.id, None)
        for attachment in message.attachments:
            attachment.deleted = True
        where = {"id": str(message.id), "channel_id": str(message.channel.id)} | self._guild_id(message.channel)
        if not message.ephemeral:
            self._tell(message.channel, "MESSAGE_DELETE", (gw.GUILD_MESSAGES, gw.DM_MESSAGES), where)
        self.notify()

    @staticmethod
    def _guild_id(channel: Channel) -> dict[str, str]:
        return {} if channel.guild is None else {"guild_id": str(channel.guild.id)}

    def attach(
        self, channel: Channel, filename: str, data: bytes, content_type: str, description: str | None
    ) -> Attachment:
        made = Attachment(self.snowflake(), filename, data, content_type, channel.id, description)
        self.files[made.id] = made
        return made

    def react(self, message: Message, user: User, emoji: str, *, added: bool = True) -> None:
        """Puts on or takes off one reaction; a reaction that is there already (or not there) changes nothing."""
        users = message.reactions.get(emoji, [])
        if (user in users) is added:
            return
        if added:
            message.reactions.setdefault(emoji, []).append(user)
        else:
            users.remove(user)
            if not users:
                del message.reactions[emoji]
        message.reaction_log.append(ReactionEvent(time.monotonic(), added, emoji, user))
        channel = message.channel
        data: dict[str, Any] = {
            "user_id": str(user.id),
            "channel_id": str(channel.id),
            "message_id": str(message.id),
            "emoji": payloads.emoji(emoji),
            "burst": False,
            "type": 0,
        } | self._guild_id(channel)
        if added:
            data["message_author_id"] = str(message.author.id)
            if channel.guild is not None and user.id in channel.guild.members:
                data["member"] = payloads.member(channel.guild.members[user.id])
        event = "MESSAGE_REACTION_ADD" if added else "MESSAGE_REACTION_REMOVE"
        self._tell(channel, event, (gw.GUILD_REACTIONS, gw.DM_REACTIONS), data)

    # channels

    def add_channel(self, channel: Channel) -> Channel:
        channel.names.append((time.monotonic(), channel.name))
        self.channels[channel.id] = channel
        if channel.guild is not None:
            channel.guild.channels[channel.id] = channel
            if not channel.is_thread:
                self._tell(channel, "CHANNEL_CREATE", (gw.GUILDS, gw.GUILDS), payloads.channel(channel))
        self.notify()
        return channel

    def start_thread(
        self,
        parent: Channel,
        owner: User,
        name: str,
        *,
        origin: Message | None = None,
        private: bool = False,
        **fields: Any,
    ) -> Channel:
        """A thread; from `origin` it has that message's id and begins with Discord's own starter message (type 21)."""
        kind = state.PRIVATE_THREAD if private else state.PUBLIC_THREAD
        number = self.snowflake() if origin is None else origin.id
        thread = Channel(number, kind, name.strip(), parent.guild, parent, owner, **fields)
        thread.thread_members.append(owner.id)
        self.add_channel(thread)
        self.tell_thread("THREAD_CREATE", thread, newly_created=True)
        points = {"channel_id": str(parent.id), "guild_id": str(parent.guild.id)} if parent.guild is not None else {}
        if origin is not None:
            origin.thread = thread
            origin.flags |= state.HAS_THREAD
            self.tell_message("MESSAGE_UPDATE", origin)
            points["message_id"] = str(origin.id)
            # Its author: the documentation is silent. That of the first message is the case that a bot must survive.
            self.post(thread, origin.author, type=state.STARTER, reference=points, referenced=origin)
        elif not private:
            points["channel_id"] = str(thread.id)
            self.post(parent, owner, thread.name, type=state.THREAD_CREATED, reference=points)
        return thread

    def start_post(self, forum: Channel, owner: User, title: str, content: str = "", **fields: Any) -> Channel:
        """A post of a forum or media channel: a thread with the id of its first message, which is in the thread."""
        thread = Channel(self.snowflake(), state.PUBLIC_THREAD, title.strip(), forum.guild, forum, owner)
        thread.thread_members.append(owner.id)
        self.add_channel(thread)
        self.tell_thread("THREAD_CREATE", thread, newly_created=True)
        self.post(thread, owner, content, id=thread.id, **fields)
        return thread

    def update_thread(self, thread: Channel, by: User | None = None, **fields: Any) -> None:
        """Sets `fields` (name, archived, locked, auto_archive); a rename posts Discord's own notice (type 4)."""
        renamed = "name" in fields and fields["name"] != thread.name
        if "archived" in fields and fields["archived"] != thread.archived:
            thread.touched = state.now()
        for name, value in fields.items():
            setattr(thread, name, value)
        if renamed:
            thread.names.append((time.monotonic(), thread.name))
        self.tell_thread("THREAD_UPDATE", thread)
        if renamed and by is not None and not thread.archived:
            self.post(thread, by, thread.name, type=state.NAME_CHANGED)

    def delete_channel(self, channel: Channel) -> None:
        """The channel or thread, and the threads of the channel."""
        for thread in [one for one in self.channels.values() if one.parent is channel]:
            self.delete_channel(thread)
        visible = channel.allows(self.bot, "VIEW_CHANNEL")
        channel.deleted = True
        del self.channels[channel.id]
        if channel.guild is None:
            return
        del channel.guild.channels[channel.id]
        if visible and channel.is_thread:
            gone = {"id": str(channel.id), "type": channel.type, "parent_id": channel.parent and str(channel.parent.id)}
            self.gateway.dispatch("THREAD_DELETE", gw.GUILDS, gone | self._guild_id(channel))
        elif visible:
            self.gateway.dispatch("CHANNEL_DELETE", gw.GUILDS, payloads.channel(channel))
        self.notify()

    def dm(self, user: User) -> Channel:
        """The one DM channel between `user` and the bot."""
        for channel in self.channels.values():
            if channel.type == state.DM and channel.recipients == [user]:
                return channel
        return self.add_channel(Channel(self.snowflake(), state.DM, "", recipients=[user]))

    # guilds

    def add_guild(self, name: str, owner: User) -> Guild:
        guild = Guild(self.snowflake(), name, owner)
        guild.roles[guild.id] = Role(guild.id, "@everyone", state.bits(state.EVERYONE), 0)
        self.guilds[guild.id] = guild
        for user in (owner, self.bot):
            guild.members[user.id] = Member(user)
        self.gateway.dispatch(
            "GUILD_CREATE",
            gw.GUILDS,
            lambda session: payloads.guild(
                guild, self.bot, all_members=bool(session.intents & gw.MEMBERS), gateway=True
            ),
        )
        return guild

    def add_role(self, guild: Guild, name: str, permissions: Iterable[str] = ()) -> Role:
        role = Role(self.snowflake(), name, state.bits(list(permissions)), len(guild.roles))
        guild.roles[role.id] = role
        self.gateway.dispatch("GUILD_ROLE_CREATE", gw.GUILDS, {"guild_id": str(guild.id), "role": payloads.role(role)})
        return role

    def set_member(self, guild: Guild, user: User, roles: Iterable[Role] = ()) -> Member:
        """Makes `user` a member, or gives the member just these roles."""
        member = guild.members.get(user.id)
        event = "GUILD_MEMBER_UPDATE" if member is not None else "GUILD_MEMBER_ADD"
        if member is None:
            member = guild.members[user.id] = Member(user)
        member.roles = list(roles)
        body = payloads.member(member) | {"guild_id": str(guild.id)}
        if user is self.bot:
            self.gateway.dispatch(event, gw.GUILDS, body)
        else:
            self.gateway.dispatch(event, gw.MEMBERS, body)
        return member

    def remove_member(self, guild: Guild, user: User) -> None:
        """The user has left, or was thrown out."""
        del guild.members[user.id]
        gone = {"guild_id": str(guild.id), "user": payloads.user(user)}
        self.gateway.dispatch("GUILD_MEMBER_REMOVE", gw.MEMBERS, gone)

    def set_overwrite(
        self, channel: Channel, target: User | Role, allow: Iterable[str] = (), deny: Iterable[str] = ()
    ) -> None:
        """The permission overwrite of `target` in `channel`, in place of the one that was."""
        kind = 1 if isinstance(target, User) else 0
        seen = channel.allows(self.bot, "VIEW_CHANNEL")
        channel.overwrites[target.id] = (kind, state.bits(list(allow)), state.bits(list(deny)))
        sees = channel.allows(self.bot, "VIEW_CHANNEL")
        event = {(True, True): "CHANNEL_UPDATE", (True, False): "CHANNEL_DELETE", (False, True): "CHANNEL_CREATE"}
        if seen or sees:
            self.gateway.dispatch(event[seen, sees], gw.GUILDS, payloads.channel(channel))
        self.notify()
