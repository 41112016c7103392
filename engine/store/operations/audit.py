"""Acts: what people (and the daemon on their behalf) did. Rows of the journal, so numbered, chained and sealed.

Each row says who (with role and place, where the name is an `engine.model.actor.Actor`), what, and which configuration
was in force; and it has the chain value of the row before it inside its seal, so that whoever has no key cannot write
another history (`engine.store.core.trail_check`).

An act is stored *before* it starts and once more when it has ended, so that one cut short by a crash is known: it is
finished or given up at the next start (`Recovery.acts`).
"""

from typing import Any

import orjson

from engine.model.actor import Actor
from engine.model.errors import StoreError
from engine.model.records import KIND_ACT
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation


@operation(priority=Priority.SETTLE)
def begin(batch: Batch, actor: str, verb: str, what: dict[str, Any]) -> int:
    """Store an act that is about to start; its id."""
    row_id = _record(batch, _said(batch, actor, verb, what))
    batch.execute("INSERT INTO open_act (id) VALUES (?)", (row_id,))
    return row_id


@operation(priority=Priority.SETTLE)
def end(batch: Batch, act: int, outcome: dict[str, Any]) -> int:
    """Store how an act ended; the id of that row.

    Raises:
        StoreError: there is no such act under way.
    """
    if not batch.execute("DELETE FROM open_act WHERE id = ?", (act,)).rowcount:
        raise StoreError(f"there is no act {act} under way")
    return _record(batch, {"act": act, "what": outcome})


@operation(priority=Priority.SETTLE)
def note(batch: Batch, actor: str, verb: str, what: dict[str, Any]) -> int:
    """Store an act that is done in this very transaction."""
    return _record(batch, _said(batch, actor, verb, what))


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
