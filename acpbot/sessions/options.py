"""What an agent lets people set in its session: modes, models, config options; and its commands and usage.

Agents use three generations of the protocol: config options (stable), modes, and an older ``models`` list.
Source: https://agentclientprotocol.com/protocol/session-config-options, .../session-modes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import bounds
from acpbot.acp.agent import CALL_SECONDS
from acpbot.errors import AgentRefused, AgentStartError, AgentTimeout, InvalidParams
from acpbot.logs import get_logger
from acpbot.sessions.modes import does_not_ask
from acpbot.sessions.usage import UsageMeter
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.acp.agent import Agent
    from acpbot.acp.schema import SessionResult, Update
    from acpbot.config.settings import AgentSettings

log = get_logger(__name__)

_SHOWN: Final = 100
# Agents list their commands some time after they have opened the session, most of them within a second.
_COMMANDS_SECONDS: Final = 2.0
_LISTED: Final = 20
# A model may allow other modes and options than the one before, so the model is set first and the mode last.
_ORDER: Final = {"model": 0, "mode": 2}


class Choice(msgspec.Struct, frozen=True):
    """One value that can be set; ``current``: it is in force."""

    value: str
    name: str
    current: bool
    description: str = ""


class Option(msgspec.Struct, frozen=True):
    """One thing that can be set; ``key`` is ``mode``, ``model`` or the id of a config option."""

    key: str
    name: str
    choices: tuple[Choice, ...]

    @property
    def current(self) -> Choice | None:
        """What is in force; ``None`` where the agent names nothing of what it offers."""
        return next((choice for choice in self.choices if choice.current), None)


class NotSet(msgspec.Struct, frozen=True):
    """A value that could not be set: ``option`` is ``mode``, ``model`` or the id of a config option."""

    option: str
    value: str
    reason: str


@dataclass
class Options:
    """The state of one session's options, kept up to date by its updates.

    ``mode`` and ``model`` are the ids of those in force, ``None`` where the agent names none. ``unasked``: the words by
    which the mode in force says that it does not ask before it acts, ``None`` where it has none. ``not_set``: what the
    configuration wants and the agent did not take. ``commands``: the names of the agent's commands, without a slash.
    """

    commands: tuple[str, ...] = ()
    usage: UsageMeter = field(default_factory=UsageMeter)
    mode: str | None = None
    model: str | None = None
    unasked: str | None = None
    not_set: tuple[NotSet, ...] = ()
    _required_mode: str | None = None
    _commands_known: asyncio.Event = field(default_factory=asyncio.Event)
    _modes: dict[str, Any] = field(default_factory=dict)
    _models: dict[str, Any] = field(default_factory=dict)
    _config: list[dict[str, Any]] = field(default_factory=list)

    def opened(self, result: SessionResult) -> None:
        """Note what the agent offered when the session was opened."""
        self._modes = bounds.modes(result.modes, "availableModes", "id") or self._modes
        self._models = bounds.modes(result.models, "availableModels", "modelId") or self._models
        if result.config_options is not None:
            self._config, _ = bounds.config_options(result.config_options)
        self._note()

    def handle(self, update: Update) -> None:
        """Note an update about options; others change nothing."""
        body = update.body
        match update.kind:
            case "available_commands_update":
                names = (str(command.get("name") or "") for command in _objects(body.get("availableCommands")))
                self.commands = tuple(sys.intern(name.removeprefix("/")) for name in names if name.strip("/"))
                self._commands_known.set()
            case "current_mode_update" if isinstance(mode := body.get("currentModeId"), str):
                self._mode_is(mode)
                self._note()
            case "config_option_update":
                self._config = _objects(body.get("configOptions"))
                self._note()
            case "usage_update":
                self.usage.report(update.session_id, body)

    async def wait_for_commands(self) -> None:
        """Wait until the agent has listed its commands, 2 seconds at most, and only once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMANDS_SECONDS):
                await self._commands_known.wait()
        self._commands_known.set()

    def command_in(self, text: str) -> str | None:
        """The text without white space around it where it is one of the agent's commands, else ``None``.

        A command is ``/`` and a name that the agent lists; after white space its input may follow.
        Source: https://agentclientprotocol.com/protocol/slash-commands.
        """
        text = text.strip()
        called = (f"/{name}" for name in self.commands)
        is_command = any(text.startswith(one) and not text[len(one) : len(one) + 1].strip() for one in called)
        return text if is_command else None

    def choices(self, category: str) -> list[Choice]:
        """What can be set for ``mode`` or ``model`` (or any config option, by id or category); empty: nothing."""
        option = self._option(category)
        if option is not None:
            current = option.get("currentValue")
            if option.get("type") == "boolean":
                return [Choice("true", "On", current=current is True), Choice("false", "Off", current=current is False)]
            return _choices(_flat(option.get("options")), "value", current)
        if category == "mode":
            return _choices(_objects(self._modes.get("availableModes")), "id", self._modes.get("currentModeId"))
        if category == "model":
            models = _objects(self._models.get("availableModels"))
            return _choices(models, "modelId", self._models.get("currentModelId"))
        return []

    def current(self, category: str) -> Choice | None:
        """What is in force for ``mode``, ``model`` or a config option; ``None`` where the agent names nothing."""
        return next((choice for choice in self.choices(category) if choice.current), None)

    def listed(self) -> list[Option]:
        """Everything that can be set, each once: the config options, and the mode and the model where they are none."""
        names = {"model": "Model", "mode": "Mode"}
        keys: dict[str, str] = {}
        for option in self._config:
            if isinstance(option_id := option.get("id"), str) and self._option(option_id) is option:
                key, name = self.key(option_id), option.get("name")
                keys[key] = name if isinstance(name, str) and name else names.get(key, option_id)
        found = [Option(key, name, tuple(self.choices(key))) for key, name in (names | keys).items()]
        return [option for option in found if option.choices]

    def find(self, category: str, typed: str) -> Choice | None:
        """The choice that somebody means who typed its value or its name, in any case of letters where it is clear."""
        choice = self._find(category, typed)
        if choice is not None:
            return choice
        alike = [
            one for one in self.choices(category) if typed.casefold() in {one.value.casefold(), one.name.casefold()}
        ]
        return alike[0] if len(alike) == 1 else None

    async def choose(self, agent: Agent, category: str, value: str, *, limit: float = CALL_SECONDS) -> None:
        """Set it in the agent, which may take ``limit`` seconds: what a person chooses.

        Raises InvalidParams (not offered), AgentRefused (also where the agent keeps another value), AgentTimeout,
        AgentGone.
        """
        if value not in [choice.value for choice in self.choices(category)]:
            offers = self._offers(category)
            people = f"This agent has no {category} {value[:80]!r}. Available: {offers}"
            option = self._option(category)
            if option is not None and option.get("type") == "boolean":
                people = f"{one_line(str(option.get('name') or category), 80)} is either on or off."
            raise InvalidParams(
                f"cannot set {category} to {value[:80]!r}: this agent offers {offers}", for_people=people
            )
        await self._send(agent, category, value, limit)
        now = self.current(category)
        if now is None or now.value != value:
            kept = "none" if now is None else repr(now.value[:80])
            people = f"The agent didn't switch: its {category} is still {kept}."
            raise AgentRefused(
                f"cannot set {category} to {value[:80]!r}: the agent has {kept}", code=0, for_people=people
            )
        if self.key(category) == "mode":
            self._required_mode = None  # a person's choice goes before the configuration

    async def apply(
        self, agent: Agent, settings: AgentSettings, chosen: Mapping[str, str], *, limit: float, reopened: bool = False
    ) -> list[NotSet]:
        """Set what people ``chose`` before, and else what the configuration wants, in a session that was just opened.

        The agent may take ``limit`` seconds for each, 20 at most. ``reopened``: the session is an earlier one, and the
        agent need not have listed its options again. Return the choices that it did not take; what it did not take of
        the configuration is in ``not_set``. Raises AgentGone, and AgentStartError where it does not take the mode of
        the configuration: that may be there for safety, so the session must not run in another one.
        """
        limit = min(limit, CALL_SECONDS)
        if reopened and not self.choices("mode"):
            self._modes = {
                "availableModes": [{"id": str(mode)} for mode in (chosen.get("mode"), settings.mode) if mode]
            }
        wanted = {self.key(option): value for option, value in configured(settings).items()}
        people = {self.key(option): (option, value) for option, value in chosen.items()}
        dropped, not_set = [], []
        for category in sorted(wanted | people, key=lambda category: _ORDER.get(category, 1)):
            if reopened and not self.choices(category):
                continue  # the agent has it from before
            if category in people:
                option, value = people[category]
                reason = await self._set(agent, category, value, limit)
                if reason is None:
                    continue
                dropped.append(NotSet(option, value, reason))
            if category not in wanted:
                continue
            value = wanted[category]
            reason = await self._set(agent, category, value, limit)
            if reason is not None and self.key(category) == "mode":
                is_offered = self.find("mode", value) is not None
                way_out = "" if is_offered else "; correct its mode in the configuration, or remove it there"
                raise AgentStartError(f"cannot start agent {settings.name!r}: {reason}{way_out}")
            if reason is not None:
                not_set.append(NotSet(category, value, reason))
            elif category == "mode":
                self._required_mode = self.mode_id()
        self.not_set = tuple(not_set)
        return dropped

    async def hold_mode(self, agent: Agent) -> None:
        """Set the mode of the configuration again where the agent has left it by itself. Called before each turn.

        Raises AgentRefused (the agent does not take it any more), AgentGone.
        """
        required = self._required_mode
        if required is None or self.mode_id() == required:
            return
        log.warning("mode_left", agent=agent.name, mode=self.mode, required=required)
        reason = await self._set(agent, "mode", required, CALL_SECONDS)
        if reason is not None:
            raise AgentRefused(f"cannot go on: the agent has left its mode, and {reason}", code=0)

    def mode_id(self) -> str | None:
        """The whole id of the mode in force; ``mode`` is the same, cut where it is very long."""
        current = self.current("mode")
        return None if current is None else current.value

    async def _set(self, agent: Agent, category: str, value: str, limit: float) -> str | None:
        """Set a value, by its id or its name, where it is not in force; why that is not possible, else ``None``."""
        choice = self.find(category, value)
        if choice is None:
            return f"it has no {category} {value[:80]!r}, it offers {self._offers(category)}"
        if choice.current:
            return None
        try:
            await self._send(agent, category, choice.value, limit)
        except (AgentRefused, AgentTimeout) as error:
            reason = str(error).removeprefix("cannot go on: ")
            return f"it did not take the {category} {choice.value[:80]!r} ({reason})"
        now = self.current(category)
        if now is None or now.value != choice.value:
            kept = "none" if now is None else repr(now.value[:80])
            return f"it did not take the {category} {choice.value[:80]!r}, and has {kept}"
        return None

    async def _send(self, agent: Agent, category: str, value: str, limit: float) -> None:
        option = self._option(category)
        if option is not None:
            is_boolean = option.get("type") == "boolean"
            typed: Any = value == "true" if is_boolean else value
            extra = {"type": "boolean"} if is_boolean else {}
            method = "session/set_config_option"
            answer = await agent.call(method, limit=limit, configId=option["id"], value=typed, **extra)
            options, _ = bounds.config_options(answer.get("configOptions"))
            self._config = options or [
                {**known, "currentValue": typed} if known is option else known for known in self._config
            ]
        elif category == "mode":
            await agent.call("session/set_mode", limit=limit, modeId=value)
            self._mode_is(value)
        else:
            await agent.call("session/set_model", limit=limit, modelId=value)
            self._models = {**self._models, "currentModelId": value}
        self._note()

    def _find(self, category: str, value: str) -> Choice | None:
        choices = self.choices(category)
        by_id = next((choice for choice in choices if choice.value == value), None)
        return by_id or next((choice for choice in choices if choice.name == value), None)

    def _offers(self, category: str) -> str:
        choices = self.choices(category)
        values = ", ".join(one_line(choice.value, 80) for choice in choices[:_LISTED])
        return (f"{values}, ..." if choices[_LISTED:] else values) or "nothing"

    def _mode_is(self, mode: str) -> None:
        """Note the mode that is in force: an agent may list its modes as a config option too."""
        self._modes = {**self._modes, "currentModeId": mode}
        option = self._option("mode")
        if option is not None:
            changed = {**option, "currentValue": mode}
            self._config = [changed if known is option else known for known in self._config]

    def _note(self) -> None:
        mode, model = self.current("mode"), self.current("model")
        self.mode = None if mode is None else one_line(mode.value, _SHOWN)
        self.model = None if model is None else one_line(model.value, _SHOWN)
        self.unasked = None if mode is None else does_not_ask(mode.value, mode.name, mode.description)

    def key(self, option: str) -> str:
        """``mode`` or ``model`` where this config option is the agent's mode or model, else its own id."""
        found = self._option(option)
        category = None if found is None else found.get("category")
        if isinstance(category, str) and category in _ORDER and self._option(category) is found:
            return category  # a second one of the category has its own id
        return option

    def _option(self, category: str) -> dict[str, Any] | None:
        for key in ("id", "category"):
            for option in self._config:
                if option.get(key) == category and isinstance(option.get("id"), str):
                    return option
        return None


def configured(settings: AgentSettings) -> dict[str, str]:
    """The options that the configuration of an agent wants in every session, by id or ``mode`` and ``model``."""
    wanted: dict[str, str] = {}
    for option, value in settings.options.items():
        wanted[option] = str(value) if isinstance(value, str) else str(value).lower()
    if settings.model is not None:
        wanted["model"] = str(settings.model)
    if settings.mode is not None:
        wanted["mode"] = str(settings.mode)
    return wanted


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _flat(options: Any) -> list[dict[str, Any]]:
    """The values of a select, groups opened; a group holds values only."""
    flat: list[dict[str, Any]] = []
    for option in _objects(options):
        flat += _objects(option["options"]) if "options" in option else [option]
    return flat


def _choices(values: list[dict[str, Any]], key: str, current: Any) -> list[Choice]:
    made = []
    for item in values:
        value, name, description = item.get(key), item.get("name"), item.get("description")
        if isinstance(value, str) and value:
            shown = name if isinstance(name, str) and name else value
            text = description if isinstance(description, str) else ""
            made.append(Choice(value, shown, current=value == current, description=text))
    return made
