"""Examples of each command, for its help, the man page and docs/commands.md: a command line, and what it does."""

from typing import Final

EXAMPLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "sessions": (
        ("acpctl sessions", "the running sessions"),
        ("acpctl sessions --stuck", "those that have been silent too long"),
        ("acpctl sessions --all -q", "all thread ids, suspended ones too"),
        ("acpctl sessions -o json | jq '.sessions[].state'", "for a script"),
    ),
    "show": (("acpctl show 5678", "the session whose thread id ends with 5678"),),
    "kill": (
        ("acpctl kill 5678", "show it, ask, and end it"),
        ("acpctl kill 1310203040506075678 --yes", "in a script: exact ids only"),
        ("acpctl kill --all --yes --expect 3", "all, if there are exactly three"),
    ),
    "cancel": (("acpctl cancel 5678", "stop the running turn, keep the session"),),
    "send": (
        ("acpctl send 5678 'run the tests again'", "a prompt into a thread"),
        ("git diff | acpctl send 5678 - --wait", "stdin as one prompt; print the answer"),
    ),
    "permit": (("acpctl permit 5678", "answer its open permission request"),),
    "suspend": (("acpctl suspend 5678", "end the process, keep the conversation"),),
    "restart": (("acpctl restart 5678", "a new process for the same conversation"),),
    "forget": (("acpctl forget 5678", "drop a suspended conversation"),),
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
    "config": (("acpctl config", "the settings in force, without secrets"),),
    "tail": (("acpctl tail 5678", "what a session says and does, live"),),
    "events": (("acpctl events", "changes of sessions as they happen"),),
    "audit": (("acpctl audit -n 20", "the last 20 changes, and who made them"),),
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
