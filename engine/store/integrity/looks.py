"""Which rows were looked at, and when, kept in the journal: a start checks the newer ones, and a daemon that restarts
often does not read all of them each time.
"""

import orjson

from engine.store.core.connecting import Execute
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

# Keys of the table `meta`: the newest row that was verified, and its chain value; when the last look at all rows began,
# where it did not end; when the last one ended that found nothing.
VERIFIED, BEGUN, ENDED = "verified", "look_begun_us", "look_ended_us"
_PUT = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"


def verified(execute: Execute, row_id: int) -> None:
    """Record that the rows up to ``row_id`` were verified: a later start checks those after it."""
    row = execute("SELECT id, chain FROM journal WHERE id <= ? ORDER BY id DESC LIMIT 1", (row_id,)).fetchone()
    execute(_PUT, (VERIFIED, orjson.dumps([row[0], row[1].hex()] if row is not None else [0, ""])))


@operation(priority=Priority.RECEIVE)
def note_verified(batch: Batch, row_id: int) -> None:
    """As `verified`, beside the writer's other work."""
    verified(batch.execute, row_id)


@operation(priority=Priority.RECEIVE)
def begin(batch: Batch, now_us: int) -> None:
    """A look at all rows begins."""
    batch.execute(_PUT, (BEGUN, now_us))


@operation(priority=Priority.RECEIVE)
def end(batch: Batch, row_id: int, now_us: int) -> None:
    """It found nothing wrong in the rows up to ``row_id``."""
    forget_times(batch.execute)
    batch.execute(_PUT, (ENDED, now_us))
    verified(batch.execute, row_id)


@operation(priority=Priority.RECEIVE)
def end_with_findings(batch: Batch) -> None:
    """The next start looks again, so that its alarm is there again."""
    forget_times(batch.execute)


def forget_times(execute: Execute) -> None:
    """Of this journal no look is known: it was put in the place of another."""
    execute("DELETE FROM meta WHERE name IN (?, ?)", (BEGUN, ENDED))


def forget(execute: Execute) -> None:
    """Neither look nor verified row is known: the folder was put back."""
    execute("DELETE FROM meta WHERE name IN (?, ?, ?)", (VERIFIED, BEGUN, ENDED))


def wait_us(execute: Execute, now_us: int, *, every_us: int, again_us: int, small_bytes: int = 0) -> int:
    """How long until a look is due: ``every_us`` after one that ended, ``again_us`` after one that did not. Of a
    journal of ``small_bytes`` at most it is due at once: rows may have changed while no daemon ran.

    A time in the future counts as none: the clock was ahead then.
    """
    (size,) = execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    if size <= small_bytes:
        return 0
    periods = {ENDED: every_us, BEGUN: again_us}
    kept = execute("SELECT name, value FROM meta WHERE name IN (?, ?)", tuple(periods)).fetchall()
    return max((at + periods[name] - now_us for name, at in kept if at <= now_us), default=0)
