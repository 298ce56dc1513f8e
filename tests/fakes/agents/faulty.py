"""Misbehaving agents: ``python faulty.py QUIRK [ARGUMENT...]`` is an agent with that one fault, else correct.

Every quirk was seen in a real agent, or is what a real one could do tomorrow. A quirk is a function: it gets the
correct agent and its arguments, and replaces some of its handlers.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import faulty_options  # type: ignore[import-not-found]  # noqa: F401 - it adds its quirks; a script has its own folder on the path
from garbage import MALFORMED, OF_NO_USE  # type: ignore[import-not-found]  # a script has its own folder on the path
from quirks import LONGER_THAN_A_TEST, MEGABYTE, QUIRKS, quirk  # type: ignore[import-not-found]  # the same
from sound import Agent, chosen, words  # type: ignore[import-not-found]  # the same

# What the lines look like.


@quirk
def sound(_: Agent) -> None:
    pass


@quirk
def commands_before_new(agent: Agent) -> None:
    @agent.on("session/new")
    def _(request):
        agent.update("available_commands_update", availableCommands=[{"name": "compact"}])
        agent.answer(request, {"sessionId": agent.session})


@quirk
def late_update(agent: Agent, *how: str) -> None:
    """In the very write that ends the turn, or (``apart``) in one of its own."""

    @agent.on("session/prompt")
    def _(request):
        agent.say(words(request))
        agent.corked = not how
        agent.end(request)
        agent.corked = False
        agent.say(" LATE")


@quirk
def late_update_after_cancel(agent: Agent) -> None:
    @agent.on("session/prompt")
    def _(request):
        agent.say("up")
        if words(request) != "one":
            agent.end(request)
            return
        agent.read()
        agent.end(request, "cancelled")
        agent.say(" LATE")


@quirk
def string_ids(agent: Agent) -> None:
    agent.shape = lambda message: {**message, "id": str(message["id"])} if "result" in message else message


@quirk
def answers_without_id(agent: Agent) -> None:
    agent.before_answers = [
        b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"what?"}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":999,"result":{}}',
        b'{"jsonrpc":"2.0","id":"x","result":{}}',
    ]


@quirk
def answers_twice(agent: Agent) -> None:
    @agent.on("session/prompt")
    def _(request):
        agent.echo(request)
        agent.end(request, "refusal")


@quirk
def begins_with_a_mark(agent: Agent) -> None:
    """A byte order mark stands before its first line."""
    agent.raw(b"\xef\xbb\xbf")


@quirk
def garbage(agent: Agent) -> None:
    agent.before_answers = MALFORMED + OF_NO_USE


@quirk
def odd_text(agent: Agent) -> None:
    """Blocks that are not what they should be, and a NUL."""

    @agent.on("session/prompt")
    def _(request):
        odd: tuple = ("text", None, [], {"type": "text"}, {"type": "text", "text": 5}, {"type": 7})
        for content in odd:
            agent.update("agent_message_chunk", content=content)
        agent.say("a\0b")
        agent.end(request)


@quirk
def long_line(agent: Agent, length: str) -> None:
    @agent.on("session/prompt")
    def _(request):
        agent.say("x" * int(length) if words(request) == "one" else words(request))
        agent.end(request)


@quirk
def unending_line(agent: Agent, megabytes: str, then: str) -> None:
    """A line over every limit; ``then`` it does end, or the agent does."""

    @agent.on("session/prompt")
    def _(request):
        if words(request) == "one":
            agent.raw(b'{"method":"session/update","params":{"text":"')
            for _ in range(int(megabytes)):
                agent.raw(b"x" * MEGABYTE)
            if then == "exits":
                os._exit(3)
            agent.raw(b"\n")
        agent.echo(request)


@quirk
def flood(agent: Agent, count: str) -> None:
    @agent.on("session/prompt")
    def _(request):
        agent.corked = True
        for number in range(int(count)):
            agent.say(f"{number} ")
        agent.corked = False
        agent.end(request)


@quirk
def noisy_stderr(agent: Agent, megabytes: str) -> None:
    def shout(word: bytes) -> None:
        line = b"\x1b[31m" + word * 20 + b"\x1b[0m\n"
        sys.stderr.buffer.write(line * (int(megabytes) * MEGABYTE // len(line)) + b"the end of " + word + b"\n")
        sys.stderr.buffer.flush()

    shout(b"start")

    @agent.on("session/prompt")
    def _(request):
        agent.say(words(request))
        shout(b"turn")
        agent.end(request)


@quirk
def meta_with_session_id(agent: Agent) -> None:
    def shaped(message):
        if "params" in message:
            message["params"]["_meta"] = {"session_id": "other", "update": None, "self": 1}
        return message

    agent.shape = shaped


@quirk
def sub_agents(agent: Agent) -> None:
    """It relays what agents of its own say, and their wish for a permission."""

    @agent.on("session/prompt")
    def _(request):
        agent.say("the child's words ", session="sub-1")
        agent.update("session_info_update", session="sub-1", title="the child's title")
        agent.update("tool_call", session="sub-1", toolCallId="s", title="the child's tool", status="in_progress")
        answer = agent.wait_for(agent.ask("allow_once:go", session="sub-1"))
        agent.say(f"{words(request)} {chosen(answer)}")
        agent.end(request)


# Answers.


@quirk
def answers(agent: Agent, method: str, result: str) -> None:
    """``method`` is answered with ``result`` (JSON), or with ``nothing``: a member that is left out."""
    agent.offers("load", "resume") if method == "session/resume" else agent.offers("load")

    @agent.on(method)
    def _(request):
        agent.session = request["params"].get("sessionId", agent.session)
        if result == "nothing":
            agent.send(id=request["id"])
        else:
            agent.answer(request, json.loads(result))


@quirk
def refuses(agent: Agent, code: str, *methods: str) -> None:
    """These are answered with an error of that code; with a reopening among them not before there is one to reopen."""
    offered = [method.removeprefix("session/") for method in methods if method in {"session/load", "session/resume"}]
    agent.offers(*offered)
    for method in methods:
        if method != "session/new" or not offered or agent.starts > 1:
            agent.on(method)(lambda request: agent.refuse(request, int(code), "it said no"))


@quirk
def says_its_error(agent: Agent) -> None:
    """The error of each prompt is in its answer too."""

    @agent.on("session/prompt")
    def _(request):
        agent.say("API Error: 400 Your credit is too low.")
        agent.send(
            id=request["id"],
            error={"code": -32603, "message": "Internal error", "data": {"details": "Your credit is too low"}},
        )


@quirk
def wants_sign_in(agent: Agent, methods: str, works: str, *resumes: str) -> None:
    """No session opens before ``authenticate`` with the method ``works``; ``methods`` (JSON) are those it offers."""
    agent.offers(*resumes)
    used: list = []

    @agent.on("initialize")
    def _(request):
        result = {"protocolVersion": 1, "authMethods": json.loads(methods), "agentCapabilities": agent.capabilities}
        agent.answer(request, result)

    @agent.on("authenticate")
    def _(request):
        used.append(request["params"]["methodId"])
        sys.stderr.write(f"authenticate {used[-1]}\n")
        sys.stderr.flush()
        agent.answer(request, {}) if used[-1] == works else agent.refuse(request, -32603, "wrong method")

    def opened(request):
        if works not in used:
            agent.refuse(request, -32000, "Authentication required")
        else:
            agent.session = request["params"].get("sessionId", agent.session)
            agent.answer(request, {"sessionId": agent.session})

    for method in ("session/new", *(f"session/{way}" for way in resumes)):
        agent.on(method)(opened)


@quirk
def asks_at_the_prompt(agent: Agent, methods: str, works: str, *says: str) -> None:
    """Its session opens, and each prompt is refused before ``authenticate`` with ``works``; ``says`` comes before."""
    agent.capabilities = {}
    agent.initialized = {"protocolVersion": 1, "authMethods": json.loads(methods)}
    used: list = []

    @agent.on("authenticate")
    def _(request):
        used.append(request["params"]["methodId"])
        sys.stderr.write(f"authenticate {used[-1]}\n")
        sys.stderr.flush()
        agent.refuse(request, -32603, "wrong method") if works == "fails" else agent.answer(request, {})

    @agent.on("session/prompt")
    def _(request):
        for text in says:
            agent.say(text)
        if works in used:
            agent.echo(request)
        else:
            agent.refuse(request, -32000, "Authentication required")


@quirk
def mcp(agent: Agent, capabilities: str, *refused: str) -> None:
    """It says which MCP servers it was given, and refuses to open a session with one of these names."""
    agent.capabilities = {
        "loadSession": True,
        "sessionCapabilities": {"resume": {}},
        "mcpCapabilities": json.loads(capabilities),
    }
    given: list = []

    def opened(request):
        params = request["params"]
        bad = [server["name"] for server in params["mcpServers"] if server["name"] in refused]
        if bad or "always" in refused:
            agent.refuse(request, -32602, f"bad server {bad}")
            return
        given[:] = params["mcpServers"]
        agent.session = params.get("sessionId", agent.session)
        agent.answer(request, {"sessionId": agent.session})

    for method in ("session/new", "session/resume"):
        agent.on(method)(opened)

    @agent.on("session/load")
    def _(request):
        agent.refuse(request, -32603, "not this way")

    @agent.on("session/prompt")
    def _(request):
        agent.say(json.dumps(given))
        agent.end(request)


@quirk
def errs_oddly(agent: Agent) -> None:
    agent.on("session/prompt")(lambda request: agent.send(id=request["id"], error="boom"))


@quirk
def replays(agent: Agent, way: str) -> None:
    agent.offers(way)

    @agent.on(f"session/{way}")
    def _(request):
        agent.session = request["params"]["sessionId"]
        for number in range(50):
            agent.update("user_message_chunk", content={"type": "text", "text": f"question {number}"})
            agent.update("tool_call", toolCallId=f"old-{number}", title="an old tool", status="in_progress")
            agent.say(f"old answer {number}")
        agent.answer(request, {})


@quirk
def deaf_to(agent: Agent, method: str, *ways: str) -> None:
    """It never answers ``method``; ``ways``: of being taken up again."""
    agent.offers(*(ways or ("resume",)))
    agent.on(method)(lambda _: None)


@quirk
def slow_to_resume(agent: Agent) -> None:
    """In its second process it does not get that far."""
    agent.offers("resume")
    if agent.starts == 2:
        agent.on("session/resume")(lambda _: None)


@quirk
def calls_back(agent: Agent, *methods: str) -> None:
    """It asks for what was not lent to it."""

    @agent.on("session/prompt")
    def _(request):
        answers = [agent.wait_for(agent.call(method, {"sessionId": agent.session})) for method in methods]
        agent.say(" ".join(str(answer["error"]["code"]) for answer in answers))
        agent.end(request)


@quirk
def wants_one_prompt(agent: Agent) -> None:
    """A second prompt while the first one runs is its end."""

    @agent.on("session/prompt")
    def _(request):
        identity = agent.ask("allow_once:a")
        while (message := agent.read()) is not None:
            if message.get("method") == "session/prompt":
                sys.exit("a second prompt came while one ran")
            if message.get("id") == identity:
                agent.echo(request)
                return


# How they end.


@quirk
def dies(agent: Agent, where: str, status: str = "3") -> None:
    """``where``: ``born``, ``idle``, ``turn``, ``permission``, or a method. Only the first process that could does."""
    agent.offers("close", "resume")

    def die(*_) -> None:
        sys.stderr.write("\x1b[1mit broke\x1b[0m\n")
        sys.stderr.flush()
        os._exit(int(status))

    if agent.starts > 1 and where != "session/resume":
        return
    if where == "born":
        die()
    agent.on(where)(die)
    if where not in {"idle", "turn", "permission", "session/cancel"}:
        return

    @agent.on("session/prompt")
    def _(request):
        agent.say("up")
        if where == "permission":
            agent.ask("allow_once:a")
        elif where == "idle":
            agent.end(request)
        if where != "session/cancel":
            die()


@quirk
def leaves_its_stdout(agent: Agent) -> None:
    """A tool of its own keeps stdout open when it dies."""
    if agent.starts > 1:
        return

    @agent.on("session/prompt")
    def _(_request):
        agent.say("up")
        os.posix_spawnp("sleep", ("sleep", LONGER_THAN_A_TEST), os.environ, setsid=True)
        os._exit(3)


@quirk
def closes_its_stdout(agent: Agent) -> None:
    if agent.starts > 1:
        return

    @agent.on("session/prompt")
    def _(_request):
        agent.say("up")
        os.close(1)


@quirk
def closes_its_stdin(agent: Agent, processes: str) -> None:
    """The first so many processes do, before a prompt could come."""
    if agent.starts > int(processes):
        return

    @agent.on("session/new")
    def _(request):
        os.close(0)
        agent.answer(request, {"sessionId": agent.session})
        signal.pause()


@quirk
def reads_nothing(agent: Agent, thread: str) -> None:
    """The first process of that thread reads nothing that comes after its session is open."""
    if agent.starts > 1 or not os.getcwd().endswith(thread):  # noqa: PTH109 - pathlib is slow to import
        return

    @agent.on("session/new")
    def _(request):
        agent.answer(request, {"sessionId": agent.session})
        signal.pause()


@quirk
def stays(_: Agent) -> None:
    """Neither EOF nor SIGTERM makes it leave."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@quirk
def wraps(_: Agent) -> None:
    """The leader is a wrapper: SIGTERM ends it, and it leaves its real child behind."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.waitpid(os.posix_spawn(sys.executable, (sys.executable, "-S", __file__, "stays"), os.environ), 0)
    sys.exit(0)


if __name__ == "__main__":
    agent = Agent()
    name, *arguments = sys.argv[1:]
    QUIRKS[name](agent, *arguments)
    agent.serve()
    if name == "stays":
        signal.pause()
