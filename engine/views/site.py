"""Channels, destinations, lanes and pauses: of the daemon's answer (`SiteSnapshot.to_json`), or of the journal."""

from engine.model.journal.records import ChannelView, LaneView, Pause
from engine.views.view import Field, Row, View, age, at, plural

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
