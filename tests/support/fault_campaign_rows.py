"""The rows of the fault campaign: each does something, and returns the outcome. A row is named by its docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acpbot.chat.discord.outbound.reactions import end_reactions
from tests.chat.discord.outbound.test_turns import digits
from tests.fakes.discord import rest, state
from tests.fakes.discord.state import Channel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Message
    from tests.support.fault_campaign_case import Case, Outcome

ROWS: dict[str, Callable[[Case], Awaitable[Outcome]]] = {}


def row(function: Callable[[Case], Awaitable[Outcome]]) -> Callable[[Case], Awaitable[Outcome]]:
    """A row of the table, named by its docstring."""
    name = (function.__doc__ or "").rstrip(".")
    ROWS[name[:1].lower() + name[1:]] = function
    return function


def has(text: str) -> Callable[[Call], bool]:
    return lambda call: text in (call.body or {}).get("content", "")


@row
async def opening(case: Case) -> Outcome:
    """Open the thread."""
    case.meets("POST", rest.MESSAGE_THREADS)
    message = case.asks("say opened")
    await case.until(lambda: message.thread or message.shown_reactions == ["😱"], "a thread, or the end of it")
    if message.thread is None:
        return "reported"
    await case.over(message.thread)
    return case.said(message.thread, "opened")


@row
async def sending(case: Case) -> Outcome:
    """Send the answer."""
    case.meets("POST", rest.MESSAGES)
    thread = await case.thread(case.asks("say sent"))
    await case.over(thread)
    return case.said(thread, "sent")


async def grown(case: Case) -> Outcome:
    """An answer whose first part is delivered before the last one comes."""
    thread, asked = await question(case, "say first; tool true; say last")
    await case.until(lambda: "first" in case.scene.text(thread), "the first part")
    case.scene.ada.clicks(asked, label="Allow")
    await case.over(thread)
    first = case.said(thread, "first")
    return case.said(thread, "last") if first == "answered" else first


@row
async def editing(case: Case) -> Outcome:
    """Edit it as it grows."""
    case.meets("PATCH", rest.MESSAGE, has("first"))
    return await grown(case)


@row
async def ending(case: Case) -> Outcome:
    """Edit it to its end."""
    case.meets("PATCH", rest.MESSAGE, has("Cancelled"))
    thread = await case.busy()
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread)
    return case.said(thread, "first\n⏹️ Cancelled.")


@row
async def waking(case: Case) -> Outcome:
    """Wake the archived thread."""
    case.meets("PATCH", rest.CHANNEL)
    thread = await case.busy()
    case.scene.ada.archives(thread)
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread)
    return case.said(thread, "first\n⏹️ Cancelled.")


@row
async def attaching(case: Case) -> Outcome:
    """Attach the rest of it."""
    case.meets("POST", rest.MESSAGES, lambda call: bool(call.uploads))
    thread = await case.thread(case.asks("long 12000"))
    await case.over(thread)
    bodies = case.scene.bodies(thread)
    shown = "\n".join(one.content.partition("\n… ")[0] for one in bodies if one.content)
    files = [file for one in bodies for file in one.attachments]
    if len(files) > 1:
        return "TWICE"
    whole = "\n".join([shown, *(file.text.lstrip("\n") for file in files)])
    return "answered" if whole.strip() == digits(12000).strip() else "LOST"


@row
async def showing(case: Case) -> Outcome:
    """Send a diff."""
    case.meets("POST", rest.MESSAGES, has("```diff"))
    thread = await case.thread(case.asks("edit"))
    await case.over(thread)
    return case.said(thread, "```diff")


@row
async def typing(case: Case) -> Outcome:
    """Show that it types."""
    case.meets("POST", rest.TYPING)
    thread = await case.busy()
    await case.until(lambda: case.met[0].hits, "a sign of typing")
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread)
    return case.said(thread, "first\n⏹️ Cancelled.")


async def reacted(case: Case, message: Message) -> Outcome:
    thread = await case.thread(message)
    await case.over(thread)
    if case.said(thread, "reacted") != "answered":
        return case.said(thread, "reacted")
    return "answered" if message.shown_reactions == ["🆗"] else "survived"


@row
async def reacting(case: Case) -> Outcome:
    """React to the message."""
    case.meets("PUT", rest.REACTION)
    return await reacted(case, case.asks("say reacted"))


@row
async def unreacting(case: Case) -> Outcome:
    """Take a reaction off."""
    case.meets("DELETE", rest.REACTION)
    return await reacted(case, case.asks("say reacted"))


@row
async def renaming(case: Case) -> Outcome:
    """Rename the thread."""
    case.meets("PATCH", rest.CHANNEL)
    thread = await case.thread(case.asks("title A better name; say renamed"))
    await case.over(thread)
    renaming = case.scene.chat._threads._renaming
    await case.until(lambda: str(thread.id) not in renaming, "the end of the renaming")
    if case.said(thread, "renamed") != "answered":
        return case.said(thread, "renamed")
    return "answered" if thread.name == "A better name" else "survived"


async def queued(case: Case) -> Outcome:
    thread = await case.busy()
    case.scene.ada.says(thread, "say second")
    await case.until(lambda: case.scene.harness.row(str(thread.id)).queued == 1, "a queue")
    unnoted = any(fault.method == "POST" for fault in case.met) and case.fault in {"403", "404"}
    await case.until(lambda: "Queued" in case.scene.text(thread) or (unnoted and case.met[0].hits), "a note")
    await case.scene.pool.cancel(str(thread.id))
    await case.over(thread, 2)
    if case.said(thread, "second") != "answered":
        return case.said(thread, "second")
    return "survived" if unnoted or "Queued" in case.scene.text(thread) else "answered"


@row
async def noting(case: Case) -> Outcome:
    """Send a place in the queue."""
    case.meets("POST", rest.MESSAGES, has("Queued"))
    return await queued(case)


@row
async def unnoting(case: Case) -> Outcome:
    """Delete a place in the queue."""
    case.meets("DELETE", rest.MESSAGE)
    return await queued(case)


@row
async def finding(case: Case) -> Outcome:
    """Look up a thread."""
    world = case.server.world
    thread = Channel(world.snowflake(), state.PUBLIC_THREAD, "unheard of", case.scene.guild, case.channel, world.bot)
    world.add_channel(thread)
    case.mine.add(str(thread.id))
    case.meets("GET", rest.CHANNEL)
    case.scene.ada.says(thread, "say found")
    await case.until(lambda: case.met[0].hits, "a look")
    if case.fault in {"403", "404"}:  # it is nothing to us; what comes later is heard
        case.scene.ada.says(thread, "say heard")
        await case.until(lambda: case.scene.turns(thread), "a turn")
        await case.over(thread)
        return "survived" if case.said(thread, "heard") == "answered" else "LOST"
    await case.until(lambda: case.scene.turns(thread), "a turn")
    await case.over(thread)
    return case.said(thread, "found")


@row
async def remembering(case: Case) -> Outcome:
    """Look at a message of an earlier run."""
    message = case.asks("say remembered")
    thread = await case.thread(message)
    await case.over(thread)
    case.meets("GET", rest.MESSAGE)
    await end_reactions(case.scene.chat.outbox, case.scene.settings.reactions, str(case.channel.id), str(message.id))
    await case.over(thread)
    return "answered" if message.shown_reactions == ["😱"] else "survived"


@row
async def fetching(case: Case) -> Outcome:
    """Fetch a file."""
    case.meets("GET", rest.CDN)
    thread = await case.thread(case.asks("what", attachments={"notes.txt": "the milk"}))
    await case.over(thread)
    if "Skipped `notes.txt`: I couldn't download it" in case.scene.text(thread):
        return "reported" if case.said(thread, "I received") == "answered" else "LOST"
    return case.said(thread, "resource attachment:///notes.txt")


async def question(case: Case, text: str = "tool echo permitted") -> tuple[Channel, Message]:
    thread = await case.thread(case.asks(text))
    asked = await case.until(
        lambda: next((one for one in case.scene.bodies(thread) if one.asks), None), "a question with buttons"
    )
    return thread, asked


async def permitted(case: Case, thread: Channel, asked: Message) -> Outcome:
    await case.over(thread)
    if case.said(thread, "The command completed: permitted") != "answered":
        return case.said(thread, "The command completed: permitted")
    await case.until(lambda: asked.content.startswith("✅ Allowed once") and not asked.asks, "the end of the question")
    return "answered"


@row
async def asking(case: Case) -> Outcome:
    """Ask with buttons."""
    case.meets("POST", rest.MESSAGES, lambda call: "acpbot:" in str(call.body["components"]))
    thread, asked = await question(case)
    case.scene.ada.clicks(asked, label="Allow")
    return await permitted(case, thread, asked)


@row
async def clicking(case: Case) -> Outcome:
    """Answer a click."""
    thread, asked = await question(case)
    click = case.scene.ada.clicks(asked, label="Allow")
    case.mine.add(click.token)
    case.meets("POST", rest.CALLBACK)
    return await permitted(case, thread, asked)


@row
async def whispering(case: Case) -> Outcome:
    """Tell a clicker no."""
    thread, asked = await question(case)
    click = case.scene.bob.clicks(asked, label="Allow")
    case.mine.add(click.token)
    case.meets("POST", rest.CALLBACK)
    outcome = await answered(case, click)
    case.scene.ada.clicks(asked, label="Allow")
    done = await permitted(case, thread, asked)
    return outcome if done == "answered" else done


async def answered(case: Case, interaction: Any) -> Outcome:
    """Whether an interaction has been answered; where it can't be, Discord itself says so to the person."""
    await case.until(lambda: interaction.answered or case.met[0].hits, "an answer")
    if case.fault in {"403", "404"} and not interaction.answered:
        return "reported"
    await case.until(lambda: interaction.answered, "an answer")
    return "answered"


@row
async def commanding(case: Case) -> Outcome:
    """Answer a command."""
    command = case.scene.ada.slash("status", {}, channel=case.channel)
    case.mine.add(command.token)
    case.meets("POST", rest.CALLBACK)
    return await answered(case, command)


@row
async def proposing(case: Case) -> Outcome:
    """Propose while typing."""
    command = case.scene.ada.autocompletes("agent", "name", "d", channel=case.channel)
    case.mine.add(command.token)
    case.meets("POST", rest.CALLBACK)
    return await answered(case, command)


async def slow(case: Case, method: str, route: str) -> Outcome:
    """A command that takes longer than Discord waits."""
    thread = await case.thread(case.asks("say first; ignore; hang"))
    await case.until(lambda: "I ignore" in case.scene.text(thread), "an agent that ignores all")
    command = case.scene.ada.slash("reset", {}, channel=thread)
    case.mine.add(command.token)
    case.meets(method, route)
    await case.until(lambda: case.met[0].hits, "an answer, or a try")
    await case.until(lambda: command.answer_text or case.fault in {"403", "404"}, "an answer")
    return "answered" if command.answer_text else "reported"


@row
async def deferring(case: Case) -> Outcome:
    """Defer a command."""
    return await slow(case, "POST", rest.CALLBACK)


@row
async def completing(case: Case) -> Outcome:
    """Answer a deferred one."""
    return await slow(case, "PATCH", rest.ORIGINAL)


@row
async def explaining(case: Case) -> Outcome:
    """Explain an old button."""
    thread = await case.thread(case.asks("say old"))
    await case.over(thread)
    message = case.scene.bodies(thread)[0]
    click = case.scene.ada.sends_click(message, "acpbot:0123456789abcdef-1:0")
    case.mine.add(click.token)
    case.meets("POST", rest.FOLLOWUPS)
    await case.until(lambda: case.met[0].hits, "an explanation")
    await case.until(lambda: click.answered, "an answer")
    if case.fault in {"500 before", "429"}:
        await case.until(lambda: click.answer_text, "an explanation")
    return "answered" if click.answer_text.count("has expired") == 1 else "survived"
