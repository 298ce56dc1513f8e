"""An agent that lists, resumes and deletes conversations: ``python conversations.py SCRIPT``, a JSON object.

``offers``: what it advertises (``load`` and session capabilities). ``listed``: the sessions that it knows beside its
own; ``page``: how many it lists at once, ``endless``: its list never ends. ``refuses``, ``ignores``: these methods are
answered with an error, or never. Each request, with the id of its session, is a line of the file ``calls`` in the
working directory.
"""

from __future__ import annotations

import json
import sys

from sound import Agent  # type: ignore[import-not-found]  # a script has its own folder on the path


class Conversations:
    def __init__(self, script: dict) -> None:
        self.script = script
        self.agent = agent = Agent()
        agent.offers(*script.get("offers", ["list", "resume", "close", "delete"]))
        agent.on("session/list")(self.list)
        agent.on("session/delete")(lambda request: agent.answer(request, {}))
        for method, handler in list(agent._handlers.items()):
            agent.on(method)(self.logged(method, handler))

    def logged(self, method: str, handler):
        def handle(request: dict) -> None:
            with open("calls", "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
                file.write(f"{method} {request.get('params', {}).get('sessionId', '')}".rstrip() + "\n")
            if method in self.script.get("refuses", []):
                self.agent.refuse(request, -32603, "I will not")
            elif method not in self.script.get("ignores", []):
                handler(request)

        return handle

    def list(self, request: dict) -> None:
        page, listed = self.script.get("page", 2), self.script.get("listed", [])
        first = int(request["params"].get("cursor") or 0)
        found = [{"cwd": request["params"].get("cwd"), **each} if isinstance(each, dict) else each for each in listed]
        more = {"nextCursor": str(first + page)} if first + page < len(listed) or "endless" in self.script else {}
        self.agent.answer(request, {"sessions": found[first : first + page], **more})


if __name__ == "__main__":
    Conversations(json.loads(sys.argv[1])).agent.serve()
