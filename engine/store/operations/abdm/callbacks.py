"""Callbacks of ABDM's gateway: kept as they came before they are answered, then made state, in their order.

The gateway sends at least once, in any order, and again with the same REQUEST-ID where it heard no answer. Such a
repeat is answered as the first was, and nothing is done. A callback whose body cannot be used is refused with a reason,
and holds up no other.
"""

from collections.abc import Callable
from typing import Any

import orjson

from engine.model.abdm import Callback, CallbackState
from engine.model.errors import CallbackBodyError, IntegrityError
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.core.rows import Rows
from engine.store.operations.abdm.sealing import opened_bytes, sealed_bytes

TABLE = "abdm_callback"
NOT_JSON, DAMAGED, FAULT = "not-json", "damaged", "fault"

Handle = Callable[[Batch, Callback], str]
"""Makes state of a callback; returns why nothing had to be done, or an empty text. Raises CallbackBodyError."""


@operation(priority=Priority.RECEIVE, size=lambda path, facility, request_id, body, late_s: len(body))
def store(batch: Batch, path: str, facility: str, request_id: str, body: bytes, late_s: int) -> bool:
    """Keep a callback; False: it came before."""
    known = batch.execute("SELECT 1 FROM abdm_callback WHERE request_id = ? AND path = ?", (request_id, path))
    if known.fetchone() is not None:
        return False
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_callback").fetchone()
    batch.execute(
        "INSERT INTO abdm_callback (number, path, facility, request_id, received_us, late_s, state, reason,"
        " changed_us, body) VALUES (?, ?, ?, ?, ?, ?, 'stored', '', ?, ?)",
        (
            *(number, path, facility, request_id, batch.now_us, late_s, batch.now_us),
            sealed_bytes(batch, TABLE, "body", number, body),
        ),
    )
    return True


@operation(priority=Priority.SETTLE)
def fold(batch: Batch, number: int, handle: Handle) -> CallbackState:
    """Make state of one callback. A fault of ours changes nothing, and is raised; `refuse` then sets it aside."""
    row = batch.execute(
        "SELECT path, facility, request_id, received_us, body FROM abdm_callback WHERE number = ? AND state = 'stored'",
        (number,),
    ).fetchone()
    if row is None:
        return CallbackState.FOLDED
    path, facility, request_id, received_us, sealed = row
    batch.execute("SAVEPOINT abdm_fold")
    try:
        body = _read(opened_bytes(batch, TABLE, "body", number, sealed))
        reason = handle(batch, Callback(number, path, facility, request_id, received_us, body))
        state = CallbackState.FOLDED
    except IntegrityError:
        state, reason = CallbackState.REFUSED, DAMAGED
    except CallbackBodyError as error:
        state, reason = CallbackState.REFUSED, error.reason
    if state is CallbackState.REFUSED:  # what the handler had begun is undone
        batch.execute("ROLLBACK TO abdm_fold")
    batch.execute("RELEASE abdm_fold")
    _end(batch, number, state, reason)
    return state


@operation(priority=Priority.SETTLE)
def refuse(batch: Batch, number: int, reason: str) -> None:
    """Set a callback aside, so that it holds up no other."""
    _end(batch, number, CallbackState.REFUSED, reason)


def waiting(rows: Rows, most: int) -> list[int]:
    """The oldest callbacks that are no state yet, in their order."""
    found = rows.execute("SELECT number FROM abdm_callback WHERE state = 'stored' ORDER BY number LIMIT ?", (most,))
    return [number for (number,) in found.fetchall()]


def _read(body: bytes) -> dict[str, Any]:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise CallbackBodyError(NOT_JSON) from None
    if not isinstance(tree, dict):
        raise CallbackBodyError(NOT_JSON)
    return tree


def _end(batch: Batch, number: int, state: CallbackState, reason: str) -> None:
    batch.execute(
        "UPDATE abdm_callback SET state = ?, reason = ?, changed_us = ? WHERE number = ?",
        (state.value, reason, batch.now_us, number),
    )
