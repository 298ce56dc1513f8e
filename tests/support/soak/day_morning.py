"""The morning of the recorded day: what people write, ask and press, all at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.discord import payloads, rest, state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.soak.day import Day

    Scene = Callable[[Day], Awaitable[None]]

ALERT = {
    "type": "rich",
    "title": "Disk is full",
    "description": "db-1 has one percent left",
    "fields": [{"name": "host", "value": "database one", "inline": True}],
}
SCENES: list[Scene] = []


def scene(one: Scene) -> Scene:
    """Make it a part of the morning."""
    SCENES.append(one)
    return one


# What the bot reads.


@scene
async def mention_and_thread(day: Day) -> None:
    first = await day.asks(day.ada, day.general, "say The build is green.", "The build is green.")
    thread = await day.thread_of(first)
    await day.asks(day.bob, thread, "say Bob may ask here too.", "Bob may ask here too.")
    day.eve.says(thread, f"{day.bob.mention} have you seen this?")  # not for the bot
    await day.gives(day.ada, thread, "help", "agent")


@scene
async def bare_mention(day: Day) -> None:
    await day.refused(day.says(day.dan, day.general, ""), "Mention me with a task")


@scene
async def reply(day: Day) -> None:
    said = day.bob.says(day.writer, "The login page is slow since noon.")
    await day.asks(day.cleo, day.writer, "", "The login page is slow since noon.", reply_to=said)
    await day.asks(day.cleo, day.writer, "read and that is it", "and that is it", reply_to=said)


@scene
async def forward(day: Day) -> None:
    first = await day.asks(day.eve, day.writer, "table for eve", "That is the table. for eve")
    said = day.bob.says(day.alerts, "The invoice job failed tonight.", attachments={"job.log": "no space left"})
    thread = await day.thread_of(first)
    forwarded = day.counts(day.eve.forwards(said, thread), "(a forward)")
    await day.answered(forwarded, "no space left")
    said = day.bob.says(day.alerts, "And the report job too.", embeds=[ALERT])
    day.eve.forwards(said, day.writer)
    prompt = await day.asks(day.eve, day.writer, "read what I forwarded", "what I forwarded")
    await day.sees(prompt, "And the report job too.")


@scene
async def alert_of_a_webhook(day: Day) -> None:
    alert = day.server.webhook_says(day.webhook, day.writer, "", embeds=[ALERT])
    prompt = await day.asks(day.dan, day.writer, "read is that bad?", "is that bad?", reply_to=alert)
    await day.sees(prompt, "db-1 has one percent left")
    itself = day.server.webhook_says(day.webhook, day.writer, day.server.bot.mention, embeds=[ALERT])
    await day.answered(day.counts(itself, "(an alert)"), "db-1 has one percent left")


@scene
async def poll(day: Day) -> None:
    prompt = await day.asks(day.eve, day.writer, "table of the poll", "of the poll")
    thread = await day.thread_of(prompt)
    asked = day.eve.says(thread, poll=payloads.poll("Which colour?", {"red": 2, "blue": 1}, ends=None))
    await day.answered(day.counts(asked, "(a poll)"), "Which colour?")


@scene
async def forum_post(day: Day) -> None:
    post = day.cleo.posts_in(day.forum, "How do I log in?", "say You log in at the top.", mentions=[day.server.bot])
    first = next(iter(post.messages.values()))
    await day.answered(day.counts(first, "(a forum post)"), "You log in at the top.")
    await day.asks(day.cleo, post, "say And out there too.", "And out there too.")


@scene
async def thread_with_history(day: Day) -> None:
    start = day.bob.says(day.writer, "Who broke the tests?")
    thread = day.bob.starts_thread(day.writer, "Who broke the tests?", from_message=start)
    day.dan.says(thread, "The date parser, I think.")
    day.bob.says(thread, "Since Friday.")
    prompt = await day.asks(day.bob, thread, "read and fix it", "and fix it", mention=True)
    await day.sees(prompt, "The date parser, I think.")


@scene
async def voice_and_pdf(day: Day) -> None:
    voice = {"voice-message.ogg": b"OggS" + bytes(50)}
    await day.refused(
        day.says(day.cleo, day.general, "", attachments=voice, flags=state.VOICE_MESSAGE), "voice-message.ogg"
    )
    both = {"plan.pdf": b"%PDF-1.7", "notes.txt": "The notes say hello."}
    prompt = day.says(day.cleo, day.writer, "read both files", attachments=both)
    await day.sees(prompt, "plan.pdf")
    await day.answered(prompt, "both files")


@scene
async def edit_adds_the_mention(day: Day) -> None:
    said = day.eve.says(day.general, "say I forgot the mention.")
    day.eve.edits(said, f"{day.server.bot.mention} say I forgot the mention.")
    await day.answered(day.counts(said, "(an edit)"), "I forgot the mention.")


@scene
async def strangers(day: Day) -> None:
    await day.denied(day.says(day.mallory, day.general, "say Let me in."))


# What people see.


@scene
async def queue(day: Day) -> None:
    running = day.says(day.ada, day.general, 'say I begin.; stall 4; say "\\nThe first one is done."')
    await day.sees(running, "I begin.")
    thread = await day.thread_of(running)
    second = day.says(day.bob, thread, "say The second one is done.")
    third = day.says(day.cleo, thread, "say The third one is wrong.")
    fourth = day.says(day.dan, thread, "say Never mind.")
    await day.sees(fourth, "ahead of you")
    fifth = day.says(day.eve, thread, "say There is no place for this.")
    await day.refused(fifth, "The queue is full")
    day.cleo.edits(third.message, "say The third one is right.")
    day.dan.deletes(fourth.message)
    fourth.outcome = "withdrawn"
    await day.answered(running, "The first one is done.")
    await day.answered(second, "The second one is done.")
    await day.answered(third, "The third one is right.")


@scene
async def permissions(day: Day) -> None:
    prompt = day.says(day.bob, day.general, 'tool echo allowed; say "\\nIt ran."')
    asked = await day.sees_buttons(prompt)
    await day.presses(day.cleo, asked, "allow")
    await day.presses(day.mallory, asked, "allow")
    await day.presses(day.ada, asked, "allow")
    await day.answered(prompt, "It ran.")
    thread = await day.thread_of(prompt)
    prompt = day.says(day.bob, thread, 'tool rm -rf build; say "\\nSo it stays."')
    await day.presses(day.bob, await day.sees_buttons(prompt), "reject|deny")
    await day.answered(prompt, "So it stays.")
    prompt = day.says(day.bob, thread, 'tool make deploy; say "\\nNobody was there."')
    asked = await day.sees_buttons(prompt)
    await day.answered(prompt, "Nobody was there.")
    pressed = day.bob.sends_click(asked, asked.versions[0].components[0]["components"][0]["custom_id"])
    day.interactions.append(pressed)
    await day.server.wait_for_answer(pressed)


@scene
async def permission_with_a_diff(day: Day) -> None:
    prompt = day.says(day.cleo, day.builder, "fix for cleo")
    await day.presses(day.cleo, await day.sees_buttons(prompt), "allow")
    await day.answered(prompt, "The sum now begins at zero. for cleo")


@scene
async def tools_and_plan(day: Day) -> None:
    prompt = await day.asks(day.dan, day.builder, "build for dan", "All three parts build. for dan")
    shown = await day.sees_buttons(prompt, "show output")
    await day.presses(day.dan, shown, "show output")
    thread = await day.thread_of(prompt)
    await day.asks(day.dan, thread, "build again", "All three parts build. again")


@scene
async def diff_plan_and_thoughts(day: Day) -> None:
    prompt = await day.asks(
        day.eve, day.general, 'edit; plan; think; say "\\nNothing was written."', "Nothing was written."
    )
    await day.asks(day.eve, await day.thread_of(prompt), "stream 60; say The end.", "The end.")


@scene
async def long_answers(day: Day) -> None:
    prompt = await day.asks(day.bob, day.writer, "essay for bob", "That is the essay. for bob")
    thread = await day.thread_of(prompt)
    book = day.says(day.bob, thread, "book for bob")
    await day.answered(book, "attached file")
    rest = next((one for one in reversed(day.bodies(thread)) if one.attachments), None)
    assert rest is not None, "no file with the rest of the book"
    assert "That is the book. for bob" in rest.attachments[0].text
    book.end = rest


@scene
async def question_of_an_agent(day: Day) -> None:
    prompt = day.says(day.ada, day.helper, "deploy for ada")
    asked = await day.sees_buttons(prompt, "staging")
    await day.presses(day.ada, asked, "staging")
    await day.answered(prompt, "It is deployed. for ada")


@scene
async def cancels(day: Day) -> None:
    prompt = day.says(day.cleo, day.general, "say I begin.; sleep 300; say Never.")
    await day.sees(prompt, "I begin.")
    thread = await day.thread_of(prompt)
    await day.gives(day.dan, thread, "cancel")
    await day.gives(day.cleo, thread, "cancel")
    await day.ended(prompt, f"by {day.cleo.mention}")
    prompt = day.says(day.cleo, thread, "sleep 300; say Never.")
    await day.sees(prompt, "sleep 300")
    await day.gives(day.ada, thread, "cancel")
    await day.ended(prompt, f"by {day.ada.mention}")
    await day.gives(day.cleo, thread, "cancel", "Nothing is running")


@scene
async def turn_limit(day: Day) -> None:
    prompt = day.says(day.dan, day.general, "say I begin.; sleep 300; say Never.")
    await day.ended(prompt, "limit")
    await day.asks(day.dan, await day.thread_of(prompt), "say Go on.", "Go on.")


@scene
async def silent(day: Day) -> None:
    prompt = day.says(day.eve, day.general, "stall 7; say I am back.")
    await day.sees(prompt, "No output for")
    await day.answered(prompt, "I am back.")
    thread = await day.thread_of(prompt)
    await day.ended(day.says(day.eve, thread, "hang"), "limit")


@scene
async def crashes(day: Day) -> None:
    prompt = day.says(day.bob, day.helper, "crash")
    await day.ended(prompt, "exit code 3")
    thread = await day.thread_of(prompt)
    await day.asks(day.bob, thread, "are you there?", "You said: are you there?")
    await day.ended(day.says(day.bob, thread, "decline"), "declined")
    await day.answered(day.says(day.bob, thread, "mute"), "without a reply")
    await day.answered(day.says(day.bob, thread, "cut off"), "output limit")
    await day.ended(day.says(day.bob, thread, "fail"), "The model is overloaded")


@scene
async def commands(day: Day) -> None:
    await day.gives(day.ada, day.general, "status", "mention me")
    await day.gives(day.ada, day.general, "sessions")
    prompt = await day.asks(day.ada, day.general, "remember blue", "I keep: blue")
    thread = await day.thread_of(prompt)
    await day.gives(day.ada, thread, "status")
    await day.gives(day.ada, thread, "model")
    await day.gives(day.ada, thread, "model", options={"name": "shout"})
    await day.asks(day.ada, thread, "hello", "You said: HELLO\nSay `help` to see what I can do.")
    await day.gives(day.dan, thread, "reset")
    await day.gives(day.ada, thread, "sessions", thread.mention)
    await day.gives(day.ada, thread, "close")
    await day.asks(day.ada, thread, "recall", "You told me to remember: blue")
    await day.gives(day.ada, thread, "reset")
    await day.asks(day.ada, thread, "recall", "You told me to remember nothing.")
    await day.gives(day.ada, thread, "agent", "demo")
    await day.gives(day.ada, thread, "agent", options={"name": "writer"})
    await day.asks(day.ada, thread, "table now", "That is the table. now")


@scene
async def agent_by_name(day: Day) -> None:
    await day.asks(day.dan, day.general, "agent: writer table by name", "That is the table. by name")
    await day.refused(day.says(day.dan, day.general, "agent: painter draw a cat"), "painter")


@scene
async def refused_content(day: Day) -> None:
    prompt = day.says(day.eve, day.writer, "harmful for eve")
    await day.ended(prompt, "as a file")
    await day.asks(day.eve, await day.thread_of(prompt), "thanks", "You said: thanks")


@scene
async def missing_permission(day: Day) -> None:
    quiet = day.server.make_channel(day.guild, "quiet")
    day.server.set_permissions(quiet, day.server.bot, deny=["CREATE_PUBLIC_THREADS"])
    await day.refused(day.says(day.eve, quiet, "say Is anybody here?"), "Create Public Threads")


@scene
async def too_many_threads(day: Day) -> None:
    crowded = day.server.make_channel(day.guild, "crowded")
    body = {"code": 160006, "message": "Maximum number of active threads reached"}
    day.server.faults.status(
        400, "POST", rest.MESSAGE_THREADS, body=body, where=lambda call: call.params["channel_id"] == str(crowded.id)
    )
    await day.refused(day.says(day.dan, crowded, "say One more thread."), "too many")
    await day.asks(day.dan, crowded, "say Now there is room.", "Now there is room.")


@scene
async def locked_thread(day: Day) -> None:
    prompt = day.says(day.bob, day.general, 'say I begin.; stall 2; say "\\nI end."')
    await day.sees(prompt, "I begin.")
    thread = await day.thread_of(prompt)
    day.ada.locks(thread)
    await day.ended(prompt, "locked")


@scene
async def another_bot_in_the_thread(day: Day) -> None:
    prompt = await day.asks(day.cleo, day.general, "say I am alone.", "I am alone.")
    thread = await day.thread_of(prompt)
    day.server.webhook_says(day.webhook, thread, "The deploy is done.")
    day.cleo.says(thread, "Thanks, all of you.")  # not for the bot, now that there are two
    await day.asks(day.cleo, thread, "say Now I need a mention.", "Now I need a mention.", mention=True)
