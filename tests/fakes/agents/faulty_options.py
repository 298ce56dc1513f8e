"""Quirks of :mod:`faulty` about permissions, modes and options."""

from __future__ import annotations

import os

from quirks import quirk  # type: ignore[import-not-found]  # a script has its own folder on the path
from sound import Agent, chosen, words  # type: ignore[import-not-found]  # the same

# Permissions.


@quirk
def asks(agent: Agent, *options: str) -> None:
    """A permission without a tool call before it, and no more of it after."""

    @agent.on("session/prompt")
    def _(request):
        agent.say(chosen(agent.wait_for(agent.ask(*options))))
        agent.end(request)


@quirk
def asks_barely(agent: Agent) -> None:
    """It doesn't say at all what it wants to do."""

    @agent.on("session/prompt")
    def _(request):
        params = {"sessionId": agent.session, "options": [{"optionId": "7", "kind": "allow_once"}]}
        agent.say(chosen(agent.wait_for(agent.call("session/request_permission", params))))
        agent.end(request)


@quirk
def asks_when_idle(agent: Agent) -> None:
    @agent.on("session/prompt")
    def _(request):
        agent.echo(request)
        answer = agent.wait_for(agent.ask("allow_once:a", "reject_once:b"))
        agent.update("session_info_update", title=f"told {chosen(answer)}")


@quirk
def asks_deaf_to_cancel(agent: Agent, *then: str) -> None:
    """While a permission is open only its answer counts; ``then`` the turn ends with that error, or as cancelled."""

    @agent.on("session/prompt")
    def _(request):
        if words(request) != "one":
            agent.echo(request)
            return
        outcome = chosen(agent.wait_for(agent.ask("allow_once:a", "reject_once:b")))
        agent.say(outcome)
        if then:
            agent.refuse(request, int(then[0]), "internal error")
        else:
            agent.end(request, "cancelled")


@quirk
def asks_again_after_cancel(agent: Agent) -> None:
    """A cancel makes it ask for a permission, and only the answer to that makes it end the turn."""

    @agent.on("session/prompt")
    def _(request):
        agent.say("up")
        agent.read()
        agent.wait_for(agent.ask("allow_once:a", "reject_once:b"))
        agent.end(request, "cancelled")


@quirk
def withdraws(agent: Agent) -> None:
    @agent.on("session/prompt")
    def _(request):
        identity = agent.ask("allow_once:a", "reject_once:b")
        agent.send(method="$/cancel_request", params={"requestId": identity})
        agent.say(chosen(agent.wait_for(identity)))
        agent.end(request)


@quirk
def permission_storm(agent: Agent, count: str) -> None:
    @agent.on("session/prompt")
    def _(request):
        waiting = {agent.ask("allow_once:a", "reject_once:b") for _ in range(int(count))}
        agent.say("asked: ")
        answers = []
        while waiting and (message := agent.read()) is not None:
            if message.get("id") in waiting:
                waiting.remove(message["id"])
                answers.append(chosen(message))
        agent.say(", ".join(f"{answers.count(answer)} {answer}" for answer in sorted(set(answers))))
        agent.end(request)


@quirk
def poisoned(agent: Agent, *when: str) -> None:
    """After a cancel at a permission every prompt ends at once, empty; ``resumed``: also in the next process."""
    agent.offers("resume")
    poisoned_here = set()

    @agent.on("session/prompt")
    def _(request):
        if agent.session in poisoned_here or (when and os.access(f"poison of {agent.session}", os.F_OK)):
            agent.end(request)
        elif words(request) == "ask":
            agent.wait_for(agent.ask("allow_once:a", "reject_once:b"))
            poisoned_here.add(agent.session)
            os.mkdir(f"poison of {agent.session}")  # noqa: PTH102 - pathlib is slow to import
            agent.end(request, "cancelled")
        else:
            agent.say(f"{words(request)} in {agent.session}")
            agent.end(request)


@quirk
def silent(agent: Agent) -> None:
    """It obeys a cancel, and otherwise has nothing to say: no fault at all."""

    @agent.on("session/prompt")
    def _(request):
        if words(request) == "wait":
            agent.say("up")
            agent.read()
            agent.end(request, "cancelled")
        else:
            agent.end(request)


# Modes and options.


@quirk
def modes(agent: Agent, first: str, how: str = "takes") -> None:
    """It has the modes ask and auto and begins in ``first``; it answers each prompt with its mode.

    It ``takes`` another mode, ``refuses`` it, or is ``silent``; ``leaves`` and ``defiant`` go to auto in the first
    prompt, and ``defiant`` refuses to go back. One that ``forgets`` lists its modes in a new session only.
    """
    agent.offers("resume")
    now = {"mode": first, "left": False}
    available = [{"id": "ask", "name": "Ask me"}, {"id": "auto", "name": "Auto"}]

    def opened(request) -> None:
        session = request["params"].get("sessionId", agent.session)
        agent.session = session
        state = {"currentModeId": now["mode"], "availableModes": available}
        listed = how != "forgets" or request["method"] == "session/new"
        agent.answer(request, {"sessionId": session, **({"modes": state} if listed else {})})

    def change(mode: str) -> None:
        now["mode"] = mode
        agent.update("current_mode_update", currentModeId=mode)

    def set_mode(request) -> None:
        if how == "refuses" or (how == "defiant" and now["left"]):
            agent.refuse(request, -32603, "not in this folder")
        elif how != "silent":
            now["mode"] = request["params"]["modeId"]
            agent.answer(request, {})

    def prompt(request) -> None:
        agent.say(now["mode"])
        if how in {"leaves", "defiant"} and not now["left"]:
            now["left"] = True
            change("auto")
        agent.end(request)

    for method in ("session/new", "session/resume"):
        agent.on(method)(opened)
    agent.on("session/set_mode")(set_mode)
    agent.on("session/prompt")(prompt)


@quirk
def config_modes(agent: Agent, how: str = "takes") -> None:
    """Its modes and models are config options, and a model has a mode of its own; it answers with its mode and model.

    How it answers what is set: it ``takes`` it, ``keeps`` what it had, or ``forgets`` to list its options.
    """
    state = {"approval": "auto", "engine": "small", "quick": False}

    def options() -> list:
        selects = [("approval", "mode", ["ask", "auto"]), ("engine", "model", ["small", "large"])]
        listed = [
            {
                "type": "select",
                "id": name,
                "name": name,
                "category": category,
                "currentValue": state[name],
                "options": [{"group": "g", "name": "G", "options": [{"value": v, "name": v.title()} for v in values]}],
            }
            for name, category, values in selects
        ]
        return [*listed, {"type": "boolean", "id": "quick", "name": "Quick", "currentValue": state["quick"]}]

    def set_option(request) -> None:
        params = request["params"]
        if how != "keeps":
            state[params["configId"]] = params["value"]
            if params["configId"] == "engine":
                state["approval"] = "auto"
        agent.answer(request, {} if how == "forgets" else {"configOptions": options()})

    agent.on("session/new")(
        lambda request: agent.answer(request, {"sessionId": agent.session, "configOptions": options()})
    )
    agent.on("session/set_config_option")(set_option)

    @agent.on("session/prompt")
    def _(request):
        agent.say(f"{state['approval']} {state['engine']} {state['quick']}")
        agent.end(request)


@quirk
def many_options(agent: Agent) -> None:
    """Options that are hard to show: 60 engines, 30 flags, names of any kind, equal values, two of one category."""
    engines = [{"value": "e" * 150 + str(n), "name": f"Engine {n} " + "long " * 40} for n in range(60)]
    odd = [{"value": "same", "name": "First"}, {"value": "same", "name": "Second"}, {"value": " ", "name": "\u200b"}]
    state: dict = {"engine": engines[40]["value"], "small": "s1", "odd": "same"}
    flags = {f"flag{n}": False for n in range(30)}
    state |= flags

    def options() -> list:
        selects = {"engine": engines, "small": [{"value": f"s{n}", "name": f"S{n}"} for n in range(2)], "odd": odd}
        categories = {"engine": "model", "small": "model"}
        listed = [
            {"type": "select", "id": name, "name": "@everyone [a](http://b)" if name == "odd" else name.title()}
            | {"currentValue": state[name], "options": values, "category": categories.get(name, "x")}
            for name, values in selects.items()
        ]
        more = [{"type": "boolean", "id": name, "name": name.title(), "currentValue": state[name]} for name in flags]
        return [*listed, *more, {"type": "unknown", "id": "other", "name": "Other"}, {"type": "select"}]

    def set_option(request) -> None:
        state[request["params"]["configId"]] = request["params"]["value"]
        agent.answer(request, {"configOptions": options()})

    agent.on("session/new")(
        lambda request: agent.answer(request, {"sessionId": agent.session, "configOptions": options()})
    )
    agent.on("session/set_config_option")(set_option)

    @agent.on("session/prompt")
    def _(request):
        agent.say(f"{state['engine'][-2:]} {state['small']} {state['flag29']}")
        agent.end(request)
