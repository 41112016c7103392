"""Callbacks of ABDM's gateway: kept as they came before they are answered, then made state, in their order.

The gateway sends at least once, in any order, and again with the same REQUEST-ID where it heard no answer. Such a
repeat is answered as the first was, and nothing is done. A callback whose body cannot be used is refused with a reason,
and holds up no other.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from engine.features.abdm.rows import change
from engine.features.abdm.rows.sealing import opened_bytes, sealed_bytes
from engine.features.abdm.rules.network import CONSENT_NOTICE, Callback, CallbackState
from engine.model.errors import CallbackBodyError, IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation

TABLE = "abdm_callback"
SHORT = 16 * 1024  # bytes of a notice
BROKEN = "!"  # behind the REQUEST-ID of a body that is no JSON, or too long; the gateway's have none
NOT_JSON, DAMAGED, FAULT = "not-json", "damaged", "fault"

# Its first words are those of the index: without them each callback reads the whole table.
OTHERS_PROVEN = (
    "SELECT 1 FROM abdm_callback WHERE token <> x'' AND token = ? AND NOT (path = ? AND request_id IN (?, ?)) LIMIT 1"
)

Handle = Callable[[Batch, Callback], str]
"""Makes state of a callback; returns why nothing had to be done, or an empty text. Raises CallbackBodyError."""
Refused = Callable[[Batch, Callback], None]
"""What follows on a callback that is refused, in the same transaction; its ``body`` is empty."""


def nothing_follows(batch: Batch, callback: Callback) -> None:
    """Of a refused callback; the journal has it."""


def _size(path: str, facility: str, request_id: str, body: bytes, *more: object, **named: object) -> int:
    """Of the payload. A short notice of a consent counts for nothing, so that a revocation gets in on a full disk by
    the room that is kept for what ends work."""
    return 0 if path == CONSENT_NOTICE and len(body) <= SHORT else len(body)


@operation(priority=Priority.RECEIVE, size=_size)
def store(
    batch: Batch,
    path: str,
    facility: str,
    request_id: str,
    body: bytes,
    late_s: int,
    age_s: int = 0,
    signed: bool = False,
    token: bytes = b"",
    once: bool = False,
) -> bool | None:
    """Keep a callback; False: it came before. None: it is not kept, for its token has proven another one.

    Args:
        signed: it is a grant, and its signature was proven.
        token: names the token that has proven it.
        once: a token proves one callback, and not with the same REQUEST-ID one of another path: both are seen together.
    """
    known = batch.execute("SELECT 1 FROM abdm_callback WHERE request_id = ? AND path = ?", (request_id, path))
    if known.fetchone() is not None:
        return False
    proof = batch.vault.past_key(b"abdm-proof", token) if token else b""
    if once and proof:
        whole = request_id.removesuffix(BROKEN)
        if batch.execute(OTHERS_PROVEN, (proof, path, whole, whole + BROKEN)).fetchone() is not None:
            return None
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_callback").fetchone()
    batch.execute(
        "INSERT INTO abdm_callback (number, path, facility, request_id, received_us, late_s, age_s, signed, token,"
        " state, reason, changed_us, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'stored', '', ?, ?)",
        (
            *(number, path, facility, request_id, batch.now_us, late_s, age_s, signed, proof, batch.now_us),
            sealed_bytes(batch, TABLE, "body", number, body),
        ),
    )
    return True


@operation(priority=Priority.SETTLE)
def fold(batch: Batch, number: int, handle: Handle, refused: Refused = nothing_follows) -> CallbackState:
    """Make state of one callback; where one before it is still to be folded, nothing is done, and it stays stored.

    A fault of ours changes nothing, and is raised; `refuse` then sets it aside.
    """
    row = batch.execute(
        "SELECT path, facility, request_id, received_us, age_s, signed, body FROM abdm_callback"
        " WHERE number = ? AND state = 'stored'",
        (number,),
    ).fetchone()
    if row is None:
        return CallbackState.FOLDED
    (first,) = batch.execute("SELECT min(number) FROM abdm_callback WHERE state = 'stored'").fetchone()
    if first != number:
        return CallbackState.STORED
    path, facility, request_id, received_us, age_s, signed, sealed = row
    raw = b""
    batch.execute("SAVEPOINT abdm_fold")
    try:
        raw = opened_bytes(batch, TABLE, "body", number, sealed)
        if request_id.endswith(BROKEN):  # also where the part of it that is here can be read
            raise CallbackBodyError(NOT_JSON)
        came = Callback(number, path, facility, request_id, received_us, _read(raw), raw, age_s, bool(signed))
        reason = handle(batch, came)
        state = CallbackState.FOLDED
    except IntegrityError:
        state, reason = CallbackState.REFUSED, DAMAGED
    except CallbackBodyError as error:
        state, reason = CallbackState.REFUSED, error.reason
    if state is CallbackState.REFUSED:  # what the handler had begun is undone
        batch.execute("ROLLBACK TO abdm_fold")
        refused(batch, Callback(number, path, facility, request_id, received_us, {}, raw))
    batch.execute("RELEASE abdm_fold")
    _end(batch, number, state, reason)
    return state


@operation(priority=Priority.SETTLE)
def refuse(batch: Batch, number: int, reason: str, refused: Refused = nothing_follows) -> None:
    """Set a callback aside, so that it holds up no other."""
    row = batch.execute(
        "SELECT path, facility, request_id, received_us, body FROM abdm_callback WHERE number = ?", (number,)
    ).fetchone()
    if row is not None:
        path, facility, request_id, received_us, sealed = row
        raw = b""
        with suppress(IntegrityError):
            raw = opened_bytes(batch, TABLE, "body", number, sealed)
        refused(batch, Callback(number, path, facility, request_id, received_us, {}, raw))
    _end(batch, number, CallbackState.REFUSED, reason)


def body(rows: Rows, number: int) -> dict[str, Any]:
    """What a callback says; empty: it is deleted, or no JSON."""
    row = rows.execute("SELECT body FROM abdm_callback WHERE number = ?", (number,)).fetchone()
    with suppress(CallbackBodyError, IntegrityError):
        return _read(opened_bytes(rows, TABLE, "body", number, row[0] if row is not None else b""))
    return {}


def waiting(rows: Rows, most: int) -> list[int]:
    """The oldest callbacks that are no state yet, in their order."""
    found = rows.execute("SELECT number FROM abdm_callback WHERE state = 'stored' ORDER BY number LIMIT ?", (most,))
    return [number for (number,) in found.fetchall()]


def is_waiting(rows: Rows, path: str) -> bool:
    """Whether a callback of this path is no state yet."""
    row = rows.execute("SELECT 1 FROM abdm_callback WHERE state = 'stored' AND path = ? LIMIT 1", (path,)).fetchone()
    return row is not None


def late_s(rows: Rows, number: int) -> int:
    """Seconds from the end of its token until a callback came; more than 0: a repeat."""
    row = rows.execute("SELECT late_s FROM abdm_callback WHERE number = ?", (number,)).fetchone()
    return 0 if row is None else int(row[0])


def _read(body: bytes) -> dict[str, Any]:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise CallbackBodyError(NOT_JSON) from None
    if not isinstance(tree, dict):
        raise CallbackBodyError(NOT_JSON)
    return tree


def _end(batch: Batch, number: int, state: CallbackState, reason: str) -> None:
    change(batch, "abdm_callback", number, state=state.value, reason=reason)
