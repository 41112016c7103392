"""ABDM's rows that go: those of ended work after a while, those of a report that retention deleted, and all that names
a patient who is erased.

A context that is dropped keeps its row, so that its reference is never another report's, and a request for it is
answered as one for a report that is not here.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from engine.model.errors import IntegrityError
from engine.model.search_keys import folded
from engine.store.core.batch import Batch
from engine.store.core.rows import Rows
from engine.store.operations.abdm import callbacks, patients, sealing

KEPT_US = 30 * 86_400_000_000  # ended calls, and callbacks: the gateway repeats within hours
AT_ONCE = 200
ERASED, RETENTION = "erased", "retention"


def sweep(batch: Batch) -> bool:
    """Delete some calls and callbacks that ended long ago; return True where no more are left. The newest stay: numbers
    are counted from them."""
    before_us, full = batch.steady_us - KEPT_US, False
    for table, over in (("abdm_call", "'done', 'failed'"), ("abdm_callback", "'folded', 'refused'")):
        rows = batch.execute(
            f"SELECT number FROM {table} WHERE changed_us < ? AND state IN ({over})"  # noqa: S608 - constants
            f" AND number < (SELECT max(number) FROM {table}) ORDER BY changed_us LIMIT ?",
            (before_us, AT_ONCE),
        ).fetchall()
        full = full or len(rows) == AT_ONCE
        if table == "abdm_call":
            batch.executemany("DELETE FROM abdm_request WHERE call = ?", rows)
        batch.executemany(f"DELETE FROM {table} WHERE number = ?", rows)  # noqa: S608 - constants
    return not full


def let_go(batch: Batch, messages: Iterable[int]) -> None:
    """Retention deletes these messages: their reports can be asked for no more."""
    _drop_contexts(batch, "message_id", messages, RETENTION)


def erase(batch: Batch, messages: Iterable[int], numbers: Sequence[str]) -> None:
    """Erase the reports of these messages, and the patient with these numbers of the laboratory's own."""
    _drop_contexts(batch, "message_id", messages, ERASED)
    found: dict[int, set[str]] = {}
    for text in numbers:
        if token := sealing.patient_token(batch.vault, text):
            for (number,) in batch.execute("SELECT number FROM abdm_patient WHERE patient = ?", (token,)).fetchall():
                found[number] = _words(batch, number)
    for number, words in found.items():
        contexts = [row[0] for row in batch.execute("SELECT number FROM abdm_context WHERE patient = ?", (number,))]
        _drop_contexts(batch, "number", contexts, ERASED)
        _empty_calls(batch, number, contexts)
        consents = batch.execute("SELECT number FROM abdm_consent WHERE patient = ?", (number,)).fetchall()
        batch.executemany(
            "UPDATE abdm_consent SET state = 'REVOKED', reason = ?, content = x'', changed_us = ? WHERE number = ?",
            [(ERASED, batch.now_us, consent) for (consent,) in consents],
        )
        for (consent,) in consents:
            batch.execute(
                "UPDATE abdm_page SET body = x''"
                " WHERE transfer IN (SELECT number FROM abdm_transfer WHERE consent = ?)",
                (consent,),
            )
            batch.execute(
                "UPDATE abdm_transfer SET content = x'', state = 'refused', reason = ?, changed_us = ?"
                " WHERE consent = ?",
                (ERASED, batch.now_us, consent),
            )
        _empty_callbacks(batch, words)
        patients.drop(batch, number, erased=True)


def erase_again(rows: Rows, message_id: int) -> None:
    """After a restore: the report of a message that was erased since the copy goes, and its patient where no other
    report of his is there: too much rather than too little."""
    found = rows.execute("SELECT patient FROM abdm_context WHERE message_id = ?", (message_id,)).fetchall()
    rows.execute(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', content = x'' WHERE message_id = ?",
        (ERASED, message_id),
    )
    for (patient,) in found:
        left = rows.execute("SELECT 1 FROM abdm_context WHERE patient = ? AND state <> 'dropped'", (patient,))
        if patient and left.fetchone() is None:
            rows.execute("DELETE FROM abdm_link_token WHERE patient = ?", (patient,))
            rows.execute(
                "UPDATE abdm_patient SET state = 'dropped', address = x'', abha = x'', mobile = x'', patient = x'',"
                " content = x'' WHERE number = ?",
                (patient,),
            )


def _drop_contexts(batch: Batch, column: str, numbers: Iterable[int], reason: str) -> None:
    batch.executemany(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', content = x'', changed_us = ?"  # noqa: S608 - constant
        f" WHERE {column} = ? AND {column} > 0 AND state <> 'dropped'",
        [(reason, batch.now_us, number) for number in numbers],
    )


def _empty_calls(batch: Batch, patient: int, contexts: Sequence[int]) -> None:
    """Calls about a patient have an address in them. One that has not ended is not made any more."""
    subjects = [("generate-token", patient), ("link", patient), *(("context-notify", one) for one in contexts)]
    batch.executemany(
        "UPDATE abdm_call SET content = x'', fault = x'', changed_us = ?, code = CASE WHEN state IN ('done', 'failed')"
        " THEN code ELSE 'ERASED' END, state = CASE state WHEN 'done' THEN 'done' ELSE 'failed' END"
        " WHERE name = ? AND subject = ?",
        [(batch.now_us, name, subject) for name, subject in subjects],
    )


def _empty_callbacks(batch: Batch, words: set[str]) -> None:
    """Callbacks that name the patient; there are those of the last weeks."""
    sought = [word.lower().encode() for word in words if word]
    for number, sealed in batch.execute("SELECT number, body FROM abdm_callback WHERE body <> x''").fetchall():
        with suppress(IntegrityError):
            body = sealing.opened_bytes(batch, callbacks.TABLE, "body", number, sealed).lower()
            if any(word in body for word in sought):
                batch.execute(
                    "UPDATE abdm_callback SET body = x'', changed_us = ?, reason = CASE state WHEN 'stored' THEN ?"
                    " ELSE reason END, state = CASE state WHEN 'stored' THEN 'refused' ELSE state END WHERE number = ?",
                    (batch.now_us, ERASED, number),
                )


def _words(batch: Batch, number: int) -> set[str]:
    """What names a patient in callbacks: address, number, and the reference that is his alone."""
    with suppress(IntegrityError):
        one = patients.by_number(batch, number)
        if one is not None:
            own = {one.person.address, one.person.number} if one.person is not None else set()
            return {folded(word) for word in own if word} | {one.reference}
    return set()
