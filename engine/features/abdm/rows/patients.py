"""Patients as ABDM knows them, for each facility, and the tokens by which the facility links their records.

Found by keyed hash, decided by the sealed content. A patient who has left the network keeps his row, without anything
that names him: his records and their history stay the laboratory's, and no later report links them again. An erasure
takes the keyed hash as well.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from engine.features.abdm.rows import sealing
from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.rules.links import Held, fits
from engine.features.abdm.rules.network import PatientState, TokenState
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch

TABLE = "abdm_patient"
TOKEN_TABLE = "abdm_link_token"  # noqa: S105 - a table
LEAVING = PatientState.LEAVING.value  # also the reason of his reports
_SELECT = "SELECT number, facility, reference, state, content FROM abdm_patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient as the network has him: name, gender and year as ABHA holds them, not as an analyzer spells them.

    Attributes:
        address: ABHA address, in lower case.
        number: ABHA number, 14 digits; empty: he has none.
        gender: M, F, O, D, T or U.
        mobile: digits; empty: unknown.
        patient: the laboratory's own number; empty: unknown.
        verified: the network or a person has said so, and not a report alone.
    """

    address: str = field(repr=False)
    number: str = field(default="", repr=False)
    name: str = field(repr=False)
    gender: str = field(repr=False)
    year: int = field(repr=False)
    mobile: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)
    verified: bool = False


@dataclass(frozen=True, slots=True)
class Patient:
    """A row. ``person``: None once he has left. ``reference``: as which the network knows him here."""

    number: int
    facility: str
    reference: str
    state: PatientState
    person: Person | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkToken:
    """A row. ``until_us``: end of its life, or of the block; 0: neither."""

    state: TokenState
    until_us: int
    token: str = field(repr=False)


def put(batch: Batch, facility: str, reference: str, person: Person) -> int:
    """Keep a patient, or what is new about him; return his number.

    What is verified stays where a report spells it otherwise. One who has left the network stays as he is, unless he is
    verified anew: he has come back.

    Args:
        reference: of a new one.
    """
    address = sealing.address_token(batch.vault, person.address)
    row = batch.execute(
        "SELECT number FROM abdm_patient WHERE address = ? AND facility = ?", (address, facility)
    ).fetchone()
    if row is None:
        (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_patient").fetchone()
        batch.execute(
            "INSERT INTO abdm_patient (number, facility, reference, state, notice, noticed, address, abha, mobile,"
            " patient, made_us, changed_us, content) VALUES (?, ?, ?, 'known', 0, 0, x'', x'', x'', x'', ?, ?, x'')",
            (number, facility, reference, batch.now_us, batch.now_us),
        )
    else:
        (number,) = row
        known = by_number(batch, number)
        if known is not None and not person.verified:
            if known.state is not PatientState.KNOWN:
                return int(number)
            if known.person is not None and known.person.verified:
                person = replace(
                    known.person,
                    patient=known.person.patient or person.patient,
                    mobile=known.person.mobile or person.mobile,
                )
    batch.execute("UPDATE abdm_context SET reason = '' WHERE patient = ? AND reason = ?", (number, LEAVING))
    if person.verified and person.number:
        _lift(batch, facility, number, person.number)
    vault = batch.vault
    content = {name: getattr(person, name) for name in Person.__slots__}
    batch.execute(
        "UPDATE abdm_patient SET state = 'known', notice = 0, address = ?, abha = ?, mobile = ?, patient = ?,"
        " changed_us = ?, content = ? WHERE number = ?",
        (
            *(address, sealing.abha_token(vault, person.number), sealing.mobile_token(vault, person.mobile)),
            *(sealing.patient_token(vault, person.patient), batch.now_us),
            *(sealing.sealed(batch, TABLE, "content", number, content), number),
        ),
    )
    return int(number)


def _lift(batch: Batch, facility: str, number: int, digits: str) -> None:
    """One who had left is back: that he has left under another address, of which nothing is kept but hashes, does not
    keep his reports from him."""
    batch.execute(
        "UPDATE abdm_patient SET state = 'dropped', notice = 0, address = x'', abha = x'', changed_us = ?"
        " WHERE abha = ? AND facility = ? AND number <> ? AND state IN ('dropped', 'leaving') AND content = x''",
        (batch.now_us, sealing.abha_token(batch.vault, digits), facility, number),
    )


def by_number(rows: Rows, number: int) -> Patient | None:
    row = rows.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone()
    return None if row is None else _patient(rows, row)


def by_address(rows: Rows, facility: str, address: str) -> Patient | None:
    token = sealing.address_token(rows.vault, address)
    row = rows.execute(f"{_SELECT} WHERE address = ? AND facility = ?", (token, facility)).fetchone()
    return None if row is None else _patient(rows, row)


def has_left(rows: Rows, facility: str, person: Person) -> bool:
    """Whether he has left the network, under this address, or under another one of his number."""
    one = by_address(rows, facility, person.address)
    found = [one] if one is not None else by_abha(rows, facility, person.number)
    return any(each.state is not PatientState.KNOWN for each in found)


def notice_of(rows: Rows, facility: str, address: str, digits: str) -> int:
    """Number of the newest callback by which one with this address or ABHA number may have left; 0: there is none."""
    tokens = (sealing.address_token(rows.vault, address), sealing.abha_token(rows.vault, digits))
    (newest,) = rows.execute(
        "SELECT coalesce(max(noticed), 0) FROM abdm_patient WHERE facility = ?"
        " AND ((address = ? AND address <> x'') OR (abha = ? AND abha <> x''))",
        (facility, *tokens),
    ).fetchone()
    return int(newest)


def is_taken(rows: Rows, reference: str) -> bool:
    """Whether a patient has this reference, or had it."""
    return rows.execute("SELECT 1 FROM abdm_patient WHERE reference = ?", (reference,)).fetchone() is not None


def by_abha(rows: Rows, facility: str, digits: str) -> list[Patient]:
    return _found(rows, "abha", sealing.abha_token(rows.vault, digits), facility)


def has_address(rows: Rows, patient: Patient | None, address: AbhaAddress) -> bool:
    """Whether an address is surely that of a patient: his own; or, where his number is verified, the one that the
    network makes of a number, or one that is verified with the same number and fits his name, or year and gender.
    False: he has left, or is not known.
    """
    one = patient.person if patient is not None and patient.state is PatientState.KNOWN else None
    if patient is None or one is None:
        return False
    if address.text == one.address:
        return True
    if not (one.verified and one.number):
        return False
    if address.text == f"{one.number}@{AbhaAddress(one.address).domain}":
        return True
    found = by_address(rows, patient.facility, address.text)
    other = found.person if found is not None and found.state is PatientState.KNOWN else None
    if other is None or not other.verified or other.number != one.number:
        return False
    return fits(Held(name=other.name, gender=other.gender, year=other.year), one.name, one.gender, one.year)


def by_address_or_number(rows: Rows, facility: str, address: AbhaAddress) -> Patient | None:
    """By an address, also by the one that the network makes of a number that is verified here."""
    found = by_address(rows, facility, address.text)
    if found is not None:
        return found
    same = by_abha(rows, facility, address.text.partition("@")[0])
    return next((one for one in same if has_address(rows, one, address)), None)


def by_patient(rows: Rows, facility: str, number: str) -> list[Patient]:
    """By the laboratory's own patient number, to the letter: a difference in case makes another patient."""
    found = _found(rows, "patient", sealing.patient_token(rows.vault, number), facility)
    return [one for one in found if one.person is not None and one.person.patient == number]


def drop(batch: Batch, number: int, *, erased: bool = False) -> None:
    """The patient has left the network, or is erased: nothing that names him stays, and no token.

    Args:
        erased: the keyed hashes of address and ABHA number go, too; else they stay, for a later report must not link
            him again.
    """
    batch.execute("DELETE FROM abdm_link_token WHERE patient = ?", (number,))
    batch.execute(
        "UPDATE abdm_patient SET state = 'dropped', notice = 0, address = CASE WHEN ? THEN x'' ELSE address END,"
        " abha = CASE WHEN ? THEN x'' ELSE abha END, mobile = x'', patient = x'', content = x'', changed_us = ?"
        " WHERE number = ?",
        (erased, erased, batch.now_us, number),
    )


def suspect(batch: Batch, number: int, notice: int) -> None:
    """The patient may have left: none of his reports is linked until he is verified anew, or a person links one."""
    batch.execute(
        "UPDATE abdm_patient SET state = ?, notice = ?, changed_us = ? WHERE number = ? AND state = 'known'",
        (LEAVING, notice, batch.now_us, number),
    )
    batch.execute("UPDATE abdm_patient SET noticed = ? WHERE number = ?", (notice, number))
    batch.execute(
        "UPDATE abdm_context SET reason = ?, changed_us = ? WHERE patient = ? AND state NOT IN ('waiting', 'dropped')"
        " AND reason = ''",
        (LEAVING, batch.now_us, number),
    )


def bar(batch: Batch, facility: str, reference: str, address: str, digits: str, notice: int) -> None:
    """One who is not known here may have left the network: no report is to link him. The keyed hashes of his address
    and ABHA number (empty: unknown) are all that is kept.
    """
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_patient").fetchone()
    batch.execute(
        "INSERT INTO abdm_patient (number, facility, reference, state, notice, noticed, address, abha, mobile, patient,"
        " made_us, changed_us, content) VALUES (?, ?, ?, 'leaving', ?, ?, ?, ?, x'', x'', ?, ?, x'')",
        (
            *(number, facility, reference, notice, notice, sealing.address_token(batch.vault, address)),
            *(sealing.abha_token(batch.vault, digits), batch.now_us, batch.now_us),
        ),
    )


# -- link tokens -----------------------------------------------------------------------------------------------------


def link_token(rows: Rows, patient: int) -> LinkToken | None:
    row = rows.execute("SELECT state, until_us, token FROM abdm_link_token WHERE patient = ?", (patient,)).fetchone()
    if row is None:
        return None
    token = sealing.opened_bytes(rows, TOKEN_TABLE, "token", patient, row[2]).decode()
    return LinkToken(TokenState(row[0]), row[1], token)


def set_link_token(batch: Batch, patient: int, state: TokenState, *, until_us: int = 0, token: str = "") -> None:
    sealed = sealing.sealed_bytes(batch, TOKEN_TABLE, "token", patient, token.encode()) if token else b""
    batch.execute(
        "INSERT OR REPLACE INTO abdm_link_token (patient, state, until_us, token) VALUES (?, ?, ?, ?)",
        (patient, state.value, until_us, sealed),
    )
    batch.execute("UPDATE abdm_patient SET changed_us = ? WHERE number = ?", (batch.now_us, patient))


def forget_link_token(batch: Batch, patient: int) -> None:
    batch.execute("DELETE FROM abdm_link_token WHERE patient = ?", (patient,))
    batch.execute("UPDATE abdm_patient SET changed_us = ? WHERE number = ?", (batch.now_us, patient))


def _found(rows: Rows, column: str, token: bytes, facility: str) -> list[Patient]:
    if not token:
        return []
    select = f"{_SELECT} WHERE {column} = ? AND facility = ? ORDER BY number"
    return [_patient(rows, row) for row in rows.execute(select, (token, facility)).fetchall()]


def _patient(rows: Rows, row: Any) -> Patient:
    number, facility, reference, state, content = row
    said = sealing.opened(rows, TABLE, "content", number, content)
    return Patient(number, facility, reference, PatientState(state), Person(**said) if said else None)
