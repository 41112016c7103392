"""Read the state of channels and lanes: their tallies, open work and pauses.

Read the last failed attempts at one destination.
"""

from typing import NamedTuple

from engine.model.journal import records
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


def has_open(reader: Reader, channel: str) -> bool:
    """Whether a channel has messages to map, or deliveries to make."""
    sql = "SELECT (SELECT sum(stored) FROM channel WHERE name = ?), (SELECT sum(open) FROM lane WHERE channel = ?)"
    return any(reader.row(sql, (channel, channel)))


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


def waiting_by_time(reader: Reader, destination: str, since_us: int, step_us: int) -> dict[int, int]:
    """How many deliveries wait for a destination, by the step at whose end their messages had come."""
    rows = reader.rows(
        "SELECT max(0, (j.received_us - ? + ? - 1) / ?), count(*) FROM lane l JOIN delivery d ON d.lane = l.id"
        " AND d.state = 'waiting' JOIN journal j ON j.id = d.message_id WHERE l.destination = ? GROUP BY 1",
        (since_us, step_us, step_us, destination),
    )
    return dict(rows)


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


HEADS = 10  # deliveries at the front of a lane that are looked at
DEAD = 2000  # dead and held deliveries of all lanes that are looked at, the newest
DELIVERIES = 40  # whose attempts are read


class Tried(NamedTuple):
    """A failed attempt.

    Attributes:
        n: of its delivery, from 1.
        cause: reason code.
        state: of the delivery now.
    """

    at_us: int
    channel: str
    message_id: int
    n: int
    cause: str
    state: str


def last_attempts(reader: Reader, destination: str, *, limit: int) -> list[Tried]:
    """The last failed attempts of deliveries that wait, or have failed for good; the newest first."""
    with reader.snapshot() as execute:
        lanes = dict(execute("SELECT id, channel FROM lane WHERE destination = ?", (destination,)).fetchall())
        open_ones = [
            row
            for lane in lanes
            for state in ("waiting", "sending")  # word for word as in the indexes
            for row in execute(
                "SELECT id, lane, message_id, state FROM (SELECT id, lane, message_id, state, attempt FROM delivery"  # noqa: S608 - constants
                f" WHERE state = '{state}' AND lane = ? ORDER BY seq LIMIT ?) WHERE attempt > 0",
                (lane, HEADS),
            )
        ]
        stuck = execute(
            "SELECT id, lane, message_id, state FROM delivery WHERE state IN ('dead', 'held')"
            " ORDER BY message_id DESC, id DESC LIMIT ?",
            (DEAD,),
        ).fetchall()
        dead = [row for row in stuck if row[1] in lanes]
        found = [
            Tried(at_us, lanes[lane], message_id, n, cause, state)
            for delivery, lane, message_id, state in (*open_ones[:DELIVERIES], *dead[:DELIVERIES])
            for n, at_us, cause in execute(
                "SELECT n, at_us, cause FROM attempt WHERE delivery = ? ORDER BY n DESC LIMIT ?", (delivery, limit)
            )
        ]
    return sorted(found, reverse=True)[:limit]
