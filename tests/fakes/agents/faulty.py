"""Misbehaving agents: ``python faulty.py QUIRK [ARGUMENT...]`` is an agent with that one fault, else correct.

Every quirk was seen in a real agent, or is what a real one could do tomorrow. A quirk is a function: it gets the
correct agent and its arguments, and replaces some of its handlers.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from garbage import MALFORMED, OF_NO_USE  # type: ignore[import-not-found]  # a script has its own folder on the path
from sound import Agent, chosen, words  # type: ignore[import-not-found]  # the same

QUIRKS: dict = {}
MEGABYTE = 1024 * 1024
LONGER_THAN_A_TEST = "300"


def quirk(function):
    QUIRKS[function.__name__] = function
    return function


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
