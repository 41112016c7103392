"""Watch the site live: each channel's last message, rate and queue; each destination's state, retries and next try.

On a terminal the table is drawn anew each second, until Ctrl-C; elsewhere one follows the other every ten seconds.
"""

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from engine.commands.shared.output import SCHEMA_VERSION, Column, ExitCode, Form, form_option, table, to_json
from engine.commands.shared.session import Session, pass_session
from engine.commands.shared.switching import given_duration
from engine.commands.status import COLORS
from engine.model.phrases import Span

GROUP = "every day"

EVERY_S = {True: 1.0, False: 10.0}  # by whether this is a terminal
HOME_AND_CLEAR = "\x1b[H\x1b[J"
CHANNELS = (
    Column("name", "CHANNEL"),
    Column("words", "STATE"),
    Column("last", "LAST MESSAGE", right=True),
    Column("per_min", "/MIN", right=True),
    Column("today_received", "TODAY", right=True),
    Column("waiting", "QUEUE", right=True),
    Column("oldest", "OLDEST", right=True),
    Column("dead", "DEAD", right=True),
)
DESTINATIONS = (
    Column("name", "DESTINATION"),
    Column("words", "STATE"),
    Column("rate_per_min", "/MIN", right=True),
    Column("waiting", "QUEUE", right=True),
    Column("oldest", "OLDEST", right=True),
    Column("in_flight", "UNDER WAY", right=True),
    Column("trouble", "RETRYING"),
    Column("next", "NEXT TRY", right=True),
)


@click.command(help=__doc__)
@click.option(
    "--every",
    metavar="TIME",
    callback=lambda ctx, param, text: None if text is None else given_duration(ctx, param, text),
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
    lanes = channel["lanes"]
    new = channel["today_received"] - earlier if earlier is not None else -1
    return {
        "name": channel["name"],
        "state": channel["state"],
        "level": channel["level"],
        "words": channel["words"],
        "last_message_age_s": channel["last_message_age_s"],
        "per_min": round(new * 60 / passed_s, 1) if new >= 0 and passed_s > 0 else None,
        "today_received": channel["today_received"],
        "waiting": channel["stored_waiting"] + sum(lane["waiting"] for lane in lanes),
        "oldest_age_s": max((lane["oldest_age_s"] for lane in lanes if lane["oldest_age_s"] is not None), default=None),
        "dead": channel["dead"] + sum(lane["dead"] for lane in lanes),
    }


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
        rows = [
            {**one, "last": _age(one["last_message_age_s"]), "oldest": _age(one["oldest_age_s"])}
            for one in document["channels"]
        ]
        yield from _coloured(rows, CHANNELS)
    if document["destinations"]:
        yield ""
        yield from _coloured([_told(one) for one in document["destinations"]], DESTINATIONS)


def _told(destination: dict[str, Any]) -> dict[str, Any]:
    retrying, trouble = destination["retrying"], ""
    if retrying is not None:
        which = f"message {retrying['message']} of {retrying['channel']}"
        trouble = f"{retrying['reason']}, {which}, attempts failed: {retrying['attempt']}"
    return {
        **destination,
        "rate_per_min": f"{destination['rate_per_min']:.0f}",
        "oldest": _age(destination["oldest_age_s"]),
        "trouble": trouble,
        "next": _age(destination["next_try_s"]),
    }


def _coloured(rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> Iterator[str]:
    """The lines of a table, each in the colour of its row's level."""
    heading, *lines = table(rows, columns)
    yield heading
    for row, line in zip(rows, lines, strict=True):
        yield line if row["level"] == "ok" else click.style(line, fg=COLORS[row["level"]])


def _fitting(lines: list[str]) -> list[str]:
    import shutil

    height = shutil.get_terminal_size().lines
    return lines if len(lines) < height else [*lines[: height - 2], f"... {len(lines) - height + 2} lines more"]


def _age(seconds: float | None) -> str:
    return "" if seconds is None else Span(seconds).say()
