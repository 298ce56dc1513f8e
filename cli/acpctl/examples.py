"""Examples of each command, for its help, the man page and docs/commands.md: a command line, and what it does."""

from typing import Final

EXAMPLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "sessions": (
        ("acpctl sessions", "the running sessions"),
        ("acpctl sessions --stuck", "those that have been silent too long"),
        ("acpctl sessions --state stuck --state waiting", "what needs a person"),
        ("acpctl sessions --all -q", "all thread ids, suspended ones too"),
        ("acpctl sessions -o json | jq '.sessions[].state'", "for a script"),
    ),
    "show": (("acpctl show 5678", "the session whose thread id ends with 5678"),),
    "kill": (
        ("acpctl kill 5678", "show it, ask, and end it"),
        ("acpctl kill 1310203040506075678 --yes", "in a script: exact ids only"),
        ("acpctl kill --all --yes --expect 3", "all, if there are exactly three"),
    ),
    "cancel": (
        ("acpctl cancel 5678", "stop the running turn, keep the session"),
        ("acpctl cancel 5678 9012", "in several threads"),
    ),
    "send": (
        ("acpctl send 5678 'run the tests again'", "a prompt into a thread"),
        ("git diff | acpctl send 5678 - --wait", "stdin as one prompt; print the answer"),
        ("acpctl send --channel 1417221234567890123 'fix the parser'", "begin a thread in a channel"),
        ("git diff | acpctl send 5678 - --wait --allow", "allow what the turn asks for"),
    ),
    "permit": (
        ("acpctl permit 5678", "answer its open permission request"),
        ("acpctl permit 5678 --allow", "allow it once"),
        ("acpctl permit 5678 allow_always", "the agent's option, by its id or kind"),
    ),
    "suspend": (
        ("acpctl suspend 5678", "end the process, keep the conversation"),
        ("acpctl suspend --yes 1310203040506075678", "without a question: exact ids only"),
    ),
    "restart": (
        ("acpctl restart 5678", "a new process for the same conversation"),
        ("acpctl restart --yes 1310203040506075678", "without a question: exact ids only"),
    ),
    "forget": (
        ("acpctl forget 5678", "drop a suspended conversation"),
        ("acpctl forget --yes 1310203040506075678", "without a question: exact ids only"),
    ),
    "health": (
        ("acpctl health", "ready or not, and why"),
        ("acpctl health -o json | jq .ready", "for a script"),
        ("acpctl health --watch", "redraw each second"),
    ),
    "chat": (
        ("acpctl chat", "a new thread in this terminal"),
        ("echo 'what is in this folder?' | acpctl chat demo", "one prompt; the answer on stdout"),
    ),
    "drain": (
        ("acpctl drain --wait --deadline 300", "before an upgrade"),
        ("acpctl drain --off", "take turns again"),
    ),
    "reload": (("acpctl reload", "read the configuration again"),),
    "config": (
        ("acpctl config", "the settings in force, without secrets"),
        ("acpctl config -o json | jq .config.pool", "one table, for a script"),
    ),
    "tail": (
        ("acpctl tail 5678", "what a session says and does, live"),
        ("acpctl tail 5678 9012 --since 10m", "several threads, from ten minutes ago on"),
    ),
    "events": (
        ("acpctl events", "changes of sessions as they happen"),
        ("acpctl events --since 2h --no-follow", "of the last two hours"),
        ("acpctl events --since 1d --no-follow | grep crashed", "crashes of a day"),
        ("acpctl events --since 1d --no-follow -o json | jq -r .reason", "for a script"),
    ),
    "audit": (
        ("acpctl audit -n 20", "the last 20 changes, and who made them"),
        ("acpctl audit --thread 1234 -n 200", "what was done in one thread"),
        ("acpctl audit -o json | jq .entries[]", "for a script"),
    ),
    "top": (("acpctl top", "live: what each session uses"),),
    "doctor": (("acpctl doctor", "check each step from here to the daemon"),),
}


def examples_text(command: str) -> str:
    """The examples of a command as an epilog of Click, which keeps lines after a backspace; empty without any."""
    examples = EXAMPLES.get(command, ())
    if not examples:
        return ""
    lines = [f"  {line}\n      {meaning}" for line, meaning in examples]
    return "\n".join(["\b", "Examples:", *lines])
