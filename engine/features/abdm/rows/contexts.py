"""Care contexts: each report that was delivered to ABDM is one, in its newest version. A later version of the report is
a later version of its context, never another one.

One that is dropped keeps its row and its hashes, so that no later issue of the report brings it back: a person does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.features.abdm.rows import change, sealing
from engine.features.abdm.rules.links import held
from engine.features.abdm.rules.network import ContextState
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

TABLE = "abdm_context"
VERSIONS = "versions"  # in the content: number, message and time of each of the last versions, the oldest first
MOST_VERSIONS = 32
_COLUMNS = "number, facility, reference, patient, state, reason, message_id, document_id, version, notified, issued_us"
_SELECT = f"SELECT {_COLUMNS}, content FROM abdm_context"  # noqa: S608 - constant


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """A report that was delivered.

    Attributes:
        reference: of its context, where it is a new one.
        report: identifier of its document, which later versions have, too, also of another channel.
        accession: the laboratory's number, which other patients' reports may have, too; empty: none.
        patient: number of the patient of the network; 0: none is known.
        issued_us: the time of the report.
        content: what the app shows (``display``), and the patient as the report has him.
    """

    facility: str
    reference: str
    channel: str
    report: str = field(repr=False)
    accession: str = field(default="", repr=False)
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
    accession = sealing.accession_token(batch.vault, new.report)
    row = batch.execute(
        "SELECT number, message_id, document_id FROM abdm_context WHERE accession = ? AND facility = ?"
        " AND accession <> x''",
        (accession, new.facility),
    ).fetchone()
    if row is not None:
        number, message_id, document_id = row
        if (message_id, document_id) != (new.message_id, new.document_id):
            before = by_number(batch, number)
            assert before is not None
            content = new.content | _versions(batch, new.message_id, before)
            batch.execute(
                "UPDATE abdm_context SET version = version + 1, message_id = ?, document_id = ?, issued_us = ?,"
                " content = ?, changed_us = ? WHERE number = ?",
                (
                    *(new.message_id, new.document_id, new.issued_us),
                    *(sealing.sealed(batch, TABLE, "content", number, content), batch.now_us, number),
                ),
            )
            _set_found_by(batch, number, new.content)
        return int(number)
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_context").fetchone()
    state = ContextState.READY if new.patient else ContextState.WAITING
    batch.execute(
        "INSERT INTO abdm_context (number, facility, reference, accession, tube, mobile, abha, patient, state, reason,"
        " message_id, document_id, version, notified, issued_us, made_us, changed_us, content)"
        " VALUES (?, ?, ?, ?, ?, x'', x'', ?, ?, '', ?, ?, 1, 0, ?, ?, ?, ?)",
        (
            *(number, new.facility, new.reference, accession),
            sealing.tube_token(batch.vault, new.channel, new.accession),
            *(new.patient, state.value, new.message_id),
            *(new.document_id, new.issued_us, batch.now_us, batch.now_us),
            sealing.sealed(batch, TABLE, "content", number, new.content | _versions(batch, new.message_id)),
        ),
    )
    _set_found_by(batch, number, new.content)
    return int(number)


def of_report(rows: Rows, facility: str, report: str) -> Context | None:
    """The context of a report, by the identifier of its document."""
    token = sealing.accession_token(rows.vault, report)
    row = rows.execute(
        f"{_SELECT} WHERE accession = ? AND facility = ? AND accession <> x''", (token, facility)
    ).fetchone()
    return None if row is None else _context(rows, row)


def of_tube(rows: Rows, facility: str, channel: str, accession: str, most: int) -> list[Context]:
    """The newest contexts with this number of the laboratory, of any patient, but for those that a correction or a
    person has taken away."""
    token = sealing.tube_token(rows.vault, channel, accession)
    select = (
        f"{_SELECT} WHERE tube = ? AND facility = ? AND tube <> x''"
        " AND NOT (state = 'dropped' AND reason IN ('moved', 'withdrawn')) ORDER BY number DESC LIMIT ?"
    )
    return [_context(rows, row) for row in rows.execute(select, (token, facility, most)).fetchall()] if token else []


def withdraw(batch: Batch, number: int, reason: str) -> None:
    """Give out a report no more, nor a later issue of it."""
    batch.execute(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, mobile = x'', abha = x'', changed_us = ?"
        " WHERE number = ?",
        (reason, batch.now_us, number),
    )


def hold(batch: Batch, number: int, reason: str, *, patient: int | None = None) -> None:
    """Give a report to no app until its patient is known. ``patient``: 0: none; None: as it is."""
    batch.execute(
        "UPDATE abdm_context SET state = 'waiting', reason = ?, patient = coalesce(?, patient), changed_us = ?"
        " WHERE number = ?",
        (reason, patient, batch.now_us, number),
    )


def assign(batch: Batch, number: int, patient: int) -> None:
    """Have a report linked with a patient, also one that waits or is dropped."""
    change(batch, "abdm_context", number, patient=patient, state="ready", reason="")


def release(batch: Batch, number: int) -> None:
    """Later issues of its report are another context's."""
    batch.execute("UPDATE abdm_context SET accession = x'' WHERE number = ?", (number,))


def is_current(rows: Rows, number: int) -> bool:
    """Whether later issues of its report are this context's: it has no twin, and its patient has not left with it."""
    row = rows.execute("SELECT 1 FROM abdm_context WHERE number = ? AND accession <> x''", (number,)).fetchone()
    return row is not None


def give_twin(batch: Batch, number: int, reference: str) -> int:
    """Another context of the same report, which takes its place: the network knows the first one as another patient's.
    Return its number.

    Args:
        reference: of the new one.
    """
    (twin,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_context").fetchone()
    context = by_number(batch, number)
    assert context is not None
    batch.execute(
        "INSERT INTO abdm_context (number, facility, reference, accession, tube, mobile, abha, patient, state, reason,"
        " message_id, document_id, version, notified, issued_us, made_us, changed_us, content)"
        " SELECT ?, facility, ?, x'', tube, x'', x'', 0, 'waiting', '', message_id, document_id, version, 0, issued_us,"
        " ?, ?, ?"
        " FROM abdm_context WHERE number = ?",
        (
            *(twin, reference, batch.now_us, batch.now_us),
            *(sealing.sealed(batch, TABLE, "content", twin, context.content), number),
        ),
    )
    (accession,) = batch.execute("SELECT accession FROM abdm_context WHERE number = ?", (number,)).fetchone()
    release(batch, number)
    batch.execute("UPDATE abdm_context SET accession = ? WHERE number = ?", (accession, twin))
    _set_found_by(batch, twin, context.content)
    return int(twin)


def set_content(batch: Batch, number: int, content: dict[str, Any]) -> None:
    change(batch, "abdm_context", number, content=sealing.sealed(batch, TABLE, "content", number, content))
    _set_found_by(batch, number, content)


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


def by_mobile(rows: Rows, facility: str, digits: str, most: int) -> list[Context]:
    """Contexts of which the report says this mobile; those that are dropped are none."""
    return _found(rows, "mobile", sealing.mobile_token(rows.vault, digits), facility, most)


def by_abha(rows: Rows, facility: str, digits: str, most: int) -> list[Context]:
    """Contexts of which the report says this ABHA number; those that are dropped are none."""
    return _found(rows, "abha", sealing.abha_token(rows.vault, digits), facility, most)


def link_to(batch: Batch, numbers: Iterable[int], patient: int) -> None:
    """The patient has linked these contexts himself."""
    batch.executemany(
        "UPDATE abdm_context SET patient = ?, state = 'linked', reason = '', changed_us = ?"
        " WHERE number = ? AND state IN ('waiting', 'ready', 'failed')",
        [(patient, batch.now_us, number) for number in numbers],
    )


def move(batch: Batch, numbers: Iterable[int], state: ContextState, reason: str = "") -> None:
    """One that is dropped or held stays so: the result of a call that was under way then does not bring it back. One of
    a patient who may have left keeps that reason until the patient is verified anew."""
    batch.executemany(
        "UPDATE abdm_context SET state = ?, reason = CASE reason WHEN 'leaving' THEN reason ELSE ? END, changed_us = ?"
        " WHERE number = ? AND state NOT IN ('dropped', 'waiting')",
        [(state.value, reason, batch.now_us, number) for number in numbers],
    )


def notified(batch: Batch, number: int, version: int) -> None:
    """The patient's app was notified of a version."""
    batch.execute(
        "UPDATE abdm_context SET notified = max(notified, ?), changed_us = ? WHERE number = ?",
        (version, batch.now_us, number),
    )


def _versions(batch: Batch, message_id: int, before: Context | None = None) -> dict[str, Any]:
    """The versions of a report with the one of a message."""
    known = list(before.content.get(VERSIONS) or ()) if before is not None else []
    version = before.version + 1 if before is not None else 1
    return {VERSIONS: [*known, [version, message_id, batch.now_us]][-MOST_VERSIONS:]}


def _set_found_by(batch: Batch, number: int, content: Mapping[str, Any]) -> None:
    """The keyed hashes by which the context is found where its patient searches."""
    said = held(content)
    mobile = sealing.mobile_token(batch.vault, said.mobile)
    abha = sealing.abha_token(batch.vault, min(said.numbers, default=""))
    batch.execute("UPDATE abdm_context SET mobile = ?, abha = ? WHERE number = ?", (mobile, abha, number))


def _found(rows: Rows, column: str, token: bytes, facility: str, most: int) -> list[Context]:
    if not token:
        return []
    select = f"{_SELECT} WHERE {column} = ? AND facility = ? AND state <> 'dropped' ORDER BY number LIMIT ?"
    return [_context(rows, row) for row in rows.execute(select, (token, facility, most)).fetchall()]


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
