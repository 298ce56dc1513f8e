"""A scripted agent that answers by the first word that a person writes: ``python by_word.py SCRIPT``, a JSON object.

``words``: the steps of each first word, as `scripted.py` has them; a prompt that begins with another word is echoed,
and one without a word gets the steps of ``read``.
``REST`` in a piece of text is what follows that word. Two steps more: ``exit``: end this process with that status;
``error``: answer the prompt with this error; ``read``: say each text that came with the prompt beside the person's own
words.
"""

from __future__ import annotations

import json
import os
import sys

from scripted import Scripted  # type: ignore[import-not-found]  # a script has its own folder on the path

# What every message has: who wrote it, where and when.
SENDER = frozenset({"note", "platform", "user", "user_id", "is_bot", "channel", "server", "sent_at"})


def texts(value) -> list[str]:
    """Every text in a JSON value, but ids and times."""
    if isinstance(value, str):
        return [value] if " " in value or not any(letter.isdigit() for letter in value) else []
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for one in values for text in texts(one)]


def beside(prompt: list) -> list[str]:
    """The texts beside the person's own words: of the data about the message, and of its files."""
    found = []
    for block in prompt:
        resource = block.get("resource", {})
        text = resource.get("text", "")
        if "{" in text and text.rstrip().endswith(">"):
            data = json.loads(text[text.index("{") : text.rindex("}") + 1])
            found += texts({key: value for key, value in data.items() if key not in SENDER})
        elif text:
            found.append(text)
    return found


class ByWord(Scripted):
    def prompt(self, request: dict) -> None:
        prompt = request["params"]["prompt"]
        text = next((block["text"] for block in prompt if block.get("type") == "text"), "")
        word, _, rest = text.strip().partition(" ")
        known = self.script["words"]
        steps = known.get(word if text else "read", [{"say": f"You said: {text}"}, {"end": "end_turn"}])
        self.perform(json.loads(json.dumps(steps).replace("REST", json.dumps(rest)[1:-1])), request)

    def step(self, step: dict, request: dict) -> None:
        if "exit" in step:
            sys.stderr.write("out of ideas\n")
            os._exit(step["exit"])
        elif "error" in step:
            self.agent.refuse(request, -32603, step["error"])
        elif "read" in step:
            for text in beside(request["params"]["prompt"]):
                self.agent.say(f"- {text}\n")
        else:
            super().step(step, request)


if __name__ == "__main__":
    made = ByWord(json.loads(sys.argv[1]))
    made.agent.serve()
