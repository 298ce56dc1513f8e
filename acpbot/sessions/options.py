"""What an agent lets people set in its session: modes, models, config options; and its commands and usage.

Agents use three generations of the protocol: config options (stable), modes, and an older ``models`` list.
Source: https://agentclientprotocol.com/protocol/session-config-options, .../session-modes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from acpbot.acp import bounds
from acpbot.acp.agent import CALL_SECONDS
from acpbot.errors import AgentRefused, AgentTimeout, InvalidParams
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.acp.agent import Agent
    from acpbot.acp.schema import SessionResult, Update

log = get_logger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """One value that can be set; ``current``: it is in force."""

    value: str
    name: str
    current: bool


@dataclass
class Options:
    """The state of one session's options, kept up to date by its updates."""

    commands: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    _modes: dict[str, Any] = field(default_factory=dict)
    _models: dict[str, Any] = field(default_factory=dict)
    _config: list[dict[str, Any]] = field(default_factory=list)

    def opened(self, result: SessionResult) -> None:
        """Note what the agent offered when the session was opened."""
        self._modes = bounds.modes(result.modes, "availableModes", "id") or self._modes
        self._models = bounds.modes(result.models, "availableModels", "modelId") or self._models
        if result.config_options is not None:
            self._config, _ = bounds.config_options(result.config_options)

    def handle(self, update: Update) -> None:
        """Note an update about options; others change nothing."""
        body = update.body
        match update.kind:
            case "available_commands_update":
                self.commands = _objects(body.get("availableCommands"))
            case "current_mode_update" if isinstance(mode := body.get("currentModeId"), str):
                self._modes = {**self._modes, "currentModeId": mode}
            case "config_option_update":
                self._config = _objects(body.get("configOptions"))
            case "usage_update":
                self.usage = {key: body[key] for key in ("used", "size", "cost") if key in body}

    def choices(self, category: str) -> list[Choice]:
        """What can be set for ``mode`` or ``model`` (or any config option, by id or category); empty: nothing."""
        option = self._option(category)
        if option is not None:
            current = option.get("currentValue")
            values = _flat(option.get("options"))
            return [_choice(value, "value", current) for value in values if isinstance(value.get("value"), str)]
        if category == "mode":
            modes = _objects(self._modes.get("availableModes"))
            return [_choice(mode, "id", self._modes.get("currentModeId")) for mode in modes if mode.get("id")]
        if category == "model":
            models = _objects(self._models.get("availableModels"))
            current = self._models.get("currentModelId")
            return [_choice(model, "modelId", current) for model in models if model.get("modelId")]
        return []

    async def choose(self, agent: Agent, category: str, value: str, *, limit: float = CALL_SECONDS) -> None:
        """Set it in the agent, which may take ``limit`` seconds.

        Raises InvalidParams (not offered), AgentRefused, AgentTimeout, AgentGone.
        """
        offered = [choice.value for choice in self.choices(category)]
        if value not in offered:
            choices = ", ".join(offered[:20]) or "nothing"
            raise InvalidParams(f"cannot set {category} to {value[:80]!r}: this agent offers {choices}")
        option = self._option(category)
        if option is not None:
            answer = await agent.call("session/set_config_option", limit=limit, configId=option["id"], value=value)
            options, _ = bounds.config_options(answer.get("configOptions"))
            self._config = options or [
                {**known, "currentValue": value} if known is option else known for known in self._config
            ]
        elif category == "mode":
            await agent.call("session/set_mode", limit=limit, modeId=value)
            self._modes = {**self._modes, "currentModeId": value}
        else:
            await agent.call("session/set_model", limit=limit, modelId=value)
            self._models = {**self._models, "currentModelId": value}

    async def restore(self, agent: Agent, chosen: dict[str, str], *, limit: float) -> list[str]:
        """Set again what was chosen before the agent was restarted, as far as it is still offered.

        The agent may take ``limit`` seconds for each, 20 at most. Return the categories whose setting it did not answer
        in time. Raises AgentGone.
        """
        unanswered = []
        for category, value in chosen.items():
            for choice in self.choices(category):
                if choice.value == value and not choice.current:
                    try:
                        await self.choose(agent, category, value, limit=min(limit, CALL_SECONDS))
                    except AgentRefused as error:
                        log.info("choice_refused", category=category, reason=str(error))
                    except AgentTimeout:
                        unanswered.append(category)
                    break
        return unanswered

    def _option(self, category: str) -> dict[str, Any] | None:
        fits = (option for option in self._config if category in {option.get("id"), option.get("category")})
        return next((option for option in fits if isinstance(option.get("id"), str)), None)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _flat(options: Any) -> list[dict[str, Any]]:
    """The values of a select, groups opened."""
    flat: list[dict[str, Any]] = []
    for option in _objects(options):
        flat += _flat(option["options"]) if "options" in option else [option]
    return flat


def _choice(value: dict[str, Any], key: str, current: Any) -> Choice:
    name = value.get("name")
    return Choice(value[key], name if isinstance(name, str) and name else value[key], current=value[key] == current)
