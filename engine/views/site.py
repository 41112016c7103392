"""Channels, destinations, lanes and pauses: of the daemon's answer (`SiteSnapshot.to_json`), or of the journal.

Copies of the journal.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.model.journal.records import ChannelView, LaneView, Pause
from engine.model.texts.units import duration_text, size_words
from engine.views.view import Field, Row, View, age, at, plural

if TYPE_CHECKING:
    from engine.store.recovery.backups.catalog import Copy


CHANNEL = View[Row](
    "channels",
    Field("name", "CHANNEL"),
    Field("words", "STATE"),
    Field("link", "LINE", shown=lambda one: one["link"]["words"]),
    Field("address", "ADDRESS"),
    Field("last_message_age_s", "LAST MESSAGE", shown=lambda one: age(one["last_message_age_s"]), right=True),
    Field("usual", "USUALLY", shown=lambda one: one["usual"]["words"] or ""),
    Field("today_received", "TODAY", right=True),
    Field("today_delivered", "DELIVERED", right=True),
    Field("waiting", "WAITING", right=True),
    Field("dead_total", "DEAD", right=True),
    Field("incomplete", "INCOMPLETE", right=True),
)
DESTINATION = View[Row](
    "destinations",
    Field("name", "DESTINATION"),
    Field("words", "STATE"),
    Field("address", "ADDRESS"),
    Field("waiting", "WAITING", right=True),
    Field("oldest_age_s", "OLDEST", shown=lambda one: age(one["oldest_age_s"]), right=True),
    Field("delivered_today", "TODAY", right=True),
    Field("dead", "DEAD", right=True),
    Field("last_error", "LAST ERROR", shown=lambda one: _error(one)),
)
STORED_CHANNEL = View[ChannelView](
    "channels",
    Field("name", "CHANNEL"),
    Field("last_message_at", "LAST MESSAGE", of=at("last_us")),
    Field("last_seq", "MESSAGES", right=True),
    Field("stored_waiting", "NOT MAPPED", of="stored", right=True),
    Field("dead", "DEAD", right=True),
    Field("incomplete", "INCOMPLETE", right=True),
)
STORED_LANE = View[LaneView](
    "lanes",
    Field("channel", "CHANNEL"),
    Field("destination", "DESTINATION"),
    Field("waiting", "WAITING", of="open", right=True),
    Field("dead", "DEAD", right=True),
    Field("held", "HELD", right=True),
    Field("held_critical", "CRITICAL", right=True),
    Field("held_since", of=at("held_since_us")),
    Field("paused"),
)
PAUSE = View[Pause](
    "pauses",
    Field("", "PAUSED", of=lambda one: f"{one.target.kind} {one.target.name}"),
    Field("kind", of=lambda one: one.target.kind),
    Field("name", of=lambda one: one.target.name),
    Field("by", "BY", of="actor"),
    Field("since", "SINCE", of=at("since_us")),
    Field("reason", "REASON"),
)


def _error(destination: Row) -> str:
    error = destination["last_error"]
    return error["code"] if error and destination["level"] != "ok" else ""


def tee_words(channel: Row) -> str:
    heard = channel["tee"]
    text = f"{channel['name']} (tee): seen {heard['seen']}, acknowledged by the middleware {heard['acknowledged']}"
    if heard["refused"]:
        text += f", refused {heard['refused']}"
    text += f"; orders seen {heard['middleware_seen']}"
    return text + (f"; not kept {heard['not_kept']}" if heard["not_kept"] else "")


def waits_for(destination: Row) -> str:
    failed = destination["retrying"]
    which = f"message {failed['message']} of {failed['channel']}"
    return f"{destination['name']} waits for {which}: {failed['code']}, {plural(failed['attempt'], 'attempt')} failed"


COPY: "View[Copy]" = View(
    "copies",
    Field("copy", "COPY", of="name"),
    Field("path", of=lambda copy: str(copy.path)),
    Field("made", "MADE", of="made_at"),
    Field("age", "AGE", of=lambda copy: duration_text(_age_s(copy))),
    Field("age_s", of=lambda copy: _age_s(copy)),
    Field("size", "SIZE", of=lambda copy: size_words(copy.bytes()), right=True),
    Field("bytes", of=lambda copy: copy.bytes()),
    Field("last", of=lambda copy: copy.last_id()),
    Field("pieces", of=lambda copy: len(copy.pieces())),
    Field("rows_until", "ROWS UNTIL", of=lambda copy: copy.rows_at()),
    Field(
        "verified",
        "VERIFIED",
        of=lambda copy: "; ".join(_findings(copy)) or _verified(copy),
        shown=lambda copy: "not whole: see below" if _findings(copy) else _verified(copy),
    ),
    Field("findings", of=lambda copy: _findings(copy)),
    Field("whole", of="is_whole"),
    Field("key", of=lambda copy: copy.manifest.key),
)


def _age_s(copy: "Copy") -> int:
    return round((datetime.now(UTC) - copy.made_at).total_seconds())


def _findings(copy: "Copy") -> list[str]:
    return [] if copy.verified is None else list(copy.verified.findings)


def _verified(copy: "Copy") -> datetime | str:
    return "not yet" if copy.verified is None else datetime.fromisoformat(copy.verified.at)
