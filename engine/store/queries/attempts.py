"""Read the last failed attempts at one destination."""

from typing import NamedTuple

from engine.store.queries.reader import Reader

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
