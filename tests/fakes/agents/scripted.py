"""An agent that does what its script says: ``python scripted.py SCRIPT``, a JSON object.

``capabilities`` as in ACP's `initialize`. ``opened``: steps after the answer that opens a session; ``reopened``: the
same after `session/load` and `session/resume`. ``prompts``: the steps of each prompt; the last ones are repeated.
``replay``: steps before the answer to `session/load`. Each step is an object:
``say``: a piece of text, of the message ``id`` if there is one; ``update``: the body of an update; ``end``: answer the
prompt with this stop reason; ``ask``: request a permission with this tool call, and go on; ``answer``: say what it was
answered; ``before``: write into this file the methods that came before that answer, one on each line;
``elicit``: ask people with these parameters, as the request ``id`` if there is one, and go on;
``answered``: say the answer to that, as JSON; ``complete``: report that what was to be done at the address with this id
is done; ``withdraw``: withdraw the question; ``echo``: say the prompt's blocks, as JSON; ``keep``: add them to this
file, on a line; ``pause``: wait until somebody has written into this FIFO. ``times``: how often the step is done.
"""

from __future__ import annotations

import json
import sys

from sound import Agent, chosen  # type: ignore[import-not-found]  # a script has its own folder on the path


class Scripted:
    def __init__(self, script: dict) -> None:
        self.script = script
        self.agent = Agent()
        self.agent.capabilities = script.get("capabilities", {})
        self.prompts = list(script.get("prompts", [[{"echo": True}, {"end": "end_turn"}]]))
        self.asked = ""
        for method in ("session/new", "session/load", "session/resume"):
            self.agent.on(method)(self.open)
        self.agent.on("session/prompt")(self.prompt)

    def open(self, request: dict) -> None:
        reopened = request["method"] != "session/new"
        self.agent.session = request["params"].get("sessionId", self.agent.session)
        if reopened:
            self.perform(self.script.get("replay", []), request)
        self.agent.answer(request, {} if reopened else {"sessionId": self.agent.session})
        self.perform(self.script.get("reopened" if reopened else "opened", []), request)

    def prompt(self, request: dict) -> None:
        self.perform(self.prompts.pop(0) if len(self.prompts) > 1 else self.prompts[0], request)

    def perform(self, steps: list, request: dict) -> None:
        for step in steps:
            for _ in range(step.get("times", 1)):
                self.step(step, request)

    def step(self, step: dict, request: dict) -> None:
        agent = self.agent
        if "say" in step:
            more = {"messageId": step["id"]} if "id" in step else {}
            agent.update("agent_message_chunk", content={"type": "text", "text": step["say"]}, **more)
        elif "update" in step:
            agent.send(method="session/update", params={"sessionId": agent.session, "update": step["update"]})
        elif "ask" in step:
            self.asked = agent.ask("allow_once:yes", "reject_once:no", toolCall=step["ask"])
        elif "answer" in step:
            agent.say(chosen(agent.wait_for(self.asked)))
        elif "before" in step:
            came = []
            while (message := agent.read()) is not None and message.get("id") != self.asked:
                came.append(message["method"] + "\n")
            with open(step["before"], "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
                file.writelines(came)
        elif "elicit" in step:
            params = {"sessionId": agent.session, **step["elicit"]}
            if "id" in step:
                self.asked = step["id"]
                agent.send(id=self.asked, method="elicitation/create", params=params)
            else:
                self.asked = agent.call("elicitation/create", params)
        elif "answered" in step:
            reply = agent.wait_for(self.asked)
            agent.say(json.dumps(reply.get("result", reply.get("error"))) + "\n")
        elif "complete" in step:
            agent.send(method="elicitation/complete", params={"elicitationId": step["complete"]})
        elif "withdraw" in step:
            agent.send(method="$/cancel_request", params={"requestId": self.asked})
        elif "echo" in step:
            agent.say(json.dumps(request["params"]["prompt"]))
        elif "keep" in step:
            with open(step["keep"], "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
                file.write(json.dumps(request["params"]["prompt"]) + "\n")
        elif "pause" in step:
            with open(step["pause"], "rb") as fifo:  # noqa: PTH123 - pathlib is slow to import
                fifo.read()
        elif "end" in step:
            agent.end(request, step["end"])


if __name__ == "__main__":
    made = Scripted(json.loads(sys.argv[1]))
    made.agent.serve()
