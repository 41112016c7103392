"""Consents of patients, as their artefacts came. `engine.features.abdm.rules.consents` reads one and knows which state
follows which; here is what is kept of it.

Records go out under a consent that is GRANTED and has no ``reason`` alone. A reason says why nothing goes: the grant
cannot be ours, is disputed, is not proven, is doubtful (the gateway has not taken our answer to it), or is suspended.
What ends a consent ends what is open of its transfers, at once.

The artefacts of a consent, read from its grants as they are kept.

What goes of consents and transfers: by their age, and by an erasure.

The content of a consent (whose, which reports, which reader) goes 30 days after its end, as does that of a transfer
(the address and key of the reader). Their rows stay for longer than a year: a revoked consent must stay so, the log has
to last a year (India's DPDP rules), and how often a consent was used is counted in transfers. What was disclosed is in
the audit trail besides.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.rows import callbacks, calls, change, sealing, transfers
from engine.features.abdm.rules.consents import Artefact, ConsentState, Notice
from engine.model.errors import ContentError, IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

TABLE = "abdm_consent"
DISPUTED, SUSPENDED, BAD_SIGNATURE, DOUBTFUL = "disputed", "suspended", "bad_signature", "doubtful"
ENDED = (ConsentState.EXPIRED, ConsentState.DENIED, ConsentState.REVOKED)
DOUBTED_US = "consents_doubted_us"  # key of the table `meta`: when the journal went on from an earlier state
_SELECT = (
    "SELECT number, consent_id, facility, patient, state, reason, signed, granted, ends_us, served, changed_us, content"
    " FROM abdm_consent"
)


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A row; the names are its columns.

    Attributes:
        signed: the signature of its grant was proven.
        granted: where it is doubtful, number of the callback with the first grant of which an answer makes it certain.
        content: the bodies of its grants as texts, as they came, each another one; None: no grant has come, or its
            content was deleted.
    """

    number: int
    consent_id: str
    facility: str
    patient: int
    state: ConsentState
    reason: str
    signed: bool
    granted: int
    ends_us: int
    served: int
    changed_us: int
    content: Any = field(repr=False)


def by_id(rows: Rows, consent_id: str) -> KeptConsent | None:
    row = rows.execute(f"{_SELECT} WHERE consent_id = ?", (consent_id,)).fetchone()
    return None if row is None else _consent(rows, row)


def by_number(rows: Rows, number: int) -> KeptConsent | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _consent(rows, row)


def number_of(rows: Rows, consent_id: str) -> int:
    """The number of a consent, also of one without content; 0: there is none."""
    row = rows.execute("SELECT number FROM abdm_consent WHERE consent_id = ?", (consent_id,)).fetchone()
    return 0 if row is None else int(row[0])


def put(
    batch: Batch,
    consent_id: str,
    facility: str,
    state: ConsentState,
    *,
    patient: int = 0,
    reason: str = "",
    signed: bool = False,
    granted: int = 0,
    ends_us: int = 0,
    content: Any = None,
) -> int:
    """Keep a consent, or another state of it; return its number. A content that was kept stays where none is given."""
    number = number_of(batch, consent_id)
    if not number:
        (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_consent").fetchone()
        batch.execute(
            "INSERT INTO abdm_consent (number, consent_id, facility, patient, state, reason, signed, granted, ends_us,"
            " served, made_us, changed_us, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
            (
                *(number, consent_id, facility, patient, state.value, reason, signed, granted, ends_us),
                *(batch.now_us, batch.now_us),
                sealing.sealed(batch, TABLE, "content", number, content),
            ),
        )
        return int(number)
    change(batch, "abdm_consent", number, state=state.value, reason=reason, signed=signed, granted=granted)
    if content is not None:
        sealed = sealing.sealed(batch, TABLE, "content", number, content)
        batch.execute(
            "UPDATE abdm_consent SET facility = ?, patient = ?, ends_us = ?, content = ? WHERE number = ?",
            (facility, patient, ends_us, sealed, number),
        )
    return number


def serve(batch: Batch, number: int) -> None:
    """One more request for records is taken under it."""
    batch.execute(
        "UPDATE abdm_consent SET served = served + 1, changed_us = ? WHERE number = ?", (batch.now_us, number)
    )


# -- ends ----------------------------------------------------------------------------------------------------------


def end(batch: Batch, number: int, state: ConsentState, reason: str = "") -> None:
    """End a consent, also one whose content is damaged, and its open transfers. One that has ended stays as it is."""
    marks = ", ".join("?" * len(ENDED))
    changed = batch.execute(
        f"UPDATE abdm_consent SET state = ?, reason = ?, changed_us = ? WHERE number = ? AND state NOT IN ({marks})",  # noqa: S608 - question marks
        (state.value, reason, batch.now_us, number, *ENDED),
    )
    if changed.rowcount:
        transfers.end_of_consent(batch, number, state.value.lower())


def end_all_of_patient(batch: Batch, patient: int, reason: str) -> int:
    """A patient has left the network, or is erased: end all consents that he has given; return how many."""
    marks = ", ".join("?" * len(ENDED))
    found = batch.execute(
        f"SELECT number FROM abdm_consent WHERE patient = ? AND patient > 0 AND state NOT IN ({marks})",  # noqa: S608 - question marks
        (patient, *ENDED),
    ).fetchall()
    for (number,) in found:
        end(batch, number, ConsentState.REVOKED, reason)
    return len(found)


def ended(rows: Rows, now_us: int, most: int) -> list[int]:
    """Granted consents whose time is over, by our own clock."""
    found = rows.execute(
        "SELECT number FROM abdm_consent WHERE state = 'GRANTED' AND ends_us > 0 AND ends_us <= ? LIMIT ?",
        (now_us, most),
    )
    return [number for (number,) in found.fetchall()]


def next_end_us(rows: Rows) -> int | None:
    """When the next granted consent ends; None: none does."""
    row = rows.execute("SELECT min(ends_us) FROM abdm_consent WHERE state = 'GRANTED' AND ends_us > 0").fetchone()
    return None if row[0] is None else int(row[0])


# -- suspended -----------------------------------------------------------------------------------------------------


def suspend(batch: Batch, number: int, why: str = SUSPENDED) -> None:
    """Nothing goes out under a consent until the gateway grants it again, or a person resumes it.

    Args:
        why: its open transfers end.
    """
    changed = batch.execute(
        "UPDATE abdm_consent SET reason = ?, changed_us = ? WHERE number = ? AND state IN ('REQUESTED', 'GRANTED')"
        " AND reason IN ('', ?)",
        (SUSPENDED, batch.now_us, number, DOUBTFUL),
    )
    if changed.rowcount:
        transfers.end_of_consent(batch, number, why)


def suspend_all(batch: Batch) -> int:
    """The journal goes on from an earlier state: a consent may have been revoked since, also one that is not known in
    that state, or lets nothing out for another reason. Return how many were in force."""
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (DOUBTED_US, batch.now_us))
    found = batch.execute(
        "SELECT number FROM abdm_consent WHERE state = 'GRANTED' AND reason IN ('', ?)", (DOUBTFUL,)
    ).fetchall()
    for (number,) in found:
        suspend(batch, number)
    return len(found)


def on_earlier_state(batch: Batch, act: int) -> None:
    suspend_all(batch)


def doubted_us(rows: Rows) -> int:
    """Words on consents that were made before are incomplete here; 0: none was lost."""
    row = rows.execute("SELECT value FROM meta WHERE name = ?", (DOUBTED_US,)).fetchone()
    return 0 if row is None else int(row[0])


def waits_for(rows: Rows, number: int, callback: int) -> bool:
    """Whether a consent is doubtful until the gateway has taken an answer such as that to this callback."""
    row = rows.execute(
        "SELECT 1 FROM abdm_consent WHERE number = ? AND reason = ? AND granted <= ?", (number, DOUBTFUL, callback)
    ).fetchone()
    return row is not None


def lift(batch: Batch, number: int, *reasons: str) -> None:
    """Put a granted consent in force that one of these reasons keeps from it."""
    batch.execute(
        "UPDATE abdm_consent SET reason = '', changed_us = ? WHERE number = ? AND state = 'GRANTED'"  # noqa: S608 - question marks
        f" AND reason IN ({', '.join('?' * len(reasons))})",
        (batch.now_us, number, *reasons),
    )


def _consent(rows: Rows, row: Any) -> KeptConsent:
    number, consent_id, facility, patient, state, reason, signed, granted, ends_us, served, changed_us, content = row
    said = sealing.opened(rows, TABLE, "content", number, content)
    known = ConsentState(state)
    return KeptConsent(
        number, consent_id, facility, patient, known, reason, bool(signed), granted, ends_us, served, changed_us, said
    )


MOST_KEPT = 256  # grants as they were read: a request for records looks at its grant five times
MOST_CHARACTERS = 16 * 1024  # of one that is kept so


def grants(kept: KeptConsent | None) -> list[str]:
    """Its grants as they came, each another one; none: no grant has come, or they were deleted."""
    return list(kept.content or ()) if kept is not None else []


def artefacts(kept: KeptConsent) -> Iterator[Artefact]:
    """Of its grants, the first one first."""
    for text in grants(kept):
        artefact = _kept(text) if len(text) <= MOST_CHARACTERS else _artefact(text)
        if artefact is not None:
            yield artefact


def _artefact(text: str) -> Artefact | None:
    """None: it cannot be read, as one that was kept by a release that read more."""
    try:
        notice: Notice = registry.load(ABDM, "consents").read_notice(text.encode())
    except ContentError:
        return None
    return notice.artefact


_kept = lru_cache(MOST_KEPT)(_artefact)


CONTENT_KEPT_US = 30 * 86_400_000_000
ROWS_KEPT_US = 400 * 86_400_000_000
_IS_ENDED = "state IN ('EXPIRED', 'DENIED', 'REVOKED')"
CLOSED = "state IN ('ended', 'refused')"


def sweep(batch: Batch, most: int) -> bool:
    """Delete some of what is old enough; return whether more may be left. The newest rows stay: numbers are counted
    from them."""
    content_us, rows_us = batch.steady_us - CONTENT_KEPT_US, batch.steady_us - ROWS_KEPT_US
    changed = 0
    for table, over in (("abdm_consent", _IS_ENDED), ("abdm_transfer", CLOSED)):
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
            said = sealing.opened(rows, TABLE, "content", number, sealed)
            if any(sought.search(_plain(str(one).encode())) for one in said or ()):
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
