"""An agent whose prompt, a JSON object, says how it asks for a permission; where it is allowed, it runs a command.

``before`` is a tool call that it reports first, ``ask`` the request's tool call, ``while_open`` an update before the
answer. ``options`` are ``kind:id``. ``run`` is the command. ``pad``: so many characters are added to the raw input's
command. ``parts``: so many lists are added to the raw input. ``times``: it asks so often. ``twice``: another request,
with the same id.
``withdraw``: it takes the request back at once. ``then``: what it says after that update.
``repeat``: another command, of the same name.
``after``: an update after the answer.
``session``: of which the request and that update are.
``params``: sent in place of all.
"""

from __future__ import annotations

import json
import subprocess

from sound import Agent, chosen, words  # type: ignore[import-not-found]  # a script has its own folder on the path

OPTIONS = ("allow_once:once", "allow_always:always", "reject_once:no", "reject_always:never")


def params(agent: Agent, wanted: dict, call: dict) -> dict:
    if "params" in wanted:
        return {"sessionId": agent.session, **wanted["params"]}
    if "repeat" in wanted:  # JSON with one name twice; two spaces make a name of its own until it is sent
        call = {**call, "rawInput": {"command  ": wanted["repeat"], **call["rawInput"]}}
        agent.raw = lambda data, raw=agent.raw: raw(data.replace(b'"command  "', b'"command"'))
    options = [dict(zip(("kind", "optionId"), one.split(":"), strict=True)) for one in wanted.get("options", OPTIONS)]
    if "pad" in wanted:
        raw = {"command": "", **call.get("rawInput", {})}
        call = {**call, "rawInput": {**raw, "command": raw["command"] + "x" * wanted["pad"]}}
    if "parts" in wanted:
        call = {**call, "rawInput": {**call["rawInput"], "more": [[]] * wanted["parts"]}}
    return {"sessionId": wanted.get("session", agent.session), "options": options, "toolCall": call}


def report(agent: Agent, kind: str, call: dict, session: str | None = None) -> None:
    update = {"sessionUpdate": kind, **call}
    agent.send(method="session/update", params={"sessionId": session or agent.session, "update": update})


def main() -> None:
    agent = Agent()

    @agent.on("session/prompt")
    def _(request: dict) -> None:
        wanted = json.loads(words(request))
        for _ in range(wanted.get("times", 1)):
            if "before" in wanted:
                report(agent, "tool_call", wanted["before"])
            agent.corked = "twice" in wanted  # both in one piece: nobody can answer one before the other is there
            identity = agent.call("session/request_permission", params(agent, wanted, wanted.get("ask", {})))
            if "twice" in wanted:
                agent.corked = False
                asked = params(agent, wanted, wanted["twice"])
                agent.send(id=identity, method="session/request_permission", params=asked)
            if "while_open" in wanted:
                report(agent, "tool_call_update", wanted["while_open"], wanted.get("session"))
                if "then" in wanted:
                    agent.say(wanted["then"])
            if "withdraw" in wanted:
                agent.send(method="$/cancel_request", params={"requestId": identity})
            answer = chosen(agent.wait_for(identity))
            if "after" in wanted:
                report(agent, "tool_call_update", wanted["after"])
            if "run" in wanted and answer in {"selected once", "selected always"}:
                subprocess.run(["sh", "-c", wanted["run"]], check=False)
            if "twice" in wanted:
                answer += f" {chosen(agent.wait_for(identity))}"
            agent.say(f"{answer}\n")
        agent.end(request)

    agent.serve()


if __name__ == "__main__":
    main()
