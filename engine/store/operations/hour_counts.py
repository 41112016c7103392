"""Count by the hour: what each channel received, delivered and lost, and when. No message writes here.

The upkeep notes each part of five minutes once it has ended: the counters of the day, less what the hours of that day
have already. So the hours of a day add up to its counters, also after a crash; what came in the last minutes before it
counts for the hour of the next start. `engine.monitoring.usual_gaps` learns the usual gap from these hours.

A paused channel, and one without a message for `KEPT_DAYS`, has no rows: its silence teaches nothing.
"""

from datetime import datetime, timedelta

from engine.model.journal.records import HOUR_PARTS
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch

PART_US = 3600 * 1_000_000 // HOUR_PARTS
DAY_US = 86_400 * 1_000_000
KEPT_DAYS = 58  # eight weeks, and a day for each of their ends
NAMES = ("received", "delivered", "dead", "held")
_SUMS = ", ".join(f"sum({name})" for name in NAMES)
_COUNTED = (
    "SELECT channel, sum(n) FILTER (WHERE name = 'received'), sum(n) FILTER (WHERE name = 'delivered'"
    " AND destination = ''), sum(n) FILTER (WHERE name = 'dead'), sum(n) FILTER (WHERE name = 'held')"
    " FROM counter WHERE day = ? AND name IN ('received', 'delivered', 'dead', 'held') GROUP BY channel"
)
_PUT = (
    f"INSERT INTO hour_count (begins_us, channel, {', '.join(NAMES)}, parts, active, age_s)"  # noqa: S608 - constants
    " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in NAMES)
    + f", parts = min(parts + 1, {HOUR_PARTS}), active = min(active + excluded.active, {HOUR_PARTS}),"
    " age_s = max(age_s, excluded.age_s)"
)
SEEN, BUSY = "parts_seen", "parts_busy"  # counters: parts in which LabRelay ran and took a channel; with a message
_COUNT_PART = (
    "INSERT INTO counter (day, channel, destination, name, n) VALUES (?, ?, '', ?, ?)"
    " ON CONFLICT DO UPDATE SET n = n + excluded.n"
)


def note(batch: Batch, part: int) -> None:
    """Note one part of an hour, counted from 1970; the next has begun."""
    if batch.now_us > batch.steady_us + DAY_US:  # the clock has leapt ahead; what it says now must delete nothing
        return
    local = from_us(part * PART_US).astimezone(batch.zone)
    hour_us = _us(local.replace(minute=0, second=0, microsecond=0))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    ended_us = (part + 1) * PART_US
    counted = {row[0]: row[1:] for row in batch.execute(_COUNTED, (midnight.date().isoformat(),))}
    noted = {
        row[0]: row[1:]
        for row in batch.execute(
            f"SELECT channel, {_SUMS} FROM hour_count WHERE begins_us >= ? AND begins_us < ? GROUP BY channel",  # noqa: S608 - constants
            (_us(midnight), _us(midnight + timedelta(days=1))),
        )
    }
    kept_us = batch.steady_us - KEPT_DAYS * DAY_US
    rows = batch.execute(
        "SELECT name, last_us FROM channel c WHERE last_us > ?"
        " AND NOT EXISTS (SELECT 1 FROM pause WHERE channel = c.name AND destination = '')",
        (kept_us,),
    ).fetchall()
    none, put = (0,) * len(NAMES), []
    for channel, last_us in rows:
        new = [
            (now or 0) - before
            for now, before in zip(counted.get(channel, none), noted.get(channel, none), strict=True)
        ]
        age_s = max(0, ended_us - last_us) // 1_000_000
        put.append((hour_us, channel, *new, int(new[0] > 0), age_s))
    batch.executemany(_PUT, put)
    day = midnight.date().isoformat()  # the parts of a day are kept for the reports; its hours are not
    batch.executemany(
        _COUNT_PART, [(day, one[1], name, n) for one in put for name, n in ((SEEN, 1), (BUSY, one[-2])) if n]
    )
    batch.execute("DELETE FROM hour_count WHERE begins_us < ?", (kept_us,))


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)
