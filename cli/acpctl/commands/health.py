"""`acpctl health`: whether the daemon is ready, and why not."""

from typing import Annotated, Any, Final

import typer

from acpctl.client import objects
from acpctl.exit_codes import DONE, NOT_READY
from acpctl.options import GlobalOptions, OutputFormat, global_options
from acpctl.quantities import count, number, size
from acpctl.render.output import Output
from acpctl.render.table import Cell
from acpctl.text import clean
from acpctl.times import duration

_WATCH_SECONDS: Final = 1.0
_POOL_STATES: Final = {
    **{name: name for name in ("starting", "idle", "busy", "waiting", "stuck", "suspended", "warm", "queued")},
    "in_line": "in line",
}


def run(
    context: typer.Context,
    *,
    output: OutputFormat = "table",
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep watching: redraw on a terminal, else print one JSON object per line.")
    ] = False,
) -> int:
    """Show whether acpbot is ready, and why not. Exit status 3 where it is not."""
    options = global_options(context)
    if watch:
        _watch(options, output)
        return DONE
    with options.connect() as connection:
        connection.require("health.get", "show the health")
        health = connection.call("health.get")
    if output == "json":
        options.out.json(health)
    else:
        options.out.lines(_page(health, options.out))
    return DONE if health.get("ready") is True else NOT_READY


def _watch(options: GlobalOptions, output: str) -> None:
    out = options.out
    with options.connect(streams=True) as connection:
        connection.require("health.get", "watch")

        def fetch() -> dict[str, Any]:
            connection.reset_deadline()
            return connection.call("health.get")

        if not out.terminal or output == "json":
            while not out.reader_gone:
                out.json(fetch(), line=True)
                connection.receive(_WATCH_SECONDS)
            return
        from acpctl.terminal.screen import redraw_until_quit  # noqa: PLC0415 - only --watch on a terminal needs it

        health = fetch()

        def refresh() -> None:
            nonlocal health
            connection.receive(0)
            health = fetch()

        redraw_until_quit(connection, lambda: _page(health, out), refresh, footer=out.paint("q leaves", "dim"))


def _page(health: dict[str, Any], out: Output) -> list[str]:
    """The answer of ``health.get`` as people read it."""
    ready = health.get("ready") is True
    symbol = out.terminal_glyph("● ")
    head = out.paint(f"{symbol}{'ready' if ready else 'not ready'}", "green" if ready else "alert")
    version = f"acpbot {clean(health.get('version')) or '?'}, {clean(health.get('state')) or '?'}"
    lines = [f"{head}  {version}, up {duration(health.get('uptime_seconds'))}", ""]
    return [*lines, *out.fields([*_check_fields(health, out), *_fact_fields(health)])]


def _check_fields(health: dict[str, Any], out: Output) -> list[tuple[str, Cell]]:
    fields: list[tuple[str, Cell]] = []
    warnings = health.get("warnings") or ()
    for check in objects(health.get("checks")):
        passed = check.get("ok") is True
        reason = clean(check.get("reason"))
        glyph, word, style = ("✓ ", "ok", "green") if passed else ("✗ ", "failed", "alert")
        if not passed and check.get("name") in warnings:
            glyph, word, style = "! ", "warning", "yellow"
        result = f"{word}: {reason}" if reason else word
        fields.append((clean(check.get("name")), (out.terminal_glyph(glyph) + result, style)))
    return fields


def _fact_fields(health: dict[str, Any]) -> list[tuple[str, Cell]]:
    fields: list[tuple[str, Cell]] = []
    chat = health.get("chat")
    if isinstance(chat, dict):
        since = f" since {clean(chat['since'])}" if chat.get("since") else ""
        connected = "connected" if chat.get("connected") else "not connected"
        fields.append(("platform", (f"{clean(chat.get('platform'))}, {connected}{since}", "")))
        gateway = []
        if (latency := number(chat.get("latency_ms"))) is not None:
            gateway.append(f"latency {latency:.0f} ms")
        if number(chat.get("last_heartbeat_ack_seconds")) is not None:
            gateway.append(f"heartbeat {duration(chat['last_heartbeat_ack_seconds'])} ago")
        if gateway:
            fields.append(("gateway", (", ".join(gateway), "")))
    pool = health.get("pool")
    if isinstance(pool, dict):
        states = ", ".join(
            f"{count(pool[name])} {words}" for name, words in _POOL_STATES.items() if number(pool.get(name))
        )
        total = f"{count(pool.get('sessions'))} of {count(pool.get('max'))}"
        fields.append(("sessions", (f"{total}: {states}" if states else total, "")))
    if places := number(health.get("warm_places")):
        fields.append(("warm places", (f"{places:.0f} without an agent, for the next threads", "")))
    lag = number(health.get("loop_lag_ms"))
    fields.append(("loop lag", ("-" if lag is None else f"{lag:.1f} ms", "")))
    fields.append(("memory", (size(health.get("rss_bytes")), "")))
    return fields
