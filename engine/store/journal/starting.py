"""Take over from earlier processes: leases, open lanes, and messages without an outcome."""

from engine.model.errors import IntegrityError
from engine.model.journal.records import Recovery
from engine.model.message import Stored
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import poison_message, record_outcome
from engine.store.operations.outbox import claims
from engine.store.queries.lanes import open_lanes
from engine.store.queries.reader import open_stored

UNPROCESSED_BYTES = 8 * 1024 * 1024  # of payloads that one call reads into memory


def recover(journal: Journal) -> Recovery:
    """Void the leases of earlier processes and report the work that they left. Call it before anything else.

    Works before `start` only: there is nothing to recover once work goes on.
    """
    maybe_delivered = journal.run_alone(claims.void_leases)
    killed, given_up = journal.run_alone(poison_message.begin)
    journal.recovered = True
    with journal.snapshot() as execute:
        acts = tuple(row[0] for row in execute("SELECT id FROM open_act ORDER BY id"))
        (unprocessed,) = execute("SELECT coalesce(sum(stored), 0) FROM channel").fetchone()
    return Recovery(
        lanes=tuple(open_lanes(journal)),
        unprocessed=unprocessed,
        sessions=len(journal.tail.sessions),
        maybe_delivered=maybe_delivered,
        acts=acts,
        killed=killed,
        given_up=given_up,
    )


def unprocessed(
    journal: Journal, after: int = 0, limit: int = 256, *, max_bytes: int = UNPROCESSED_BYTES
) -> list[Stored]:
    """The next messages without an outcome, oldest first; empty only if there is none.

    A message that cannot be opened becomes a dead letter (DAMAGED).

    Args:
        after: the id of the last one that the caller has.
        max_bytes: of payloads; a single message may be larger.
    """
    found: list[Stored] = []
    size = 0
    with journal.snapshot() as execute:
        rows = execute(
            "SELECT j.id, j.channel, j.seq, j.received_us, j.message_type, j.meta, j.body, j.size FROM journal j"
            " LEFT JOIN message_state s ON s.id = j.id"
            " WHERE j.id > max(?, coalesce((SELECT value FROM meta WHERE name = 'watermark'), 0))"
            " AND j.kind = 1 AND s.id IS NULL ORDER BY j.id",
            (after,),
        )
        for *row, bytes_more in rows:
            size += bytes_more
            if found and size > max_bytes:
                break
            try:
                found.append(open_stored(journal, row))
            except IntegrityError as error:
                journal.run(record_outcome.record, row[0], Outcome("dead", ReasonCode.DAMAGED, str(error)))
            if len(found) >= limit:
                break
        rows.close()  # an open cursor blocks the truncation of the log
    return found
