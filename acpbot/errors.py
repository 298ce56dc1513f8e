"""The errors of acpbot.

::

    AcpbotError                   'cannot ...': one line that names the thing and the way out
     |-- ConfigError              exit 78 (EX_CONFIG, sysexits.h): a restart would not help
     |-- StartError               exit 1: the daemon could not start
     |-- CannotAsk                exit 2: a question needs a terminal, and there is none
     |-- ExecError                exit 126 or 127: a command for `acpbot exec` could not be run
     |-- WireError                an error answer on the management socket: code and data.kind
     |    |-- InvalidParams       -32602 invalid
     |    |    `-- AgentRemoved   the thread's agent is no longer in the configuration
     |    |-- NotFound            -32001 not_found
     |    |-- Ambiguous           -32002 ambiguous
     |    |-- Conflict            -32003 conflict
     |    |-- AccessDenied        -32004 access_denied
     |    |-- Draining            -32005 draining
     |    |-- TimedOut            -32006 timeout
     |    `-- TooMany             -32008 too_many: a limit is reached (sessions, queue, connections)
     `-- AgentError               the agent could not be used
          |-- AgentStartError     not found, exits at once, speaks another protocol version
          |-- AgentTimeout        a request was not answered within its limit
          |-- AgentRefused        the agent answered with an error: code, reason
          |    `-- AgentNotSignedIn   its operator must sign in
          `-- AgentGone           the agent's process ended, or its stdout closed

``str(error)`` is for operators, ``error.for_people`` for people in a chat, and ``WireError.kind`` for programs.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

SOMETHING_WRONG: Final = "Something went wrong on my side. An admin can check the log."
"""What people in a chat read of an error that only an operator can fix."""


class AcpbotError(Exception):
    """Base of all; ``exit_code`` is what a command that fails with it returns.

    ``for_people``: one or two sentences, as plain text, without codes, paths and keys.
    """

    exit_code: int = 1
    for_people: str = SOMETHING_WRONG

    def __init__(self, message: str = "", *, for_people: str = "") -> None:
        super().__init__(message)
        if for_people:
            self.for_people = for_people


class ConfigError(AcpbotError):
    """The configuration can't be used; the message names the file, the key and the fix."""

    exit_code = 78


class StartError(AcpbotError):
    """The daemon could not start for a reason that is not in its configuration."""


class InUse(StartError):
    """Another process uses a file of ours. ``elsewhere``: it runs under another host name, as another pod does."""

    def __init__(self, message: str, *, elsewhere: bool) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere


class StoreError(AcpbotError):
    """The database can't be read now."""


class CannotAsk(AcpbotError):
    """A question needs a terminal, and there is none."""

    exit_code = 2


class ExecError(AcpbotError):
    """`acpbot exec` could not run the command: exit 127 where it was not found, else 126, as a shell has it."""

    def __init__(self, message: str, *, not_found: bool = False) -> None:
        super().__init__(message)
        self.exit_code = 127 if not_found else 126


class WireError(AcpbotError):
    """An error answer on the management socket (docs/protocol.md, 'Errors')."""

    code: ClassVar[int] = -32603
    kind: ClassVar[str] = "internal"


class InvalidParams(WireError):
    """The request's parameters are not valid; nothing has been done."""

    code = -32602
    kind = "invalid"


class AgentRemoved(InvalidParams):
    """The thread's ``agent`` is no longer in the configuration: another one must be chosen there."""

    def __init__(self, message: str, agent: str) -> None:
        gone = f"This thread's agent {agent} is no longer available. Pick another one with /agent."
        super().__init__(message, for_people=gone)
        self.agent = agent


class NotFound(WireError):
    """No such thread or session."""

    code = -32001
    kind = "not_found"
    for_people = "This conversation is gone. Send a message to start a new one."


class Ambiguous(WireError):
    """A suffix matches several threads."""

    code = -32002
    kind = "ambiguous"


class Conflict(WireError):
    """The thread's session is not the one in the request, or its state does not allow the request."""

    code = -32003
    kind = "conflict"
    for_people = "That isn't possible right now. Please try again in a moment."


class AccessDenied(WireError):
    """The client is not allowed to do this."""

    code = -32004
    kind = "access_denied"


class Draining(WireError):
    """The daemon is draining and accepts no new turns."""

    code = -32005
    kind = "draining"
    for_people = "I'm restarting. Please try again in a moment."


class TimedOut(WireError):
    """Something did not happen within its limit."""

    code = -32006
    kind = "timeout"
    for_people = "That took too long. Please try again in a moment."


Limit = Literal["sessions", "sessions_of_person", "line", "queue", "queue_of_person"]


class TooMany(WireError):
    """A limit is reached: sessions, queued messages, connections.

    ``limit`` names it where people in a chat can reach it; ``count`` is how many there are, and ``person`` the id of
    the user who has them, where the limit is one person's.
    """

    code = -32008
    kind = "too_many"
    for_people = "I'm too busy right now. Please try again in a while."

    def __init__(self, message: str, *, limit: Limit | None = None, count: int = 0, person: str | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.count = count
        self.person = person


class AgentError(AcpbotError):
    """The agent could not be used."""

    for_people = "The agent ran into a problem. An admin can check the log."


class AgentStartError(AgentError):
    """The agent could not be started: not found, exited at once, another protocol version."""

    for_people = "The agent couldn't be started. An admin can check the log."


class AgentTimeout(AgentError):
    """The agent did not answer a request within its limit."""

    for_people = "The agent didn't answer in time. An admin can check the log."


class AgentRefused(AgentError):
    """The agent answered a request with an error.

    ``code`` is the agent's own; codes outside of JSON-RPC's ranges occur. ``said`` is its reason, a sentence, and
    ``core`` the part of it that names the reason; both are empty where its answer could not be used.
    """

    def __init__(self, message: str, *, code: int, said: str = "", core: str = "", for_people: str = "") -> None:
        super().__init__(message, for_people=for_people or (f"The agent reported an error: {said}" if said else ""))
        self.code = code
        self.said = said
        self.core = core


class AgentNotSignedIn(AgentRefused):
    """The agent wants its operator to sign in, and no method works without a person; ``methods`` says which it has."""

    def __init__(self, refused: AgentRefused, methods: str) -> None:
        super().__init__(str(refused), code=refused.code, said=refused.said, core=refused.core)
        self.methods = methods


class AgentGone(AgentError):
    """The agent's process ended, or it closed its stdout."""

    for_people = "The agent crashed."


def internal_error(action: str, error: BaseException) -> str:
    """What operators read of a defect that has kept acpbot from ``action``."""
    return f"cannot {action}: internal error ({type(error).__name__}), see the log"
