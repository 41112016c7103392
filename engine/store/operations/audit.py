"""The audit trail: the actions of people, and of the daemon on their behalf, as rows of the journal. They are numbered,
chained and sealed.

Each row names the person (an `engine.model.site.actor.Actor` adds role and place), the action, and the configuration in
force. Its sealed content holds the chain value of the row before it, so that only the holder of the key can write
another history (`engine.store.core.checks.trail_check`).

An action gets one row *before* it starts and one when it has ended. An action that a crash cut short is thereby known:
the next start finishes it or gives it up (`Recovery.acts`).
"""

from collections.abc import Sequence
from typing import Any

import orjson

from engine.model.errors import StoreError
from engine.model.journal.records import KIND_ACT
from engine.model.site.actor import Actor
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, actor: str, verb: str, what: dict[str, Any]) -> int:
    """Record an action that is about to start; return its id."""
    row_id = _record(batch, _said(batch, actor, verb, what))
    batch.execute("INSERT INTO open_act (id) VALUES (?)", (row_id,))
    return row_id


@operation(priority=Priority.SETTLE)
def end(batch: Batch, act: int, outcome: dict[str, Any]) -> int:
    """Record how an action ended; return the id of that row.

    Raises:
        StoreError: no such action is under way.
    """
    if not is_under_way(batch, act):
        raise StoreError(f"there is no act {act} under way")
    return end_always(batch, act, outcome)


def is_under_way(batch: Batch, act: int) -> bool:
    return batch.execute("SELECT 1 FROM open_act WHERE id = ?", (act,)).fetchone() is not None


def end_always(batch: Batch, act: int, outcome: dict[str, Any]) -> int:
    """As `end`, of an action whose caller knows that it has not ended."""
    batch.execute("DELETE FROM open_act WHERE id = ?", (act,))
    return _record(batch, {"act": act, "what": outcome})


@operation(priority=Priority.SETTLE)
def note(batch: Batch, actor: str, verb: str, what: dict[str, Any]) -> int:
    """Record an action that is done in this very transaction."""
    return _record(batch, _said(batch, actor, verb, what))


def give_up(batch: Batch, actor: str, verb: str, what: dict[str, Any], ranges: Sequence[tuple[int, int]]) -> int:
    """As `note`, of an action that gives up row numbers as lost: those in ``ranges`` stay unused."""
    batch.last_id = max([batch.last_id, *(last for _, last in ranges)])
    act = note(batch, actor, verb, what)
    batch.executemany(
        "INSERT INTO gap (first_id, last_id, act) VALUES (?, ?, ?)", [(first, last, act) for first, last in ranges]
    )
    return act


def _said(batch: Batch, actor: str, verb: str, what: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"actor": str(actor), "verb": verb, "what": what}
    if isinstance(actor, Actor) and actor.by:
        said["by"] = dict(actor.by)
    if batch.config_hash:
        said["config"] = batch.config_hash
    return said


def _record(batch: Batch, content: dict[str, Any]) -> int:
    body = orjson.dumps({**content, "chain": batch.chain.hex()})
    return batch.record(KIND_ACT, "", batch.now_us, meta=b"", body=body)
