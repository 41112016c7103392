"""What goes of consents and transfers: by their age, and by an erasure.

The content of a consent (whose, which reports, which reader) goes 30 days after its end, as does that of a transfer
(the address and key of the reader). Their rows stay for longer than a year: a revoked consent must stay so, the log has
to last a year (India's DPDP rules), and how often a consent was used is counted in transfers. What was disclosed is in
the audit trail besides.
"""

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

import orjson

from engine.features.abdm.rows import callbacks, calls, consents, sealing, transfers
from engine.model.errors import IntegrityError
from engine.store.core.rows import Rows
from engine.store.core.writing.batch import Batch

CONTENT_KEPT_US = 30 * 86_400_000_000
ROWS_KEPT_US = 400 * 86_400_000_000
ENDED = "state IN ('EXPIRED', 'DENIED', 'REVOKED')"
CLOSED = "state IN ('ended', 'refused')"


def sweep(batch: Batch, most: int) -> bool:
    """Delete some of what is old enough; return whether more may be left. The newest rows stay: numbers are counted
    from them."""
    content_us, rows_us = batch.steady_us - CONTENT_KEPT_US, batch.steady_us - ROWS_KEPT_US
    changed = 0
    for table, over in (("abdm_consent", ENDED), ("abdm_transfer", CLOSED)):
        changed = max(
            changed,
            batch.execute(
                f"UPDATE {table} SET content = x'' WHERE number IN (SELECT number FROM {table}"  # noqa: S608 - constants
                f" WHERE {over} AND changed_us < ? AND content <> x'' ORDER BY changed_us LIMIT ?)",
                (content_us, most),
            ).rowcount,
        )
    old = batch.execute(
        "SELECT number FROM abdm_consent WHERE state <> 'GRANTED' AND changed_us < ?"  # noqa: S608 - constants
        " AND number < (SELECT max(number) FROM abdm_consent)"
        f" AND NOT EXISTS (SELECT 1 FROM abdm_transfer WHERE consent = abdm_consent.number AND NOT {CLOSED})"
        " ORDER BY changed_us LIMIT ?",
        (rows_us, most),
    ).fetchall()
    batch.executemany("DELETE FROM abdm_consent WHERE number = ?", old)
    # A transfer stays as long as its consent does; one of an unknown consent has no other use than to be known again.
    gone = batch.execute(
        f"SELECT number FROM abdm_transfer WHERE {CLOSED} AND changed_us < ?"  # noqa: S608 - constants
        " AND number < (SELECT max(number) FROM abdm_transfer)"
        " AND NOT EXISTS (SELECT 1 FROM abdm_consent WHERE number = abdm_transfer.consent)"
        " ORDER BY changed_us LIMIT ?",
        (content_us, most),
    ).fetchall()
    batch.executemany("DELETE FROM abdm_page WHERE transfer = ?", gone)
    batch.executemany("DELETE FROM abdm_transfer WHERE number = ?", gone)
    return max(changed, len(old), len(gone)) == most


def let_go_pages(rows: Rows, contexts: Iterable[int], reason: str) -> None:
    """Reports are given out no more: their pages that wait are not sent, and no bytes of them stay."""
    for context in contexts:
        rows.execute(
            "UPDATE abdm_page SET body = x'', reason = CASE state WHEN 'sealed' THEN ? ELSE reason END,"
            " state = CASE state WHEN 'sealed' THEN 'failed' ELSE state END WHERE context = ? AND context > 0",
            (reason, context),
        )


def of_patient(rows: Rows, patient: int, words: Collection[str]) -> dict[int, str]:
    """The consents of a patient: number -> id.

    Args:
        words: his addresses; a consent may name one, and no patient of ours.
    """
    found = dict(
        rows.execute("SELECT number, consent_id FROM abdm_consent WHERE patient = ? AND patient > 0", (patient,))
    )
    sought = _sought(words)
    others = rows.execute("SELECT number, consent_id, content FROM abdm_consent WHERE content <> x''").fetchall()
    for number, consent_id, sealed in others:
        with suppress(IntegrityError):
            grants = sealing.opened(rows, consents.TABLE, "content", number, sealed)
            if any(sought.search(_plain(str(one).encode())) for one in grants or ()):
                found[number] = consent_id
    return found


def to_report(rows: Rows, found: Iterable[int]) -> dict[int, Any]:
    """Open transfers under these consents: number -> what their end needs of the content."""
    kept: dict[int, Any] = {}
    for consent in found:
        select = f"SELECT number, content FROM abdm_transfer WHERE consent = ? AND NOT {CLOSED}"  # noqa: S608 - constant
        for number, sealed in rows.execute(select, (consent,)).fetchall():
            with suppress(IntegrityError):
                said = sealing.opened(rows, transfers.TABLE, "content", number, sealed) or {}
                kept[number] = {key: said[key] for key in transfers.OF_END if key in said}
    return kept


def erase(rows: Rows, found: Iterable[int], reason: str, now_us: int = 0) -> None:
    """Erase these consents, and the requests under them. An open transfer stays so, with this reason, until its outcome
    is reported, as at any end of a consent.

    Args:
        now_us: 0: the time of the last change stays, as after a restore.
    """
    for number in found:
        rows.execute(
            "UPDATE abdm_consent SET state = 'REVOKED', reason = ?, content = x'', changed_us = max(changed_us, ?)"
            " WHERE number = ?",
            (reason, now_us, number),
        )
        rows.execute(
            "UPDATE abdm_page SET body = x'', reason = CASE state WHEN 'sealed' THEN ? ELSE reason END,"
            " state = CASE state WHEN 'sealed' THEN 'failed' ELSE state END"
            " WHERE transfer IN (SELECT number FROM abdm_transfer WHERE consent = ?)",
            (reason, number),
        )
        rows.execute(
            f"UPDATE abdm_transfer SET content = x'', reason = CASE WHEN {CLOSED} THEN reason ELSE ? END,"  # noqa: S608 - constants
            " changed_us = max(changed_us, ?) WHERE consent = ?",
            (reason, now_us, number),
        )


def erase_traffic(rows: Rows, words: Collection[str], ids: Collection[str], reason: str, now_us: int = 0) -> None:
    """Empty the callbacks and calls that name a patient, of whichever flow; there are those of the last weeks. One that
    is not folded, or not made, is not any more.

    Args:
        words: what names him.
        ids: of his consents. A callback with one may have his grant; a call has the id alone, and goes on.
        now_us: as of `erase`.
    """
    sought, granted = _sought(words), _sought({*words, *ids})
    for number, sealed in rows.execute("SELECT number, body FROM abdm_callback WHERE body <> x''").fetchall():
        if _names(rows, callbacks.TABLE, "body", number, sealed, granted):
            rows.execute(
                "UPDATE abdm_callback SET body = x'', changed_us = max(changed_us, ?), reason = CASE state"
                " WHEN 'stored' THEN ? ELSE reason END, state = CASE state WHEN 'stored' THEN 'refused' ELSE state END"
                " WHERE number = ?",
                (now_us, reason, number),
            )
    for number, sealed in rows.execute("SELECT number, content FROM abdm_call WHERE content <> x''").fetchall():
        if _names(rows, calls.TABLE, "content", number, sealed, sought):
            rows.execute(
                "UPDATE abdm_call SET content = x'', fault = x'', changed_us = max(changed_us, ?), code = CASE"
                " WHEN state IN ('done', 'failed') THEN code ELSE ? END,"
                " state = CASE state WHEN 'done' THEN 'done' ELSE 'failed' END WHERE number = ?",
                (now_us, reason.upper(), number),
            )


def _names(rows: Rows, table: str, column: str, number: int, sealed: bytes, sought: re.Pattern[bytes]) -> bool:
    with suppress(IntegrityError):
        return sought.search(_plain(sealing.opened_bytes(rows, table, column, number, sealed))) is not None
    return False


def _sought(words: Collection[str]) -> re.Pattern[bytes]:
    """Any of these as a whole: another person's address may end alike."""
    either = "|".join(re.escape(word) for word in sorted(words) if word)
    return re.compile(rf"(?<![\w.-])(?:{either or '(?!)'})(?![\w.-])".encode(), re.IGNORECASE)


def _plain(body: bytes) -> bytes:
    """JSON without escapes for letters; other bytes as they are."""
    try:
        return orjson.dumps(orjson.loads(body))
    except orjson.JSONDecodeError:
        return body
