"""Pauses set by a person, kept in the journal until a person resumes. Operations of a writer's batch.

    channel      its source is closed: nothing is received, so nothing is acknowledged, and the sender keeps its results
    destination  no attempt is made there, for any channel; deliveries are queued and wait
    lane         as a destination, for one channel
    deliveries   as a destination, for all of them

The pause and its audit row, with person and reason, are one transaction: there is no pause without an audit row, and
none is forgotten. The lane's own row has it too (`lane.paused`), since a claim reads that row anyway.
"""

from engine.model.journal.records import DELIVERIES, Target
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit, incarnation

ROLLED_BACK = "rolled_back"  # key in the table `meta`: why deliveries are paused, until a person resumes them


@operation(priority=Priority.SETTLE)
def pause(batch: Batch, target: Target, actor: str, reason: str) -> int | None:
    """Pause ``target``; return the id of the audit row, or None where it was paused already and nothing changed."""
    if batch.execute(f"SELECT 1 FROM pause WHERE {_HERE}", _place(target)).fetchone() is not None:  # noqa: S608 - constant
        return None
    act = audit.note(batch, actor, "pause", {"what": target.kind, "name": target.name, "reason": reason})
    batch.execute(
        "INSERT INTO pause (channel, destination, since_us, act) VALUES (?, ?, ?, ?)",
        (*_place(target), batch.now_us, act),
    )
    if target.kind == "lane":
        batch.lane(target.channel, target.destination).paused = 1
    return act


def stop_deliveries(batch: Batch, act: int) -> None:
    """Pause all deliveries for the reason in audit row ``act``, unless they are paused already."""
    batch.execute(
        "INSERT INTO pause (channel, destination, since_us, act) VALUES ('', '', ?, ?) ON CONFLICT DO NOTHING",
        (batch.now_us, act),
    )


@operation(priority=Priority.SETTLE)
def resume(batch: Batch, target: Target, actor: str, reason: str) -> int | None:
    """Resume ``target``; return the id of the audit row, or None where it was not paused and nothing changed.

    Raises:
        RefusedError: of all deliveries: the journal goes on elsewhere.
    """
    if target == DELIVERIES:
        incarnation.raise_if_overtaken(batch.execute)
    if not batch.execute(f"DELETE FROM pause WHERE {_HERE}", _place(target)).rowcount:  # noqa: S608 - constant
        return None
    if target.kind == "lane":
        batch.lane(target.channel, target.destination).paused = 0
    if target == DELIVERIES:
        batch.execute("DELETE FROM meta WHERE name = ?", (ROLLED_BACK,))
    return audit.note(batch, actor, "resume", {"what": target.kind, "name": target.name, "reason": reason})


_HERE = "channel = ? AND destination = ?"


def _place(target: Target) -> tuple[str, str]:
    return target.channel, target.destination
