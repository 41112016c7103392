"""Show what the site does now: channels, destinations, what waits and what is wrong.

The running daemon answers; where none runs, the journal says what it holds (exit code 4, unless `--offline` asked for
it).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from engine.actions.control import UnreachableError
from engine.commands.shared.output import Column, ExitCode, Form, form_option, printable, say, show_document, table
from engine.commands.shared.session import Session, pass_session
from engine.model.phrases import Span

GROUP = "every day"

COLORS = {"ok": "green", "attention": "yellow", "problem": "red"}
CHANNELS = (
    Column("name", "CHANNEL"),
    Column("words", "STATE"),
    Column("line", "LINE"),
    Column("address", "ADDRESS"),
    Column("age", "LAST MESSAGE", right=True),
    Column("today_received", "TODAY", right=True),
    Column("today_delivered", "DELIVERED", right=True),
    Column("waiting", "WAITING", right=True),
    Column("dead", "DEAD", right=True),
)
DESTINATIONS = (
    Column("name", "DESTINATION"),
    Column("words", "STATE"),
    Column("address", "ADDRESS"),
    Column("waiting", "WAITING", right=True),
    Column("oldest", "OLDEST", right=True),
    Column("delivered_today", "TODAY", right=True),
    Column("dead", "DEAD", right=True),
    Column("problem", "LAST ERROR"),
)
LANES = (
    Column("channel", "CHANNEL"),
    Column("destination", "DESTINATION"),
    Column("waiting", "WAITING", right=True),
    Column("dead", "DEAD", right=True),
    Column("held", "HELD", right=True),
    Column("held_critical", "CRITICAL", right=True),
)
INCOMPLETE = Column("incomplete", "INCOMPLETE", right=True)  # where there are any
PAUSES = (Column("what", "PAUSED"), Column("by", "BY"), Column("since", "SINCE"), Column("reason", "REASON"))


@click.command(help=__doc__)
@click.option("--offline", is_flag=True, help="Do not ask the daemon; read the journal.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, offline: bool, form: Form) -> ExitCode:
    down: UnreachableError | None = None
    if not offline:
        try:
            said = session.call("status")
            show_document(form, {"daemon": True, **said}, _lines(said))
            return ExitCode.OK
        except UnreachableError as error:
            down = error
    if down is not None:
        say(f"labrelay: {down}")
    found = _from_journal(session)
    show_document(form, {"daemon": False, **found}, _offline_lines(found))
    return ExitCode.UNREACHABLE if down is not None else ExitCode.OK


def _lines(said: dict[str, Any]) -> Iterator[str]:
    overall = said["overall"]
    yield click.style(overall["words"], fg=COLORS.get(overall["level"]), bold=True)
    for finding in said["findings"][1:]:
        yield click.style(f"  {finding['words']}", fg=COLORS.get(finding["level"]))
    yield f"{said['site_name']}, LabRelay {said['version']}, configuration {said['config_hash']}"
    if said.get("unmapped_total"):
        yield "Which codes: labrelay gaps"
    if said.get("dead_total") or said.get("incomplete_total"):
        yield "Which messages: labrelay dlq list"
    if not said["channels"]:
        yield "No channel yet: labrelay init --analyzer NAME writes one, labrelay detect one for an unknown analyzer"
    if said["channels"]:
        yield ""
        columns = (*CHANNELS, INCOMPLETE) if said.get("incomplete_total") else CHANNELS
        yield from table([_channel(channel) for channel in said["channels"]], columns)
        yield from (_tee(channel) for channel in said["channels"] if channel["tee"] is not None)
    if said["destinations"]:
        yield ""
        yield from table([_destination(destination) for destination in said["destinations"]], DESTINATIONS)
        yield from (_waits_for(one) for one in said["destinations"] if one["retrying"] is not None)


def _channel(channel: dict[str, Any]) -> dict[str, Any]:
    lanes = channel["lanes"]
    return {
        **channel,
        "line": channel["link"]["words"],
        "age": _age(channel["last_message_age_s"]),
        "waiting": channel["stored_waiting"] + sum(lane["waiting"] for lane in lanes),
        "dead": channel["dead"] + sum(lane["dead"] for lane in lanes),
    }


def _tee(channel: dict[str, Any]) -> str:
    heard = channel["tee"]
    text = f"{channel['name']} (tee): seen {heard['seen']}, acknowledged by the middleware {heard['acknowledged']}"
    if heard["refused"]:
        text += f", refused {heard['refused']}"
    text += f"; orders seen {heard['middleware_seen']}"
    return text + (f"; not kept {heard['not_kept']}" if heard["not_kept"] else "")


def _destination(destination: dict[str, Any]) -> dict[str, Any]:
    error = destination["last_error"]
    return {
        **destination,
        "oldest": _age(destination["oldest_age_s"]),
        "problem": error["reason"] if error and destination["level"] != "ok" else "",
    }


def _waits_for(destination: dict[str, Any]) -> str:
    failed = destination["retrying"]
    attempts = f"{failed['attempt']} attempt" + ("" if failed["attempt"] == 1 else "s")
    which = f"message {failed['message']} of {failed['channel']}"
    return f"{destination['name']} waits for {which}: {failed['reason']}, {attempts} failed"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else Span(seconds).say()


def _from_journal(session: Session) -> dict[str, Any]:
    from engine.store.queries.lanes import list_channels, list_lanes, list_pauses

    with session.reader() as reader:
        channels = [
            {
                "name": view.name,
                "last_seq": view.last_seq,
                "last_message_at": datetime.fromtimestamp(view.last_us / 1e6, UTC) if view.last_us else None,
                "stored_waiting": view.stored,
                "dead": view.dead,
                "incomplete": view.incomplete,
            }
            for view in list_channels(reader)
        ]
        lanes = [
            {
                "channel": view.channel,
                "destination": view.destination,
                "waiting": view.open,
                "dead": view.dead,
                "held": view.held,
                "held_critical": view.held_critical,
                "held_since": datetime.fromtimestamp(view.held_since_us / 1e6, UTC) if view.held_since_us else None,
                "paused": view.paused,
            }
            for view in list_lanes(reader)
        ]
        pauses = [
            {
                "kind": pause.target.kind,
                "name": pause.target.name,
                "by": pause.actor,
                "since": datetime.fromtimestamp(pause.since_us / 1e6, UTC) if pause.since_us else None,
                "reason": pause.reason,
            }
            for pause in list_pauses(reader)
        ]
    return {"channels": channels, "lanes": lanes, "pauses": pauses}


def _offline_lines(found: dict[str, Any]) -> Iterator[str]:
    yield click.style("The daemon does not run; this is what the journal holds.", bold=True)
    rows = [{**channel, "last": channel["last_message_at"]} for channel in found["channels"]]
    columns = (
        Column("name", "CHANNEL"),
        Column("last", "LAST MESSAGE"),
        Column("last_seq", "MESSAGES", right=True),
        Column("stored_waiting", "NOT MAPPED", right=True),
        Column("dead", "DEAD", right=True),
        INCOMPLETE,
    )
    if rows:
        yield from table(rows, columns)
    if found["lanes"]:
        yield ""
        yield from table(found["lanes"], LANES)
    if found["pauses"]:
        yield ""
        yield from table([{**pause, "what": f"{pause['kind']} {pause['name']}"} for pause in found["pauses"]], PAUSES)
    if not rows:
        yield printable("no message was ever received")
