"""Recount from the remaining rows: places in lanes, tallies of lanes and channels, pauses."""

import sqlite3

from engine.store.recovery.salvage.tables import Tables


def pause_lanes(new: sqlite3.Connection) -> None:
    """Keep pauses that are recorded in either place; a person can resume them."""
    new.execute(
        "INSERT OR IGNORE INTO pause (channel, destination, since_us, act)"
        " SELECT channel, destination, 0, 0 FROM lane WHERE paused <> 0"
    )
    new.execute("UPDATE lane SET paused = 1 WHERE (channel, destination) IN (SELECT channel, destination FROM pause)")


def number_lanes(new: sqlite3.Connection) -> None:
    """Close the gaps in a lane's numbers: remaining deliveries move up, in order. Then recount the tallies."""
    execute = new.execute
    for (lane_id,) in execute("SELECT id FROM lane").fetchall():
        rows = execute("SELECT id, seq FROM delivery WHERE lane = ? ORDER BY seq", (lane_id,)).fetchall()
        for wanted, (delivery_id, seq) in enumerate(rows, 1):
            if seq != wanted:  # always downwards, so never onto a used number
                execute("UPDATE delivery SET seq = ? WHERE id = ?", (wanted, delivery_id))
        execute("UPDATE lane SET last_seq = ? WHERE id = ?", (len(rows), lane_id))
    for column, states in (("open", "'waiting', 'sending'"), ("dead", "'dead'"), ("held", "'held'")):
        execute(
            f"UPDATE lane SET {column} ="  # noqa: S608 - constants
            f" (SELECT count(*) FROM delivery WHERE lane = lane.id AND state IN ({states}))"
        )
    execute("UPDATE lane SET held_by = 0 WHERE held_by NOT IN (SELECT id FROM delivery WHERE state = 'dead')")


def count_channels(tables: Tables, *, all_may_be_gone: bool) -> None:
    """Recount the tallies. A number that was ever given stays given, also where its message is lost."""
    columns = ["name", "last_seq", "last_us", "stored", "dead", "incomplete"]  # the others are unknown now
    known = {row[0]: row for row in tables.rows("channel", columns)}
    kept = {name: int(row[1]) for name, row in known.items()}
    for one in tables.salvage.missing:
        for channel, (_, last) in one.channels.items():
            kept[channel] = max(kept.get(channel, 0), last)
    for name, seq, last_us, stored, dead, incomplete in tables.new.execute(
        "SELECT j.channel, max(j.seq), max(j.received_us), sum(s.id IS NULL), coalesce(sum(s.state = 'dead'), 0),"
        " coalesce(sum(s.state = 'incomplete'), 0) FROM journal j LEFT JOIN message_state s ON s.id = j.id"
        " WHERE j.kind = 1 GROUP BY j.channel"
    ).fetchall():
        tables.insert("channel", columns, (name, max(seq, kept.get(name, 0)), last_us, stored, dead, incomplete))
        known.pop(name, None)
    if all_may_be_gone:  # retention may have deleted all messages before the remaining ones
        for name, row in known.items():
            tables.insert("channel", columns, (name, kept[name], row[2], 0, 0, 0))
