"""Consents of patients, as their artefacts came. `engine.model.consents` reads one and knows which state follows which;
here is what is kept of it.
"""

from dataclasses import dataclass, field
from typing import Any

from engine.model.consents import ConsentState
from engine.store.core.batch import Batch
from engine.store.core.rows import Rows
from engine.store.operations.abdm import sealing

TABLE = "abdm_consent"
_SELECT = "SELECT number, consent_id, facility, patient, state, reason, ends_us, served, content FROM abdm_consent"


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A row; the names are its columns. ``content``: the notification as it came; None: a notice without artefact."""

    number: int
    consent_id: str
    facility: str
    patient: int
    state: ConsentState
    reason: str
    ends_us: int
    served: int
    content: Any = field(repr=False)


def by_id(rows: Rows, consent_id: str) -> KeptConsent | None:
    row = rows.execute(f"{_SELECT} WHERE consent_id = ?", (consent_id,)).fetchone()
    return None if row is None else _consent(rows, row)


def by_number(rows: Rows, number: int) -> KeptConsent | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _consent(rows, row)


def put(
    batch: Batch,
    consent_id: str,
    facility: str,
    state: ConsentState,
    *,
    patient: int = 0,
    reason: str = "",
    ends_us: int = 0,
    content: Any = None,
) -> int:
    """Keep a consent, or another state of it; return its number. A content that was kept stays where none is given."""
    row = batch.execute("SELECT number FROM abdm_consent WHERE consent_id = ?", (consent_id,)).fetchone()
    if row is None:
        (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_consent").fetchone()
        batch.execute(
            "INSERT INTO abdm_consent (number, consent_id, facility, patient, state, reason, ends_us, served, made_us,"
            " changed_us, content) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
            (
                *(number, consent_id, facility, patient, state.value, reason, ends_us, batch.now_us, batch.now_us),
                sealing.sealed(batch, TABLE, "content", number, content),
            ),
        )
        return int(number)
    (number,) = row
    batch.execute(
        "UPDATE abdm_consent SET state = ?, reason = ?, changed_us = ? WHERE number = ?",
        (state.value, reason, batch.now_us, number),
    )
    if content is not None:
        sealed = sealing.sealed(batch, TABLE, "content", number, content)
        batch.execute(
            "UPDATE abdm_consent SET patient = ?, ends_us = ?, content = ? WHERE number = ?",
            (patient, ends_us, sealed, number),
        )
    return int(number)


def of_patient(rows: Rows, patient: int) -> list[KeptConsent]:
    found = rows.execute(f"{_SELECT} WHERE patient = ? AND patient > 0 ORDER BY number", (patient,)).fetchall()
    return [_consent(rows, row) for row in found]


def serve(batch: Batch, number: int) -> None:
    """One more request for records is taken under it."""
    batch.execute(
        "UPDATE abdm_consent SET served = served + 1, changed_us = ? WHERE number = ?", (batch.now_us, number)
    )


def ended(rows: Rows, now_us: int, most: int) -> list[int]:
    """Granted consents whose time is over, by our own clock."""
    found = rows.execute(
        "SELECT number FROM abdm_consent WHERE state = 'GRANTED' AND ends_us > 0 AND ends_us <= ? LIMIT ?",
        (now_us, most),
    )
    return [number for (number,) in found.fetchall()]


def _consent(rows: Rows, row: Any) -> KeptConsent:
    number, consent_id, facility, patient, state, reason, ends_us, served, content = row
    said = sealing.opened(rows, TABLE, "content", number, content)
    return KeptConsent(number, consent_id, facility, patient, ConsentState(state), reason, ends_us, served, said)
