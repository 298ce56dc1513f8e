"""An agent's options for people: `/model`, `/mode` and `/options`, and the select menus that they answer with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.interactions import menus
from acpbot.chat.discord.interactions.command_text import NO_SESSION
from acpbot.chat.discord.interactions.menus import Menu, Pressed
from acpbot.chat.rendering.markdown import code, plain
from acpbot.chat.thread_commands import (
    UNASKED,
    choose,
    choose_later,
    chosen_text,
    find_option,
    no_choice_text,
    no_menu_text,
    started_session,
    typed_value,
)
from acpbot.errors import AcpbotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session
    from acpbot.storage.records import ThreadRecord

_OFFERED: Final = 20
_NO_OPTION: Final = "This agent has no option {name}. See what it has with `/options`."


class OptionCommands:
    """Shows the options of a thread's session, and sets them. Who may set them is checked before."""

    def __init__(self, pool: Pool, outbox: Outbox) -> None:
        self._pool = pool
        self._outbox = outbox

    def proposals(self, thread_id: str, option: str | None) -> list[tuple[str, str]]:
        """Names and values of an option's choices; of the options themselves for ``None``."""
        session = self._like(thread_id)
        if session is None:
            return []
        if option is None:
            return [(one.name, one.key) for one in session.options.listed()]
        found = find_option(session, option)
        return [] if found is None else [(choice.name, choice.value) for choice in found.choices]

    async def show(self, thread_id: str, name: str | None, *, may_set: bool) -> Menu:
        """The choices of one option, or all options; only as text for people who may not set them.

        Waits for an agent that starts.
        """
        session = await self._started(thread_id)
        if session is None:
            return Menu(self._without_agent(thread_id, name))
        if name is None:
            menu = menus.list_menu(session.agent_settings.name, session.options.listed())
        elif (option := find_option(session, name)) is not None:
            menu = menus.choices_menu(session.agent_settings.name, option)
        elif name in {"model", "mode"}:
            menu = Menu(no_choice_text(name))
        else:
            menu = Menu(_NO_OPTION.format(name=code(name, 40)))
        return menu if may_set else Menu(menu.text)

    async def set(self, thread_id: str, name: str, typed: str, user_id: str) -> str:
        """Set an option to the value, or the name of it, that somebody typed: at its next start where no agent runs.

        Waits for an agent that starts.
        Raises as :meth:`Session.choose` and :meth:`Pool.choose_later`.
        """
        session = await self._started(thread_id)
        if session is None:
            return self._set_later(thread_id, name, typed, user_id)
        option = find_option(session, name)
        if option is None and name not in {"model", "mode"}:
            return _NO_OPTION.format(name=code(name, 40))
        key = name if option is None else option.key
        return await self._choose(session, key, typed_value(session, key, typed), user_id)

    async def pressed(self, thread_id: str, pressed: Pressed, values: Sequence[str], user_id: str) -> Menu:
        """Answer a selection in a menu, or a press of a button below it."""
        session = await self._started(thread_id)
        if session is None:
            return Menu(no_menu_text())
        agent, options = session.agent_settings.name, session.options.listed()
        if menus.digest(agent) != pressed.agent:
            return Menu(menus.STALE)
        if pressed.verb == "list":
            return menus.list_menu(agent, options, pressed.page)
        selected = next(iter(values), "")
        wanted = selected if pressed.verb == "pick" else pressed.key
        option = next((one for one in options if menus.digest(one.key) == wanted), None)
        if option is None:
            return Menu(menus.STALE)
        if pressed.verb == "pick":
            return menus.choices_menu(agent, option, listed=True)
        if pressed.verb == "show":
            return menus.choices_menu(agent, option, pressed.page, listed=pressed.listed)
        value = next((one.value for one in option.choices if menus.digest(one.value) == selected), None)
        if value is None:
            return Menu(menus.STALE)
        try:
            notice = await self._choose(session, option.key, value, user_id)
        except AcpbotError as error:
            notice = refusal_text(error, user_id)
        now = next((one for one in session.options.listed() if one.key == option.key), None)
        if now is None or self._session(thread_id) is not session:
            return Menu(notice)
        return menus.choices_menu(agent, now, pressed.page, listed=pressed.listed, notice=notice)

    async def _choose(self, session: Session, key: str, value: str, user_id: str) -> str:
        answer = await choose(session, key, value, by=user_id, quote=code, name=plain)
        if key == "mode" and session.options.unasked is not None:  # it concerns everybody in the thread
            text = f"<@{user_id}> switched the mode to {code(value)}. {UNASKED}"
            self._outbox.post(session.thread.thread_id, text)
        return answer

    def _without_agent(self, thread_id: str, name: str | None) -> str:
        """What is chosen for the agent's next start, and what there is to choose, as far as that is known."""
        thread, like = self._thread(thread_id), self._like(thread_id)
        if thread is None:
            return NO_SESSION
        option = None if like is None or name is None else find_option(like, name)
        text = chosen_text(thread.chosen, name if option is None else option.key, code)
        if option is None:
            return text
        offered = ", ".join(code(choice.value, 80) for choice in option.choices[:_OFFERED])
        return f"{text}\nIn another thread this agent offers {offered}."

    async def _started(self, thread_id: str) -> Session | None:
        """The thread's session, once it has started."""
        return None if self._thread(thread_id) is None else await started_session(self._pool, thread_id)

    def _set_later(self, thread_id: str, name: str, value: str, user_id: str) -> str:
        if self._thread(thread_id) is None:
            return NO_SESSION
        like = self._like(thread_id)
        option = None if like is None else find_option(like, name)
        if like is not None and option is not None:
            name, value = option.key, typed_value(like, option.key, value)
        answer = choose_later(self._pool, thread_id, name, value, by=user_id, quote=code)
        if name == "mode":  # it concerns everybody in the thread: nobody knows yet whether the agent asks in it
            self._outbox.post(thread_id, f"<@{user_id}> chose the mode {code(value)} for the agent's next start.")
        return answer

    def _thread(self, thread_id: str) -> ThreadRecord | None:
        thread = self._pool.thread(thread_id)
        return None if thread is None or thread.platform != PLATFORM else thread

    def _session(self, thread_id: str) -> Session | None:
        return None if self._thread(thread_id) is None else self._pool.get(thread_id)

    def _like(self, thread_id: str) -> Session | None:
        """The thread's session; where it has none, one of the same agent, which offers the same in all likelihood."""
        session, thread = self._session(thread_id), self._thread(thread_id)
        if session is not None or thread is None:
            return session
        others = (one for one in self._pool.sessions() if not one.is_warm)  # nothing is known of those yet
        return next((one for one in others if one.agent_settings.name == thread.agent), None)
