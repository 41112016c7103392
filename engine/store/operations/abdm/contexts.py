"""Care contexts: each report that was delivered to ABDM is one, in its newest version. A later version of the report is
a later version of its context, never another one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.model.abdm import ContextState
from engine.store.core.batch import Batch
from engine.store.core.rows import Rows
from engine.store.operations.abdm import sealing

TABLE = "abdm_context"
_COLUMNS = "number, facility, reference, patient, state, reason, message_id, document_id, version, notified, issued_us"
_SELECT = f"SELECT {_COLUMNS}, content FROM abdm_context"  # noqa: S608 - constant


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """A report that was delivered.

    Attributes:
        reference: of its context, where it is a new one.
        report: number by which its later versions are known, within the channel.
        patient: number of the patient of the network; 0: none is known.
        issued_us: the time of the report.
        content: what the app shows (``display``), and the patient as the report has him.
    """

    facility: str
    reference: str
    channel: str
    report: str = field(repr=False)
    patient: int
    message_id: int
    document_id: int
    issued_us: int
    content: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """A row; the names are its columns."""

    number: int
    facility: str
    reference: str
    patient: int
    state: ContextState
    reason: str
    message_id: int
    document_id: int
    version: int
    notified: int
    issued_us: int
    content: dict[str, Any] = field(repr=False)


def put(batch: Batch, new: NewReport) -> int:
    """Keep a report as a context, or as the next version of its own; return the number of the context.

    The same message again changes nothing. The patient of a context never changes here.
    """
    accession = sealing.accession_token(batch.vault, new.channel, new.report)
    row = batch.execute(
        "SELECT number, message_id, document_id FROM abdm_context WHERE accession = ? AND facility = ?"
        " AND accession <> x''",
        (accession, new.facility),
    ).fetchone()
    if row is not None:
        number, message_id, document_id = row
        if (message_id, document_id) != (new.message_id, new.document_id):
            batch.execute(
                "UPDATE abdm_context SET version = version + 1, message_id = ?, document_id = ?, issued_us = ?,"
                " content = ?, changed_us = ? WHERE number = ?",
                (
                    *(new.message_id, new.document_id, new.issued_us),
                    *(sealing.sealed(batch, TABLE, "content", number, new.content), batch.now_us, number),
                ),
            )
        return int(number)
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_context").fetchone()
    state = ContextState.READY if new.patient else ContextState.WAITING
    batch.execute(
        "INSERT INTO abdm_context (number, facility, reference, accession, patient, state, reason, message_id,"
        " document_id, version, notified, issued_us, made_us, changed_us, content)"
        " VALUES (?, ?, ?, ?, ?, ?, '', ?, ?, 1, 0, ?, ?, ?, ?)",
        (
            *(number, new.facility, new.reference, accession, new.patient, state.value, new.message_id),
            *(new.document_id, new.issued_us, batch.now_us, batch.now_us),
            sealing.sealed(batch, TABLE, "content", number, new.content),
        ),
    )
    return int(number)


def of_report(rows: Rows, facility: str, channel: str, report: str) -> Context | None:
    """The context of a report, by its number."""
    token = sealing.accession_token(rows.vault, channel, report)
    row = rows.execute(
        f"{_SELECT} WHERE accession = ? AND facility = ? AND accession <> x''", (token, facility)
    ).fetchone()
    return None if row is None else _context(rows, row)


def withdraw(batch: Batch, number: int, reason: str) -> None:
    """Give out a report no more, and let its number be another context's."""
    batch.execute(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', changed_us = ? WHERE number = ?",
        (reason, batch.now_us, number),
    )


def by_number(rows: Rows, number: int) -> Context | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _context(rows, row)


def by_reference(rows: Rows, facility: str, reference: str) -> Context | None:
    row = rows.execute(f"{_SELECT} WHERE reference = ? AND facility = ?", (reference, facility)).fetchone()
    return None if row is None else _context(rows, row)


def of_patient(rows: Rows, patient: int, state: ContextState, most: int) -> list[Context]:
    """The oldest contexts of a patient in this state."""
    select = f"{_SELECT} WHERE patient = ? AND state = ? ORDER BY number LIMIT ?"
    return [_context(rows, row) for row in rows.execute(select, (patient, state.value, most)).fetchall()]


def move(batch: Batch, numbers: Iterable[int], state: ContextState, reason: str = "") -> None:
    """One that is dropped stays so: the result of a call that was under way then does not bring it back."""
    batch.executemany(
        "UPDATE abdm_context SET state = ?, reason = ?, changed_us = ? WHERE number = ? AND state <> 'dropped'",
        [(state.value, reason, batch.now_us, number) for number in numbers],
    )


def notified(batch: Batch, number: int, version: int) -> None:
    """The patient's app was notified of a version."""
    batch.execute(
        "UPDATE abdm_context SET notified = max(notified, ?), changed_us = ? WHERE number = ?",
        (version, batch.now_us, number),
    )


def give(batch: Batch, numbers: Sequence[int], patient: int) -> None:
    """Contexts that waited are this patient's."""
    batch.executemany(
        "UPDATE abdm_context SET patient = ?, state = 'ready', reason = '', changed_us = ?"
        " WHERE number = ? AND state = 'waiting'",
        [(patient, batch.now_us, number) for number in numbers],
    )


def _context(rows: Rows, row: Any) -> Context:
    values = list(row)
    values[4] = ContextState(values[4])
    values[-1] = sealing.opened(rows, TABLE, "content", values[0], values[-1]) or {}
    return Context(*values)


def of_delivery(batch: Batch, delivery_id: int) -> tuple[int, int]:
    """Message and document of a delivery."""
    select = "SELECT message_id, document_id FROM delivery WHERE id = ?"
    message_id, document_id = batch.execute(select, (delivery_id,)).fetchone()
    return message_id, document_id
