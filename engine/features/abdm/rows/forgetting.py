"""ABDM's rows that go: those of ended work after a while, those of a report that retention deleted, and all that names
a patient who is erased.

A patient who is erased may have several numbers of the laboratory, and his row has one of them. So he is also found by
the reports that are erased, and with him go his other rows: those with his address or ABHA number, at each laboratory.

A context that is dropped keeps its row, so that its reference is never another report's, and a request for it is
answered as one for a report that is not here.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from engine.features.abdm.rows import consents, contexts, invitations, offers, patients, sealing, shares, transfers
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.links import held
from engine.model.content.search_keys import folded
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedAgain

KEPT_US = 30 * 86_400_000_000  # ended calls, and callbacks: the gateway repeats within hours
AT_ONCE = 200
ERASED, RETENTION = "erased", "retention"
_OF_MESSAGE = "SELECT number FROM abdm_context WHERE message_id = ? AND message_id > 0"
_IS_HIS = "patient > 0 AND state NOT IN ('waiting', 'dropped')"  # of a context whose patient is known


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
    more = [shares.sweep(batch, before_us, AT_ONCE), consents.sweep(batch, AT_ONCE), full]
    more.append(offers.sweep(batch, AT_ONCE))
    return not any(more)


EVERY = (sweep,)


def let_go(batch: Batch, messages: Iterable[int]) -> None:
    """Retention deletes these messages: their reports can be asked for no more."""
    _drop_contexts(batch, "message_id", messages, RETENTION)


def patients_of(rows: Rows, messages: Iterable[int], numbers: Sequence[str]) -> set[int]:
    """The patient at ABDM with these numbers of the laboratory: by the one of his row, and by those that the reports of
    these messages have; with all rows that have his address or ABHA number. A text may be one of these two, too: who
    has shared his profile alone has no number of the laboratory."""
    found: set[int] = set()
    for text in numbers:
        if token := sealing.patient_token(rows.vault, text):
            found.update(_column(rows, "SELECT number FROM abdm_patient WHERE patient = ?", token))
        if (number := AbhaNumber.read(text)) is not None:
            token = sealing.abha_token(rows.vault, number.digits)
            found.update(_column(rows, "SELECT number FROM abdm_patient WHERE abha = ?", token))
        if (address := AbhaAddress.read(text)) is not None:
            token = sealing.address_token(rows.vault, address.text)
            found.update(_column(rows, "SELECT number FROM abdm_patient WHERE address = ?", token))
    wanted = {folded(text) for text in numbers} - {""}
    for message_id in messages:
        found |= _reported(rows, message_id, lambda own: folded(own) in wanted)
    return _with_same_abha(rows, found)


def other_messages(rows: Rows, found: Iterable[int], messages: Collection[int]) -> list[int]:
    """Messages of other reports of these patients, which an erasure of ``messages`` leaves here."""
    select = f"SELECT message_id FROM abdm_context WHERE patient = ? AND message_id > 0 AND {_IS_HIS}"  # noqa: S608 - constant
    return sorted({one for patient in found for one in _column(rows, select, patient)} - set(messages))


def _reported(rows: Rows, message_id: int, is_his: Callable[[str], bool]) -> set[int]:
    """Patients of the reports of a message that have such a number of the laboratory: a message may have those of
    several patients."""
    found: set[int] = set()
    select = f"SELECT number, patient, content FROM abdm_context WHERE message_id = ? AND message_id > 0 AND {_IS_HIS}"  # noqa: S608 - constant
    for number, patient, sealed in rows.execute(select, (message_id,)).fetchall():
        with suppress(IntegrityError):
            content = sealing.opened(rows, contexts.TABLE, "content", number, sealed) or {}
            if any(map(is_his, held(content).own)):
                found.add(patient)
    return found


def _with_same_abha(rows: Rows, found: Collection[int]) -> set[int]:
    """These patients, and the rows of those who have not left with the same address or ABHA number."""
    same = set(found)
    for column in ("address", "abha"):
        select = (
            f"SELECT o.number FROM abdm_patient p JOIN abdm_patient o ON o.{column} = p.{column} AND o.{column} <> x''"  # noqa: S608 - constants
            " WHERE p.number = ? AND o.state <> 'dropped'"
        )
        for number in found:
            same.update(_column(rows, select, number))
    return same


def _column(rows: Rows, select: str, value: object) -> list[int]:
    return [number for (number,) in rows.execute(select, (value,)).fetchall()]


def erase(batch: Batch, messages: Iterable[int], numbers: Sequence[str]) -> None:
    """Erase the reports of these messages, and the patient with these numbers of the laboratory's own."""
    messages = tuple(messages)
    found = {number: _words(batch, number) for number in sorted(patients_of(batch, messages, numbers))}
    gone = {row[0] for one in messages for row in batch.execute(_OF_MESSAGE, (one,)).fetchall()}
    _drop_contexts(batch, "message_id", messages, ERASED)
    for text in numbers:
        for number in invitations.erase(batch, text):
            patients.drop(batch, number, erased=True)
    for number, words in found.items():
        reports = _column(batch, "SELECT number FROM abdm_context WHERE patient = ?", number)
        gone.update(reports)
        _drop_contexts(batch, "number", reports, ERASED)
        _empty_calls(batch, number, reports)
        his = consents.of_patient(batch, number, words)
        to_report = consents.to_report(batch, his)
        consents.erase(batch, his, ERASED, batch.now_us)
        for transfer, content in to_report.items():
            transfers.keep_content(batch, transfer, content or None)
        consents.erase_traffic(batch, words, his.values(), ERASED, batch.now_us)
        shares.forget(batch, number)
        patients.drop(batch, number, erased=True)
    offers.erase(batch, gone)


def on_erase(batch: Batch, messages: Sequence[int], numbers: Sequence[str], act: int) -> int:
    erase(batch, messages, numbers)
    return 0


def forget_again(rows: Rows, one: ErasedAgain) -> None:
    erase_again(rows, one.message.id, one.is_his)


def erase_again(rows: Rows, message_id: int, is_his: Callable[[str], bool]) -> None:
    """After a restore: the report of a message that was erased since the copy goes. So does its patient where the
    report has a number of the one who was erased, or no other report of his is there: too much rather than too little.

    Args:
        is_his: whether a number of the laboratory is one by which the patient was erased.
    """
    erased = _with_same_abha(rows, _reported(rows, message_id, is_his))
    found = rows.execute("SELECT patient, number FROM abdm_context WHERE message_id = ?", (message_id,)).fetchall()
    gone = {number for _, number in found}
    for patient in erased:
        gone.update(_column(rows, "SELECT number FROM abdm_context WHERE patient = ?", patient))
    consents.let_go_pages(rows, gone, ERASED)
    invitations.let_go(rows, gone)
    for number in gone:
        rows.execute(
            "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', tube = x'', mobile = x'',"
            " abha = x'', content = x'' WHERE number = ?",
            (ERASED, number),
        )
    rows.execute("DELETE FROM abdm_code")  # of the last day: their patients search again
    rows.execute("DELETE FROM abdm_offer")
    for patient in {*erased, *(one for one, _ in found)}:
        left = rows.execute("SELECT 1 FROM abdm_context WHERE patient = ? AND state <> 'dropped'", (patient,))
        if patient and left.fetchone() is None:
            words = _words(rows, patient)
            his = consents.of_patient(rows, patient, words)
            consents.erase(rows, his, ERASED)
            consents.erase_traffic(rows, words, his.values(), ERASED)
            rows.execute("DELETE FROM abdm_link_token WHERE patient = ?", (patient,))
            rows.execute("UPDATE abdm_share SET content = x'', patient = 0 WHERE patient = ?", (patient,))
            rows.execute(
                "UPDATE abdm_patient SET state = 'dropped', address = x'', abha = x'', mobile = x'', patient = x'',"
                " content = x'' WHERE number = ?",
                (patient,),
            )


def _drop_contexts(batch: Batch, column: str, numbers: Iterable[int], reason: str) -> None:
    numbers = tuple(numbers)
    batch.executemany(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', tube = x'', mobile = x'',"  # noqa: S608 - constant
        " abha = x'', content = x'', changed_us = ?"
        f" WHERE {column} = ? AND {column} > 0 AND (state <> 'dropped' OR content <> x'')",
        [(reason, batch.now_us, number) for number in numbers],
    )
    for number in numbers:
        dropped = batch.execute(f"SELECT number FROM abdm_context WHERE {column} = ? AND {column} > 0", (number,))  # noqa: S608 - constant
        gone = [one for (one,) in dropped.fetchall()]
        consents.let_go_pages(batch, gone, reason)
        invitations.let_go(batch, gone)


def _empty_calls(batch: Batch, patient: int, contexts: Sequence[int]) -> None:
    """Calls about a patient have an address in them. One that has not ended is not made any more."""
    subjects = [("generate-token", patient), ("link", patient), *(("context-notify", one) for one in contexts)]
    batch.executemany(
        "UPDATE abdm_call SET content = x'', fault = x'', changed_us = ?, code = CASE WHEN state IN ('done', 'failed')"
        " THEN code ELSE 'ERASED' END, state = CASE state WHEN 'done' THEN 'done' ELSE 'failed' END"
        " WHERE name = ? AND subject = ?",
        [(batch.now_us, name, subject) for name, subject in subjects],
    )


def _words(rows: Rows, number: int) -> set[str]:
    """What names a patient in callbacks: address, number, and the reference that is his alone."""
    with suppress(IntegrityError):
        one = patients.by_number(rows, number)
        if one is not None:
            own = {one.person.address, one.person.number} if one.person is not None else set()
            return {folded(word) for word in own if word} | {one.reference}
    return set()
