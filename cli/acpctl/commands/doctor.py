"""`acpctl doctor`: check everything between acpctl and a working daemon, and advise."""

import os
import pwd
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

from acpctl import __version__, client, socket_paths
from acpctl.errors import CliError
from acpctl.exit_codes import DENIED, DONE, FAILED, UNREACHABLE
from acpctl.options import GlobalOptions, OutputFormat, global_options
from acpctl.quantities import plural
from acpctl.render.output import Output
from acpctl.text import clean, width
from acpctl.times import duration

_DENIED: Final = "permission denied"
_STATE_ADVICE: Final = {
    "starting": "it is still starting; try again soon",
    "draining": "it takes no new turns; `acpctl drain --off` ends that, unless it is stopping",
    "stopping": "it is shutting down",
}


class Finding(NamedTuple):
    """A line of the checklist. ``ok`` is None where nothing is wrong or right; ``advice`` says what to do.

    ``level`` is that of the daemon's security findings, ``warning`` or ``note``; a warning alone does not fail.
    """

    name: str
    ok: bool | None
    detail: str
    advice: str = ""
    level: str = ""


def run(context: typer.Context, *, output: OutputFormat = "table") -> int:
    """Find out why something doesn't work.

    Looks at everything between acpctl and a working acpbot, and says what to do.
    """
    options = global_options(context)
    findings: list[Finding] = []
    status = _examine(options, findings)
    if any(finding.ok is False for finding in findings):
        status = status or FAILED
    if output == "json":
        options.out.json({"ok": status == DONE, "checks": [finding._asdict() for finding in findings]})
    else:
        options.out.lines(_checklist([*findings, _summary(findings)], options.out))
    return status


def _examine(options: GlobalOptions, findings: list[Finding]) -> int:
    found = ""
    for candidate in socket_paths.candidates(options.socket, os.environ, options.system_path):
        usable = _check_candidate(candidate, findings, options.system_path, found=found)
        found = found or (candidate.path if usable else "")
    denied = any(finding.detail == _DENIED for finding in findings)
    if not found:
        if denied:
            return DENIED
        findings.append(Finding("daemon", ok=False, detail="no socket found", advice=socket_paths.UNREACHABLE_ADVICE))
        return UNREACHABLE
    try:
        connection = client.DaemonConnection(found, options.timeout)
    except CliError as error:
        problem, _, advice = error.message.partition("; ")
        findings.append(Finding("daemon", ok=False, detail=problem, advice=advice))
        return error.exit_code
    with connection:
        return _check_daemon(connection, findings)


def _check_candidate(
    candidate: socket_paths.Candidate, findings: list[Finding], system_path: str, *, found: str
) -> bool:
    """Whether acpctl would use this path; ``found`` is an earlier one that it uses."""
    name = clean(candidate.path)
    where = f" (from {candidate.origin})" if candidate.named else ""
    try:
        status = Path(candidate.path).stat()
        folder = Path(candidate.path).parent.stat()
    except PermissionError:
        closed = False if candidate.named else None
        findings.append(Finding(f"socket {name}{where}", ok=closed, detail=_DENIED, advice=socket_paths.DENIED_ADVICE))
        return False
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else clean(error.strerror).lower()
        missing = False if candidate.named else None
        findings.append(Finding(f"socket {name}{where}", ok=missing, detail=reason))
        return False
    if not stat.S_ISSOCK(status.st_mode):
        advice = "remove it, or name acpbot's socket with --socket or ACPBOT_SOCKET"
        findings.append(Finding(f"socket {name}{where}", ok=False, detail="it is not a socket", advice=advice))
        return False
    detail = f"{_owner(status.st_uid)} {stat.S_IMODE(status.st_mode):04o}"
    detail += f", folder {_owner(folder.st_uid)} {stat.S_IMODE(folder.st_mode):04o}"
    if not candidate.named and (reason := socket_paths.distrust(candidate.path, system_path)):
        advice = f"somebody else made it ({reason}); acpctl stays away from it"
        findings.append(Finding(f"socket {name}", ok=False, detail=detail, advice=advice))
        return False
    others = status.st_mode & 0o002 or folder.st_mode & 0o002
    advice = "others can reach it: chmod it to 0600, or 0660 with a group" if others else ""
    if found:
        advice = f"acpctl uses {clean(found)}, which comes first; name this one with --socket"
    findings.append(Finding(f"socket {name}{where}", ok=not others, detail=detail, advice=advice))
    return True


def _check_daemon(connection: client.DaemonConnection, findings: list[Finding]) -> int:
    state = clean(connection.hello.get("state"))
    findings.append(
        Finding(
            "daemon",
            ok=state == "running",
            detail=f"acpbot {connection.version}, protocol {client.PROTOCOL}, {state}",
            advice="" if state == "running" else _STATE_ADVICE.get(state, "see acpbot's log"),
        )
    )
    admin = connection.access == "admin"
    advice = "your access is read-only; run acpctl as root or acpbot's user, or be named in [management] admin_users"
    findings.append(
        Finding("access", ok=admin or None, detail=connection.access or "none", advice="" if admin else advice)
    )
    same = connection.version == __version__
    detail = f"acpctl {__version__}, acpbot {connection.version}"
    findings.append(
        Finding("versions", ok=same, detail=detail, advice="" if same else "install the same version of both")
    )
    try:
        _check_health(connection.call("health.get"), findings)
        rows = connection.parse_rows(connection.call("sessions.list"), "sessions", "sessions.list")
    except CliError as error:
        problem, _, advice = error.message.partition("; ")
        findings.append(Finding("answers", ok=False, detail=problem, advice=advice))
        return error.exit_code
    stuck = [row for row in rows if row.get("state") == "stuck"]
    for row in stuck:
        thread = clean(row.get("thread_id"))
        activity = clean(row.get("activity")) or "no tool runs"
        detail = f"{thread} silent for {duration(row.get('silent_seconds'))}: {activity}"
        advice = f"`acpctl show {thread}`, then `acpctl cancel {thread}` or `acpctl kill {thread}`"
        findings.append(Finding("stuck", ok=False, detail=detail, advice=advice))
    if not stuck:
        findings.append(Finding("sessions", ok=True, detail=f"{plural(len(rows), 'session')}, none stuck"))
    return DONE


def _check_health(health: dict[str, Any], findings: list[Finding]) -> None:
    warnings = health.get("warnings") or ()
    for check in client.objects(health.get("checks")):
        if check.get("name") == "stuck":
            continue  # each stuck session gets a line of its own
        passed = check.get("ok") is True
        warns = not passed and check.get("name") in warnings
        reason = clean(check.get("reason"))
        advice = "" if passed else "see `acpctl health` and acpbot's log"
        name, level = f"health: {clean(check.get('name'))}", "warning" if warns else ""
        detail = reason or ("ok" if passed else "failed")
        findings.append(Finding(name, ok=None if warns else passed, detail=detail, advice=advice, level=level))
    _list_security(health, findings)
    if health.get("ready") is not True and not any(finding.ok is False for finding in findings):
        findings.append(Finding("health", ok=False, detail="not ready", advice="see `acpctl health`"))


def _list_security(health: dict[str, Any], findings: list[Finding]) -> None:
    """The daemon's own findings; it alone knows its configuration and where its files are."""
    if health.get("security", ()) is None:
        findings.append(Finding("security", ok=None, detail="only admins see this part"))
    for found in client.objects(health.get("security")):
        level = clean(found.get("level"))
        name, detail, advice = (clean(found.get(key)) for key in ("name", "detail", "advice"))
        findings.append(Finding(f"security: {name}", ok=None, detail=detail, advice=advice, level=level))


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
            False: ("✗", "fail", "alert"),
            None: ("!", "warn", "yellow") if finding.level == "warning" else ("·", "-", "dim"),
        }[finding.ok]
        symbol = out.paint(out.terminal_glyph(glyph, f"{word:<4}"), style)
        indent = " " * (3 if out.terminal else 6)
        taken = len(indent) + width(finding.name) + 2
        first, *others = out.beside(taken, finding.detail)
        lines += [f"{symbol}  {out.paint(finding.name, 'bold')}  {first}".rstrip(), *others]
        if finding.advice:
            important = finding.ok is False or finding.level == "warning"
            for line in out.wrap(finding.advice, len(indent)):
                lines.append(out.paint(f"{indent}{line}", "yellow" if important else "dim"))
    return lines


def _summary(findings: list[Finding]) -> Finding:
    failed = sum(finding.ok is False for finding in findings)
    warned = sum(finding.ok is None and finding.level == "warning" for finding in findings)
    passed = sum(finding.ok is True for finding in findings)
    detail = f"{passed} ok, {plural(warned, 'warning')}, {failed} failed"
    advice = "start with the first line that failed" if failed else ""
    return Finding("summary", ok=not failed, detail=detail, advice=advice)
