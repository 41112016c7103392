"""Watch the site live: each channel's last message, rate and queue; each destination's state, retries and next try.

On a terminal the table is drawn anew each second, until Ctrl-C; elsewhere one follows the other every ten seconds.
"""

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from engine.commands.shared.output import SCHEMA_VERSION, ExitCode, Form, form_option, to_json
from engine.commands.shared.selecting import given_duration
from engine.commands.shared.session import Session, pass_session
from engine.commands.status import COLORS
from engine.views.site import BUSY_CHANNEL, BUSY_DESTINATION
from engine.views.text import table
from engine.views.view import Row, View

GROUP = "every day"

EVERY_S = {True: 1.0, False: 10.0}  # by whether this is a terminal
HOME_AND_CLEAR = "\x1b[H\x1b[J"


@click.command(help=__doc__)
@click.option(
    "--every",
    metavar="TIME",
    callback=given_duration,
    help="Between two tables; 1s on a terminal, else 10s.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many tables.")
@form_option(Form.TABLE, Form.NDJSON)
@pass_session
def command(session: Session, every: float | None, count: int | None, form: Form) -> ExitCode:
    live = form is Form.TABLE and sys.stdout.isatty()
    pause_s = EVERY_S[live] if every is None else max(0.1, every)
    before: dict[str, Any] | None = None
    shown = 0
    while True:
        said = session.call("status")
        document = _document(said, before)
        if form is Form.NDJSON:
            click.echo(to_json({"schema_version": SCHEMA_VERSION, **document}))
        else:
            lines = list(_lines(session, said, document))
            # In one write, so that nothing flickers; a table that is longer than the screen keeps its head.
            click.echo((HOME_AND_CLEAR if live else "") + "\n".join(_fitting(lines) if live else [*lines, ""]))
        before = said
        shown += 1
        if count is not None and shown >= count:
            return ExitCode.OK
        time.sleep(pause_s)


def _document(said: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    now = datetime.fromisoformat(said["now"])
    earlier = {one["name"]: one["today_received"] for one in before["channels"]} if before is not None else {}
    passed_s = (now - datetime.fromisoformat(before["now"])).total_seconds() if before is not None else 0.0
    return {
        "at": said["now"],
        "overall": said["overall"],
        "channels": [_channel(one, earlier.get(one["name"]), passed_s) for one in said["channels"]],
        "destinations": [_destination(one, now) for one in said["destinations"]],
    }


def _channel(channel: dict[str, Any], earlier: int | None, passed_s: float) -> dict[str, Any]:
    """``per_min``: received a minute since the look before; None at the first one, and at midnight."""
    new = channel["today_received"] - earlier if earlier is not None else -1
    names = ("name", "state", "level", "words", "last_message_age_s", "today_received", "waiting", "oldest_age_s")
    per_min = round(new * 60 / passed_s, 1) if new >= 0 and passed_s > 0 else None
    return {**{name: channel[name] for name in names}, "per_min": per_min, "dead": channel["dead_total"]}


def _destination(destination: dict[str, Any], now: datetime) -> dict[str, Any]:
    """``next_try_s``: seconds until the breaker, or else the oldest retry, lets the next attempt through."""
    retrying = destination["retrying"]
    due = destination["breaker_until"] or (retrying["next_at"] if retrying is not None else None)
    names = ("name", "state", "level", "words", "rate_per_min", "waiting", "oldest_age_s", "in_flight", "retrying")
    next_s = max(0.0, (datetime.fromisoformat(due) - now).total_seconds()) if due is not None else None
    return {**{name: destination[name] for name in names}, "next_try_s": next_s}


def _lines(session: Session, said: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    at = datetime.fromisoformat(document["at"]).astimezone(session.zone)
    overall = document["overall"]
    yield f"{said['site_name']} {at:%Y-%m-%d %H:%M:%S}  " + click.style(overall["words"], fg=COLORS[overall["level"]])
    if document["channels"]:
        yield ""
        yield from _coloured(document["channels"], BUSY_CHANNEL)
    if document["destinations"]:
        yield ""
        yield from _coloured(document["destinations"], BUSY_DESTINATION)


def _coloured(rows: list[dict[str, Any]], view: View[Row]) -> Iterator[str]:
    """The lines of a table, each in the colour of its row's level."""
    heading, *lines = table(rows, view.columns)
    yield heading
    for row, line in zip(rows, lines, strict=True):
        yield line if row["level"] == "ok" else click.style(line, fg=COLORS[row["level"]])


def _fitting(lines: list[str]) -> list[str]:
    import shutil

    height = shutil.get_terminal_size().lines
    return lines if len(lines) < height else [*lines[: height - 2], f"... {len(lines) - height + 2} lines more"]
