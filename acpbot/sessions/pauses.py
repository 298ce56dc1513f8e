"""How long a session waits for what an agent may still send. ACP has no message that says that nothing follows."""

from __future__ import annotations

from typing import Final, NamedTuple


class Pauses(NamedTuple):
    """All in seconds, of the event loop's clock.

    ``settle``: after a prompt's answer; text that comes meanwhile belongs to the answer. Each text starts it again, ten
    times as long at most. ``message``: silence after which a text outside a turn is a whole message. ``quiet``: before
    the first prompt after `session/load` or `session/resume`, so long without a piece of the conversation's history.
    ``replay``: after that prompt; what comes meanwhile is history where a message of the user follows it.
    """

    settle: float = 0.1
    message: float = 1.0
    quiet: float = 0.1
    replay: float = 0.3


PAUSES: Final = Pauses()
