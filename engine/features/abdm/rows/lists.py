"""Care contexts, consents, requests for records and failed calls of ABDM as lists, the newest first; for people and
programs. Patients are masked, and no content of a report is opened.

    asked for                    how a list is read
    nothing                      by number
    message, report, consent     the rows of it; a report by the keyed hash of its number
    facility, state, reason      each combination that there is is one range of an index; the newest of them together
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

import orjson

from engine.features.abdm.rows import patients, sealing
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber, masked_name
from engine.features.abdm.rules.links import held
from engine.model.errors import IntegrityError
from engine.store.core.connecting import Execute, Rows
from engine.store.queries import reader as reading
from engine.store.queries.reader import Reader

MOST_COUNTED = 10_000  # rows of one facility, state and reason
NO_LIMIT = 2**62  # above every number
CONTEXTS, CONSENTS, TRANSFERS = "abdm_context", "abdm_consent", "abdm_transfer"
_CONTEXT = (
    "SELECT number, facility, state, reason, message_id, version, notified, issued_us, made_us, changed_us, patient,"
    " content FROM abdm_context"
)
_CONSENT = (
    "SELECT number, consent_id, facility, state, reason, ends_us, served, made_us, changed_us, patient,"
    " (SELECT count(*) FROM abdm_page p JOIN abdm_transfer t ON t.number = p.transfer"
    " WHERE t.consent = abdm_consent.number AND p.state = 'delivered'),"
    " (SELECT coalesce(max(p.changed_us), 0) FROM abdm_page p JOIN abdm_transfer t ON t.number = p.transfer"
    " WHERE t.consent = abdm_consent.number AND p.state = 'delivered') FROM abdm_consent"
)
_TRANSFER = (
    "SELECT number, consent, coalesce((SELECT consent_id FROM abdm_consent c WHERE c.number = consent), ''), facility,"
    " state, reason, made_us, changed_us, pages,"
    " (SELECT count(*) FROM abdm_page WHERE transfer = abdm_transfer.number AND state = 'delivered'),"
    " (SELECT coalesce(group_concat(DISTINCT reason), '') FROM abdm_page"
    " WHERE transfer = abdm_transfer.number AND reason <> '') FROM abdm_transfer"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a list; what is empty or None is not asked for.

    Attributes:
        message, report: of care contexts; the laboratory's own number of the report. 0: those without a message.
        consent: of requests for records, by its number here; 0: those under an unknown one.
    """

    facility: str = ""
    state: str = ""
    reason: str = ""
    message: int | None = None
    report: str = field(default="", repr=False)
    consent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPatient:
    """Name, ABHA number and ABHA address, of which nothing but some signs is shown; empty: unknown.

    Attributes:
        is_known: to the network; else it is what the report says.
    """

    name: str = ""
    abha_number: str = ""
    abha_address: str = ""
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A care context. ``message_id``: of its newest version; 0: it was made by hand."""

    number: int
    facility: str
    state: str
    reason: str
    message_id: int
    version: int
    notified: int
    issued_us: int
    made_us: int
    changed_us: int
    patient: MaskedPatient

    @property
    def is_told(self) -> bool:
        """Whether the patient's app has heard of the newest version."""
        return self.notified >= self.version


@dataclass(frozen=True, slots=True)
class ConsentLine:
    """A consent.

    Attributes:
        served: requests for records that were taken.
        delivered: pages that readers have got under it, and when the last one was (``last_us``).
    """

    number: int
    consent_id: str
    facility: str
    state: str
    reason: str
    ends_us: int
    served: int
    made_us: int
    changed_us: int
    patient: MaskedPatient
    delivered: int
    last_us: int


@dataclass(frozen=True, slots=True)
class TransferLine:
    """A request for records.

    Attributes:
        consent: its number here; 0: unknown. ``consent_id`` is the network's.
        pages: how many there are, and how many of them the reader has (``delivered``).
        page_reasons: of its pages, each once.
    """

    number: int
    consent: int
    consent_id: str
    facility: str
    state: str
    reason: str
    made_us: int
    changed_us: int
    pages: int
    delivered: int
    page_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallLine:
    """A call that has failed. ``code``: of the gateway, or ours; empty: none."""

    number: int
    facility: str
    name: str
    subject: int
    attempt: int
    status: int
    code: str
    changed_us: int


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one facility, state and reason; up to one more than `MOST_COUNTED`."""

    facility: str
    state: str
    reason: str
    count: int


def has_any(reader: Reader) -> bool:
    """Whether the journal has anything of ABDM."""
    with reader.snapshot() as execute:
        tables = (CONTEXTS, CONSENTS, TRANSFERS, "abdm_call", "abdm_share")
        return any(execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables)  # noqa: S608 - constants


def contexts(reader: Reader, wanted: Wanted, *, before: int = 0, limit: int) -> list[ContextLine]:
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        found = _rows(execute, CONTEXTS, _CONTEXT, _numbers(rows, CONTEXTS, wanted, before, limit))
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        return [context_line(rows, row) for row in found]


def of_message(reader: Reader, message: int, most: int = 20) -> list[int]:
    """Care contexts of which a message is the newest version."""
    select = "SELECT number FROM abdm_context WHERE message_id = ? AND message_id > 0 ORDER BY number LIMIT ?"
    return [number for (number,) in reader.rows(select, (message, most))]


def consents(reader: Reader, wanted: Wanted, *, before: int = 0, limit: int) -> list[ConsentLine]:
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        found = _rows(execute, CONSENTS, _CONSENT, _numbers(rows, CONSENTS, wanted, before, limit))
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        return [consent_line(rows, row) for row in found]


def transfers(reader: Reader, wanted: Wanted, *, before: int = 0, limit: int) -> list[TransferLine]:
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        found = _rows(execute, TRANSFERS, _TRANSFER, _numbers(rows, TRANSFERS, wanted, before, limit))
        return [transfer_line(row) for row in found]


def failed_calls(reader: Reader, most: int) -> list[CallLine]:
    select = (
        "SELECT number, facility, name, subject, attempt, status, code, changed_us FROM abdm_call"
        " WHERE state = 'failed' ORDER BY number DESC LIMIT ?"
    )
    with reader.snapshot() as execute:
        return [CallLine(*row) for row in execute(select, (most,)).fetchall()]


def counts(reader: Reader, table: str) -> list[Count]:
    """All rows of `CONTEXTS`, `CONSENTS` or `TRANSFERS` by facility, state and reason."""
    text = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE facility = ? AND state = ? AND reason = ? LIMIT ?)"  # noqa: S608 - constant
    with reader.snapshot() as execute:
        return [
            Count(*group, execute(text, (*group, MOST_COUNTED + 1)).fetchone()[0]) for group in _groups(execute, table)
        ]


# -- rows ----------------------------------------------------------------------------------------------------------


def one_context(rows: Rows, number: int) -> ContextLine | None:
    found = _rows(rows.execute, CONTEXTS, _CONTEXT, [number])
    return context_line(rows, found[0]) if found else None


def one_consent(rows: Rows, number: int) -> ConsentLine | None:
    found = _rows(rows.execute, CONSENTS, _CONSENT, [number])
    return consent_line(rows, found[0]) if found else None


def of_consent(rows: Rows, number: int, most: int) -> list[TransferLine]:
    """The newest requests for records under a consent."""
    found = _numbers(rows, TRANSFERS, Wanted(consent=number), 0, most)
    return [transfer_line(row) for row in _rows(rows.execute, TRANSFERS, _TRANSFER, found)]


def context_line(rows: Rows, row: Sequence[Any]) -> ContextLine:
    *first, patient, content = row
    who = _known(rows, patient) if patient else _as_reported(rows, row[0], content)
    return ContextLine(*[*first, who])


def consent_line(rows: Rows, row: Sequence[Any]) -> ConsentLine:
    *first, patient, delivered, last_us = row
    return ConsentLine(*[*first, _known(rows, patient), delivered, last_us])


def transfer_line(row: Sequence[Any]) -> TransferLine:
    *first, reasons = row
    return TransferLine(*[*first, tuple(sorted(filter(None, reasons.split(","))))])


def _rows(execute: Execute, table: str, select: str, numbers: Sequence[int]) -> list[Any]:
    text = f"{select} WHERE {table}.number IN (SELECT value FROM json_each(?)) ORDER BY {table}.number DESC"  # noqa: S608 - constants
    return execute(text, (orjson.dumps(numbers).decode(),)).fetchall()


def _numbers(rows: Rows, table: str, wanted: Wanted, before: int, most: int) -> list[int]:
    execute, below = rows.execute, before or NO_LIMIT
    asked = {name: getattr(wanted, name) for name in ("facility", "state", "reason") if getattr(wanted, name)}
    where: list[tuple[str, list[Any]]] = []
    if wanted.message is not None:
        where.append(("message_id = ?", [wanted.message]))
    if wanted.consent is not None:
        where.append(("consent = ?", [wanted.consent]))
    if wanted.report:
        tokens = _report_tokens(rows, wanted.report)
        where.append((f"tube <> x'' AND tube IN ({', '.join('?' * len(tokens))})", tokens))
    if where or not asked:
        where += [(f"{name} = ?", [said]) for name, said in asked.items()] + [("number < ?", [below])]
        text = " AND ".join(one for one, _ in where)
        values = [said for _, more in where for said in more]
        found = execute(f"SELECT number FROM {table} WHERE {text} ORDER BY number DESC LIMIT ?", (*values, most))  # noqa: S608 - constants
        return [number for (number,) in found.fetchall()]
    text = (
        f"SELECT number FROM {table} WHERE facility = ? AND state = ? AND reason = ? AND number < ?"  # noqa: S608 - constant
        " ORDER BY number DESC LIMIT ?"
    )
    names = ("facility", "state", "reason")
    return nlargest(
        most,
        (
            number
            for group in _groups(execute, table)
            if asked.items() <= dict(zip(names, group, strict=True)).items()
            for (number,) in execute(text, (*group, below, most)).fetchall()
        ),
    )


def _groups(execute: Execute, table: str) -> Iterator[tuple[str, str, str]]:
    """Each facility, state and reason that there is, by a search of the index for each. A comparison of all three at
    once would read each row on the way."""
    group = ("", "", "")
    while (found := _next_group(execute, table, group)) is not None:
        yield (group := found)


def _next_group(execute: Execute, table: str, group: tuple[str, str, str]) -> tuple[str, str, str] | None:
    behind = ("facility = ? AND state = ? AND reason > ?", "facility = ? AND state > ?", "facility > ?")
    for where, values in zip(behind, (group, group[:2], group[:1]), strict=True):
        text = f"SELECT facility, state, reason FROM {table} WHERE {where} ORDER BY facility, state, reason LIMIT 1"  # noqa: S608 - constants
        if (row := execute(text, values).fetchone()) is not None:
            return row[0], row[1], row[2]
    return None


# -- patients ------------------------------------------------------------------------------------------------------


def _report_tokens(rows: Rows, report: str) -> list[bytes]:
    """The keyed hashes of a number of the laboratory, one for each channel."""
    names = rows.execute("SELECT name FROM channel").fetchall()
    return [sealing.tube_token(rows.vault, name, report) for (name,) in names]


def _known(rows: Rows, number: int) -> MaskedPatient:
    """A patient of the network; one who has left has no name any more."""
    with suppress(IntegrityError):
        one = patients.by_number(rows, number) if number else None
        if one is not None and one.person is not None:
            return _masked(one.person.name, {one.person.number}, {one.person.address}, is_known=True)
    return MaskedPatient()


def _as_reported(rows: Rows, number: int, content: bytes) -> MaskedPatient:
    with suppress(IntegrityError):
        said = held(sealing.opened(rows, CONTEXTS, "content", number, content) or {})
        return _masked(said.name, said.numbers, said.addresses, is_known=False)
    return MaskedPatient()


def _masked(name: str, numbers: Any, addresses: Any, *, is_known: bool) -> MaskedPatient:
    return MaskedPatient(
        name=masked_name(name),
        abha_number=", ".join(AbhaNumber(one).masked for one in sorted(numbers) if one),
        abha_address=", ".join(AbhaAddress(one).masked for one in sorted(addresses) if one),
        is_known=is_known,
    )
