"""One care context and one consent of ABDM, with all that became of them. Patients are masked."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from engine.features.abdm.rows import consents as kept_consents
from engine.features.abdm.rows import contexts as kept_contexts
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows import transfers as kept_transfers
from engine.features.abdm.rows.lists import ConsentLine, ContextLine, TransferLine
from engine.features.abdm.rules.consents import Artefact
from engine.model.errors import IntegrityError
from engine.model.process.clock import to_us
from engine.store.core.connecting import Rows
from engine.store.queries import reader as reading
from engine.store.queries.reader import Reader

MOST_UNDER = 200  # requests under one consent, pages of one report, calls about it
MOST_CONTEXTS = 1_000  # of one consent


@dataclass(frozen=True, slots=True)
class VersionLine:
    """A version of a report. ``message_id``: 0, where retention has deleted it or it was made by hand."""

    version: int
    message_id: int
    at_us: int
    is_told: bool


@dataclass(frozen=True, slots=True)
class StepLine:
    """A call to the gateway about a report, or about its patient."""

    number: int
    name: str
    state: str
    attempt: int
    status: int
    code: str
    made_us: int
    changed_us: int


@dataclass(frozen=True, slots=True)
class PageLine:
    """A page with one report.

    Attributes:
        consent: under which it went; 0: unknown.
        context: its number; ``message_id``: of the version that was sent, 0 where it is not there any more.
        status: of HTTP, of the last answer; 0: none.
        changed_us: of its last step; of one that was delivered, when that was.
    """

    consent: int
    transfer: int
    n: int
    context: int
    message_id: int
    state: str
    reason: str
    attempt: int
    status: int
    changed_us: int


@dataclass(frozen=True, slots=True)
class Left:
    """A report of a consent that did not go, and why. ``context``: 0: it is not here any more."""

    context: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A request under a consent: its pages, and the reports that did not go."""

    line: TransferLine
    pages: Sequence[PageLine]
    left: Sequence[Left]


@dataclass(frozen=True, slots=True)
class Granted:
    """What a consent allows, as far as people need it; the patient is in none of it.

    Attributes:
        reader: id of who may read; ``reader_name``: empty where it may be the patient's own.
        frequency: units, their number and how often; None: no limit.
    """

    purpose: str
    reader: str
    reader_name: str
    hi_types: Sequence[str]
    from_us: int
    until_us: int
    frequency: tuple[int, int, str] | None
    access_mode: str


@dataclass(frozen=True, slots=True)
class ContextInFull:
    line: ContextLine
    versions: Sequence[VersionLine]
    steps: Sequence[StepLine]
    sent: Sequence[PageLine]


@dataclass(frozen=True, slots=True)
class ConsentInFull:
    """
    Attributes:
        granted: None: no grant has come, it was deleted after the end, or is damaged.
        grants: how many different ones came; above one the consent is disputed.
        contexts: numbers of its care contexts; 0: one that is not here.
        sent: what was asked for under it, the newest first.
        is_signed: the signature of its grant was proven.
    """

    line: ConsentLine
    granted: Granted | None
    grants: int
    contexts: Sequence[int]
    sent: Sequence[Sent]
    is_signed: bool


def context(reader: Reader, number: int) -> ContextInFull | None:
    """None: there is none."""
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        line = abdm_lists.one_context(rows, number)
        if line is None:
            return None
        (patient,) = execute("SELECT patient FROM abdm_context WHERE number = ?", (number,)).fetchone()
        return ContextInFull(
            replace(line, message_id=_there(rows, line.message_id)),
            _versions(rows, line),
            _steps(rows, number, patient),
            _pages(rows, "p.context = ? ORDER BY p.transfer DESC", number, MOST_UNDER),
        )


def consent(reader: Reader, number: int) -> ConsentInFull | None:
    """None: there is none."""
    with reader.snapshot() as execute:
        rows = reading.Rows(execute, reader.vault)
        line = abdm_lists.one_consent(rows, number)
        if line is None:
            return None
        found, count, numbers = _granted(rows, number)
        sent = [
            Sent(one, _pages(rows, "p.transfer = ? ORDER BY p.n", one.number, MOST_CONTEXTS), _left(rows, one))
            for one in abdm_lists.of_consent(rows, number, MOST_UNDER)
        ]
        (signed,) = execute("SELECT signed FROM abdm_consent WHERE number = ?", (number,)).fetchone()
        return ConsentInFull(line, found, count, numbers, sent, bool(signed))


def _pages(rows: Rows, which: str, number: int, most: int) -> list[PageLine]:
    found = rows.execute(
        "SELECT t.consent, p.transfer, p.n, p.context, coalesce((SELECT j.id FROM document d JOIN journal j"  # noqa: S608 - constants
        " ON j.id = d.message_id WHERE d.id = p.document_id), 0), p.state, p.reason, p.attempt, p.status, p.changed_us"
        f" FROM abdm_page p JOIN abdm_transfer t ON t.number = p.transfer WHERE {which} LIMIT ?",
        (number, most),
    )
    return [PageLine(*row) for row in found.fetchall()]


def _versions(rows: Rows, line: ContextLine) -> list[VersionLine]:
    """The newest first. The journal remembers the last ones alone."""
    kept: list[Any] = []
    with suppress(IntegrityError):
        one = kept_contexts.by_number(rows, line.number)
        kept = list(one.content.get(kept_contexts.VERSIONS) or ()) if one is not None else []
    kept = kept or [[line.version, line.message_id, line.changed_us]]
    return [
        VersionLine(version, _there(rows, message_id), at_us, version <= line.notified)
        for version, message_id, at_us in reversed(kept)
    ]


def _steps(rows: Rows, number: int, patient: int) -> list[StepLine]:
    """Of the patient's calls, those since the report is here: they link all his reports together."""
    found = rows.execute(
        "SELECT number, name, state, attempt, status, code, made_us, changed_us FROM abdm_call"
        " WHERE (name = 'context-notify' AND subject = ?)"
        " OR (name IN ('generate-token', 'link') AND subject = ? AND subject > 0"
        " AND changed_us >= (SELECT made_us FROM abdm_context WHERE number = ?))"
        " ORDER BY number DESC LIMIT ?",
        (number, patient, number, MOST_UNDER),
    )
    return [StepLine(*row) for row in found.fetchall()]


def _there(rows: Rows, message_id: int) -> int:
    return message_id if rows.execute("SELECT 1 FROM journal WHERE id = ?", (message_id,)).fetchone() else 0


def _granted(rows: Rows, number: int) -> tuple[Granted | None, int, list[int]]:
    with suppress(IntegrityError):
        kept = kept_consents.by_number(rows, number)
        artefact = next(kept_consents.artefacts(kept), None) if kept is not None else None
        if kept is not None and artefact is not None:
            found = [_number_of(rows, one.reference) for one in artefact.care_contexts[:MOST_CONTEXTS]]
            return _shown(artefact), len(kept_consents.grants(kept)), found
    return None, 0, []


def _shown(one: Artefact) -> Granted:
    limit = one.frequency
    return Granted(
        purpose=one.purpose,
        reader=one.reader,
        reader_name=one.shown_reader,
        hi_types=sorted(one.hi_types),
        from_us=to_us(one.period.begin),
        until_us=to_us(one.period.end),
        frequency=(limit.repeats, limit.value, limit.unit.value) if limit and limit.repeats and limit.value else None,
        access_mode=one.access_mode,
    )


def _left(rows: Rows, one: TransferLine) -> list[Left]:
    with suppress(IntegrityError):
        kept = kept_transfers.by_number(rows, one.number)
        said = kept.content if kept is not None and isinstance(kept.content, dict) else {}
        return [Left(_number_of(rows, reference), reason) for reference, reason in (said.get("left") or {}).items()]
    return []


def _number_of(rows: Rows, reference: str) -> int:
    row = rows.execute("SELECT number FROM abdm_context WHERE reference = ?", (reference,)).fetchone()
    return 0 if row is None else int(row[0])
