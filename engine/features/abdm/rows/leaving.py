"""What goes when a patient has left the network: in one transaction, at each laboratory of ours.

    patient     his names, numbers and link token; the keyed hashes of his address and ABHA number stay, so that no
                report links him
    contexts    dropped, without what names him: the reports stay in the laboratory
    consents    revoked; open transfers under them end, the bytes of their pages are deleted now. An artefact is deleted
                where no transfer under it is open: else it says what the report of that has to list, and goes with
                the age of the consent (`consents.sweep`)
    searches    what his app was offered goes, and no code is sent to him
    calls       those about him that have not ended are not made; none keeps its body

A call that is on the line in this moment cannot be taken back: its answer then changes nothing.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

import orjson

from engine.features.abdm.rows import calls, consents, invitations, offers, patients, sealing, shares
from engine.features.abdm.rules.abha import AbhaNumber
from engine.features.abdm.rules.network import PatientState
from engine.model.errors import IntegrityError
from engine.store.core.writing.batch import Batch

LEFT = "left"
ALL = 2**63 - 1  # above each number of a call
OF_PATIENT, OF_CONTEXT = ("generate-token", "link"), ("context-notify", "sms-notify")  # calls, by their subject


def stop(batch: Batch, address: str, notice: int, facilities: Iterable[str], reference: Callable[[], str]) -> bool:
    """Nothing more is sent of the patient with this address: his consents are suspended, no report is linked, and what
    his app was offered goes. False: there is nothing of his.

    Args:
        notice: number of the callback that says it.
        facilities: of ours: where he has no row he gets one, so that a report that comes later is not linked there
            either.
        reference: of such a row.
    """
    rows, digits = _his(batch, address)
    for said in sorted({address}.union(*(_words(batch, number) for number in rows))):
        offers.leave(batch, said, LEFT)
    for number in rows:
        patients.suspect(batch, number, notice)
        for (consent,) in batch.execute("SELECT number FROM abdm_consent WHERE patient = ?", (number,)).fetchall():
            consents.suspend(batch, consent, LEFT)
    for facility in facilities:
        if patients.by_address(batch, facility, address) is None:
            patients.bar(batch, facility, reference(), address, min(digits, default=""), notice)
    return any(row.state != "dropped" for row in rows.values())


def leave(batch: Batch, address: str, notice: int, answer: int) -> None:
    """The patient with this address has left, by this notice. Where he was verified after it he is back, and stays.

    Args:
        answer: number of the call with our answer to the notice: what was queued after it goes on.
    """
    rows, _ = _his(batch, address)
    back = [row.number for row in rows.values() if row.state == PatientState.KNOWN or row.notice > notice]
    words = {address}
    for row in rows.values():
        if row.number not in back:
            words |= {row.reference} | _drop(batch, row.number)
    for number in back:
        words -= _words(batch, number)
    _withdraw(batch, words, answer)


def confirm(batch: Batch, number: int) -> None:
    """A person has withdrawn a report: where it was the last one of a patient who may have left, he has."""
    row = batch.execute(
        "SELECT reference FROM abdm_patient WHERE number = ?1 AND state = ?2 AND NOT EXISTS (SELECT 1 FROM abdm_context"
        " WHERE patient = ?1 AND state <> 'dropped')",
        (number, patients.LEAVING),
    ).fetchone()
    if row is not None:
        _withdraw(batch, {row[0]} | _drop(batch, number))


class _Row(NamedTuple):
    number: int
    reference: str
    state: str
    notice: int


def _his(batch: Batch, address: str) -> tuple[dict[int, _Row], list[str]]:
    """The rows of a patient, and the ABHA numbers in them. Where a row of his has his number, or the address is made of
    it, all rows with it are his."""
    found = _rows(batch, "address", sealing.address_token(batch.vault, address))
    made_of = AbhaNumber.read(address.partition("@")[0])  # the network makes such an address of each number
    own = [_digits(batch, row.number) for row in found] + ([made_of.digits] if made_of is not None else [])
    digits = sorted({digits for digits in own if digits})
    for one in digits:
        found += _rows(batch, "abha", sealing.abha_token(batch.vault, one))
    return {row.number: row for row in found}, digits


def _rows(batch: Batch, column: str, token: bytes) -> list[_Row]:
    """Patients with this keyed hash."""
    select = f"SELECT number, reference, state, notice FROM abdm_patient WHERE {column} = ? AND {column} <> x''"  # noqa: S608 - constant
    return [_Row(*row) for row in batch.execute(select, (token,)).fetchall()]


def _digits(batch: Batch, patient: int) -> str:
    with suppress(IntegrityError):  # `labrelay verify` names the row
        one = patients.by_number(batch, patient)
        return one.person.number if one is not None and one.person is not None else ""
    return ""


def _drop(batch: Batch, number: int) -> set[str]:
    """Drop what is kept of a patient; return more that names him."""
    contexts = batch.execute("SELECT number, reference FROM abdm_context WHERE patient = ?", (number,)).fetchall()
    batch.execute(
        "UPDATE abdm_context SET state = 'dropped', reason = ?, accession = x'', tube = x'', mobile = x'', abha = x'',"
        " content = x'', changed_us = ? WHERE patient = ? AND (state <> 'dropped' OR content <> x'')",
        (LEFT, batch.now_us, number),
    )
    subjects = [(name, number) for name in OF_PATIENT]
    subjects += [(name, context) for name in OF_CONTEXT for context, _ in contexts]
    batch.executemany(
        "UPDATE abdm_call SET content = x'', fault = x'', changed_us = ?, code = CASE WHEN state IN ('done', 'failed')"
        " THEN code ELSE ? END, state = CASE state WHEN 'done' THEN 'done' ELSE 'failed' END"
        " WHERE name = ? AND subject = ?",
        [(batch.now_us, LEFT, name, subject) for name, subject in subjects],
    )
    consents.let_go_pages(batch, [context for context, _ in contexts], LEFT)
    consents.end_all_of_patient(batch, number, LEFT)
    batch.execute(
        "UPDATE abdm_consent SET content = x'', changed_us = ? WHERE patient = ? AND content <> x'' AND NOT EXISTS"
        " (SELECT 1 FROM abdm_transfer t WHERE t.consent = abdm_consent.number"
        " AND t.state NOT IN ('ended', 'refused'))",
        (batch.now_us, number),
    )
    words = _words(batch, number)
    with suppress(IntegrityError):  # `labrelay verify` names the row
        one = patients.by_number(batch, number)
        if one is not None and one.person is not None:
            invitations.bar(batch, number, one.person.mobile, one.person.patient)
    shares.forget(batch, number)
    patients.drop(batch, number)
    return words


def _words(batch: Batch, number: int) -> set[str]:
    """ABHA number and address of a patient."""
    with suppress(IntegrityError):
        one = patients.by_number(batch, number)
        if one is not None and one.person is not None:
            return {one.person.number, one.person.address}
    return set()


def _withdraw(batch: Batch, words: Collection[str], before: int = ALL) -> None:
    """End the open calls, of a lower number, whose body has one of these texts, of whichever flow they are."""
    sought = [orjson.dumps(word.lower()) for word in words if word]  # in quotes: another address may end alike
    select = (
        "SELECT number, content FROM abdm_call WHERE state IN ('waiting', 'sending', 'accepted') AND content <> x''"
        " AND number < ?"
    )
    for number, content in batch.execute(select, (before,)).fetchall():
        try:
            body = orjson.dumps(sealing.opened(batch, calls.TABLE, "content", number, content)).lower()
        except IntegrityError:  # it is not made, either (`calls.claim`)
            continue
        if any(word in body for word in sought):
            batch.execute(
                "UPDATE abdm_call SET state = 'failed', code = ?, content = x'', fault = x'', changed_us = ?"
                " WHERE number = ?",
                (LEFT, batch.now_us, number),
            )
