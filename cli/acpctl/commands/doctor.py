"""`acpctl doctor`: why something does not work, and what to do about it."""

import os
import pwd
import stat
from pathlib import Path
from typing import Any, NamedTuple

import typer

from acpctl import __version__, client
from acpctl import socket_paths as sockets
from acpctl.exit_codes import DENIED, DONE, FAILED, UNREACHABLE, Failure
from acpctl.options import Format, Globals, given
from acpctl.render.output import Output
from acpctl.text import clean, duration, many


class Finding(NamedTuple):
    """One line of the checklist. ``ok`` is None where there is nothing to judge; ``advice`` is what to do."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


def run(context: typer.Context, *, output: Format = "table") -> int:
    """Find out why something does not work.

    Looks at everything between acpctl and a working acpbot, and says what to do.
    """
    options = given(context)
    findings: list[Finding] = []
    status = _examine(options, findings)
    if any(finding.ok is False for finding in findings):
        status = status or FAILED
    if output == "json":
        options.out.json({"ok": status == DONE, "checks": [finding._asdict() for finding in findings]})
    else:
        options.out.lines(_checklist(findings, options.out))
    return status


def _examine(options: Globals, findings: list[Finding]) -> int:
    places = sockets.places(options.socket, os.environ)
    found = ""
    for place in places:
        stands = _place(place, findings, taken=found)
        found = found or (place.path if stands else "")
    denied = any(finding.detail == _DENIED for finding in findings)
    if not found:
        if denied:
            return DENIED
        findings.append(Finding("daemon", ok=False, detail="no socket found", advice=sockets.WAY_OUT))
        return UNREACHABLE
    try:
        connection = client.connect(found, options.timeout)
    except Failure as failure:
        problem, _, advice = failure.message.partition("; ")
        findings.append(Finding("daemon", ok=False, detail=problem, advice=advice))
        return failure.code
    with connection:
        return _daemon(connection, findings)


_DENIED = "permission denied"
_STATES = {
    "starting": "it takes turns soon; ask again",
    "draining": "it takes no new turns; `acpctl drain --off` ends that, where no stop is under way",
    "stopping": "it is about to end",
}


def _place(place: sockets.Place, findings: list[Finding], *, taken: str) -> bool:
    """Look at one place of the search order; whether a socket stands there."""
    name = clean(place.path)
    where = f" (from {place.origin})" if place.named else ""
    try:
        status = Path(place.path).stat()
        folder = Path(place.path).parent.stat()
    except PermissionError:
        advice = "ask for membership in its group ([management] socket_group), or run acpctl as acpbot's user"
        closed = False if place.named else None
        findings.append(Finding(f"socket {name}{where}", ok=closed, detail=_DENIED, advice=advice))
        return False
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else clean(error.strerror).lower()
        missing = False if place.named else None
        findings.append(Finding(f"socket {name}{where}", ok=missing, detail=reason))
        return False
    if not stat.S_ISSOCK(status.st_mode):
        advice = "remove it, or name acpbot's socket with --socket or ACPBOT_SOCKET"
        findings.append(Finding(f"socket {name}{where}", ok=False, detail="it is not a socket", advice=advice))
        return False
    detail = f"{_owner(status.st_uid)} {stat.S_IMODE(status.st_mode):04o}"
    detail += f", folder {_owner(folder.st_uid)} {stat.S_IMODE(folder.st_mode):04o}"
    if not place.named and not sockets.trusted(place.path):
        advice = "somebody else made it; acpctl stays away from it"
        findings.append(Finding(f"socket {name}", ok=False, detail=detail, advice=advice))
        return False
    others = status.st_mode & 0o002 or folder.st_mode & 0o002
    advice = "others can reach it: chmod it to 0600, or 0660 with a group" if others else ""
    if taken:
        advice = f"acpctl uses {clean(taken)}, which comes first; name this one with --socket"
    findings.append(Finding(f"socket {name}{where}", ok=not others, detail=detail, advice=advice))
    return True


def _daemon(connection: client.Connection, findings: list[Finding]) -> int:
    state = clean(connection.hello.get("state"))
    findings.append(
        Finding(
            "daemon",
            ok=state == "running",
            detail=f"acpbot {connection.version}, protocol {client.PROTOCOL}, {state}",
            advice="" if state == "running" else _STATES.get(state, "see acpbot's log"),
        )
    )
    admin = connection.access == "admin"
    advice = "you can look, not change; run acpctl as root or acpbot's user, or be named in [management] admin_users"
    findings.append(
        Finding("access", ok=admin or None, detail=connection.access or "none", advice="" if admin else advice)
    )
    same = connection.version == __version__
    detail = f"acpctl {__version__}, acpbot {connection.version}"
    findings.append(Finding("versions", ok=same, detail=detail, advice="" if same else "install the same of both"))
    try:
        _health(connection.call("health.get"), findings)
        rows = connection.rows(connection.call("sessions.list"), "sessions", "sessions.list")
    except Failure as failure:
        problem, _, advice = failure.message.partition("; ")
        findings.append(Finding("answers", ok=False, detail=problem, advice=advice))
        return failure.code
    stuck = [row for row in rows if row.get("state") == "stuck"]
    for row in stuck:
        thread = clean(row.get("thread_id"))
        doing = clean(row.get("activity")) or "no tool runs"
        detail = f"{thread} silent for {duration(row.get('silent_seconds'))}: {doing}"
        advice = f"`acpctl show {thread}`, then `acpctl cancel {thread}` or `acpctl kill {thread}`"
        findings.append(Finding("stuck", ok=False, detail=detail, advice=advice))
    if not stuck:
        findings.append(Finding("sessions", ok=True, detail=f"{many(len(rows), 'session')}, none stuck"))
    return DONE


def _health(health: dict[str, Any], findings: list[Finding]) -> None:
    checks = health.get("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, dict):
            passed = check.get("ok") is True
            reason = clean(check.get("reason"))
            advice = "" if passed else "see `acpctl health` and acpbot's log"
            name = f"health: {clean(check.get('name'))}"
            findings.append(Finding(name, ok=passed, detail=reason or ("ok" if passed else "failed"), advice=advice))
    if health.get("ready") is not True and not any(finding.ok is False for finding in findings):
        findings.append(Finding("health", ok=False, detail="not ready", advice="see `acpctl health`"))


def _owner(uid: int) -> str:
    try:
        return clean(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


def _checklist(findings: list[Finding], out: Output) -> list[str]:
    lines = []
    for finding in findings:
        glyph, word, style = {
            True: ("✓", "ok", "green"),
            False: ("✗", "fail", "alarm"),
            None: ("·", "-", "dim"),
        }[finding.ok]
        mark = out.paint(out.mark(glyph, f"{word:<4}"), style)
        lines.append(f"{mark}  {out.paint(finding.name, 'bold')}  {finding.detail}")
        if finding.advice:
            indent = " " * (3 if out.terminal else 6)
            lines.append(out.paint(f"{indent}{finding.advice}", "yellow" if finding.ok is False else "dim"))
    return lines
