"""Which modes of real agents say that they do not ask."""

from __future__ import annotations

import pytest

from acpbot.sessions.modes import does_not_ask

COPILOT = "https://agentclientprotocol.com/protocol/session-modes"

# As the agents send them: id, name, description. First those of releases before, then of the newest ones.
ASK = [
    ("claude 0.49", "default", "Default", "Standard behavior, prompts for dangerous operations"),
    ("claude 0.49", "plan", "Plan Mode", "Planning mode, no actual tool execution"),
    ("claude 0.101", "default", "Manual", "Always ask before making changes"),
    ("claude 0.101", "plan", "Plan", "Create a plan before making changes"),
    (
        "codex 0.16",
        "read-only",
        "Read Only",
        "Codex can read files in the current workspace. Approval is required to edit files or access the internet.",
    ),
    ("codex 2.6", "read-only", "Read-only", "Requires approval to edit files and access the internet."),
    ("hermes", "default", "Default", "Ask before edits."),
    ("copilot", f"{COPILOT}#agent", "Agent", "Default agent mode for conversational interactions"),
    ("copilot", f"{COPILOT}#plan", "Plan", "Plan mode for creating and executing multi-step plans"),
    ("opencode", "build", "build", "The default agent. Executes tools based on configured permissions."),
    ("opencode", "plan", "plan", "Plan mode. Disallows all edit tools."),
    ("gemini", "default", "Default", "Prompts for approval"),
    ("gemini", "plan", "Plan", "Read-only mode"),
    ("qwen", "plan", "Plan", "Analyze only, do not modify files or execute commands"),
    ("qwen", "default", "Default", "Require approval for file edits or shell commands"),
    ("demo", "ask", "Ask", "Asks before it runs the command of `tool`"),
]
DO_NOT_ASK = [
    ("claude 0.49", "acceptEdits", "Accept Edits", "Auto-accept file edit operations"),
    ("claude 0.49", "dontAsk", "Don't Ask", "Don't prompt for permissions, deny if not pre-approved"),
    ("claude 0.49", "bypassPermissions", "Bypass Permissions", "Bypass all permission checks"),
    ("claude 0.101", "acceptEdits", "Accept edits", "Automatically accept all file edits"),
    ("claude 0.101", "auto", "Auto", "Claude handles permission decisions"),
    ("claude 0.101", "bypassPermissions", "Bypass permissions", "Accepts all permissions"),
    (
        "codex 0.16",
        "auto",
        "Default",
        "Codex can read and edit files in the current workspace, and run commands. (Identical to Agent mode)",
    ),
    (
        "codex 0.16",
        "full-access",
        "Full Access",
        "Codex can edit files outside this workspace and access the internet without asking for approval.",
    ),
    (
        "codex 2.6",
        "workspace-write",
        "Workspace access",
        "Edit workspace files; ask before writing outside the workspace or accessing the network.",
    ),
    ("codex 2.6", "agent", "Auto review", "Only ask for actions detected as potentially unsafe"),
    (
        "codex 2.6",
        "agent-full-access",
        "Full access",
        "Unrestricted access to the internet and any file on your computer",
    ),
    ("hermes", "accept_edits", "Accept Edits", "Auto-allow workspace and /tmp edits; still asks for sensitive paths."),
    ("hermes", "dont_ask", "Don't Ask", "Auto-allow file edits for this session except sensitive paths."),
    ("copilot", f"{COPILOT}#autopilot", "Autopilot", "Works until the task is complete"),
    ("gemini", "autoEdit", "Auto Edit", "Auto-approves edit tools"),
    ("gemini", "yolo", "YOLO", "Auto-approves all tools"),
    ("qwen", "auto-edit", "Auto Edit", "Automatically approve file edits"),
    ("qwen", "auto", "Auto", "LLM classifier auto-approves safe actions, blocks risky ones"),
    ("qwen", "yolo", "YOLO", "Automatically approve all tools"),
    ("demo", "auto", "Auto", "Runs the command of `tool` without asking"),
]


def named(modes):
    return [pytest.param(*mode[1:], id=f"{mode[0]}-{mode[1].rpartition('/')[2]}") for mode in modes]


@pytest.mark.parametrize(("mode_id", "name", "description"), named(ASK))
def test_a_mode_that_asks_is_not_warned_of(mode_id, name, description):
    assert does_not_ask(mode_id, name, description) is None


@pytest.mark.parametrize(("mode_id", "name", "description"), named(DO_NOT_ASK))
def test_a_mode_that_does_not_ask_is_found(mode_id, name, description):
    assert does_not_ask(mode_id, name, description)


@pytest.mark.parametrize(
    ("mode_id", "name", "description"),
    [
        ("x", "Don\u2019t ask", ""),
        ("x", "", "Runs everything without your approval"),
        ("x", "Fast", "It never asks"),
        ("goFullAccess", "", ""),
        ("x", "Y.O.L.O. / Allow all", ""),
        ("AUTO_EDIT", "", ""),
    ],
)
def test_a_mode_is_found_by_its_id_its_name_or_its_description_alone(mode_id, name, description):
    assert does_not_ask(mode_id, name, description)


@pytest.mark.parametrize("name", ["Autocomplete", "Automobile design", "Acceptance tests", "Agent", "Architect"])
def test_a_word_that_only_begins_alike_is_no_sign(name):
    assert does_not_ask("x", name, "") is None
