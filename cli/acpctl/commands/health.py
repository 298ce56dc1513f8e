"""`acpctl health`: ready or not, and why."""

from typing import Annotated, Any

import typer

from acpctl.exit_codes import DONE, NOT_READY
from acpctl.options import Format, Globals, given
from acpctl.render.output import Output
from acpctl.render.table import Cell
from acpctl.text import clean, count, duration, number, size, width

_POOL = ("starting", "idle", "busy", "waiting", "stuck", "suspended", "queued")


def run(
    context: typer.Context,
    *,
    output: Format = "table",
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: redraw on a terminal, else one JSON object a line.")
    ] = False,
) -> int:
    """Show whether acpbot is ready, and why not. Exit status 3 where it is not."""
    options = given(context)
    if watch:
        return _watch(options, output)
    with options.connect() as connection:
        connection.need("health.get", "tell the health")
        health = connection.call("health.get")
    if output == "json":
        options.out.json(health)
    else:
        options.out.lines(page(health, options.out))
    return DONE if health.get("ready") is True else NOT_READY


def _watch(options: Globals, output: str) -> int:
    from acpctl.live_sessions import every_second  # noqa: PLC0415 - one look needs none of it

    def lines(health: dict[str, Any]) -> list[str]:
        return page(health, options.out)

    return every_second(options, "health.get", lines, drawn=output == "table")


def page(health: dict[str, Any], out: Output) -> list[str]:
    """The answer of ``health.get`` for people."""
    ready = health.get("ready") is True
    mark = out.mark("● ")
    head = out.paint(f"{mark}{'ready' if ready else 'not ready'}", "green" if ready else "alarm")
    version = f"acpbot {clean(health.get('version')) or '?'}, {clean(health.get('state')) or '?'}"
    lines = [f"{head}  {version}, up {duration(health.get('uptime_seconds'))}", ""]
    pairs = [*_checks(health, out), *_facts(health)]
    label = max(width(name) for name, _ in pairs)
    return [*lines, *(f"  {out.paint(name.ljust(label), 'dim')}  {out.paint(*cell)}" for name, cell in pairs)]


def _checks(health: dict[str, Any], out: Output) -> list[tuple[str, Cell]]:
    checks = health.get("checks")
    pairs: list[tuple[str, Cell]] = []
    for check in checks if isinstance(checks, list) else ():
        if not isinstance(check, dict):
            continue
        passed = check.get("ok") is True
        reason = clean(check.get("reason"))
        said = ("ok" if passed else "failed") + (f": {reason}" if reason else "")
        glyph = out.mark("✓ " if passed else "✗ ")
        pairs.append((clean(check.get("name")), (glyph + said, "green" if passed else "alarm")))
    return pairs


def _facts(health: dict[str, Any]) -> list[tuple[str, Cell]]:
    pairs: list[tuple[str, Cell]] = []
    chat = health.get("chat")
    if isinstance(chat, dict):
        since = f" since {clean(chat['since'])}" if chat.get("since") else ""
        connected = "connected" if chat.get("connected") else "not connected"
        pairs.append(("platform", (f"{clean(chat.get('platform'))}, {connected}{since}", "")))
        said = []
        if (latency := number(chat.get("latency_ms"))) is not None:
            said.append(f"latency {latency:.0f} ms")
        if number(chat.get("last_heartbeat_ack_seconds")) is not None:
            said.append(f"heartbeat {duration(chat['last_heartbeat_ack_seconds'])} ago")
        if said:
            pairs.append(("gateway", (", ".join(said), "")))
    pool = health.get("pool")
    if isinstance(pool, dict):
        states = ", ".join(f"{count(pool[name])} {name}" for name in _POOL if number(pool.get(name)))
        total = f"{count(pool.get('sessions'))} of {count(pool.get('max'))}"
        pairs.append(("sessions", (f"{total}: {states}" if states else total, "")))
    lag = number(health.get("loop_lag_ms"))
    pairs.append(("loop lag", ("-" if lag is None else f"{lag:.1f} ms", "")))
    pairs.append(("memory", (size(health.get("rss_bytes")), "")))
    return pairs
