"""Read the state of channels and lanes: their tallies, open work and pauses."""

from engine.model import records
from engine.store.core.notes import opened_note
from engine.store.queries.reader import Reader


def list_channels(reader: Reader) -> list[records.ChannelView]:
    rows = reader.rows(f"SELECT {', '.join(records.ChannelView._fields)} FROM channel ORDER BY name")  # noqa: S608 - constants
    return [records.ChannelView._make(row) for row in rows]


def list_lanes(reader: Reader) -> list[records.LaneView]:
    rows = reader.rows(
        "SELECT id, channel, destination, last_seq, open, dead, held, delivered_us, paused, held_by,"
        " CASE WHEN held > 0 THEN (SELECT coalesce(min(d.settled_us), 0) FROM delivery d"
        " WHERE d.lane = lane.id AND d.state = 'held') ELSE 0 END,"
        " CASE WHEN held > 0 THEN (SELECT count(*) FROM delivery d"
        " WHERE d.lane = lane.id AND d.state = 'held' AND d.flags & ?) ELSE 0 END"
        " FROM lane ORDER BY channel, destination",
        (records.CRITICAL,),
    )
    return [(view := records.LaneView._make(row))._replace(paused=bool(view.paused)) for row in rows]


def open_lanes(reader: Reader) -> list[records.OpenLane]:
    """Lanes with work, and the age of the oldest."""
    rows = reader.rows(
        "SELECT l.channel, l.destination, l.open, ("
        "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
        "  WHERE d.lane = l.id AND d.state = 'waiting' ORDER BY d.seq LIMIT 1), ("
        "  SELECT j.received_us FROM delivery d JOIN journal j ON j.id = d.message_id"
        "  WHERE d.lane = l.id AND d.state = 'sending' ORDER BY d.seq LIMIT 1)"
        " FROM lane l WHERE l.open > 0 ORDER BY l.channel, l.destination"
    )
    return [
        records.OpenLane(
            channel=channel,
            destination=destination,
            open=count,
            oldest_us=min((at for at in (waiting, sending) if at is not None), default=0),
        )
        for channel, destination, count, waiting, sending in rows
    ]


def list_pauses(reader: Reader) -> list[records.Pause]:
    """All pauses; without the key, or where the audit row is lost, they lack person and reason."""
    rows = reader.rows(
        "SELECT p.channel, p.destination, p.since_us, p.act, j.body FROM pause p"
        " LEFT JOIN journal j ON j.id = p.act AND j.kind = 3 ORDER BY p.channel, p.destination"
    )
    found = []
    for channel, destination, since_us, act, sealed in rows:
        said = opened_note(reader.keys, sealed, "body", act, "")
        what = said.get("what", {})
        found.append(
            records.Pause(
                target=records.Target(channel=channel, destination=destination),
                since_us=since_us,
                actor=str(said.get("actor", "")),
                reason=str(what.get("paused") or what.get("reason", "")),
                by_itself=said.get("verb", "pause") != "pause",
            )
        )
    return found
