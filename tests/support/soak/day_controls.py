"""The part of the recorded day's morning in which people press buttons, answer in words, and use what they control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.soak.day import DONE, PATIENCE

if TYPE_CHECKING:
    from tests.support.soak.day import Day


async def stop_and_continue(day: Day) -> None:
    """A press of Stop, and of Continue below an answer that the model's limit has cut."""
    prompt = day.says(day.bob, day.general, "say Let me look at the logs.; sleep 300; say Never.")
    await day.presses(day.bob, await day.sees_buttons(prompt, "^stop"), "^stop")
    await day.ended(prompt, f"Cancelled by {day.bob.mention}")
    thread = await day.thread_of(prompt)
    cut = day.says(day.bob, thread, "say The first half.; max")
    await day.answered(cut, "output limit")
    await day.presses(day.bob, await day.sees_buttons(cut, "^continue"), "^continue")
    await day.sees(cut, "You said: continue")


async def answers_in_words(day: Day) -> None:
    """A permission request is answered by a reply that says yes, and the next one by a no."""
    prompt = day.says(day.cleo, day.general, 'tool echo yes; say "\\nIt ran after a yes."')
    asked = await day.sees_buttons(prompt)
    thread = await day.thread_of(prompt)
    day.cleo.says(thread, "yes", reply_to=asked)
    await day.answered(prompt, "It ran after a yes.")
    prompt = day.says(day.cleo, thread, 'tool echo no; say "\\nIt did not run."')
    day.cleo.says(thread, "no", reply_to=await day.sees_buttons(prompt))
    await day.answered(prompt, "It did not run.")


async def reset_and_name(day: Day) -> None:
    """A thread that is reset answers the next message, and keeps its name."""
    prompt = await day.asks(day.dan, day.general, "say Good morning.", "Good morning.")
    thread = await day.thread_of(prompt)
    await day.gives(day.dan, thread, "reset", "fresh")
    await day.asks(day.dan, thread, "recall", "nothing")
    assert thread.name == "say Good morning.", f"a reset has renamed the thread: {thread.name!r}"


async def retry_file_and_export(day: Day) -> None:
    """The last message once more, a file of the thread's folder, the thread as a file; and who may not see the file."""
    words = "The report is ready."
    prompt = await day.asks(day.eve, day.general, f"say {words}", words)
    thread = await day.thread_of(prompt)
    await day.gives(day.eve, thread, "retry")
    await day.server.wait_for(
        lambda: (
            sum(words in one.content for one in day.bodies(thread)) > 1 and prompt.message.shown_reactions == [DONE]
        ),
        seconds=PATIENCE,
        what="the answer once more",
    )
    folder = next(one for one in day.folder.rglob(str(thread.id)) if one.is_dir())
    (folder / "report.txt").write_text("All tests pass.\n")
    shown = await day.gives(day.eve, thread, "file", options={"path": "report.txt"})
    assert shown.messages[0].attachments[0].text == "All tests pass.\n"
    await day.gives(day.eve, thread, "file", options={"path": "../../daemon.log"})
    await day.gives(day.bob, thread, "file", "Only", options={"path": "report.txt"})
    exported = await day.gives(day.eve, thread, "export")
    assert exported.messages[0].attachments[0].text.count(words) > 2


async def resume(day: Day) -> None:
    """An admin has a thread go on with a conversation that was begun in another thread of the same folder."""
    prompt = await day.asks(day.bob, day.project, "remember the blue door", "I keep: the blue door")
    await day.gives(day.bob, await day.thread_of(prompt), "reset", "fresh")
    prompt = await day.asks(day.ada, day.project, "say What was it about?", "What was it about?")
    thread = await day.thread_of(prompt)
    await day.gives(day.bob, thread, "resume", "Only an admin")
    listed = await day.gives(day.ada, thread, "resume", "Pick one")
    await day.selects(day.ada, listed.messages[0], "blue door")
    await day.server.wait_for(lambda: listed.messages[0].content.startswith("Done."), what="the end of /resume")
    await day.asks(day.ada, thread, "recall", "You told me to remember: the blue door")


SCENES = (stop_and_continue, answers_in_words, reset_and_name, retry_file_and_export, resume)
