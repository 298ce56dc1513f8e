"""What users do: they write, edit, delete, react, click and run commands. Each call takes effect at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import forms, payloads, state
from tests.fakes.discord.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL_SUBMIT, Interaction
from tests.fakes.discord.state import User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Attachment, Channel, Message, Role

NESTS = (1, 2)  # a subcommand, a group of them
BUTTON, TEXT_INPUT = 2, 4


@dataclass(eq=False, repr=False, kw_only=True)
class Author(User):
    """A user whom a test plays. Nothing here can be refused: a person sees and may do everything the test wants."""

    server: DiscordServer

    # messages

    def says(
        self,
        channel: Channel,
        text: str = "",
        *,
        mentions: Sequence[User | Role] = (),
        attachments: Mapping[str, bytes | str] | None = None,
        reply_to: Message | None = None,
        ping: bool = True,
        **fields: Any,
    ) -> Message:
        """A message. `mentions` go before the text unless it names them; `attachments` is {filename: content}.

        `fields` are more of :class:`tests.fakes.discord.state.Message`: embeds, stickers, a poll, flags.
        """
        world = self.server.world
        missing = [one.mention for one in mentions if one.mention not in text]
        files = [self._file(channel, name, data) for name, data in (attachments or {}).items()]
        if reply_to is not None:
            points: dict[str, Any] = {"type": state.TO_REPLY, "message_id": str(reply_to.id)}
            points["channel_id"] = str(channel.id)
            if channel.guild is not None:
                points["guild_id"] = str(channel.guild.id)
            fields |= {"reference": points, "referenced": reply_to}
            fields["allowed_mentions"] = {"parse": ["users", "roles", "everyone"], "replied_user": ping}
        return world.post(channel, self, " ".join([*missing, text]), attachments=files, **fields)

    def forwards(self, message: Message, channel: Channel) -> Message:
        """Another message, as it is now, without a word."""
        points: dict[str, Any] = {"type": state.TO_FORWARD, "message_id": str(message.id)}
        points["channel_id"] = str(message.channel.id)
        shown = [payloads.snapshot(message, self.server.world.cdn)]
        return self.server.world.post(channel, self, reference=points, snapshots=shown, flags=state.HAS_SNAPSHOT)

    def posts_in(
        self,
        forum: Channel,
        title: str,
        text: str = "",
        *,
        mentions: Sequence[User | Role] = (),
        attachments: Mapping[str, bytes | str] | None = None,
    ) -> Channel:
        """A post of a forum or media channel."""
        words = " ".join([*(one.mention for one in mentions), text])
        files = [self._file(forum, name, data) for name, data in (attachments or {}).items()]
        return self.server.world.start_post(forum, self, title, words, attachments=files)

    def _file(self, channel: Channel, name: str, data: bytes | str) -> Attachment:
        raw = data.encode() if isinstance(data, str) else data
        return self.server.world.attach(channel, name, raw, forms.content_type_of(name), None)

    def edits(self, message: Message, text: str) -> None:
        self.server.world.edit(message, content=text.strip())

    def deletes(self, message: Message) -> None:
        """Any message, as a moderator may."""
        self.server.world.delete(message)

    def reacts(self, message: Message, emoji: str) -> None:
        self.server.world.react(message, self, emoji)

    def unreacts(self, message: Message, emoji: str) -> None:
        self.server.world.react(message, self, emoji, added=False)

    # threads

    def starts_thread(self, channel: Channel, name: str, *, from_message: Message | None = None) -> Channel:
        return self.server.world.start_thread(channel, self, name, origin=from_message)

    def renames(self, thread: Channel, name: str) -> None:
        self.server.world.update_thread(thread, self, name=name)

    def archives(self, thread: Channel, *, locked: bool = False) -> None:
        self.server.world.update_thread(thread, self, archived=True, locked=locked)

    def unarchives(self, thread: Channel) -> None:
        self.server.world.update_thread(thread, self, archived=False, locked=False)

    def locks(self, thread: Channel) -> None:
        """Locks it and leaves it active."""
        self.server.world.update_thread(thread, self, locked=True)

    def deletes_thread(self, thread: Channel) -> None:
        self.server.world.delete_channel(thread)

    # interactions

    def clicks(self, message: Message, custom_id: str | None = None, *, label: str | None = None) -> Interaction:
        """Presses the button with this custom_id (or label). LookupError if it is not there or is disabled."""
        for item in message.buttons:
            if (custom_id is not None and item.get("custom_id") == custom_id) or (label and item.get("label") == label):
                if item.get("disabled"):
                    raise LookupError(f"cannot click {custom_id or label!r}: the button is disabled")
                return self.sends_click(message, item["custom_id"])
        there = ", ".join(f"{one.get('custom_id')!r} ({one.get('label')})" for one in message.buttons) or "none"
        raise LookupError(f"cannot click {custom_id or label!r}: the message has these buttons: {there}")

    def sends_click(self, message: Message, custom_id: str) -> Interaction:
        """The click alone, whatever the message has: what a client with an old view of it sends."""
        data = {"component_type": BUTTON, "custom_id": custom_id}
        return self.server.interactions.send(COMPONENT, self, message.channel, data, message)

    def selects(self, message: Message, custom_id: str, values: Iterable[str]) -> Interaction:
        """Chooses `values` in a select menu. LookupError if it is not there or is disabled."""
        item = message.component(custom_id)
        if item is None or item.get("disabled"):
            raise LookupError(f"cannot select in {custom_id!r}: the message has no such menu, or it is disabled")
        data = {"component_type": item["type"], "custom_id": custom_id, "values": list(values)}
        return self.server.interactions.send(COMPONENT, self, message.channel, data, message)

    def slash(self, name: str, options: Mapping[str, Any] | None = None, *, channel: Channel) -> Interaction:
        """Runs ``/name`` (with subcommands after spaces) in `channel`. LookupError if the bot has not registered it."""
        return self._command(COMMAND, name, options or {}, channel, None)

    def autocompletes(
        self, name: str, option: str, text: str, *, channel: Channel, options: Mapping[str, Any] | None = None
    ) -> Interaction:
        """Types `text` into `option`; the answer's choices are in ``interaction.response["choices"]``."""
        return self._command(AUTOCOMPLETE, name, {**(options or {}), option: text}, channel, option)

    def _command(
        self, kind: int, name: str, options: Mapping[str, Any], channel: Channel, focused: str | None
    ) -> Interaction:
        first, *words = name.split()
        command = self.server.interactions.command(first, channel)
        known, path = command.get("options") or [], []
        for word in words:
            step = next((one for one in known if one["name"] == word and one["type"] in NESTS), None)
            if step is None:
                raise LookupError(f"cannot run /{name}: there is no subcommand {word!r}")
            path.append(step)
            known = step.get("options") or []
        given = [self._option(name, known, key, value, focused) for key, value in options.items()]
        missing = [one["name"] for one in known if one.get("required") and one["name"] not in options]
        if missing and focused is None:
            raise LookupError(f"cannot run /{name}: it needs {', '.join(missing)}")
        for step in reversed(path):
            given = [{"name": step["name"], "type": step["type"], "options": given}]
        data: dict[str, Any] = {"id": command["id"], "name": first, "type": 1, "options": given}
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        return self.server.interactions.send(kind, self, channel, data)

    @staticmethod
    def _option(name: str, known: list[dict[str, Any]], key: str, value: Any, focused: str | None) -> dict[str, Any]:
        option = next((one for one in known if one["name"] == key), None)
        if option is None:
            raise LookupError(f"cannot run /{name}: it has no option {key!r}")
        choices = option.get("choices")
        if choices and value not in [one["value"] for one in choices]:
            raise LookupError(f"cannot run /{name}: {value!r} is not one of the choices of {key!r}")
        said: dict[str, Any] = {"name": key, "type": option["type"], "value": value}
        if key == focused:
            said["focused"] = True
        return said

    def submits(self, shown: Interaction, values: Mapping[str, str]) -> Interaction:
        """Fills in the modal that answered `shown` (type 9): {custom_id of a text input: its text}."""
        modal = shown.response if shown.response_type == 9 else None
        if modal is None:
            raise LookupError("cannot submit: the interaction was not answered by a modal")
        rows = []
        for row in modal["components"]:
            labelled = "component" in row
            inner = [row["component"]] if labelled else row["components"]
            names = [one["custom_id"] for one in inner]
            filled = [{"type": TEXT_INPUT, "id": 1, "custom_id": name, "value": values[name]} for name in names]
            rows.append({**row, "component": filled[0]} if labelled else {"type": 1, "id": 1, "components": filled})
        data = {"custom_id": modal["custom_id"], "components": rows}
        return self.server.interactions.send(MODAL_SUBMIT, self, shown.channel, data, shown.message)

    # what is seen

    def sees(self, message: Message) -> bool:
        """Whether this user is shown the message: it exists, and it is not somebody else's ephemeral answer."""
        return not message.deleted and message.visible_to in (None, self)

    @property
    def threads(self) -> list[Channel]:
        """The threads that this user is in."""
        everywhere = self.server.world.channels.values()
        return [one for one in everywhere if one.is_thread and self.id in one.thread_members]


def is_system(message: Message) -> bool:
    """Whether Discord wrote it: a thread's starter, a rename, a thread's announcement."""
    return message.type in (state.STARTER, state.NAME_CHANGED, state.THREAD_CREATED)
